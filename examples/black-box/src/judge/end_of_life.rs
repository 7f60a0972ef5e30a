//! A token that still works after its end is a key in a stranger's hand.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::refusals::challenge;
use crate::api::{self, text};
use crate::client::Request;
use crate::moment;
use crate::service::Service;
use crate::suite::Stack;
use crate::wait;
use crate::watch::Watch;

/// Longer than a revocation takes, so that no loop is without an end.
const LOAD_BOUND: Duration = Duration::from_secs(20);

/// A revoked token is refused at once, though it was in use, and its refusal is recorded under it.
pub fn revoked_token_is_refused_by_its_next_request(stack: &Stack) {
    let service = stack.start();
    for kind in ["jwt", "opaque"] {
        let mut watch = Watch::new(&service, kind);
        watch.get("/hello/x", "/hello/{name}", 200, "success");
        service.revoke(&watch.token_id).expect_status(204);
        expect_denied(&mut watch);
        service.revoke(&watch.token_id).expect_status(204);
        expect_denied(&mut watch);
        let listed = service.listed(&watch.token_id);
        assert_eq!(text(&listed, "status"), "revoked", "{listed}");
        assert_eq!(service.recent(&watch.token_id).len(), 3);
    }
    service.assert_accounts_balance();
}

/// No request that starts after the revocation is answered gets in, however busy the token is.
pub fn revoked_token_is_refused_under_load(stack: &Stack) {
    let service = stack.start();
    let issued = service.issue("opaque", "busy");
    let (is_revoked, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    let hammer = || {
        let started = Instant::now();
        let mut connection = service.client().connect();
        let request = Request::get("/hello/x").bearer(&issued.token);
        while started.elapsed() < LOAD_BOUND {
            let was_revoked = is_revoked.load(Ordering::SeqCst);
            let status = connection.exchange(&request).status();
            match (was_revoked, status) {
                (false, 200) => served.fetch_add(1, Ordering::SeqCst),
                (false, 401) => continue,
                (true, 401) => return,
                (_, status) => panic!("{status}, revoked: {was_revoked}"),
            };
        }
        panic!("the revocation never came");
    };
    thread::scope(|scope| {
        let clients = [scope.spawn(hammer), scope.spawn(hammer)];
        wait::until("the token is in use", LOAD_BOUND, || match served.load(Ordering::SeqCst) {
            20.. => Ok(()),
            few => Err(format!("{few} requests")),
        });
        service.revoke(&issued.token_id).expect_status(204);
        is_revoked.store(true, Ordering::SeqCst);
        for client in clients {
            client.join().expect("no request got in after the revocation");
        }
    });
}

/// The name of a revoked token can be given again, to another token.
pub fn name_of_a_revoked_token_is_free_again(stack: &Stack) {
    let service = stack.start();
    let first = service.issue("jwt", "reused");
    service.revoke(&first.token_id).expect_status(204);
    let second = service.issue("jwt", "reused");
    assert_ne!(first.token_id, second.token_id);
    service.get("/hello/x", &first.token).expect_status(401);
    service.get("/hello/x", &second.token).expect_status(200);
    let listed = service.listed(&first.token_id);
    assert_eq!(text(&listed, "status"), "revoked", "{listed}");
    let listed = service.listed(&second.token_id);
    assert_eq!(text(&listed, "status"), "active", "{listed}");
}

/// An expired token is refused for a reason of its own, though it was in use.
pub fn expired_token_is_refused_with_its_own_reason(stack: &Stack) {
    let service = stack.start();
    let mut watched = ["jwt", "opaque"].map(|kind| {
        let body = json!({
            "owner": "judge@example.com", "name": format!("short {kind}"), "kind": kind,
            "scopes": [], "expires_in_s": 3,
        });
        Watch::of(&service, service.issue_as(&body))
    });
    for watch in &mut watched {
        watch.get("/hello/x", "/hello/{name}", 200, "success");
    }
    let mut revoked = Watch::new(&service, "opaque");
    service.revoke(&revoked.token_id).expect_status(204);
    let reason_of_revoked = expect_denied(&mut revoked);
    for watch in &mut watched {
        wait_for_end(&service, &watch.token_id);
        let reason = expect_denied(watch);
        assert_ne!(reason, reason_of_revoked);
        let listed = service.listed(&watch.token_id);
        assert_eq!(text(&listed, "status"), "expired", "{listed}");
        assert_eq!(service.recent(&watch.token_id).len(), 2);
    }
}

/// A denied request with a dead token never reaches its handler.
pub fn dead_token_reaches_no_handler(stack: &Stack) {
    let service = stack.start();
    let admin = service.issue_as(&json!({
        "owner": "judge@example.com", "name": "admin", "kind": "jwt", "scopes": ["admin"],
    }));
    service.get("/admin/health", &admin.token).expect_status(200);
    service.revoke(&admin.token_id).expect_status(204);
    let body = api::new_token("opaque", "smuggled");
    let request = Request::post("/admin/tokens").bearer(&admin.token).json(&body);
    service.client().send(&request).expect_status(401);
    let names: Vec<_> = service.tokens().iter().map(|one| text(one, "name")).collect();
    assert!(!names.contains(&"smuggled".to_owned()), "{names:?}");
}

/// The next request is refused as an invalid token and recorded; gives the reason.
#[track_caller]
fn expect_denied(watch: &mut Watch<'_>) -> String {
    let response = watch.send(Request::get("/hello/x"));
    assert_eq!(response.status(), 401, "{response}");
    let challenge = challenge(&response);
    assert!(challenge.contains(r#"error="invalid_token""#), "{challenge}");
    let record = watch.expect(("GET", "/hello/{name}", 401, "denied"));
    record.reason.expect("a denied record has a reason")
}

/// Sleeps until just after the listed end of a token.
#[track_caller]
fn wait_for_end(service: &Service, token_id: &str) {
    let listed = service.listed(token_id);
    let end = api::time(&listed, "expires_at").expect("it was given a life");
    let left = end - moment::now();
    assert!(left < 4.5, "its life is not three seconds: {listed}");
    thread::sleep(Duration::from_secs_f64(left.max(0.0) + 0.05));
}
