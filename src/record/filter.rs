//! Which records are meant.

use std::ops::RangeInclusive;

use serde_json::{Value, json};

use super::{OutcomeKind, RecordCursor};
use crate::address::ClientAddress;
use crate::bounds::check_number;
use crate::error::Error;
use crate::reason::DenialReason;

/// Which records are meant, in which order, and how many at a time: all of them, newest first, unless narrowed. A
/// record is found that meets everything which is asked for; of the same thing asked for twice the last counts.
///
/// Whose records, and of what time, is said by the [query](crate::StatsQuery).
///
/// ```
/// # use token_tracker::{NewToken, OutcomeKind, RecordFilter, TokenTracker, Usage};
/// # let tracker = TokenTracker::builder().in_memory()?;
/// # let issued = tracker.tokens().issue(NewToken::opaque("alice", "laptop"))?;
/// # for status in [200, 404, 500] {
/// #     let access = tracker.authenticate(&issued.secret)?;
/// #     tracker.record(Usage::of(access).route("GET", "/items/{id}").status(status));
/// # }
/// # tracker.flush()?;
/// let failed = RecordFilter::new().route("/items/{id}").statuses(400..=599).limit(10);
/// assert_eq!(tracker.stats().owner("alice").records(&failed)?.records.len(), 2);
/// let failed = failed.outcome(OutcomeKind::ServerError);
/// assert_eq!(tracker.stats().owner("alice").records(&failed)?.records[0].status, 500);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct RecordFilter {
    pub(crate) outcome: Option<OutcomeKind>,
    pub(crate) reason: Option<DenialReason>,
    pub(crate) statuses: Option<(u16, u16)>,
    pub(crate) route: Option<String>,
    pub(crate) client_address: Option<ClientAddress>,
    pub(crate) oldest_first: bool,
    pub(crate) after: Option<RecordCursor>,
    pub(crate) limit: Option<u32>,
}

impl RecordFilter {
    /// How many records a page has unless said.
    pub const DEFAULT_LIMIT: u32 = 50;
    /// How many records a page can have.
    pub const MAX_LIMIT: u32 = 1_000;

    /// All records, newest first.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Those that ended like this.
    #[must_use]
    pub fn outcome(mut self, outcome: OutcomeKind) -> Self {
        self.outcome = Some(outcome);
        self
    }

    /// Those that were denied for this reason.
    ///
    /// ```
    /// # use token_tracker::{AuthRequest, DenialReason, NewToken, OutcomeKind, RecordFilter, TokenTracker};
    /// # let tracker = TokenTracker::builder().in_memory()?;
    /// # let issued = tracker.tokens().issue(NewToken::opaque("alice", "laptop"))?;
    /// let request = AuthRequest::from(&issued.secret).client_address("192.0.2.7".parse::<std::net::IpAddr>()?);
    /// assert!(tracker.authenticate(request.scope("admin")).is_err());
    /// tracker.flush()?;
    ///
    /// let denied = RecordFilter::new().reason(DenialReason::MissingScope).status(403);
    /// let from_there = denied.client_address("192.0.2.7".parse()?).oldest_first();
    /// let page = tracker.stats().all().records(&from_there)?;
    /// assert_eq!(page.records[0].outcome.kind(), OutcomeKind::Denied);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn reason(mut self, reason: DenialReason) -> Self {
        self.reason = Some(reason);
        self
    }

    /// Those with this status, 100 to 999.
    #[must_use]
    pub fn status(self, status: u16) -> Self {
        self.statuses(status..=status)
    }

    /// Those with a status from one to another, 100 to 999: `400..=499` for a class.
    #[must_use]
    pub fn statuses(mut self, statuses: RangeInclusive<u16>) -> Self {
        self.statuses = Some((*statuses.start(), *statuses.end()));
        self
    }

    /// Those with exactly this route template, as records show it: `<unmatched>` and `<other>` can be asked for, too,
    /// and of a route that is not known there is none.
    #[must_use]
    pub fn route(mut self, route: impl Into<String>) -> Self {
        self.route = Some(route.into());
        self
    }

    /// Those of which exactly this was [kept](crate::ClientAddresses) of the client's address.
    #[must_use]
    pub fn client_address(mut self, address: ClientAddress) -> Self {
        self.client_address = Some(address);
        self
    }

    /// The oldest first, in the order of commit.
    #[must_use]
    pub fn oldest_first(mut self) -> Self {
        self.oldest_first = true;
        self
    }

    /// Those after a page: its [`RecordPage::next`](crate::RecordPage::next). It goes on with the question that it comes
    /// from, but for the limit; another one is refused.
    #[must_use]
    pub fn after(mut self, cursor: RecordCursor) -> Self {
        self.after = Some(cursor);
        self
    }

    /// At most this many, 1 to [`RecordFilter::MAX_LIMIT`].
    #[must_use]
    pub fn limit(mut self, limit: u32) -> Self {
        self.limit = Some(limit);
        self
    }

    /// How many records are wanted, if that is said, or else so many.
    pub(crate) fn page_size(&self, unless_said: u32) -> Result<u32, Error> {
        let limit = self.limit.unwrap_or(unless_said);
        check_number("limit", limit.into(), Self::MAX_LIMIT)?;
        Ok(limit)
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        let Some((first, last)) = self.statuses else { return Ok(()) };
        let known = 100..=999;
        if !known.contains(&first) || !known.contains(&last) {
            return Err(Error::invalid("status", "must be 100 to 999"));
        }
        if last < first {
            return Err(Error::invalid("status", "must not end before it begins"));
        }
        Ok(())
    }

    /// What is asked for, and in which order, but for the page.
    pub(crate) fn criteria(&self) -> Value {
        json!([
            self.outcome,
            self.reason.map(DenialReason::as_str),
            self.statuses,
            self.route,
            self.client_address,
            self.oldest_first,
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_out_of_bounds_is_named() {
        let field = |filter: RecordFilter| filter.check().err().and_then(|error| error.field());
        let filter = RecordFilter::new;
        assert_eq!(field(filter()), None);
        assert_eq!(field(filter().status(100).statuses(100..=999)), None);
        for statuses in [(0, 200), (99, 99), (200, 1_000), (404, 400), (u16::MAX, u16::MAX)] {
            let bad = filter().statuses(statuses.0..=statuses.1);
            assert_eq!(field(bad), Some("status"), "{statuses:?}");
        }
        for limit in [0, 1_001, u32::MAX] {
            let error = filter().limit(limit).page_size(50).unwrap_err();
            assert_eq!(error.field(), Some("limit"), "{limit}");
        }
        assert_eq!(filter().page_size(50).unwrap(), 50);
        assert_eq!(filter().limit(1_000).page_size(50).unwrap(), 1_000);
    }

    #[test]
    fn every_criterion_makes_another_question_and_the_page_does_not() {
        let filter = RecordFilter::new;
        let address = "192.0.2.7".parse().unwrap();
        let filters = [
            filter(),
            filter().outcome(OutcomeKind::Denied),
            filter().reason(DenialReason::Revoked),
            filter().status(200),
            filter().route("/"),
            filter().client_address(address),
            filter().oldest_first(),
        ];
        for (at, one) in filters.iter().enumerate() {
            assert_eq!(one.criteria(), one.clone().limit(7).criteria());
            assert!(filters[at + 1..].iter().all(|other| other.criteria() != one.criteria()));
        }
    }
}
