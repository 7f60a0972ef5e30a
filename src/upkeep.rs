//! What is not urgent: rolling up, summing up days, removing what is old, and now and then a census of all tokens.
//! Paused while the clock is in doubt.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::cache::Cache;
use crate::clock_watch::ClockWatch;
use crate::error::{Error, ErrorKind};
use crate::events::{Event, Events};
use crate::store::{
    CommitError, Days, Horizons, Notices, Place, Session, Step, Survey, describe, to_error,
};
use crate::timestamp::Timestamp;

/// How long records, hourly sums and daily sums are kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retention {
    pub(crate) raw: Duration,
    pub(crate) hourly: Duration,
    pub(crate) daily: Duration,
}

/// When a token is dormant, and when it expires soon.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watch {
    pub(crate) dormant_after: Duration,
    pub(crate) expiring_within: Duration,
    /// Since when last use is tracked; `None` while it is not.
    pub(crate) tracked_since: Option<Timestamp>,
}

/// The least time between two censuses that begin by themselves.
const CENSUS_PAUSE: Duration = Duration::from_secs(3_600);

pub(crate) struct Upkeep {
    pub(crate) clock: ClockWatch,
    retention: Retention,
    watch: Watch,
    cache: Arc<Cache>,
    events: Arc<Events>,
    census: Mutex<Schedule>,
    /// Why the last step failed, if it did.
    trouble: Mutex<Option<String>>,
}

/// Where the census is, and when the next one begins, on the monotonic clock.
#[derive(Clone, Copy, Default)]
struct Schedule {
    place: Option<Place>,
    next_at: Duration,
}

impl Upkeep {
    pub(crate) fn new(
        clock: ClockWatch,
        retention: Retention,
        watch: Watch,
        cache: Arc<Cache>,
        events: Arc<Events>,
    ) -> Self {
        let (census, trouble) = (Mutex::default(), Mutex::default());
        Self { clock, retention, watch, cache, events, census, trouble }
    }

    /// The next steps make a census, from its beginning. For the writer's thread alone, as are the steps.
    pub(crate) fn begin_census(&self) {
        let next_at = self.clock.monotonic().saturating_add(CENSUS_PAUSE);
        *self.census.lock() = Schedule { place: Some(Place::START), next_at };
    }

    /// Does one step, of a few milliseconds.
    pub(crate) fn step(&self, session: &mut Session) -> Result<Step, Error> {
        let horizons = self.clock.trusted_now().map(|now| self.horizons(now));
        let step = session.upkeep(horizons.as_ref(), Days::Fold).or_else(|error| {
            // What hinders one must not keep the file from being kept small.
            session.upkeep(horizons.as_ref(), Days::Leave).and(Err(error))
        });
        let step = match (step, horizons) {
            // Sums go before the tokens that they are of.
            (Ok(step), Some(horizons)) if step != Step::Worked => self
                .take_census(session, horizons)
                .map(|more| if more { Step::Worked } else { step }),
            (step, _) => step,
        };
        let step = step.map_err(|error| to_error(error.into_inner()));
        *self.trouble.lock() = step.as_ref().err().map(describe);
        step
    }

    /// One step of the census, if one is under way or due. Returns whether there is more of it.
    fn take_census(&self, session: &mut Session, horizons: Horizons) -> Result<bool, CommitError> {
        if self.clock.monotonic() >= self.census.lock().next_at {
            self.begin_census();
        }
        let Some(place) = self.census.lock().place else { return Ok(false) };
        let survey = Survey { horizons, notices: self.notices(horizons.now) };
        let census = session.census(&survey, place, |removed, generation| {
            self.cache.apply(removed, generation);
        });
        let census = census.inspect_err(|_| self.cache.failed())?;
        self.cache.committed();
        self.census.lock().place = census.next;
        census.dormant.into_iter().for_each(|event| self.events.tell(|| Event::Dormant(event)));
        census.expiring.into_iter().for_each(|event| self.events.tell(|| Event::Expiring(event)));
        Ok(census.next.is_some())
    }

    /// Whom to tell of. No more than there is room for, with as much left to others: what is marked and then dropped
    /// is never told.
    fn notices(&self, now: Timestamp) -> Option<Notices> {
        self.events.is_heard().then(|| Notices {
            tracked_since: self.watch.tracked_since,
            dormant: now.saturating_sub(self.watch.dormant_after),
            expiring: now.saturating_add(self.watch.expiring_within),
            most: self.events.room() / 2,
        })
    }

    pub(crate) fn trouble(&self) -> Option<String> {
        self.trouble.lock().clone()
    }

    /// The time, or an error where nothing may be removed by it.
    pub(crate) fn check_clock(&self) -> Result<Timestamp, Error> {
        self.clock.trusted_now().ok_or_else(|| {
            let message = "the clock moved by over a minute: confirm it with `confirm_clock`";
            Error::new(ErrorKind::ClockInDoubt, message)
        })
    }

    fn horizons(&self, now: Timestamp) -> Horizons {
        Horizons {
            now,
            raw: now.saturating_sub(self.retention.raw),
            hourly: now.saturating_sub(self.retention.hourly),
            daily: now.saturating_sub(self.retention.daily),
        }
    }
}
