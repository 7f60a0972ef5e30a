//! How often the last use of a token is written.

use token_tracker::ManualClock;

use crate::material::{Database, builder, tokens};
use crate::measure::{Figure, Scale};

pub(crate) const FIGURES: &[Figure] =
    &[Figure { name: "last_used_writes", unit: "rows_per_token_and_interval", measure: writes }];

const ROUNDS: u32 = 3;

/// With more tokens in use than the throttle remembers or the cache holds, so that every use is a first
/// sight again.
fn writes(scale: Scale) -> f64 {
    let count = scale.pick(100_000, 10_000);
    let (database, tokens) = (Database::with_tokens(count), tokens(count));
    let clock = ManualClock::default();
    let tracker = builder()
        .clock(clock)
        .last_used_capacity(1_024)
        .cache_capacity(1_024)
        .open(database.path())
        .unwrap();
    for _ in 0..ROUNDS {
        for token in &tokens {
            drop(tracker.authenticate(token).unwrap());
        }
        tracker.flush().unwrap();
    }
    let used = "SELECT count(*) FROM catalogue WHERE last_used_at IS NOT NULL";
    let used: i64 = database.connect().query_row(used, [], |row| row.get(0)).unwrap();
    assert_eq!(used, count as i64, "every use is known");
    tracker.health().last_used_writes as f64 / count as f64
}
