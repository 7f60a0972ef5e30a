//! The cap on the file: near it the oldest rows of the log go, before their time, and what is kept free is for
//! the catalogue.

use std::fs::metadata;

use anyhow::Result;
use rusqlite::Connection;

use super::{Location, Store, retention};
use crate::error::{Error, ErrorKind};

/// Rows that one batch waits for, at most.
const MOST_ROWS: i64 = 2 * retention::LOG_STEP;

/// The share of the cap that is for the catalogue alone, as a divisor.
const RESERVE: u64 = 16;

/// In bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) file: u64,
    pub(crate) wal: u64,
    /// What the file may have.
    pub(crate) most: u64,
}

impl Store {
    /// How large the files are, by the file system; `None` in memory, and where it does not say.
    pub(crate) fn sizes(&self) -> Option<Sizes> {
        let Location::File(path) = &self.location else { return None };
        let file = metadata(path).ok()?.len();
        let mut wal = path.clone().into_os_string();
        wal.push("-wal");
        // It comes with the first write, and goes with the last connection.
        let wal = metadata(wal).map_or(0, |wal| wal.len());
        Some(Sizes { file, wal, most: self.max_file_size() })
    }
}

/// Removes the oldest rows of the log until there is room for `needed` bytes, or many are gone: what is over its
/// cap shrinks batch by batch. An error where there is no room, and nothing left to remove.
pub(super) fn make_room(transaction: &Connection, most: u64, needed: u64) -> Result<()> {
    let mut removed = 0;
    while removed < MOST_ROWS && is_near(transaction, most, needed)? {
        match retention::prune_log(transaction, |_| true)? {
            // What is needed is a guess: it is tried.
            0 if !is_near(transaction, most, 0)? => return Ok(()),
            0 => {
                let message =
                    "the file is as large as it may be, and has no old records left to remove";
                return Err(Error::new(ErrorKind::Storage, message).into());
            }
            rows => removed += rows,
        }
    }
    Ok(())
}

/// Removes a step of the oldest rows of the log, if the file is near its cap. Returns whether there were any.
pub(super) fn shrink(transaction: &Connection, most: u64) -> Result<bool> {
    Ok(is_near(transaction, most, 0)? && retention::prune_log(transaction, |_| true)? > 0)
}

/// Whether usage that needs so many bytes would come further than it may.
pub(super) fn is_near(connection: &Connection, most: u64, needed: u64) -> Result<bool> {
    let needed = needed.min(most / 4);
    Ok(used(connection)?.saturating_add(needed) >= most - most / RESERVE)
}

/// The bytes of the file that hold something.
fn used(connection: &Connection) -> Result<u64> {
    let number = |pragma: &str| -> Result<u64> {
        let mut statement = connection.prepare_cached(pragma)?;
        Ok(statement.query_row([], |row| row.get::<_, i64>(0))?.unsigned_abs())
    };
    let pages = number("PRAGMA page_count")?.saturating_sub(number("PRAGMA freelist_count")?);
    Ok(pages * number("PRAGMA page_size")?)
}

/// The most pages that the file may have.
pub(super) fn max_pages(connection: &Connection, most: u64) -> Result<i64> {
    let size: i64 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    Ok(most.checked_div(size).unwrap_or(i64::MAX).clamp(1, 4_294_967_294))
}
