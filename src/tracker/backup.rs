//! Copies of the database.

use std::ops::ControlFlow;
use std::path::Path;

use super::TokenTracker;
use crate::error::Error;
use crate::progress::Progress;
use crate::store::to_error;

impl TokenTracker {
    /// Copies the database to `path`, where there must be nothing yet, while it is in use. The copy is of one moment,
    /// and opens like any other database; what is still in the queue is not in it. Returns its bytes. Meanwhile
    /// the write-ahead log cannot start over. Until the copy is whole and on the disk it has another name, which
    /// ends in `.part`.
    ///
    /// ```
    /// # use token_tracker::{NewToken, TokenTracker};
    /// # let directory = tempfile::tempdir()?;
    /// # let (path, copy) = (directory.path().join("tokens.db"), directory.path().join("copy.db"));
    /// let tracker = TokenTracker::builder().open(path)?;
    /// let issued = tracker.tokens().issue(NewToken::opaque("alice", "laptop"))?;
    /// tracker.flush()?;
    /// tracker.backup_to(&copy)?;
    /// assert!(TokenTracker::builder().open(copy)?.authenticate(&issued.secret).is_ok());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `InvalidInput` names `path` where something is there, or nothing can be. `Storage` or `Busy` where the
    /// database cannot be read or the copy not be written; nothing of it is left then.
    pub fn backup_to(&self, path: impl AsRef<Path>) -> Result<u64, Error> {
        self.backup_with(path, |_| ControlFlow::Continue(()))
    }

    /// As [`backup_to`](TokenTracker::backup_to), and says how far it is, in pages, every few milliseconds.
    ///
    /// # Errors
    /// Also `Cancelled`, where `told` breaks off.
    pub fn backup_with(
        &self,
        path: impl AsRef<Path>,
        mut told: impl FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<u64, Error> {
        self.engine().store.backup(path.as_ref(), &mut told).map_err(to_error)
    }
}
