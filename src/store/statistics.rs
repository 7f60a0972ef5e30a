//! Sums over a period: days where those are whole, hours at the edges, rows of the log where an hour is not
//! whole, and what is not rolled up yet. All of it from one snapshot.

use std::collections::{BTreeMap, HashSet};

use anyhow::Result;
use rusqlite::{Connection, OptionalExtension};

use super::Reader;
use super::dictionary::OTHER;
use super::log::{self, LogRow, UNMATCHED, tokens_of};
use super::rollup::{HOURS_A_DAY, Progress};
use super::tier::{ALL, DAILY, HOURLY, Sum, Tier};
use crate::query::{Period, RouteCount, Scope, Summary};
use crate::tally::{Dimension, Value};
use crate::timestamp::Timestamp;
use crate::token::TokenId;

/// What of the sums is asked for.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Part {
    Both,
    Counts,
    Totals,
}

/// What requests of a period came to.
struct Usage {
    sum: Sum,
    /// Records that were dropped, of whatever token.
    dropped: u64,
    from: Timestamp,
    until: Timestamp,
}

/// How a period is put together.
struct Plan {
    /// Whole hours: from the first to before the second.
    hours: (i64, i64),
    /// Parts of hours, to be read from the log.
    edges: Vec<(Timestamp, Timestamp)>,
    from: Timestamp,
    until: Timestamp,
}

const GROUPS: &str = "SELECT first_id, last_id FROM usage_groups
    WHERE first_at < ?2 AND last_at >= ?1 ORDER BY first_id";
const FIRST_HOUR: &str = "SELECT min(hour) FROM hourly_sums";
const LAST_HOUR: &str = "SELECT max(hour) FROM hourly_sums";
const FIRST_DAY: &str = "SELECT min(day) FROM daily_sums";
const LAST_DAY: &str = "SELECT max(day) FROM daily_sums";
const DROPPED: &str =
    "SELECT coalesce(sum(dropped), 0) FROM usage_gaps WHERE hour >= ?1 AND hour < ?2";
const NAME: &str = "SELECT text FROM names WHERE id = ?1";

impl Reader {
    /// Totals over a period. Cost: a look-up for each day and each hour at the edges, for each token asked
    /// about, and for each row that is not rolled up yet.
    pub(crate) fn summary(&self, scope: &Scope, period: Period) -> Result<Summary> {
        let snapshot = self.0.unchecked_transaction()?;
        Ok(gather(&snapshot, scope, period, Part::Totals)?.summary(period))
    }

    /// The routes with most requests, most first.
    pub(crate) fn top_routes(
        &self,
        scope: &Scope,
        period: Period,
        limit: u32,
    ) -> Result<Vec<RouteCount>> {
        let snapshot = self.0.unchecked_transaction()?;
        gather(&snapshot, scope, period, Part::Counts)?.top_routes(&snapshot, limit)
    }

    /// Both of the same moment.
    pub(crate) fn summary_and_top_routes(
        &self,
        scope: &Scope,
        period: Period,
        limit: u32,
    ) -> Result<(Summary, Vec<RouteCount>)> {
        let snapshot = self.0.unchecked_transaction()?;
        let usage = gather(&snapshot, scope, period, Part::Both)?;
        Ok((usage.summary(period), usage.top_routes(&snapshot, limit)?))
    }
}

impl Usage {
    fn summary(&self, period: Period) -> Summary {
        let (from, until) = (self.from.to_date_time(), self.until.to_date_time());
        Summary::new(&self.sum.tally, self.dropped, period.days, from, until)
    }

    /// By text, because what was forgotten of the dictionary is other too.
    fn top_routes(&self, snapshot: &Connection, limit: u32) -> Result<Vec<RouteCount>> {
        let mut statement = snapshot.prepare_cached(NAME)?;
        let mut routes = BTreeMap::<String, u64>::new();
        for (value, count) in self.sum.breakdown.counts(Dimension::Route) {
            let text = match value.number() {
                Some(id) => statement.query_row([id], |row| row.get(0)).optional()?,
                None if *value == Value::NONE => Some(UNMATCHED.to_owned()),
                None => None,
            };
            let total = routes.entry(text.unwrap_or_else(|| OTHER.to_owned())).or_default();
            *total = total.saturating_add(*count);
        }
        let mut routes: Vec<_> =
            routes.into_iter().map(|(route, requests)| RouteCount { route, requests }).collect();
        routes.sort_by_key(|route| std::cmp::Reverse(route.requests));
        routes.truncate(limit as usize);
        Ok(routes)
    }
}

fn gather(snapshot: &Connection, scope: &Scope, period: Period, part: Part) -> Result<Usage> {
    let progress = Progress::read(snapshot)?;
    let plan = Plan::of(&progress, period);
    let tokens = tokens_of(snapshot, scope)?;
    let mut sum = Sum::default();
    let hours = within_what_there_is(snapshot, plan.hours)?;
    for token in tokens.as_deref().unwrap_or(&[ALL]) {
        add_buckets(snapshot, &progress, hours, *token, part, &mut sum)?;
    }
    let is_whole = |row: &LogRow| (plan.hours.0..plan.hours.1).contains(&row.at.hour());
    visit_tail(snapshot, &progress, tokens.as_deref(), |row| {
        if is_whole(row) {
            sum.add(&row.fact);
        }
    })?;
    let tokens: Option<HashSet<TokenId>> = tokens.map(|tokens| tokens.into_iter().collect());
    for (from, until) in &plan.edges {
        visit_time(snapshot, *from, *until, i64::MAX, |row| {
            if tokens.as_ref().is_none_or(|tokens| tokens.contains(&row.token)) {
                sum.add(&row.fact);
            }
        })?;
    }
    let last = plan.until.as_micros().saturating_sub(1);
    let span = (plan.from.hour(), Timestamp::from_micros(last).hour().saturating_add(1));
    let dropped: i64 = snapshot.prepare_cached(DROPPED)?.query_row(span, |row| row.get(0))?;
    Ok(Usage { sum, dropped: dropped.unsigned_abs(), from: plan.from, until: plan.until })
}

