//! A restriction that is accepted and not enforced is worse than none: somebody relies on it.

use serde_json::{Value, json};

use super::refusals::challenge;
use crate::api::{new_token, text};
use crate::client::{Request, Response};
use crate::service::Service;
use crate::suite::Stack;
use crate::watch::Watch;

/// A suspended token is refused at once, and let in again at once when it is resumed; revoked is final.
pub fn suspended_token_is_refused_until_it_is_resumed(stack: &Stack) {
    let service = stack.start();
    for kind in ["jwt", "opaque"] {
        let mut watch = Watch::new(&service, kind);
        watch.get("/hello/x", "/hello/{name}", 200, "success");
        for _ in 0..2 {
            expect_success(&service, &watch, "suspend");
            let response = watch.send(Request::get("/hello/x"));
            assert_eq!(response.status(), 401, "{response}");
            assert!(challenge(&response).contains(r#"error="invalid_token""#), "{response}");
            let record = watch.expect(("GET", "/hello/{name}", 401, "denied"));
            assert_eq!(record.reason.as_deref(), Some("suspended"));
            let listed = service.listed(&watch.token_id);
            assert_eq!(text(&listed, "status"), "suspended", "{listed}");
            expect_success(&service, &watch, "resume");
            watch.get("/hello/x", "/hello/{name}", 200, "success");
        }
        service.revoke(&watch.token_id).expect_status(204);
        let response = act(&service, &watch.token_id, "resume", &service.admin);
        assert!((400..500).contains(&response.status()), "revoked is final: {response}");
        watch.send(Request::get("/hello/x")).expect_status(401);
        watch.expect(("GET", "/hello/{name}", 401, "denied"));
        for name in ["suspend", "resume"] {
            act(&service, "987654321", name, &service.admin).expect_status(404);
            act(&service, &watch.token_id, name, &service.opaque).expect_status(403);
        }
    }
}

/// A token that is limited to networks is refused from any other, under its own id.
pub fn token_of_another_network_is_denied_and_recorded(stack: &Stack) {
    let service = stack.start();
    for kind in ["jwt", "opaque"] {
        let near = json!(["127.0.0.0/8", "::1"]);
        let mut watch = Watch::of(&service, service.issue_as(&with(kind, "networks", &near)));
        watch.get("/hello/x", "/hello/{name}", 200, "success");
        let far = json!(["192.0.2.0/24", "2001:db8::/32"]);
        let mut watch = Watch::of(&service, service.issue_as(&with(kind, "networks", &far)));
        // What a client claims of itself is nobody's address.
        let claims = Request::get("/hello/x")
            .header("X-Forwarded-For", "192.0.2.7")
            .header("Forwarded", "for=192.0.2.7");
        for request in [Request::get("/hello/x"), claims] {
            let response = watch.send(request);
            assert_eq!(response.status(), 403, "{response}");
            let record = watch.expect(("GET", "/hello/{name}", 403, "denied"));
            assert_eq!(record.reason.as_deref(), Some("wrong_address"));
        }
    }
}

/// A token over its quota is answered with 429 and when to come back, and recorded so.
pub fn token_over_its_quota_is_told_when_to_come_back(stack: &Stack) {
    let service = stack.start();
    for (quota, reason) in [
        (json!({ "per_month": 3 }), "quota_exceeded"),
        (json!({ "rate": { "units": 3, "per_s": 86400 } }), "rate_exceeded"),
    ] {
        let mut watch = Watch::of(&service, service.issue_as(&with("opaque", "quota", &quota)));
        for _ in 0..3 {
            watch.get("/hello/x", "/hello/{name}", 200, "success");
        }
        for _ in 0..2 {
            let response = watch.send(Request::get("/hello/x"));
            assert_eq!(response.status(), 429, "{response}");
            let after = response.head.header("retry-after").expect("it says when to come back");
            let seconds: u64 = after.parse().expect("in whole seconds");
            assert!((1..=31 * 86_400).contains(&seconds), "{seconds}");
            assert_eq!(response.head.header("www-authenticate"), None, "the token is good");
            let record = watch.expect(("GET", "/hello/{name}", 429, "denied"));
            assert_eq!(record.reason.as_deref(), Some(reason));
        }
    }
}

/// What cannot be enforced is not accepted, and leaves no token behind.
pub fn bad_restriction_is_the_clients_error(stack: &Stack) {
    let service = stack.start();
    let before = service.tokens().len();
    for (name, value) in [
        ("networks", json!([])),
        ("networks", json!(["192.0.2.7/24"])),
        ("networks", json!(["10.0.0.0/8", "10.1.0.0/16"])),
        ("networks", json!(["nowhere"])),
        ("networks", json!("10.0.0.0/8")),
        ("quota", json!({})),
        ("quota", json!({ "per_day": 0 })),
        ("quota", json!({ "per_day": -1 })),
        ("quota", json!({ "per_day": u64::MAX })),
        ("quota", json!({ "per_week": 5 })),
        ("quota", json!({ "rate": { "units": 0 } })),
        ("not_before", json!("tomorrow")),
        ("network", json!(["10.0.0.0/8"])),
    ] {
        let response = service.ask_for_token(&with("opaque", name, &value));
        assert!((400..500).contains(&response.status()), "{name} {value}: {response}");
    }
    assert_eq!(service.tokens().len(), before, "a refused request left a token");
}

fn act(service: &Service, token_id: &str, act: &str, token: &str) -> Response {
    service.client().send(&Request::post(format!("/admin/tokens/{token_id}/{act}")).bearer(token))
}

fn expect_success(service: &Service, watch: &Watch<'_>, name: &str) {
    let response = act(service, &watch.token_id, name, &service.admin);
    assert!((200..300).contains(&response.status()), "{name}: {response}");
}

/// A body that asks for a token with one field more.
fn with(kind: &str, name: &str, value: &Value) -> Value {
    let mut body = new_token(kind, &format!("{kind} {name} {value}"));
    body[name] = value.clone();
    body
}
