//! The meters of the tokens that have a quota.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::clock::Clock;
use crate::id_hash::IdHash;
use crate::meter::{Holding, Instants, Meter};
use crate::quota::Period;
use crate::timestamp::Timestamp;
use crate::token::TokenId;

/// Meters that are kept though they are idle: 8 MiB at most.
const MAX_IDLE: usize = 16_384;

/// Meters that are looked at for each that is added, once there are as many as may be idle.
const LOOKS: usize = 4;

/// One meter a token: all who ask for it get the same, as long as it is not as good as a new one.
///
/// Its bound: the tokens that have a quota and are in use in this process. Strangers have none, so that nobody can
/// fill it but who issues tokens. Beyond [`MAX_IDLE`] those that are idle go: nobody holds them, their rate has
/// recovered, and what they leased is used up or of a window that is over.
pub(crate) struct Limiter {
    clock: Arc<dyn Clock>,
    meters: Mutex<Meters>,
}

#[derive(Default)]
struct Meters {
    by_token: HashMap<TokenId, Arc<Meter>, IdHash>,
    /// Each token of the map once: whose turn it is to be looked at.
    turns: VecDeque<TokenId>,
}

impl Limiter {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, meters: Mutex::default() }
    }

    /// The meter of a token that was looked up just now.
    pub(crate) fn meter(&self, token: TokenId) -> Arc<Meter> {
        if let Some(meter) = self.find(token) {
            meter.doubt();
            return meter;
        }
        let (micros, monotonic) = self.clock.moment();
        let now = Instants { wall: Timestamp::from_micros(micros), monotonic };
        let made = Arc::new(Meter::new(Arc::clone(&self.clock)));
        let mut meters = self.meters.lock();
        let gone = if meters.turns.len() < MAX_IDLE { Vec::new() } else { meters.sweep(now) };
        let meter = meters.meter(token, made);
        drop(meters);
        drop(gone);
        meter
    }

    pub(crate) fn find(&self, token: TokenId) -> Option<Arc<Meter>> {
        self.meters.lock().by_token.get(&token).cloned()
    }

    /// Takes out what was leased and not granted, of all tokens, to be put back into the file.
    pub(crate) fn drain(&self) -> Vec<(TokenId, Period, Holding)> {
        let meters = self.meters.lock();
        let meters: Vec<_> =
            meters.by_token.iter().map(|(token, meter)| (*token, Arc::clone(meter))).collect();
        let drained = meters.into_iter().flat_map(|(token, meter)| {
            let held = meter.drain().into_iter();
            held.map(move |(period, holding)| (token, period, holding))
        });
        drained.collect()
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        let meters = self.meters.lock();
        assert_eq!(meters.by_token.len(), meters.turns.len());
        meters.turns.len()
    }
}

impl Meters {
    fn meter(&mut self, token: TokenId, made: Arc<Meter>) -> Arc<Meter> {
        use std::collections::hash_map::Entry;
        match self.by_token.entry(token) {
            Entry::Occupied(known) => Arc::clone(known.get()),
            Entry::Vacant(place) => {
                self.turns.push_back(token);
                Arc::clone(place.insert(made))
            }
        }
    }

    /// Lets a few go that are idle.
    fn sweep(&mut self, now: Instants) -> Vec<Arc<Meter>> {
        let mut gone = Vec::new();
        for _ in 0..LOOKS {
            let Some(token) = self.turns.pop_front() else { break };
            let Some(meter) = self.by_token.get_mut(&token) else { continue };
            // Held by nobody else, and nobody can come to hold it but through this map.
            if Arc::get_mut(meter).is_some_and(|meter| meter.is_idle(now)) {
                gone.extend(self.by_token.remove(&token));
            } else {
                self.turns.push_back(token);
            }
        }
        gone
    }
}
