//! The check to call: SQLite's own, then whether numbers and codes mean something, and whether sums, links and groups
//! say the same as the log.

mod ids;
mod pace;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use anyhow::{Context, Result};
use rusqlite::{Connection, Row};

use super::fold::hours_of;
use super::log::{self, LogRow};
use super::rollup::{HOURS_A_DAY, Progress};
use super::tier::{ALL, DAILY, HOURLY, Sum, Tier};
use super::{Reader, Store};
use crate::answer::Verification;
use crate::error::{Error, ErrorKind};
use crate::id_hash::IdHash;
use crate::progress::Told;
use crate::tally::Dimension;
use crate::timestamp::Timestamp;
use crate::token::TokenId;
use pace::Pace;

/// Problems that are told one by one.
const MAX_PROBLEMS: usize = 100;

/// How often it is told how far the check is.
const PAUSE: Duration = Duration::from_millis(5);

/// How often each row of the log is looked at: two codes, the rest of it, links, groups, sums.
const PASSES: u64 = 6;

const HOURS: &str = "SELECT DISTINCT hour FROM hourly_sums WHERE hour >= ?1 ORDER BY hour";
const HOURS_OF_GROUPS: &str = "SELECT first_at FROM usage_groups WHERE first_id < ?1";
const KEYS_OF_HOUR: &str = "SELECT count(*) FROM hourly_sums WHERE hour = ?1";
const DAYS: &str = "SELECT day, token_id FROM daily_sums WHERE day >= ?1";
const ENDS: &str =
    "SELECT coalesce((SELECT min(id) FROM usage_log), (SELECT next_id FROM progress)),
    coalesce((SELECT max(id) FROM usage_log), 0)";
const HEADS: &str = "SELECT token_id, last_id FROM usage_heads";
const GROUPS: &str =
    "SELECT first_id, last_id, first_at, last_at FROM usage_groups ORDER BY first_id";
const COUNT_ROWS: &str = "SELECT count(*) FROM usage_log";
const COUNT_DAYS: &str = "SELECT count(*) FROM daily_sums WHERE day >= ?1";
/// Texts that are not there, and numbers that nobody wrote.
const WRONG_ROWS: &str = "SELECT
        count(*) FILTER (WHERE ((endpoint >> 4) > 1 AND (endpoint >> 4) - 1 NOT IN (SELECT id FROM names))
            OR (user_agent > 0 AND user_agent NOT IN (SELECT id FROM names))),
        count(*) FILTER (WHERE status NOT BETWEEN 0 AND 65535),
        count(*) FILTER (WHERE endpoint < 0 OR user_agent < 0 OR back < 0 OR duration_us < 0
            OR response_bytes < 0 OR cost < 0 OR weight NOT BETWEEN 1 AND 4294967295
            OR length(client_address) NOT IN (3, 4, 6, 8, 16)),
        count(*) FILTER (WHERE token_id NOT BETWEEN 1 AND
            (SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'catalogue'))
    FROM usage_log";

impl Store {
    /// Looks at everything, on a thread of its own, so that whoever asked can be told how far it is and end it even
    /// while SQLite checks by itself.
    pub(crate) fn verify(&self, told: Told<'_>) -> Result<Verification> {
        let _question = self.questions.enter(self.options.busy_timeout)?;
        let connection = self.pool.get_timeout(self.patience());
        let reader = Reader(connection.context("no connection to read with")?);
        let pace = Arc::new(Pace::default());
        let cancelled = || Error::new(ErrorKind::Cancelled, "the check was cancelled");
        let found = std::thread::scope(|scope| {
            let (end, ended) = sync_channel::<()>(0);
            let of_reader = Arc::clone(&pace);
            let thread = std::thread::Builder::new().name("token-tracker-verify".to_owned());
            let thread = thread.spawn_scoped(scope, move || {
                let _end = end;
                super::forgetting(&reader.0, reader.verify(&of_reader))
            })?;
            // Also where `told` panics: the thread is waited for.
            let _stop = StopAtEnd(&pace);
            while ended.recv_timeout(PAUSE) == Err(RecvTimeoutError::Timeout) {
                if told(pace.progress()).is_break() {
                    return Err(cancelled().into());
                }
            }
            thread.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the check ended by a panic")))
        })?;
        if told(pace.end()).is_break() {
            return Err(cancelled().into());
        }
        Ok(found)
    }
}

struct StopAtEnd<'p>(&'p Pace);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl Reader {
    /// In one snapshot. Cost: each row of the log, six times.
    fn verify(&self, pace: &Arc<Pace>) -> Result<Verification> {
        let snapshot = self.0.unchecked_transaction()?;
        let mut check = Check { snapshot: &snapshot, found: Verification::default(), pace };
        pace.watch(&snapshot, || check.run())?;
        Ok(check.found)
    }
}

struct Check<'c> {
    snapshot: &'c Connection,
    found: Verification,
    pace: &'c Pace,
}

