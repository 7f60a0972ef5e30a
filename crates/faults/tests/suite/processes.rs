//! Two processes on one file would give out the same number twice, tear each other's chains, write a last use
//! twice as often, or drag each other down when one is killed.

use std::time::Duration;

use rusqlite::Connection;
use token_tracker::TokenTracker;
use token_tracker_faults::{
    Child, Ledger, Load, Scene, alone, builder, opaque, pause, rounds, secret_of, terminate,
};

fn start(scene: &Scene, mode: &str, number: u32, shared: &[String]) -> Child {
    let load = Load {
        database: scene.database(),
        durability: mode.to_owned(),
        number,
        threads: 2,
        shared: shared.to_vec(),
    };
    Child::start(env!("CARGO_BIN_EXE_load"), &load.to_args())
}

/// A file with two tokens that everybody uses.
fn shared(scene: &Scene, mode: &str) -> Vec<String> {
    let tracker = builder(mode).open(scene.database()).unwrap();
    let shared = ["one", "two"].map(|name| secret_of(&opaque(&tracker, name)).1).to_vec();
    tracker.close().unwrap();
    shared
}

fn finish(child: &mut Child) -> u64 {
    terminate(child);
    assert!(child.finish(Duration::from_secs(20)).success(), "it ends by itself");
    child.ledger().with(|ledger| ledger.number("last_used_writes ")).unwrap()
}

fn reconcile(scene: &Scene, ledger: &Ledger, unclean_ends: u64) -> u64 {
    let tracker = TokenTracker::builder().open(scene.database()).unwrap();
    assert_eq!(tracker.health().unclean_ends, unclean_ends);
    let rows = ledger.assert_balances(&scene.database(), &tracker);
    tracker.close().unwrap();
    rows
}

fn work_beside_each_other(mode: &str) {
    let _alone = alone();
    for _ in 0..rounds(1, 20) {
        let scene = Scene::new();
        let shared = shared(&scene, mode);
        let mut children = [1, 2].map(|number| start(&scene, mode, number, &shared));
        children.iter().for_each(|child| child.await_records(300));
        pause(500);
        let writes: Vec<u64> = children.iter_mut().map(finish).collect();
        let mut ledger = Ledger::default();
        children.iter().for_each(|child| ledger.absorb(child.ledger().copy()));
        let rows = reconcile(&scene, &ledger, 0);
        eprintln!("{mode}: {} acknowledged, {rows} rows, {writes:?}", ledger.records.len());
        assert_eq!(numbers_of_the_log(&scene), (1, rows), "numbers follow each other");
        // Within the interval every token that was used is written once, whoever used it.
        assert_eq!(writes.iter().sum::<u64>(), tokens_used(&scene));
    }
}

/// The first and the last.
fn numbers_of_the_log(scene: &Scene) -> (u64, u64) {
    let connection = Connection::open(scene.database()).unwrap();
    let sql = "SELECT min(id), max(id) FROM usage_log";
    let (first, last): (i64, i64) =
        connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    (first.unsigned_abs(), last.unsigned_abs())
}

fn tokens_used(scene: &Scene) -> u64 {
    let connection = Connection::open(scene.database()).unwrap();
    let sql = "SELECT count(DISTINCT token_id) FROM usage_log WHERE outcome < 16";
    connection.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap().unsigned_abs()
}

#[test]
fn two_buffered_processes_keep_one_account() {
    work_beside_each_other("buffered");
}

#[test]
fn two_committed_processes_keep_one_account() {
    work_beside_each_other("committed");
}

#[test]
fn two_synced_processes_keep_one_account() {
    work_beside_each_other("synced");
}

#[test]
fn one_of_two_processes_is_killed_and_the_other_goes_on() {
    let _alone = alone();
    let scene = Scene::new();
    let shared = shared(&scene, "committed");
    let mut ledger = Ledger::default();
    let mut survivor = start(&scene, "committed", 1, &shared);
    survivor.await_records(100);
    let rounds = rounds(4, 60);
    for number in 2..2 + rounds {
        let mut killed = start(&scene, "committed", number, &shared);
        killed.await_records(100);
        pause(u64::from(number * 97 % 200));
        killed.kill();
        ledger.absorb(killed.ledger().copy());
        let before = survivor.ledger().with(|ledger| ledger.records.len());
        survivor.await_records(before + 200);
    }
    finish(&mut survivor);
    ledger.absorb(survivor.ledger().copy());
    reconcile(&scene, &ledger, u64::from(rounds));
}
