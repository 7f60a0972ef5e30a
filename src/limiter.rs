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
        let all: Vec<_> = {
            let meters = self.meters.lock();
            meters.by_token.iter().map(|(token, meter)| (*token, Arc::clone(meter))).collect()
        };
        let drained = all.into_iter().flat_map(|(token, meter)| {
            let held = meter.drain().into_iter();
            held.map(move |(period, holding)| (token, period, holding))
        });
        drained.collect()
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::ManualClock;
    use crate::meter::{Taken, leases};
    use crate::quota::{Quota, Rate};

    const MANY: i64 = 3 * MAX_IDLE as i64;

    fn token(number: i64) -> TokenId {
        TokenId::from_row(number)
    }

    fn len(limiter: &Limiter) -> usize {
        let meters = limiter.meters.lock();
        assert_eq!(meters.by_token.len(), meters.turns.len());
        meters.turns.len()
    }

    fn now(clock: &ManualClock) -> Instants {
        let (micros, monotonic) = clock.moment();
        Instants { wall: Timestamp::from_micros(micros), monotonic }
    }

    #[test]
    fn meter_that_is_not_idle_is_the_same_however_many_others_come() {
        let clock = ManualClock::default();
        let limiter = Limiter::new(Arc::new(clock.clone()));
        // One is held, one has not recovered, one has units left of this day.
        let held = limiter.meter(token(1));
        let slow = Quota::new().rate(Rate::new(1, 86_400));
        assert!(matches!(limiter.meter(token(2)).take(&slow, 1, now(&clock)), Taken::Granted(_)));
        let day = Quota::new().per_day(1_000);
        let meter = limiter.meter(token(3));
        let asks = meter.asks(&day, 1, now(&clock));
        let leased = leases(&[(asks[0], None)]);
        assert!(matches!(meter.receive(&leased, &day, 1, now(&clock)), Taken::Granted(_)));
        drop(meter);
        for number in 10..MANY {
            drop(limiter.meter(token(number)));
        }
        assert!(Arc::ptr_eq(&held, &limiter.find(token(1)).unwrap()));
        let slow_again = limiter.find(token(2)).unwrap().take(&slow, 1, now(&clock));
        assert!(matches!(slow_again, Taken::Refused(_)));
        assert_eq!(limiter.find(token(3)).unwrap().states(&day)[0].remaining, 999);
        assert!(len(&limiter) <= MAX_IDLE, "{}", len(&limiter));

        drop(held);
        clock.advance(Duration::from_secs(86_400));
        for number in MANY..2 * MANY {
            drop(limiter.meter(token(number)));
        }
        assert!([1, 2, 3].iter().all(|number| limiter.find(token(*number)).is_none()));
        assert!(len(&limiter) <= MAX_IDLE, "{}", len(&limiter));
    }

    #[test]
    fn meters_in_use_are_kept_beyond_what_may_be_idle_and_go_once_they_are() {
        let clock = ManualClock::default();
        let limiter = Limiter::new(Arc::new(clock.clone()));
        let quota = Quota::new().rate(Rate::per_second(1));
        let used = MAX_IDLE as i64 + 1_000;
        for number in 0..used {
            let taken = limiter.meter(token(number)).take(&quota, 1, now(&clock));
            assert!(matches!(taken, Taken::Granted(_)));
        }
        assert_eq!(len(&limiter) as i64, used);
        for number in 0..used {
            let taken = limiter.meter(token(number)).take(&quota, 1, now(&clock));
            assert!(matches!(taken, Taken::Refused(_)), "{number}");
        }
        clock.advance(Duration::from_secs(1));
        (used..2 * used).for_each(|number| drop(limiter.meter(token(number))));
        assert!(len(&limiter) <= MAX_IDLE, "{}", len(&limiter));
    }
}
