//! Sums of a token as lines: of each hour and day that is kept.

use std::time::Duration;

use anyhow::Result;
use rusqlite::{Connection, OptionalExtension};
use serde_json::{Map, Value, json};

use super::{Cursor, PAGE, Page, time};
use crate::answer::Latency;
use crate::clients::Clients;
use crate::reason::DenialReason;
use crate::record::Method;
use crate::store::dictionary::OTHER;
use crate::store::log::UNMATCHED;
use crate::store::rollup::Progress;
use crate::store::tier::{DAILY, HOURLY, Sum, Tier};
use crate::tally::{Dimension, Value as Counted};
use crate::timestamp::Timestamp;
use crate::token::TokenId;

const HAS_HOUR: &str = "SELECT 1 FROM hourly_sums WHERE hour = ?1 AND token_id = ?2";
const HAS_DAY: &str = "SELECT 1 FROM daily_sums WHERE day = ?1 AND token_id = ?2";
const NAME: &str = "SELECT text FROM names WHERE id = ?1";

/// Sums of a tier, and how its buckets are told.
pub(super) struct Buckets {
    kind: &'static str,
    tier: &'static Tier,
    has: &'static str,
    hours: i64,
}

pub(super) const HOURS: Buckets = Buckets { kind: "hour", tier: &HOURLY, has: HAS_HOUR, hours: 1 };
pub(super) const DAYS: Buckets = Buckets { kind: "day", tier: &DAILY, has: HAS_DAY, hours: 24 };

/// Bucket by bucket, those of other tokens too: there are no more than some thousand.
pub(super) fn page(
    snapshot: &Connection,
    of: &Buckets,
    token: TokenId,
    after: i64,
) -> Result<Page> {
    let seed = Progress::read(snapshot)?.seed;
    let mut has = snapshot.prepare_cached(of.has)?;
    let (mut lines, mut last) = (Vec::new(), after);
    for _ in 0..PAGE {
        let Some(bucket) = of.tier.next_bucket(snapshot, last)? else {
            return Ok(Page { lines, next: None });
        };
        last = bucket;
        if !has.exists((bucket, token.as_row()))? {
            continue;
        }
        let mut sum = Sum::default();
        of.tier.read_tally(snapshot, bucket, token, &mut sum.tally)?;
        of.tier.read_breakdown(snapshot, bucket, token, &mut sum.breakdown)?;
        of.tier.read_clients(snapshot, bucket, token, seed, &mut sum.clients)?;
        let starts = Timestamp::of_hour(bucket.saturating_mul(of.hours));
        lines.push(sum_line(snapshot, of.kind, token, starts, &sum)?);
    }
    Ok(Page { lines, next: Some(Cursor::After(last)) })
}

fn sum_line(
    snapshot: &Connection,
    kind: &str,
    token: TokenId,
    starts: Timestamp,
    sum: &Sum,
) -> Result<Value> {
    let tally = &sum.tally;
    let text = |id: i64| {
        let mut statement = snapshot.prepare_cached(NAME)?;
        Ok(statement.query_row([id], |row| row.get(0)).optional()?)
    };
    let method = |number| Ok(code(number).map(|code| Method::from_code(code).as_str().to_owned()));
    let reason = |number| {
        Ok(code(number).and_then(DenialReason::from_code).map(|reason| reason.as_str().to_owned()))
    };
    let status = |number: i64| Ok(Some(number.to_string()));
    let counts = |dimension| sum.breakdown.counts(dimension);
    Ok(json!({
        "type": kind,
        "token_id": token,
        "from": time(Some(starts.as_micros())),
        "total": tally.total(),
        "success": tally.success,
        "client_error": tally.client_error,
        "server_error": tally.server_error,
        "denied": tally.denied,
        "unfinished": tally.unfinished,
        "below_400": tally.below_400,
        "response_bytes": tally.response_bytes,
        "cost": tally.cost,
        "latency_us": Latency::of(tally).map(|latency| json!({
            "mean": us(latency.mean), "p50": us(latency.p50), "p90": us(latency.p90),
            "p95": us(latency.p95), "p99": us(latency.p99), "max": us(latency.max),
        })),
        "routes": by_text(counts(Dimension::Route), UNMATCHED, text)?,
        "user_agents": by_text(counts(Dimension::UserAgent), "", text)?,
        "methods": by_text(counts(Dimension::Method), "", method)?,
        "statuses": by_text(counts(Dimension::Status), "", status)?,
        "reasons": by_text(counts(Dimension::Reason), "", reason)?,
        "addresses": by_address(&sum.clients),
    }))
}

/// Counts by what their values are called: `none` where nothing was said. What has no name, or no longer, is other.
fn by_text(
    counts: &[(Counted, u64)],
    none: &str,
    name: impl Fn(i64) -> Result<Option<String>>,
) -> Result<Map<String, Value>> {
    let mut by_text = Map::new();
    for (value, count) in counts {
        let text = match value.number() {
            Some(number) => name(number)?,
            None if *value == Counted::NONE => Some(none.to_owned()),
            None => None,
        };
        let text = text.unwrap_or_else(|| OTHER.to_owned());
        let before = by_text.get(&text).and_then(Value::as_u64).unwrap_or(0);
        by_text.insert(text, json!(before.saturating_add(*count)));
    }
    Ok(by_text)
}

/// The same of addresses: an empty text where none is kept.
fn by_address(clients: &Clients) -> Map<String, Value> {
    let addresses = clients.counts().map(|(address, count)| (address.to_string(), count));
    let rest = [(String::new(), clients.none()), (OTHER.to_owned(), clients.other())];
    let all = addresses.chain(rest).filter(|(_, count)| *count > 0);
    all.map(|(address, count)| (address, json!(count))).collect()
}

fn code(number: i64) -> Option<u8> {
    u8::try_from(number).ok()
}

fn us(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
