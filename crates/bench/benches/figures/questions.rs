//! How long statistics take to answer, however much there is.

use std::time::Duration;

use token_tracker::{TokenId, TokenTracker};

use crate::history::{History, SMALL, large, large_history};
use crate::load::under_full_load;
use crate::measure::{Figure, Scale, Stopwatch, median_ratio};
use crate::percentiles::{Calls, milliseconds};

/// The load comes last: it adds to the history.
pub(crate) const FIGURES: &[Figure] = &[
    Figure { name: "summary_growth", unit: "ratio", measure: summary_growth },
    Figure { name: "recent_50_ms", unit: "ms", measure: recent },
    Figure { name: "summary_idle_ms", unit: "ms", measure: summary_idle },
    Figure { name: "summary_ms", unit: "ms", measure: summary_under_load },
];

const CALLS: usize = 200;

/// The most frequent token, with 13 % of all records.
fn token() -> TokenId {
    "1".parse().unwrap()
}

fn summary(tracker: &TokenTracker) -> u64 {
    tracker.stats().token(token()).last_days(30).summary().unwrap().total
}

fn summary_growth(scale: Scale) -> f64 {
    let (large_tracker, small) = (large_history(scale).open(), History::of(SMALL));
    let small = small.open();
    let (of_large, of_small) = (summary(&large_tracker), summary(&small));
    assert!(of_large as usize > large(scale) / 10, "{of_large} of the large history");
    assert!(of_small as usize > SMALL / 10, "{of_small} of the small one");
    median_ratio(scale.pick(101, 25), || {
        let (mut much, mut little) = (Stopwatch::new(), Stopwatch::new());
        for _ in 0..10 {
            much.time(|| summary(&large_tracker));
            little.time(|| summary(&small));
        }
        (much.seconds(), little.seconds())
    })
}

/// For the record: the same call without anything beside it.
fn summary_idle(scale: Scale) -> f64 {
    let (tracker, mut calls) = (large_history(scale).open(), Calls::new());
    (0..CALLS).for_each(|_| _ = calls.time(|| summary(&tracker)));
    milliseconds(calls.median())
}

fn recent(scale: Scale) -> f64 {
    let (tracker, mut calls) = (large_history(scale).open(), Calls::new());
    for _ in 0..CALLS {
        let records = calls.time(|| tracker.stats().token(token()).recent(50)).unwrap();
        assert_eq!(records.len(), 50);
    }
    milliseconds(calls.median())
}

/// Between two calls, so that they see the writer at all it does.
const PAUSE: Duration = Duration::from_millis(5);

fn summary_under_load(scale: Scale) -> f64 {
    let (tracker, mut calls) = (large_history(scale).open(), Calls::new());
    under_full_load(&tracker, || {
        for _ in 0..CALLS {
            calls.time(|| summary(&tracker));
            std::thread::sleep(PAUSE);
        }
    });
    milliseconds(calls.median())
}
