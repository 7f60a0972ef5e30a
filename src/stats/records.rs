//! Questions for the records themselves.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Follow, Span, StatsQuery};
use crate::error::Error;
use crate::query::Scope;
use crate::query::Scope;
use crate::record::{RecordCursor, RecordFilter, RecordPage};
use crate::store::Search;

impl<'t> StatsQuery<'t> {
    /// The records that meet a filter, newest or oldest first in the order of commit, page by page: of the period, if
    /// one was said, else of all times. What is no longer kept is not there, which is no error.
    ///
    /// A page looks at a bounded number of rows, so that it may be short or empty and others come after it: the last
    /// is the one without [`RecordPage::next`]. What is recorded while pages are turned shifts none of them: newest
    /// first it is not shown, oldest first it comes at the end. What is removed meanwhile is not shown.
    ///
    /// Cost: newest first of one token, or up to 256 that have records, two look-ups a record of theirs, 10,000 records a
    /// page at most, however long the log is. Else the log is looked through, 50,000 rows a page at most, about 20 ms;
    /// what is of other times is left out. Each record that is found costs another look-up.
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
    /// # Ok::<(), token_tracker::Error>(())
    /// ```
    ///
    /// # Errors
    /// `NotFound` where the token or owner is unknown; `InvalidInput` names `status`, `limit`, what is wrong with the
    /// period, or `cursor` where that is of another question, or leads to records of a token that is not, or no longer,
    /// asked about; `Storage` or `Busy` where the file cannot be read.
    pub fn records(&self, filter: &RecordFilter) -> Result<RecordPage, Error> {
        filter.check()?;
        let limit = filter.page_size(RecordFilter::DEFAULT_LIMIT)?;
        let period = self.period.map(|_| self.period(self.engine.now())).transpose()?;
        let question = self.mark(filter);
        if filter.after.as_ref().is_some_and(|cursor| cursor.question != question) {
            return Err(RecordCursor::foreign());
        }
        let search = Search {
            period: period.map(|period| (period.from, period.until)),
            ..Search::new(&self.scope, filter, limit)
        };
        let from = filter.after.as_ref().map(|cursor| &cursor.place);
        let found = self.ask(|reader| reader.records(&search, from))?;
        let next = found.next.map(|place| RecordCursor { question, place });
        Ok(RecordPage { records: found.records, next })
    }

    /// Records as they are committed from now on, by whatever process, of whatever time: see [`Follow`].
    ///
    /// # Errors
    /// `NotFound` where the token or owner is unknown; `Storage` or `Busy` where the file cannot be read.
    pub fn follow(&self) -> Result<Follow<'t>, Error> {
        self.follow_filtered(&RecordFilter::new())
    }

    /// The same of those that meet a filter. Its limit, 1,000 unless said, is how many are given at once; the order is
    /// that of commit, whatever it says.
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
    /// As [`follow`](StatsQuery::follow), and `InvalidInput` that names `status`, `limit`, or `cursor` where there is one.
    pub fn follow_filtered(&self, filter: &RecordFilter) -> Result<Follow<'t>, Error> {
        filter.check()?;
        let limit = filter.page_size(RecordFilter::MAX_LIMIT)?;
        if filter.after.is_some() {
            return Err(Error::invalid("cursor", "is for pages: what comes from now on is followed"));
        }
        let at = self.ask(|reader| reader.next_record())?;
        Ok(Follow::new(self.clone(), filter.clone().oldest_first(), limit, at))
    }

    /// A hash of what is asked. It keeps whoever goes on from mixing up questions, and guards nothing.
    fn mark(&self, filter: &RecordFilter) -> u32 {
        let period = self.period.map(|period| (period.criteria(), self.offset.whole_seconds()));
        let asked = json!([self.scope.criteria(), period, filter.criteria()]);
        let [a, b, c, d, ..] = <[u8; 32]>::from(Sha256::digest(asked.to_string()));
        u32::from_le_bytes([a, b, c, d])
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

/// What is asked, as a number: the same of the same question, in every process.
fn question(scope: &Scope, span: &str, filter: &RecordFilter) -> u32 {
    let text = format!("{scope:?} {span} {}", filter.criteria());
    SipHasher24::new_with_key(&[0; 16]).hash(text.as_bytes()) as u32
}

/// Where a cursor of this question leads to.
fn place<'c>(
    cursor: &'c RecordCursor,
    question: u32,
    filter: &RecordFilter,
) -> Result<&'c Place, Error> {
    let is_up = matches!(cursor.place, Place::Up(_));
    if cursor.question != question || is_up != filter.oldest_first {
        return Err(of_another_question());
    }
    Ok(&cursor.place)
}

fn of_another_question() -> Error {
    Error::invalid("cursor", "must come with a page of the same question")
}
