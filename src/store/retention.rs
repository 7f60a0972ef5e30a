//! What is old goes, in steps of a few milliseconds, and never before the next tier has it.

use anyhow::Result;
use rusqlite::{Connection, OptionalExtension};

use super::rollup::{HOURS_A_DAY, Progress};
use super::{OverwriteFreed, audit};
use crate::timestamp::Timestamp;

/// Rows of the log that one step removes: about a millisecond.
pub(super) const LOG_STEP: i64 = 8_192;

/// Rows of sums that one step removes.
const SUM_STEP: i64 = 2_048;

/// Names that one step removes.
const NAME_STEP: i64 = 512;

/// Before when things are old: the log, hours, and days with all that only they refer to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Horizons {
    pub(crate) now: Timestamp,
    pub(crate) raw: Timestamp,
    pub(crate) hourly: Timestamp,
    pub(crate) daily: Timestamp,
}

const OLDEST_GROUP: &str =
    "SELECT first_id, last_id, last_at FROM usage_groups ORDER BY first_id LIMIT 1";
const OLDEST_ROW: &str = "SELECT min(id) FROM usage_log";
const NEWEST_OLD_GROUP: &str = "SELECT max(first_id) FROM usage_groups WHERE last_at < ?1";
const FORGET_ROWS: &str = "DELETE FROM usage_log WHERE id >= ?1 AND id <= ?2";
const FORGET_GROUP: &str = "DELETE FROM usage_groups WHERE first_id = ?1";
const SHORTEN_GROUP: &str = "UPDATE usage_groups SET first_id = ?2 WHERE first_id = ?1";
const OLDEST_HOUR: &str = "SELECT min(hour) FROM hourly_sums";
const OLDEST_DAY: &str = "SELECT min(day) FROM daily_sums";
const LAST_OF_HOUR: &str = "SELECT token_id FROM hourly_sums WHERE hour = ?1
    ORDER BY token_id LIMIT 1 OFFSET ?2";
const LAST_OF_DAY: &str = "SELECT token_id FROM daily_sums WHERE day = ?1
    ORDER BY token_id LIMIT 1 OFFSET ?2";
const FORGET_HOUR: [&str; 2] = [
    "DELETE FROM hourly_sums WHERE hour = ?1 AND token_id <= ?2",
    "DELETE FROM hourly_counts WHERE hour = ?1 AND token_id <= ?2",
];
const FORGET_DAY: [&str; 2] = [
    "DELETE FROM daily_sums WHERE day = ?1 AND token_id <= ?2",
    "DELETE FROM daily_counts WHERE day = ?1 AND token_id <= ?2",
];
const FORGET_NAMES: &str =
    "DELETE FROM names WHERE id IN (SELECT id FROM names WHERE used_on < ?1 LIMIT ?2)";
const FORGET_GAPS: &str = "DELETE FROM usage_gaps WHERE hour < ?1";

/// Removes some of what is old. Returns whether there was anything.
pub(super) fn prune(transaction: &Connection, horizons: &Horizons) -> Result<bool> {
    let (raw, now) = (horizons.raw.as_micros(), horizons.now.as_micros());
    let newest: Option<i64> =
        transaction.prepare_cached(NEWEST_OLD_GROUP)?.query_row([raw], |row| row.get(0))?;
    let is_old = |group: &Oldest| {
        // Written while the clock was ahead: it is older than an old one that came later.
        let is_ahead = group.last_at > now && newest.is_some_and(|newest| group.first_id < newest);
        group.last_at < raw || is_ahead
    };
    Ok(prune_log(transaction, is_old)? > 0
        || prune_hours(transaction, horizons.hourly)?
        || prune_days(transaction, horizons.daily)?
        || prune_names(transaction, horizons.daily)?
        || audit::prune(transaction, horizons.daily)?)
}

/// The first group of the log.
pub(super) struct Oldest {
    first_id: i64,
    last_id: i64,
    last_at: i64,
}

