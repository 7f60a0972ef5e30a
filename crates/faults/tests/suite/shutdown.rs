//! A service that ends while requests are under way would lose what it acknowledged, or never end: a thread
//! that waits for a writer that is gone, a ticket that holds what is to be joined.

use std::time::Duration;

use token_tracker::TokenTracker;
use token_tracker_faults::{Child, Ledger, Scene, alone, pause, rounds, terminate};

const WATCHDOG: Duration = Duration::from_secs(20);

fn end_repeatedly(end: &str) {
    let _alone = alone();
    for durability in ["buffered", "committed", "synced"] {
        let scene = Scene::new();
        let mut ledger = Ledger::default();
        for number in 1..=rounds(2, 40) {
            let database = scene.database().display().to_string();
            let args = [&database, durability, end, &number.to_string()].map(str::to_owned);
            let mut child = Child::start(env!("CARGO_BIN_EXE_ending"), &args);
            child.await_note("ready");
            if end == "signal" {
                pause(u64::from(number * 37 % 50));
                terminate(&child);
            }
            let ended = child.finish(WATCHDOG);
            assert_eq!(ended.success(), end != "panic", "{ended}");
            assert!(end == "panic" || child.ledger().has_note("ended"));
            let said = child.ledger().copy();
            assert!(said.records.len() >= 200, "{}", said.records.len());
            ledger.absorb(said);
            let tracker = TokenTracker::builder().open(scene.database()).unwrap();
            assert_eq!(tracker.health().unclean_ends, 0, "{end}, {durability}");
            ledger.assert_balances(&scene.database(), &tracker);
        }
    }
}

#[test]
fn closing_loses_nothing_acknowledged_and_ends() {
    end_repeatedly("close");
}

#[test]
fn dropping_the_last_handle_loses_nothing_acknowledged_and_ends() {
    end_repeatedly("drop");
}

#[test]
fn panic_of_the_main_thread_loses_nothing_acknowledged_and_ends() {
    end_repeatedly("panic");
}

#[test]
fn signal_to_end_loses_nothing_acknowledged_and_ends() {
    end_repeatedly("signal");
}
