//! Requests in groups, from sums: of time, of tokens, or of the counts of one dimension.

use std::collections::BTreeMap;

use anyhow::Result;
use rusqlite::{CachedStatement, Connection, OptionalExtension};

use super::Asking;
use super::gather::{Gathered, Part};
use super::plan::Plan;
use crate::answer::{Group, GroupKey, Summary};
use crate::query::{Grouping, Order, Unit, Wanted};
use crate::reason::DenialReason;
use crate::record::{Method, Outcome};
use crate::store::log::UNMATCHED;
use crate::store::tier::Latencies;
use crate::tally::{Dimension, Tally, Value};
use crate::timestamp::Timestamp;
use crate::token::TokenId;

const NAME: &str = "SELECT text FROM names WHERE id = ?1";
const OWNER: &str = "SELECT owner FROM catalogue WHERE id = ?1";

/// Groups, and how many requests there are in these and all others.
pub(super) struct Grouped {
    pub(super) total: Summary,
    pub(super) groups: Vec<Group>,
    pub(super) counted: u64,
}

/// A group on its way into the answer.
pub(super) struct Row<T> {
    pub(super) key: GroupKey,
    pub(super) requests: u64,
    rank: u64,
    pub(super) of: T,
}

impl<T> Row<T> {
    pub(super) fn summed(key: GroupKey, order: Order, of: T, tally: fn(&T) -> &Tally) -> Self {
        let (requests, rank) = (tally(&of).total(), order.rank(tally(&of)));
        Self { key, requests, rank, of }
    }

    /// Those that come first.
    pub(super) fn first(mut rows: Vec<Self>, wanted: &Wanted) -> Vec<Self> {
        rows.sort_unstable_by(|one, two| {
            two.rank.cmp(&one.rank).then_with(|| one.key.cmp(&two.key))
        });
        rows.truncate(wanted.top.unwrap_or(usize::MAX));
        rows
    }
}

impl Row<()> {
    fn counted(key: GroupKey, requests: u64, order: Order) -> Self {
        let rank = if order == Order::Key { 0 } else { requests };
        Self { key, requests, rank, of: () }
    }
}

impl Asking<'_> {
    pub(super) fn sums(&self, wanted: &Wanted, tokens: Option<&[TokenId]>) -> Result<Grouped> {
        match wanted.by {
            Grouping::Day => self.series(Unit::Day, wanted, tokens),
            Grouping::Hour => self.series(Unit::Hour, wanted, tokens),
            Grouping::Owner | Grouping::Token => self.of_tokens(wanted, tokens),
            _ => self.counts(wanted, tokens),
        }
    }

    /// One group for each hour or day, those without requests too.
    fn series(&self, unit: Unit, wanted: &Wanted, tokens: Option<&[TokenId]>) -> Result<Grouped> {
        let question = self.question;
        let parts = self.period.parts(unit, question.offset)?;
        let periods: Vec<_> = parts.iter().map(|part| part.period).collect();
        let plans = Plan::of_parts(self.gathering.progress, &periods)?;
        let sums = self.gathering.sums(&plans, tokens, &[Part::Totals, Part::Sketch])?;
        let mut all = Gathered::default();
        let mut rows = Vec::with_capacity(sums.len());
        for ((part, plan), sum) in parts.iter().zip(&plans).zip(sums) {
            all.tally.merge(&sum.tally);
            all.sketch.merge(&sum.sketch);
            let key = self.time_key(part.begins);
            rows.push(Row::summed(key, wanted.order, (part, plan, sum), |of| &of.2.tally));
        }
        let mut groups = Vec::new();
        for Row { key, requests, of: (part, plan, sum), .. } in Row::first(rows, wanted) {
            let summary = Some(self.summary(plan, &sum, part.period.days)?);
            groups.push(Group { key, requests, summary });
        }
        let total = self.summary(&Plan::around(&plans), &all, self.period.days)?;
        Ok(Grouped { counted: total.total, total, groups })
    }

    pub(super) fn time_key(&self, begins: Timestamp) -> GroupKey {
        let begins = begins.to_date_time();
        GroupKey::Time(begins.checked_to_offset(self.question.offset).unwrap_or(begins))
    }

    fn of_tokens(&self, wanted: &Wanted, tokens: Option<&[TokenId]>) -> Result<Grouped> {
        let period = self.period;
        let plans = Plan::of_parts(self.gathering.progress, &[period])?;
        let latencies = if wanted.order == Order::P95 { Latencies::Read } else { Latencies::Skip };
        let scanned = self.gathering.scan(&plans[0], tokens, latencies)?;
        let mut rows = BTreeMap::<GroupKey, (Tally, Vec<TokenId>)>::new();
        let mut owners = Owners::new(self.gathering.snapshot)?;
        for (token, tally) in &scanned.totals {
            self.gathering.deadline.check()?;
            let key = match wanted.by {
                Grouping::Owner => owners.find(*token)?,
                _ => GroupKey::Token(*token),
            };
            let (sum, tokens) = rows.entry(key).or_default();
            sum.merge(tally);
            tokens.push(*token);
        }
        let rows = rows.into_iter().map(|(key, of)| Row::summed(key, wanted.order, of, |of| &of.0));
        let mut groups = Vec::new();
        for Row { key, requests, of: (_, tokens), .. } in Row::first(rows.collect(), wanted) {
            let sum = self.gathering.detail(&scanned, &tokens)?;
            let summary = Some(self.summary(&plans[0], &sum, period.days)?);
            groups.push(Group { key, requests, summary });
        }
        let parts = [Part::Totals, Part::Sketch];
        let sums = self.gathering.sums(&plans, tokens, &parts)?;
        let total = self.summary(&plans[0], &sums[0], period.days)?;
        Ok(Grouped { counted: total.total, total, groups })
    }

    /// Groups that are counted only.
    fn counts(&self, wanted: &Wanted, tokens: Option<&[TokenId]>) -> Result<Grouped> {
        let period = self.period;
        let parts: &[Part] = match wanted.by {
            Grouping::ClientAddress => &[Part::Totals, Part::Addresses],
            Grouping::Outcome => &[Part::Totals, Part::Sketch],
            _ => &[Part::Totals, Part::Sketch, Part::Counts],
        };
        let plans = Plan::of_parts(self.gathering.progress, &[period])?;
        let mut sum = self.gathering.sums(&plans, tokens, parts)?.swap_remove(0);
        if wanted.by == Grouping::ClientAddress {
            sum.sketch.add(&sum.clients);
        }
        let mut counts = BTreeMap::<GroupKey, u64>::new();
        let mut count = |key: Option<GroupKey>, requests: u64| {
            if let Some(key) = key.filter(|_| requests > 0) {
                let total = counts.entry(key).or_default();
                *total = total.saturating_add(requests);
            }
        };
        match (wanted.by, dimension(wanted.by)) {
            (Grouping::ClientAddress, _) => {
                let addresses = sum.clients.counts();
                addresses.for_each(|(address, requests)| {
                    count(Some(GroupKey::Address(address)), requests);
                });
                count(Some(GroupKey::None), sum.clients.none());
            }
            (by, Some(dimension)) => {
                let mut names = Names::new(self.gathering.snapshot)?;
                for (value, requests) in sum.breakdown.counts(dimension) {
                    count(names.key(by, *value)?, *requests);
                }
            }
            _ => outcomes(&sum.tally).into_iter().for_each(|(outcome, requests)| {
                count(Some(GroupKey::Text(outcome.as_str().to_owned())), requests);
            }),
        }
        let rows = counts.into_iter();
        let rows = rows.map(|(key, requests)| Row::counted(key, requests, wanted.order));
        let group = |row: Row<()>| Group { key: row.key, requests: row.requests, summary: None };
        let groups = Row::first(rows.collect(), wanted).into_iter().map(group).collect();
        let total = self.summary(&plans[0], &sum, period.days)?;
        let counted = if wanted.by == Grouping::Reason { total.denied } else { total.total };
        Ok(Grouped { total, groups, counted })
    }
}

