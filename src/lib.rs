//! Authenticate API tokens, know when each was last used, and record and sum up their usage: in process,
//! on one SQLite file, with a synchronous API that fits any HTTP stack.
//!
//! # What it does
//!
//! A service hands each request's token to [`TokenTracker::authenticate`] and gets an [`Access`]: who is
//! calling, and a ticket that records how the request ends. JWTs, legacy JWTs and opaque tokens take one
//! path. Whatever happens to the ticket, the request is recorded once: settled by
//! [`TokenTracker::record`] or by itself, and as *unfinished* where it is dropped by a client that left,
//! a cancelled handler or a panic.
//!
//! ```
//! use token_tracker::{Algorithm, JwtKey, NewToken, TokenTracker, Usage};
//!
//! let key = JwtKey::hmac(Algorithm::Hs256, &[42; 32])?;
//! let tracker = TokenTracker::builder().jwt_key(key).in_memory()?; // or .open("tokens.db")?
//! let issued = tracker.tokens().issue(NewToken::jwt("alice@example.com", "nightly export"))?;
//!
//! let access = tracker.authenticate(&issued.secret)?;
//! tracker.record(Usage::of(access).route("GET", "/v1/items/{id}").status(200));
//!
//! tracker.tokens().revoke(issued.token.id, "no longer needed")?;
//! assert!(tracker.authenticate(&issued.secret).is_err());
//!
//! tracker.flush()?;
//! let month = tracker.stats().token(issued.token.id).last_days(30).summary()?;
//! assert_eq!((month.total, month.success, month.denied), (2, 1, 1));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What it promises
//!
//! * **Nothing authenticated goes unrecorded**, and a path filter suppresses records, never
//!   authentication.
//! * **A revoked token is refused by the next call** in its process, from before the revocation's commit,
//!   and within 250 ms in every other process that shares the file.
//! * **A refusal is not a failure**: [`Denied`] is an answer by RFC 6750, [`Unavailable`] a fault of the
//!   storage; one never comes out as the other.
//! * **Only verified identity touches a token's record**: forged and unknown tokens only count as strangers.
//! * **Accounts balance**: accepted = stored + buffered + dropped at every moment ([`Health`]).
//! * **Everything is bounded**: tokens, texts, caches, queues, dictionaries, denials in a flood, the file.
//! * **Sums outlive records**: hours and days are summed up, latencies too, in the transaction that stores the
//!   records or a later one, exactly once; records, hours and days are kept for as long as the builder says each.
//! * **The last use** of a token is written at most once an interval, forward only; *never used* and *not
//!   tracked* are told apart ([`LastUsed`]).
//!
//! # Choosing a crypto backend
//!
//! The feature `aws_lc_rs` (default) needs a C compiler, as bundled SQLite does; `rust_crypto` is pure
//! Rust. With both on, by whatever dependency, `aws_lc_rs` is used. With neither the build fails.
//!
//! # Async hosts
//!
//! No call needs a runtime. [`TokenTracker::authenticate_cached`] and every settlement are pure memory
//! and safe on an async thread; on a cache miss take [`TokenTracker::authenticate`] to a blocking thread.
//! Administration, statistics, [`TokenTracker::flush`] and [`TokenTracker::close`] block.
//!
//! # The life of a token
//!
//! What a token can be [limited to](life), how it is rotated and revoked, who may do it, and what is told of it.
//!
//! # Security
//!
//! The [threat model](security), each rule with the standard that it comes from, and what is not defended.
//!
//! # Durability
//!
//! What each mode [promises](guarantees), case by case, and how that is tested. By default a killed process
//! loses what was recorded in the last 200 ms; what an administrator does is on the disk in every mode.
//!
//! # What it keeps, and how long
//!
//! Records for 30 days, sums of each hour for 90, sums of each day for two years, with how many requests came from which
//! address, and the audit, late uses, user agents and known addresses as long as those, in at most 8 GiB, unless the
//! [`Builder`] says otherwise. Old rows are removed in steps of a few milliseconds, beside live traffic, and so are
//! dead tokens that no sum is of and that can never be good again ([`TokenTracker::upkeep`]). Of clients' addresses as
//! much is kept as [`ClientAddresses`] says; what is kept of an owner can be [exported](TokenTracker::export_owner) and
//! [erased](Tokens::erase_owner).
//!
//! # Statistics
//!
//! [`Stats`] answers for a token, an owner, a tag or all: a [`Summary`], [groups](StatsQuery::groups) by a dozen things,
//! [records](StatsQuery::records) page by page and [as they come](StatsQuery::follow), [exports](StatsQuery::export) as CSV
//! and JSON lines. Other tools read the [views](sql). The library's own counters are [`Metrics`], for scrapers of
//! OpenMetrics; the features `metrics` and `tracing` hand counters and events to the crates of these names.
//!
//! # Events
//!
//! A [`Hook`] is told, on a thread of its own, when a token is refused, used for the first time or from a new address,
//! dormant or about to expire, when one that was replaced is used all the same, when a quota is nearly used up, and
//! when the tracker is not well.
//!
//! # What it counts of itself
//!
//! [`TokenTracker::metrics`] has the library's own counters: attempts by outcome and reason, hits of the cache, the
//! queue, drops, how long commits take, the sizes of the files. As text they are OpenMetrics, to be served by whatever
//! serves HTTP; none tells of a token. With the feature `metrics` a `MetricsPublisher` sets the same in the recorder of
//! the `metrics` crate, and with the feature `tracing` a `TracingHook` makes each event one of the `tracing` crate:
//! both under the names of OpenTelemetry. A feature adds its type, and nothing happens unless that is used.
//!
//! # Several processes
//!
//! Any number of processes on one machine may open one file; each learns of the others' revocations
//! within 250 ms. Open a live file with other tools read-only (`mode=ro`).
//!
//! # Other tools
//!
//! `sqlite3`, Datasette and Grafana can ask the file themselves: [four views](sql) are an interface for them.

