//! What a test starts from: a directory, a builder, and the machine to itself.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tempfile::TempDir;
use token_tracker::{Access, Builder, Durability, Issued, NewToken, TokenTracker};

static ALONE: Mutex<()> = Mutex::new(());

/// The machine to oneself: every test here loads it, and judges by time what the others would delay.
pub fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many rounds to go: the first number, or the second where `FAULTS=full` is set.
#[must_use]
pub fn rounds(short: u32, full: u32) -> u32 {
    if std::env::var_os("FAULTS").is_some_and(|form| form == "full") { full } else { short }
}

/// A mode by the word for it.
///
/// # Panics
/// Where there is no such mode.
#[must_use]
pub fn mode(word: &str) -> Durability {
    match word {
        "buffered" => Durability::Buffered,
        "committed" => Durability::Committed,
        "synced" => Durability::Synced,
        _ => unreachable!("there is no mode {word:?}"),
    }
}

/// A builder in this mode, by the word for it.
pub fn builder(durability: &str) -> Builder {
    TokenTracker::builder().durability(mode(durability))
}

/// An opaque token.
///
/// # Panics
/// Where it cannot be issued.
pub fn opaque(tracker: &TokenTracker, name: &str) -> Issued {
    tracker.tokens().issue(NewToken::opaque("alice@example.com", name)).expect("it is issued")
}

/// The text of a token and the number of its row.
#[must_use]
pub fn secret_of(issued: &Issued) -> (i64, String) {
    (row_of(&issued.token.id), issued.secret.expose().to_owned())
}

pub(crate) fn row_of(id: &token_tracker::TokenId) -> i64 {
    id.to_string().parse().expect("an id is a number")
}

pub(crate) fn row_of_access(access: &Access) -> i64 {
    row_of(&access.identity().token_id())
}

/// A database file in a directory of its own.
pub struct Scene {
    directory: TempDir,
}

impl Default for Scene {
    fn default() -> Self {
        Self::new()
    }
}

impl Scene {
    /// An empty one.
    ///
    /// # Panics
    /// Where there is no room for it.
    #[must_use]
    pub fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("there is a directory for temporary files") }
    }

    /// Where it is.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The database.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.directory().join("tokens.db")
    }
}
