//! Which tokens are meant.

use std::time::Duration;

use serde_json::{Map, Value};
use time::OffsetDateTime;

use super::{TokenId, TokenStatus};
use crate::bounds::check_text;
use crate::error::Error;
use crate::timestamp::Timestamp;

/// As far as can be looked back or ahead.
const LONGEST: Duration = Duration::from_secs(3_650 * 86_400);

/// Which tokens are meant: all of them, unless narrowed. A token is found that meets everything which is asked for;
/// of the same thing asked for twice the last counts.
///
/// A living token is one that is active or suspended and not past its expiry. The last use is known as the file has
/// it, to within the [last-used interval](crate::Builder::last_used_interval).
///
/// Bounds: owner 1 to 320 bytes, name 1 to 200, tag 1 to 64, key 1 to 256, without control characters; durations of
/// a second to 3,650 days. What is out of them is `InvalidInput` that names the field.
///
/// Cost: with an owner only his tokens are looked at. Without, the catalogue is walked, about a microsecond a token,
/// until the page is full.
///
/// ```
/// # use std::time::Duration;
/// # use token_tracker::{NewToken, TokenFilter, TokenTracker};
/// # let tracker = TokenTracker::builder().in_memory()?;
/// tracker.tokens().issue(NewToken::opaque("alice", "nightly export").tag("ci"))?;
/// let unused = TokenFilter::new().owner("alice").tag("ci").never_used();
/// assert_eq!(tracker.tokens().count(&unused)?, 1);
/// let dormant = TokenFilter::new().unused_for(Duration::from_secs(90 * 86_400));
/// assert_eq!(tracker.tokens().count(&dormant)?, 0);
/// # Ok::<(), token_tracker::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct TokenFilter {
    pub(crate) owner: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) status: Option<TokenStatus>,
    pub(crate) tag: Option<String>,
    pub(crate) signing_key: Option<String>,
    pub(crate) issued_before: Option<Timestamp>,
    pub(crate) unused_for: Option<Duration>,
    pub(crate) never_used: bool,
    pub(crate) not_tracked: bool,
    pub(crate) expiring_within: Option<Duration>,
    pub(crate) after: Option<TokenId>,
    pub(crate) limit: Option<u32>,
}

impl TokenFilter {
    /// How many tokens a page has unless said.
    pub const DEFAULT_LIMIT: u32 = 100;
    /// How many tokens a page can have.
    pub const MAX_LIMIT: u32 = 1_000;

    /// All tokens.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Those of this owner.
    #[must_use]
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.owner = Some(owner.into());
        self
    }

    /// Those of exactly this name.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Those of this status now.
    #[must_use]
    pub fn status(mut self, status: TokenStatus) -> Self {
        self.status = Some(status);
        self
    }

    /// Those that have exactly this tag among theirs.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tag = Some(tag.into());
        self
    }

    /// Those with a credential, current or past as long as it is kept, that was signed with the key of this `kid`. Keys without one are
    /// not told apart, and a [registered](crate::Tokens::register) token's key is known where it
    /// [was said](crate::NewToken::signing_key).
    #[must_use]
    pub fn signing_key(mut self, kid: impl Into<String>) -> Self {
        self.signing_key = Some(kid.into());
        self
    }

    /// Those that were issued or registered before this instant, to the microsecond: one that was at the instant is
    /// not among them. The instant may not be in the future.
    #[must_use]
    pub fn issued_before(mut self, at: OffsetDateTime) -> Self {
        self.issued_before = Some(at.into());
        self
    }

    /// Living tokens that are dormant: their last use is longer ago than this. For one that was not used it is
    /// counted from its making on, and where the last use was not tracked all the time since, from when it began to
    /// be. None, while it is not tracked.
    #[must_use]
    pub fn unused_for(mut self, time: Duration) -> Self {
        self.unused_for = Some(time);
        self
    }

    /// Those whose use has been tracked since they were made, and that were not used:
    /// [`LastUsed::Never`](crate::LastUsed::Never).
    #[must_use]
    pub fn never_used(mut self) -> Self {
        self.never_used = true;
        self
    }

    /// Those of which it is not known whether they were used: [`LastUsed::NotTracked`](crate::LastUsed::NotTracked).
    #[must_use]
    pub fn not_tracked(mut self) -> Self {
        self.not_tracked = true;
        self
    }

    /// Living tokens whose expiry comes within this time.
    #[must_use]
    pub fn expiring_within(mut self, time: Duration) -> Self {
        self.expiring_within = Some(time);
        self
    }

    /// Those after this one: the [`TokenPage::next`](crate::TokenPage::next) of the page before.
    #[must_use]
    pub fn after(mut self, id: TokenId) -> Self {
        self.after = Some(id);
        self
    }

    /// At most this many, 1 to [`TokenFilter::MAX_LIMIT`].
    #[must_use]
    pub fn limit(mut self, limit: u32) -> Self {
        self.limit = Some(limit);
        self
    }

    pub(crate) fn page_size(&self) -> Result<u32, Error> {
        let limit = self.limit.unwrap_or(Self::DEFAULT_LIMIT);
        if limit == 0 || limit > Self::MAX_LIMIT {
            return Err(Error::invalid("limit", format!("must be 1 to {}", Self::MAX_LIMIT)));
        }
        Ok(limit)
    }

    pub(crate) fn check(&self, now: Timestamp) -> Result<(), Error> {
        let text = |field, text: &Option<String>, most| {
            text.as_deref().map_or(Ok(()), |text| check_text(field, text, 1, most))
        };
        text("owner", &self.owner, 320)?;
        text("name", &self.name, 200)?;
        text("tag", &self.tag, 64)?;
        text("signing_key", &self.signing_key, 256)?;
        let time =
            |field, time: Option<Duration>| time.map_or(Ok(()), |time| check_span(field, time));
        time("unused_for", self.unused_for)?;
        time("expiring_within", self.expiring_within)?;
        if self.issued_before.is_some_and(|at| at > now) {
            return Err(Error::invalid("issued_before", "must not be in the future"));
        }
        Ok(())
    }

    /// As [`TokenFilter::check`], for what is done to all tokens that are found: they must be narrowed, and not by
    /// the page.
    pub(crate) fn check_for_all(&self, now: Timestamp) -> Result<(), Error> {
        let whole = |field, given: bool| {
            let message = "is for pages: all tokens of the filter are meant";
            if given { Err(Error::invalid(field, message)) } else { Ok(()) }
        };
        whole("after", self.after.is_some())?;
        whole("limit", self.limit.is_some())?;
        if self.criteria().is_empty() {
            return Err(Error::invalid(
                "filter",
                "must narrow the tokens: it would mean all of them",
            ));
        }
        self.check(now)
    }

    /// What is asked for, but for the page: a field for each.
    pub(crate) fn criteria(&self) -> Map<String, Value> {
        let seconds = |time: Option<Duration>| time.map(|time| Value::from(time.as_secs_f64()));
        let flag = |asked: bool| asked.then_some(Value::Bool(true));
        let shown = |at: Timestamp| at.to_text().map(Value::from);
        let fields = [
            ("owner", self.owner.as_deref().map(Value::from)),
            ("name", self.name.as_deref().map(Value::from)),
            ("status", self.status.map(|status| status.as_str().into())),
            ("tag", self.tag.as_deref().map(Value::from)),
            ("signing_key", self.signing_key.as_deref().map(Value::from)),
            ("issued_before", self.issued_before.and_then(shown)),
            ("unused_for_s", seconds(self.unused_for)),
            ("never_used", flag(self.never_used)),
            ("not_tracked", flag(self.not_tracked)),
            ("expiring_within_s", seconds(self.expiring_within)),
        ];
        let asked = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        asked.collect()
    }
}

