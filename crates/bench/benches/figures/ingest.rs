//! How fast records are stored.

use std::sync::OnceLock;

use token_tracker::{Durability, TokenTracker, Usage};

use crate::append::{PlainLog, requests};
use crate::material::{Database, builder};
use crate::measure::{Figure, Scale, Stopwatch};
use crate::traffic::{TOKENS, Traffic};

pub(crate) const FIGURES: &[Figure] = &[
    Figure { name: "ingest_vs_append", unit: "ratio", measure: |scale| buffered(scale).ratio },
    Figure { name: "ingest_per_second", unit: "1/s", measure: |scale| buffered(scale).per_second },
    Figure { name: "ingest_synced_vs_append", unit: "ratio", measure: synced },
];

#[derive(Clone, Copy)]
struct Rate {
    /// Throughput to that of the plain table.
    ratio: f64,
    per_second: f64,
}

/// Both figures are of one measurement.
fn buffered(scale: Scale) -> Rate {
    static MEASURED: OnceLock<Rate> = OnceLock::new();
    *MEASURED.get_or_init(|| measure(scale, Durability::Buffered))
}

fn synced(scale: Scale) -> f64 {
    measure(scale, Durability::Synced).ratio
}

/// From the first record to when all are committed, summed up and found by every question. Authenticating is
/// no part of it: the usages are there before. Larger groups write sums less often: from 4,096 records to
/// 16,384 the ratio rose by a fifth.
fn measure(scale: Scale, durability: Durability) -> Rate {
    let database = Database::with_tokens(TOKENS);
    let count = scale.pick(1 << 20, 200_000);
    let tracker = builder().durability(durability).open(database.path()).unwrap();
    let mut plain = PlainLog::create(&database.path().with_file_name("plain.db"));
    let mut traffic = Traffic::new(1);
    let mut rounds: Vec<(f64, f64)> = (0..=scale.pick(9, 3))
        .map(|_| {
            let (usages, rows) = (traffic.usages(&tracker, count), requests(&mut traffic, count));
            tracker.flush().unwrap();
            let (mut stored, mut appended) = (Stopwatch::new(), Stopwatch::new());
            stored.time(|| store(&tracker, usages));
            appended.time(|| plain.append(&rows));
            eprintln!("stored {:.3} s, plain {:.3} s", stored.seconds(), appended.seconds());
            (stored.seconds(), appended.seconds())
        })
        .collect();
    // The first warms up.
    rounds.remove(0);
    rounds.sort_by(|one, two| (one.1 / one.0).total_cmp(&(two.1 / two.0)));
    let (stored, appended) = rounds[rounds.len() / 2];
    Rate { ratio: appended / stored, per_second: count as f64 / stored }
}

fn store(tracker: &TokenTracker, usages: Vec<Usage>) {
    for usage in usages {
        assert!(tracker.record_blocking(usage).is_accepted());
    }
    tracker.flush().unwrap();
    tracker.upkeep().unwrap();
}