impl Check<'_> {
    /// What is damaged so that nothing can be read by it ends the check: it is told, and all that was found before.
    fn run(&mut self) -> Result<()> {
        self.integrity()?;
        if !self.found.problems.is_empty() {
            return Ok(());
        }
        let Some(progress) = self.sound(Progress::read(self.snapshot))? else { return Ok(()) };
        let rows = self.start(&progress)?;
        if !self.rows(rows)? {
            return Ok(());
        }
        self.log(&progress, rows)?;
        ids::codes(self.snapshot)?.into_iter().for_each(|problem| self.report(problem));
        ids::dangling(self.snapshot)?.into_iter().for_each(|problem| self.report(problem));
        self.groups(&progress)?;
        let days = self.hours(&progress)?;
        self.pace.reach(PASSES * rows);
        self.days(&progress, days)
    }

    fn report(&mut self, problem: String) {
        if self.found.problems.len() < MAX_PROBLEMS {
            self.found.problems.push(problem);
        }
    }

    /// What could be read but means nothing is a problem of the file, not a failure of the check.
    fn sound<T>(&mut self, read: Result<T>) -> Result<Option<T>> {
        match read {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.chain().any(|cause| cause.is::<rusqlite::Error>()) => Err(error),
            Err(error) => {
                self.report(error.to_string());
                Ok(None)
            }
        }
    }

    /// Says how much there is to look at. Returns the rows of the log.
    fn start(&self, progress: &Progress) -> Result<u64> {
        let number = |sql: &str, parameters: &[i64]| -> Result<u64> {
            let parameters = rusqlite::params_from_iter(parameters);
            let number = self.snapshot.query_row(sql, parameters, |row| row.get::<_, i64>(0))?;
            Ok(number.unsigned_abs())
        };
        let rows = number(COUNT_ROWS, &[])?;
        let first_day = progress.hourly_from.div_euclid(HOURS_A_DAY);
        self.pace.start(PASSES * rows + number(COUNT_DAYS, &[first_day])?);
        Ok(rows)
    }

    /// Looks at each row of the log for itself. Returns whether they can be read.
    fn rows(&mut self, rows: u64) -> Result<bool> {
        let unknown = ids::codes_of_log(self.snapshot)?;
        let read = |row: &Row<'_>| (0..4).map(|at| row.get(at)).collect();
        let counts: Vec<i64> = self.snapshot.query_row(WRONG_ROWS, [], read)?;
        let [texts, statuses, others, tokens] = counts[..] else { return Ok(false) };
        self.pace.reach(3 * rows);
        let can_be_read = unknown.is_empty() && statuses == 0;
        unknown.into_iter().for_each(|problem| self.report(problem));
        for (count, what) in [
            (texts, "have a text that is not there"),
            (statuses, "have a status that is none"),
            (others, "have a number that cannot be"),
            (tokens, "are of tokens that never were"),
        ] {
            if count > 0 {
                self.report(format!("{count} rows of the log {what}"));
            }
        }
        Ok(can_be_read)
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

    /// Numbers and links: every row is in a group and leads to the row before of its token, and every head is the last.
    fn log(&mut self, progress: &Progress, all: u64) -> Result<()> {
        let (first_id, last_id): (i64, i64) =
            self.snapshot.query_row(ENDS, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        if last_id >= progress.next_id {
            self.report(format!("the log has row {last_id}, the next is {}", progress.next_id));
        }
        let mut lasts = HashMap::<TokenId, i64, IdHash>::default();
        let (mut broken, mut records, mut rows) = (Vec::new(), 0_u64, 0_u64);
        log::visit_numbered(self.snapshot, i64::MIN, i64::MAX, progress.seed, |id, row| {
            self.pace.advance(1);
            records = records.saturating_add(row.fact.weight);
            rows += 1;
            let last = lasts.insert(row.token, id);
            let leads_to = (row.back > 0).then(|| id.saturating_sub(row.back));
            // What a first row leads to was removed.
            if last.is_some() && last != leads_to && broken.len() < MAX_PROBLEMS {
                broken.push(format!("row {id} of the log leads to {leads_to:?}, not to {last:?}"));
            }
        })?;
        if rows != all {
            self.report(format!("the groups of the log have {rows} rows, not {all}"));
        }
        broken.into_iter().for_each(|problem| self.report(problem));
        self.found.records = records;
        let mut statement = self.snapshot.prepare(HEADS)?;
        let mut heads = statement.query([])?;
        while let Some(head) = heads.next()? {
            let (token, id) = (TokenId::from_row(head.get(0)?), head.get::<_, i64>(1)?);
            match lasts.remove(&token) {
                Some(last) if last != id => {
                    self.report(format!("the last row of token {token} is {last}, not {id}"));
                }
                // The rows that it had were removed.
                None if id >= first_id => {
                    self.report(format!(
                        "token {token} has no row, and row {id} is to be its last"
                    ));
                }
                _ => {}
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
            let (mut outside, mut rows) = (0, 0);
            log::visit(self.snapshot, first, last.saturating_add(1), progress.seed, |row| {
                self.pace.advance(1);
                rows += 1;
                outside += u64::from(!(times.0..=times.1).contains(&row.at.as_micros()));
            })?;
            let is_whole = rows > 0 && rows == last.saturating_sub(first).saturating_add(1);
            if outside > 0 || !is_whole || next.is_some_and(|next| next != first) {
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
            self.pace.advance(1);
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
                // What cannot be read was told with the hour, or makes the day differ.
                let (snapshot, seed) = (self.snapshot, progress.seed);
                let tally = HOURLY.read_tally(snapshot, hour, token, &mut sum.tally);
                let clients = HOURLY.read_clients(snapshot, hour, token, seed, &mut sum.clients);
                self.sound(tally.and(clients))?;
            }
            self.pace.advance(1);
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
        self.found.sums += 1;
        let tally = tier.read_tally(self.snapshot, bucket, token, &mut sum.tally);
        let counts = tier.read_breakdown(self.snapshot, bucket, token, &mut sum.breakdown);
        let seed = progress.seed;
        let clients = tier.read_clients(self.snapshot, bucket, token, seed, &mut sum.clients);
        if self.sound(tally.and(counts).and(clients))?.is_none() {
            return Ok(());
        }
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
        if !ids::are_known(&sum.breakdown) {
            self.report(format!(
                "the sums of {kind} {bucket} and token {token} have unknown codes"
            ));
        }
        Ok(())
    }
}
