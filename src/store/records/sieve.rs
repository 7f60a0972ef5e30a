//! Which rows are meant. What can be told from the row itself is looked at before anything is looked up.

use std::collections::{HashMap, HashSet};

use anyhow::Result;
use rusqlite::{CachedStatement, Connection, OptionalExtension, Row};

use super::Search;
use crate::address::AddressBytes;
use crate::id_hash::IdHash;
use crate::reason::DenialReason;
use crate::record::{Outcome, OutcomeKind};
use crate::store::dictionary::OTHER;
use crate::store::log::UNMATCHED;
use crate::token::TokenId;

/// The columns that [`Sieve::admits`] looks at, of rows that are told from a base.
macro_rules! brief_columns {
    ($base:literal) => {
        concat!(
            "SELECT id, ",
            $base,
            " + after_us, token_id, back, endpoint, status, outcome, client_address "
        )
    };
}
pub(super) use brief_columns;

const NAME: &str = "SELECT text FROM names WHERE id = ?1";

pub(super) struct Sieve<'s> {
    tokens: Option<HashSet<TokenId, IdHash>>,
    /// The first microsecond and the last.
    pub(super) times: (i64, i64),
    outcome: Option<OutcomeKind>,
    reason: Option<DenialReason>,
    statuses: Option<(u16, u16)>,
    route: Option<Route<'s>>,
    address: Option<AddressBytes>,
}

impl<'s> Sieve<'s> {
    pub(super) fn new(
        snapshot: &'s Connection,
        search: &Search<'s>,
        tokens: Option<&[TokenId]>,
    ) -> Result<Self> {
        let filter = search.filter;
        let times = search.period.map_or((i64::MIN, i64::MAX), |(from, until)| {
            (from.as_micros(), until.as_micros().saturating_sub(1))
        });
        let route = filter.route.as_deref().map(|wanted| Route::new(snapshot, wanted));
        Ok(Self {
            tokens: tokens.map(|tokens| tokens.iter().copied().collect()),
            times,
            outcome: filter.outcome,
            reason: filter.reason,
            statuses: filter.statuses,
            route: route.transpose()?,
            address: filter.client_address.map(|address| address.to_bytes()),
        })
    }

    /// Whether the row is of a token that is asked about.
    pub(super) fn is_in_scope(&self, token: TokenId) -> bool {
        self.tokens.as_ref().is_none_or(|tokens| tokens.contains(&token))
    }

    pub(super) fn admits(&mut self, row: &Row<'_>) -> Result<bool> {
        let (first, last) = self.times;
        let is_meant = (first..=last).contains(&row.get(1)?)
            && self.is_in_scope(TokenId::from_row(row.get(2)?))
            && self.admits_status(row.get(5)?)
            && self.admits_outcome(row.get(6)?);
        if !is_meant {
            return Ok(false);
        }
        if let Some(address) = &self.address
            && row.get_ref(7)?.as_blob_or_null()? != Some(address.as_slice())
        {
            return Ok(false);
        }
        self.route.as_mut().map_or(Ok(true), |route| route.is_of(row.get(4)?))
    }

    fn admits_status(&self, status: i64) -> bool {
        self.statuses
            .is_none_or(|(first, last)| (i64::from(first)..=i64::from(last)).contains(&status))
    }

    fn admits_outcome(&self, code: u8) -> bool {
        if self.outcome.is_none() && self.reason.is_none() {
            return true;
        }
        Outcome::from_code(code).is_some_and(|outcome| {
            self.outcome.is_none_or(|wanted| outcome.kind() == wanted)
                && self.reason.is_none_or(|wanted| outcome.reason() == Some(wanted))
        })
    }
}

/// A route by what it reads as: more than one number may read the same.
struct Route<'s> {
    wanted: &'s str,
    text: CachedStatement<'s>,
    known: HashMap<i64, bool, IdHash>,
}

impl<'s> Route<'s> {
    fn new(snapshot: &'s Connection, wanted: &'s str) -> Result<Self> {
        Ok(Self { wanted, text: snapshot.prepare_cached(NAME)?, known: HashMap::default() })
    }

    fn is_of(&mut self, endpoint: i64) -> Result<bool> {
        let number = (endpoint >> 4) - 1;
        if let Some(known) = self.known.get(&number) {
            return Ok(*known);
        }
        let is_wanted = if number < 0 {
            self.wanted == UNMATCHED
        } else {
            let is_text = |row: &Row<'_>| Ok(row.get_ref(0)?.as_str()? == self.wanted);
            let found = self.text.query_row([number], is_text).optional()?;
            found.unwrap_or(self.wanted == OTHER)
        };
        self.known.insert(number, is_wanted);
        Ok(is_wanted)
    }
}
