//! A service whose files are limited, and that has opened all it may: started with a low limit.

use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use token_tracker::{AuthError, TokenTracker};
use token_tracker_faults::{Deadline, Load, Shared, builder, eventually, opaque, pause, secret_of};

/// What one authentication may take without a file to open: the busy timeout, on a busy machine.
const BOUND: Duration = Duration::from_secs(2);

fn main() {
    let database = PathBuf::from(std::env::args().nth(1).expect("a database"));
    let builder = builder("committed").busy_timeout(Duration::from_millis(200));
    let tracker = builder.open(&database).expect("there are files enough");
    let known = opaque(&tracker, "known");
    let new: Vec<_> = (0..200).map(|at| opaque(&tracker, &format!("new {at}"))).collect();
    let shared = vec![secret_of(&known).1];
    let durability = "committed".to_owned();
    let load = Load { database: database.clone(), durability, number: 1, threads: 2, shared };
    let (stop, ledger) = (AtomicBool::new(false), Shared::default());
    std::thread::scope(|scope| {
        scope.spawn(|| load.run(&tracker, &stop, &|entry| ledger.enter(entry)));
        let stop = Stop(&stop);
        eventually("there is a load", || ledger.with(|ledger| ledger.records.len()) >= 50);
        let taken = take_all_files();
        assert!(taken.len() > 5, "there were hardly any left");
        let secrets: Vec<_> = new.iter().map(|issued| secret_of(issued).1).collect();
        authenticate_at_once(&tracker, &secret_of(&known).1, &secrets);
        let before = ledger.with(|ledger| ledger.records.len());
        eventually("records are stored without files", || {
            ledger.with(|ledger| ledger.records.len()) > before + 50
        });
        drop(taken);
        for secret in &secrets {
            assert!(tracker.authenticate(secret).is_ok(), "the files are there again");
        }
        assert!(tracker.stats().all().summary().is_ok(), "so can be asked what happened");
        pause(50);
        drop(stop);
    });
    tracker.flush().expect("it is flushed");
    let health = tracker.health();
    assert_eq!((health.accepted, health.dropped), (health.stored, 0), "{health:?}");
    assert!(!health.degraded, "{health:?}");
    ledger.copy().assert_balances(&database, &tracker);
    tracker.close().expect("it closes");
}

fn take_all_files() -> Vec<File> {
    std::iter::from_fn(|| File::open("/dev/null").ok()).collect()
}

/// Tokens that are not cached, by several threads: more look-ups than there are connections. Nobody may know
/// of those yet; that is said of the storage, not of the token. What is cached needs no file.
fn authenticate_at_once(tracker: &TokenTracker, known: &str, secrets: &[String]) {
    std::thread::scope(|scope| {
        for secrets in secrets.chunks(25) {
            scope.spawn(move || {
                for secret in secrets {
                    let took = Deadline::after(BOUND);
                    let refused = tracker.authenticate(secret).err();
                    assert!(!took.is_over(), "it took {:?}", took.elapsed());
                    let denied = matches!(refused, Some(AuthError::Denied(_)));
                    assert!(!denied, "a good token is refused: {refused:?}");
                    let refused = tracker.authenticate(known).err();
                    assert!(refused.is_none(), "what is cached is not known: {refused:?}");
                }
            });
        }
    });
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
