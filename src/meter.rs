//! What a token has used of its quota, in this process: decided under one lock, without waiting for anything.

mod bucket;
mod count;
mod lease;

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::Clock;
use crate::quota::{Period, Quota, QuotaState, QuotaWindow};
use crate::reason::DenialReason;
use crate::timestamp::Timestamp;
use bucket::Bucket;
use count::{Count, Stand};
pub(crate) use lease::{Ask, Holding, Lease, WindowRow, leases};

/// One for a token and process, whatever form of the token is presented. It does not know the quota: each request is
/// judged by the one that it was looked up with, so that an edit is in force with the look-up that reads it.
pub(crate) struct Meter {
    clock: Arc<dyn Clock>,
    cells: Mutex<Cells>,
}

#[derive(Default)]
struct Cells {
    bucket: Bucket,
    bucket_serial: Serial,
    counts: [Count; PERIODS],
}

const PERIODS: usize = Period::ALL.len();

/// When a request came in, on both clocks.
#[derive(Clone, Copy)]
pub(crate) struct Instants {
    pub(crate) wall: Timestamp,
    pub(crate) monotonic: Duration,
}

/// Why a request is refused, and how long it is to wait, if waiting helps.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Refusal {
    pub(crate) reason: DenialReason,
    pub(crate) retry_after: Option<Duration>,
}

/// What a request gets.
#[derive(Debug)]
pub(crate) enum Taken {
    Granted(Reservation),
    /// Nothing yet: the file is to be asked.
    NeedsLease,
    Refused(Refusal),
}

/// Units that are taken for a request. Dropped, it leaves them taken.
#[must_use = "what is reserved is to be settled"]
pub(crate) struct Reservation {
    meter: Arc<Meter>,
    units: u32,
    bucket: Option<Serial>,
    /// The windows that they were taken in.
    counts: [Option<Serial>; PERIODS],
}

/// Which of several that come one after the other. In an option it takes no more room: every ticket has five of them.
#[derive(Clone, Copy, Eq, PartialEq)]
struct Serial(NonZeroU32);

impl Serial {
    fn step(&mut self) {
        self.0 = self.0.checked_add(1).unwrap_or(NonZeroU32::MIN);
    }
}

impl Default for Serial {
    fn default() -> Self {
        Self(NonZeroU32::MIN)
    }
}

