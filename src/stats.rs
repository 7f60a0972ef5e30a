//! Questions about usage: whose, over what period, and what of it.

use std::fmt;

use time::OffsetDateTime;

use crate::engine::Engine;
use crate::error::{Error, ErrorKind};
use crate::query::{CompatibilitySummary, Period, RouteCount, Scope, Summary};
use crate::record::UsageRecord;
use crate::store::{Reader, to_error};
use crate::timestamp::Timestamp;
use crate::token::TokenId;

/// The most records or routes that one question gives.
const MAX_LIMIT: u32 = 1_000;

/// Usage, summed up or record by record: for a token, for an owner's tokens, or for all.
///
/// Answers come from what is committed; [`flush`](crate::TokenTracker::flush) first to have everything.
///
/// ```
/// # use token_tracker::{NewToken, TokenTracker, Usage};
/// # let tracker = TokenTracker::builder().in_memory()?;
/// # let issued = tracker.tokens().issue(NewToken::opaque("alice", "laptop"))?;
/// # let access = tracker.authenticate(&issued.secret)?;
/// # tracker.record(Usage::of(access).route("GET", "/items/{id}").status(404));
/// # tracker.flush()?;
/// let month = tracker.stats().owner("alice").last_days(30).summary()?;
/// assert_eq!((month.total, month.client_error), (1, 1));
///
/// let latest = tracker.stats().token(issued.token.id).recent(50)?;
/// assert_eq!(latest[0].route, "/items/{id}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy)]
pub struct Stats<'t> {
    engine: &'t Engine,
}

impl<'t> Stats<'t> {
    pub(crate) fn new(engine: &'t Engine) -> Self {
        Self { engine }
    }

    /// The usage of one token, living or dead.
    #[must_use]
    pub fn token(self, id: TokenId) -> StatsQuery<'t> {
        self.of(Scope::Token(id))
    }

    /// The usage of all tokens of one owner.
    #[must_use]
    pub fn owner(self, owner: impl Into<String>) -> StatsQuery<'t> {
        self.of(Scope::Owner(owner.into()))
    }

    /// The usage of all tokens.
    #[must_use]
    pub fn all(self) -> StatsQuery<'t> {
        self.of(Scope::All)
    }

    fn of(self, scope: Scope) -> StatsQuery<'t> {
        StatsQuery { engine: self.engine, scope, period: Wanted::LastDays(30) }
    }
}

impl fmt::Debug for Stats<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stats")
    }
}

/// A question about usage. The period is the last 30 days, unless said.
///
/// Every answer is an error of kind `NotFound` where the token or owner is unknown, `InvalidInput` where a
/// bound is broken, and `Storage` or `Busy` where the file cannot be read. Sums cost about 0.1 ms for a token and
/// 30 days, however long its log is: a look-up a day, and an hour at the edges; of an owner the same for each of
/// his tokens. Up to 16,384 of the latest records are not in the sums yet, and are looked at one by one.
#[derive(Clone)]
pub struct StatsQuery<'t> {
    engine: &'t Engine,
    scope: Scope,
    period: Wanted,
}

#[derive(Clone, Copy, Debug)]
enum Wanted {
    Between(Timestamp, Timestamp),
    LastDays(i64),
}

impl StatsQuery<'_> {
    /// Over the last so many days of 24 hours, 1 to 3,650, up to now: from the full hour on in which they begin.
    #[must_use]
    pub fn last_days(mut self, days: impl Into<i64>) -> Self {
        self.period = Wanted::LastDays(days.into());
        self
    }

    /// From `from` to just before `until`, at most 3,650 days. Exact while records and hours are kept, whole
    /// hours where only hourly sums are, whole days (UTC) where hours are not: the summary says which. Where the
    /// edges are no full hours, the records of these hours are read, of whatever token: a quarter of a
    /// microsecond each.
    #[must_use]
    pub fn between(mut self, from: OffsetDateTime, until: OffsetDateTime) -> Self {
        self.period = Wanted::Between(from.into(), until.into());
        self
    }

    /// Totals by outcome, and how long requests took.
    ///
    /// # Errors
    /// See [`StatsQuery`].
    pub fn summary(&self) -> Result<Summary, Error> {
        let period = self.period()?;
        self.ask(|reader| reader.summary(&self.scope, period))
    }

    /// The well-known seven numbers.
    ///
    /// # Errors
    /// See [`StatsQuery`].
    pub fn compatibility_summary(&self) -> Result<CompatibilitySummary, Error> {
        let period = self.period()?;
        let (summary, top_endpoints) =
            self.ask(|reader| reader.summary_and_top_routes(&self.scope, period, 5))?;
        Ok(CompatibilitySummary::new(&summary, top_endpoints))
    }

    /// The routes with most requests, most first: up to `limit`, 1 to 1,000.
    ///
    /// # Errors
    /// See [`StatsQuery`].
    pub fn top_routes(&self, limit: u32) -> Result<Vec<RouteCount>, Error> {
        let (period, limit) = (self.period()?, checked(limit)?);
        self.ask(|reader| reader.top_routes(&self.scope, period, limit))
    }

    /// The latest records, newest first in the order of commit, whatever the period: up to `limit`, 1 to
    /// 1,000. Of a token: a look-up a record, however long the log is.
    ///
    /// # Errors
    /// See [`StatsQuery`].
    pub fn recent(&self, limit: u32) -> Result<Vec<UsageRecord>, Error> {
        let limit = checked(limit)?;
        self.ask(|reader| reader.recent(&self.scope, limit))
    }

    fn period(&self) -> Result<Period, Error> {
        match self.period {
            Wanted::LastDays(days) => Period::last_days(days, self.engine.now()),
            Wanted::Between(from, until) => Period::between(from, until),
        }
    }

    fn ask<T>(&self, question: impl FnOnce(&Reader) -> anyhow::Result<T>) -> Result<T, Error> {
        let answer = self.engine.store.ask(|reader| {
            if !reader.knows(&self.scope)? {
                let whom = match self.scope {
                    Scope::Owner(_) => "no token of this owner",
                    _ => "no such token",
                };
                return Err(Error::new(ErrorKind::NotFound, whom).into());
            }
            question(reader)
        });
        answer.map_err(to_error)
    }
}

impl fmt::Debug for StatsQuery<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatsQuery")
            .field("scope", &self.scope)
            .field("period", &self.period)
            .finish()
    }
}

fn checked(limit: u32) -> Result<u32, Error> {
    if limit == 0 || limit > MAX_LIMIT {
        return Err(Error::invalid("limit", format!("must be 1 to {MAX_LIMIT}, not {limit}")));
    }
    Ok(limit)
}
