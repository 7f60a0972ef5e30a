//! Sums of some tokens over the parts of a period, from one snapshot.

use std::collections::HashSet;

use anyhow::Result;
use rusqlite::Connection;

use super::Deadline;
use super::plan::Plan;
use crate::clients::{Clients, Sketch};
use crate::store::log::{self, LogRow};
use crate::store::rollup::{HOURS_A_DAY, Progress};
use crate::store::tier::{ALL, DAILY, HOURLY, Sum, Tier};
use crate::tally::{Breakdown, Tally};
use crate::timestamp::Timestamp;
use crate::token::TokenId;

/// What of the sums is asked for.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) enum Part {
    /// Which addresses there are.
    Addresses,
    /// Counts by route and so on.
    Counts,
    /// How many addresses there are.
    Sketch,
    Totals,
}

/// What requests came to.
#[derive(Default)]
pub(super) struct Gathered {
    pub(super) tally: Tally,
    pub(super) breakdown: Breakdown,
    pub(super) clients: Clients,
    pub(super) sketch: Sketch,
}

/// Where sums are gathered from.
pub(super) struct Gathering<'g> {
    pub(super) snapshot: &'g Connection,
    pub(super) progress: &'g Progress,
    pub(super) deadline: Deadline,
}

const GROUPS: &str = "SELECT first_id, last_id FROM usage_groups
    WHERE first_at < ?2 AND last_at >= ?1 ORDER BY first_id";
const FIRST_HOUR: &str = "SELECT min(hour) FROM hourly_sums";
const LAST_HOUR: &str = "SELECT max(hour) FROM hourly_sums";
const FIRST_DAY: &str = "SELECT min(day) FROM daily_sums";
const LAST_DAY: &str = "SELECT max(day) FROM daily_sums";

