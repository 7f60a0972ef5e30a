//! What the routes answer, but for those that show what a stack does with time, failure and panic.

use std::time::Duration;

use serde_json::{Value, json};
use token_tracker::{Identity, Revoked, TokenId, TokenTracker, UsageRecord};

use crate::query;
use crate::reply::Reply;
use crate::routes::Route;
use crate::tokens::{self, TokenRequest, text, token_json};

/// The answers. A clone is cheap.
#[derive(Clone, Debug)]
pub struct Api {
    tracker: TokenTracker,
}

/// A request, as the answers need it.
#[derive(Clone, Debug, Default)]
pub struct Call {
    /// Who is calling.
    pub caller: Option<Identity>,
    /// What stands for the `{…}` of the route's template, decoded.
    pub parameter: String,
    /// The raw query.
    pub query: Option<String>,
    /// The body; empty where the route takes none.
    pub body: Vec<u8>,
}

impl Api {
    pub(crate) fn new(tracker: TokenTracker) -> Self {
        Self { tracker }
    }

    /// Whether the answer may have to wait for the disk, and belongs on a thread that may.
    #[must_use]
    pub fn blocks(route: Route) -> bool {
        matches!(route, Route::Recent | Route::Usage) || route.scope().is_some()
    }

    /// The answer to a call. Those to the routes of streams, of `/slow` and of `/panic` are the stack's own: 500 here.
    #[must_use]
    pub fn answer(&self, route: Route, call: Call) -> Reply {
        let answered = match (route, call.caller.as_ref()) {
            (Route::Healthz, _) => Ok(Reply::text("ok\n")),
            (Route::Hello, _) => Ok(Reply::text(format!("hello, {}\n", call.parameter))),
            (Route::Empty, _) => Ok(Reply::empty(204)),
            (Route::CreateItem, _) => create_item(&call.body),
            (Route::ReadItem, _) => Ok(read_item(&call.parameter)),
            (Route::Me, Some(caller)) => Ok(me(caller)),
            (Route::Usage, Some(caller)) => self.usage(caller.token_id(), call.query.as_deref()),
            (Route::Recent, Some(caller)) => self.recent(caller.token_id(), call.query.as_deref()),
            (_, Some(caller)) if route.scope().is_some() => self.administer(route, caller, &call),
            _ => Ok(Reply::empty(500)),
        };
        answered.unwrap_or_else(|failure| failure)
    }

    fn administer(&self, route: Route, caller: &Identity, call: &Call) -> Result<Reply, Reply> {
        let tokens = self.tracker.tokens().acting_as(caller.owner());
        let id = || parsed_id(&call.parameter);
        Ok(match route {
            Route::Health => self.health(),
            Route::IssueToken => {
                let new = parsed::<TokenRequest>(&call.body)?.into_token()?;
                let issued = tokens.issue(new)?;
                let mut answer = token_json(&issued.token);
                answer["token"] = issued.secret.expose().into();
                let mut reply = Reply::json(201, &answer);
                // RFC 6749 §5.1: no cache may keep a secret.
                reply.headers.push(("cache-control", "no-store"));
                reply
            }
            Route::ListTokens => {
                // The last uses that are still on their way; where they cannot be written, the list is as good.
                let _ = self.tracker.flush();
                Reply::json(200, &tokens::list(&self.tracker)?)
            }
            Route::RecentOfToken => self.recent(id()?, call.query.as_deref())?,
            Route::ResumeToken => Reply::json(200, &token_json(&tokens.resume(id()?)?)),
            Route::RevokeToken => match tokens.revoke(id()?, "asked for over HTTP")? {
                Revoked::Unknown => Reply::empty(404),
                _ => Reply::empty(204),
            },
            Route::SuspendToken => Reply::json(200, &token_json(&tokens.suspend(id()?)?)),
            _ => Reply::empty(404),
        })
    }

    fn health(&self) -> Reply {
        let health = self.tracker.health();
        let counted = json!({
            "strangers": health.strangers,
            "accepted": health.accepted,
            "stored": health.stored,
            "buffered": health.buffered,
            "dropped": health.dropped,
        });
        Reply::json(200, &counted)
    }

    fn recent(&self, id: TokenId, query: Option<&str>) -> Result<Reply, Reply> {
        let limit = query::number(query, "limit")?.unwrap_or(50);
        self.tracker.flush()?;
        let records = self.tracker.stats().token(id).recent(limit)?;
        Ok(Reply::json(200, &records.iter().map(record_json).collect()))
    }

    fn usage(&self, id: TokenId, query: Option<&str>) -> Result<Reply, Reply> {
        let days = query::number(query, "days")?.unwrap_or(30);
        let query = self.tracker.stats().token(id).last_days(days);
        self.tracker.flush()?;
        let (seven, latency) = (query.compatibility_summary()?, query.summary()?.latency);
        let ms = |duration: Duration| duration.as_secs_f64() * 1_000.0;
        let routes = seven.top_endpoints.iter().map(|route| json!([route.route, route.requests]));
        let summary = json!({
            "period_days": days,
            "total_requests": seven.total_requests,
            "successful_requests": seven.successful_requests,
            "blocked_requests": seven.blocked_requests,
            "success_rate": seven.success_rate,
            "average_response_time_ms": seven.average_response_time_ms,
            "top_endpoints": routes.collect::<Value>(),
            "p50_ms": latency.map(|latency| ms(latency.p50)),
            "p95_ms": latency.map(|latency| ms(latency.p95)),
            "p99_ms": latency.map(|latency| ms(latency.p99)),
        });
        Ok(Reply::json(200, &summary))
    }
}

fn create_item(body: &[u8]) -> Result<Reply, Reply> {
    let _item: Value = parsed(body)?;
    Ok(Reply::json(201, &json!({ "id": 1 })))
}

fn read_item(id: &str) -> Reply {
    match id.parse::<u64>() {
        Ok(id @ ..=1_000) => Reply::json(200, &json!({ "id": id })),
        Err(_) if !id.bytes().all(|byte| byte.is_ascii_digit()) => {
            Reply::bad_request("`id` must be a whole number")
        }
        _ => Reply::empty(404),
    }
}

fn me(caller: &Identity) -> Reply {
    let identity = json!({
        "token_id": caller.token_id(),
        "owner": caller.owner(),
        "name": caller.name(),
        "kind": caller.kind(),
        "scopes": caller.scopes(),
        "expires_at": text(caller.expires_at()),
        "last_used_at": text(caller.last_used_at()),
    });
    Reply::json(200, &identity)
}

fn record_json(record: &UsageRecord) -> Value {
    json!({
        "at": text(Some(record.at)),
        "method": record.method,
        "route": record.route,
        "status": record.status,
        "outcome": record.outcome.as_str(),
        "reason": record.outcome.reason().map(|reason| reason.as_str()),
        "duration_us": u64::try_from(record.duration.as_micros()).unwrap_or(u64::MAX),
        "response_bytes": record.response_bytes,
        "client_address": record.client_address.map(|kept| kept.to_string()),
        "user_agent": record.user_agent,
    })
}

/// Any JSON, whatever its content type says.
fn parsed<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, Reply> {
    serde_json::from_slice(body).map_err(|error| Reply::bad_request(&error.to_string()))
}

fn parsed_id(text: &str) -> Result<TokenId, Reply> {
    text.parse().map_err(|_| Reply::bad_request("`token_id` must be a whole number"))
}