impl Meter {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, cells: Mutex::default() }
    }

    /// Takes units in every window, or in none.
    pub(crate) fn take(self: &Arc<Self>, quota: &Quota, units: u32, now: Instants) -> Taken {
        self.take_from(&mut self.cells.lock(), quota, units, now)
    }

    /// What is to be asked of the file first; nothing, where somebody else's lease is enough.
    pub(crate) fn asks(&self, quota: &Quota, units: u32, now: Instants) -> Vec<Ask> {
        let mut cells = self.cells.lock();
        cells.go_on(quota, now.wall);
        let counts = limited(quota).map(|(period, limit)| (period, limit, cells.count(period)));
        counts
            .filter(|(_, limit, count)| count.stand(*limit, units) == Stand::Lease)
            .map(|(period, limit, count)| count.ask(period, limit, units, now.wall))
            .collect()
    }

    /// Takes in what the file said, and then as [`Meter::take`], before anybody else can.
    pub(crate) fn receive(
        self: &Arc<Self>,
        leases: &[Lease],
        quota: &Quota,
        units: u32,
        now: Instants,
    ) -> Taken {
        let mut cells = self.cells.lock();
        for lease in leases {
            cells.counts[lease.period.place()].receive(lease);
        }
        self.take_from(&mut cells, quota, units, now)
    }

    fn take_from(
        self: &Arc<Self>,
        cells: &mut Cells,
        quota: &Quota,
        units: u32,
        now: Instants,
    ) -> Taken {
        cells.go_on(quota, now.wall);
        // What is free is free, whatever is left.
        if units > 0 {
            match cells.refusal(quota, units, now) {
                Ok(false) => {}
                Ok(true) => return Taken::NeedsLease,
                Err(refusal) => return Taken::Refused(refusal),
            }
        }
        let mut counts = [None; PERIODS];
        for (period, _) in limited(quota) {
            let count = &mut cells.counts[period.place()];
            count.take(units);
            counts[period.place()] = Some(count.serial());
        }
        let bucket = quota.rate_limit().map(|rate| {
            cells.bucket.go_by(rate, now.monotonic);
            cells.bucket.add(units, now.monotonic);
            cells.bucket_serial
        });
        Taken::Granted(Reservation { meter: Arc::clone(self), units, bucket, counts })
    }

    /// The token was looked up anew: what is known of the file may be old.
    pub(crate) fn doubt(&self) {
        self.cells.lock().counts.iter_mut().for_each(Count::doubt);
    }

    /// What was used is nothing, in the file too.
    pub(crate) fn reset(&self, resets: &[(Period, i64)]) {
        let mut cells = self.cells.lock();
        cells.bucket = Bucket::default();
        cells.bucket_serial.step();
        for period in Period::ALL {
            let reset = resets.iter().find(|(reset, _)| *reset == period);
            cells.counts[period.place()].reset(reset.map(|(_, resets)| *resets));
        }
    }

    /// How the limits stand.
    pub(crate) fn states(&self, quota: &Quota) -> Vec<QuotaState> {
        let (micros, monotonic) = self.clock.moment();
        let now = Timestamp::from_micros(micros);
        let mut cells = self.cells.lock();
        cells.go_on(quota, now);
        let rate = quota.rate_limit().map(|rate| {
            let (remaining, reset) = cells.bucket.state(rate, monotonic);
            QuotaState::new(QuotaWindow::Rate, rate.burst_units().into(), remaining, reset)
        });
        let counts = limited(quota).map(|(period, limit)| {
            let count = cells.count(period);
            let (remaining, reset) = (count.remaining(limit), count.time_left(now));
            QuotaState::new(period.window(), limit, remaining, reset)
        });
        rate.into_iter().chain(counts).collect()
    }

    /// Takes out what was leased and not granted, to be put back into the file.
    pub(crate) fn drain(&self) -> Vec<(Period, Holding)> {
        let mut cells = self.cells.lock();
        let drained = Period::ALL.into_iter().zip(&mut cells.counts);
        drained.filter_map(|(period, count)| Some((period, count.drain()?))).collect()
    }

    /// Whether one that begins anew would do the same. For whoever is the only one to hold it.
    pub(crate) fn is_idle(&mut self, now: Instants) -> bool {
        let cells = self.cells.get_mut();
        cells.counts.iter().all(|count| count.is_over(now.wall))
            && cells.bucket.is_empty(now.monotonic)
    }
}

impl Cells {
    fn go_on(&mut self, quota: &Quota, now: Timestamp) {
        for (period, _) in limited(quota) {
            self.counts[period.place()].go_on(period, now);
        }
    }

    fn count(&self, period: Period) -> &Count {
        &self.counts[period.place()]
    }

    /// Whether the file is to be asked, unless it is known without it that the request is refused. All windows are
    /// looked at: to wait is to wait for the last of them.
    fn refusal(&mut self, quota: &Quota, units: u32, now: Instants) -> Result<bool, Refusal> {
        let mut refused = None;
        if let Some(rate) = quota.rate_limit()
            && let Err(retry_after) = self.bucket.has_room(rate, units, now.monotonic)
        {
            refused = Some(Refusal { reason: DenialReason::RateExceeded, retry_after });
        }
        let mut needs_lease = false;
        for (period, limit) in limited(quota) {
            let count = self.count(period);
            let retry_after = match count.stand(limit, units) {
                Stand::Enough => continue,
                Stand::Lease => {
                    needs_lease = true;
                    continue;
                }
                Stand::Exhausted => Some(count.time_left(now.wall)),
                Stand::Never => None,
            };
            let until = match refused {
                None => retry_after,
                Some(Refusal { retry_after: before, .. }) => {
                    before.zip(retry_after).map(|(one, other)| one.max(other))
                }
            };
            refused = Some(Refusal { reason: DenialReason::QuotaExceeded, retry_after: until });
        }
        refused.map_or(Ok(needs_lease), Err)
    }
}

fn limited(quota: &Quota) -> impl Iterator<Item = (Period, u64)> + use<> {
    let counts = Period::ALL.into_iter().zip(quota.counts());
    counts.filter_map(|(period, limit)| Some((period, limit?)))
}

