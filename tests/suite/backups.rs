//! A copy that mixes two moments, or is half of one under its name, is found out when it is needed.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use token_tracker::{ErrorKind, TokenTracker, Usage};

use crate::support::{Database, Done, accepted, access, opaque};

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
    for taken in [there.clone(), database.directory().to_owned()] {
        std::fs::write(&there, "mine").unwrap();
        let error = tracker.backup_to(&taken).unwrap_err();
        assert_eq!((error.kind(), error.field()), (ErrorKind::InvalidInput, Some("path")));
        assert_eq!(std::fs::read_to_string(&there).unwrap(), "mine");
        std::fs::remove_file(&there).unwrap();
    }
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

/// From where this process stands, up to the root and down again.
fn relative(path: &Path) -> PathBuf {
    let here = std::env::current_dir().unwrap();
    let up: PathBuf = here.components().skip(1).map(|_| "..").collect();
    up.join(path.strip_prefix("/").unwrap())
}

#[cfg(unix)]
#[test]
fn copy_onto_the_live_file_or_what_belongs_to_it_is_refused_by_name_before_anything_is_written() {
    use std::os::unix::fs::symlink;
    let database = Database::new();
    let tracker = database.open();
    let issued = opaque(&tracker, "laptop");
    let (live, elsewhere) = (database.path().canonicalize().unwrap(), tempfile::tempdir().unwrap());
    let at = |name: &str| elsewhere.path().join(name);
    symlink(&live, at("link")).unwrap();
    symlink(live.parent().unwrap(), at("folder")).unwrap();
    symlink(at("nothing"), at("dangling")).unwrap();
    let beside = |end: &str| PathBuf::from(format!("{}{end}", live.display()));
    let contents = |directory: &Path| {
        let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        // What is in the index of the log changes when somebody reads.
        let read = |path: &Path| {
            std::fs::read(path).ok().filter(|_| !path.to_string_lossy().ends_with("-shm"))
        };
        let mut files: Vec<_> = entries.map(|path| (read(&path), path)).collect();
        files.sort();
        files
    };
    let everything = || (contents(live.parent().unwrap()), contents(elsewhere.path()));
    let before = everything();
    for path in [
        live.clone(),
        relative(&live),
        live.parent().unwrap().join("./tokens.db"),
        at("link"),
        at("folder/tokens.db"),
        at("dangling"),
        beside("-wal"),
        beside("-shm"),
        // There is no such file now, and SQLite would take it for a half-done transaction.
        beside("-journal"),
        at("folder/tokens.db-journal"),
        relative(&beside("-journal")),
        live.parent().unwrap().to_owned(),
        at("folder"),
        at("no/such/folder"),
        live.join("within"),
        at("new/"),
        at("new/."),
        PathBuf::from("/"),
        PathBuf::from(".."),
        PathBuf::new(),
        at("a\0b"),
    ] {
        let mut told = 0;
        let error = tracker.backup_with(&path, |_| {
            told += 1;
            ControlFlow::Continue(())
        });
        let error = error.unwrap_err();
        let shown = (error.kind(), error.field(), told);
        assert_eq!(shown, (ErrorKind::InvalidInput, Some("path"), 0), "{path:?}: {error}");
        assert_eq!(everything(), before, "{path:?}");
    }
    assert!(accepted(&tracker, &issued));
    tracker.backup_to(relative(&at("new"))).unwrap();
    assert!(TokenTracker::builder().open(at("new")).unwrap().authenticate(&issued.secret).is_ok());
    tracker.backup_to(at("tokens.db-journal")).unwrap();
}
