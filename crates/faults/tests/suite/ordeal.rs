//! What every lasting fault is judged by: a tracker under load goes through it, and is not opened again.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use token_tracker::{AuthRequest, ErrorKind, Issued, NewToken, TokenTracker};
use token_tracker_faults::{Deadline, Load, Shared, builder, eventually, opaque, pause, secret_of};

/// How long a fault lasts once it is felt.
const DURATION: Duration = Duration::from_millis(600);

/// What one authentication may take during it: a look-up that waits for a lock, and a busy machine.
const BOUND: Duration = Duration::from_secs(1);

/// A fault that is healed at the latest when the test ends, so that nobody waits for that for ever.
struct Healed<F: FnMut()> {
    heal: F,
    done: bool,
}

impl<F: FnMut()> Healed<F> {
    fn heal(&mut self) {
        if !std::mem::replace(&mut self.done, true) {
            (self.heal)();
        }
    }
}

impl<F: FnMut()> Drop for Healed<F> {
    fn drop(&mut self) {
        self.heal();
    }
}

/// Strikes a tracker under load with a fault of writing, and heals it: errors are typed, authentication goes
/// on, nothing acknowledged is lost or doubled, and the accounts balance to the last request.
pub(crate) fn endure(mode: &str, database: &Path, strike: impl FnOnce(), heal: impl FnMut()) {
    let tracker = builder(mode).busy_timeout(Duration::from_millis(100)).open(database).unwrap();
    let [known, new] = ["known", "new"].map(|name| opaque(&tracker, name));
    let load = Load {
        database: database.to_owned(),
        durability: mode.to_owned(),
        number: 1,
        threads: 2,
        shared: vec![secret_of(&known).1],
    };
    let (stop, ledger) = (AtomicBool::new(false), Shared::default());
    std::thread::scope(|scope| {
        let mut fault = Healed { heal, done: false };
        let working = scope.spawn(|| load.run(&tracker, &stop, &|entry| ledger.enter(entry)));
        let stopping = Stop(&stop);
        eventually("there is a load", || ledger.with(|ledger| ledger.records.len()) >= 100);
        strike();
        eventually("the fault is felt", || tracker.health().degraded);
        judge_during(&tracker, &known, &new);
        fault.heal();
        let recovery = Deadline::after(Duration::from_secs(10));
        while tracker.health().degraded {
            assert!(!recovery.is_over(), "it does not recover: {:?}", tracker.health());
            pause(5);
        }
        pause(50);
        drop(stopping);
        working.join().unwrap();
    });
    tracker.flush().unwrap();
    assert_balanced(&tracker);
    let health = tracker.health();
    assert_eq!((health.accepted, health.dropped), (health.stored, 0), "{health:?}");
    let total = tracker.stats().all().summary().unwrap().total;
    assert_eq!(total, health.stored, "totals are exact");
    ledger.copy().assert_balances(database, &tracker);
    tracker.close().unwrap();
}

fn judge_during(tracker: &TokenTracker, known: &Issued, new: &Issued) {
    let flushed = tracker.flush().unwrap_err();
    assert_eq!(flushed.kind(), ErrorKind::Storage, "{flushed:?}");
    assert!(tracker.health().last_error.is_some());
    let issued = tracker.tokens().issue(NewToken::opaque("alice", "during")).unwrap_err();
    let kinds = [ErrorKind::Busy, ErrorKind::NotDurable, ErrorKind::Storage];
    assert!(kinds.contains(&issued.kind()), "{issued:?}");
    let deadline = Deadline::after(DURATION);
    let mut from_memory = 0;
    while !deadline.is_over() {
        for issued in [known, new] {
            let took = Deadline::after(BOUND);
            drop(tracker.authenticate(&issued.secret).expect("authentication goes on"));
            assert!(!took.is_over(), "it took {:?}", took.elapsed());
        }
        let cached = tracker.authenticate_cached(&AuthRequest::from(&known.secret));
        from_memory += u32::from(cached.is_some_and(|answer| answer.is_ok()));
        assert_balanced(tracker);
        pause(5);
    }
    assert!(from_memory > 0, "what is cached needs no file");
}

fn assert_balanced(tracker: &TokenTracker) {
    let health = tracker.health();
    assert_eq!(health.accepted, health.stored + health.buffered + health.dropped, "{health:?}");
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
