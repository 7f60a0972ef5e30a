//! The check to call: SQLite's own, then whether sums, links and groups say the same as the log.

use std::collections::{BTreeSet, HashMap};

use anyhow::Result;
use rusqlite::Connection;

use super::Reader;
use super::fold::hours_of;
use super::log::{self, LogRow};
use super::rollup::{HOURS_A_DAY, Progress};
use super::tier::{ALL, DAILY, HOURLY, Sum, Tier};
use crate::answer::Verification;
use crate::id_hash::IdHash;
use crate::tally::Dimension;
use crate::timestamp::Timestamp;
use crate::token::TokenId;

/// Problems that are told one by one.
const MAX_PROBLEMS: usize = 100;

const HOURS: &str = "SELECT DISTINCT hour FROM hourly_sums WHERE hour >= ?1 ORDER BY hour";
const HOURS_OF_GROUPS: &str = "SELECT first_at FROM usage_groups WHERE first_id < ?1";
const KEYS_OF_HOUR: &str = "SELECT count(*) FROM hourly_sums WHERE hour = ?1";
const DAYS: &str = "SELECT day, token_id FROM daily_sums WHERE day >= ?1";
const LAST_ID: &str = "SELECT coalesce(max(id), 0) FROM usage_log";
const HEADS: &str = "SELECT token_id, last_id FROM usage_heads";
const GROUPS: &str =
    "SELECT first_id, last_id, first_at, last_at FROM usage_groups ORDER BY first_id";
const DANGLING: &str = "SELECT count(*) FROM usage_log
    WHERE ((endpoint >> 4) > 1 AND (endpoint >> 4) - 1 NOT IN (SELECT id FROM names))
        OR (user_agent > 0 AND user_agent NOT IN (SELECT id FROM names))";

impl Reader {
    /// Looks at everything, in one snapshot. Cost: each row of the log, twice or more.
    pub(crate) fn verify(&self) -> Result<Verification> {
        let snapshot = self.0.unchecked_transaction()?;
        let mut check = Check { snapshot: &snapshot, found: Verification::default() };
        check.integrity()?;
        if check.found.problems.is_empty() {
            let progress = Progress::read(&snapshot)?;
            check.log(&progress)?;
            check.groups(&progress)?;
            let days = check.hours(&progress)?;
            check.days(&progress, days)?;
        }
        Ok(check.found)
    }
}

struct Check<'c> {
    snapshot: &'c Connection,
    found: Verification,
}

