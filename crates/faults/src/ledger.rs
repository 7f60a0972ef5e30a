//! The ledger, and its reconciliation with what the file has.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, OpenFlags};
use token_tracker::{Summary, TokenTracker};

use crate::entry::{Ack, Entry, Spent};
use crate::load::status_of;

/// What was acknowledged.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// Records, in the order in which they were entered.
    pub records: Vec<Ack>,
    /// Units of quotas that were used, by token.
    pub spent: BTreeMap<i64, u64>,
    denied: BTreeMap<i64, u64>,
    issued: BTreeMap<i64, String>,
    revoking: BTreeSet<i64>,
    revoked: BTreeSet<i64>,
    notes: Vec<String>,
}

/// A ledger that several threads enter things in.
#[derive(Clone, Debug, Default)]
pub struct Shared(Arc<Mutex<Ledger>>);

/// What the reconciliation found, where nothing in it was wrong.
#[derive(Debug)]
pub struct Audit {
    /// Rows of the log.
    pub rows: u64,
    /// Records that were acknowledged and are not in the log: what that means, the mode says.
    pub lost: Vec<Ack>,
}

/// A row of the log.
struct Row {
    id: i64,
    token: i64,
    back: i64,
    status: i64,
    outcome: i64,
    response_bytes: i64,
    cost: i64,
    weight: i64,
}

impl Shared {
    /// One more line.
    pub fn enter(&self, entry: Entry) {
        self.with(|ledger| ledger.enter(entry));
    }

    /// Whether this was said.
    #[must_use]
    pub fn has_note(&self, note: &str) -> bool {
        self.with(|ledger| ledger.notes.iter().any(|said| said == note))
    }

    /// Everything so far.
    #[must_use]
    pub fn copy(&self) -> Ledger {
        self.with(|ledger| ledger.clone())
    }

