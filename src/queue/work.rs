//! The writer's side of the queue: what is to be done next, and what came of it.

use std::time::{Duration, Instant};

use super::state::{MAX_SPARE, Phase, State, Trouble, Turn};
use super::{Queue, Work};
use crate::clock::has_passed;
use crate::store::Batch;
use crate::sync::MutexGuard;
use crate::telemetry::StoredTotals;

impl Queue {
    /// Waits for something to do. Jobs come first, then upkeep that is due at `upkeep_at`, then a group that
    /// is due; but after either of the first a group has its turn. With `retry_at` the group is the batch that
    /// failed.
    pub(crate) fn next(&self, retry_at: Option<Instant>, upkeep_at: Instant) -> Work {
        let mut state = self.state.lock();
        loop {
            let due = state.is_due(retry_at, &self.options);
            if due && state.last_turn != Turn::Usage {
                return self.turn(state, retry_at);
            }
            if let Some(job) = state.jobs.pop_front() {
                state.last_turn = Turn::Job;
                return Work::Job(job);
            }
            if state.phase == Phase::Open && has_passed(upkeep_at) {
                state.last_turn = Turn::Upkeep;
                return Work::Upkeep;
            }
            if due {
                return self.turn(state, retry_at);
            }
            if retry_at.is_none() && state.is_empty() && state.phase != Phase::Open {
                return Work::End;
            }
            let end = retry_at.or(state.window_end).unwrap_or(upkeep_at).min(upkeep_at);
            self.work.wait_until(&mut state, end);
        }
    }

    fn turn(&self, mut state: MutexGuard<'_, State>, retry_at: Option<Instant>) -> Work {
        state.last_turn = Turn::Usage;
        if retry_at.is_some() { Work::Retry } else { self.take(state) }
    }

    fn take(&self, mut state: MutexGuard<'_, State>) -> Work {
        let mut chunks = Vec::new();
        let mut count = 0;
        while let Some(chunk) = state.chunks.front()
            && (count == 0 || count + chunk.records.len() <= self.options.group)
        {
            count += chunk.records.len();
            state.taken = chunk.last;
            chunks.extend(state.chunks.pop_front().map(|chunk| chunk.records));
        }
        state.waiting -= count;
        state.in_flight = count as u64 + state.thinning.waiting();
        let excess = state.thinning.take();
        if state.chunks.is_empty() {
            state.taken = state.enqueued;
        }
        let (last_uses, gaps) =
            (std::mem::take(&mut state.last_uses), std::mem::take(&mut state.gaps));
        state.last_uses_in_flight = last_uses.len();
        state.groups_taken += 1;
        state.urgent &= !state.chunks.is_empty();
        // What is left has waited for its window already.
        if state.chunks.is_empty() {
            state.window_end = None;
        }
        drop(state);
        self.progress.notify_all();
        let last_uses = last_uses.into_iter().collect();
        Work::Commit(Batch { chunks, excess, last_uses, gaps })
    }

    /// The batch in flight is committed, after a try that took so long. Its chunks are filled again.
    pub(crate) fn committed(&self, last_used_writes: u64, batch: Batch, took: Duration) {
        let Batch { mut chunks, excess, .. } = batch;
        let mut totals = StoredTotals::default();
        chunks.iter().flatten().chain(&excess).for_each(|record| totals.note(record));
        chunks.iter_mut().for_each(Vec::clear);
        let mut state = self.state.lock();
        state.stored += std::mem::take(&mut state.in_flight);
        state.totals.add(&totals);
        state.commits.note(took);
        state.settled = state.taken;
        state.last_uses_in_flight = 0;
        state.last_used_writes += last_used_writes;
        state.groups_committed = state.groups_taken;
        state.trouble = None;
        let room = MAX_SPARE - state.spare.len();
        state.spare.extend(chunks.drain(..chunks.len().min(room)));
        drop(state);
        self.progress.notify_all();
    }

    /// The batch in flight is not committed, and stays in flight.
    pub(crate) fn failed(&self, message: String, poisoned: bool) {
        let mut state = self.state.lock();
        state.failures += 1;
        state.trouble = Some(Trouble { message, poisoned });
        drop(state);
        self.progress.notify_all();
    }

    /// The writer is gone: what was not written is lost.
    pub(crate) fn end(&self) {
        let mut state = self.state.lock();
        state.phase = Phase::Closed;
        state.lost_at_end |=
            state.buffered() > 0 || state.last_uses_in_flight + state.last_uses.len() > 0;
        state.dropped += state.buffered();
        (state.in_flight, state.waiting) = (0, 0);
        let records = (std::mem::take(&mut state.chunks), state.thinning.take());
        let jobs = std::mem::take(&mut state.jobs);
        drop(state);
        drop((records, jobs));
        self.progress.notify_all();
    }
}
