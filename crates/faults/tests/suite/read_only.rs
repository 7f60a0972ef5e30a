//! A file that cannot be written any more would make a service refuse good tokens, lose or double what waits,
//! or need a restart once it can be written again.

use token_tracker::ErrorKind;
use token_tracker_faults::{Ext4, Tmpfs, alone, builder, opaque, rounds};

use crate::ordeal::endure;

fn endure_a_read_only_file(mode: &str) {
    let _alone = alone();
    for _ in 0..rounds(1, 20) {
        let Some(disk) = Ext4::make(32) else { return };
        let directory = disk.path().join("data");
        std::fs::create_dir(&directory).unwrap();
        let database = directory.join("tokens.db");
        let log = directory.join("tokens.db-wal");
        let files = [database.as_path(), &log, &directory];
        endure(
            mode,
            &database,
            || disk.set_immutable("+i", &files),
            || disk.set_immutable("-i", &files),
        );
    }
}

#[test]
fn read_only_file_costs_a_buffered_service_nothing_but_time() {
    endure_a_read_only_file("buffered");
}

#[test]
fn read_only_file_costs_a_committed_service_nothing_but_time() {
    endure_a_read_only_file("committed");
}

#[test]
fn read_only_file_costs_a_synced_service_nothing_but_time() {
    endure_a_read_only_file("synced");
}

#[test]
fn read_only_file_system_is_an_error_of_opening_that_passes() {
    let _alone = alone();
    let Some(disk) = Tmpfs::mount(16) else { return };
    let database = disk.path().join("tokens.db");
    let tracker = builder("committed").open(&database).unwrap();
    let issued = opaque(&tracker, "laptop");
    tracker.close().unwrap();
    drop(tracker);
    disk.remount("ro");
    let before = std::fs::read(&database).unwrap();
    let error = builder("committed").open(&database).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Storage, "{error:?}");
    assert!(std::fs::read(&database).unwrap() == before, "the file is as it was");
    disk.remount("rw");
    let tracker = builder("committed").open(&database).unwrap();
    assert!(tracker.authenticate(&issued.secret).is_ok());
}
