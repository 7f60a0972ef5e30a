//! Good tokens with arbitrary deviations, signed: the library accepts one if and only if the reference
//! does, now and at another time from the cache. A difference is a rule that is read in two ways: an
//! expiry that lasts a moment longer, an audience of the wrong type, a key that answers to another name.
#![no_main]

use std::sync::LazyLock;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use token_tracker_fuzz::bench::{Bench, NAMED, NAMELESS_KEYS, PUBLIC, SECRET, START};
use token_tracker_fuzz::plan::Plan;

static BENCHES: LazyLock<[Bench; 4]> =
    LazyLock::new(|| [NAMED, NAMELESS_KEYS, PUBLIC, SECRET].map(Bench::new));

#[derive(Arbitrary, Debug)]
struct Case<'a> {
    bench: Under,
    plan: Plan<'a>,
    /// In microseconds from the start, one after the other.
    times: [i32; 2],
}

/// What the token is judged under.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Under {
    Named,
    NamelessKeys,
    Public,
    Secret,
}

fuzz_target!(|case: Case<'_>| {
    let bench = &BENCHES[case.bench as usize];
    let token = case.plan.token();
    bench.compare(&token, START);
    for time in case.times.into_iter().filter(|time| *time != 0) {
        bench.compare(&token, START + i128::from(time));
    }
});
