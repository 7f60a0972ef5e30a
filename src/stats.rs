//! Questions about usage: whose, over what period, and what of it.

mod export;
mod records;

use std::fmt;
use std::time::Duration;

use time::{Date, OffsetDateTime, UtcOffset};

use crate::answer::{CompatibilitySummary, Groups, Summary};
use crate::bounds::check_number;
use crate::clock::deadline;
use crate::engine::Engine;
use crate::error::{Error, ErrorKind};
use crate::query::{Grouping, Order, Period, Question, Scope, Source, Wanted};
use crate::record::UsageRecord;
use crate::store::{Reader, to_error};
use crate::timestamp::Timestamp;
use crate::token::TokenId;
pub use export::UsageExport;

/// The most records or groups that one question gives.
const MAX_LIMIT: u32 = 1_000;

/// How many groups are shown unless said.
const TOP: u32 = 10;

/// How long an answer may take unless said.
const DEADLINE: Duration = Duration::from_secs(10);

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

    /// The usage of all tokens that have this tag, as the catalogue has it now: nothing where none has.
    #[must_use]
    pub fn tag(self, tag: impl Into<String>) -> StatsQuery<'t> {
        self.of(Scope::Tag(tag.into()))
    }

    /// The usage of all tokens.
    #[must_use]
    pub fn all(self) -> StatsQuery<'t> {
        self.of(Scope::All)
    }

    fn of(self, scope: Scope) -> StatsQuery<'t> {
        StatsQuery::new(self.engine, scope)
    }
}

impl fmt::Debug for Stats<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stats")
    }
}

/// A question about usage: whose, over what period, in which groups. The period is the last 30 days, unless said.
///
/// A period up to now begins where what is kept does, if that is later: [`Summary::from`] says where.
///
/// Every answer is an error of kind `NotFound` where the token or owner is unknown, `InvalidInput` where a
/// bound is broken or the period was said to begin before what is kept, `DeadlineExceeded` where it takes longer than it
/// [may](StatsQuery::deadline), and `Storage` or `Busy` where the file cannot be read. Sums cost about 0.2 ms for a token
/// and 30 days, and up to a millisecond where it is used from a thousand addresses a day, however long its log is: two
/// look-ups a day, and an hour at the edges; of an owner or a tag the same for
/// each token. Up to 16,384 of the latest records are not in the sums yet, and are looked at one by one.
#[derive(Clone)]
pub struct StatsQuery<'t> {
    engine: &'t Engine,
    scope: Scope,
    /// `None` where none was said.
    period: Option<Span>,
    offset: UtcOffset,
    deadline: Duration,
    top: Option<u32>,
    order: Option<Order>,
    source: Source,
}

#[derive(Clone, Copy, Debug)]
enum Span {
    Between(Timestamp, Timestamp),
    CalendarDays(i64),
    Days(Date, Date),
    LastDays(i64),
    LastHours(i64),
}

impl<'t> StatsQuery<'t> {
    fn new(engine: &'t Engine, scope: Scope) -> Self {
        Self {
            engine,
            scope,
            period: None,
            offset: UtcOffset::UTC,
            deadline: DEADLINE,
            top: None,
            order: None,
            source: Source::Sums,
        }
    }

    /// Over the last so many days of 24 hours, 1 to 3,650, up to now: from the full hour on in which they begin.
    #[must_use]
    pub fn last_days(mut self, days: impl Into<i64>) -> Self {
        self.period = Some(Span::LastDays(days.into()));
        self
    }

    /// Over the last so many hours, 1 to 87,600, up to now: from the full hour on in which they begin.
    #[must_use]
    pub fn last_hours(mut self, hours: impl Into<i64>) -> Self {
        self.period = Some(Span::LastHours(hours.into()));
        self
    }

    /// Over the last so many days of the calendar, 1 to 3,650, to the end of today: 1 is today. A day begins at
    /// midnight of the [offset](StatsQuery::offset).
    #[must_use]
    pub fn calendar_days(mut self, days: impl Into<i64>) -> Self {
        self.period = Some(Span::CalendarDays(days.into()));
        self
    }

    /// From the first day of the calendar to the last, both in it.
    #[must_use]
    pub fn days(mut self, first: Date, last: Date) -> Self {
        self.period = Some(Span::Days(first, last));
        self
    }

    /// From `from` to just before `until`, at most 3,650 days. Exact while records and hours are kept, whole
    /// hours where only hourly sums are, whole days (UTC) where hours are not: the summary says which. Where the
    /// edges are no full hours, the records of these hours are read, of whatever token: a quarter of a
    /// microsecond each.
    #[must_use]
    pub fn between(mut self, from: OffsetDateTime, until: OffsetDateTime) -> Self {
        self.period = Some(Span::Between(from.into(), until.into()));
        self
    }

    /// Where midnight is: days of the calendar, and groups by hour and day, are those of this offset from UTC, which
    /// it is unless said. Groups by hour or day go back as far as that
    /// can be told: to where hours are kept, and where it is no whole number of hours, to where records are.
    #[must_use]
    pub fn offset(mut self, offset: UtcOffset) -> Self {
        self.offset = offset;
        self
    }

    /// How long an answer may take: ten seconds, unless said. After that it is an error of kind `DeadlineExceeded`.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// How many [groups](StatsQuery::groups) to show, 1 to 1,000: unless said 10, and of hours and days all.
    #[must_use]
    pub fn top(mut self, groups: u32) -> Self {
        self.top = Some(groups);
        self
    }

