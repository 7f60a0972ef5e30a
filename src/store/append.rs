//! Records into the log: numbered, linked to the row before of their token, and summed up.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Context, Result};
use rusqlite::{Connection, OptionalExtension};

use super::dictionary::{Dictionary, Kind as Name};
use super::log;
use super::log_rows::{LogRows, NewRow, column};
use super::rollup::{Progress, Tail};
use crate::clients::{Client, Seed};
use crate::id_hash::IdHash;
use crate::record::Record;
use crate::tally::Fact;
use crate::thinning::Kind;
use crate::timestamp::Timestamp;
use crate::token::TokenId;

/// Link heads kept in memory; past this they are read again.
const MAX_HEADS: usize = 32_768;

/// Rows with a weight that may still grow; past this new ones are begun.
const MAX_GROWING: usize = 4_096;

/// Sums that a batch adds to, as a guess: more tokens than that are rarely active at once.
const SUMS_A_BATCH: u64 = 512;

/// Rows to a group, after which the next one begins. So does it in another hour, so that what is old can go when it
/// is, however few rows there are.
const ROWS_A_GROUP: i64 = 4_096;

/// Sums stop at their largest value: an overflow would make a real number, which the column refuses.
const GROW: &str = "UPDATE usage_log SET
    weight = min(coalesce(weight, 1) + ?2, 4294967295),
    response_bytes = response_bytes + min(?3, 9223372036854775807 - response_bytes),
    cost = coalesce(cost, 1) + min(?4, 9223372036854775807 - coalesce(cost, 1))
    WHERE id = ?1";
const SET_HEAD: &str = "REPLACE INTO usage_heads (token_id, last_id) VALUES (?1, ?2)";
const LAST_GROUP: &str =
    "SELECT first_id, last_id, base_at FROM usage_groups ORDER BY first_id DESC LIMIT 1";
const EXTEND_GROUP: &str = "UPDATE usage_groups SET last_id = ?2, first_at = min(first_at, ?3),
    last_at = max(last_at, ?4) WHERE first_id = ?1";
const ADD_GROUP: &str = "INSERT INTO usage_groups (first_id, last_id, first_at, last_at, base_at)
    VALUES (?1, ?2, ?3, ?4, ?5)";

/// What the writer remembers of the log. All of it can be read again, and is where the file may have changed
/// by another hand or by a transaction that was rolled back.
#[derive(Default)]
pub(super) struct LogMemory {
    pub(super) dictionary: Dictionary,
    heads: HashMap<TokenId, Head, IdHash>,
    /// The rows with a weight, by what they are of.
    growing: HashMap<Kind, Growing>,
    tail: Tail,
    batches: u64,
}

/// A row that grows: what is added to it counts as what the row says, so that sums equal the log.
#[derive(Clone, Copy)]
struct Growing {
    id: i64,
    fact: Fact,
}

struct Head {
    last_id: i64,
    /// The batch that moved it.
    batch: u64,
}

impl LogMemory {
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Makes the memory that of the file, and says how far the log is. Rows that another hand appended are
    /// rolled up with the next batch, so that nobody reads them twice.
    pub(super) fn catch_up(&mut self, transaction: &Connection) -> Result<Progress> {
        let progress = Progress::read(transaction)?;
        if !self.tail.is_of(&progress) {
            *self = Self { batches: self.batches, ..Self::default() };
            self.tail = Tail::read(transaction, &progress)?;
        }
        Ok(progress)
    }

