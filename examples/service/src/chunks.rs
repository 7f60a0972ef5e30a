//! Bodies that take their time.

use std::time::Duration;

use crate::query;
use crate::reply::Reply;

const MAX_CHUNKS: u64 = 10_000;
const MAX_WAIT_MS: u64 = 60_000;

/// What `/stream`, `/stream-known` and `/stream-fail` send: so many chunks, so far apart.
#[derive(Clone, Copy, Debug)]
pub struct Chunks {
    /// How many come.
    pub count: u64,
    /// The pause before each but the first.
    pub every: Duration,
}

impl Chunks {
    /// What fails, as if a file that is sent had vanished: three chunks, and then no more.
    pub const FAILING: Self = Self { count: 3, every: Duration::from_millis(5) };

    /// What a query asks for: `n` (5) and `every_ms` (100).
    ///
    /// # Errors
    /// The answer to what cannot be done.
    pub fn of(query: Option<&str>) -> Result<Self, Reply> {
        let count = query::number_up_to(query, "n", 5, MAX_CHUNKS)?;
        let every = query::number_up_to(query, "every_ms", 100, MAX_WAIT_MS)?;
        Ok(Self { count, every: Duration::from_millis(every) })
    }

    /// The chunk of this number, counted from 0; `None` after the last.
    #[must_use]
    pub fn get(&self, number: u64) -> Option<String> {
        (number < self.count).then(|| format!("chunk {number}\n"))
    }

    /// The pause before the chunk of this number, or before the end.
    #[must_use]
    pub fn pause_before(&self, number: u64) -> Duration {
        if number == 0 || number >= self.count { Duration::ZERO } else { self.every }
    }

    /// The bytes of all of them.
    #[must_use]
    pub fn length(&self) -> u64 {
        let digits = |number: u64| u64::from(number.checked_ilog10().unwrap_or(0)) + 1;
        (0..self.count).map(|number| "chunk \n".len() as u64 + digits(number)).sum()
    }
}

/// How long `/slow` is to wait: `ms` of the query (2,000).
///
/// # Errors
/// The answer to what cannot be done.
pub fn pause(query: Option<&str>) -> Result<Duration, Reply> {
    query::number_up_to(query, "ms", 2_000, MAX_WAIT_MS).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_is_that_of_all_chunks() {
        for count in [0, 1, 10, 11, 1_234] {
            let chunks = Chunks { count, every: Duration::ZERO };
            let sent: String = (0..count + 1).filter_map(|number| chunks.get(number)).collect();
            assert_eq!(chunks.length(), sent.len() as u64);
        }
    }
}
