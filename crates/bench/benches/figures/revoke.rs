//! How long a revocation takes while records are stored as fast as they can be.

use std::time::Duration;

use crate::load::under_full_load;
use crate::material::Database;
use crate::measure::{Figure, Scale};
use crate::percentiles::{Calls, milliseconds};
use crate::traffic::TOKENS;

pub(crate) const FIGURES: &[Figure] =
    &[Figure { name: "revoke_under_load_p99", unit: "ms", measure: revoke }];

/// Between two revocations.
const PAUSE: Duration = Duration::from_millis(2);

fn revoke(scale: Scale) -> f64 {
    let victims = scale.pick(1_000, 200);
    // The tokens of the load come first.
    let database = Database::with_tokens(TOKENS + victims);
    let (tracker, mut calls) = (database.open(), Calls::new());
    under_full_load(&tracker, || {
        for victim in TOKENS + 1..=TOKENS + victims {
            let id = victim.to_string().parse().unwrap();
            calls.time(|| tracker.tokens().revoke(id, "leaked")).unwrap();
            std::thread::sleep(PAUSE);
        }
    });
    milliseconds(calls.percentile(990))
}
