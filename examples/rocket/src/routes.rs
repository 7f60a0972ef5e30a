//! What the service does, route by route.

use std::io::{self, Cursor};

use example_service::{Api, Call, Chunks, MAX_BODY, Reply, Route as Answer, pause};
use futures_util::{Stream, StreamExt, stream};
use rocket::data::ToByteUnit;
use rocket::http::uri::Origin;
use rocket::http::{Method, Status};
use rocket::response::{self, Responder};
use rocket::route::{Handler, Outcome};
use rocket::tokio::task::spawn_blocking;
use rocket::tokio::time::sleep;
use rocket::{Build, Data, Request, Response, Rocket, Route, get, routes};
use token_tracker::TokenTracker;
use tokio_util::io::StreamReader;

use crate::fairing::{Caller, Track};

/// The service: `/healthz` for anybody, everything else for whoever has a token.
pub(crate) fn mount(rocket: Rocket<Build>, tracker: TokenTracker, api: Api) -> Rocket<Build> {
    let track = Track { tracker, scope: None };
    let for_admins = Track { scope: Some("admin"), ..track.clone() };
    let on = |method, path, route| Route::new(method, path, On { route, api: api.clone() });
    let admin = vec![
        on(Method::Get, "/health", Answer::Health),
        on(Method::Get, "/tokens", Answer::ListTokens),
        on(Method::Post, "/tokens", Answer::IssueToken),
        on(Method::Delete, "/tokens/<token_id>", Answer::RevokeToken),
        on(Method::Get, "/tokens/<token_id>/recent", Answer::RecentOfToken),
        on(Method::Post, "/tokens/<token_id>/resume", Answer::ResumeToken),
        on(Method::Post, "/tokens/<token_id>/suspend", Answer::SuspendToken),
    ];
    let plain = vec![
        on(Method::Get, "/hello/<name>", Answer::Hello),
        on(Method::Post, "/items", Answer::CreateItem),
        on(Method::Get, "/items/<id>", Answer::ReadItem),
        on(Method::Get, "/empty", Answer::Empty),
        on(Method::Get, "/fail", Answer::Fail),
        on(Method::Get, "/me", Answer::Me),
        on(Method::Get, "/usage", Answer::Usage),
        on(Method::Get, "/usage/recent", Answer::Recent),
    ];
    rocket
        .mount("/admin", for_admins.around(admin))
        .mount("/", track.around(plain))
        .mount("/", track.around(routes![stream_chunks, stream_known, stream_fail, slow, panic]))
        .mount("/", [on(Method::Get, "/healthz", Answer::Healthz)])
        .attach(track)
}

/// A route that answers.
#[derive(Clone)]
struct On {
    route: Answer,
    api: Api,
}

#[rocket::async_trait]
impl Handler for On {
    /// On a thread that may block where the answer may have to wait for the disk.
    async fn handle<'r>(&self, request: &'r Request<'_>, data: Data<'r>) -> Outcome<'r> {
        let call = match call(request, data).await {
            Ok(call) => call,
            Err(status) => return Outcome::Error(status),
        };
        let (api, route) = (self.api.clone(), self.route);
        let answer = move || api.answer(route, call);
        let reply = if Api::blocks(route) { spawn_blocking(answer).await } else { Ok(answer()) };
        Outcome::from(request, response(reply.unwrap_or_else(|_| Reply::empty(500))))
    }
}

/// A request, as the answers need it.
async fn call(request: &Request<'_>, data: Data<'_>) -> Result<Call, Status> {
    let body = data.open(MAX_BODY.bytes()).into_bytes().await;
    let body = body.map_err(|_| Status::BadRequest)?;
    if !body.is_complete() {
        return Err(Status::PayloadTooLarge);
    }
    let caller = request.guard::<Caller>().await.succeeded();
    // What stands in brackets is, if anything, the second segment of what was mounted.
    let parameter = request.param(1).and_then(Result::ok).unwrap_or_default();
    Ok(Call {
        caller: caller.map(|Caller(caller)| caller),
        parameter,
        query: query(request.uri()).map(str::to_owned),
        body: body.into_inner(),
    })
}

/// A response, as a handler returns it.
struct Built(Response<'static>);

impl<'r> Responder<'r, 'static> for Built {
    fn respond_to(self, _: &'r Request<'_>) -> response::Result<'static> {
        Ok(self.0)
    }
}

fn response(reply: Reply) -> Built {
    let mut response = Response::build();
    response.status(Status::new(reply.status));
    for (name, value) in reply.headers {
        response.raw_header(name, value);
    }
    Built(response.sized_body(reply.body.len(), Cursor::new(reply.body)).finalize())
}

/// The chunks one after the other.
#[get("/stream")]
fn stream_chunks(uri: &Origin<'_>) -> Built {
    match Chunks::of(query(uri)) {
        Ok(chunks) => {
            let body = StreamReader::new(stream_of(chunks));
            Built(Response::build().streamed_body(body).finalize())
        }
        Err(refusal) => response(refusal),
    }
}

fn query<'a>(uri: &'a Origin<'_>) -> Option<&'a str> {
    uri.query().map(|query| query.as_str())
}

fn stream_of(chunks: Chunks) -> impl Stream<Item = io::Result<Cursor<String>>> {
    let chunks = stream::unfold(0, move |number| async move {
        sleep(chunks.pause_before(number)).await;
        Some((Ok(Cursor::new(chunks.get(number)?)), number + 1))
    });
    Box::pin(chunks)
}

#[get("/stream-known")]
fn stream_known(uri: &Origin<'_>) -> Built {
    match Chunks::of(query(uri)) {
        Ok(chunks) => known(chunks.length(), stream_of(chunks)),
        Err(refusal) => response(refusal),
    }
}

/// A stream with its length, without which rocket ends it, where it fails, as if it were whole.
fn known(
    length: u64,
    stream: impl Stream<Item = io::Result<Cursor<String>>> + Send + 'static,
) -> Built {
    let mut response = Response::build();
    response.raw_header("Content-Length", length.to_string());
    Built(response.streamed_body(StreamReader::new(stream)).finalize())
}

#[get("/stream-fail")]
fn stream_fail() -> Built {
    let failure = stream::once(async { Err(io::Error::other("asked to fail")) });
    known(Chunks::FAILING.length() + 1, stream_of(Chunks::FAILING).chain(failure))
}

#[get("/slow")]
async fn slow(uri: &Origin<'_>) -> Built {
    match pause(query(uri)) {
        Ok(pause) => {
            sleep(pause).await;
            response(Reply::text("done\n"))
        }
        Err(refusal) => response(refusal),
    }
}

#[allow(clippy::panic, reason = "this route shows what becomes of a handler that panics")]
#[get("/panic")]
fn panic() {
    panic!("asked to panic")
}
