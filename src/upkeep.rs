//! What is not urgent: rolling up, summing up days, removing what is old. Paused while the clock is in doubt.

use std::time::Duration;

use crate::clock_watch::ClockWatch;
use crate::error::{Error, ErrorKind};
use crate::store::{CommitError, Horizons, Session, Step, to_error};
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
}

impl Upkeep {
    pub(crate) fn new(clock: ClockWatch, retention: Retention) -> Self {
        Self { clock, retention }
    }

    /// Does one step, of a few milliseconds.
    pub(crate) fn step(&self, session: &mut Session) -> Result<Step, Error> {
        let now = self.clock.now();
        let horizons = (!self.clock.is_in_doubt()).then(|| self.horizons(now));
        let step = session.upkeep(horizons.as_ref(), now);
        step.map_err(|error| to_error(CommitError::into_inner(error)))
    }

    /// An error where nothing may be removed.
    pub(crate) fn check_clock(&self) -> Result<(), Error> {
        self.clock.now();
        if self.clock.is_in_doubt() {
            let message = "the clock moved by over a minute: confirm it with `confirm_clock`";
            return Err(Error::new(ErrorKind::ClockInDoubt, message));
        }
        Ok(())
    }

    fn horizons(&self, now: Timestamp) -> Horizons {
        Horizons {
            raw: now.saturating_sub(self.retention.raw),
            hourly: now.saturating_sub(self.retention.hourly),
            daily: now.saturating_sub(self.retention.daily),
        }
    }
}
