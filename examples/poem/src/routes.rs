//! What the service does, route by route.

use std::io;

use example_service::{Api, Call, Chunks, MAX_BODY, Reply, Route, blocking, pause};
use futures_util::{Stream, StreamExt, stream};
use http::StatusCode;
use http::header::CONTENT_LENGTH;
use poem::endpoint::{make, make_sync};
use poem::{Body, EndpointExt, Request, Response, delete, get, post};
use token_tracker::{Identity, TokenTracker};

use crate::middleware::Track;

/// The service: `/healthz` for anybody, everything else for whoever has a token.
pub(crate) fn routes(tracker: &TokenTracker, api: &Api) -> poem::Route {
    let track = &Track { tracker: tracker.clone(), scope: None };
    let for_admins = &Track { scope: Some("admin"), ..track.clone() };
    let on = |route| {
        let api = api.clone();
        make(move |request| answer(api.clone(), route, request))
    };
    let tokens = get(on(Route::ListTokens)).post(on(Route::IssueToken));
    let recent_of_token = get(on(Route::RecentOfToken));
    poem::Route::new()
        .at("/hello/:name", get(on(Route::Hello)).with(track))
        .at("/items", post(on(Route::CreateItem)).with(track))
        .at("/items/:id", get(on(Route::ReadItem)).with(track))
        .at("/stream", get(make_sync(stream_chunks)).with(track))
        .at("/stream-known", get(make_sync(stream_known)).with(track))
        .at("/stream-fail", get(make_sync(stream_fail)).with(track))
        .at("/empty", get(on(Route::Empty)).with(track))
        .at("/slow", get(make(slow)).with(track))
        .at("/fail", get(on(Route::Fail)).with(track))
        .at("/panic", get(make_sync(panic)).with(track))
        .at("/me", get(on(Route::Me)).with(track))
        .at("/usage", get(on(Route::Usage)).with(track))
        .at("/usage/recent", get(on(Route::Recent)).with(track))
        .at("/admin/health", get(on(Route::Health)).with(for_admins))
        .at("/admin/tokens", tokens.with(for_admins))
        .at("/admin/tokens/:token_id", delete(on(Route::RevokeToken)).with(for_admins))
        .at("/admin/tokens/:token_id/recent", recent_of_token.with(for_admins))
        .at("/admin/tokens/:token_id/resume", post(on(Route::ResumeToken)).with(for_admins))
        .at("/admin/tokens/:token_id/suspend", post(on(Route::SuspendToken)).with(for_admins))
        .at("/*", make_sync(|_| StatusCode::NOT_FOUND).with(track))
        .at("/healthz", get(on(Route::Healthz)))
}

/// On a thread that may block where the answer may have to wait for the disk.
async fn answer(api: Api, route: Route, request: Request) -> poem::Result<Response> {
    let call = call(request).await?;
    let answer = move || api.answer(route, call);
    Ok(response(if Api::blocks(route) { blocking(answer).await } else { answer() }))
}

/// A request, as the answers need it.
async fn call(mut request: Request) -> poem::Result<Call> {
    let body = request.take_body().into_bytes_limit(MAX_BODY).await?;
    Ok(Call {
        caller: request.data::<Identity>().cloned(),
        parameter: request.path_params().unwrap_or_default(),
        query: request.uri().query().map(str::to_owned),
        body: body.into(),
    })
}

fn response(reply: Reply) -> Response {
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let response = Response::builder().status(status);
    let response = reply
        .headers
        .into_iter()
        .fold(response, |response, (name, value)| response.header(name, value));
    response.body(reply.body)
}

/// The chunks one after the other.
fn stream_chunks(request: Request) -> Response {
    match Chunks::of(request.uri().query()) {
        Ok(chunks) => Body::from_bytes_stream(stream_of(chunks)).into(),
        Err(refusal) => response(refusal),
    }
}

fn stream_of(chunks: Chunks) -> impl Stream<Item = io::Result<String>> {
    stream::unfold(0, move |number| async move {
        tokio::time::sleep(chunks.pause_before(number)).await;
        Some((Ok(chunks.get(number)?), number + 1))
    })
}

fn stream_known(request: Request) -> Response {
    match Chunks::of(request.uri().query()) {
        Ok(chunks) => Response::builder()
            .header(CONTENT_LENGTH, chunks.length())
            .body(Body::from_bytes_stream(stream_of(chunks))),
        Err(refusal) => response(refusal),
    }
}

fn stream_fail(_: Request) -> Body {
    let failure = stream::once(async { Err(io::Error::other("asked to fail")) });
    Body::from_bytes_stream(stream_of(Chunks::FAILING).chain(failure))
}

async fn slow(request: Request) -> Response {
    match pause(request.uri().query()) {
        Ok(pause) => {
            tokio::time::sleep(pause).await;
            "done\n".into()
        }
        Err(refusal) => response(refusal),
    }
}

#[allow(clippy::panic, reason = "this route shows what becomes of a handler that panics")]
fn panic(_: Request) -> Response {
    panic!("asked to panic")
}
