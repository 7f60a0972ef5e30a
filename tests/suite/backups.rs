//! A copy that mixes two moments, or is half of one under its name, is found out when it is needed.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use token_tracker::{ErrorKind, TokenTracker, Usage};

use crate::support::{Database, Done, access, opaque};

#[test]
fn copy_made_under_load_is_whole_and_of_one_moment() {
    let database = Database::new();
    let tracker = database.open();
    let issued = opaque(&tracker, "laptop");
    for _ in 0..20_000 {
        tracker.record_blocking(Usage::of(access(&tracker, &issued)).route("GET", "/").status(200));
    }
    tracker.flush().unwrap();
    let done = AtomicBool::new(false);
    let copy = database.directory().join("copy.db");
    std::thread::scope(|scope| {
        let _done = Done(&done);
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                tracker.record_blocking(Usage::of(access(&tracker, &issued)).status(200));
                tracker.flush().unwrap();
            }
        });
        let mut last = None;
        let bytes = tracker.backup_with(&copy, |progress| {
            last = Some(progress);
            ControlFlow::Continue(())
        });
        let last = last.unwrap();
        assert_eq!(last.done, last.total);
        assert_eq!(bytes.unwrap(), std::fs::metadata(&copy).unwrap().len());
    });
    let copied = TokenTracker::builder().jwt_key(crate::support::key()).open(&copy).unwrap();
    assert_eq!(copied.health().unclean_ends, 0);
    let verified = copied.verify().unwrap();
    assert_eq!(verified.problems, [""; 0]);
    tracker.flush().unwrap();
    let live = tracker.stats().all().summary().unwrap().total;
    assert!((20_000..=live).contains(&verified.records), "{} of {live}", verified.records);
    assert!(copied.authenticate(&issued.secret).is_ok());
}

#[test]
fn what_is_there_is_never_overwritten_and_what_is_cancelled_leaves_nothing() {
    let database = Database::new();
    let tracker = database.open();
    opaque(&tracker, "laptop");
    let files = || {
        let names = std::fs::read_dir(database.directory()).unwrap();
        let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = files();
    let there = database.directory().join("there");
    for taken in [database.path(), there.clone(), database.directory().to_owned()] {
        std::fs::write(&there, "mine").unwrap();
        let error = tracker.backup_to(&taken).unwrap_err();
        assert_eq!((error.kind(), error.field()), (ErrorKind::InvalidInput, Some("path")));
        assert_eq!(std::fs::read_to_string(&there).unwrap(), "mine");
        std::fs::remove_file(&there).unwrap();
    }
    let nowhere = database.directory().join("no/such/folder");
    assert_eq!(tracker.backup_to(nowhere).unwrap_err().field(), Some("path"));
    let error = tracker.backup_with(&there, |_| ControlFlow::Break(())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert_eq!(files(), before);
    tracker.backup_to(&there).unwrap();
    assert_eq!(files().len(), before.len() + 1);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&there).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn database_in_memory_can_be_kept_as_a_file() {
    let (tracker, _clock) = crate::support::in_memory();
    let issued = opaque(&tracker, "laptop");
    let directory = tempfile::tempdir().unwrap();
    let copy = directory.path().join("copy.db");
    tracker.backup_to(&copy).unwrap();
    assert!(TokenTracker::builder().open(copy).unwrap().authenticate(&issued.secret).is_ok());
}
