//! Numbers that lead nowhere and codes that mean nothing.
//!
//! A row may outlive what it is of, and not be wrong: a request that was under way when its token was removed is
//! recorded after that, and what is left of it goes in time. So a row of a token, or a credential, that is not there is
//! a problem only where there never was one of that number; and a token that is not there, where the audit has it and
//! does not say that it was removed.

use anyhow::Result;
use rusqlite::Connection;

use crate::audit::Act;
use crate::quota::Period;
use crate::reason::DenialReason;
use crate::record::{Method, Outcome};
use crate::tally::{Breakdown, Dimension};
use crate::token::{Phase, TokenId, TokenKind, TokenState};

/// Codes that are in use, and how to tell whether they are known.
type Codes = (&'static str, &'static str, fn(u8) -> bool);

/// Without these no row of the log can be read.
const CODES_OF_LOG: [Codes; 2] = [
    ("outcome of a record", "SELECT DISTINCT outcome FROM usage_log", |code| {
        Outcome::from_code(code).is_some()
    }),
    ("method of a record", "SELECT DISTINCT endpoint & 15 FROM usage_log", |code| {
        Method::from_code(code).code() == code
    }),
];
const CODES: [Codes; 6] = [
    ("kind of a token", "SELECT DISTINCT kind FROM catalogue", |code| {
        TokenKind::from_code(code).is_some()
    }),
    ("state of a token", "SELECT DISTINCT state FROM catalogue", |code| {
        TokenState::from_code(code).is_some()
    }),
    ("state of a credential", "SELECT DISTINCT state FROM credentials", |code| {
        Phase::from_code(code).is_some()
    }),
    ("reason of a late use", "SELECT DISTINCT reason FROM late_uses WHERE reason <> 0", |code| {
        DenialReason::from_code(code).is_some()
    }),
    ("period of a quota", "SELECT DISTINCT period FROM quota_windows", |code| {
        Period::ALL.iter().any(|period| period.code() == code)
    }),
    ("act in the audit", "SELECT DISTINCT act FROM audit", |code| Act::from_code(code).is_some()),
];

const LAST_TOKEN: &str =
    "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'catalogue'";
const LAST_CREDENTIAL: &str =
    "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'credentials'";

/// Rows of something that never was: the last number that was given out is ?1.
const NEVER: [(&str, &str); 9] = [
    ("heads", "SELECT count(*) FROM usage_heads WHERE token_id NOT BETWEEN 1 AND ?1"),
    ("known addresses", "SELECT count(*) FROM token_addresses WHERE token_id NOT BETWEEN 1 AND ?1"),
    ("quota windows", "SELECT count(*) FROM quota_windows WHERE token_id NOT BETWEEN 1 AND ?1"),
    ("changes", "SELECT count(*) FROM changes WHERE token_id NOT BETWEEN 1 AND ?1"),
    (
        "entries of the audit",
        "SELECT count(*) FROM audit
            WHERE token_id NOT BETWEEN 1 AND ?1 OR actor_token NOT BETWEEN 1 AND ?1",
    ),
    ("sums of hours", "SELECT count(*) FROM hourly_sums WHERE token_id NOT BETWEEN 0 AND ?1"),
    ("counts of hours", "SELECT count(*) FROM hourly_counts WHERE token_id NOT BETWEEN 0 AND ?1"),
    ("sums of days", "SELECT count(*) FROM daily_sums WHERE token_id NOT BETWEEN 0 AND ?1"),
    ("counts of days", "SELECT count(*) FROM daily_counts WHERE token_id NOT BETWEEN 0 AND ?1"),
];
const LATE_USES_OF_NONE: &str =
    "SELECT count(*) FROM late_uses WHERE credential_id NOT BETWEEN 1 AND ?1";
const CREDENTIALS_OF_NONE: &str =
    "SELECT count(*) FROM credentials WHERE token_id NOT IN (SELECT id FROM catalogue)";

/// The removal of a token is the last that the audit has of it, and goes from there last.
const LOST: &str = "SELECT DISTINCT token_id FROM audit AS entry
    WHERE token_id NOT IN (SELECT id FROM catalogue)
        AND NOT EXISTS (SELECT 1 FROM audit WHERE token_id = entry.token_id AND act = ?1)";

/// Codes in the log that nobody knows.
pub(super) fn codes_of_log(connection: &Connection) -> Result<Vec<String>> {
    unknown(connection, &CODES_OF_LOG)
}

/// Codes elsewhere that nobody knows.
pub(super) fn codes(connection: &Connection) -> Result<Vec<String>> {
    unknown(connection, &CODES)
}

fn unknown(connection: &Connection, codes: &[Codes]) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    for (what, sql, is_known) in codes {
        let mut statement = connection.prepare(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let code: i64 = row.get(0)?;
            if !u8::try_from(code).is_ok_and(is_known) {
                problems.push(format!("{code} is no {what}"));
            }
        }
    }
    Ok(problems)
}

/// Whether counts are by methods and reasons that there are.
pub(super) fn are_known(counts: &Breakdown) -> bool {
    let all = |dimension, is_known: fn(u8) -> bool| {
        let mut codes = counts.counts(dimension).iter().filter_map(|(value, _)| value.number());
        codes.all(|code| u8::try_from(code).is_ok_and(is_known))
    };
    all(Dimension::Method, |code| Method::from_code(code).code() == code)
        && all(Dimension::Reason, |code| DenialReason::from_code(code).is_some())
}

/// Rows that are of no token or credential, and tokens that are gone.
pub(super) fn dangling(connection: &Connection) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
    let (last_token, last_credential) = (number(LAST_TOKEN)?, number(LAST_CREDENTIAL)?);
    let count =
        |sql: &str, last: i64| connection.query_row(sql, [last], |row| row.get::<_, i64>(0));
    for (what, sql) in NEVER {
        let rows = count(sql, last_token)?;
        if rows > 0 {
            problems.push(format!("{rows} {what} are of tokens that never were"));
        }
    }
    let late_uses = count(LATE_USES_OF_NONE, last_credential)?;
    if late_uses > 0 {
        problems.push(format!("{late_uses} late uses are of credentials that never were"));
    }
    let credentials = number(CREDENTIALS_OF_NONE)?;
    if credentials > 0 {
        problems.push(format!("{credentials} credentials are of no token"));
    }
    let mut statement = connection.prepare(LOST)?;
    let mut rows = statement.query([Act::Remove.code()])?;
    while let Some(row) = rows.next()? {
        let token = TokenId::from_row(row.get(0)?);
        problems.push(format!("token {token} is not there, and nobody removed it"));
    }
    Ok(problems)
}
