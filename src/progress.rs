//! How far something is that takes a while, and whether it is to go on.

use std::ops::ControlFlow;

/// How far something is that takes a while.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Progress {
    /// So much is done.
    pub done: u64,
    /// Of so much.
    pub total: u64,
}

impl Progress {
    pub(crate) fn new(done: u64, total: u64) -> Self {
        Self { done, total }
    }
}

/// Whoever is told of progress says whether to go on.
pub(crate) type Told<'f> = &'f mut dyn FnMut(Progress) -> ControlFlow<()>;
