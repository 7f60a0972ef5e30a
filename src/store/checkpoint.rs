//! Moves what is in the write-ahead log into the file, on a connection of its own, so that no commit waits for it.

use anyhow::Result;
use parking_lot::Mutex;
use rusqlite::Connection;

/// Pages in the log from which on it is worth it: 4 MB of 4 KB pages, as SQLite has it.
const WORTH_IT: i64 = 1_000;

/// Pages from which on the log must start over: 32 MB.
const TOO_LONG: i64 = 8_000;

/// What came of a look at the log.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Checkpoint {
    Made,
    /// Made, of a log so long that the writer must make one between two commits: while it writes, the log cannot
    /// start over.
    MadeOfTooMuch,
    NotWorthIt,
}

/// The connection that makes checkpoints.
pub(crate) struct Checkpointer {
    connection: Mutex<Connection>,
}

impl Checkpointer {
    pub(super) fn new(connection: Connection) -> Self {
        Self { connection: Mutex::new(connection) }
    }

    /// Makes a checkpoint if that is worth it.
    pub(crate) fn run(&self) -> Result<Checkpoint> {
        let connection = self.connection.lock();
        if pages(&connection, "PRAGMA wal_checkpoint(NOOP)")? < WORTH_IT {
            return Ok(Checkpoint::NotWorthIt);
        }
        let is_too_long = run(&connection)? > TOO_LONG;
        Ok(if is_too_long { Checkpoint::MadeOfTooMuch } else { Checkpoint::Made })
    }

    /// Makes a checkpoint. What fails is left to a later one.
    pub(crate) fn make(&self) {
        let _ = run(&self.connection.lock());
    }
}

/// Checkpoints without waiting for anybody. Returns the pages in the log.
pub(super) fn run(connection: &Connection) -> Result<i64> {
    pages(connection, "PRAGMA wal_checkpoint(PASSIVE)")
}

/// Makes a checkpoint and empties the log, if nobody reads it just now. Returns whether it did.
pub(super) fn empty(connection: &Connection) -> Result<bool> {
    let is_busy: i64 =
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    Ok(is_busy == 0)
}

fn pages(connection: &Connection, pragma: &str) -> Result<i64> {
    Ok(connection.query_row(pragma, [], |row| row.get(1))?)
}
