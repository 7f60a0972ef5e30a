//! A disk that is full would make a service refuse good tokens, lose or double what waits for room, or need a
//! restart once there is room again.

use std::cell::RefCell;

use token_tracker::ErrorKind;
use token_tracker_faults::{
    Child, Load, Scene, Tmpfs, alone, builder, opaque, pause, rounds, secret_of,
};

use crate::ordeal::endure;

const MEGABYTES: u32 = 16;

fn endure_a_full_disk(mode: &str) {
    let _alone = alone();
    for _ in 0..rounds(1, 20) {
        let Some(disk) = Tmpfs::mount(MEGABYTES) else { return };
        let filler = RefCell::new(None);
        let database = disk.path().join("tokens.db");
        let strike = || drop(filler.replace(Some(disk.fill())));
        endure(mode, &database, strike, || drop(filler.take()));
    }
}

#[test]
fn full_disk_costs_a_buffered_service_nothing_but_time() {
    endure_a_full_disk("buffered");
}

#[test]
fn full_disk_costs_a_committed_service_nothing_but_time() {
    endure_a_full_disk("committed");
}

#[test]
fn full_disk_costs_a_synced_service_nothing_but_time() {
    endure_a_full_disk("synced");
}

#[test]
fn killed_on_a_full_disk_loses_nothing_acknowledged() {
    let _alone = alone();
    for number in 1..=rounds(3, 30) {
        let Some(disk) = Tmpfs::mount(MEGABYTES) else { return };
        let database = disk.path().join("tokens.db");
        let tracker = builder("committed").open(&database).unwrap();
        let shared = vec![secret_of(&opaque(&tracker, "shared")).1];
        drop(tracker);
        let (durability, threads) = ("committed".to_owned(), 3);
        let load = Load { database: database.clone(), durability, number, threads, shared };
        let mut child = Child::start(env!("CARGO_BIN_EXE_load"), &load.to_args());
        child.await_records(200);
        let filler = disk.fill();
        pause(u64::from(number * 97 % 300));
        child.kill();
        // There may be room enough for that: the log of the killed is emptied.
        match builder("committed").open(&database) {
            Ok(tracker) => assert_eq!(tracker.health().unclean_ends, 1),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Storage, "{error:?}"),
        }
        drop(filler);
        let tracker = builder("committed").open(&database).unwrap();
        child.ledger().copy().assert_balances(&database, &tracker);
    }
}

#[test]
fn disk_that_is_full_from_the_start_is_an_error_that_passes() {
    let _alone = alone();
    let Some(disk) = Tmpfs::mount(MEGABYTES) else { return };
    let scene = Scene::new();
    drop(builder("synced").open(scene.database()).unwrap());
    let database = disk.path().join("tokens.db");
    let filler = disk.fill();
    let error = builder("synced").open(&database).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Storage, "{error:?}");
    drop(filler);
    let tracker = builder("synced").open(&database).unwrap();
    drop(opaque(&tracker, "laptop"));
    tracker.close().unwrap();
}
