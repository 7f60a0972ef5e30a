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

fn fail_once_and_lasting(work: &str, call: &str, fewest: u64) {
    let _alone = alone();
    let full = rounds(0, 1) == 1;
    for durability in ["committed", "synced"] {
        for failure in ["once", "done"] {
            if full || failure == "once" || durability == "synced" {
                let calls = fail_at_every_call(work, durability, call, failure, 1);
                assert!(calls >= fewest, "only {calls} calls: the fault is not in their way");
            }
        }
        if full || durability == "committed" {
            fail_at_every_call(work, durability, call, "lasting", rounds(9, 1));
        }
    }
}

#[test]
fn write_that_fails_anywhere_in_a_commit_loses_and_doubles_nothing() {
    fail_once_and_lasting("commit", "write", 10);
}

#[test]
fn sync_that_fails_anywhere_in_a_commit_loses_and_doubles_nothing() {
    fail_once_and_lasting("commit", "sync", 1);
}

#[test]
fn write_that_fails_while_opening_leaves_a_file_that_opens() {
    fail_once_and_lasting("open", "write", 10);
}

#[test]
fn sync_that_fails_while_opening_leaves_a_file_that_opens() {
    fail_once_and_lasting("open", "sync", 1);
}

#[test]
fn write_that_fails_while_closing_loses_and_doubles_nothing() {
    fail_once_and_lasting("close", "write", 5);
}

#[test]
fn sync_that_fails_while_closing_loses_and_doubles_nothing() {
    fail_once_and_lasting("close", "sync", 1);
}
