//! The limit of storing: one prepared statement that appends the same columns, and nothing else.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use crate::traffic::{Request, Traffic};

/// Rows to a transaction: the tracker's own default.
const GROUP: usize = 8_192;

const CREATE: &str = "CREATE TABLE IF NOT EXISTS plain_log (
    id             INTEGER PRIMARY KEY,
    after_us       INTEGER NOT NULL,
    token_id       INTEGER NOT NULL,
    back           INTEGER NOT NULL,
    endpoint       INTEGER NOT NULL,
    status         INTEGER NOT NULL,
    outcome        INTEGER NOT NULL,
    duration_us    INTEGER NOT NULL,
    response_bytes INTEGER NOT NULL,
    client_address BLOB,
    user_agent     INTEGER,
    cost           INTEGER,
    weight         INTEGER
) STRICT";
const INSERT: &str = "INSERT INTO plain_log
    (after_us, token_id, back, endpoint, status, outcome, duration_us, response_bytes,
     client_address, user_agent, cost, weight)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";

/// A plain table in a file of its own.
pub(crate) struct PlainLog {
    connection: Connection,
}

impl PlainLog {
    /// At `synchronous=NORMAL`, with SQLite's own checkpoints after every 1,000 pages. Without any checkpoint
    /// it is 1.3 times as fast, and its log grows without end.
    ///
    /// The page cache is larger than the default, because bundled SQLite has one for all connections of a
    /// process: once a tracker's transactions fill it, this table's root would be read from the file again for
    /// every row, and the limit be a third lower than it is for a process of its own.
    pub(crate) fn create(path: &Path) -> Self {
        let connection = Connection::open(path).unwrap();
        let wal = connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()));
        wal.unwrap();
        connection.pragma_update(None, "synchronous", "NORMAL").unwrap();
        connection.pragma_update(None, "cache_size", -65_536).unwrap();
        connection.execute_batch(CREATE).unwrap();
        Self { connection }
    }

    pub(crate) fn append(&mut self, requests: &[Request]) {
        for group in requests.chunks(GROUP) {
            self.append_group(group).unwrap();
        }
    }

    fn append_group(&mut self, group: &[Request]) -> rusqlite::Result<()> {
        let behavior = TransactionBehavior::Immediate;
        let transaction = self.connection.transaction_with_behavior(behavior)?;
        let mut insert = transaction.prepare_cached(INSERT)?;
        for (request, after_us) in group.iter().zip((0_i64..).step_by(10)) {
            insert.raw_bind_parameter(1, after_us)?;
            insert.raw_bind_parameter(2, request.token as i64 + 1)?;
            insert.raw_bind_parameter(3, (request.token as i64 + 1) * 7)?;
            insert.raw_bind_parameter(4, (request.route as i64 + 2) * 16 + 4)?;
            insert.raw_bind_parameter(5, request.status)?;
            insert.raw_bind_parameter(6, request.status / 400)?;
            insert.raw_bind_parameter(7, request.elapsed.as_micros() as i64)?;
            insert.raw_bind_parameter(8, request.response_bytes as i64)?;
            insert.raw_bind_parameter(9, &request.client.octets()[..])?;
            insert.raw_bind_parameter(10, request.agent as i64 + 1)?;
            insert.raw_bind_parameter(11, None::<i64>)?;
            insert.raw_bind_parameter(12, None::<i64>)?;
            insert.raw_execute()?;
        }
        drop(insert);
        transaction.commit()
    }
}

/// So many requests, drawn before anything is measured.
pub(crate) fn requests(traffic: &mut Traffic, count: usize) -> Vec<Request> {
    (0..count).map(|_| traffic.request()).collect()
}