    /// Looks at it.
    pub fn with<T>(&self, look: impl FnOnce(&mut Ledger) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Ledger {
    fn enter(&mut self, entry: Entry) {
        match entry {
            Entry::Denied(token) => *self.denied.entry(token).or_default() += 1,
            Entry::Issued(token, secret) => {
                let earlier = self.issued.insert(token, secret);
                assert!(earlier.is_none(), "token {token} was issued twice");
            }
            Entry::Note(text) => self.notes.push(text),
            Entry::Recorded(ack) => self.records.push(ack),
            Entry::Revoked(token) => drop(self.revoked.insert(token)),
            Entry::Revoking(token) => drop(self.revoking.insert(token)),
            Entry::Spent(Spent { token, units }) => {
                *self.spent.entry(token).or_default() += u64::from(units);
            }
        }
    }

    /// What follows this word in a note.
    #[must_use]
    pub fn number(&self, word: &str) -> Option<u64> {
        self.notes.iter().find_map(|note| note.strip_prefix(word)?.trim().parse().ok())
    }

    /// The secret of a token that was issued.
    #[must_use]
    pub fn secret(&self, token: i64) -> Option<&str> {
        self.issued.get(&token).map(String::as_str)
    }

    /// Adds what another ledger of the same file has.
    pub fn absorb(&mut self, other: Self) {
        self.records.extend(other.records);
        for (token, count) in other.denied {
            *self.denied.entry(token).or_default() += count;
        }
        for (token, units) in other.spent {
            *self.spent.entry(token).or_default() += units;
        }
        for (token, secret) in other.issued {
            self.enter(Entry::Issued(token, secret));
        }
        self.revoking.extend(other.revoking);
        self.revoked.extend(other.revoked);
        self.notes.extend(other.notes);
    }

    /// Whatever began later may have happened or not.
    pub fn excuse(&mut self, later: Self) {
        self.revoking.extend(later.revoking);
    }

    /// Without denials and the catalogue.
    #[must_use]
    pub fn records_only(self) -> Self {
        Self { records: self.records, ..Self::default() }
    }

    /// Strikes out what a mode allowed to be lost, so that it is not found missing again.
    pub fn strike(&mut self, lost: &[Ack]) {
        self.records.retain(|ack| !lost.contains(ack));
    }

    /// Holds the ledger against the file, while nobody records: no record is doubled or another's, chains
    /// and heads are whole, the catalogue is as it was acknowledged, and sums are those of the log.
    ///
    /// # Panics
    /// Where any of this is not so.
    #[must_use]
    pub fn audit(&self, database: &Path, tracker: &TokenTracker) -> Audit {
        let rows = read(database);
        check_chains(database, &rows);
        check_sums(tracker, &rows);
        let found = tracker.verify().expect("the file can be looked through");
        assert_eq!(found.problems, [""; 0]);
        self.check_catalogue(tracker);
        let mut stored = HashMap::new();
        let mut denied: BTreeMap<i64, i64> = BTreeMap::new();
        for row in &rows {
            if row.outcome >= DENIED {
                *denied.entry(row.token).or_default() += row.weight;
            } else if row.cost != 1 {
                let earlier = stored.insert(row.cost, row);
                assert!(earlier.is_none(), "record {} is stored twice", row.cost);
            }
        }
        for (token, count) in &self.denied {
            let count = i64::try_from(*count).expect("it is no more than there is time for");
            let stored = denied.get(token).copied().unwrap_or_default();
            assert!(stored >= count, "token {token}: {stored} of {count} denials are stored");
        }
        let mut lost = Vec::new();
        for ack in &self.records {
            match stored.get(&i64::from(ack.serial)) {
                Some(row) => check_row(row, ack),
                None => lost.push(*ack),
            }
        }
        Audit { rows: rows.len() as u64, lost }
    }

    /// As [`Ledger::audit`], where nothing may be lost.
    ///
    /// # Panics
    /// Where anything is.
    pub fn assert_balances(&self, database: &Path, tracker: &TokenTracker) -> u64 {
        let audit = self.audit(database, tracker);
        let (lost, of) = (audit.lost.len(), self.records.len());
        assert!(lost == 0, "{lost} of {of} acknowledged are lost: {:?}", audit.lost.first());
        audit.rows
    }

    fn check_catalogue(&self, tracker: &TokenTracker) {
        for (token, secret) in &self.issued {
            let active = tracker.introspect(secret).expect("the catalogue can be asked").active;
            if self.revoked.contains(token) {
                assert!(!active, "token {token} was revoked and holds");
            } else if !self.revoking.contains(token) {
                assert!(active, "token {token} was issued and does not hold");
            }
        }
    }
}

const DENIED: i64 = 16;

fn check_row(row: &Row, ack: &Ack) {
    let stored = (row.token, row.status, row.response_bytes, row.weight);
    let said = (ack.token, i64::from(status_of(ack.serial)), i64::from(ack.serial % 1_000), 1);
    assert_eq!(stored, said, "record {} is not what was recorded", ack.serial);
}

fn look_at(database: &Path) -> Connection {
    Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .expect("the file can be read")
}

fn read(database: &Path) -> Vec<Row> {
    let connection = look_at(database);
    let sound: String = connection
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .expect("the file can be checked");
    assert_eq!(sound, "ok");
    let mut statement = connection
        .prepare(
            "SELECT id, token_id, back, status, outcome, response_bytes, coalesce(cost, 1),
             coalesce(weight, 1) FROM usage_log ORDER BY id",
        )
        .expect("there is a log");
    let rows = statement.query_map([], |row| {
        Ok(Row {
            id: row.get(0)?,
            token: row.get(1)?,
            back: row.get(2)?,
            status: row.get(3)?,
            outcome: row.get(4)?,
            response_bytes: row.get(5)?,
            cost: row.get(6)?,
            weight: row.get(7)?,
        })
    });
    rows.and_then(Iterator::collect).expect("the log can be read")
}

/// Every row leads to the one before it of the same token, and every head to the last.
fn check_chains(database: &Path, rows: &[Row]) {
    let mut last: BTreeMap<i64, i64> = BTreeMap::new();
    for row in rows {
        let previous = last.insert(row.token, row.id);
        let back = previous.map_or(0, |previous| row.id - previous);
        assert_eq!(row.back, back, "row {} of token {} leads astray", row.id, row.token);
    }
    let connection = look_at(database);
    let mut statement =
        connection.prepare("SELECT token_id, last_id FROM usage_heads").expect("there are heads");
    let heads: Result<BTreeMap<i64, i64>, _> =
        statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).and_then(Iterator::collect);
    assert_eq!(heads.expect("heads can be read"), last, "a head is not the newest row");
}

/// The sums that the library gives are the fold of the log, for every token and for all.
fn check_sums(tracker: &TokenTracker, rows: &[Row]) {
    let mut sums: BTreeMap<i64, [i64; 8]> = BTreeMap::new();
    for row in rows {
        for token in [row.token, ALL] {
            add(sums.entry(token).or_default(), row);
        }
    }
    for (token, sum) in sums {
        let stats = tracker.stats();
        let query = if token == ALL {
            stats.all()
        } else {
            stats.token(token.to_string().parse().expect("an id is a number"))
        };
        let summary = query.summary().expect("it can be summed up");
        assert_eq!(sum, fold(&summary), "token {token}: the log, and its summary");
    }
}

const ALL: i64 = i64::MIN;

fn add(sum: &mut [i64; 8], row: &Row) {
    let outcome = match row.outcome {
        DENIED.. => 4,
        outcome => usize::try_from(outcome).expect("an outcome is no less than 0"),
    };
    sum[outcome] += row.weight;
    sum[5] += row.weight;
    // A row that stands for several has their sums.
    sum[6] += row.response_bytes;
    sum[7] += row.cost;
}

/// In the order of the outcomes' codes.
fn fold(summary: &Summary) -> [i64; 8] {
    [
        summary.success,
        summary.client_error,
        summary.server_error,
        summary.unfinished,
        summary.denied,
        summary.total,
        summary.response_bytes,
        summary.cost,
    ]
    .map(|number| i64::try_from(number).expect("it is no more than there is time for"))
}
