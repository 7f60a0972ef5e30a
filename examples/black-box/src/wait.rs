//! Waiting with a bound for what another process does.

use std::thread;
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(10);

/// Asks until the answer is `Ok`; panics with the last `Err` once `bound` has passed.
pub(crate) fn until<T>(
    what: &str,
    bound: Duration,
    mut ask: impl FnMut() -> Result<T, String>,
) -> T {
    let started = Instant::now();
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(last) if started.elapsed() > bound => {
                panic!("{what}: not within {bound:?}; the last that was seen: {last}")
            }
            Err(_) => thread::sleep(PAUSE),
        }
    }
}