/// Whether so much time can be looked back or ahead.
pub(crate) fn check_span(field: &'static str, time: Duration) -> Result<(), Error> {
    if (Duration::from_secs(1)..=LONGEST).contains(&time) {
        return Ok(());
    }
    Err(Error::invalid(field, "must be a second to 3,650 days"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_000);

    #[test]
    fn what_is_out_of_bounds_is_named() {
        let field = |filter: TokenFilter| filter.check(NOW).err().and_then(|error| error.field());
        let (filter, long) = (TokenFilter::new(), "x".repeat(10_000));
        let second = Duration::from_secs(1);
        assert_eq!(field(filter.clone()), None);
        for (bad, name) in [
            (filter.clone().owner(&*long), "owner"),
            (filter.clone().owner(""), "owner"),
            (filter.clone().name(&*long), "name"),
            (filter.clone().name("a\0"), "name"),
            (filter.clone().tag("x".repeat(65)), "tag"),
            (filter.clone().tag(""), "tag"),
            (filter.clone().signing_key("x".repeat(257)), "signing_key"),
            (filter.clone().unused_for(Duration::from_millis(999)), "unused_for"),
            (filter.clone().unused_for(LONGEST + second), "unused_for"),
            (filter.clone().unused_for(Duration::MAX), "unused_for"),
            (filter.clone().expiring_within(Duration::ZERO), "expiring_within"),
            (filter.clone().expiring_within(Duration::MAX), "expiring_within"),
        ] {
            assert_eq!(field(bad), Some(name));
        }
        let good = filter.tag("x".repeat(64)).signing_key("x").unused_for(second);
        assert_eq!(field(good.expiring_within(LONGEST).issued_before(NOW.to_date_time())), None);
        let future = NOW.saturating_add(Duration::from_micros(1)).to_date_time();
        assert_eq!(field(TokenFilter::new().issued_before(future)), Some("issued_before"));
    }

    #[test]
    fn every_criterion_narrows_and_a_page_does_not() {
        let filter = TokenFilter::new;
        let time = Duration::from_secs(60);
        for narrowed in [
            filter().owner("a"),
            filter().name("a"),
            filter().status(TokenStatus::Active),
            filter().tag("a"),
            filter().signing_key("a"),
            filter().issued_before(NOW.to_date_time()),
            filter().unused_for(time),
            filter().never_used(),
            filter().not_tracked(),
            filter().expiring_within(time),
        ] {
            assert_eq!(narrowed.criteria().len(), 1);
            assert!(narrowed.check_for_all(NOW).is_ok());
        }
        let field = |filter: TokenFilter| filter.check_for_all(NOW).unwrap_err().field();
        assert_eq!(field(filter()), Some("filter"));
        assert_eq!(field(filter().after(TokenId::from_row(1)).owner("a")), Some("after"));
        assert_eq!(field(filter().limit(1).owner("a")), Some("limit"));
    }
}
