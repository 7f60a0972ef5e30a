//! A deploy that cuts off requests, forgets tokens or forgives revocations would be noticed by every customer.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::thread;
use std::time::Duration;

use crate::api::{new_token, text};
use crate::client::Request;
use crate::service::{Home, Service};
use crate::suite::Stack;
use crate::watch::Watch;

/// `SIGTERM` lets the request in flight come to its answer and its record, then the service exits 0.
pub fn request_in_flight_is_answered_before_the_service_ends(stack: &Stack) {
    let mut service = stack.start();
    let token_id = service.id_of(&service.jwt);
    let jwt = service.jwt.clone();
    // A connection without a request in flight must not hold up the end.
    let mut idle = service.client().connect();
    let request = Request::get("/hello/x").bearer(&jwt);
    idle.exchange(&request).expect_status(200);

    let mut busy = service.client().connect();
    busy.send(&Request::get("/slow?ms=800").bearer(&jwt));
    thread::sleep(Duration::from_millis(250));
    service.signal("TERM");
    let response = busy.receive(false).expect("what is in flight is answered");
    let response = response.expect_status(200);
    assert!(response.is_complete, "{response}");
    let status = service.wait();
    assert_eq!(status.code(), Some(0), "{status}: {}", service.stderr());

    let again = Service::start(stack.binary, service.home());
    let records = again.recent(&token_id);
    let shapes: Vec<_> = records.iter().map(|record| record.shape()).collect();
    assert_eq!(
        shapes,
        [
            ("GET", "/slow", 200, "success"),
            ("GET", "/hello/{name}", 200, "success"),
            ("GET", "/me", 200, "success"),
        ]
    );
    again.stop();
}

/// `SIGINT` ends the service as `SIGTERM` does.
pub fn interrupt_ends_the_service_well(stack: &Stack) {
    let mut service = stack.start();
    service.get("/hello/x", &service.jwt).expect_status(200);
    service.signal("INT");
    let status = service.wait();
    assert_eq!(status.code(), Some(0), "{status}: {}", service.stderr());
}

/// Tokens of every kind, revocations, names, last uses and records are there after a restart.
pub fn tokens_and_records_survive_a_restart(stack: &Stack) {
    let home = Home::fresh();
    let first = Service::start(stack.binary, &home);
    let mut watch = Watch::new(&first, "jwt");
    watch.get("/items/1001", "/items/{id}", 404, "client_error");
    let revoked = ["jwt", "opaque"].map(|kind| first.issue(kind, &format!("dead {kind}")));
    for issued in &revoked {
        first.get("/hello/x", &issued.token).expect_status(200);
        first.revoke(&issued.token_id).expect_status(204);
    }
    let unused = first.issue("opaque", "unused");
    let (kept, kept_id) = (watch.token.clone(), watch.token_id.clone());
    let old = [first.jwt.clone(), first.opaque.clone(), kept, unused.token];
    let old_admin = first.admin.clone();
    let records = first.recent(&kept_id);
    first.stop();

    let second = Service::start(stack.binary, &home);
    assert_eq!(second.recent(&kept_id), records);
    for token in &old {
        second.get("/hello/x", token).expect_status(200);
    }
    second.get("/admin/tokens", &old_admin).expect_status(200);
    for issued in &revoked {
        second.get("/hello/x", &issued.token).expect_status(401);
        let listed = second.listed(&issued.token_id);
        assert_eq!(text(&listed, "status"), "revoked", "{listed}");
    }
    let twice = second.ask_for_token(&new_token("opaque", "unused"));
    assert!((400..500).contains(&twice.status()), "{twice}");
    for token in [&second.jwt, &second.opaque, &second.admin] {
        second.get("/hello/x", token).expect_status(200);
    }
    second.assert_accounts_balance();
    second.stop();
}

/// The database, what SQLite keeps beside it and the signing key are their owner's alone, running and at rest.
pub fn files_are_their_owners_alone(stack: &Stack) {
    let home = Home::fresh();
    let service = Service::start(stack.binary, &home);
    service.get("/hello/x", &service.jwt).expect_status(200);
    service.recent(&service.id_of(&service.jwt));
    assert_private(&home);
    service.stop();
    assert_private(&home);
}

#[track_caller]
fn assert_private(home: &Home) {
    let mut names = Vec::new();
    for entry in fs::read_dir(home.path()).expect("the directory is there") {
        let entry = entry.expect("the directory can be read");
        let name = entry.file_name().to_string_lossy().into_owned();
        let mode = entry.metadata().expect("the file is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "the mode of {name}");
        names.push(name);
    }
    let is_key = |name: &&String| !name.starts_with("tokens.db") || name.contains("key");
    assert!(names.contains(&"tokens.db".to_owned()), "{names:?}");
    assert!(names.iter().any(|name| is_key(&name)), "no key beside the database: {names:?}");
}