    /// Which [groups](StatsQuery::groups) come first: unless said those with most requests, and hours and days as they
    /// follow each other.
    #[must_use]
    pub fn order(mut self, order: Order) -> Self {
        self.order = Some(order);
        self
    }

    /// [Groups](StatsQuery::groups) are made of the records themselves and not of sums, so that everything is known of
    /// each. Costs a quarter of a microsecond for each record of the period, of whatever token, and is an error
    /// where the period reaches back before those that are kept.
    #[must_use]
    pub fn from_records(mut self) -> Self {
        self.source = Source::Records;
        self
    }

    /// Totals by outcome, and how long requests took.
    ///
    /// # Errors
    /// See [`StatsQuery`].
    pub fn summary(&self) -> Result<Summary, Error> {
        let question = self.question()?;
        self.ask(|reader| reader.summary(&question))
    }

    /// Requests in groups.
    ///
    /// | by | known of each group | cost beside that of a summary |
    /// |---|---|---|
    /// | hour, day | everything; those without requests are there too | two look-ups each, 10,000 groups at most |
    /// | token, owner | everything | a third of a microsecond for each token and day |
    /// | outcome | its requests | |
    /// | route, method, status, status class, reason, user agent, client address | its requests | a look-up a day |
    ///
    /// Sums tell apart the 1,024 most frequent routes, agents and addresses of all tokens in each hour and day, the 128 most
    /// frequent routes and agents of each token, and of its addresses 32 in an hour and 1,024 in a day; or twice as many of
    /// each. What is beyond is in [`Groups::other`]. With
    /// [`from_records`](StatsQuery::from_records) everything is known of each group, 100,000 are told apart, and any
    /// order can be asked for.
    ///
    /// ```
    /// # use token_tracker::{Grouping, NewToken, Order, TokenTracker, Usage};
    /// # let tracker = TokenTracker::builder().in_memory()?;
    /// # let issued = tracker.tokens().issue(NewToken::opaque("alice", "laptop"))?;
    /// # for route in ["/a", "/a", "/b"] {
    /// #     let access = tracker.authenticate(&issued.secret)?;
    /// #     tracker.record(Usage::of(access).route("GET", route).status(200));
    /// # }
    /// # tracker.flush()?;
    /// let routes = tracker.stats().all().last_days(7).top(5).groups(Grouping::Route)?;
    /// assert_eq!((routes.groups[0].key.to_string(), routes.groups[0].requests), ("/a".into(), 2));
    /// assert_eq!((routes.total.total, routes.other), (3, 0));
    ///
    /// let slowest = tracker.stats().all().last_days(7).from_records().order(Order::P95);
    /// assert!(slowest.groups(Grouping::Route)?.groups[0].summary.is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// See [`StatsQuery`]. `InvalidInput` names `top` where it is out of bounds, `order` where that is not known of such
    /// groups, and `by` where there would be over 10,000 hours.
    pub fn groups(&self, by: Grouping) -> Result<Groups, Error> {
        let (question, wanted) = (self.question()?, self.wanted(by)?);
        self.ask(|reader| reader.groups(&question, &wanted))
    }

    /// The well-known seven numbers.
    ///
    /// # Errors
    /// See [`StatsQuery`].
    pub fn compatibility_summary(&self) -> Result<CompatibilitySummary, Error> {
        let five = Wanted {
            by: Grouping::Route,
            order: Order::Requests,
            top: Some(5),
            source: Source::Sums,
        };
        let question = self.question()?;
        let routes = self.ask(|reader| reader.groups(&question, &five))?;
        Ok(CompatibilitySummary::new(routes))
    }

    /// The latest records, newest first in the order of commit, whatever the period: up to `limit`, 1 to
    /// 1,000. Of a token: a look-up a record, however long the log is.
    ///
    /// # Errors
    /// See [`StatsQuery`].
    pub fn recent(&self, limit: u32) -> Result<Vec<UsageRecord>, Error> {
        let limit = checked("limit", limit)?;
        self.ask(|reader| reader.recent(&self.scope, limit))
    }

    fn question(&self) -> Result<Question, Error> {
        let now = self.engine.now();
        Ok(Question {
            scope: self.scope.clone(),
            period: self.period(now)?,
            offset: self.offset,
            as_of: now.to_date_time(),
            buffered: self.engine.queue.health().buffered,
            deadline: deadline(self.deadline),
        })
    }

    fn wanted(&self, by: Grouping) -> Result<Wanted, Error> {
        let is_time = by.unit().is_some();
        let top = match self.top {
            Some(top) => Some(checked("top", top)?),
            None => Some(TOP).filter(|_| !is_time),
        };
        let usual = if is_time { Order::Key } else { Order::Requests };
        Ok(Wanted {
            by,
            order: self.order.unwrap_or(usual),
            top: top.map(|top| top as usize),
            source: self.source,
        })
    }

    fn period(&self, now: Timestamp) -> Result<Period, Error> {
        match self.period.unwrap_or(Span::LastDays(30)) {
            Span::Between(from, until) => Period::between(from, until),
            Span::CalendarDays(days) => Period::calendar_days(days, now, self.offset),
            Span::Days(first, last) => Period::days(first, last, self.offset),
            Span::LastDays(days) => Period::last_days(days, now),
            Span::LastHours(hours) => Period::last_hours(hours, now),
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

fn checked(field: &'static str, limit: u32) -> Result<u32, Error> {
    check_number(field, limit.into(), MAX_LIMIT)?;
    Ok(limit)
}
