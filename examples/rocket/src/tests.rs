//! What a guard or a rank of a user's own route makes of the fairing: the service itself forwards nowhere.

use rocket::http::{Header, Method, Status};
use rocket::local::blocking::Client;
use rocket::route::{Outcome, Route};
use rocket::{Data, Request, get, route, routes};
use token_tracker::{NewToken, TokenTracker, UsageRecord};

use crate::fairing::{Caller, Track};

#[get("/<_>/list", rank = 2)]
fn list(caller: Caller) -> String {
    caller.0.owner().to_owned()
}

fn forward<'r>(_: &'r Request<'_>, data: Data<'r>) -> route::BoxFuture<'r> {
    Box::pin(async { Outcome::forward(data, Status::NotFound) })
}

/// A service with a route that forwards to one that wants the scope `admin`, and one token with these scopes.
struct Forwarding {
    tracker: TokenTracker,
    client: Client,
    bearer: Header<'static>,
}

impl Forwarding {
    fn with_scopes(scopes: &[&str]) -> Self {
        let tracker = TokenTracker::builder().in_memory().unwrap();
        let scopes = scopes.iter().map(|scope| (*scope).to_owned());
        let new = NewToken::opaque("alice", "laptop").scopes(scopes.collect::<Vec<_>>());
        let secret = tracker.tokens().issue(new).unwrap().secret;
        let track = Track { tracker: tracker.clone(), scope: None };
        let for_admins = Track { scope: Some("admin"), ..track.clone() };
        let rocket = rocket::build()
            .mount("/", track.around(vec![Route::ranked(1, Method::Get, "/<what>/list", forward)]))
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
    let service = Forwarding::with_scopes(&["admin"]);
    assert_eq!(service.get("/tokens/list"), (Status::Ok, "alice".to_owned()));
    assert_eq!(service.records(), [("/{_}/list".to_owned(), 200, "success")]);
}

#[test]
fn route_that_is_forwarded_to_still_wants_its_scope() {
    let service = Forwarding::with_scopes(&["items:read"]);
    let (status, body) = service.get("/tokens/list");
    assert_eq!(status, Status::Forbidden);
    assert!(!body.contains("alice"), "{body}");
    assert_eq!(service.records(), [("/{_}/list".to_owned(), 403, "client_error")]);
}

#[test]
fn path_without_a_route_wants_a_token_too() {
    let service = Forwarding::with_scopes(&[]);
    let answer = service.client.get("/nowhere").dispatch();
    assert_eq!(answer.status(), Status::Unauthorized);
    assert_eq!(answer.headers().get_one("www-authenticate"), Some("Bearer"));
    assert_eq!(service.get("/nowhere").0, Status::NotFound);
    assert_eq!(service.records(), [("<unmatched>".to_owned(), 404, "client_error")]);
}
