//! What waits for the writer: a bounded queue that takes a record without ever blocking.
//!
//! All accounts stand under the queue's one lock, so that they balance at every moment.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::clock::{deadline, has_passed};
use crate::error::{Error, ErrorKind};
use crate::health::Health;
use crate::record::Record;
use crate::store::{Batch, Session};
use crate::timestamp::Timestamp;
use crate::token::TokenId;

/// An act of administration, run on the writer's thread before any more usage is written.
pub(crate) type Job = Box<dyn FnOnce(&mut Session) + Send>;

/// How the queue is cut into commits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueueOptions {
    /// Records that may wait.
    pub(crate) capacity: usize,
    /// Records to a commit, at most.
    pub(crate) group: usize,
    /// How long a record waits for company.
    pub(crate) window: Duration,
}

pub(crate) struct Queue {
    options: QueueOptions,
    state: Mutex<State>,
    /// The writer waits here.
    work: Condvar,
    /// Everybody who waits for the writer waits here.
    progress: Condvar,
}

struct State {
    records: VecDeque<Record>,
    last_uses: HashMap<TokenId, Timestamp>,
    jobs: VecDeque<Job>,
    phase: Phase,
    /// Somebody waits for the commit of what is in the queue.
    urgent: bool,
    /// When what waits is committed at the latest.
    window_end: Option<Instant>,
    /// Whether the last turn was a job's.
    had_a_job: bool,
    in_flight: u64,
    last_uses_in_flight: usize,
    accepted: u64,
    /// Accepted and not dropped on the spot: positions in the order of commit.
    enqueued: u64,
    stored: u64,
    dropped: u64,
    last_used_writes: u64,
    groups_taken: u64,
    groups_committed: u64,
    failures: u64,
    trouble: Option<Trouble>,
    lost_at_end: bool,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Phase {
    Open,
    Closing,
    Closed,
}

struct Trouble {
    message: String,
    poisoned: bool,
}

/// What became of a record at the door.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Entrance {
    Dropped,
    /// At this position in the order of commit.
    Enqueued(u64),
}

/// What the writer is to do next.
pub(crate) enum Work {
    Commit(Batch),
    End,
    Job(Job),
    /// The batch that failed is due again.
    Retry,
}

impl Queue {
    pub(crate) fn new(options: QueueOptions) -> Self {
        let state = State {
            records: VecDeque::new(),
            last_uses: HashMap::new(),
            jobs: VecDeque::new(),
            phase: Phase::Open,
            urgent: false,
            window_end: None,
            had_a_job: false,
            in_flight: 0,
            last_uses_in_flight: 0,
            accepted: 0,
            enqueued: 0,
            stored: 0,
            dropped: 0,
            last_used_writes: 0,
            groups_taken: 0,
            groups_committed: 0,
            failures: 0,
            trouble: None,
            lost_at_end: false,
        };
        let (work, progress) = (Condvar::new(), Condvar::new());
        Self { options, state: Mutex::new(state), work, progress }
    }

    /// Takes a record, or drops and counts it where the queue is full or closed. Never waits.
    pub(crate) fn push(&self, record: Record) -> Entrance {
        self.enter(self.state.lock(), record)
    }

    /// Takes a record as soon as there is room. Drops and counts it where the queue is closed.
    pub(crate) fn push_waiting(&self, record: Record) -> Entrance {
        let mut state = self.state.lock();
        // A full queue holds a full group at least: the writer is at it without being told.
        while state.phase == Phase::Open && state.records.len() >= self.options.capacity {
            self.progress.wait(&mut state);
        }
        self.enter(state, record)
    }

