//! Looking after the file: whether it is sound, and how large it is.

use std::ops::ControlFlow;

use super::TokenTracker;
use crate::answer::Verification;
use crate::error::{Error, ErrorKind};
use crate::progress::Progress;
use crate::store::{Session, to_error};

/// Steps between two checkpoints: 4 MB of the write-ahead log.
const STEPS_A_CHECKPOINT: u64 = 8;

/// How often the writer tries to empty the write-ahead log.
const TRIES: u32 = 10;

impl TokenTracker {
    /// Looks through the whole file: SQLite's own check, whether numbers and codes mean something, and whether sums,
    /// links and groups say the same as the records. Reads in one snapshot beside live traffic, each record six times;
    /// meanwhile the write-ahead log cannot start over.
    ///
    /// What is told of are problems that no use of this library leaves behind. Rows of a token that is not there are
    /// none where the token was removed while requests with it were under way: they go with the next census.
    ///
    /// ```
    /// # let tracker = token_tracker::TokenTracker::builder().in_memory()?;
    /// assert_eq!(tracker.verify()?.problems, [""; 0]);
    /// # Ok::<(), token_tracker::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Storage` or `Busy` where the file cannot be read at all; what is wrong in it is in the answer.
    pub fn verify(&self) -> Result<Verification, Error> {
        self.verify_with(|_| ControlFlow::Continue(()))
    }

    /// As [`verify`](TokenTracker::verify), and says every few milliseconds how far it is, in rows. Until SQLite's
    /// own check is over, which comes first, it is 0 of 0.
    ///
    /// ```
    /// # use std::ops::ControlFlow;
    /// # let tracker = token_tracker::TokenTracker::builder().in_memory()?;
    /// let found = tracker.verify_with(|progress| {
    ///     println!("{} of {}", progress.done, progress.total);
    ///     ControlFlow::Continue(())
    /// })?;
    /// assert!(found.problems.is_empty());
    /// # Ok::<(), token_tracker::Error>(())
    /// ```
    ///
    /// # Errors
    /// Also `Cancelled`, where `told` breaks off.
    pub fn verify_with(
        &self,
        mut told: impl FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Verification, Error> {
        self.engine().store.verify(&mut told).map_err(to_error)
    }

    /// Gives pages that hold nothing back to the file system, while the database is in use. Returns the bytes.
    ///
    /// What is removed leaves pages that later records fill, so that a file whose retention is as before needs none of
    /// this. It is for one that was much larger than it will be: after a shorter retention, a flood, or an erasure.
    ///
    /// Each step moves 128 pages or fewer from the end of the file to free ones, in a transaction of the writer's that
    /// takes a few milliseconds; records wait for one at most. All of it goes through the write-ahead log, and shows in
    /// the size of the file once a checkpoint has come to its end. One is made every 4 MB and at last, unless
    /// somebody who reads holds it up, and then a later one does it. With [`Checkpoints::External`] none is made here:
    /// the log grows by as much as is moved, and the file shrinks when he makes one. What stood in pages that are given
    /// back is not overwritten on the disk.
    ///
    /// [`Checkpoints::External`]: crate::Checkpoints::External
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("tokens.db");
    /// let tracker = token_tracker::TokenTracker::builder().open(path)?;
    /// assert_eq!(tracker.compact()?, 0, "a new file has nothing to give");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `Closed`; `Storage` or `Busy` where a step fails, and those before it are done. `Storage` also where the file was
    /// put together by another program (a dump, a recovery) that did not make it so that it can give pages back; the
    /// message says what to do.
    pub fn compact(&self) -> Result<u64, Error> {
        self.compact_with(|_| ControlFlow::Continue(()))
    }

    /// As [`compact`](TokenTracker::compact), and says after each step how far it is, in bytes of those that held
    /// nothing when it began. Where others use some of them meanwhile, the end comes sooner.
    ///
    /// # Errors
    /// Also `Cancelled`, where `told` breaks off: what was given back by then is.
    pub fn compact_with(
        &self,
        mut told: impl FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<u64, Error> {
        let queue = &self.engine().queue;
        let checkpointer = self.engine().store.checkpointer().map_err(to_error)?;
        let (mut given, mut total) = (0_u64, None);
        for steps in 1_u64.. {
            let step = queue.run(Session::compact)?;
            let step = step.map_err(|error| to_error(error.into_inner()))?;
            given += step.freed;
            let total = *total.get_or_insert(step.freed + step.free);
            let is_last = step.freed == 0 || step.free == 0 || given >= total;
            let done = if is_last { total } else { given };
            if told(Progress::new(done, total)).is_break() {
                return Err(Error::new(ErrorKind::Cancelled, "the file is not compact yet"));
            }
            if let Some(checkpointer) = &checkpointer
                && (is_last || steps % STEPS_A_CHECKPOINT == 0)
            {
                // Beside the writer, and then by it what came meanwhile, so that the log can start over.
                checkpointer.make();
                let _ = queue.run(Session::checkpoint)?;
            }
            if is_last {
                break;
            }
        }
        for _ in 0..TRIES {
            // Little is left of it, and what fails is made good by a later checkpoint.
            if checkpointer.is_none() || queue.run(Session::empty_log)?.unwrap_or(false) {
                break;
            }
        }
        Ok(given)
    }
}
