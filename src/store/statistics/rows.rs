//! Requests in groups, from the rows of the log: everything is known of each group.

use std::collections::{BTreeMap, HashMap, HashSet};

use anyhow::Result;

use super::Asking;
use super::gather::Gathered;
use super::groups::{Grouped, Names, Owners, Row, dimension};
use super::plan::Plan;
use crate::address::ClientAddress;
use crate::answer::{Group, GroupKey};
use crate::clients::Sketch;
use crate::query::{Grouping, Part, Wanted};
use crate::store::log::LogRow;
use crate::tally::{Tally, Value};
use crate::token::TokenId;

/// Groups that are told apart while rows are read. What comes later is other.
const MAX_GROUPS: usize = 100_000;

/// What a row has in common with others.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
enum Common {
    Address(Option<ClientAddress>),
    Outcome(&'static str),
    Part(usize),
    Token(TokenId),
    Value(Value),
}

#[derive(Default)]
struct RowSum {
    tally: Tally,
    sketch: Sketch,
}

impl RowSum {
    fn add(&mut self, row: &LogRow) {
        self.tally.add(&row.fact);
        if let Some(client) = row.fact.client {
            self.sketch.insert(client);
        }
    }

    fn merge(&mut self, other: &Self) {
        self.tally.merge(&other.tally);
        self.sketch.merge(&other.sketch);
    }

    fn gathered(self) -> Gathered {
        Gathered { tally: self.tally, sketch: self.sketch, ..Gathered::default() }
    }
}

impl Asking<'_> {
    pub(super) fn records(&self, wanted: &Wanted, tokens: Option<&[TokenId]>) -> Result<Grouped> {
        let (question, period) = (self.question, self.period);
        let parts = match wanted.by.unit() {
            Some(unit) => period.parts(unit, question.offset)?,
            None => Vec::new(),
        };
        let set: Option<HashSet<TokenId>> = tokens.map(|tokens| tokens.iter().copied().collect());
        let (mut all, mut sums) = (RowSum::default(), HashMap::<Common, RowSum>::new());
        self.gathering.visit_time(period.from, period.until, |row| {
            if set.as_ref().is_some_and(|set| !set.contains(&row.token)) {
                return;
            }
            all.add(row);
            let Some(common) = common(wanted.by, row, &parts) else { return };
            if let Some(sum) = sums.get_mut(&common) {
                sum.add(row);
            } else if sums.len() < MAX_GROUPS {
                sums.entry(common).or_default().add(row);
            }
        })?;
        for at in 0..parts.len() {
            sums.entry(Common::Part(at)).or_default();
        }
        let mut keyed = BTreeMap::<GroupKey, (RowSum, Option<usize>)>::new();
        let mut names = Names::new(self.gathering.snapshot)?;
        let mut owners = Owners::new(self.gathering.snapshot)?;
        for (common, sum) in sums {
            let key = match common {
                Common::Address(address) => address.map_or(GroupKey::None, GroupKey::Address),
                Common::Outcome(outcome) => GroupKey::Text(outcome.to_owned()),
                Common::Part(at) => self.time_key(parts[at].begins),
                Common::Token(token) if wanted.by == Grouping::Owner => owners.find(token)?,
                Common::Token(token) => GroupKey::Token(token),
                Common::Value(value) => match names.key(wanted.by, value)? {
                    Some(key) => key,
                    None => continue,
                },
            };
            let (known, part) = keyed.entry(key).or_default();
            known.merge(&sum);
            *part = if let Common::Part(at) = common { Some(at) } else { None };
        }
        let rows =
            keyed.into_iter().map(|(key, of)| Row::summed(key, wanted.order, of, |of| &of.0.tally));
        let mut groups = Vec::new();
        for Row { key, requests, of: (sum, part), .. } in Row::first(rows.collect(), wanted) {
            let period = part.map_or(period, |at| parts[at].period);
            let summary = self.summary(&Plan::exactly(period), &sum.gathered(), period.days)?;
            groups.push(Group { key, requests, summary: Some(summary) });
        }
        let total = self.summary(&Plan::exactly(period), &all.gathered(), period.days)?;
        let counted = if wanted.by == Grouping::Reason { total.denied } else { total.total };
        Ok(Grouped { total, groups, counted })
    }
}

fn common(by: Grouping, row: &LogRow, parts: &[Part]) -> Option<Common> {
    if let Some(dimension) = dimension(by) {
        return row.fact.value(dimension).map(Common::Value);
    }
    Some(match by {
        Grouping::ClientAddress => Common::Address(row.fact.client.map(|client| client.address)),
        Grouping::Outcome => Common::Outcome(row.fact.outcome.as_str()),
        Grouping::Owner | Grouping::Token => Common::Token(row.token),
        _ => {
            let after = parts.partition_point(|part| part.period.from <= row.at);
            Common::Part(after.checked_sub(1)?)
        }
    })
}
