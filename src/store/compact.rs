//! Gives pages that hold nothing back to the file system, some at a time.

use anyhow::Result;
use rusqlite::Connection;

use super::{CommitError, Session};
use crate::error::{Error, ErrorKind};

/// Has a new database know where each page is referred to, so that pages can be moved to the place of free ones. It
/// takes a page in about eight hundred. Nothing happens where there are tables already.
pub(super) fn prepare(connection: &Connection) -> Result<()> {
    Ok(connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?)
}

/// Moves pages from the end of the file to free ones, as many as takes a millisecond or two.
const STEP: &str = "PRAGMA incremental_vacuum(128)";
const MODE: &str = "PRAGMA auto_vacuum";
const INCREMENTAL: i64 = 2;
const FREE_PAGES: &str = "PRAGMA freelist_count";
const ALL_PAGES: &str = "PRAGMA page_count";
const PAGE_SIZE: &str = "PRAGMA page_size";

/// What one step came to, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Compacted {
    /// Given back. Nothing where there was nothing to give.
    pub(crate) freed: u64,
    /// That hold nothing, and are still in the file.
    pub(crate) free: u64,
}

impl Session {
    /// One step. What is given back is so for readers at once, for the file system by the next checkpoint that none
    /// of them holds up.
    pub(crate) fn compact(&mut self) -> Result<Compacted, CommitError> {
        self.transact(|_, transaction| {
            if number(transaction, MODE)? != INCREMENTAL {
                let message = "the file was not made to give pages back: with nobody on it, run \
                    `PRAGMA auto_vacuum = INCREMENTAL; VACUUM`";
                return Err(Error::new(ErrorKind::Storage, message).into());
            }
            let before = number(transaction, ALL_PAGES)?;
            let mut statement = transaction.prepare_cached(STEP)?;
            let mut rows = statement.query([])?;
            // A row a page: it goes on only while it is asked.
            while rows.next()?.is_some() {}
            let pages = before.saturating_sub(number(transaction, ALL_PAGES)?);
            let free = number(transaction, FREE_PAGES)?;
            let size = number(transaction, PAGE_SIZE)?.unsigned_abs();
            let bytes = |pages: i64| pages.unsigned_abs() * size;
            Ok(Compacted { freed: bytes(pages), free: bytes(free) })
        })
    }
}

fn number(connection: &Connection, pragma: &str) -> Result<i64> {
    Ok(connection.prepare_cached(pragma)?.query_row([], |row| row.get(0))?)
}
