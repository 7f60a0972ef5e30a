//! Hours of a day that is over, summed up as a day: some tokens at a time.

use std::collections::BTreeSet;

use anyhow::Result;
use rusqlite::{Connection, OptionalExtension};

use super::rollup::{HOURS_A_DAY, Progress};
use super::tier::{DAILY, HOURLY, Sum};
use crate::token::TokenId;

/// Tokens of a day that are folded in one step.
const FOLD_STEP: i64 = 128;

const FIRST_HOUR: &str = "SELECT min(hour) FROM hourly_sums WHERE hour >= ?1";
const NEXT_TOKENS: &str = "SELECT token_id FROM hourly_sums WHERE hour = ?1 AND token_id > ?2
    ORDER BY token_id LIMIT ?3";

/// Folds some tokens of the first day that is over and not folded yet. Returns whether there was one.
pub(super) fn fold_days(transaction: &Connection, today: i64) -> Result<bool> {
    let mut progress = Progress::read(transaction)?;
    let (day, after) = match progress.folded {
        (day, i64::MAX) => (next_day(transaction, day.saturating_add(1))?, -1),
        (i64::MIN, _) => (next_day(transaction, i64::MIN)?, -1),
        (day, token) => (Some(day), token),
    };
    let Some(day) = day.filter(|day| *day < today) else { return Ok(false) };
    let tokens = next_tokens(transaction, day, after)?;
    let mut daily = DAILY.writer(transaction, progress.seed)?;
    for token in &tokens {
        let mut sum = Sum::default();
        for hour in hours_of(day) {
            HOURLY.read_tally(transaction, hour, *token, &mut sum.tally)?;
            HOURLY.read_breakdown(transaction, hour, *token, &mut sum.breakdown)?;
            HOURLY.read_clients(transaction, hour, *token, progress.seed, &mut sum.clients)?;
        }
        daily.add(day, *token, &mut sum)?;
    }
    let is_last = tokens.len() < FOLD_STEP as usize;
    let last = tokens.last().map_or(i64::MAX, |token| token.as_row());
    progress.folded = (day, if is_last { i64::MAX } else { last });
    progress.write(transaction)?;
    Ok(true)
}

pub(super) fn hours_of(day: i64) -> impl Iterator<Item = i64> {
    (0..HOURS_A_DAY).map(move |hour| day.saturating_mul(HOURS_A_DAY).saturating_add(hour))
}

/// The first day from `day` on that has hourly rows.
fn next_day(connection: &Connection, day: i64) -> Result<Option<i64>> {
    let hour: Option<i64> = connection
        .prepare_cached(FIRST_HOUR)?
        .query_row([day.saturating_mul(HOURS_A_DAY)], |row| row.get(0))
        .optional()?
        .flatten();
    Ok(hour.map(|hour| hour.div_euclid(HOURS_A_DAY)))
}

/// The next tokens of a day in their order: a step at most, from each hour as many, so that none is missed.
fn next_tokens(connection: &Connection, day: i64, after: i64) -> Result<Vec<TokenId>> {
    let mut statement = connection.prepare_cached(NEXT_TOKENS)?;
    let mut tokens = BTreeSet::new();
    for hour in hours_of(day) {
        let mut rows = statement.query((hour, after, FOLD_STEP))?;
        while let Some(row) = rows.next()? {
            tokens.insert(row.get::<_, i64>(0)?);
        }
    }
    Ok(tokens.into_iter().take(FOLD_STEP as usize).map(TokenId::from_row).collect())
}