    fn enter(&self, mut state: MutexGuard<'_, State>, record: Record) -> Entrance {
        state.accepted += 1;
        if state.phase != Phase::Open || state.records.len() >= self.options.capacity {
            state.dropped += 1;
            return Entrance::Dropped;
        }
        state.enqueued += 1;
        state.records.push_back(record);
        let position = state.enqueued;
        let waiting = state.records.len();
        drop(state);
        // The first starts the window, a full group ends it; nothing between wakes the writer.
        if waiting == 1 || waiting == self.options.group {
            self.work.notify_one();
        }
        Entrance::Enqueued(position)
    }

    /// Takes a last use, or refuses it where too many wait.
    pub(crate) fn push_last_use(&self, token: TokenId, at: Timestamp) -> bool {
        let mut state = self.state.lock();
        if state.phase != Phase::Open || state.last_uses.len() >= self.options.capacity {
            return false;
        }
        let first = state.last_uses.is_empty();
        state.last_uses.insert(token, at);
        drop(state);
        if first {
            self.work.notify_one();
        }
        true
    }

    /// Hands the writer a job. It is dropped unrun where the queue is closed.
    pub(crate) fn push_job(&self, job: Job) {
        let mut state = self.state.lock();
        if state.phase != Phase::Open {
            drop(state);
            return drop(job);
        }
        state.jobs.push_back(job);
        drop(state);
        self.work.notify_one();
    }

    /// Waits until everything that is in the queue is committed.
    pub(crate) fn flush(&self) -> Result<(), Error> {
        let mut state = self.state.lock();
        let (group, position, failures) = (state.groups_taken + 1, state.enqueued, state.failures);
        loop {
            if state.groups_committed >= group && state.stored >= position {
                return Ok(());
            }
            if state.phase == Phase::Closed {
                return if state.stored >= position { Ok(()) } else { Err(lost()) };
            }
            if state.failures > failures {
                return Err(state.storage_error());
            }
            if state.groups_taken < group {
                state.urgent = true;
                self.work.notify_one();
            }
            self.progress.wait(&mut state);
        }
    }

    /// Waits until the record at `position` is committed, or lost, or the time is over.
    pub(crate) fn wait_for(&self, position: u64, timeout: Option<Duration>) -> Result<(), Error> {
        let end = timeout.map(deadline);
        let mut state = self.state.lock();
        loop {
            if state.stored >= position {
                return Ok(());
            }
            if state.phase == Phase::Closed {
                return Err(lost());
            }
            if end.is_some_and(has_passed) {
                return Err(Error::new(ErrorKind::Busy, "the record is not stored yet"));
            }
            if state.stored + state.in_flight < position {
                state.urgent = true;
                self.work.notify_one();
            }
            match end {
                Some(end) => drop(self.progress.wait_until(&mut state, end)),
                None => self.progress.wait(&mut state),
            }
        }
    }

    /// Stops taking anything. What is in the queue is still written.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        if state.phase == Phase::Open {
            state.phase = Phase::Closing;
        }
        drop(state);
        self.work.notify_one();
        self.progress.notify_all();
    }

    /// Waits for the end, and says whether everything was written.
    pub(crate) fn wait_for_end(&self) -> Result<(), Error> {
        let mut state = self.state.lock();
        while state.phase != Phase::Closed {
            self.progress.wait(&mut state);
        }
        if state.lost_at_end { Err(lost()) } else { Ok(()) }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state.lock().phase != Phase::Open
    }

    /// The part of the health snapshot that the queue knows.
    pub(crate) fn health(&self) -> Health {
        let state = self.state.lock();
        Health {
            accepted: state.accepted,
            stored: state.stored,
            buffered: state.buffered(),
            dropped: state.dropped,
            last_used_writes: state.last_used_writes,
            last_error: state.trouble.as_ref().map(|trouble| trouble.message.clone()),
            degraded: state.trouble.is_some(),
            poisoned: state.trouble.as_ref().is_some_and(|trouble| trouble.poisoned),
            closed: state.phase != Phase::Open,
            ..Health::default()
        }
    }
}

