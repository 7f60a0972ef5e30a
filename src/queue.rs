//! What waits for the writer: a bounded queue that takes a record without ever blocking.
//!
//! All accounts stand under the queue's one lock, so that they balance at every moment.

mod state;
mod work;

use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use crate::clock::{deadline, has_passed};
use crate::error::{Error, ErrorKind};
use crate::health::Health;
use crate::record::Record;
use crate::store::{Batch, Session};
use crate::sync::{Condvar, Mutex, MutexGuard};
use crate::telemetry::{CommitTimes, StoredTotals};
use crate::timestamp::Timestamp;
use crate::token::TokenId;
use state::{CHUNK, Phase, State};

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

/// What the queue knows, all of it of one moment.
pub(crate) struct Account {
    pub(crate) health: Health,
    pub(crate) stored: StoredTotals,
    pub(crate) commits: CommitTimes,
    pub(crate) commit_failures: u64,
}

/// What became of a record at the door.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Entrance {
    Dropped,
    /// At this position in the order of arrival.
    Enqueued(u64),
}

/// What the writer is to do next.
pub(crate) enum Work {
    Commit(Batch),
    End,
    Job(Job),
    /// The batch that failed is due again.
    Retry,
    Upkeep,
}

impl Queue {
    pub(crate) fn new(options: QueueOptions) -> Self {
        let (work, progress) = (Condvar::new(), Condvar::new());
        Self { options, state: Mutex::new(State::new()), work, progress }
    }

    /// Takes a record, or drops and counts it where the queue is full or closed. Never waits.
    pub(crate) fn push(&self, record: Record) -> Entrance {
        self.enter(self.state.lock(), record)
    }

    /// Takes a record as soon as there is room. Drops and counts it where the queue is closed.
    pub(crate) fn push_waiting(&self, record: Record) -> Entrance {
        let mut state = self.state.lock();
        // A full queue holds a full group at least: the writer is at it without being told.
        while state.phase == Phase::Open && state.waiting >= self.options.capacity {
            self.progress.wait(&mut state);
        }
        self.enter(state, record)
    }

    fn enter(&self, mut state: MutexGuard<'_, State>, record: Record) -> Entrance {
        state.accepted += 1;
        if state.phase != Phase::Open || state.waiting >= self.options.capacity {
            state.dropped += 1;
            state.note_gap(record.at);
            drop(state);
            return Entrance::Dropped;
        }
        let was_idle = state.is_empty();
        if was_idle {
            state.window_end = Some(deadline(self.options.window));
        }
        state.enqueued += 1;
        let position = state.enqueued;
        if let Some(record) = state.thinning.sift(record) {
            state.append(record, self.options.group.min(CHUNK));
        }
        let is_full = state.waiting == self.options.group;
        drop(state);
        // The first starts the window, a full group ends it; nothing between wakes the writer.
        if was_idle || is_full {
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
        if state.is_empty() {
            state.window_end = Some(deadline(self.options.window));
        }
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

    /// Runs work on the writer's thread, before any more usage is written, and waits for what it comes to.
    ///
    /// An error where the tracker is closed, or the work did not come to its end.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Session) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let (sender, receiver) = sync_channel(1);
        self.push_job(Box::new(move |session: &mut Session| {
            // Nobody receives where the caller's thread is gone; the work is done all the same.
            let _ = sender.send(work(session));
        }));
        receiver.recv().map_err(|_| {
            if self.is_closed() {
                return closed();
            }
            Error::new(ErrorKind::Storage, "the change could not be made")
        })
    }

    /// Waits until everything that is in the queue is committed.
    pub(crate) fn flush(&self) -> Result<(), Error> {
        let mut state = self.state.lock();
        let (group, position, failures) = (state.groups_taken + 1, state.enqueued, state.failures);
        loop {
            if state.groups_committed >= group && state.settled >= position {
                return Ok(());
            }
            if state.phase == Phase::Closed {
                return if state.settled >= position { Ok(()) } else { Err(lost()) };
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
            if state.settled >= position {
                return Ok(());
            }
            if state.phase == Phase::Closed {
                return Err(lost());
            }
            if end.is_some_and(has_passed) {
                return Err(Error::new(ErrorKind::Busy, "the record is not stored yet"));
            }
            if state.taken < position {
                state.urgent = true;
                self.work.notify_one();
            }
            match end {
                Some(end) => drop(self.progress.wait_until(&mut state, end)),
                None => self.progress.wait(&mut state),
            }
        }
    }

    /// How many groups are committed: what to wait for the next one from.
    pub(crate) fn commits(&self) -> Result<u64, Error> {
        let state = self.state.lock();
        if state.phase != Phase::Open {
            return Err(closed());
        }
        Ok(state.groups_committed)
    }

    /// Waits until more groups are committed than that, or the queue is closed, or the time is over.
    pub(crate) fn wait_for_commit(&self, commits: u64, until: Instant) {
        let mut state = self.state.lock();
        while state.phase == Phase::Open && state.groups_committed <= commits && !has_passed(until)
        {
            let _ = self.progress.wait_until(&mut state, until);
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

    pub(crate) fn capacity(&self) -> usize {
        self.options.capacity
    }

    /// The part of the health snapshot that the queue knows.
    pub(crate) fn health(&self) -> Health {
        self.account().health
    }

    /// Its part of the health snapshot, and what it knows beside that.
    pub(crate) fn account(&self) -> Account {
        let state = self.state.lock();
        let health = Health {
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
        };
        let (stored, commits, commit_failures) = (state.totals, state.commits, state.failures);
        Account { health, stored, commits, commit_failures }
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the tracker is closed")
}

fn lost() -> Error {
    Error::new(ErrorKind::Lost, "the tracker closed before the record could be stored")
}

#[cfg(all(test, model))]
mod model;
