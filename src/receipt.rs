//! What the caller of `record` can wait for.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, ErrorKind};
use crate::queue::Queue;

/// The promise that a record is kept, in the terms of the [`Durability`](crate::Durability) mode.
///
/// Dropping it costs nothing: the record is stored all the same.
pub struct Receipt {
    state: State,
}

enum State {
    Acknowledged,
    Dropped,
    NothingToStore,
    Pending { queue: Arc<Queue>, position: u64 },
}

impl Receipt {
    pub(crate) fn acknowledged() -> Self {
        Self { state: State::Acknowledged }
    }

    pub(crate) fn dropped() -> Self {
        Self { state: State::Dropped }
    }

    pub(crate) fn nothing_to_store() -> Self {
        Self { state: State::NothingToStore }
    }

    pub(crate) fn pending(queue: Arc<Queue>, position: u64) -> Self {
        Self { state: State::Pending { queue, position } }
    }

    /// Whether the record was taken, as against dropped because the queue was full or closed.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        !matches!(self.state, State::Dropped)
    }

    /// Waits until the record is acknowledged. Returns at once in buffered mode; otherwise it asks for a
    /// commit and blocks until that is done, as long as the storage fails.
    ///
    /// # Errors
    /// `Lost` where the record was dropped: the queue was full, or the tracker closed before the record
    /// could be stored.
    pub fn wait(self) -> Result<(), Error> {
        self.wait_at_most(None)
    }

    /// As [`Receipt::wait`], for at most this long.
    ///
    /// # Errors
    /// `Lost` as above; `Busy` where the time is over and the record not stored yet, which it may still
    /// be.
    pub fn wait_for(&self, timeout: Duration) -> Result<(), Error> {
        self.wait_at_most(Some(timeout))
    }

    fn wait_at_most(&self, timeout: Option<Duration>) -> Result<(), Error> {
        match &self.state {
            State::Acknowledged | State::NothingToStore => Ok(()),
            State::Dropped => Err(Error::new(
                ErrorKind::Lost,
                "the record was dropped: the queue is full or closed",
            )),
            State::Pending { queue, position } => queue.wait_for(*position, timeout),
        }
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.state {
            State::Acknowledged => "Receipt(acknowledged)",
            State::Dropped => "Receipt(dropped)",
            State::NothingToStore => "Receipt(nothing to store)",
            State::Pending { .. } => "Receipt(pending)",
        })
    }
}
