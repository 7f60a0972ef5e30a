//! A handle that keeps nothing open.

use std::fmt;
use std::sync::{Arc, Weak};

use super::{Handle, TokenTracker};

/// Names a tracker without keeping it open: what a [`Hook`](crate::Hook) holds that calls the tracker.
///
/// ```
/// # use token_tracker::TokenTracker;
/// let tracker = TokenTracker::builder().in_memory()?;
/// let weak = tracker.downgrade();
/// assert!(weak.upgrade().is_some());
/// drop(tracker);
/// assert!(weak.upgrade().is_none(), "the last handle closed it");
/// # Ok::<(), token_tracker::Error>(())
/// ```
#[derive(Clone)]
pub struct WeakTokenTracker {
    handle: Weak<Handle>,
}

impl WeakTokenTracker {
    /// The tracker, as long as somebody else holds it. Whoever drops the last handle closes it: on the thread of a
    /// hook too, which waits for the writer and not for itself.
    #[must_use]
    pub fn upgrade(&self) -> Option<TokenTracker> {
        self.handle.upgrade().map(|handle| TokenTracker { handle })
    }
}

impl fmt::Debug for WeakTokenTracker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeakTokenTracker").finish_non_exhaustive()
    }
}

impl TokenTracker {
    /// A handle that does not keep the tracker open.
    #[must_use]
    pub fn downgrade(&self) -> WeakTokenTracker {
        WeakTokenTracker { handle: Arc::downgrade(&self.handle) }
    }
}
