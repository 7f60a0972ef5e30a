//! How a tracker is doing.

use serde::Serialize;

/// A snapshot of a tracker's accounts and condition.
///
/// The first four numbers are taken at one moment: `accepted = stored + buffered + dropped`, always.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[non_exhaustive]
#[allow(
    clippy::struct_excessive_bools,
    reason = "conditions that have nothing to do with each other"
)]
pub struct Health {
    /// Records that were handed in since the tracker was opened.
    pub accepted: u64,
    /// Those that are committed.
    pub stored: u64,
    /// Those that wait for their commit.
    pub buffered: u64,
    /// Those that were lost: the queue was full, or the tracker closed over a storage that failed.
    pub dropped: u64,
    /// Requests whose path the filter keeps out of the records.
    pub filtered: u64,
    /// Requests refused because no catalogue knows their token or it is forged or malformed.
    pub strangers: u64,
    /// Requests refused because they had no credential at all.
    pub anonymous: u64,
    /// Rows whose last-used column was moved.
    pub last_used_writes: u64,
    /// Tokens that are held in the cache.
    pub cached_tokens: u64,
    /// Writers of this file that ended without closing it, as found when it was opened.
    pub unclean_ends: u64,
    /// The last failure of the storage, until it works again.
    pub last_error: Option<String>,
    /// The storage fails at present: records wait, and when the queue is full they are dropped.
    pub degraded: bool,
    /// A commit ended with an unknown result that cannot be found out yet. No usage is written until
    /// it is.
    pub poisoned: bool,
    /// Why the last step of upkeep failed, until one succeeds: what is old may be kept for longer.
    pub upkeep_error: Option<String>,
    /// The wall clock moved by over a minute against the monotonic one. Records go on, but nothing is removed or
    /// marked as expired until [`confirm_clock`](crate::TokenTracker::confirm_clock).
    pub clock_in_doubt: bool,
    /// Events that the [`Hook`](crate::Hook) was not told of: too many waited, or the tracker closed.
    pub events_dropped: u64,
    /// Calls of the hook that panicked.
    pub hook_panics: u64,
    /// The tracker is closed.
    pub closed: bool,
}