    /// Stores records in order, then those that stand for several each.
    pub(super) fn append(
        &mut self,
        transaction: &Connection,
        chunks: &[Vec<Record>],
        excess: &[Record],
    ) -> Result<()> {
        if excess.is_empty() && chunks.iter().all(Vec::is_empty) {
            return Ok(());
        }
        let mut progress = self.catch_up(transaction)?;
        self.batches += 1;
        if self.heads.len() > MAX_HEADS {
            self.heads.clear();
        }
        if self.growing.len() > MAX_GROWING {
            self.growing.clear();
        }
        let mut appending = Appending {
            rows: LogRows::new(transaction)?,
            group: None,
            next: progress.next_id,
            touched: Vec::new(),
            transaction,
            seed: progress.seed,
            memory: self,
        };
        for record in chunks.iter().flatten() {
            appending.insert(record)?;
        }
        for record in excess {
            appending.grow(record)?;
        }
        progress.next_id = appending.finish()?;
        self.tail.end_at(progress.next_id);
        if self.tail.is_due() {
            self.tail.roll_up(transaction, &mut progress)?;
        }
        progress.write(transaction)
    }

    /// About how much the file grows by so many rows and all sums that wait.
    pub(super) fn bytes_to_write(&self, rows: u64) -> u64 {
        const ROW: u64 = 64;
        const SUM: u64 = 1_024;
        rows * ROW + (rows.min(SUMS_A_BATCH) + self.tail.keys()) * SUM
    }

    /// Some names may be gone from the file, and there may be room for others.
    pub(super) fn forget_names(&mut self) {
        self.dictionary = Dictionary::default();
    }

    /// Rolls up what is not yet. Returns whether there was anything.
    pub(super) fn roll_up(&mut self, transaction: &Connection) -> Result<bool> {
        let mut progress = self.catch_up(transaction)?;
        if self.tail.is_empty() {
            return Ok(false);
        }
        self.tail.roll_up(transaction, &mut progress)?;
        progress.write(transaction)?;
        Ok(true)
    }

    fn head(&mut self, transaction: &Connection, token: TokenId) -> Result<&mut Head> {
        use std::collections::hash_map::Entry;
        Ok(match self.heads.entry(token) {
            Entry::Occupied(head) => head.into_mut(),
            Entry::Vacant(place) => {
                let last_id = log::head(transaction, token)?.unwrap_or(0);
                place.insert(Head { last_id, batch: 0 })
            }
        })
    }
}

/// One batch on its way into the log.
struct Appending<'m, 'c> {
    transaction: &'c Connection,
    rows: LogRows<'c>,
    memory: &'m mut LogMemory,
    group: Option<Group>,
    next: i64,
    seed: Seed,
    touched: Vec<TokenId>,
}

/// Rows in a row, of one hour. Their times are told from a base, which takes three to four bytes a row instead of
/// eight.
struct Group {
    first_id: i64,
    base_at: i64,
    first_at: i64,
    last_at: i64,
    /// It goes on in this group of the file.
    goes_on: Option<i64>,
}

