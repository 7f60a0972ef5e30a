//! What is not urgent: rolling up, summing up days, removing what is old. Paused while the clock is in doubt.

use std::time::Duration;

use parking_lot::Mutex;

use crate::clock_watch::ClockWatch;
use crate::error::{Error, ErrorKind};
use crate::store::{Days, Horizons, Session, Step, describe, to_error};
use crate::timestamp::Timestamp;

/// How long records, hourly sums and daily sums are kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retention {
    pub(crate) raw: Duration,
    pub(crate) hourly: Duration,
    pub(crate) daily: Duration,
}

pub(crate) struct Upkeep {
    pub(crate) clock: ClockWatch,
    retention: Retention,
    /// Why the last step failed, if it did.
    trouble: Mutex<Option<String>>,
}

impl Upkeep {
    pub(crate) fn new(clock: ClockWatch, retention: Retention) -> Self {
        Self { clock, retention, trouble: Mutex::new(None) }
    }

    /// Does one step, of a few milliseconds.
    pub(crate) fn step(&self, session: &mut Session) -> Result<Step, Error> {
        let horizons = self.clock.trusted_now().map(|now| self.horizons(now));
        let step = session.upkeep(horizons.as_ref(), Days::Fold).or_else(|error| {
            // What hinders one must not keep the file from being kept small.
            session.upkeep(horizons.as_ref(), Days::Leave).and(Err(error))
        });
        let step = step.map_err(|error| to_error(error.into_inner()));
        *self.trouble.lock() = step.as_ref().err().map(describe);
        step
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