fn outcomes(tally: &Tally) -> [(Outcome, u64); 5] {
    [
        (Outcome::ClientError, tally.client_error),
        (Outcome::Denied(DenialReason::Revoked), tally.denied),
        (Outcome::ServerError, tally.server_error),
        (Outcome::Success, tally.success),
        (Outcome::Unfinished, tally.unfinished),
    ]
}

/// Where a grouping is counted.
pub(super) fn dimension(by: Grouping) -> Option<Dimension> {
    match by {
        Grouping::Method => Some(Dimension::Method),
        Grouping::Reason => Some(Dimension::Reason),
        Grouping::Route => Some(Dimension::Route),
        Grouping::Status | Grouping::StatusClass => Some(Dimension::Status),
        Grouping::UserAgent => Some(Dimension::UserAgent),
        _ => None,
    }
}

/// What values are called.
pub(super) struct Names<'c>(CachedStatement<'c>);

impl<'c> Names<'c> {
    pub(super) fn new(snapshot: &'c Connection) -> Result<Self> {
        Ok(Self(snapshot.prepare_cached(NAME)?))
    }

    /// `None` for what is not told apart, or not any longer: it is other.
    pub(super) fn key(&mut self, by: Grouping, value: Value) -> Result<Option<GroupKey>> {
        let Some(number) = value.number() else {
            let nothing = match by {
                Grouping::Route => GroupKey::Text(UNMATCHED.to_owned()),
                _ => GroupKey::None,
            };
            return Ok(Some(nothing).filter(|_| value == Value::NONE));
        };
        Ok(match by {
            Grouping::Method => method(number),
            Grouping::Reason => {
                let reason = u8::try_from(number).ok().and_then(DenialReason::from_code);
                reason.map(|reason| GroupKey::Text(reason.as_str().to_owned()))
            }
            Grouping::Status => u16::try_from(number).ok().map(GroupKey::Status),
            Grouping::StatusClass => Some(GroupKey::Text(format!("{}xx", number / 100))),
            _ => self.0.query_row([number], |row| row.get(0)).optional()?.map(GroupKey::Text),
        })
    }
}

fn method(code: i64) -> Option<GroupKey> {
    let method = Method::from_code(u8::try_from(code).ok()?);
    match method.as_str() {
        "" => Some(GroupKey::None),
        _ if method == Method::OTHER => None,
        name => Some(GroupKey::Text(name.to_owned())),
    }
}

/// Whose tokens are.
pub(super) struct Owners<'c>(CachedStatement<'c>);

impl<'c> Owners<'c> {
    pub(super) fn new(snapshot: &'c Connection) -> Result<Self> {
        Ok(Self(snapshot.prepare_cached(OWNER)?))
    }

    pub(super) fn find(&mut self, token: TokenId) -> Result<GroupKey> {
        let owner = self.0.query_row([token.as_row()], |row| row.get(0)).optional()?;
        Ok(owner.map_or(GroupKey::None, GroupKey::Text))
    }
}
