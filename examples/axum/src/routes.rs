//! What the service does: a few routes of every shape, and the tracker's own data as JSON.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, MatchedPath, Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use futures_util::stream;
use http::{Extensions, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use token_tracker::{Error, ErrorKind, Identity, TokenId, TokenTracker, UsageRecord};

use crate::admin;
use crate::layer::TrackLayer;

/// The service: `/healthz` for anybody, everything else for whoever has a token.
pub(crate) fn router(tracker: TokenTracker) -> Router {
    let track = TrackLayer { tracker: tracker.clone(), scope: None, describe };
    let for_admins = TrackLayer { scope: Some("admin"), ..track.clone() };
    let admin = admin::router().layer(for_admins);
    Router::new()
        .route("/hello/{name}", get(hello))
        .route("/items", post(create_item))
        .route("/items/{id}", get(read_item))
        .route("/stream", get(stream_chunks))
        .route("/stream-known", get(stream_known))
        .route("/stream-fail", get(stream_fail))
        .route("/empty", get(StatusCode::NO_CONTENT))
        .route("/slow", get(slow))
        .route("/fail", get(StatusCode::INTERNAL_SERVER_ERROR))
        .route("/panic", get(panic))
        .route("/me", get(me))
        .route("/usage", get(usage))
        .route("/usage/recent", get(recent))
        .fallback(|| async { StatusCode::NOT_FOUND })
        .layer(track)
        .merge(admin)
        .route("/healthz", get("ok\n"))
        .with_state(tracker)
}

/// What axum knows of a request: the template that matched, and who is at the other end.
fn describe(extensions: &Extensions) -> (Option<&str>, Option<IpAddr>) {
    let route = extensions.get::<MatchedPath>().map(MatchedPath::as_str);
    let peer = extensions.get::<ConnectInfo<SocketAddr>>();
    (route, peer.map(|ConnectInfo(address)| address.ip()))
}

async fn hello(Path(name): Path<String>) -> String {
    format!("hello, {name}\n")
}

async fn create_item(body: Bytes) -> Result<Response, Failure> {
    let _item: Value = parse(&body)?;
    Ok((StatusCode::CREATED, Json(json!({ "id": 1 }))).into_response())
}

async fn read_item(Path(id): Path<u64>) -> Response {
    if id > 1_000 {
        return StatusCode::NOT_FOUND.into_response();
    }
    Json(json!({ "id": id })).into_response()
}

#[derive(Deserialize)]
struct Chunks {
    n: Option<u64>,
    every_ms: Option<u64>,
}

const MAX_CHUNKS: u64 = 10_000;
const MAX_WAIT_MS: u64 = 60_000;

fn checked(value: u64, most: u64, name: &str) -> Result<u64, Failure> {
    if value > most {
        let message = format!("`{name}` must be 0 to {most}");
        return Err(Failure { status: StatusCode::BAD_REQUEST, message });
    }
    Ok(value)
}

fn chunk(number: u64) -> Bytes {
    format!("chunk {number}\n").into()
}

impl Chunks {
    fn count(&self) -> Result<u64, Failure> {
        checked(self.n.unwrap_or(5), MAX_CHUNKS, "n")
    }

    fn body(&self) -> Result<Body, Failure> {
        let count = self.count()?;
        let pause = checked(self.every_ms.unwrap_or(100), MAX_WAIT_MS, "every_ms")?;
        Ok(Body::from_stream(stream::unfold(0, move |number| async move {
            if number > 0 && number < count {
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
            (number < count).then(|| (Ok::<_, Infallible>(chunk(number)), number + 1))
        })))
    }
}

async fn stream_chunks(Query(chunks): Query<Chunks>) -> Result<Body, Failure> {
    chunks.body()
}

async fn stream_known(Query(chunks): Query<Chunks>) -> Result<Response, Failure> {
    let length: usize = (0..chunks.count()?).map(|number| chunk(number).len()).sum();
    Ok(([(header::CONTENT_LENGTH, length)], chunks.body()?).into_response())
}

async fn stream_fail() -> Body {
    Body::from_stream(stream::unfold(0, |number| async move {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let part =
            if number < 3 { Ok(chunk(number)) } else { Err(io::Error::other("asked to fail")) };
        Some((part, number + 1))
    }))
}

#[derive(Deserialize)]
struct Wait {
    ms: Option<u64>,
}

async fn slow(Query(wait): Query<Wait>) -> Result<&'static str, Failure> {
    let wait = checked(wait.ms.unwrap_or(2_000), MAX_WAIT_MS, "ms")?;
    tokio::time::sleep(Duration::from_millis(wait)).await;
    Ok("done\n")
}

#[allow(clippy::panic, reason = "this route shows what becomes of a handler that panics")]
async fn panic() {
    panic!("asked to panic")
}

async fn me(Extension(caller): Extension<Identity>) -> Json<Value> {
    Json(json!({
        "token_id": caller.token_id(),
        "owner": caller.owner(),
        "name": caller.name(),
        "kind": caller.kind(),
        "scopes": caller.scopes(),
        "expires_at": text(caller.expires_at()),
        "last_used_at": text(caller.last_used_at()),
    }))
}

#[derive(Deserialize)]
struct Days {
    days: Option<i64>,
}

async fn usage(
    State(tracker): State<TokenTracker>,
    Extension(caller): Extension<Identity>,
    Query(Days { days }): Query<Days>,
) -> Result<Json<Value>, Failure> {
    blocking(move || {
        let query = tracker.stats().token(caller.token_id()).last_days(days.unwrap_or(30));
        tracker.flush()?;
        let (seven, latency) = (query.compatibility_summary()?, query.summary()?.latency);
        let ms = |duration: Duration| duration.as_secs_f64() * 1_000.0;
        let routes = seven.top_endpoints.iter().map(|route| json!([route.route, route.requests]));
        Ok(Json(json!({
            "period_days": days.unwrap_or(30),
            "total_requests": seven.total_requests,
            "successful_requests": seven.successful_requests,
            "blocked_requests": seven.blocked_requests,
            "success_rate": seven.success_rate,
            "average_response_time_ms": seven.average_response_time_ms,
            "top_endpoints": routes.collect::<Value>(),
            "p50_ms": latency.map(|latency| ms(latency.p50)),
            "p95_ms": latency.map(|latency| ms(latency.p95)),
            "p99_ms": latency.map(|latency| ms(latency.p99)),
        })))
    })
    .await
}

#[derive(Deserialize)]
pub(crate) struct Limit {
    pub(crate) limit: Option<u32>,
}

async fn recent(
    State(tracker): State<TokenTracker>,
    Extension(caller): Extension<Identity>,
    Query(Limit { limit }): Query<Limit>,
) -> Result<Json<Value>, Failure> {
    blocking(move || records(&tracker, caller.token_id(), limit)).await
}

pub(crate) fn records(
    tracker: &TokenTracker,
    id: TokenId,
    limit: Option<u32>,
) -> Result<Json<Value>, Error> {
    tracker.flush()?;
    let records = tracker.stats().token(id).recent(limit.unwrap_or(50))?;
    Ok(Json(records.iter().map(record_json).collect()))
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

/// An instant as RFC 3339 has it.
pub(crate) fn text(at: Option<OffsetDateTime>) -> Option<String> {
    at.and_then(|at| at.format(&Rfc3339).ok())
}

/// Any JSON, whatever its content type says.
pub(crate) fn parse<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body)
        .map_err(|error| Failure { status: StatusCode::BAD_REQUEST, message: error.to_string() })
}

/// Runs what may block on a thread that may.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
        .map_err(Failure::from)
}

/// An answer that is no success.
pub(crate) struct Failure {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let status = match error.kind() {
            ErrorKind::InvalidInput => StatusCode::BAD_REQUEST,
            ErrorKind::NotFound => StatusCode::NOT_FOUND,
            ErrorKind::AlreadyExists
            | ErrorKind::AlreadyRotated
            | ErrorKind::Expired
            | ErrorKind::Revoked => StatusCode::CONFLICT,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self { status, message: error.to_string() }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.status, Json(json!({ "error": self.message }))).into_response()
    }
}
