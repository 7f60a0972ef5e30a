//! What the service does, route by route.

use std::net::SocketAddr;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{
    ConnectInfo, DefaultBodyLimit, FromRequest, FromRequestParts, MatchedPath, RawPathParams,
    RawQuery, Request, State,
};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use example_service::{Api, Call, Chunks, Ending, MAX_BODY, Reply, Route, blocking, pause};
use http::header::{CONTENT_LENGTH, HeaderMap, TRAILER};
use http::request::Parts;
use http::{HeaderName, HeaderValue, StatusCode};
use token_tracker::{Identity, TokenTracker, TrustedProxies};

use crate::layer::{Known, TrackLayer};

/// The service: `/healthz` for anybody, everything else for whoever has a token.
pub(crate) fn router(tracker: TokenTracker, proxies: TrustedProxies, api: Api) -> Router {
    let track = TrackLayer { tracker, proxies, describe };
    let for_admins = TrackLayer { describe: describe_admin, ..track.clone() };
    let on = |route| move |State(api): State<Api>, Input(call)| answer(api, route, call);
    let admin = Router::new()
        .route("/admin/health", get(on(Route::Health)))
        .route("/admin/tokens", get(on(Route::ListTokens)).post(on(Route::IssueToken)))
        .route("/admin/tokens/{token_id}", delete(on(Route::RevokeToken)))
        .route("/admin/tokens/{token_id}/recent", get(on(Route::RecentOfToken)))
        .route("/admin/tokens/{token_id}/resume", post(on(Route::ResumeToken)))
        .route("/admin/tokens/{token_id}/suspend", post(on(Route::SuspendToken)))
        .layer(for_admins);
    Router::new()
        .route("/hello/{name}", get(on(Route::Hello)))
        .route("/items", post(on(Route::CreateItem)))
        .route("/items/{id}", get(on(Route::ReadItem)))
        .route("/stream", get(stream_chunks))
        .route("/stream-known", get(stream_known))
        .route("/stream-fail", get(stream_fail))
        .route("/empty", get(on(Route::Empty)))
        .route("/slow", get(slow))
        .route("/fail", get(on(Route::Fail)))
        .route("/panic", get(panic))
        .route("/me", get(on(Route::Me)))
        .route("/usage", get(on(Route::Usage)))
        .route("/usage/recent", get(on(Route::Recent)))
        .fallback(|| async { StatusCode::NOT_FOUND })
        .layer(track)
        .merge(admin)
        .route("/healthz", get(on(Route::Healthz)))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(api)
}

/// What axum knows of a request: the template that matched, and who is at the other end.
fn describe(request: &Parts) -> Known<'_> {
    let route = request.extensions.get::<MatchedPath>().map(MatchedPath::as_str);
    let peer = request.extensions.get::<ConnectInfo<SocketAddr>>();
    Known { route, peer: peer.map(|ConnectInfo(address)| address.ip()), scope: None }
}

fn describe_admin(request: &Parts) -> Known<'_> {
    Known { scope: Some("admin"), ..describe(request) }
}

/// A request, as the answers need it.
struct Input(Call);

impl FromRequest<Api> for Input {
    type Rejection = Response;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Response> {
        let (mut parts, body) = request.into_parts();
        let parameters = RawPathParams::from_request_parts(&mut parts, api).await;
        let parameters = parameters.map_err(IntoResponse::into_response)?;
        let parameter = parameters.iter().next().map(|(_, value)| value.to_owned());
        let caller = parts.extensions.get::<Identity>().cloned();
        let query = parts.uri.query().map(str::to_owned);
        let body = Bytes::from_request(Request::from_parts(parts, body), api).await;
        let body = body.map_err(IntoResponse::into_response)?;
        let parameter = parameter.unwrap_or_default();
        Ok(Self(Call { caller, parameter, query, body: body.into() }))
    }
}

/// On a thread that may block where the answer may have to wait for the disk.
async fn answer(api: Api, route: Route, call: Call) -> Response {
    let answer = move || api.answer(route, call);
    response(if Api::blocks(route) { blocking(answer).await } else { answer() })
}

fn response(reply: Reply) -> Response {
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, Body::from(reply.body)).into_response();
    for (name, value) in reply.headers {
        let (name, value) = (HeaderName::from_static(name), HeaderValue::from_static(value));
        response.headers_mut().insert(name, value);
    }
    response
}

/// The chunks one after the other, and, for who can take it, how many they were as a trailer field.
async fn stream_chunks(RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    let chunks = match Chunks::of(query.as_deref()) {
        Ok(chunks) => chunks,
        Err(refusal) => return response(refusal),
    };
    let ending = Ending::for_client(&headers);
    let mut response = Body::new(chunks.body(ending)).into_response();
    if ending == Ending::Trailers {
        response.headers_mut().insert(TRAILER, HeaderValue::from_static("chunks"));
    }
    response
}

async fn stream_known(RawQuery(query): RawQuery) -> Response {
    match Chunks::of(query.as_deref()) {
        Ok(chunks) => {
            let length = [(CONTENT_LENGTH, chunks.length())];
            (length, Body::new(chunks.body(Ending::Nothing))).into_response()
        }
        Err(refusal) => response(refusal),
    }
}

async fn stream_fail() -> Body {
    Body::new(Chunks::FAILING.body(Ending::Failure))
}

async fn slow(RawQuery(query): RawQuery) -> Response {
    match pause(query.as_deref()) {
        Ok(pause) => {
            tokio::time::sleep(pause).await;
            "done\n".into_response()
        }
        Err(refusal) => response(refusal),
    }
}

#[allow(clippy::panic, reason = "this route shows what becomes of a handler that panics")]
async fn panic() {
    panic!("asked to panic")
}
