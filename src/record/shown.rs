//! Records as they are read back.

use std::time::Duration;

use serde::ser::{Serialize, SerializeStruct, Serializer};
use time::OffsetDateTime;

use super::{Outcome, RecordCursor};
use crate::address::ClientAddress;
use crate::reason::DenialReason;
use crate::timestamp::{Timestamp, micros};
use crate::token::TokenId;

/// A record as it is read back.
///
/// In JSON an object with a member for each field, in their order; the outcome makes two, `outcome` and `reason`, and
/// the duration is `duration_us`, in whole microseconds. What is not known is null.
///
/// ```
/// # use token_tracker::{NewToken, TokenTracker, Usage};
/// # let tracker = TokenTracker::builder().in_memory()?;
/// # let issued = tracker.tokens().issue(NewToken::opaque("alice", "laptop"))?;
/// # let access = tracker.authenticate(&issued.secret)?;
/// # tracker.record(Usage::of(access).route("GET", "/items/{id}").status(404));
/// # tracker.flush()?;
/// let record = tracker.stats().all().recent(1)?.remove(0);
/// assert_eq!((record.id, record.owner.as_deref()), (1, Some("alice")));
/// let json = serde_json::to_value(&record)?;
/// assert_eq!((&json["outcome"], &json["reason"]), (&"client_error".into(), &().into()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct UsageRecord {
    /// The number of the record in the order of commit, by whatever process. Never used again.
    pub id: u64,
    /// When the request was settled. In JSON null for a year that RFC 3339 cannot say.
    pub at: OffsetDateTime,
    /// The token it was made with.
    pub token_id: TokenId,
    /// The token's owner, as the catalogue has it now; `None` where the token was removed.
    pub owner: Option<String>,
    /// The method; `<other>` for one that is not of RFC 9110, PATCH or QUERY, empty where none was said.
    pub method: String,
    /// The route template; `<unmatched>` where there was none, `<other>` past the dictionary's cap.
    pub route: String,
    /// The status that was sent or, for a denial, suggested; 499 where the client left before one.
    pub status: u16,
    /// How it ended.
    pub outcome: Outcome,
    /// From `authenticate` to the end of the body.
    pub duration: Duration,
    /// The bytes of the body that were handed to the transport.
    pub response_bytes: u64,
    /// The client's address, where the adapter knew it, as far as [it is kept](crate::ClientAddresses).
    pub client_address: Option<ClientAddress>,
    /// The `User-Agent`, where there was one; `<other>` past the dictionary's cap.
    pub user_agent: Option<String>,
    /// What the request was worth.
    pub cost: u64,
    /// How many requests the record stands for: 1, or more where a token was denied for one reason over ten
    /// times a minute. Bytes and cost are then their sums, the duration is that of the first. Such a record grows as
    /// long as the flood goes on.
    pub weight: u32,
}

impl UsageRecord {
    /// When, as RFC 3339 has it.
    pub(crate) fn at_text(&self) -> Option<String> {
        Timestamp::from(self.at).to_text()
    }

    pub(crate) fn duration_us(&self) -> u64 {
        micros(self.duration).unsigned_abs()
    }
}

impl Serialize for UsageRecord {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut record = serializer.serialize_struct("UsageRecord", 15)?;
        record.serialize_field("id", &self.id)?;
        record.serialize_field("at", &self.at_text())?;
        record.serialize_field("token_id", &self.token_id)?;
        record.serialize_field("owner", &self.owner)?;
        record.serialize_field("method", &self.method)?;
        record.serialize_field("route", &self.route)?;
        record.serialize_field("status", &self.status)?;
        record.serialize_field("outcome", self.outcome.as_str())?;
        record.serialize_field("reason", &self.outcome.reason().map(DenialReason::as_str))?;
        record.serialize_field("duration_us", &self.duration_us())?;
        record.serialize_field("response_bytes", &self.response_bytes)?;
        record.serialize_field("client_address", &self.client_address)?;
        record.serialize_field("user_agent", &self.user_agent)?;
        record.serialize_field("cost", &self.cost)?;
        record.serialize_field("weight", &self.weight)?;
        record.end()
    }
}

/// Some records, and where to go on. See [`StatsQuery::records`](crate::StatsQuery::records).
#[derive(Clone, Debug, Eq, PartialEq, serde::Serialize)]
#[non_exhaustive]
pub struct RecordPage {
    /// The records of this page; there may be fewer than asked for, or none, and others after it.
    pub records: Vec<UsageRecord>,
    /// What to give to [`RecordFilter::after`](crate::RecordFilter::after) for the next page; `None` at the end.
    pub next: Option<RecordCursor>,
}
