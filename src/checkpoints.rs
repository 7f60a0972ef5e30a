//! Makes checkpoints on a thread of its own while the writer writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::error::{Error, ErrorKind};
use crate::queue::Queue;
use crate::store::{Checkpoint, Checkpointer, Session};

/// The least time between two looks at the write-ahead log.
const PAUSE: Duration = Duration::from_millis(100);

/// Wakes when something was committed.
pub(crate) struct Checkpoints {
    /// `None` where checkpoints are not ours to make.
    checkpointer: Option<Checkpointer>,
    state: Mutex<State>,
    changed: Condvar,
    tally: Arc<Tally>,
}

/// How many checkpoints were made, and how many tried in vain.
#[derive(Default)]
struct Tally {
    made: AtomicU64,
    failed: AtomicU64,
}

/// The same, as of now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counts {
    pub(crate) made: u64,
    pub(crate) failed: u64,
}

impl Tally {
    fn note<T>(&self, checkpoint: &anyhow::Result<T>) {
        let counter = if checkpoint.is_ok() { &self.made } else { &self.failed };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum State {
    Idle,
    Stopped,
    Wanted,
}

impl Checkpoints {
    pub(crate) fn new(checkpointer: Option<Checkpointer>) -> Self {
        let (state, changed, tally) = (Mutex::new(State::Idle), Condvar::new(), Arc::default());
        Self { checkpointer, state, changed, tally }
    }

    pub(crate) fn counts(&self) -> Counts {
        let Tally { made, failed } = &*self.tally;
        Counts { made: made.load(Ordering::Relaxed), failed: failed.load(Ordering::Relaxed) }
    }

    /// Something was committed.
    pub(crate) fn note_commit(&self) {
        if self.checkpointer.is_none() {
            return;
        }
        let mut state = self.state.lock();
        if *state == State::Idle {
            *state = State::Wanted;
            self.changed.notify_one();
        }
    }

    pub(crate) fn stop(&self) {
        *self.state.lock() = State::Stopped;
        self.changed.notify_all();
    }

    /// Starts the thread, if there is anything for it to do.
    pub(crate) fn start(
        self: &Arc<Self>,
        queue: &Arc<Queue>,
    ) -> Result<Option<JoinHandle<()>>, Error> {
        if self.checkpointer.is_none() {
            return Ok(None);
        }
        let (checkpoints, queue) = (Arc::clone(self), Arc::clone(queue));
        let thread = std::thread::Builder::new().name("token-tracker-checkpoints".to_owned());
        let thread = thread.spawn(move || {
            while checkpoints.wait() {
                checkpoints.run(&queue);
            }
        });
        thread.map(Some).map_err(|error| {
            Error::new(ErrorKind::Storage, "the thread for checkpoints cannot be started")
                .with_source(error.into())
        })
    }

    /// Waits until a checkpoint may be due. Returns whether to go on.
    fn wait(&self) -> bool {
        let mut state = self.state.lock();
        if *state != State::Stopped {
            self.changed.wait_for(&mut state, PAUSE);
        }
        while *state == State::Idle {
            self.changed.wait(&mut state);
        }
        if *state == State::Stopped {
            return false;
        }
        *state = State::Idle;
        true
    }

    /// What fails is tried again after the next commit; until then the log is a little longer.
    fn run(&self, queue: &Queue) {
        let Some(checkpoint) = self.checkpointer.as_ref().map(Checkpointer::run) else { return };
        if matches!(checkpoint, Ok(Checkpoint::NotWorthIt)) {
            return;
        }
        self.tally.note(&checkpoint);
        if matches!(checkpoint, Ok(Checkpoint::MadeOfTooMuch)) {
            let tally = Arc::clone(&self.tally);
            queue.push_job(Box::new(move |session: &mut Session| {
                tally.note(&session.checkpoint());
            }));
        }
    }
}
