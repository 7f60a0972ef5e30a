//! How far the check is, told on the thread that asked for it while another one reads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::Result;
use rusqlite::Connection;

use crate::progress::Progress;

/// Shared by the thread that reads and the one that tells.
#[derive(Debug, Default)]
pub(super) struct Pace {
    done: AtomicU64,
    /// Nothing before it is known.
    total: AtomicU64,
    is_stopped: AtomicBool,
}

/// Steps of SQLite between two looks at whether it is to stop: under a millisecond.
const STEPS: i32 = 10_000;

impl Pace {
    /// Stands before the rest of what there is to look at.
    pub(super) fn start(&self, total: u64) {
        self.total.store(total, Ordering::Relaxed);
    }

    /// No further than all of it: others may have counted more than there is.
    pub(super) fn advance(&self, rows: u64) {
        let done = self.done.load(Ordering::Relaxed).saturating_add(rows);
        self.done.store(done.min(self.total.load(Ordering::Relaxed)), Ordering::Relaxed);
    }

    /// Ends a part of it, whatever of it there was to look at.
    pub(super) fn reach(&self, rows: u64) {
        let done = self.done.load(Ordering::Relaxed);
        self.advance(rows.saturating_sub(done));
    }

    pub(super) fn stop(&self) {
        self.is_stopped.store(true, Ordering::Relaxed);
    }

    pub(super) fn progress(&self) -> Progress {
        Progress::new(self.done.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed))
    }

    /// All of it is done.
    pub(super) fn end(&self) -> Progress {
        let total = self.total.load(Ordering::Relaxed);
        Progress::new(total, total)
    }

    /// Runs work on a connection whose every statement ends with an error once it is to stop.
    pub(super) fn watch<T>(
        self: &Arc<Self>,
        connection: &Connection,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let pace = Arc::clone(self);
        let is_stopped = move || pace.is_stopped.load(Ordering::Relaxed);
        connection.progress_handler(STEPS, Some(is_stopped))?;
        let watched = Watched(connection);
        let result = work();
        drop(watched);
        result
    }
}

/// A connection from the pool: whoever has it next is not to be stopped.
struct Watched<'c>(&'c Connection);

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        let _ = self.0.progress_handler(0, None::<fn() -> bool>);
    }
}
