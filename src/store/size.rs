//! The cap on the file: near it the oldest rows of the log go, before their time, and what is kept free is for
//! the catalogue.

use anyhow::Result;
use rusqlite::Connection;

use super::retention;
use crate::error::{Error, ErrorKind};

/// Rows of the log that one step removes.
const STEP: i64 = 8_192;

/// Steps that one batch waits for, at most: twice what a batch adds, so that a file over its cap shrinks.
pub(super) const STEPS_A_BATCH: usize = 2;

/// The share of the cap that is for the catalogue alone, as a divisor.
const RESERVE: u64 = 16;

/// Whether usage has come as far as it may.
pub(super) fn is_near(connection: &Connection, most: u64) -> Result<bool> {
    Ok(used(connection)? >= most - most / RESERVE)
}

/// Removes a step of the oldest rows of the log, if the file is near its cap and they are rolled up. Returns
/// whether there were any.
pub(super) fn shrink(transaction: &Connection, most: u64) -> Result<bool> {
    Ok(is_near(transaction, most)? && retention::prune_log(transaction, STEP, |_| true)?)
}

/// An error where nothing more may be written but the catalogue.
pub(super) fn check(connection: &Connection, most: u64) -> Result<()> {
    if is_near(connection, most)? {
        let message = "the file is as large as it may be, and has no old records left to remove";
        return Err(Error::new(ErrorKind::Storage, message).into());
    }
    Ok(())
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
    Ok(i64::try_from(most)?.checked_div(size).unwrap_or(i64::MAX).clamp(1, 4_294_967_294))
}