#![forbid(unsafe_code)]

mod access;
mod address;
mod answer;
mod audit;
mod bounds;
mod builder;
mod cache;
mod checkpoints;
mod clients;
mod clock;
mod clock_watch;
mod credential;
mod denial;
mod durability;
mod engine;
mod error;
mod events;
mod follow;
mod follower;
mod grpc;
mod header_fields;
mod health;
#[cfg(feature = "http")]
mod http_types;
mod id_hash;
mod identity;
mod introspection;
mod jwt;
mod late_use;
mod limiter;
mod lines;
mod live;
mod meter;
mod network;
mod objects;
mod opaque;
mod part_file;
mod path_filter;
mod policy;
mod presence;
mod progress;
mod proxies;
mod query;
mod queue;
mod quota;
mod reason;
mod receipt;
mod record;
mod refusal;
mod remote;
mod request;
mod restrictions;
mod scope;
mod secret;
mod sketch;
mod stats;
mod store;
mod sync;
mod tally;
mod telemetry;
mod texts;
mod thinning;
mod throttle;
mod ticket;
mod timestamp;
mod token;
mod tokens;
mod tracker;
mod upkeep;
mod usage;
mod varint;
mod vitals;
mod writer;

// The public interface is:
pub use access::Access;
pub use address::{AddressKey, ClientAddress, ClientAddresses};
pub use answer::{
    CompatibilitySummary, Distinct, Group, GroupKey, Groups, Latency, RouteCount, Summary,
    Verification,
};
pub use audit::{Act, AuditEntry, AuditFilter, AuditPage};
pub use builder::Builder;
pub use clock::{Clock, ManualClock, SystemClock};
pub use credential::{Credential, CredentialState, Rotation};
pub use denial::Denied;
pub use durability::{Checkpoints, Durability};
pub use error::{Error, ErrorKind};
pub use events::{
    DeniedEvent, DormantEvent, ExpiringEvent, FirstUseEvent, Hook, NewAddressEvent, Subject,
    ThresholdEvent,
};
pub use follow::Follow;
pub use health::Health;
#[cfg(feature = "http")]
pub use http_types::TrackedBody;
pub use identity::Identity;
pub use introspection::Introspection;
pub use jwt::{Algorithm, ApiTokenMark, JwtIssuer, JwtKey, KeySet, Outside};
pub use late_use::{LateUse, LateUseFilter, LateUsePage};
pub use lines::{Export, ExportFormat};
pub use network::Network;
pub use path_filter::PathFilter;
pub use progress::Progress;
pub use proxies::TrustedProxies;
pub use query::{Grouping, Order};
pub use quota::{Quota, QuotaState, QuotaWindow, Rate};
pub use reason::DenialReason;
pub use receipt::Receipt;
pub use record::{Outcome, OutcomeKind, RecordCursor, RecordFilter, RecordPage, UsageRecord};
pub use refusal::{Answer, AuthError, Unavailable};
pub use request::AuthRequest;
pub use restrictions::Restrictions;
pub use secret::Secret;
pub use stats::{Stats, StatsQuery, UsageExport};
#[cfg(feature = "metrics")]
pub use telemetry::MetricsPublisher;
#[cfg(feature = "tracing")]
pub use telemetry::TracingHook;
pub use telemetry::{CommitBucket, CommitTimes, DenialCount, Metrics, StoredTotals};
pub use token::{
    CredentialId, Issued, LastUsed, NewToken, Revocation, Token, TokenFilter, TokenId, TokenKind,
    TokenPage, TokenStatus, TokenUpdate,
};
pub use tokens::{Erased, MassRevocation, Preview, Revoked, Tokens};
pub use tracker::{ExportReport, TokenTracker, WeakTokenTracker};
pub use usage::{Settled, Usage};

#[cfg(doc)]
#[doc = include_str!("../docs/durability.md")]
pub mod guarantees {}

#[cfg(doc)]
#[doc = include_str!("../docs/tokens.md")]
pub mod life {}

#[cfg(doc)]
#[doc = include_str!("../docs/security.md")]
pub mod security {}

#[cfg(doc)]
#[doc = include_str!("../docs/sql.md")]
pub mod sql {}

/// The README's example is compiled and run with the documentation's.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
