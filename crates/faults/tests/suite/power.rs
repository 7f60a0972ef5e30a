//! When the power goes, what the system had not written to the disk is gone: a record that was acknowledged
//! as synced could be among it, or half of what belongs together.
//!
//! The power is cut by shutting down a mounted file system at one moment, under load, without its journal
//! being flushed: pages that it has not written are lost, then it is mounted again and replays its journal.

use token_tracker::TokenTracker;
use token_tracker_faults::{
    Child, Ext4, Ledger, Load, alone, builder, opaque, pause, rounds, secret_of,
};

/// Rounds with one file; then another, whose name may not be on the disk yet.
const ROUNDS_A_FILE: u32 = 3;

/// Acknowledged, and lost of those, by each cut. `None` where the power cannot be cut here.
fn cut_repeatedly(mode: &str, rounds: u32) -> Option<Vec<(usize, usize)>> {
    let _alone = alone();
    let disk = Ext4::make(96)?;
    let mut ledger = Ledger::default();
    let mut tolls = Vec::new();
    for number in 0..rounds {
        let directory = disk.path().join((number / ROUNDS_A_FILE).to_string());
        let database = directory.join("tokens.db");
        if number % ROUNDS_A_FILE == 0 {
            ledger = Ledger::default();
            // Room for the next: or it would be the test of a full disk.
            if let Some(last) = number.checked_sub(1) {
                let _ =
                    std::fs::remove_dir_all(disk.path().join((last / ROUNDS_A_FILE).to_string()));
            }
            std::fs::create_dir(&directory).unwrap();
        }
        let tracker = builder(mode).open(&database).unwrap();
        let shared = vec![secret_of(&opaque(&tracker, &format!("shared {number}"))).1];
        tracker.close().unwrap();
        drop(tracker);
        let load = Load {
            database: database.clone(),
            durability: mode.to_owned(),
            number: number % ROUNDS_A_FILE + 1,
            threads: 3,
            shared,
        };
        let mut child = Child::start(env!("CARGO_BIN_EXE_load"), &load.to_args());
        child.await_records(20);
        pause(u64::from(number * number * 7_919 % 400));
        // What is said later may be of no use: the system is told to go down while it is syncing, and a sync
        // that is under way then can succeed in vain.
        let mut said = child.ledger().copy();
        if !disk.cut() {
            return None;
        }
        child.kill();
        said.excuse(child.ledger().copy());
        disk.unmount();
        assert!(disk.mount(), "the disk is mounted again");
        if mode != "synced" {
            // Administration is lost like the rest.
            said = said.records_only();
        }
        let acknowledged = said.records.len();
        ledger.absorb(said);
        let tracker = TokenTracker::builder().open(&database).unwrap();
        if mode == "synced" {
            assert_eq!(tracker.health().unclean_ends, 1, "the cut is told");
        }
        let audit = ledger.audit(&database, &tracker);
        ledger.strike(&audit.lost);
        tolls.push((acknowledged, audit.lost.len()));
    }
    eprintln!("{mode}: acknowledged and lost by each cut: {tolls:?}");
    Some(tolls)
}

#[test]
fn power_cut_loses_nothing_that_was_acknowledged_as_synced() {
    if let Some(tolls) = cut_repeatedly("synced", rounds(6, 100)) {
        assert!(tolls.iter().all(|(_, lost)| *lost == 0), "{tolls:?}");
    }
}

/// What it loses is the mode's price, and printed: a cut that comes just after an act of administration, which
/// is synced, costs nothing. That what is left is whole is not for sale.
#[test]
fn power_cut_leaves_a_whole_file_where_commits_are_not_synced() {
    if let Some(tolls) = cut_repeatedly("committed", rounds(3, 30)) {
        let cuts = tolls.iter().filter(|(_, lost)| *lost > 0).count();
        eprintln!("committed: {cuts} of {} cuts lost something", tolls.len());
    }
}

/// A power that nobody misses would prove nothing of the modes.
#[test]
fn power_cut_loses_what_was_written_and_not_synced() {
    let _alone = alone();
    let Some(disk) = Ext4::make(96) else { return };
    let (synced, unsynced) = (disk.path().join("synced"), disk.path().join("unsynced"));
    std::fs::write(&synced, "kept").unwrap();
    std::fs::File::open(&synced).unwrap().sync_all().unwrap();
    std::fs::File::open(disk.path()).unwrap().sync_all().unwrap();
    std::fs::write(&unsynced, "lost").unwrap();
    if !disk.cut() {
        return;
    }
    disk.unmount();
    assert!(disk.mount(), "the disk is mounted again");
    assert_eq!(std::fs::read_to_string(synced).unwrap(), "kept");
    assert_ne!(std::fs::read_to_string(unsynced).unwrap_or_default(), "lost");
}
