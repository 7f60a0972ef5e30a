//! The shape of the file: migrations and what is checked before the first of them.

use anyhow::{Context, Result};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

use super::rollup::Progress;
use crate::error::{Error, ErrorKind};

/// Marks a SQLite file as one of this library ("tktr").
const APPLICATION_ID: i32 = 0x746b_7472;

/// Append-only: a released migration is never edited. `user_version` counts those that were run.
const MIGRATIONS: [&str; 1] = [V1];

const V1: &str = include_str!("schema/v1.sql");

const TABLES: [&str; 18] = [
    "audit",
    "catalogue",
    "changes",
    "credentials",
    "daily_counts",
    "daily_sums",
    "hourly_counts",
    "hourly_sums",
    "late_uses",
    "meta",
    "names",
    "progress",
    "quota_windows",
    "token_addresses",
    "usage_gaps",
    "usage_groups",
    "usage_heads",
    "usage_log",
];

/// Refuses what is not ours or is newer, and brings what is older up to date.
pub(super) fn migrate(connection: &mut Connection) -> Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version = check(&transaction)?;
    for (at, migration) in MIGRATIONS.iter().enumerate().skip(version) {
        transaction.execute_batch(migration).with_context(|| format!("migration {}", at + 1))?;
    }
    if version < MIGRATIONS.len() {
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", MIGRATIONS.len() as i64)?;
    }
    Ok(transaction.commit()?)
}

/// Refuses to go on writing a file that somebody has brought to a newer schema meanwhile.
pub(super) fn check_version(transaction: &Connection) -> Result<()> {
    let mut statement = transaction.prepare_cached("PRAGMA user_version")?;
    let version: i64 = statement.query_row([], |row| row.get(0))?;
    if version == MIGRATIONS.len() as i64 {
        return Ok(());
    }
    Err(newer(version).into())
}

fn newer(version: impl std::fmt::Display) -> Error {
    let newest = MIGRATIONS.len();
    let message =
        format!("the file has schema {version}, newer than {newest}: update token-tracker");
    Error::new(ErrorKind::NewerSchema, message)
}

/// A check that costs the same however large the file is: the tables are there, and the log ends where it says.
pub(super) fn check_ends(connection: &Connection) -> Result<()> {
    let damaged = |what: String| {
        Error::new(ErrorKind::Storage, format!("the database file is damaged: {what}"))
    };
    // Others may be writing: all of it is of one moment.
    let connection = &*connection.unchecked_transaction()?;
    for table in TABLES {
        let found = connection.query_row(
            "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1",
            [table],
            |_| Ok(()),
        );
        found.optional()?.ok_or_else(|| damaged(format!("it has no table `{table}`")))?;
    }
    let progress = Progress::read(connection)?;
    let last: Option<i64> =
        connection.query_row("SELECT max(id) FROM usage_log", [], |row| row.get(0))?;
    let end: Option<i64> = connection.query_row(
        "SELECT max(last_id) FROM (SELECT last_id FROM usage_groups
            ORDER BY first_id DESC LIMIT 1)",
        [],
        |row| row.get(0),
    )?;
    if last.is_some_and(|last| last != progress.next_id - 1) || last != end {
        return Err(damaged("the log ends elsewhere than it says".to_owned()).into());
    }
    Ok(())
}

/// The schema version of the file, 0 where it is empty. Reads only.
pub(super) fn check(connection: &Connection) -> Result<usize> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let version = usize::try_from(pragma("user_version")?).unwrap_or(usize::MAX);
    let ours = pragma("application_id")? == APPLICATION_ID;
    let used = connection
        .query_row("SELECT 1 FROM sqlite_schema LIMIT 1", [], |_| Ok(()))
        .optional()?
        .is_some();
    if !ours && (used || version != 0) {
        let message = "the file is a SQLite database of another application";
        return Err(Error::new(ErrorKind::NotADatabase, message).into());
    }
    if version > MIGRATIONS.len() {
        return Err(newer(version).into());
    }
    Ok(version)
}