/// The writer's side.
impl Queue {
    /// Waits for something to do. Jobs come first, but between two of them a group that is due has its
    /// turn; with `retry_at` that is the batch that failed.
    pub(crate) fn next(&self, retry_at: Option<Instant>) -> Work {
        let mut state = self.state.lock();
        loop {
            let due = state.is_due(retry_at, &self.options);
            if due && (state.jobs.is_empty() || state.had_a_job) {
                state.had_a_job = false;
                return if retry_at.is_some() { Work::Retry } else { self.take(state) };
            }
            if let Some(job) = state.jobs.pop_front() {
                state.had_a_job = true;
                return Work::Job(job);
            }
            if retry_at.is_none() && state.is_empty() && state.phase != Phase::Open {
                return Work::End;
            }
            match retry_at.or(state.window_end) {
                Some(end) => drop(self.work.wait_until(&mut state, end)),
                None => self.work.wait(&mut state),
            }
        }
    }

    fn take(&self, mut state: MutexGuard<'_, State>) -> Work {
        let count = state.records.len().min(self.options.group);
        let records: Vec<Record> = state.records.drain(..count).collect();
        let last_uses = std::mem::take(&mut state.last_uses);
        state.in_flight = records.len() as u64;
        state.last_uses_in_flight = last_uses.len();
        state.groups_taken += 1;
        state.urgent &= !state.records.is_empty();
        state.window_end = None;
        drop(state);
        self.progress.notify_all();
        Work::Commit(Batch { records, last_uses: last_uses.into_iter().collect() })
    }

    /// The batch in flight is committed.
    pub(crate) fn committed(&self, last_used_writes: u64) {
        let mut state = self.state.lock();
        state.stored += std::mem::take(&mut state.in_flight);
        state.last_uses_in_flight = 0;
        state.last_used_writes += last_used_writes;
        state.groups_committed = state.groups_taken;
        state.trouble = None;
        drop(state);
        self.progress.notify_all();
    }

    /// The batch in flight is not committed, and stays in flight.
    pub(crate) fn failed(&self, message: String, poisoned: bool) {
        let mut state = self.state.lock();
        state.failures += 1;
        state.trouble = Some(Trouble { message, poisoned });
        drop(state);
        self.progress.notify_all();
    }

    /// The writer is gone: what was not written is lost.
    pub(crate) fn end(&self) {
        let mut state = self.state.lock();
        state.phase = Phase::Closed;
        state.lost_at_end |=
            state.buffered() > 0 || state.last_uses_in_flight + state.last_uses.len() > 0;
        state.dropped += state.buffered();
        state.in_flight = 0;
        let (records, jobs) = (std::mem::take(&mut state.records), std::mem::take(&mut state.jobs));
        drop(state);
        drop((records, jobs));
        self.progress.notify_all();
    }
}

impl State {
    /// Whether a commit is due: of what waits, or with `retry_at` of the batch that failed. Starts the
    /// window of what has come since the last time.
    fn is_due(&mut self, retry_at: Option<Instant>, options: &QueueOptions) -> bool {
        let ending = self.phase != Phase::Open;
        if let Some(retry_at) = retry_at {
            return ending || has_passed(retry_at);
        }
        if self.is_empty() {
            return self.urgent;
        }
        let end = *self.window_end.get_or_insert_with(|| deadline(options.window));
        ending || self.urgent || self.records.len() >= options.group || has_passed(end)
    }

    fn is_empty(&self) -> bool {
        self.records.is_empty() && self.last_uses.is_empty()
    }

    fn buffered(&self) -> u64 {
        self.records.len() as u64 + self.in_flight
    }

    fn storage_error(&self) -> Error {
        let message =
            self.trouble.as_ref().map_or("the storage failed", |trouble| &trouble.message);
        Error::new(ErrorKind::Storage, message)
    }
}

fn lost() -> Error {
    Error::new(ErrorKind::Lost, "the tracker closed before the record could be stored")
}
