//! Questions for the records themselves.

use serde_json::{Value, json};
use siphasher::sip::SipHasher24;

use super::{Span, StatsQuery};
use crate::error::Error;
use crate::follow::Follow;
use crate::query::Scope;
use crate::record::{Place, RecordCursor, RecordFilter, RecordPage};
use crate::store::{Reader, Search};
use crate::timestamp::Timestamp;

impl StatsQuery<'_> {
    /// The records that meet a filter, newest or oldest first in the order of commit, page by page: of the period, if
    /// one was said, else of all times. What is no longer kept is not there, which is no error.
    ///
    /// A page looks at a bounded number of rows, so that it may be short or empty and others come after it: the last
    /// is the one without [`RecordPage::next`]. What is recorded while pages are turned shifts none of them: newest
    /// first it is not shown, oldest first it comes at the end. What is removed meanwhile is not shown.
    ///
    /// Cost: newest first of one token, or up to 256 that have records, two look-ups a record of theirs, 10,000 records a
    /// page at most, however long the log is. Else the log is looked through, 50,000 rows a page at most;
    /// what is of other times is left out, and so are hours in which up to 64 tokens have no request. About 0.15 µs a row,
    /// and 2 µs a link or a record that is found.
    ///
    /// ```
    /// # use token_tracker::{NewToken, RecordFilter, TokenTracker, Usage};
    /// # let tracker = TokenTracker::builder().in_memory()?;
    /// # let issued = tracker.tokens().issue(NewToken::opaque("alice", "laptop"))?;
    /// # for status in [200, 404, 500, 404] {
    /// #     let access = tracker.authenticate(&issued.secret)?;
    /// #     tracker.record(Usage::of(access).route("GET", "/items/{id}").status(status));
    /// # }
    /// # tracker.flush()?;
    /// let query = tracker.stats().token(issued.token.id).last_hours(24);
    /// let filter = RecordFilter::new().statuses(400..=599).limit(2);
    /// let page = query.records(&filter)?;
    /// assert_eq!(page.records.iter().map(|record| record.status).collect::<Vec<_>>(), [404, 500]);
    ///
    /// let rest = query.records(&filter.after(page.next.unwrap()))?;
    /// assert_eq!((rest.records[0].status, rest.next), (404, None));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `NotFound` where the token or owner is unknown; `InvalidInput` names `status`, `limit`, what is wrong with the
    /// period, or `cursor` where that is of another question, or leads to records of a token that is not, or no longer,
    /// asked about; `Storage` or `Busy` where the file cannot be read.
    pub fn records(&self, filter: &RecordFilter) -> Result<RecordPage, Error> {
        filter.check()?;
        let limit = filter.page_size(RecordFilter::DEFAULT_LIMIT)?;
        let period = self.wanted_period()?;
        let question = self.mark(filter);
        if filter.after.as_ref().is_some_and(|cursor| cursor.question != question) {
            return Err(RecordCursor::of_another_question());
        }
        let search = Search { period, ..Search::new(&self.scope, filter, limit) };
        let from = filter.after.as_ref().map(|cursor| &cursor.place);
        let found = self.ask(|reader| reader.records(&search, from))?;
        let next = found.next.map(|place| RecordCursor { question, place });
        Ok(RecordPage { records: found.records, next })
    }

    /// Records as they are committed from now on, by whatever process, of whatever time: see [`Follow`].
    ///
    /// # Errors
    /// `NotFound` where the token or owner is unknown; `Storage` or `Busy` where the file cannot be read.
    pub fn follow(&self) -> Result<Follow, Error> {
        self.follow_filtered(&RecordFilter::new())
    }

    /// The same of those that meet a filter. Its limit, 1,000 unless said, is how many are given at once; the order is
    /// that of commit, whatever it says. With a [cursor](RecordFilter::after) it goes on where another
    /// [`Follow`] stood.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use token_tracker::{NewToken, RecordFilter, TokenTracker, Usage};
    /// # let tracker = TokenTracker::builder().in_memory()?;
    /// # let issued = tracker.tokens().issue(NewToken::opaque("alice", "laptop"))?;
    /// let failures = RecordFilter::new().statuses(500..=599);
    /// let mut follow = tracker.stats().all().follow_filtered(&failures)?;
    /// for status in [200, 503] {
    ///     let access = tracker.authenticate(&issued.secret)?;
    ///     tracker.record(Usage::of(access).status(status));
    /// }
    /// assert_eq!(follow.next(Duration::from_secs(10))?[0].status, 503);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`follow`](StatsQuery::follow), and `InvalidInput` that names `status`, `limit`, or `cursor` where that is of
    /// another question.
    pub fn follow_filtered(&self, filter: &RecordFilter) -> Result<Follow, Error> {
        filter.check()?;
        let filter = filter.clone().oldest_first();
        // Of whatever time, so that it can be gone on with by whoever asks for no period.
        let all_times = StatsQuery { period: None, ..self.clone() };
        let question = all_times.mark(&filter);
        let end = self.ask(Reader::next_record)?;
        let position = match &filter.after {
            None => end,
            Some(RecordCursor { question: asked, place: Place::Up(row) }) if *asked == question => {
                // No further than there is: what comes next is not to be left out.
                end.min(*row)
            }
            Some(_) => return Err(RecordCursor::of_another_question()),
        };
        Follow::new(self.engine, self.scope.clone(), filter, question, position)
    }

    /// From when to before when, if that was said.
    pub(super) fn wanted_period(&self) -> Result<Option<(Timestamp, Timestamp)>, Error> {
        let period = self.period.map(|_| self.period(self.engine.now())).transpose()?;
        Ok(period.map(|period| (period.from, period.until)))
    }

    /// A hash of what is asked. It keeps whoever goes on from mixing up questions, and guards nothing.
    fn mark(&self, filter: &RecordFilter) -> u32 {
        let period = self.period.map(|period| (period.criteria(), self.offset.whole_seconds()));
        let asked = json!([self.scope.criteria(), period, filter.criteria()]);
        SipHasher24::new_with_key(&[0; 16]).hash(asked.to_string().as_bytes()) as u32
    }
}

impl Scope {
    fn criteria(&self) -> Value {
        match self {
            Self::All => json!("all"),
            Self::Owner(owner) => json!({ "owner": owner }),
            Self::Tag(tag) => json!({ "tag": tag }),
            Self::Token(token) => json!({ "token": token }),
        }
    }
}

impl Span {
    fn criteria(self) -> Value {
        match self {
            Self::Between(from, until) => json!([0, from.as_micros(), until.as_micros()]),
            Self::CalendarDays(days) => json!([1, days]),
            Self::Days(first, last) => json!([2, first.to_julian_day(), last.to_julian_day()]),
            Self::LastDays(days) => json!([3, days]),
            Self::LastHours(hours) => json!([4, hours]),
        }
    }
}
