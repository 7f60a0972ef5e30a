//! The one thread that writes: groups of usage, and administration before them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::checkpoints::Checkpoints;
use crate::clock::deadline;
use crate::error::{Error, ErrorKind};
use crate::events::Event;
use crate::queue::{Job, Queue, Work};
use crate::store::{Batch, CommitError, Session, Step, describe, to_error};
use crate::vitals::Vitals;

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// When things are looked after for the first time, and how often once there is nothing left to do.
const FIRST_UPKEEP: Duration = Duration::from_secs(1);
const UPKEEP_PAUSE: Duration = Duration::from_secs(60);

/// How often a batch is tried again once the tracker is closing: over three seconds, and the time that each
/// try takes.
const LAST_TRIES: u32 = 6;

/// A batch that was not committed yet.
struct Pending {
    batch: Batch,
    /// Whether an earlier commit of it may have succeeded.
    unknown: bool,
    /// When it is tried again, and how long the pause before that was.
    due: Instant,
    pause: Duration,
    tries_closing: u32,
}

impl Pending {
    fn new(batch: Batch) -> Self {
        let pause = FIRST_PAUSE;
        Self { batch, unknown: false, due: deadline(pause), pause, tries_closing: 0 }
    }
}

/// What the writer works with, and for.
pub(crate) struct Parts {
    pub(crate) session: Session,
    pub(crate) vitals: Arc<Vitals>,
    pub(crate) checkpoints: Arc<Checkpoints>,
}

struct Writer {
    queue: Arc<Queue>,
    session: Session,
    vitals: Arc<Vitals>,
    checkpoints: Arc<Checkpoints>,
    pending: Option<Pending>,
    /// When there is something to look after again.
    upkeep_at: Instant,
}

/// Starts the thread. It ends when the queue is closed and what was in it is written.
pub(crate) fn start(parts: Parts) -> Result<JoinHandle<()>, Error> {
    let Parts { session, vitals, checkpoints } = parts;
    let queue = Arc::clone(&vitals.queue);
    let upkeep_at = deadline(FIRST_UPKEEP);
    let writer = Writer { queue, session, vitals, checkpoints, pending: None, upkeep_at };
    let thread = std::thread::Builder::new().name("token-tracker-writer".to_owned());
    thread.spawn(move || writer.run()).map_err(|error| {
        Error::new(ErrorKind::Storage, "the writer's thread cannot be started")
            .with_source(error.into())
    })
}

impl Writer {
    fn run(mut self) {
        // However this thread ends, nobody may wait for it for ever.
        let end = EndQueue(Arc::clone(&self.queue));
        self.work();
        drop(end);
        self.vitals.tell_of_changes();
    }

    fn work(&mut self) {
        loop {
            let retry_at = self.pending.as_ref().map(|pending| pending.due);
            // Upkeep can wait until it is known what became of a batch.
            let is_unknown = self.pending.as_ref().is_some_and(|pending| pending.unknown);
            if is_unknown {
                self.upkeep_at = deadline(UPKEEP_PAUSE);
            }
            match self.queue.next(retry_at, self.upkeep_at) {
                Work::Commit(batch) => self.write(Pending::new(batch)),
                Work::Retry => {
                    let pending = self.pending.take();
                    pending.into_iter().for_each(|pending| self.write(pending));
                }
                Work::Job(job) => self.run_job(job),
                Work::Upkeep => self.run_upkeep(),
                Work::End => break,
            }
            self.checkpoints.note_commit();
            self.vitals.tell_of_changes();
            if self.pending.as_ref().is_some_and(|pending| pending.tries_closing > LAST_TRIES) {
                return;
            }
        }
        // An end that cannot be marked is reported as unclean at the next open, which it is.
        let _ = self.session.close();
    }

    /// A job that panics ends itself alone. Its caller is told, because its answer never comes.
    fn run_job(&mut self, job: Job) {
        let session = &mut self.session;
        if catch_unwind(AssertUnwindSafe(|| job(session))).is_err() {
            self.session.forget();
        }
    }

    /// One step, and the next at once if there is more to do: between groups, so that no group waits for more
    /// than one. A step that fails is nobody's loss; what it would have done is done later.
    fn run_upkeep(&mut self) {
        let has_more = matches!(self.vitals.upkeep.step(&mut self.session), Ok(Step::Worked));
        self.upkeep_at = deadline(if has_more { Duration::ZERO } else { UPKEEP_PAUSE });
    }

    fn write(&mut self, mut pending: Pending) {
        let begun = self.vitals.upkeep.clock.monotonic();
        match self.commit(&mut pending) {
            Ok(last_used_writes) => {
                let took = self.vitals.upkeep.clock.monotonic().saturating_sub(begun);
                // First: who waits for the commit finds what it showed told.
                self.tell_of_sightings();
                self.queue.committed(last_used_writes, pending.batch, took);
            }
            Err(error) => {
                self.queue.failed(describe(&to_error(error)), pending.unknown);
                if self.queue.is_closed() {
                    if pending.tries_closing == 0 {
                        pending.pause = FIRST_PAUSE;
                    }
                    pending.tries_closing += 1;
                    std::thread::sleep(pending.pause);
                }
                pending.due = deadline(pending.pause);
                pending.pause = (pending.pause * 2).min(LONGEST_PAUSE);
                self.pending = Some(pending);
            }
        }
    }

    fn tell_of_sightings(&mut self) {
        let Some(sightings) = self.session.take_sightings() else { return };
        let events = &self.vitals.events;
        sightings.first_uses.into_iter().for_each(|event| events.tell(|| Event::FirstUse(event)));
        for event in sightings.new_addresses {
            if events.wants_new_address(event.subject.token_id, event.at.into()) {
                events.tell(|| Event::NewAddress(event));
            }
        }
    }

    /// Commits a batch once, whatever an earlier try came to: it is asked first.
    fn commit(&mut self, pending: &mut Pending) -> anyhow::Result<u64> {
        if pending.unknown {
            if self.session.was_committed()? {
                return Ok(0);
            }
            pending.unknown = false;
        }
        match self.session.commit(&pending.batch) {
            Ok(last_used_writes) => Ok(last_used_writes),
            Err(CommitError::RolledBack(error)) => Err(error),
            Err(CommitError::Unknown(error)) => {
                pending.unknown = true;
                if self.session.was_committed()? {
                    return Ok(0);
                }
                pending.unknown = false;
                Err(error)
            }
        }
    }
}

struct EndQueue(Arc<Queue>);

impl Drop for EndQueue {
    fn drop(&mut self) {
        self.0.end();
    }
}
