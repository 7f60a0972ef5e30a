//! Damage to a database file: of its bytes, and of its cells in a way that SQLite finds in order.

use std::path::Path;
use std::time::Duration;

use arbitrary::{Arbitrary, Result, Unstructured};
use rusqlite::Connection;
use rusqlite::types::Value;

use crate::good_file::{GoodFile, PAGE};
use crate::usage_plan::{Number, Short};

/// A page in the log has a header of its own.
const FRAME: usize = PAGE + 24;

#[derive(Debug)]
pub struct Damage<'a> {
    pub blows: Vec<Blow<'a>>,
    pub cells: Vec<Cell<'a>>,
}

#[derive(Arbitrary, Clone, Copy, Debug, Eq, PartialEq)]
pub enum File {
    Database,
    Log,
}

/// Pages and offsets are numbered round.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub struct Place {
    file: File,
    page: u8,
    offset: u16,
}

#[derive(Arbitrary, Debug)]
pub enum Blow<'a> {
    CopyPage { file: File, from: u8, to: u8 },
    Fill { at: Place, length: u16, byte: u8 },
    Insert { at: Place, bytes: Short<'a> },
    Overwrite { at: Place, bytes: Short<'a> },
    Remove { at: Place, length: u16 },
    Replace { file: File, bytes: &'a [u8] },
    Truncate { at: Place },
}

/// A cell that is set to another value, as whoever can write the file could.
#[derive(Arbitrary, Debug)]
pub struct Cell<'a> {
    table: u8,
    column: u8,
    row: u8,
    value: Content<'a>,
}

#[derive(Arbitrary, Debug)]
pub enum Content<'a> {
    Blob(Short<'a>),
    Integer { size: Number, is_negative: bool },
    Nothing,
    Text(Short<'a>),
}

/// What the cells are in: a table, what its rows are known by, and its columns.
type Table = (&'static str, &'static str, &'static [&'static str]);

const SUMS: [&str; 13] = [
    "success",
    "client_error",
    "server_error",
    "denied",
    "unfinished",
    "below_400",
    "response_bytes",
    "cost",
    "duration_us",
    "longest_us",
    "latency",
    "token_id",
    "latency",
];

#[rustfmt::skip]
const TABLES: [Table; 19] = [
    ("audit", "id", &["id", "at", "actor", "actor_token", "act", "token_id", "reason", "detail"]),
    ("changes", "generation", &["generation", "token_id"]),
    ("credentials", "id", &["id", "token_id", "state", "issuer", "jti", "hash", "kid", "expires_at", "fragment",
        "created_at", "first_used_at", "ends_at", "ends_on_use", "retired_at"]),
    ("late_uses", "credential_id, reason", &["credential_id", "reason", "count", "first_at", "last_at",
        "last_address", "last_agent", "last_route"]),
    ("meta", "key", &["key", "value"]),
    ("names", "id", &["id", "kind", "text", "brought_by", "used_on"]),
    ("progress", "id", &["next_id", "rolled_up_to", "folded_day", "folded_token", "hourly_from", "log_from", "names_changed"]),
    ("quota_windows", "token_id, period", &["token_id", "period", "window_number", "granted", "told", "resets"]),
    ("token_addresses", "token_id, address", &["token_id", "address", "seen_at"]),
    ("tokens", "id", &["id", "owner", "name", "kind", "description", "tags", "scopes", "restrictions", "metadata",
        "fragment", "created_at", "expires_at", "last_used_at", "revoked_at", "revoked_by", "revoke_reason",
        "told_dormant", "told_expiring", "state"]),
    ("daily_sums", "day, token_id", &SUMS),
    ("daily_sums", "day, token_id", &["day"]),
    ("daily_counts", "day, token_id", &["day", "token_id", "counts"]),
    ("usage_groups", "first_id", &["first_id", "last_id", "first_at", "last_at", "base_at"]),
    ("usage_heads", "token_id", &["token_id", "last_id"]),
    ("hourly_sums", "hour, token_id", &SUMS),
    ("hourly_sums", "hour, token_id", &["hour"]),
    ("hourly_counts", "hour, token_id", &["hour", "token_id", "counts"]),
    ("usage_log", "id", &["id", "after_us", "token_id", "back", "endpoint", "status", "outcome", "duration_us",
        "response_bytes", "client_address", "user_agent", "cost", "weight"]),
];

/// Those that say who may do what.
const AUTHORITY: [&str; 2] = ["credentials", "tokens"];

/// The most that an input does.
const MOST: usize = 8;

impl<'a> Arbitrary<'a> for Damage<'a> {
    fn arbitrary(input: &mut Unstructured<'a>) -> Result<Self> {
        let mut damage = Self { blows: Vec::new(), cells: Vec::new() };
        while !input.is_empty() && damage.blows.len() + damage.cells.len() < MOST {
            match input.arbitrary()? {
                true => damage.cells.push(input.arbitrary()?),
                false => damage.blows.push(input.arbitrary()?),
            }
        }
        Ok(damage)
    }
}