impl Gathering<'_> {
    /// The sums of each plan's period; of all tokens where none are given.
    pub(super) fn sums(
        &self,
        plans: &[Plan],
        tokens: Option<&[TokenId]>,
        parts: &[Part],
    ) -> Result<Vec<Gathered>> {
        let (mut sums, there) = (Vec::with_capacity(plans.len()), self.hours_there()?);
        for plan in plans {
            sums.push(self.summed_up(plan, there, tokens, parts)?);
        }
        let mut rest: Vec<Sum> = plans.iter().map(|_| Sum::default()).collect();
        self.visit_rest(plans, tokens, |at, row| rest[at].add(&row.fact))?;
        for (sum, rest) in sums.iter_mut().zip(&rest) {
            sum.tally.merge(&rest.tally);
            sum.breakdown.merge(&rest.breakdown);
            sum.sketch.add(&rest.clients);
            sum.clients.merge(&rest.clients);
        }
        Ok(sums)
    }

    pub(super) fn summed_up(
        &self,
        plan: &Plan,
        there: (i64, i64),
        tokens: Option<&[TokenId]>,
        parts: &[Part],
    ) -> Result<Gathered> {
        let mut sum = Gathered::default();
        let hours = (plan.hours.0.max(there.0), plan.hours.1.min(there.1));
        for token in tokens.unwrap_or(&[ALL]) {
            for (tier, bucket) in self.buckets(hours, *token) {
                self.deadline.check()?;
                self.add(tier, bucket, *token, parts, &mut sum)?;
            }
        }
        Ok(sum)
    }

    fn add(
        &self,
        tier: &Tier,
        bucket: i64,
        token: TokenId,
        parts: &[Part],
        sum: &mut Gathered,
    ) -> Result<()> {
        let (snapshot, seed) = (self.snapshot, self.progress.seed);
        for part in parts {
            match part {
                Part::Addresses => {
                    tier.read_clients(snapshot, bucket, token, seed, &mut sum.clients)?;
                }
                Part::Counts => {
                    tier.read_breakdown(snapshot, bucket, token, &mut sum.breakdown)?;
                }
                Part::Sketch => tier.read_sketch(snapshot, bucket, token, seed, &mut sum.sketch)?,
                Part::Totals => tier.read_tally(snapshot, bucket, token, &mut sum.tally)?,
            }
        }
        Ok(())
    }

    /// Whole hours of one token: as days where those are whole and summed up, else one by one.
    fn buckets(
        &self,
        (mut hour, end): (i64, i64),
        token: TokenId,
    ) -> impl Iterator<Item = (&'static Tier, i64)> {
        std::iter::from_fn(move || {
            if hour >= end {
                return None;
            }
            let day = hour.div_euclid(HOURS_A_DAY);
            let whole = hour == day * HOURS_A_DAY && hour + HOURS_A_DAY <= end;
            let is_folded = whole && self.progress.is_folded(day, token);
            if hour < self.progress.hourly_from || is_folded {
                hour = (day + 1) * HOURS_A_DAY;
                return Some((&DAILY, day));
            }
            hour += 1;
            Some((&HOURLY, hour - 1))
        })
    }

    /// From the hour of the first sum to before the one after the last.
    pub(super) fn hours_there(&self) -> Result<(i64, i64)> {
        let number = |sql: &str| -> Result<Option<i64>> {
            Ok(self.snapshot.prepare_cached(sql)?.query_row([], |row| row.get(0))?)
        };
        let of_day = |day: i64| day.saturating_mul(HOURS_A_DAY);
        let firsts = [number(FIRST_HOUR)?, number(FIRST_DAY)?.map(of_day)];
        let ends = [
            number(LAST_HOUR)?,
            number(LAST_DAY)?.map(|day| of_day(day.saturating_add(1)).saturating_sub(1)),
        ];
        let (Some(first), Some(last)) =
            (firsts.into_iter().flatten().min(), ends.into_iter().flatten().max())
        else {
            return Ok((0, 0));
        };
        Ok((first, last.saturating_add(1)))
    }

    /// Shows the rows that the sums do not have: those of the edges, and what is not rolled up yet. With each, which
    /// plan it is of.
    pub(super) fn visit_rest(
        &self,
        plans: &[Plan],
        tokens: Option<&[TokenId]>,
        mut each: impl FnMut(usize, &LogRow),
    ) -> Result<()> {
        self.visit_tail(tokens, |row| {
            let after = plans.partition_point(|plan| plan.from <= row.at);
            if let Some(at) = after.checked_sub(1)
                && plans[at].has_whole(row.at.hour())
            {
                each(at, row);
            }
        })?;
        let set: Option<HashSet<TokenId>> = tokens.map(|tokens| tokens.iter().copied().collect());
        let is_asked = |row: &LogRow| set.as_ref().is_none_or(|set| set.contains(&row.token));
        for (at, plan) in plans.iter().enumerate() {
            for (from, until) in &plan.edges {
                self.visit_time(*from, *until, |row| {
                    if is_asked(row) {
                        each(at, row);
                    }
                })?;
            }
        }
        Ok(())
    }

    /// Shows the rows that are not rolled up yet: of tokens by their chains, of all or many by their ids.
    fn visit_tail(&self, tokens: Option<&[TokenId]>, mut each: impl FnMut(&LogRow)) -> Result<()> {
        let (from, until, seed) =
            (self.progress.rolled_up_to, self.progress.next_id, self.progress.seed);
        let rows = until.saturating_sub(from).unsigned_abs();
        let Some(tokens) = tokens.filter(|_| from < until) else {
            return log::visit(self.snapshot, from, until, seed, each);
        };
        if tokens.len() as u64 > rows {
            let tokens: HashSet<&TokenId> = tokens.iter().collect();
            return log::visit(self.snapshot, from, until, seed, |row| {
                if tokens.contains(&row.token) {
                    each(row);
                }
            });
        }
        for token in tokens {
            if let Some(head) = log::head(self.snapshot, *token)? {
                log::visit_chain(self.snapshot, head, from, seed, &mut each)?;
            }
        }
        Ok(())
    }

    /// Shows the rows of the log that were settled in a stretch of time, of all tokens.
    pub(super) fn visit_time(
        &self,
        from: Timestamp,
        until: Timestamp,
        each: impl FnMut(&LogRow),
    ) -> Result<()> {
        self.visit_time_before(from, until, i64::MAX, each)
    }

    /// The same of those with ids below `before`.
    pub(super) fn visit_time_before(
        &self,
        from: Timestamp,
        until: Timestamp,
        before: i64,
        mut each: impl FnMut(&LogRow),
    ) -> Result<()> {
        let mut statement = self.snapshot.prepare_cached(GROUPS)?;
        let mut groups = statement.query((from.as_micros(), until.as_micros()))?;
        while let Some(group) = groups.next()? {
            self.deadline.check()?;
            let end = before.min(group.get::<_, i64>(1)?.saturating_add(1));
            log::visit(self.snapshot, group.get(0)?, end, self.progress.seed, |row| {
                if (from..until).contains(&row.at) {
                    each(row);
                }
            })?;
        }
        Ok(())
    }
}
