//! A handler that is told the wrong identity serves one customer's data to another.

use std::time::Duration;

use serde_json::{Value, json};

use crate::api::{self, Issued, field, text};
use crate::moment;
use crate::service::Service;
use crate::suite::Stack;
use crate::wait;

/// The printed tokens are of the demo owner and of the kinds that their lines say.
pub fn identity_of_printed_tokens_is_told(stack: &Stack) {
    let service = stack.start();
    for (token, kind) in [(&service.jwt, "jwt"), (&service.opaque, "opaque")] {
        let me = me(&service, token);
        assert_eq!(text(&me, "kind"), kind, "{me}");
        assert_eq!(text(&me, "owner"), "demo@example.com", "{me}");
        assert!(!text(&me, "name").is_empty(), "{me}");
        assert!(!scopes(&me).contains(&json!("admin")), "{me}");
        api::time(&me, "expires_at");
        api::time(&me, "last_used_at");
    }
    let admin = me(&service, &service.admin);
    assert!(scopes(&admin).contains(&json!("admin")), "{admin}");
}

/// A token that was issued is known by what it was issued with, here and in the list.
pub fn identity_of_issued_tokens_is_told(stack: &Stack) {
    let service = stack.start();
    for kind in ["jwt", "opaque"] {
        let name = format!("nightly {kind}");
        let issued = service.issue_as(&json!({
            "owner": "ann@example.com", "name": name, "kind": kind,
            "scopes": ["read", "write"], "expires_in_s": 3600,
        }));
        assert_eq!(issued.token.split('.').count() == 3, kind == "jwt", "{issued:?}");
        let me = me(&service, &issued.token);
        let listed = service.listed(&issued.token_id);
        for seen in [&me, &listed] {
            assert_eq!(api::id(field(seen, "token_id")), issued.token_id, "{seen}");
            assert_eq!(text(seen, "owner"), "ann@example.com", "{seen}");
            assert_eq!(text(seen, "name"), name, "{seen}");
            assert_eq!(text(seen, "kind"), kind, "{seen}");
            let mut scopes = scopes(seen);
            scopes.sort_by_key(Value::to_string);
            assert_eq!(scopes, [json!("read"), json!("write")], "{seen}");
            let expires = api::time(seen, "expires_at").expect("it was given a life");
            assert!((expires - moment::now() - 3600.0).abs() < 30.0, "{seen}");
        }
        assert_eq!(text(&listed, "status"), "active", "{listed}");
    }
}

/// A token that was issued without scopes has none, and one without a life has an end only if the service says so.
pub fn token_without_scopes_has_none(stack: &Stack) {
    let service = stack.start();
    for kind in ["jwt", "opaque"] {
        let issued = service.issue(kind, &format!("plain {kind}"));
        let me = me(&service, &issued.token);
        assert!(scopes(&me).is_empty(), "{me}");
        let listed = service.listed(&issued.token_id);
        let (end, now) = (api::time(&me, "expires_at"), moment::now());
        assert_eq!(end, api::time(&listed, "expires_at"), "{me} and {listed}");
        assert!(end.is_none_or(|end| end > now), "{me}");
    }
}

/// Last use is null for a token that was never used, and a time soon after its first request.
pub fn last_use_is_null_before_the_first_request_and_a_time_after(stack: &Stack) {
    let service = stack.start();
    let unused = service.issue("jwt", "never used");
    for kind in ["jwt", "opaque"] {
        let issued = service.issue(kind, &format!("used {kind}"));
        assert_eq!(last_use(&service, &issued), None);
        service.get("/hello/x", &issued.token).expect_status(200);
        let used = wait::until("last use is listed", Duration::from_secs(5), || {
            last_use(&service, &issued).ok_or_else(|| service.listed(&issued.token_id).to_string())
        });
        assert!((used - moment::now()).abs() < 30.0, "{used}");
        wait::until("last use is told to its handler", Duration::from_secs(5), || {
            let me = me(&service, &issued.token);
            api::time(&me, "last_used_at").ok_or_else(|| me.to_string())
        });
    }
    assert_eq!(last_use(&service, &unused), None);
}

#[track_caller]
fn me(service: &Service, token: &str) -> Value {
    service.get("/me", token).expect_status(200).json()
}

#[track_caller]
fn scopes(value: &Value) -> Vec<Value> {
    api::array(field(value, "scopes"))
}

#[track_caller]
fn last_use(service: &Service, issued: &Issued) -> Option<f64> {
    api::time(&service.listed(&issued.token_id), "last_used_at")
}