impl Damage<'_> {
    /// Database and log with their bytes damaged.
    pub fn of_bytes(&self, good: &GoodFile) -> (Vec<u8>, Vec<u8>) {
        let (mut database, mut log) = (good.database.clone(), good.log.clone());
        for blow in &self.blows {
            let file = match blow.file() {
                File::Database => &mut database,
                File::Log => &mut log,
            };
            blow.strike(file);
        }
        (database, log)
    }

    pub fn is_of_authority(&self) -> bool {
        self.cells().any(|cell| AUTHORITY.contains(&cell.table().0))
    }

    /// Whether nothing is damaged.
    pub fn is_none(&self) -> bool {
        self.blows.is_empty() && self.cells.is_empty()
    }

    /// Sets the cells. What SQLite refuses is left as it is.
    pub fn set_cells(&self, path: &Path) {
        let Some(first) = self.cells().next() else { return };
        let Ok(connection) = Connection::open(path) else { return };
        let _ = connection.busy_timeout(Duration::from_millis(10));
        first.set(&connection);
        self.cells().skip(1).for_each(|cell| cell.set(&connection));
    }

    fn cells(&self) -> impl Iterator<Item = &Cell<'_>> {
        self.cells.iter()
    }
}

impl Blow<'_> {
    fn file(&self) -> File {
        match self {
            Self::CopyPage { file, .. } | Self::Replace { file, .. } => *file,
            Self::Fill { at, .. }
            | Self::Insert { at, .. }
            | Self::Overwrite { at, .. }
            | Self::Remove { at, .. }
            | Self::Truncate { at } => at.file,
        }
    }

    fn strike(&self, bytes: &mut Vec<u8>) {
        let length = bytes.len();
        match *self {
            Self::CopyPage { file, from, to } => {
                let place = |page| Place { file, page, offset: 0 };
                let (from, to) = (place(from).within(length), place(to).within(length));
                let end = length.min(from + PAGE).min(from + length - to);
                bytes.copy_within(from..end, to);
            }
            Self::Fill { at, length: most, byte } => {
                let start = at.within(length);
                let end = length.min(start + usize::from(most) + 1);
                bytes[start..end].fill(byte);
            }
            Self::Insert { at, bytes: more } => {
                let at = at.within(length);
                drop(bytes.splice(at..at, more.bytes().iter().copied()));
            }
            Self::Overwrite { at, bytes: others } => {
                let start = at.within(length);
                let others = others.bytes();
                let end = length.min(start + others.len());
                bytes[start..end].copy_from_slice(&others[..end - start]);
            }
            Self::Remove { at, length: most } => {
                let start = at.within(length);
                drop(bytes.drain(start..length.min(start + usize::from(most) + 1)));
            }
            Self::Replace { bytes: others, .. } => *bytes = others.to_vec(),
            Self::Truncate { at } => bytes.truncate(at.within(length)),
        }
    }
}

impl Place {
    fn within(self, length: usize) -> usize {
        let size = if self.file == File::Log { FRAME } else { PAGE };
        let at = usize::from(self.page) * size + usize::from(self.offset) % size;
        at.checked_rem(length).unwrap_or(0)
    }
}

impl Cell<'_> {
    fn table(&self) -> Table {
        TABLES[usize::from(self.table) % TABLES.len()]
    }

    fn set(&self, connection: &Connection) {
        let (table, key, columns) = self.table();
        let column = columns[usize::from(self.column) % columns.len()];
        let sql = format!(
            "UPDATE {table} SET {column} = ?1 WHERE ({key}) IN
                (SELECT {key} FROM {table} LIMIT 1 OFFSET ?2 % (SELECT max(1, count(*)) FROM {table}))"
        );
        let _ = connection.execute(&sql, (self.value.value(), self.row));
    }
}

impl Content<'_> {
    fn value(&self) -> Value {
        match *self {
            Self::Blob(bytes) => Value::Blob(bytes.bytes().to_vec()),
            Self::Integer { size, is_negative } => {
                let value = (size.value() & i64::MAX as u64) as i64;
                Value::Integer(if is_negative { -1 - value } else { value })
            }
            Self::Nothing => Value::Null,
            Self::Text(text) => Value::Text(text.text().to_owned()),
        }
    }
}
