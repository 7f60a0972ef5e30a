//! Opening: what is not ours, is newer, or is locked is a clear error, and is left as it was.

use std::time::Duration;

use rusqlite::Connection;
use token_tracker::{Builder, ErrorKind, TokenTracker};

use crate::support::{Database, accepted, opaque};

fn open_error(database: &Database) -> token_tracker::Error {
    let builder = TokenTracker::builder().busy_timeout(Duration::from_millis(50));
    builder.open(database.path()).unwrap_err()
}

#[test]
fn file_that_is_no_database_is_refused_and_left_alone() {
    let database = Database::new();
    let text = "not a database, but long enough to have been one. ".repeat(40);
    std::fs::write(database.path(), &text).unwrap();
    assert_eq!(open_error(&database).kind(), ErrorKind::NotADatabase);
    assert_eq!(std::fs::read_to_string(database.path()).unwrap(), text);
}

#[test]
fn database_of_another_application_is_refused_and_left_alone() {
    let database = Database::new();
    database.execute("CREATE TABLE theirs (x); PRAGMA user_version = 1;");
    let before = std::fs::read(database.path()).unwrap();
    assert_eq!(open_error(&database).kind(), ErrorKind::NotADatabase);
    assert_eq!(std::fs::read(database.path()).unwrap(), before);
}

#[test]
fn newer_schema_is_refused() {
    let database = Database::new();
    TokenTracker::builder().open(database.path()).unwrap().close().unwrap();
    database.execute("PRAGMA user_version = 4711");
    let error = open_error(&database);
    assert_eq!(error.kind(), ErrorKind::NewerSchema);
    assert!(error.to_string().contains("4711"), "{error}");
}

#[test]
fn file_locked_by_someone_else_is_busy_and_opens_once_it_is_not() {
    let database = Database::new();
    let other = Connection::open(database.path()).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    assert_eq!(open_error(&database).kind(), ErrorKind::Busy);
    other.execute_batch("ROLLBACK").unwrap();
    assert!(TokenTracker::builder().open(database.path()).is_ok());
}

#[test]
fn directory_that_is_not_there_or_a_directory_in_its_place_is_a_storage_error() {
    let database = Database::new();
    let missing = database.directory().join("missing").join("tokens.db");
    let error = TokenTracker::builder().open(missing).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Storage);
    assert!(error.to_string().contains("cannot be created"), "{error}");
    assert_eq!(
        TokenTracker::builder().open(database.directory()).unwrap_err().kind(),
        ErrorKind::Storage
    );
}

#[test]
fn what_was_written_is_there_when_it_is_opened_again() {
    let database = Database::new();
    let tracker = TokenTracker::builder().open(database.path()).unwrap();
    let issued = opaque(&tracker, "laptop");
    assert!(accepted(&tracker, &issued));
    drop(tracker);
    let tracker = TokenTracker::builder().open(database.path()).unwrap();
    assert!(accepted(&tracker, &issued));
    tracker.flush().unwrap();
    assert_eq!(tracker.stats().token(issued.token.id).summary().unwrap().total, 2);
}

#[cfg(unix)]
#[test]
fn files_are_their_owners_alone_unless_said() {
    use std::os::unix::fs::PermissionsExt;
    for mode in [0o600, 0o640] {
        let database = Database::new();
        let tracker = TokenTracker::builder().file_mode(mode).open(database.path()).unwrap();
        opaque(&tracker, "laptop");
        let mut files = 0;
        for file in std::fs::read_dir(database.directory()).unwrap() {
            let file = file.unwrap();
            assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, mode, "{file:?}");
            files += 1;
        }
        assert!(files >= 3, "database, log and lock at least");
    }
}

#[test]
fn knob_out_of_its_bounds_is_named_before_anything_is_touched() {
    let second = Duration::from_secs(1);
    let ms = Duration::from_millis(1);
    type Set<T> = fn(Builder, T) -> Builder;
    let day = 86_400 * second;
    let durations: [(&str, Set<Duration>, Duration, Duration); 7] = [
        ("raw_retention", Builder::raw_retention, 3_599 * second, 3_651 * day),
        ("hourly_retention", Builder::hourly_retention, 86_399 * second, 3_651 * day),
        ("daily_retention", Builder::daily_retention, 89 * day, 3_651 * day),
        ("commit_window", Builder::commit_window, 99 * ms, 1_001 * ms),
        ("last_used_interval", Builder::last_used_interval, 999 * ms, 86_401 * second),
        ("busy_timeout", Builder::busy_timeout, 9 * ms, 61 * second),
        ("serve_stale", Builder::serve_stale, 3_601 * second, Duration::MAX),
    ];
    let counts: [(&str, Set<u64>, u64, u64); 7] = [
        ("max_file_size", Builder::max_file_size, 0, (16 << 20) - 1),
        ("queue_capacity", |b, n| b.queue_capacity(n as usize), 0, (1 << 24) + 1),
        ("group_size", |b, n| b.group_size(n as usize), 0, (1 << 16) + 1),
        ("last_used_capacity", |b, n| b.last_used_capacity(n as usize), 0, (1 << 20) + 1),
        ("cache_capacity", |b, n| b.cache_capacity(n as usize), 15, (1 << 22) + 1),
        ("max_token_length", |b, n| b.max_token_length(n as usize), 255, 65_537),
        ("readers", |b, n| b.readers(n as u32), 1, 65),
    ];
    let field = |builder: Builder| {
        let database = Database::new();
        let error = builder.open(database.path()).unwrap_err();
        assert!(!database.path().exists());
        error.field()
    };
    for (name, set, under, over) in durations {
        assert_eq!(field(set(TokenTracker::builder(), under)), Some(name));
        assert_eq!(field(set(TokenTracker::builder(), over)), Some(name));
    }
    for (name, set, under, over) in counts {
        assert_eq!(field(set(TokenTracker::builder(), under)), Some(name));
        assert_eq!(field(set(TokenTracker::builder(), over)), Some(name));
    }
    for realm in ["", "a\"b", "a\\b", "a\nb", "é"] {
        assert_eq!(field(TokenTracker::builder().realm(realm)), Some("realm"));
    }
    assert_eq!(field(TokenTracker::builder().opaque_prefix("x")), Some("opaque_prefix"));
}

#[test]
fn name_that_stands_for_memory_elsewhere_is_no_file_here() {
    for path in ["", ":memory:"] {
        assert_eq!(TokenTracker::builder().open(path).unwrap_err().field(), Some("path"));
    }
}

#[test]
fn file_may_be_allowed_to_grow_without_end() {
    let database = Database::new();
    let tracker = TokenTracker::builder().max_file_size(u64::MAX).open(database.path()).unwrap();
    assert!(accepted(&tracker, &opaque(&tracker, "laptop")));
}
