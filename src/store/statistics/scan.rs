//! Sums of every token over a period: bucket by bucket, because there are more tokens than buckets.

use std::collections::{HashMap, HashSet};

use anyhow::Result;

use super::gather::{Gathered, Gathering, Part};
use super::plan::Plan;
use crate::id_hash::IdHash;
use crate::store::rollup::HOURS_A_DAY;
use crate::store::tier::{ALL, DAILY, HOURLY, Latencies, Sum, Tier};
use crate::tally::Tally;
use crate::token::TokenId;

/// Of how many tokens the sums are looked up one by one.
const FEW: usize = 256;

/// What each token's requests came to.
pub(super) struct Scanned<'p> {
    plan: &'p Plan,
    /// The hours that there are.
    there: (i64, i64),
    pub(super) totals: HashMap<TokenId, Tally, IdHash>,
    /// Of that what is in no sum.
    rest: HashMap<TokenId, Sum, IdHash>,
}

impl Gathering<'_> {
    /// The totals of each token that has any. Without latencies where those are not needed.
    pub(super) fn scan<'p>(
        &self,
        plan: &'p Plan,
        tokens: Option<&[TokenId]>,
        latencies: Latencies,
    ) -> Result<Scanned<'p>> {
        let mut totals = HashMap::<TokenId, Tally, IdHash>::default();
        let there = self.hours_there()?;
        match tokens.filter(|tokens| tokens.len() <= FEW) {
            Some(few) => {
                for token in few {
                    let sum = self.summed_up(plan, there, Some(&[*token]), &[Part::Totals])?;
                    totals.insert(*token, sum.tally);
                }
            }
            None => self.scan_buckets((plan, there), tokens, latencies, &mut totals)?,
        }
        let mut rest = HashMap::<TokenId, Sum, IdHash>::default();
        self.visit_rest(std::slice::from_ref(plan), tokens, |_, row| {
            rest.entry(row.token).or_default().add(&row.fact);
        })?;
        for (token, sum) in &rest {
            totals.entry(*token).or_default().merge(&sum.tally);
        }
        totals.retain(|_, tally| tally.total() > 0);
        Ok(Scanned { plan, there, totals, rest })
    }

    fn scan_buckets(
        &self,
        (plan, there): (&Plan, (i64, i64)),
        tokens: Option<&[TokenId]>,
        latencies: Latencies,
        totals: &mut HashMap<TokenId, Tally, IdHash>,
    ) -> Result<()> {
        let set: Option<HashSet<TokenId>> = tokens.map(|tokens| tokens.iter().copied().collect());
        let mut add = |token: TokenId, tally: &Tally| {
            if set.as_ref().is_none_or(|set| set.contains(&token)) {
                totals.entry(token).or_default().merge(tally);
            }
        };
        let mut scan = |tier: &Tier, bucket, range| {
            self.deadline.check()?;
            tier.scan(self.snapshot, bucket, range, latencies, &mut add)
        };
        let (first, end) = (plan.hours.0.max(there.0), plan.hours.1.min(there.1));
        let (mut hour, all) = (first, (ALL.as_row(), i64::MAX));
        while hour < end {
            let day = hour.div_euclid(HOURS_A_DAY);
            let next_day = (day + 1) * HOURS_A_DAY;
            let is_whole = hour == day * HOURS_A_DAY && next_day <= end;
            let (folded_day, folded_token) = self.progress.folded;
            if hour < self.progress.hourly_from || (is_whole && day < folded_day) {
                scan(&DAILY, day, all)?;
                hour = next_day;
            } else if is_whole && day == folded_day {
                // As far as the day is summed up.
                scan(&DAILY, day, (ALL.as_row(), folded_token))?;
                for hour in hour..next_day {
                    scan(&HOURLY, hour, (folded_token, i64::MAX))?;
                }
                hour = next_day;
            } else {
                scan(&HOURLY, hour, all)?;
                hour += 1;
            }
        }
        Ok(())
    }

    /// All there is to know of some of the tokens.
    pub(super) fn detail(&self, scanned: &Scanned<'_>, tokens: &[TokenId]) -> Result<Gathered> {
        let parts = [Part::Totals, Part::Sketch];
        let mut sum = self.summed_up(scanned.plan, scanned.there, Some(tokens), &parts)?;
        for rest in tokens.iter().filter_map(|token| scanned.rest.get(token)) {
            sum.tally.merge(&rest.tally);
            sum.sketch.add(&rest.clients);
        }
        Ok(sum)
    }
}
