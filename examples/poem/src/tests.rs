//! What the service itself does not do: nest routes, and name what they match in all the ways that poem has.

use hyper::body::Body as _;
use poem::endpoint::make_sync;
use poem::{Endpoint, EndpointExt, Request, Response, Route};
use token_tracker::{NewToken, TokenTracker, UsageRecord};

use crate::middleware::Track;

/// A service with one token.
struct Small {
    tracker: TokenTracker,
    app: Route,
    bearer: String,
}

impl Small {
    fn new() -> Self {
        let tracker = TokenTracker::builder().in_memory().unwrap();
        let secret = tracker.tokens().issue(NewToken::opaque("alice", "laptop")).unwrap().secret;
        let track = &Track { tracker: tracker.clone(), scope: None };
        let hello = || make_sync(|_| "hello\n").with(track);
        let nested = Route::new().at("/v:version/users/:user<\\w+>/*file", hello());
        let app = Route::new().nest("/api", nested).at("/files/*path", hello()).at("/*", hello());
        Self { tracker, app, bearer: format!("Bearer {}", secret.expose()) }
    }

    fn get(&self, target: &str) -> Response {
        let request = Request::builder().uri_str(target).header("authorization", &self.bearer);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(self.app.get_response(request.finish()))
    }

    fn routes(&self) -> Vec<String> {
        self.tracker.flush().unwrap();
        let id = self.tracker.tokens().list(&Default::default()).unwrap().tokens[0].id;
        let records = self.tracker.stats().token(id).recent(9).unwrap().into_iter();
        records.map(|record: UsageRecord| record.route).collect()
    }
}

#[test]
fn templates_are_recorded_in_the_spelling_of_all() {
    let service = Small::new();
    for target in ["/api/v1/users/alice/a/b", "/files/a/b", "/nowhere"] {
        assert_eq!(service.get(target).status(), 200, "{target}");
    }
    let nested = "/api/v{version}/users/{user}/{file}";
    assert_eq!(service.routes(), ["<unmatched>", "/files/{path}", nested]);
}

#[test]
fn length_of_a_body_is_still_known() {
    let response = hyper::Response::from(Small::new().get("/files/a"));
    assert_eq!(response.body().size_hint().exact(), Some(6));
}

#[test]
fn credential_in_the_query_beside_another_is_refused() {
    let service = Small::new();
    assert_eq!(service.get("/files/a?access_token=x").status(), 400);
    assert_eq!(service.routes(), [] as [&str; 0]);
}