impl Reservation {
    /// The request was worth so much in the end: what it was not is given back, what it was more is charged, in the
    /// windows that it was reserved in as long as they last.
    pub(crate) fn settle(self, cost: u32) {
        let (over, short) = (cost.saturating_sub(self.units), self.units.saturating_sub(cost));
        if over == short {
            return;
        }
        let now = self.meter.clock.monotonic();
        let mut cells = self.meter.cells.lock();
        for (count, serial) in cells.counts.iter_mut().zip(self.counts) {
            if serial == Some(count.serial()) {
                count.take(over);
                count.give_back(short);
            }
        }
        if self.bucket == Some(cells.bucket_serial) {
            cells.bucket.add(over, now);
            cells.bucket.remove(short);
        }
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meter").finish_non_exhaustive()
    }
}

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation").field("units", &self.units).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    /// Numbers without a pattern, the same each time.
    struct Numbers(u64);

    impl Numbers {
        fn below(&mut self, end: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % end
        }
    }

    /// Some processes on one file.
    struct World {
        clock: ManualClock,
        file: [Option<WindowRow>; PERIODS],
        processes: Vec<Arc<Meter>>,
        quota: Quota,
    }

    impl World {
        fn new(processes: usize, quota: Quota) -> Self {
            let clock = ManualClock::default();
            let meter = || Arc::new(Meter::new(Arc::new(clock.clone())));
            let processes = std::iter::repeat_with(meter).take(processes).collect();
            Self { clock, file: [None; PERIODS], processes, quota }
        }

        fn now(&self) -> Instants {
            let (micros, monotonic) = self.clock.moment();
            Instants { wall: Timestamp::from_micros(micros), monotonic }
        }

        fn take(&mut self, process: usize, units: u32) -> Result<Reservation, Refusal> {
            let (meter, now) = (Arc::clone(&self.processes[process]), self.now());
            let mut taken = meter.take(&self.quota, units, now);
            for _ in 0..2 {
                match taken {
                    Taken::Granted(reservation) => return Ok(reservation),
                    Taken::Refused(refusal) => return Err(refusal),
                    Taken::NeedsLease => {}
                }
                let asks = meter.asks(&self.quota, units, now);
                let with_rows: Vec<_> =
                    asks.iter().map(|ask| (*ask, self.file[ask.period.place()])).collect();
                let leased = leases(&with_rows);
                for lease in &leased {
                    self.file[lease.period.place()] = Some(lease.row);
                }
                taken = meter.receive(&leased, &self.quota, units, now);
            }
            panic!("one look into the file is enough: {taken:?}")
        }

        fn give_back(&mut self, process: usize) {
            for (period, holding) in self.processes[process].drain() {
                let row = self.file[period.place()].as_mut().unwrap();
                if (row.number, Some(row.resets)) == (holding.number, holding.resets) {
                    row.granted = row.granted.saturating_add_signed(-holding.left);
                }
            }
        }

        fn granted(&self) -> u64 {
            self.file[Period::Hour.place()].map_or(0, |row| row.granted)
        }
    }

    #[test]
    fn processes_never_grant_more_than_the_limit_together_whatever_happens() {
        for seed in 1..=40 {
            let mut numbers = Numbers(seed * 0x9e37_79b9);
            let limit = 1 + numbers.below(700);
            let mut world = World::new(3, Quota::new().per_hour(limit).per_month(1_000_000));
            let (mut used, mut open) = (0_u64, Vec::new());
            let mut refused = 0;
            for _ in 0..4_000 {
                let process = numbers.below(3) as usize;
                match numbers.below(40) {
                    0..30 => {
                        let units = 1 + numbers.below(limit.min(9)) as u32;
                        if let Ok(reservation) = world.take(process, units) {
                            used += u64::from(units);
                            open.push((reservation, units));
                        } else {
                            refused += 1;
                        }
                    }
                    30..36 if !open.is_empty() => {
                        let at = numbers.below(open.len() as u64) as usize;
                        let (reservation, units) = open.swap_remove(at);
                        let cost = numbers.below(u64::from(units) + 1) as u32;
                        reservation.settle(cost);
                        used -= u64::from(units - cost);
                    }
                    36 => world.give_back(process),
                    // A crash: what it had is nobody's.
                    37 => {
                        let meter = Meter::new(Arc::new(world.clock.clone()));
                        world.processes[process] = Arc::new(meter);
                        // Its tickets are gone with it.
                        open.clear();
                    }
                    38 if numbers.below(20) == 0 => {
                        world.clock.advance(Duration::from_secs(3_600));
                        used = 0;
                        open.clear();
                    }
                    _ => world.processes[process].doubt(),
                }
                assert!(used <= limit, "seed {seed}: {used} of {limit}");
                assert!(used <= world.granted() || world.granted() == 0, "seed {seed}");
            }
            assert!(refused > 0, "seed {seed}: the limit was never reached");
        }
    }

    #[test]
    fn alone_a_process_grants_the_limit_to_the_last_unit_whatever_is_given_back() {
        for seed in 1..=20 {
            let mut numbers = Numbers(seed * 0x9e37_79b9);
            let limit = 1 + numbers.below(2_000);
            let mut world = World::new(1, Quota::new().per_hour(limit));
            let mut used = 0;
            while let Ok(reservation) = world.take(0, 1) {
                used += 1;
                if numbers.below(3) == 0 {
                    reservation.settle(0);
                    used -= 1;
                }
                if numbers.below(50) == 0 {
                    world.give_back(0);
                }
            }
            assert_eq!(used, limit);
        }
    }

    #[test]
    fn lowered_limit_is_kept_by_all_processes_that_hold_units_of_the_old_one() {
        let mut world = World::new(3, Quota::new().per_hour(1_000));
        (0..3).for_each(|process| assert!(world.take(process, 1).is_ok()));
        assert_eq!(world.granted(), 30);
        for (limit, granted) in [(28, 25), (20, 0), (3, 0), (1, 0)] {
            world.quota = Quota::new().per_hour(limit);
            let mut more = 0;
            for process in [0, 1, 2].into_iter().cycle().take(300) {
                more += u64::from(world.take(process, 1).is_ok());
            }
            assert!(more <= granted, "{more} more by {limit}");
        }
        world.quota = Quota::new().per_hour(31);
        assert!(world.take(0, 1).is_ok(), "what is used stays used, and no more");
        assert!(world.take(0, 1).is_err());
    }

    #[test]
    fn windows_that_are_over_take_nothing_back() {
        let mut world = World::new(1, Quota::new().per_hour(10));
        let before = world.take(0, 10).unwrap();
        world.clock.advance(Duration::from_secs(3_600));
        let other = world.take(0, 10).unwrap();
        before.settle(0);
        assert!(world.take(0, 1).is_err());
        other.settle(9);
        assert!(world.take(0, 1).is_ok());
    }

    #[test]
    fn clock_that_steps_to_and_fro_gives_no_window_twice() {
        let mut world = World::new(2, Quota::new().per_hour(10));
        let right = world.clock.now();
        assert!(world.take(0, 10).is_ok());
        for hours in [-1, 0, -100, 0] {
            world.clock.set_wall(right + time::Duration::hours(hours));
            for process in [0, 1] {
                assert!(world.take(process, 1).is_err(), "{hours}");
            }
        }
        // Ahead: one process sees it, and what it takes is of that hour for all.
        world.clock.set_wall(right + time::Duration::hours(1));
        assert!(world.take(0, 4).is_ok());
        world.clock.set_wall(right);
        assert!(world.take(1, 1).is_err(), "it knows of nothing else yet");
        world.processes[1].doubt();
        assert!(world.take(1, 6).is_ok());
        for process in [0, 1] {
            let refusal = world.take(process, 1).unwrap_err();
            assert_eq!(refusal.retry_after, Some(Duration::from_secs(7_200)));
        }
    }

    #[test]
    fn lease_of_a_window_that_ended_meanwhile_is_not_one_of_the_next() {
        let mut world = World::new(1, Quota::new().per_hour(1_000));
        assert!(world.take(0, 10).is_ok());
        let (meter, quota, before) = (Arc::clone(&world.processes[0]), world.quota, world.now());
        let ask = meter.asks(&quota, 1, before)[0];
        let leased = leases(&[(ask, world.file[Period::Hour.place()])]);
        assert!(leased[0].goes_on);
        world.clock.advance(Duration::from_secs(3_600));
        assert!(matches!(meter.take(&quota, 1, world.now()), Taken::NeedsLease));
        assert!(matches!(meter.receive(&leased, &quota, 1, before), Taken::Granted(_)));
        assert!(matches!(meter.take(&quota, 1, before), Taken::Granted(_)));
        assert!(matches!(meter.take(&quota, 1, world.now()), Taken::NeedsLease));
    }

    #[test]
    fn sizes_are_what_the_bounds_are_told_by() {
        assert!(size_of::<Meter>() <= 512, "{}", size_of::<Meter>());
        assert_eq!(size_of::<Option<Reservation>>(), 32);
    }
}
