//! Answers to questions about usage: from sums, and from rows of the log where those have no sums yet or an hour is
//! cut. All of one answer from one snapshot.

mod gather;
mod groups;
mod plan;
mod rows;
mod scan;

use std::time::Instant;

use anyhow::Result;
use rusqlite::Connection;

use super::Reader;
use super::log::{LogRow, tokens_of};
use super::rollup::Progress;
use crate::answer::{Frame, Groups, Summary};
use crate::clock::has_passed;
use crate::error::{Error, ErrorKind};
use crate::query::{Period, Question, Source, Wanted};
use crate::timestamp::Timestamp;
use gather::{Gathered, Gathering, Part};
use groups::Grouped;
use plan::{Grain, Plan};

const DROPPED: &str =
    "SELECT coalesce(sum(dropped), 0) FROM usage_gaps WHERE hour >= ?1 AND hour < ?2";

/// Until when there must be an answer; `None` for as long as it takes.
#[derive(Clone, Copy, Debug)]
struct Deadline(Option<Instant>);

impl Deadline {
    fn check(self) -> Result<()> {
        if self.0.is_some_and(has_passed) {
            let message = "the question took longer than its deadline";
            return Err(Error::new(ErrorKind::DeadlineExceeded, message).into());
        }
        Ok(())
    }
}

impl Reader {
    /// Totals over a period. Cost: two look-ups for each day and each hour at the edges, for each token asked
    /// about, and for each row that is not rolled up yet.
    pub(crate) fn summary(&self, question: &Question) -> Result<Summary> {
        let snapshot = self.0.unchecked_transaction()?;
        let progress = Progress::read(&snapshot)?;
        let asking = Asking::new(&snapshot, &progress, question, Grain::Days)?;
        let plans = Plan::of_parts(&progress, &[asking.period])?;
        let tokens = tokens_of(&snapshot, &question.scope)?;
        let parts = [Part::Totals, Part::Sketch];
        let sums = asking.gathering.sums(&plans, tokens.as_deref(), &parts)?;
        asking.summary(&plans[0], &sums[0], asking.period.days)
    }

    /// The same in groups.
    pub(crate) fn groups(&self, question: &Question, wanted: &Wanted) -> Result<Groups> {
        wanted.check()?;
        let grain = Grain::of(wanted, question.offset);
        let snapshot = self.0.unchecked_transaction()?;
        let progress = Progress::read(&snapshot)?;
        let asking = Asking::new(&snapshot, &progress, question, grain)?;
        let tokens = tokens_of(&snapshot, &question.scope)?;
        let tokens = tokens.as_deref();
        let grouped = match wanted.source {
            Source::Records => asking.records(wanted, tokens)?,
            Source::Sums => asking.sums(wanted, tokens)?,
        };
        let Grouped { total, groups, counted } = grouped;
        let shown = groups.iter().fold(0_u64, |sum, group| sum.saturating_add(group.requests));
        Ok(Groups { by: wanted.by, total, groups, other: counted.saturating_sub(shown) })
    }
}

/// A question, and what its answer is read from.
struct Asking<'g> {
    gathering: Gathering<'g>,
    question: &'g Question,
    /// What of the period there is.
    period: Period,
}

impl<'g> Asking<'g> {
    fn new(
        snapshot: &'g Connection,
        progress: &'g Progress,
        question: &'g Question,
        grain: Grain,
    ) -> Result<Self> {
        let period = plan::kept(progress, question.period, grain)?;
        let deadline = Deadline(Some(question.deadline));
        deadline.check()?;
        Ok(Self { gathering: Gathering { snapshot, progress, deadline }, question, period })
    }

    fn summary(&self, plan: &Plan, sum: &Gathered, days: f64) -> Result<Summary> {
        Ok(Summary::new(&sum.tally, &sum.sketch, self.frame(plan, days)?))
    }

    fn frame(&self, plan: &Plan, days: f64) -> Result<Frame> {
        let (from, until) = (plan.from, plan.until);
        let last = Timestamp::from_micros(until.as_micros().saturating_sub(1));
        // An hour that is cut counts for the part that it begins in, and for the first.
        let is_first = from <= self.period.from;
        let first = if is_first { from.hour() } else { from.next_hour() };
        let span = (first, last.hour().saturating_add(1));
        let mut statement = self.gathering.snapshot.prepare_cached(DROPPED)?;
        let dropped: i64 = statement.query_row(span, |row| row.get(0))?;
        Ok(Frame {
            days,
            from: from.to_date_time(),
            until: until.to_date_time(),
            as_of: self.question.as_of,
            buffered: self.question.buffered,
            dropped: dropped.unsigned_abs(),
        })
    }
}

/// Shows the rows of the log that were settled in a stretch of time, of all tokens and with ids below `before`.
pub(super) fn visit_time(
    snapshot: &Connection,
    progress: &Progress,
    period: (Timestamp, Timestamp),
    before: i64,
    each: impl FnMut(&LogRow),
) -> Result<()> {
    let gathering = Gathering { snapshot, progress, deadline: Deadline(None) };
    gathering.visit_time_before(period.0, period.1, before, each)
}
