//! What stands under the queue's lock.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use super::{Job, QueueOptions};
use crate::clock::{deadline, has_passed};
use crate::error::{Error, ErrorKind};
use crate::record::Record;
use crate::telemetry::{CommitTimes, StoredTotals};
use crate::thinning::Thinning;
use crate::timestamp::Timestamp;
use crate::token::TokenId;

/// Records to a chunk, at most. Chunks change hands whole, so that the lock is held for a moment only, however
/// large the group is.
pub(super) const CHUNK: usize = 512;

/// Empty chunks that are kept to be filled again.
pub(super) const MAX_SPARE: usize = 8;

/// Hours for which drops are counted apart while they cannot be stored.
const MAX_GAPS: usize = 64;

/// Some records in a row, and the position of the last.
pub(super) struct Chunk {
    pub(super) records: Vec<Record>,
    pub(super) last: u64,
}

pub(super) struct State {
    pub(super) chunks: VecDeque<Chunk>,
    pub(super) spare: Vec<Vec<Record>>,
    /// Records in the chunks.
    pub(super) waiting: usize,
    pub(super) thinning: Thinning,
    /// Drops that the file does not know of yet, by hour.
    pub(super) gaps: Vec<(i64, u64)>,
    pub(super) last_uses: HashMap<TokenId, Timestamp>,
    pub(super) jobs: VecDeque<Job>,
    pub(super) phase: Phase,
    /// Somebody waits for the commit of what is in the queue.
    pub(super) urgent: bool,
    /// When what waits is committed at the latest.
    pub(super) window_end: Option<Instant>,
    /// What the last turn was.
    pub(super) last_turn: Turn,
    pub(super) in_flight: u64,
    pub(super) last_uses_in_flight: usize,
    pub(super) accepted: u64,
    /// Accepted and not dropped on the spot: positions in the order of arrival.
    pub(super) enqueued: u64,
    /// Everything up to this position is in the batch in flight, or committed.
    pub(super) taken: u64,
    /// Everything up to this position is committed.
    pub(super) settled: u64,
    pub(super) stored: u64,
    /// What was stored, by outcome.
    pub(super) totals: StoredTotals,
    pub(super) commits: CommitTimes,
    pub(super) dropped: u64,
    pub(super) last_used_writes: u64,
    pub(super) groups_taken: u64,
    pub(super) groups_committed: u64,
    pub(super) failures: u64,
    pub(super) trouble: Option<Trouble>,
    pub(super) lost_at_end: bool,
}

#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) enum Turn {
    Job,
    Upkeep,
    Usage,
}

#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) enum Phase {
    Open,
    Closing,
    Closed,
}

pub(super) struct Trouble {
    pub(super) message: String,
    pub(super) poisoned: bool,
}

impl State {
    pub(super) fn new() -> Self {
        Self {
            chunks: VecDeque::new(),
            spare: Vec::new(),
            waiting: 0,
            thinning: Thinning::default(),
            gaps: Vec::new(),
            last_uses: HashMap::new(),
            jobs: VecDeque::new(),
            phase: Phase::Open,
            urgent: false,
            window_end: None,
            last_turn: Turn::Usage,
            in_flight: 0,
            last_uses_in_flight: 0,
            accepted: 0,
            enqueued: 0,
            taken: 0,
            settled: 0,
            stored: 0,
            totals: StoredTotals::default(),
            commits: CommitTimes::new(),
            dropped: 0,
            last_used_writes: 0,
            groups_taken: 0,
            groups_committed: 0,
            failures: 0,
            trouble: None,
            lost_at_end: false,
        }
    }

    /// Whether a commit is due: of what waits, or with `retry_at` of the batch that failed. Starts the
    /// window of what has come since the last time.
    pub(super) fn is_due(&mut self, retry_at: Option<Instant>, options: &QueueOptions) -> bool {
        let ending = self.phase != Phase::Open;
        if let Some(retry_at) = retry_at {
            return ending || has_passed(retry_at);
        }
        if self.is_empty() {
            return self.urgent;
        }
        let end = *self.window_end.get_or_insert_with(|| deadline(options.window));
        ending || self.urgent || self.waiting >= options.group || has_passed(end)
    }

    pub(super) fn append(&mut self, record: Record, size: usize) {
        self.waiting += 1;
        let position = self.enqueued;
        if let Some(chunk) = self.chunks.back_mut().filter(|chunk| chunk.records.len() < size) {
            chunk.records.push(record);
            chunk.last = position;
            return;
        }
        let mut records = self.spare.pop().unwrap_or_else(|| Vec::with_capacity(size));
        records.push(record);
        self.chunks.push_back(Chunk { records, last: position });
    }

    pub(super) fn note_gap(&mut self, at: Timestamp) {
        let hour = at.hour();
        let known = self.gaps.iter().position(|(known, _)| *known == hour);
        let last = self.gaps.len().checked_sub(1).filter(|last| *last + 1 >= MAX_GAPS);
        match known.or(last) {
            Some(known) => self.gaps[known].1 += 1,
            None => self.gaps.push((hour, 1)),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting == 0 && self.thinning.waiting() == 0 && self.last_uses.is_empty()
    }

    pub(super) fn buffered(&self) -> u64 {
        self.waiting as u64 + self.thinning.waiting() + self.in_flight
    }

    pub(super) fn storage_error(&self) -> Error {
        let message =
            self.trouble.as_ref().map_or("the storage failed", |trouble| &trouble.message);
        Error::new(ErrorKind::Storage, message)
    }
}
