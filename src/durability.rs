//! How much a crash may cost: an enum of guarantees.

/// When a record is acknowledged, and what that is worth.
///
/// | mode | acknowledged when | process killed | power lost |
/// |---|---|---|---|
/// | `Buffered` | it is in the queue | loses at most the window (the queue, while health is degraded) | that, and what the disk had not synced |
/// | `Committed` | its group is committed | loses nothing acknowledged | what the disk had not synced |
/// | `Synced` | its group is synced | loses nothing acknowledged | loses nothing acknowledged |
///
/// What an administrator does (see [`Tokens`](crate::Tokens)) is on the disk when the call returns, in every mode.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Durability {
    /// The receipt of a record resolves at once. The default.
    #[default]
    Buffered,
    /// The receipt resolves when the record's group is committed (`synchronous=NORMAL`).
    Committed,
    /// The receipt resolves when the record's group is on the disk (`synchronous=FULL`).
    Synced,
}

/// Who moves what is in the write-ahead log into the database file.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Checkpoints {
    /// This library, on a thread of its own, so that no commit waits for it. The default.
    #[default]
    Automatic,
    /// Somebody else, such as a replicator that must see every page of the log before (Litestream). The log
    /// grows until he does.
    External,
}

impl Durability {
    pub(crate) fn acknowledges_commit(self) -> bool {
        self != Self::Buffered
    }
}
