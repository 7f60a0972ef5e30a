//! Somebody else who locks the file for longer than one waits would make a service refuse good tokens, or lose
//! or double what waits.

use std::cell::RefCell;

use token_tracker_faults::{Child, Scene, alone, rounds};

use crate::ordeal::endure;

fn endure_a_lock(mode: &str, lock: &str) {
    let _alone = alone();
    for _ in 0..rounds(1, 20) {
        let scene = Scene::new();
        let holder = RefCell::new(None);
        let strike = || {
            let args = ["sql", scene.database().to_str().unwrap(), lock].map(str::to_owned);
            let mut child = Child::start(env!("CARGO_BIN_EXE_hold"), &args);
            child.await_note("done");
            drop(holder.replace(Some(child)));
        };
        endure(mode, &scene.database(), strike, || drop(holder.take()));
    }
}

#[test]
fn foreign_write_lock_costs_a_buffered_service_nothing_but_time() {
    endure_a_lock("buffered", "BEGIN IMMEDIATE");
}

#[test]
fn foreign_write_lock_costs_a_committed_service_nothing_but_time() {
    endure_a_lock("committed", "BEGIN IMMEDIATE");
}

#[test]
fn foreign_exclusive_lock_costs_a_synced_service_nothing_but_time() {
    endure_a_lock("synced", "BEGIN EXCLUSIVE");
}

#[test]
fn foreign_transaction_that_is_killed_half_way_leaves_nothing() {
    // What it did is rolled back by whoever writes next.
    let half = "BEGIN IMMEDIATE; DELETE FROM usage_log; DELETE FROM usage_heads";
    endure_a_lock("committed", half);
}
