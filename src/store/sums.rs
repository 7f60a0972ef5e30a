//! Sums of tokens, hour by hour or day by day, page by page.

use anyhow::Result;
use rusqlite::{Connection, OptionalExtension};

use super::Reader;
use super::erase::Sums;
use super::log::tokens_of;
use super::tier::{ALL, Tier};
use crate::query::Scope;
use crate::tally::Tally;
use crate::token::TokenId;

/// Sums to a page, and those that are looked for on it.
const PAGE: usize = 256;
const MOST_LOOK_UPS: usize = 4_096;

const HOURS: &str = "SELECT hour, token_id FROM hourly_sums
    WHERE (hour, token_id) > (?1, ?2) AND hour < ?3 AND token_id <> 0
    ORDER BY hour, token_id LIMIT ?4";
const DAYS: &str = "SELECT day, token_id FROM daily_sums
    WHERE (day, token_id) > (?1, ?2) AND day < ?3 AND token_id <> 0
    ORDER BY day, token_id LIMIT ?4";
const SPAN_OF_HOURS: &str = "SELECT (SELECT min(hour) FROM hourly_sums WHERE hour >= ?1),
    (SELECT max(hour) FROM hourly_sums WHERE hour < ?2)";
const SPAN_OF_DAYS: &str = "SELECT (SELECT min(day) FROM daily_sums WHERE day >= ?1),
    (SELECT max(day) FROM daily_sums WHERE day < ?2)";
const NAMES: &str = "SELECT owner, name FROM catalogue WHERE id = ?1";

/// What a token's requests of an hour or a day came to.
#[derive(Debug)]
pub(crate) struct SumRow {
    pub(crate) bucket: i64,
    pub(crate) token: TokenId,
    /// As the catalogue has it now.
    pub(crate) owner: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) tally: Tally,
}

/// Hours or days: from the first to before the second, of those after a bucket and token.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Buckets {
    of: Sums,
    from: i64,
    until: i64,
    pub(crate) after: (i64, TokenId),
}

/// Some sums, and after what to go on.
#[derive(Debug)]
pub(crate) struct SumPage {
    pub(crate) rows: Vec<SumRow>,
    pub(crate) next: Option<(i64, TokenId)>,
    /// How many of the buckets that are there are done, of how many.
    pub(crate) done: i64,
    pub(crate) total: i64,
}

impl Buckets {
    /// From the first to before the second.
    pub(crate) fn new(of: Sums, from: i64, until: i64) -> Self {
        Self { of, from, until, after: (from.saturating_sub(1), TokenId::LAST) }
    }

    fn select<'q>(&self, hours: &'q str, days: &'q str) -> &'q str {
        match self.of {
            Sums::Days => days,
            Sums::Hours => hours,
        }
    }

    /// The first bucket that there is, and how many there can be.
    fn extent(&self, snapshot: &Connection) -> Result<(i64, i64)> {
        let mut statement = snapshot.prepare_cached(self.select(SPAN_OF_HOURS, SPAN_OF_DAYS))?;
        let (first, last): (Option<i64>, Option<i64>) =
            statement.query_row((self.from, self.until), |row| Ok((row.get(0)?, row.get(1)?)))?;
        let Some((first, last)) = first.zip(last) else { return Ok((0, 0)) };
        Ok((first, last.saturating_sub(first).saturating_add(1).max(0)))
    }
}

impl Reader {
    /// A page of sums, in the order of buckets and tokens, and after what to go on. Of all tokens the rows are read, of
    /// some each is looked for in each bucket.
    pub(crate) fn sums(&self, scope: &Scope, buckets: &Buckets) -> Result<SumPage> {
        let snapshot = self.0.unchecked_transaction()?;
        let (keys, next) = match tokens_of(&snapshot, scope)? {
            None => all_keys(&snapshot, buckets)?,
            Some(tokens) => keys_of(&snapshot, buckets, tokens)?,
        };
        let mut names = snapshot.prepare_cached(NAMES)?;
        let mut rows = Vec::new();
        for (bucket, token, tally) in keys {
            let found = names.query_row([token.as_row()], |row| Ok((row.get(0)?, row.get(1)?)));
            let (owner, name) = found.optional()?.unzip();
            rows.push(SumRow { bucket, token, owner, name, tally });
        }
        let (first, total) = buckets.extent(&snapshot)?;
        let done = next.map_or(total, |(bucket, _)| bucket.saturating_sub(first).clamp(0, total));
        Ok(SumPage { rows, next, done, total })
    }
}

type Keys = (Vec<(i64, TokenId, Tally)>, Option<(i64, TokenId)>);

fn all_keys(snapshot: &Connection, buckets: &Buckets) -> Result<Keys> {
    let (bucket, token) = buckets.after;
    let mut statement = snapshot.prepare_cached(buckets.select(HOURS, DAYS))?;
    let mut rows = statement.query((bucket, token.as_row(), buckets.until, PAGE as i64))?;
    let mut keys = Vec::new();
    while let Some(row) = rows.next()? {
        let (bucket, token) = (row.get(0)?, TokenId::from_row(row.get(1)?));
        keys.push((bucket, token, read(snapshot, buckets.of.tier(), bucket, token)?));
    }
    let last = keys.last().map(|(bucket, token, _)| (*bucket, *token));
    let next = last.filter(|_| keys.len() >= PAGE);
    Ok((keys, next))
}

fn keys_of(snapshot: &Connection, buckets: &Buckets, mut tokens: Vec<TokenId>) -> Result<Keys> {
    let tier = buckets.of.tier();
    tokens.retain(|token| *token != ALL);
    tokens.sort_unstable();
    let (mut bucket, mut after) = buckets.after;
    let (mut keys, mut looked_for) = (Vec::new(), 0);
    loop {
        let begin = tokens.partition_point(|token| *token <= after);
        for token in tokens[begin..].iter().copied() {
            if keys.len() >= PAGE || looked_for >= MOST_LOOK_UPS {
                return Ok((keys, Some((bucket, after))));
            }
            (after, looked_for) = (token, looked_for + 1);
            let tally = read(snapshot, tier, bucket, token)?;
            if tally.total() > 0 {
                keys.push((bucket, token, tally));
            }
        }
        // Also where there are no tokens: buckets are few.
        let next = tier.next_bucket(snapshot, bucket)?.filter(|next| *next < buckets.until);
        let Some(next) = next else { return Ok((keys, None)) };
        (bucket, after) = (next, ALL);
    }
}

fn read(snapshot: &Connection, tier: &Tier, bucket: i64, token: TokenId) -> Result<Tally> {
    let mut tally = Tally::default();
    tier.read_tally(snapshot, bucket, token, &mut tally)?;
    Ok(tally)
}
