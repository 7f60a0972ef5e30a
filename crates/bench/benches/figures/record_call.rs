//! What the caller of `record` waits for.

use std::sync::OnceLock;

use crate::load::steadily;
use crate::material::Database;
use crate::measure::{Figure, Scale};
use crate::percentiles::{Calls, microseconds};
use crate::traffic::{TOKENS, Traffic};

pub(crate) const FIGURES: &[Figure] = &[
    Figure { name: "record_call_p50", unit: "us", measure: |scale| measured(scale, 500) },
    Figure { name: "record_call_p999", unit: "us", measure: |scale| measured(scale, 999) },
];

/// Usages that are there before they are due: those of a second.
const PREPARED: usize = 100_000;

fn measured(scale: Scale, per_mille: usize) -> f64 {
    static CALLS: OnceLock<Calls> = OnceLock::new();
    let calls = CALLS.get_or_init(|| calls(scale));
    microseconds(calls.percentile(per_mille))
}

/// One thread, at a steady 100,000 calls a second, while the groups before are committed.
fn calls(scale: Scale) -> Calls {
    let database = Database::with_tokens(TOKENS);
    let (tracker, mut traffic) = (database.open(), Traffic::new(3));
    let mut calls = Calls::new();
    for _ in 0..scale.pick(30, 2) {
        let mut usages = traffic.usages(&tracker, PREPARED).into_iter();
        steadily(&tracker, &mut usages, &mut calls, || false);
    }
    calls
}
