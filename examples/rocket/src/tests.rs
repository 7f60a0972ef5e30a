//! What the service itself does not do: forward, and send bodies that are not what they say.

use std::io::{self, Cursor};

use futures_util::stream;

use rocket::http::{Header, Method, Status};
use rocket::local::blocking::Client;
use rocket::response::{self, Responder};
use rocket::route::{Outcome, Route};
use rocket::{Data, Request, Response, get, route, routes};
use token_tracker::{NewToken, TokenTracker, UsageRecord};
use tokio_util::io::StreamReader;

use crate::fairing::{Caller, Track};

#[get("/<_>/list", rank = 2)]
fn list(caller: Caller) -> String {
    caller.0.owner().to_owned()
}

fn forward<'r>(_: &'r Request<'_>, data: Data<'r>) -> route::BoxFuture<'r> {
    Box::pin(async { Outcome::forward(data, Status::NotFound) })
}

/// Says that ten bytes come, and sends three.
struct Short;

impl<'r> Responder<'r, 'static> for Short {
    fn respond_to(self, _: &'r Request<'_>) -> response::Result<'static> {
        Response::build().sized_body(10, Cursor::new("one")).ok()
    }
}

#[get("/short")]
fn short() -> Short {
    Short
}

/// Breaks off after three bytes, and never said how many would come.
struct Broken;

impl<'r> Responder<'r, 'static> for Broken {
    fn respond_to(self, _: &'r Request<'_>) -> response::Result<'static> {
        let failed = || Err::<&[u8], _>(io::Error::other("asked to fail"));
        let body = StreamReader::new(stream::iter([Ok(&b"one"[..]), failed()]));
        Response::build().streamed_body(body).ok()
    }
}

#[get("/broken")]
fn broken() -> Broken {
    Broken
}

/// A service with these routes, one that forwards to one that wants the scope `admin`, and a token with these scopes.
struct Small {
    tracker: TokenTracker,
    client: Client,
    bearer: Header<'static>,
}

impl Small {
    fn with_scopes(scopes: &[&str]) -> Self {
        let tracker = TokenTracker::builder().in_memory().unwrap();
        let scopes = scopes.iter().map(|scope| (*scope).to_owned());
        let new = NewToken::opaque("alice", "laptop").scopes(scopes.collect::<Vec<_>>());
        let secret = tracker.tokens().issue(new).unwrap().secret;
        let track = Track { tracker: tracker.clone(), scope: None };
        let for_admins = Track { scope: Some("admin"), ..track.clone() };
        let rocket = rocket::build()
            .mount("/", track.around(vec![Route::ranked(1, Method::Get, "/<what>/list", forward)]))
            .mount("/", track.around(routes![short, broken]))
            .mount("/", for_admins.around(routes![list]))
            .attach(track);
        let bearer = Header::new("Authorization", format!("Bearer {}", secret.expose()));
        Self { tracker, client: Client::untracked(rocket).unwrap(), bearer }
    }

    fn get(&self, path: &'static str) -> (Status, String) {
        let answer = self.client.get(path).header(self.bearer.clone()).dispatch();
        (answer.status(), answer.into_string().unwrap_or_default())
    }

    fn records(&self) -> Vec<(String, u16, &'static str)> {
        self.tracker.flush().unwrap();
        let shape = |record: UsageRecord| (record.route, record.status, record.outcome.as_str());
        let id = self.tracker.tokens().list(&Default::default()).unwrap().tokens[0].id;
        self.tracker.stats().token(id).recent(9).unwrap().into_iter().map(shape).collect()
    }
}

#[test]
fn forwarded_request_is_recorded_once_under_its_last_route() {
    let service = Small::with_scopes(&["admin"]);
    assert_eq!(service.get("/tokens/list"), (Status::Ok, "alice".to_owned()));
    assert_eq!(service.records(), [("/{_}/list".to_owned(), 200, "success")]);
}

#[test]
fn route_that_is_forwarded_to_still_wants_its_scope() {
    let service = Small::with_scopes(&["items:read"]);
    let (status, body) = service.get("/tokens/list");
    assert_eq!(status, Status::Forbidden);
    assert!(!body.contains("alice"), "{body}");
    assert_eq!(service.records(), [("/{_}/list".to_owned(), 403, "client_error")]);
}

#[test]
fn path_without_a_route_wants_a_token_too() {
    let service = Small::with_scopes(&[]);
    let answer = service.client.get("/nowhere").dispatch();
    assert_eq!(answer.status(), Status::Unauthorized);
    assert_eq!(answer.headers().get_one("www-authenticate"), Some("Bearer"));
    assert_eq!(service.get("/nowhere").0, Status::NotFound);
    assert_eq!(service.records(), [("<unmatched>".to_owned(), 404, "client_error")]);
}

#[test]
fn body_that_breaks_off_is_a_server_error() {
    let service = Small::with_scopes(&[]);
    service.get("/broken");
    assert_eq!(service.records(), [("/broken".to_owned(), 200, "server_error")]);
}

#[test]
fn body_shorter_than_its_length_is_a_server_error() {
    let service = Small::with_scopes(&[]);
    assert_eq!(service.get("/short"), (Status::Ok, "one".to_owned()));
    assert_eq!(service.records(), [("/short".to_owned(), 200, "server_error")]);
}

#[test]
fn length_of_a_body_is_still_declared() {
    let service = Small::with_scopes(&["admin"]);
    let answer = service.client.get("/tokens/list").header(service.bearer.clone()).dispatch();
    assert_eq!(answer.headers().get_one("content-length"), Some("5"));
}

#[test]
fn credential_in_the_query_beside_another_is_refused() {
    let service = Small::with_scopes(&["admin"]);
    assert_eq!(service.get("/tokens/list?access_token=x").0, Status::BadRequest);
    assert_eq!(service.records(), []);
}
