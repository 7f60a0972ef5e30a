//! What no route of the service shows of the middleware.

use actix_web::body::{self, BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::middleware::{Next, from_fn};
use actix_web::{App, Error, HttpResponse, Scope, error, rt, test, web};
use token_tracker::{NewToken, Outcome, TokenTracker, UsageRecord};

use crate::middleware::TrackLayer;

/// The status of the answer to one request with a good token, and what is recorded of it.
fn exchange(uri: &str, routes: Scope) -> (StatusCode, Vec<UsageRecord>) {
    let tracker = TokenTracker::builder().in_memory().unwrap();
    let issued = tracker.tokens().issue(NewToken::opaque("alice", "laptop")).unwrap();
    let track = TrackLayer { tracker: tracker.clone(), scope: None };
    let status = rt::System::new().block_on(async {
        let routes = routes.wrap(from_fn(move |request, next| track.clone().call(request, next)));
        let app = test::init_service(App::new().service(routes)).await;
        let bearer = ("authorization", format!("Bearer {}", issued.secret.expose()));
        let request = test::TestRequest::get().uri(uri).insert_header(bearer).to_request();
        match test::try_call_service(&app, request).await {
            Ok(response) => response.status(),
            Err(error) => error.as_response_error().status_code(),
        }
    });
    tracker.flush().unwrap();
    (status, tracker.stats().token(issued.token.id).recent(2).unwrap())
}

async fn refuse(_: ServiceRequest, _: Next<BoxBody>) -> Result<ServiceResponse<BoxBody>, Error> {
    Err(error::ErrorConflict("refused further in"))
}

#[test]
fn error_of_a_middleware_further_in_is_recorded_with_its_status() {
    let further_in = web::resource("/items/{id}").to(HttpResponse::Ok).wrap(from_fn(refuse));
    let (status, records) = exchange("/items/7", web::scope("").service(further_in));
    assert_eq!(status, StatusCode::CONFLICT);
    let [record] = records.as_slice() else { panic!("{records:?}") };
    assert_eq!((record.status, record.outcome), (409, Outcome::ClientError));
    assert_eq!(record.route, "/items/{id}");
}

/// actix-web never polls such a body.
#[test]
fn response_without_a_body_is_settled_at_its_head() {
    let none = || async { HttpResponse::Ok().body(body::None::new().boxed()) };
    let (status, records) = exchange("/nothing", web::scope("").route("/nothing", web::to(none)));
    assert_eq!(status, StatusCode::OK);
    let [record] = records.as_slice() else { panic!("{records:?}") };
    assert_eq!((record.status, record.outcome), (200, Outcome::Success));
}

#[test]
fn token_in_the_query_beside_another_is_refused_without_a_record() {
    let routes = web::scope("").route("/items", web::to(HttpResponse::Ok));
    let (status, records) = exchange("/items?access_token=other", routes);
    assert_eq!((status, records.len()), (StatusCode::BAD_REQUEST, 0));
}
