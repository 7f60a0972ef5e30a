//! A process that is killed would lose records that it acknowledged, store some twice, tear a token's chain
//! of records or leave sums that are not those of the log; and nobody would be told of the kill.

use std::time::Duration;

use token_tracker::TokenTracker;
use token_tracker_faults::{
    Child, Ledger, Load, Scene, alone, at_us, builder, opaque, pause, rounds, secret_of,
};

/// The default window, and what a busy machine may take to commit what waited.
const WINDOW: Duration = Duration::from_millis(200);
const SLACK: Duration = Duration::from_secs(2);

/// Rounds on one file: then a new one, so that the check of all that is in it stays quick.
const ROUNDS_A_FILE: u32 = 5;

/// What a series of kills came to.
#[derive(Default)]
struct Toll {
    acknowledged: usize,
    lost: usize,
    oldest: Duration,
}

fn kill_repeatedly(mode: &str) -> Toll {
    let _alone = alone();
    let mut toll = Toll::default();
    let mut left = rounds(15, 200);
    while left > 0 {
        let rounds = left.min(ROUNDS_A_FILE);
        kill_on_one_file(mode, rounds, &mut toll);
        left -= rounds;
    }
    eprintln!(
        "{mode}: {} acknowledged, {} of them lost, the oldest {:?} before its kill",
        toll.acknowledged, toll.lost, toll.oldest
    );
    assert!(toll.acknowledged > 1_000, "there was hardly any load");
    toll
}

fn kill_on_one_file(mode: &str, rounds: u32, toll: &mut Toll) {
    let scene = Scene::new();
    let tracker = builder(mode).open(scene.database()).unwrap();
    let shared: Vec<_> =
        ["one", "two"].map(|name| secret_of(&opaque(&tracker, name)).1).into_iter().collect();
    tracker.close().unwrap();
    drop(tracker);
    let mut ledger = Ledger::default();
    for number in 1..=rounds {
        let load = Load {
            database: scene.database(),
            durability: mode.to_owned(),
            number,
            threads: 3,
            shared: shared.clone(),
        };
        let mut child = Child::start(env!("CARGO_BIN_EXE_load"), &load.to_args());
        child.await_note("ready");
        pause(lifetime(mode, number));
        let killed_at = at_us();
        child.kill();
        let said = child.ledger().copy();
        toll.acknowledged += said.records.len();
        ledger.absorb(said);
        settle(mode, &scene, &mut ledger, killed_at, toll);
    }
}

/// Scattered over the phases of a window and of a commit. Some live long enough for the end of what the
/// first mode may lose to be seen.
fn lifetime(mode: &str, number: u32) -> u64 {
    let scattered = u64::from(number * number * 7_919 % 400) + 20;
    if mode == "buffered" && number.is_multiple_of(7) { 2_300 + scattered } else { scattered }
}

fn settle(mode: &str, scene: &Scene, ledger: &mut Ledger, killed_at: i64, toll: &mut Toll) {
    let tracker = reopen(scene);
    assert_eq!(tracker.health().unclean_ends, 1, "the kill is told");
    let audit = ledger.audit(&scene.database(), &tracker);
    for ack in &audit.lost {
        let age = Duration::from_micros(u64::try_from(killed_at - ack.at_us).unwrap_or_default());
        toll.oldest = toll.oldest.max(age);
    }
    toll.lost += audit.lost.len();
    let allowed = if mode == "buffered" { WINDOW + SLACK } else { Duration::ZERO };
    assert!(
        audit.lost.is_empty() || toll.oldest < allowed,
        "{mode}: {} lost, the oldest {:?} before the kill",
        audit.lost.len(),
        toll.oldest
    );
    ledger.strike(&audit.lost);
    tracker.close().unwrap();
    drop(tracker);
    let tracker = reopen(scene);
    assert_eq!(tracker.health().unclean_ends, 0, "a clean end is none to tell of");
    tracker.close().unwrap();
}

fn reopen(scene: &Scene) -> TokenTracker {
    TokenTracker::builder().open(scene.database()).unwrap()
}

#[test]
fn killed_buffered_process_loses_at_most_the_window() {
    kill_repeatedly("buffered");
}

#[test]
fn killed_committed_process_loses_nothing_acknowledged() {
    assert_eq!(kill_repeatedly("committed").lost, 0);
}

#[test]
fn killed_synced_process_loses_nothing_acknowledged() {
    assert_eq!(kill_repeatedly("synced").lost, 0);
}
