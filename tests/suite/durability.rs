//! What a killed process costs is what its mode says, and the next one is told of the kill.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use token_tracker::{Durability, TokenTracker, Usage};

use crate::support::{Database, access, key, opaque};

const CHILD_DATABASE: &str = "TOKEN_TRACKER_TEST_DATABASE";

/// Runs in a process of its own, as a service that acknowledges each record on its standard output.
#[test]
fn child_that_records_until_it_is_killed() {
    let Some(path) = std::env::var_os(CHILD_DATABASE) else { return };
    let tracker = TokenTracker::builder()
        .jwt_key(key())
        .durability(Durability::Committed)
        .open(path)
        .unwrap();
    let issued = opaque(&tracker, &format!("child {}", std::process::id()));
    let mut out = std::io::stderr().lock();
    for number in 1..1_000_000 {
        tracker.record(Usage::of(access(&tracker, &issued)).status(200)).wait().unwrap();
        writeln!(out, "acknowledged {number}").unwrap();
    }
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start_child(database: &Database) -> Killed {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "durability::child_that_records_until_it_is_killed", "--nocapture"])
        .env(CHILD_DATABASE, database.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    Killed(command.spawn().unwrap())
}

#[test]
fn killed_process_loses_nothing_acknowledged_and_is_reported() {
    let database = Database::new();
    let mut acknowledged_in_all = 0;
    for round in 1..=5 {
        let mut child = start_child(&database);
        let mut lines = BufReader::new(child.0.stderr.take().unwrap()).lines();
        let wanted = 10 * round;
        let mut acknowledged = 0;
        while acknowledged < wanted {
            let line = lines.next().expect("the child goes on").unwrap();
            acknowledged += i64::from(line.starts_with("acknowledged"));
        }
        child.0.kill().unwrap();
        child.0.wait().unwrap();
        acknowledged +=
            lines.map_while(Result::ok).filter(|line| line.starts_with("acknowledged")).count()
                as i64;
        acknowledged_in_all += acknowledged;

        let tracker = TokenTracker::builder().open(database.path()).unwrap();
        assert_eq!(tracker.health().unclean_ends, 1, "round {round}");
        let total = i64::try_from(tracker.stats().all().summary().unwrap().total).unwrap();
        let unacknowledged = total - acknowledged_in_all;
        assert!(
            (0..=1).contains(&unacknowledged),
            "{total} stored, {acknowledged_in_all} acknowledged"
        );
        acknowledged_in_all = total;
        tracker.close().unwrap();
        drop(tracker);
        let tracker = TokenTracker::builder().open(database.path()).unwrap();
        assert_eq!(tracker.health().unclean_ends, 0, "a clean end is none to report");
    }
}

#[test]
fn living_neighbour_is_not_taken_for_an_unclean_end() {
    let database = Database::new();
    let one = TokenTracker::builder().open(database.path()).unwrap();
    let two = TokenTracker::builder().open(database.path()).unwrap();
    assert_eq!((one.health().unclean_ends, two.health().unclean_ends), (0, 0));
}
