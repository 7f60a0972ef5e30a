//! A write or sync that fails at one point of a commit, a checkpoint, an open or a close would lose what is
//! acknowledged, store it twice, leave sums half done, or leave a tracker that never works again.

use std::process::Command;
use std::time::Duration;

use token_tracker_faults::{Child, Scene, Shim, alone, rounds};

/// Goes through the work once for every call that can fail in it, and says how many there are.
fn fail_at_every_call(work: &str, durability: &str, call: &str, failure: &str, step: u32) -> u64 {
    let scene = Scene::new();
    let shim = Shim::new(&scene.directory().join("control"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_failing"));
    shim.load_into(&mut command, &scene.database());
    command
        .arg(work)
        .arg(scene.database())
        .arg(durability)
        .arg(scene.directory().join("control"))
        .args([call, failure, &step.to_string()]);
    let mut child = Child::spawn(&mut command);
    let ended = child.finish(Duration::from_secs(600));
    assert!(ended.success(), "{work}, {durability}, {call}, {failure}: {ended}");
    let calls = child.ledger().with(|ledger| ledger.number("calls ")).unwrap();
    eprintln!("{work}, {durability}, {call}, {failure}: {calls} calls");
    calls
}

fn fail_in_every_way(work: &str, call: &str, fewest: u64) {
    let _alone = alone();
    for (durability, failure, step) in ways(work) {
        let calls = fail_at_every_call(work, durability, call, failure, step);
        assert!(calls >= fewest, "only {calls} calls: the fault is not in their way");
    }
}

/// Mode, kind of failure, and how many calls are passed over from one fault to the next. In the short form
/// those that differ most.
fn ways(work: &str) -> Vec<(&'static str, &'static str, u32)> {
    if rounds(0, 1) == 1 {
        let failures = ["once", "done", "lasting"];
        return ["committed", "synced"]
            .into_iter()
            .flat_map(|mode| failures.map(|failure| (mode, failure, 1)))
            .collect();
    }
    match work {
        "commit" => vec![
            ("committed", "once", 1),
            ("committed", "lasting", 9),
            ("synced", "once", 1),
            ("synced", "done", 1),
        ],
        _ => vec![("committed", "lasting", 9), ("synced", "once", 1)],
    }
}

#[test]
fn write_that_fails_anywhere_in_a_commit_loses_and_doubles_nothing() {
    fail_in_every_way("commit", "write", 10);
}

#[test]
fn sync_that_fails_anywhere_in_a_commit_loses_and_doubles_nothing() {
    fail_in_every_way("commit", "sync", 1);
}

#[test]
fn write_that_fails_while_opening_leaves_a_file_that_opens() {
    fail_in_every_way("open", "write", 10);
}

#[test]
fn sync_that_fails_while_opening_leaves_a_file_that_opens() {
    fail_in_every_way("open", "sync", 1);
}

#[test]
fn write_that_fails_while_closing_loses_and_doubles_nothing() {
    fail_in_every_way("close", "write", 5);
}

#[test]
fn sync_that_fails_while_closing_loses_and_doubles_nothing() {
    fail_in_every_way("close", "sync", 1);
}
