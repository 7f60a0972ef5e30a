//! What the tests share: trackers, files and faults.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rusqlite::Connection;
use tempfile::TempDir;
use token_tracker::{
    Access, Algorithm, AuthError, AuthRequest, Builder, Clock, Denied, Issued, JwtKey, ManualClock,
    NewToken, SystemClock, TokenId, TokenTracker, UsageRecord,
};

pub(crate) const OWNER: &str = "alice@example.com";

pub(crate) fn key() -> JwtKey {
    JwtKey::hmac(Algorithm::Hs256, &[7; 32]).unwrap()
}

/// A builder with a key and a clock that stands still, and the clock.
pub(crate) fn builder() -> (Builder, ManualClock) {
    let clock = ManualClock::default();
    (TokenTracker::builder().jwt_key(key()).clock(clock.clone()), clock)
}

pub(crate) fn in_memory() -> (TokenTracker, ManualClock) {
    let (builder, clock) = builder();
    (builder.in_memory().unwrap(), clock)
}

/// A database file in a directory of its own.
pub(crate) struct Database {
    directory: TempDir,
}

impl Database {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("tokens.db")
    }

    pub(crate) fn directory(&self) -> &std::path::Path {
        self.directory.path()
    }

    /// A tracker on the file, with a clock that stands still.
    pub(crate) fn open(&self) -> TokenTracker {
        builder().0.open(self.path()).unwrap()
    }

    /// A connection of somebody else, to look at the file or to harm it.
    pub(crate) fn connect(&self) -> Connection {
        let connection = Connection::open(self.path()).unwrap();
        connection.busy_timeout(Duration::from_secs(5)).unwrap();
        connection
    }

    pub(crate) fn number(&self, sql: &str) -> i64 {
        self.connect().query_row(sql, [], |row| row.get(0)).unwrap()
    }

    pub(crate) fn execute(&self, sql: &str) {
        self.connect().execute_batch(sql).unwrap();
    }
}

pub(crate) fn opaque(tracker: &TokenTracker, name: &str) -> Issued {
    tracker.tokens().issue(NewToken::opaque(OWNER, name)).unwrap()
}

pub(crate) fn jwt(tracker: &TokenTracker, name: &str) -> Issued {
    tracker.tokens().issue(NewToken::jwt(OWNER, name)).unwrap()
}

/// Authenticates and lets the ticket go unrecorded at once, as a client that leaves.
pub(crate) fn accepted(tracker: &TokenTracker, issued: &Issued) -> bool {
    tracker.authenticate(&issued.secret).is_ok()
}

pub(crate) fn access(tracker: &TokenTracker, issued: &Issued) -> Access {
    tracker.authenticate(&issued.secret).unwrap()
}

pub(crate) fn denied<'a>(tracker: &TokenTracker, request: impl Into<AuthRequest<'a>>) -> Denied {
    match tracker.authenticate(request) {
        Err(AuthError::Denied(denied)) => denied,
        other => panic!("not denied: {other:?}"),
    }
}

/// All records of a token, newest first, after a flush.
pub(crate) fn records(tracker: &TokenTracker, id: TokenId) -> Vec<UsageRecord> {
    tracker.flush().unwrap();
    tracker.stats().token(id).recent(1_000).unwrap()
}

/// Waits for something that another thread brings about, for at most ten seconds.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = SystemClock::new();
    while !holds() {
        assert!(start.monotonic() < Duration::from_secs(10), "still not so: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn assert_balanced(tracker: &TokenTracker) {
    let health = tracker.health();
    assert_eq!(health.accepted, health.stored + health.buffered + health.dropped, "{health:?}");
}

/// Tells other threads to end, also where the test panics before it would have said so.
pub(crate) struct Done<'a>(pub(crate) &'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
