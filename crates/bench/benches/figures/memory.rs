//! What stays in memory after very many tokens.

use std::path::Path;
use std::process::Command;

use crate::material::{Database, forged, open, token};
use crate::measure::{Figure, Scale};

pub(crate) const FIGURES: &[Figure] =
    &[Figure { name: "memory_1m_tokens", unit: "MiB", measure: growth }];

/// Says that this process is the one that is measured.
pub(crate) const CHILD: &str = "--measure-memory";

/// Measured in a process of its own, which holds nothing else.
fn growth(scale: Scale) -> f64 {
    let count = scale.pick(1_000_000, 100_000);
    let database = Database::with_tokens(count);
    let child = Command::new(std::env::current_exe().unwrap())
        .args([CHILD, database.path().to_str().unwrap(), &count.to_string()])
        .output()
        .unwrap();
    let (said, complaint) = (child.stdout, String::from_utf8_lossy(&child.stderr));
    let said = String::from_utf8(said).unwrap();
    said.trim().parse().unwrap_or_else(|_| panic!("the measured process says {said}{complaint}"))
}

/// Prints the growth in MiB from before the tracker is opened.
pub(crate) fn child(mut arguments: impl Iterator<Item = String>) {
    let path = arguments.next().unwrap();
    let count = arguments.next().unwrap().parse().unwrap();
    // What signing needs is there once, and no part of it.
    drop((token(1), forged(1)));
    let before = resident();
    let tracker = open(Path::new(&path));
    for number in 1..=count {
        drop(tracker.authenticate(token(number)).unwrap());
        drop(tracker.authenticate(forged(number)).unwrap_err());
    }
    tracker.flush().unwrap();
    println!("{:.3}", (resident() - before) / 1024.0);
}

/// VmRSS in KiB.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