/// Removes a step of rows from the start of the log: of its first group, if that `may_go` and is rolled up.
/// Returns how many ids there are fewer.
pub(super) fn prune_log(
    transaction: &Connection,
    may_go: impl FnOnce(&Oldest) -> bool,
) -> Result<i64> {
    let mut progress = Progress::read(transaction)?;
    let group = transaction.prepare_cached(OLDEST_GROUP)?.query_row([], |row| {
        Ok(Oldest { first_id: row.get(0)?, last_id: row.get(1)?, last_at: row.get(2)? })
    });
    let Some(group) = group.optional()? else { return Ok(0) };
    if group.last_id >= progress.rolled_up_to || !may_go(&group) {
        return Ok(0);
    }
    let Oldest { first_id: first, last_id: last, last_at } = group;
    // A group that begins long before its rows is over as soon as they are.
    let oldest: Option<i64> =
        transaction.prepare_cached(OLDEST_ROW)?.query_row([], |row| row.get(0))?;
    let start = oldest.map_or(i64::MAX, |oldest| oldest.max(first));
    let end = last.min(start.saturating_add(LOG_STEP - 1));
    // Whole pages are freed, as many as are written: to overwrite them would be to write everything twice.
    OverwriteFreed::InPages.set(transaction)?;
    transaction.prepare_cached(FORGET_ROWS)?.execute((first, end))?;
    OverwriteFreed::Everywhere.set(transaction)?;
    progress.log_from = progress.log_from.max(Timestamp::from_micros(last_at.saturating_add(1)));
    progress.write(transaction)?;
    if end == last {
        transaction.prepare_cached(FORGET_GROUP)?.execute([first])?;
    } else {
        transaction.prepare_cached(SHORTEN_GROUP)?.execute((first, end.saturating_add(1)))?;
    }
    Ok(end.saturating_sub(start).saturating_add(1).max(1))
}

/// Hours go by whole days, and only those that are summed up as days.
fn prune_hours(transaction: &Connection, before: Timestamp) -> Result<bool> {
    let mut progress = Progress::read(transaction)?;
    let oldest: Option<i64> =
        transaction.prepare_cached(OLDEST_HOUR)?.query_row([], |row| row.get(0))?;
    let Some(hour) = oldest else { return Ok(false) };
    let day = hour.div_euclid(HOURS_A_DAY);
    let is_old = day < before.day();
    let (folded_day, folded_token) = progress.folded;
    let is_folded = day < folded_day || (day == folded_day && folded_token == i64::MAX);
    if !is_old || !is_folded {
        return Ok(false);
    }
    // From here on nobody looks for hours before the next day.
    let next_day = day.saturating_add(1).saturating_mul(HOURS_A_DAY);
    progress.hourly_from = progress.hourly_from.max(next_day);
    progress.write(transaction)?;
    forget(transaction, hour, LAST_OF_HOUR, FORGET_HOUR)
}

fn prune_days(transaction: &Connection, before: Timestamp) -> Result<bool> {
    let oldest: Option<i64> =
        transaction.prepare_cached(OLDEST_DAY)?.query_row([], |row| row.get(0))?;
    let Some(day) = oldest.filter(|day| *day < before.day()) else { return Ok(false) };
    let mut progress = Progress::read(transaction)?;
    progress.daily_from = progress.daily_from.max(day.saturating_add(1));
    progress.write(transaction)?;
    forget(transaction, day, LAST_OF_DAY, FORGET_DAY)
}

/// Removes a step of the rows of one bucket.
fn forget(
    transaction: &Connection,
    bucket: i64,
    last_of_step: &str,
    forget: [&str; 2],
) -> Result<bool> {
    let last: Option<i64> = transaction
        .prepare_cached(last_of_step)?
        .query_row((bucket, SUM_STEP - 1), |row| row.get(0))
        .optional()?;
    for statement in forget {
        transaction.prepare_cached(statement)?.execute((bucket, last.unwrap_or(i64::MAX)))?;
    }
    Ok(true)
}

/// Texts that neither the log nor any sum can refer to any longer.
fn prune_names(transaction: &Connection, before: Timestamp) -> Result<bool> {
    transaction.prepare_cached(FORGET_GAPS)?.execute([before.hour()])?;
    Ok(transaction.prepare_cached(FORGET_NAMES)?.execute((before.day(), NAME_STEP))? > 0)
}
