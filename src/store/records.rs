//! Records that meet a filter, in the order of commit, page by page.
//!
//! Newest first and of few tokens, their chains of back links are followed. Everything else is looked for row by
//! row, group by group: the times of rows do not ascend with their numbers, but each group knows its first and last.

mod chains;
mod scan;
mod sieve;

use anyhow::Result;
use rusqlite::Connection;

use super::Reader;
use super::log::{Records, tokens_of};
use super::rollup::Progress;
use crate::query::Scope;
use crate::record::{Place, RecordCursor, RecordFilter, UsageRecord};
use crate::timestamp::Timestamp;
use crate::token::TokenId;
use sieve::Sieve;

/// Rows that one page looks at: 7 ms.
const MOST_ROWS: usize = 50_000;

/// Links that one page follows: 19 ms.
const MOST_LINKS: usize = 10_000;

const FIRST_ID: &str = "SELECT min(id) FROM usage_log";
const STRETCH: &str = "SELECT min(first_id), max(last_id) FROM usage_groups
    WHERE last_at >= ?1 AND first_at <= ?2";

/// What is looked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Search<'q> {
    pub(crate) scope: &'q Scope,
    /// Its limit and its cursor are not looked at.
    pub(crate) filter: &'q RecordFilter,
    /// From when to before when.
    pub(crate) period: Option<(Timestamp, Timestamp)>,
    /// The last row that may be among them.
    pub(crate) last: i64,
    pub(crate) limit: u32,
}

impl<'q> Search<'q> {
    /// Of whatever time.
    pub(crate) fn new(scope: &'q Scope, filter: &'q RecordFilter, limit: u32) -> Self {
        Self { scope, filter, period: None, last: i64::MAX, limit }
    }
}

/// Some records, and where to go on.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) records: Vec<UsageRecord>,
    pub(crate) next: Option<Place>,
    /// The first row and the last that can be meant.
    pub(crate) ids: (i64, i64),
    /// The number that the next record was to have.
    pub(crate) end: i64,
}

impl Reader {
    /// The number that the next record is to have.
    pub(crate) fn next_record(&self) -> Result<i64> {
        Ok(Progress::read(&self.0)?.next_id)
    }

    /// A page, from its start or from a place on. Looks at `MOST_ROWS` rows at most, or follows `MOST_LINKS` links.
    pub(crate) fn records(&self, search: &Search<'_>, from: Option<&Place>) -> Result<Found> {
        let snapshot = self.0.unchecked_transaction()?;
        let mut look = Look::new(&snapshot, search)?;
        let (first, last) = look.ids;
        if let Some(place) = from {
            look.check(place, search.filter)?;
        }
        let next = match from {
            None if search.filter.oldest_first => look.up(first)?,
            None => match look.entries()? {
                Some(chains) => look.follow(chains)?,
                None => look.down(last)?,
            },
            Some(Place::Chains(rows)) => look.follow(rows.clone())?,
            Some(Place::Down(row)) => look.down(*row)?,
            Some(Place::Up(row)) => look.up(*row)?,
        };
        Ok(Found { records: look.records, next, ids: look.ids, end: look.progress.next_id })
    }

    /// The latest records, newest first. Of tokens the cost is a look-up a record and one a token, however long the log
    /// is.
    pub(crate) fn recent(&self, scope: &Scope, limit: u32) -> Result<Vec<UsageRecord>> {
        let snapshot = self.0.unchecked_transaction()?;
        let all = RecordFilter::new();
        let mut look = Look::new(&snapshot, &Search::new(scope, &all, limit))?;
        match look.heads()? {
            Some(heads) => look.follow(heads.into_values().collect())?,
            None => look.down(look.ids.1)?,
        };
        Ok(look.records)
    }
}

/// One page on its way.
struct Look<'s> {
    snapshot: &'s Connection,
    progress: Progress,
    tokens: Option<Vec<TokenId>>,
    sieve: Sieve<'s>,
    found: Records<'s>,
    /// The first and the last row that can be meant; none where the first comes after the last.
    ids: (i64, i64),
    limit: usize,
    looked_at: usize,
    records: Vec<UsageRecord>,
}

impl<'s> Look<'s> {
    fn new(snapshot: &'s Connection, search: &Search<'s>) -> Result<Self> {
        let tokens = tokens_of(snapshot, search.scope)?;
        let progress = Progress::read(snapshot)?;
        let sieve = Sieve::new(snapshot, search, tokens.as_deref())?;
        let oldest: Option<i64> =
            snapshot.prepare_cached(FIRST_ID)?.query_row([], |row| row.get(0))?;
        let mut ids = (oldest.unwrap_or(i64::MAX), search.last.min(progress.next_id - 1));
        if search.period.is_some() {
            let mut statement = snapshot.prepare_cached(STRETCH)?;
            let (first, last): (Option<i64>, Option<i64>) =
                statement.query_row(sieve.times, |row| Ok((row.get(0)?, row.get(1)?)))?;
            ids = (ids.0.max(first.unwrap_or(i64::MAX)), ids.1.min(last.unwrap_or(i64::MIN)));
        }
        Ok(Self {
            snapshot,
            progress,
            tokens,
            sieve,
            found: Records::new(snapshot)?,
            ids,
            limit: search.limit as usize,
            looked_at: 0,
            records: Vec::new(),
        })
    }

    /// Refuses a place that no page of this question ends at: whoever makes up a cursor can name any row.
    fn check(&self, place: &Place, filter: &RecordFilter) -> Result<()> {
        let is_of_this = match place {
            Place::Chains(rows) => {
                !filter.oldest_first && self.tokens.is_some() && self.are_in_scope(rows)?
            }
            Place::Down(_) => !filter.oldest_first,
            Place::Up(_) => filter.oldest_first,
        };
        if is_of_this { Ok(()) } else { Err(RecordCursor::of_another_question().into()) }
    }

    fn is_full(&self) -> bool {
        self.records.len() >= self.limit
    }

    fn take(&mut self, id: i64) -> Result<()> {
        self.records.extend(self.found.find(id)?.map(|(record, _)| record));
        Ok(())
    }
}
