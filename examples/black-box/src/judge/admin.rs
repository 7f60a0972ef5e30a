//! An admin route that answers without the scope, names a secret, or breaks on bad input gives the whole service away.

use serde_json::{Value, json};

use super::refusals::challenge;
use crate::api::{self, field, new_token, number, text};
use crate::client::Request;
use crate::suite::Stack;
use crate::watch::Watch;

/// Without the scope every admin route is 403 `insufficient_scope`, recorded as denied and counted as blocked.
pub fn route_out_of_scope_is_denied_and_recorded(stack: &Stack) {
    let service = stack.start();
    for kind in ["jwt", "opaque"] {
        let mut watch = Watch::new(&service, kind);
        let own = format!("/admin/tokens/{}", watch.token_id);
        for (method, request, route) in [
            ("GET", Request::get("/admin/tokens"), "/admin/tokens"),
            (
                "POST",
                Request::post("/admin/tokens").json(&new_token("jwt", "more")),
                "/admin/tokens",
            ),
            ("DELETE", Request::delete(&own), "/admin/tokens/{token_id}"),
            ("GET", Request::get(format!("{own}/recent")), "/admin/tokens/{token_id}/recent"),
            ("GET", Request::get("/admin/health"), "/admin/health"),
        ] {
            let response = watch.send(request);
            assert_eq!(response.status(), 403, "{route}: {response}");
            let challenge = challenge(&response);
            let is_named = challenge.contains(r#"error="insufficient_scope""#);
            assert!(is_named, "{route}: {challenge}");
            watch.expect((method, route, 403, "denied"));
        }
        let usage = watch.send(Request::get("/usage?days=1")).expect_status(200).json();
        assert_eq!(number(&usage, "blocked_requests"), 5, "{usage}");
        assert_eq!(number(&usage, "total_requests"), 5, "{usage}");
        assert_eq!(number(&usage, "successful_requests"), 0, "{usage}");
        watch.expect(("GET", "/usage", 200, "success"));
        watch.expect_nothing_more();
    }
}

/// A token that was issued with the scope can administer.
pub fn issued_admin_token_can_administer(stack: &Stack) {
    let service = stack.start();
    let deputy = service.issue_as(&json!({
        "owner": "deputy@example.com", "name": "deputy", "kind": "opaque", "scopes": ["admin"],
    }));
    service.get("/admin/tokens", &deputy.token).expect_status(200);
    service.get("/admin/health", &deputy.token).expect_status(200);
    // A scope is a word of its own, not the start of one.
    for scope in ["administrator", "admi", "Admin", "read:admin"] {
        let body = json!({
            "owner": "deputy@example.com", "name": scope, "kind": "jwt", "scopes": [scope],
        });
        let answer = service.ask_for_token(&body);
        if answer.status() == 201 {
            let token = text(&answer.json(), "token");
            service.get("/admin/tokens", &token).expect_status(403);
        } else {
            assert!((400..500).contains(&answer.status()), "{scope}: {answer}");
        }
    }
}

/// What cannot be issued is the client's error, never the server's, and leaves no token behind.
pub fn bad_request_for_a_token_is_the_clients_error(stack: &Stack) {
    let service = stack.start();
    service.issue("opaque", "taken");
    let before = service.tokens().len();
    for body in [
        new_token("paper", "x"),
        new_token("opaque", "taken"),
        new_token("jwt", "taken"),
        changed("owner", json!("")),
        changed("owner", json!(7)),
        changed("scopes", json!("admin")),
        changed("scopes", json!([1])),
        changed("expires_in_s", json!(-5)),
        changed("expires_in_s", json!("soon")),
        missing("owner"),
        missing("name"),
        missing("kind"),
        json!([]),
        json!(null),
        json!({}),
    ] {
        let response = service.ask_for_token(&body);
        let is_clients = (400..500).contains(&response.status());
        assert!(is_clients, "{body}: {response}");
    }
    for text in ["", "{", "owner=x", "{\"owner\": \"\\ud800\"}"] {
        let response = service.ask_for_token_in(text);
        assert!((400..500).contains(&response.status()), "{text:?}: {response}");
    }
    assert_eq!(service.tokens().len(), before, "a refused request left a token");
}

/// What is at the edge of what can be issued is either issued or refused, never the server's error.
pub fn odd_request_for_a_token_is_no_server_error(stack: &Stack) {
    let service = stack.start();
    for body in [
        changed("name", json!("")),
        changed("name", json!("x".repeat(100_000))),
        changed("name", json!("\u{0}\n\u{202e}'; drop table tokens; --")),
        changed("owner", json!("x".repeat(100_000))),
        changed("scopes", json!([""])),
        changed("scopes", json!(["a b", "\"", "é"])),
        changed("scopes", json!(vec!["x"; 10_000])),
        changed("expires_in_s", json!(0)),
        changed("expires_in_s", json!(i64::MAX)),
        changed("expires_in_s", json!(u64::MAX)),
        changed("expires_in_s", json!(1e300)),
        changed("expires_in_s", json!(null)),
    ] {
        let response = service.ask_for_token(&body);
        let status = response.status();
        let shown: String = body.to_string().chars().take(200).collect();
        assert!(status == 201 || (400..500).contains(&status), "{shown}: {response}");
    }
    service.tokens();
    service.get("/hello/x", &service.jwt).expect_status(200);
    service.assert_accounts_balance();
}

/// The same name may be used by two owners.
pub fn name_is_unique_for_one_owner_only(stack: &Stack) {
    let service = stack.start();
    let mut body = new_token("opaque", "export");
    let one = service.issue_as(&body);
    body["owner"] = json!("other@example.com");
    let other = service.issue_as(&body);
    assert_ne!(one.token_id, other.token_id);
    assert_ne!(one.token, other.token);
    let again = service.ask_for_token(&body);
    assert!((400..500).contains(&again.status()), "{again}");
}

/// The list names every token with all that is known of it, and no secret.
pub fn list_of_tokens_holds_no_secret(stack: &Stack) {
    let service = stack.start();
    let issued = [service.issue("jwt", "a"), service.issue("opaque", "b")];
    let mut tokens: Vec<&str> = vec![&service.jwt, &service.opaque, &service.admin];
    tokens.extend(issued.iter().map(|issued| issued.token.as_str()));
    let list = service.get("/admin/tokens", &service.admin).expect_status(200);
    let text_of_list = list.text();
    for token in &tokens {
        for part in token.split('.').filter(|part| part.len() > 8) {
            assert!(!text_of_list.contains(part), "the list holds a secret: {list}");
        }
    }
    let listed = api::array(&list.json());
    assert!(listed.len() >= tokens.len(), "{text_of_list}");
    for token in &listed {
        assert_eq!(text(token, "status"), "active", "{token}");
        let kind = text(token, "kind");
        assert!(matches!(kind.as_str(), "jwt" | "legacy_jwt" | "opaque"), "{token}");
        assert!(!text(token, "owner").is_empty(), "{token}");
        text(token, "name");
        api::id(field(token, "token_id"));
        api::array(field(token, "scopes"));
        api::time(token, "created_at").expect("it was created");
        api::time(token, "expires_at");
        api::time(token, "last_used_at");
    }
    let stderr = service.stderr();
    let is_logged = tokens.iter().any(|token| stderr.contains(token));
    assert!(!is_logged, "standard error holds a secret: {stderr}");
}

/// Unknown ids are not found, and what is no id is the client's error.
pub fn unknown_token_id_is_not_found(stack: &Stack) {
    let service = stack.start();
    let known: Vec<_> = service.tokens().iter().map(|one| api::id(&one["token_id"])).collect();
    let unknown = unknown_id(&known);
    service.revoke(&unknown).expect_status(404);
    let recent = format!("/admin/tokens/{unknown}/recent");
    service.get(&recent, &service.admin).expect_status(404);
    let long = "9".repeat(300);
    for garbage in ["not-an-id", "-1", "%00", "%FF", "..%2F..", "1%20or%201=1", long.as_str()] {
        let revoked = service.revoke(garbage);
        assert!((400..500).contains(&revoked.status()), "{garbage}: {revoked}");
        let recent = format!("/admin/tokens/{garbage}/recent");
        let recent = service.get(&recent, &service.admin);
        assert!((400..500).contains(&recent.status()), "{garbage}: {recent}");
    }
    let statuses: Vec<_> = service.tokens().iter().map(|one| text(one, "status")).collect();
    assert_eq!(statuses, vec!["active"; known.len()]);
}

/// An id of the same form as these that is none of them.
fn unknown_id(known: &[String]) -> String {
    let one = known.first().expect("tokens were printed");
    if one.bytes().all(|byte| byte.is_ascii_digit()) {
        return "987654321".to_owned();
    }
    let start = &one[..one.len() - 1];
    let mut ids = ('0'..='9').map(|last| format!("{start}{last}"));
    ids.find(|id| !known.contains(id)).expect("ten ids are not all known")
}

/// A good body with one field set to this.
fn changed(name: &str, value: Value) -> Value {
    let mut body = new_token("opaque", "odd");
    body[name] = value;
    body
}

/// A good body but for one field.
fn missing(name: &str) -> Value {
    let mut body = new_token("opaque", "lacking");
    body.as_object_mut().expect("it is an object").remove(name);
    body
}