impl Check<'_> {
    fn report(&mut self, problem: String) {
        if self.found.problems.len() < MAX_PROBLEMS {
            self.found.problems.push(problem);
        }
    }

    fn integrity(&mut self) -> Result<()> {
        let mut statement = self.snapshot.prepare("PRAGMA integrity_check")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let text: String = row.get(0)?;
            if text != "ok" {
                self.report(text);
            }
        }
        Ok(())
    }

    /// Numbers and links: every row leads to the row before of its token, and every head is the last.
    fn log(&mut self, progress: &Progress) -> Result<()> {
        let last_id: i64 = self.snapshot.query_row(LAST_ID, [], |row| row.get(0))?;
        if last_id >= progress.next_id {
            self.report(format!("the log has row {last_id}, the next is {}", progress.next_id));
        }
        let dangling: i64 = self.snapshot.query_row(DANGLING, [], |row| row.get(0))?;
        if dangling > 0 {
            self.report(format!("{dangling} rows of the log have a text that is not there"));
        }
        let mut lasts = HashMap::<TokenId, i64, IdHash>::default();
        let (mut broken, mut records) = (Vec::new(), 0_u64);
        log::visit_numbered(self.snapshot, i64::MIN, i64::MAX, progress.seed, |id, row| {
            records = records.saturating_add(row.fact.weight);
            let last = lasts.insert(row.token, id);
            let leads_to = (row.back > 0).then(|| id.saturating_sub(row.back));
            // What a first row leads to was removed.
            if last.is_some() && last != leads_to && broken.len() < MAX_PROBLEMS {
                broken.push(format!("row {id} of the log leads to {leads_to:?}, not to {last:?}"));
            }
        })?;
        broken.into_iter().for_each(|problem| self.report(problem));
        self.found.records = records;
        let mut statement = self.snapshot.prepare(HEADS)?;
        let mut heads = statement.query([])?;
        while let Some(head) = heads.next()? {
            let (token, id) = (TokenId::from_row(head.get(0)?), head.get::<_, i64>(1)?);
            if let Some(last) = lasts.remove(&token).filter(|last| *last != id) {
                self.report(format!("the last row of token {token} is {last}, not {id}"));
            }
        }
        lasts.into_iter().for_each(|(token, last)| {
            self.report(format!("row {last} of token {token} cannot be found by the token"));
        });
        Ok(())
    }

    fn groups(&mut self, progress: &Progress) -> Result<()> {
        let mut statement = self.snapshot.prepare(GROUPS)?;
        let mut groups = statement.query([])?;
        let mut next = None;
        while let Some(group) = groups.next()? {
            let (first, last): (i64, i64) = (group.get(0)?, group.get(1)?);
            let times: (i64, i64) = (group.get(2)?, group.get(3)?);
            let mut outside = 0;
            log::visit(self.snapshot, first, last.saturating_add(1), progress.seed, |row| {
                outside += u64::from(!(times.0..=times.1).contains(&row.at.as_micros()));
            })?;
            if outside > 0 || next.is_some_and(|next| next != first) {
                self.report(format!("the group of rows {first} to {last} is not what it says"));
            }
            next = Some(last.saturating_add(1));
        }
        if next.is_some_and(|next| next != progress.next_id) {
            self.report(format!("the groups of the log end at {next:?}"));
        }
        Ok(())
    }

    /// Sums of the hours that the log still has in full. Returns what of their days must be there.
    fn hours(&mut self, progress: &Progress) -> Result<BTreeSet<(i64, TokenId)>> {
        let first = progress.log_from.next_hour().max(progress.hourly_from);
        let mut hours = self.numbers(HOURS, first)?;
        let mut statement = self.snapshot.prepare(HOURS_OF_GROUPS)?;
        let mut groups = statement.query([progress.rolled_up_to])?;
        while let Some(group) = groups.next()? {
            // A group is of one hour.
            let hour = Timestamp::from_micros(group.get(0)?).hour();
            hours.extend((hour >= first).then_some(hour));
        }
        let mut days = BTreeSet::new();
        for hour in hours {
            let sums = self.sums_of_hour(hour, progress)?;
            let keys: i64 = self.snapshot.query_row(KEYS_OF_HOUR, [hour], |row| row.get(0))?;
            if keys.unsigned_abs() != sums.len() as u64 {
                self.report(format!("hour {hour} has {keys} sums, not {}", sums.len()));
            }
            let day = hour.div_euclid(HOURS_A_DAY);
            for (token, sum) in sums {
                self.compare("hour", &HOURLY, (hour, token), &sum, progress)?;
                days.extend(progress.is_folded(day, token).then_some((day, token)));
            }
        }
        Ok(days)
    }

    fn numbers(&self, sql: &str, first: i64) -> Result<BTreeSet<i64>> {
        let mut statement = self.snapshot.prepare(sql)?;
        let numbers = statement.query_map([first], |row| row.get(0))?;
        Ok(numbers.collect::<rusqlite::Result<_>>()?)
    }

    fn sums_of_hour(
        &self,
        hour: i64,
        progress: &Progress,
    ) -> Result<HashMap<TokenId, Sum, IdHash>> {
        let mut sums = HashMap::<TokenId, Sum, IdHash>::default();
        let period = (Timestamp::of_hour(hour), Timestamp::of_hour(hour.saturating_add(1)));
        let before = progress.rolled_up_to;
        super::statistics::visit_time(self.snapshot, progress, period, before, |row: &LogRow| {
            sums.entry(row.token).or_default().add(&row.fact);
            sums.entry(ALL).or_default().add(&row.fact);
        })?;
        Ok(sums)
    }

    /// Sums of the days that are kept as hours too: those that are there, and those that must be.
    fn days(&mut self, progress: &Progress, mut days: BTreeSet<(i64, TokenId)>) -> Result<()> {
        let mut statement = self.snapshot.prepare(DAYS)?;
        let first = progress.hourly_from.div_euclid(HOURS_A_DAY);
        let mut rows = statement.query([first])?;
        while let Some(row) = rows.next()? {
            days.insert((row.get(0)?, TokenId::from_row(row.get(1)?)));
        }
        for (day, token) in days {
            let mut sum = Sum::default();
            for hour in hours_of(day) {
                let (snapshot, seed) = (self.snapshot, progress.seed);
                HOURLY.read_tally(snapshot, hour, token, &mut sum.tally)?;
                HOURLY.read_clients(snapshot, hour, token, seed, &mut sum.clients)?;
            }
            self.compare("day", &DAILY, (day, token), &sum, progress)?;
        }
        Ok(())
    }

    fn compare(
        &mut self,
        kind: &str,
        tier: &Tier,
        (bucket, token): (i64, TokenId),
        expected: &Sum,
        progress: &Progress,
    ) -> Result<()> {
        let mut sum = Sum::default();
        tier.read_tally(self.snapshot, bucket, token, &mut sum.tally)?;
        tier.read_breakdown(self.snapshot, bucket, token, &mut sum.breakdown)?;
        tier.read_clients(self.snapshot, bucket, token, progress.seed, &mut sum.clients)?;
        self.found.sums += 1;
        let counted = |dimension| {
            let counts = sum.breakdown.counts(dimension).iter();
            counts.fold(0_u64, |total, (_, count)| total.saturating_add(*count))
        };
        let whole = [Dimension::Route, Dimension::UserAgent, Dimension::Method, Dimension::Status];
        let total = expected.tally.total();
        let clients = (sum.clients.total(), sum.clients.is_whole());
        let are_those = clients.0 == total && (!clients.1 || sum.clients == expected.clients);
        if sum.tally != expected.tally
            || !are_those
            || whole.into_iter().any(|each| counted(each) != total)
        {
            self.report(format!(
                "the sums of {kind} {bucket} and token {token} are not those of its records"
            ));
        }
        Ok(())
    }
}
