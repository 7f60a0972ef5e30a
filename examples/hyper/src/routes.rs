//! What the service does, route by route.

use std::net::SocketAddr;

use bytes::Bytes;
use example_service::{Api, Call, Chunks, Ending, MAX_BODY, Reply, Route, blocking, pause};
use http::header::{CONTENT_LENGTH, TRAILER};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use token_tracker::{Identity, TokenTracker, TrackedBody};

use crate::track::Track;

type Body = UnsyncBoxBody<Bytes, std::io::Error>;
type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

/// The service: `/healthz` for anybody, everything else for whoever has a token.
pub(crate) async fn serve(
    tracker: TokenTracker,
    api: Api,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> Result<Response<TrackedBody<Body>>> {
    let found = Route::find(request.method().as_str(), request.uri().path());
    let Some((route, parameter)) = found else {
        let track = Track { tracker: &tracker, scope: None, route: None, peer: peer.ip() };
        return track.call(request, |_| async { Ok(response(Reply::empty(404))) }).await;
    };
    if route == Route::Healthz {
        return Ok(response(api.answer(route, Call::default())).map(TrackedBody::untracked));
    }
    let (scope, template) = (route.scope(), Some(route.template()));
    let track = Track { tracker: &tracker, scope, route: template, peer: peer.ip() };
    track.call(request, |request| handle(api, route, parameter, request)).await
}

async fn handle(
    api: Api,
    route: Route,
    parameter: String,
    request: Request<Incoming>,
) -> Result<Response<Body>> {
    let query = request.uri().query();
    let answered = match route {
        Route::Panic => panic(),
        Route::Slow => slow(query).await,
        Route::Stream => stream(query, Ending::for_client(request.headers())),
        Route::StreamFail => Ok(Response::new(Chunks::FAILING.body(Ending::Failure))),
        Route::StreamKnown => stream_known(query),
        _ => answer(api, route, parameter, request).await,
    };
    Ok(answered.unwrap_or_else(response))
}

/// On a thread that may block where the answer may have to wait for the disk.
async fn answer(
    api: Api,
    route: Route,
    parameter: String,
    request: Request<Incoming>,
) -> Result<Response<Body>, Reply> {
    let caller = request.extensions().get::<Identity>().cloned();
    let query = request.uri().query().map(str::to_owned);
    let body = Limited::new(request.into_body(), MAX_BODY).collect().await;
    let body =
        body.map_err(|error| Reply::empty(if error.is::<LengthLimitError>() { 413 } else { 400 }))?;
    let call = Call { caller, parameter, query, body: body.to_bytes().into() };
    let answer = move || api.answer(route, call);
    Ok(response(if Api::blocks(route) { blocking(answer).await } else { answer() }))
}

fn response(reply: Reply) -> Response<Body> {
    let body = Full::new(Bytes::from(reply.body)).map_err(|never| match never {});
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() =
        StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in reply.headers {
        let (name, value) = (HeaderName::from_static(name), HeaderValue::from_static(value));
        response.headers_mut().insert(name, value);
    }
    response
}

/// The chunks one after the other, and, for who can take it, how many they were as a trailer field.
fn stream(query: Option<&str>, ending: Ending) -> Result<Response<Body>, Reply> {
    let mut response = Response::new(Chunks::of(query)?.body(ending));
    if ending == Ending::Trailers {
        response.headers_mut().insert(TRAILER, HeaderValue::from_static("chunks"));
    }
    Ok(response)
}

fn stream_known(query: Option<&str>) -> Result<Response<Body>, Reply> {
    let chunks = Chunks::of(query)?;
    let mut response = Response::new(chunks.body(Ending::Nothing));
    response.headers_mut().insert(CONTENT_LENGTH, chunks.length().into());
    Ok(response)
}

async fn slow(query: Option<&str>) -> Result<Response<Body>, Reply> {
    tokio::time::sleep(pause(query)?).await;
    Ok(response(Reply::text("done\n")))
}

#[allow(clippy::panic, reason = "this route shows what becomes of a handler that panics")]
fn panic() -> ! {
    panic!("asked to panic")
}