impl Plan {
    /// Parts of hours are read from the log if that still has them, else the hours are whole; hours that are
    /// kept as days only make whole days.
    fn of(progress: &Progress, period: Period) -> Self {
        let has = |at: Timestamp| progress.log_from <= at;
        let Period { from, until, .. } = period;
        let (mut first, mut end) = (from.next_hour(), until.hour());
        if first > end && has(from) {
            return Self { hours: (end, end), edges: vec![(from, until)], from, until };
        }
        let mut left = Some((from, Timestamp::of_hour(first))).filter(|_| has(from));
        let mut right = Some(Timestamp::of_hour(end)).filter(|at| has(*at)).map(|at| (at, until));
        if left.is_none() || first > end {
            (first, left) = (from.hour(), None);
        }
        if right.is_none() || first > end {
            (end, right) = (until.next_hour(), None);
        }
        if first < progress.hourly_from && first < end {
            (first, left) = (day_of(from.hour()), None);
            if end < progress.hourly_from {
                (end, right) = (day_of(until.next_hour() + HOURS_A_DAY - 1), None);
            }
        }
        let starts = left.map_or(Timestamp::of_hour(first), |edge| edge.0);
        let ends = right.map_or(Timestamp::of_hour(end), |edge| edge.1);
        let edges = left.into_iter().chain(right).filter(|(from, until)| from < until).collect();
        Self { hours: (first, end), edges, from: starts, until: ends }
    }
}

/// The hour in which the day of an hour begins.
fn day_of(hour: i64) -> i64 {
    hour.div_euclid(HOURS_A_DAY) * HOURS_A_DAY
}

/// The same hours, without those before the first sum and after the last.
fn within_what_there_is(snapshot: &Connection, hours: (i64, i64)) -> Result<(i64, i64)> {
    let number = |sql: &str| -> Result<Option<i64>> {
        Ok(snapshot.prepare_cached(sql)?.query_row([], |row| row.get(0))?)
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
    Ok((hours.0.max(first), hours.1.min(last.saturating_add(1))))
}

/// Adds whole hours of one token: as days where those are whole and summed up, else one by one.
fn add_buckets(
    snapshot: &Connection,
    progress: &Progress,
    (first, end): (i64, i64),
    token: TokenId,
    part: Part,
    sum: &mut Sum,
) -> Result<()> {
    let mut hour = first;
    while hour < end {
        let day = hour.div_euclid(HOURS_A_DAY);
        let whole = hour == day * HOURS_A_DAY && hour + HOURS_A_DAY <= end;
        if hour < progress.hourly_from || (whole && progress.is_folded(day, token)) {
            add_bucket(snapshot, &DAILY, day, token, part, sum)?;
            hour = (day + 1) * HOURS_A_DAY;
        } else {
            add_bucket(snapshot, &HOURLY, hour, token, part, sum)?;
            hour += 1;
        }
    }
    Ok(())
}

fn add_bucket(
    snapshot: &Connection,
    tier: &Tier,
    bucket: i64,
    token: TokenId,
    part: Part,
    sum: &mut Sum,
) -> Result<()> {
    if part != Part::Counts {
        tier.read_tally(snapshot, bucket, token, &mut sum.tally)?;
    }
    if part != Part::Totals {
        tier.read_breakdown(snapshot, bucket, token, &mut sum.breakdown)?;
    }
    Ok(())
}

/// Shows the rows that are not rolled up yet: of tokens by their chains, of all by their ids.
fn visit_tail(
    snapshot: &Connection,
    progress: &Progress,
    tokens: Option<&[TokenId]>,
    mut each: impl FnMut(&LogRow),
) -> Result<()> {
    let (from, until) = (progress.rolled_up_to, progress.next_id);
    let Some(tokens) = tokens.filter(|_| from < until) else {
        return log::visit(snapshot, from, until, each);
    };
    for token in tokens {
        if let Some(head) = log::head(snapshot, *token)? {
            log::visit_chain(snapshot, head, from, &mut each)?;
        }
    }
    Ok(())
}

/// Shows the rows of the log that were settled in a stretch of time, of all tokens and with ids below `before`.
pub(super) fn visit_time(
    snapshot: &Connection,
    from: Timestamp,
    until: Timestamp,
    before: i64,
    mut each: impl FnMut(&LogRow),
) -> Result<()> {
    let mut statement = snapshot.prepare_cached(GROUPS)?;
    let mut groups = statement.query((from.as_micros(), until.as_micros()))?;
    while let Some(group) = groups.next()? {
        let end = before.min(group.get::<_, i64>(1)?.saturating_add(1));
        log::visit(snapshot, group.get(0)?, end, |row| {
            if (from..until).contains(&row.at) {
                each(row);
            }
        })?;
    }
    Ok(())
}
