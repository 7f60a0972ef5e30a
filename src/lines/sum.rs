//! What the requests of a token came to in an hour or a day.

use serde::Serialize;

use super::{Cells, Line};
use crate::answer::Latency;
use crate::tally::Tally;
use crate::timestamp::{Timestamp, micros};
use crate::token::TokenId;

#[derive(Debug, Serialize)]
pub(crate) struct SumLine {
    /// When it begins.
    #[serde(flatten)]
    begins: Begins,
    token_id: TokenId,
    owner: Option<String>,
    name: Option<String>,
    success: u64,
    client_error: u64,
    server_error: u64,
    denied: u64,
    unfinished: u64,
    below_400: u64,
    response_bytes: u64,
    cost: u64,
    #[serde(flatten)]
    latency: Option<Latency>,
}

/// As RFC 3339 has it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Begins {
    Day(Option<String>),
    Hour(Option<String>),
}

impl Begins {
    pub(crate) fn day(day: i64) -> Self {
        Self::Day(Timestamp::of_hour(day.saturating_mul(24)).to_text())
    }

    pub(crate) fn hour(hour: i64) -> Self {
        Self::Hour(Timestamp::of_hour(hour).to_text())
    }
}

impl SumLine {
    pub(crate) fn new(
        begins: Begins,
        token_id: TokenId,
        owner: Option<String>,
        name: Option<String>,
        tally: &Tally,
    ) -> Self {
        Self {
            begins,
            token_id,
            owner,
            name,
            success: tally.success,
            client_error: tally.client_error,
            server_error: tally.server_error,
            denied: tally.denied,
            unfinished: tally.unfinished,
            below_400: tally.below_400,
            response_bytes: tally.response_bytes,
            cost: tally.cost,
            latency: Latency::of(tally),
        }
    }
}

impl Line for SumLine {
    fn kind(&self) -> &'static str {
        match self.begins {
            Begins::Day(_) => "day",
            Begins::Hour(_) => "hour",
        }
    }

    fn fill(&self, cells: &mut Cells) {
        let (Begins::Day(begins) | Begins::Hour(begins)) = &self.begins;
        cells.plain(begins.as_deref());
        cells.plain(Some(self.token_id));
        cells.text(self.owner.as_deref());
        cells.text(self.name.as_deref());
        for number in [
            self.success,
            self.client_error,
            self.server_error,
            self.denied,
            self.unfinished,
            self.below_400,
            self.response_bytes,
            self.cost,
        ] {
            cells.plain(Some(number));
        }
        let us = |of: fn(&Latency) -> std::time::Duration| {
            self.latency.as_ref().map(|latency| micros(of(latency)))
        };
        cells.plain(us(|latency| latency.mean));
        cells.plain(us(|latency| latency.p50));
        cells.plain(us(|latency| latency.p90));
        cells.plain(us(|latency| latency.p95));
        cells.plain(us(|latency| latency.p99));
        cells.plain(us(|latency| latency.max));
    }
}