impl Group {
    /// The group of a row: the last one of the file, if that has room, else a new one.
    fn of(transaction: &Connection, id: i64, at: i64) -> Result<Self> {
        let last: Option<(i64, i64, i64)> = transaction
            .prepare_cached(LAST_GROUP)?
            .query_row([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .optional()?;
        let has_room = |(first, end, base): &(i64, i64, i64)| {
            *end == id - 1 && end.saturating_sub(*first) < ROWS_A_GROUP && hour(*base) == hour(at)
        };
        let goes_on = last.filter(has_room);
        Ok(Self {
            first_id: id,
            base_at: goes_on.map_or(at, |(.., base)| base),
            first_at: at,
            last_at: at,
            goes_on: goes_on.map(|(first, ..)| first),
        })
    }

    /// Writes down that the group has rows up to `last_id`.
    fn write(&self, transaction: &Connection, last_id: i64) -> Result<()> {
        if let Some(first_id) = self.goes_on {
            let row = (first_id, last_id, self.first_at, self.last_at);
            transaction.prepare_cached(EXTEND_GROUP)?.execute(row)?;
        } else {
            let row = (self.first_id, last_id, self.first_at, self.last_at, self.base_at);
            transaction.prepare_cached(ADD_GROUP)?.execute(row)?;
        }
        Ok(())
    }
}

fn hour(at: i64) -> i64 {
    Timestamp::from_micros(at).hour()
}

impl Appending<'_, '_> {
    fn insert(&mut self, record: &Record) -> Result<()> {
        let fact = self.fact(record)?;
        self.insert_row(record, &fact)
    }

    /// A record that is too much of its kind: into the row that has those before it, if there is one.
    fn grow(&mut self, record: &Record) -> Result<()> {
        let fact = self.fact(record)?;
        let Some(kind) = Kind::of(record) else { return self.insert_row(record, &fact) };
        if let Some(Growing { id, fact: first }) = self.memory.growing.get(&kind).copied() {
            self.rows.flush()?;
            let (bytes, cost) = (column(fact.response_bytes), column(fact.cost));
            let mut grow = self.transaction.prepare_cached(GROW)?;
            if grow.execute((id, record.weight, bytes, cost))? > 0 {
                let Fact { response_bytes, cost, weight, .. } = fact;
                let added = Fact { response_bytes, cost, weight, ..first };
                self.memory.tail.grow(id, record.at.hour(), record.token, &added);
                return Ok(());
            }
        }
        self.memory.growing.insert(kind, Growing { id: self.next, fact });
        self.insert_row(record, &fact)
    }

    fn fact(&mut self, record: &Record) -> Result<Fact> {
        let (transaction, token, seed) = (self.transaction, record.token, self.seed);
        let today = record.at.day();
        let names = &mut self.memory.dictionary;
        let mut id = |name, text: Option<&Arc<str>>| match text {
            None => Ok(None),
            Some(text) => names.id(transaction, name, text, token, today).map(Some),
        };
        let route = id(Name::Route, record.route.as_ref())?;
        let user_agent = id(Name::UserAgent, record.user_agent.as_ref())?;
        Ok(Fact {
            outcome: record.outcome,
            status: record.status,
            duration_us: record.duration_us.unsigned_abs(),
            response_bytes: record.response_bytes.min(i64::MAX as u64),
            cost: record.cost.min(i64::MAX as u64),
            weight: record.weight.into(),
            route,
            user_agent,
            method: record.method,
            client: record.client_address.map(|address| Client::new(address, seed)),
        })
    }

    fn insert_row(&mut self, record: &Record, fact: &Fact) -> Result<()> {
        let (id, at) = (self.next, record.at.as_micros());
        let batch = self.memory.batches;
        let head = self.memory.head(self.transaction, record.token)?;
        let back = if head.last_id > 0 { id - head.last_id } else { 0 };
        if head.batch != batch {
            self.touched.push(record.token);
        }
        *head = Head { last_id: id, batch };
        let (token, address) = (record.token, record.client_address);
        let after_us = self.enter_group(id, at)?;
        self.rows.push(NewRow { id, after_us, token, back, address, fact: *fact })?;
        self.memory.tail.add(record.at.hour(), record.token, fact);
        self.next = id.checked_add(1).context("the log is full")?;
        Ok(())
    }

    /// Puts a row in its group. Returns its time there.
    fn enter_group(&mut self, id: i64, at: i64) -> Result<i64> {
        if let Some(group) = self.group.take_if(|group| hour(group.base_at) != hour(at)) {
            group.write(self.transaction, id - 1)?;
        }
        let group = match &mut self.group {
            Some(group) => group,
            none => none.insert(Group::of(self.transaction, id, at)?),
        };
        group.first_at = group.first_at.min(at);
        group.last_at = group.last_at.max(at);
        Ok(at.saturating_sub(group.base_at))
    }

    /// Writes what the rows come to. Returns the next id.
    fn finish(mut self) -> Result<i64> {
        self.rows.flush()?;
        self.touched.sort_unstable();
        let mut set_head = self.transaction.prepare_cached(SET_HEAD)?;
        for token in &self.touched {
            let head = self.memory.head(self.transaction, *token)?.last_id;
            set_head.execute((token.as_row(), head))?;
        }
        if let Some(group) = &self.group {
            group.write(self.transaction, self.next - 1)?;
        }
        Ok(self.next)
    }
}
