//! The shape of the file: migrations and what is checked before the first of them.

use anyhow::{Context, Result};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

use super::rollup::Progress;
use crate::error::{Error, ErrorKind};

/// Marks a SQLite file as one of this library ("tktr").
const APPLICATION_ID: i32 = 0x746b_7472;

/// Append-only: a released migration is never edited. `user_version` counts those that were run.
const MIGRATIONS: [&str; 1] = [V1];

const V1: &str = concat!(include_str!("schema/v1.sql"), include_str!("schema/views.sql"));

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

/// What other tools read.
const VIEWS: [&str; 4] = ["tokens", "usage", "usage_daily", "usage_hourly"];

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

/// A check that costs the same however large the file is: tables and views are there, and the log ends where it says.
pub(super) fn check_ends(connection: &Connection) -> Result<()> {
    let damaged = |what: String| {
        Error::new(ErrorKind::Storage, format!("the database file is damaged: {what}"))
    };
    // Others may be writing: all of it is of one moment.
    let connection = &*connection.unchecked_transaction()?;
    let mut is_there =
        connection.prepare("SELECT 1 FROM sqlite_schema WHERE type = ?1 AND name = ?2")?;
    let (tables, views) = (TABLES.map(|name| ("table", name)), VIEWS.map(|name| ("view", name)));
    for (kind, name) in tables.into_iter().chain(views) {
        if !is_there.exists((kind, name))? {
            return Err(damaged(format!("it has no {kind} `{name}`")).into());
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::DenialReason;
    use crate::record::{Method, Outcome};
    use crate::timestamp::Timestamp;
    use crate::token::{TokenKind, TokenState};

    const PUT_ROW: &str = "REPLACE INTO usage_log
        (id, after_us, token_id, back, endpoint, status, outcome, duration_us, response_bytes)
        VALUES (1, 0, 1, 0, ?1, 200, ?2, 0, 0)";
    const PUT_TOKEN: &str = "REPLACE INTO catalogue
        (id, owner, name, kind, state, tags, scopes, metadata, fragment, created_at, expires_at)
        VALUES (1, '', '', ?1, ?2, '[]', '[]', '{}', '', 0, ?3)";

    fn database() -> Connection {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection).unwrap();
        connection
    }

    fn texts<const N: usize>(connection: &Connection, sql: &str) -> [Option<String>; N] {
        let read = |row: &rusqlite::Row<'_>| {
            let texts = (0..N).map(|at| row.get(at)).collect::<rusqlite::Result<Vec<_>>>()?;
            Ok(texts.try_into().unwrap())
        };
        connection.query_row(sql, [], read).unwrap()
    }

    #[test]
    fn views_name_every_method_outcome_and_reason_as_the_library_does() {
        let connection = database();
        for code in 0..=u8::MAX {
            let method = Method::from_code(code & 15);
            connection.execute(PUT_ROW, (code & 15, code)).unwrap();
            let outcome = Outcome::from_code(code);
            let [shown_method, shown, reason] =
                texts(&connection, "SELECT method, outcome, reason FROM usage");
            assert_eq!(shown_method.as_deref(), Some(method.as_str()), "{code}");
            let expected = outcome.and_then(Outcome::reason).map(DenialReason::as_str);
            assert_eq!(reason.as_deref(), expected, "{code}");
            // One that the library does not know may be shown as denied: nobody knows why.
            if let Some(outcome) = outcome {
                assert_eq!(shown.as_deref(), Some(outcome.as_str()), "{code}");
            }
        }
    }

    #[test]
    fn views_name_every_kind_and_status_as_the_library_does() {
        let connection = database();
        let (past, future) = (Timestamp::from_seconds(1), Timestamp::from_seconds(1 << 40));
        let now = Timestamp::from_seconds(1 << 35);
        for code in 0..=u8::MAX {
            for expires_at in [None, Some(past), Some(future)] {
                let expiry = expires_at.map(Timestamp::as_micros);
                connection.execute(PUT_TOKEN, (code, code, expiry)).unwrap();
                let [shown_kind, shown] = texts(&connection, "SELECT kind, status FROM tokens");
                let kind = TokenKind::from_code(code).map(|kind| kind.as_str().to_owned());
                let status = TokenState::from_code(code).map(|state| state.status(expires_at, now));
                assert_eq!(shown_kind, kind, "{code}");
                if let Some(status) = status {
                    assert_eq!(shown.as_deref(), Some(status.as_str()), "{code} {expires_at:?}");
                }
            }
        }
    }
}
