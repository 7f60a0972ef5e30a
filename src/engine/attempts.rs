//! Attempts to authenticate: each counted once, in the one counter of what became of it and how that was found.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Engine;
use crate::access::Access;
use crate::reason::DenialReason;
use crate::refusal::AuthError;
use crate::telemetry::{DenialCount, Metrics};
use crate::ticket::Recorder;
use crate::token::TokenId;

/// How many lanes there are, a token using one of them.
const LANES: usize = 64;

/// What everything that is shown of attempts is made of, so that it adds up at every moment.
pub(super) struct Attempts {
    lanes: Box<[Lane; LANES]>,
    allowed_after_look_up: AtomicU64,
    denied: [[AtomicU64; WAYS]; DenialReason::COUNT],
    unavailable: AtomicU64,
}

/// What each hit uses and writes, for some of the tokens. Several of the same: a single recorder's count of references
/// is what all threads would write on every hit, and so is a single counter. The counter is on the line of memory that
/// a hit reads the recorder from, and on no line, nor on the line next to it, which processors fetch together, of
/// another lane.
#[repr(align(128))]
struct Lane {
    /// `None` while usage recording is off.
    recorder: Option<Arc<Recorder>>,
    /// Hits that were let through.
    allowed: AtomicU64,
}

/// How an answer was found.
#[derive(Clone, Copy)]
pub(super) enum Way {
    /// By what the cache held.
    Hit,
    /// By the file, or a signature check.
    LookUp,
    /// By the form of the credential alone.
    Unasked,
}

const WAYS: usize = 3;

impl Attempts {
    pub(super) fn new(recorder: impl Fn() -> Option<Arc<Recorder>>) -> Self {
        let lane = |_| Lane { recorder: recorder(), allowed: AtomicU64::new(0) };
        Self {
            lanes: Box::new(std::array::from_fn(lane)),
            allowed_after_look_up: AtomicU64::new(0),
            denied: std::array::from_fn(|_| Default::default()),
            unavailable: AtomicU64::new(0),
        }
    }

    fn lane(&self, token: TokenId) -> &Lane {
        &self.lanes[token.as_row() as usize % LANES]
    }

    pub(super) fn recorder(&self, token: TokenId) -> Option<&Arc<Recorder>> {
        self.lane(token).recorder.as_ref()
    }

    pub(super) fn count_allowed_hit(&self, token: TokenId) {
        self.lane(token).allowed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_denied(&self, reason: DenialReason, way: Way) {
        self.denied[reason.place()][way as usize].fetch_add(1, Ordering::Relaxed);
    }

    fn count_look_up(&self, answer: &Result<Access, AuthError>) {
        let counter = match answer {
            Ok(_) => &self.allowed_after_look_up,
            Err(AuthError::Denied(denied)) => {
                return self.count_denied(denied.reason(), Way::LookUp);
            }
            Err(AuthError::Unavailable(_)) => &self.unavailable,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

impl Engine {
    /// Counts an attempt that was answered after [`recall`](Engine::recall) could not.
    pub(crate) fn count_look_up(&self, answer: &Result<Access, AuthError>) {
        self.attempts.count_look_up(answer);
    }

    pub(crate) fn metrics(&self) -> Metrics {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let attempts = &self.attempts;
        let allowed_hits: u64 = attempts.lanes.iter().map(|lane| read(&lane.allowed)).sum();
        let looked_up = read(&attempts.allowed_after_look_up);
        let unavailable = read(&attempts.unavailable);
        let denied = DenialReason::all()
            .map(|reason| (reason, attempts.denied[reason.place()].each_ref().map(read)));
        let denied_by =
            |way: Way| -> u64 { denied.iter().map(|(_, ways)| ways[way as usize]).sum() };
        let (account, checkpoints) = (self.vitals.account(), self.checkpoints.counts());
        let sizes = self.store.sizes();
        Metrics {
            allowed: allowed_hits + looked_up,
            cache_hits: allowed_hits + denied_by(Way::Hit),
            cache_misses: looked_up + denied_by(Way::LookUp) + unavailable,
            denied: denied
                .iter()
                .map(|(reason, ways)| DenialCount::new(*reason, ways.iter().sum()))
                .collect(),
            unavailable,
            stored: account.stored,
            commits: account.commits,
            commit_failures: account.commit_failures,
            checkpoints: checkpoints.made,
            checkpoint_failures: checkpoints.failed,
            queue_capacity: self.queue.capacity() as u64,
            file_bytes: sizes.map(|sizes| sizes.file),
            wal_bytes: sizes.map(|sizes| sizes.wal),
            max_file_bytes: sizes.map(|sizes| sizes.most),
            health: account.health,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hits_of_one_lane_are_all_counted_whoever_makes_them_and_lanes_share_no_memory() {
        const EACH: i64 = 100_000;
        let attempts = Attempts::new(|| None);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let tokens = (0..EACH).map(|number| TokenId::from_row(number % 3));
                    tokens.for_each(|token| attempts.count_allowed_hit(token));
                });
            }
        });
        let counted = attempts.lanes.iter().map(|lane| lane.allowed.load(Ordering::Relaxed));
        assert_eq!(counted.sum::<u64>(), 4 * EACH.unsigned_abs());
        assert_eq!(size_of::<Lane>(), 128);
    }
}
