//! A refusal that is worded wrongly sends clients the wrong way; one that is recorded under a token it does not prove
//! lets strangers write into the accounts of others.

use std::time::Duration;

use crate::client::{Request, Response};
use crate::service::Service;
use crate::suite::Stack;
use crate::wait;
use crate::watch::Watch;

/// Without a token: 401 with a bare challenge (RFC 6750 §3.1), on every kind of route.
pub fn request_without_a_token_is_challenged_without_an_error(stack: &Stack) {
    let service = stack.start();
    for request in [
        Request::get("/hello/x"),
        Request::get("/items/1"),
        Request::post("/items").json_text("{}"),
        Request::head("/stream"),
        Request::get("/slow?ms=1"),
        Request::get("/me"),
        Request::get("/usage"),
        Request::get("/usage/recent"),
        Request::get("/admin/tokens"),
        Request::get("/admin/health"),
        Request::get("/hello/x").header("Authorization", "Basic dXNlcjpwYXNz"),
    ] {
        let line = request.line();
        let response = service.client().send(&request);
        assert_eq!(response.status(), 401, "{line}: {response}");
        let challenge = challenge(&response);
        assert!(!challenge.contains("error="), "{line}: {challenge}");
    }
}

/// Garbage, forged and altered tokens: 401 `invalid_token`, one stranger each, and no record.
pub fn bad_tokens_are_invalid_strangers_without_a_record(stack: &Stack) {
    let service = stack.start();
    let mut watched =
        [Watch::printed(&service, &service.jwt), Watch::printed(&service, &service.opaque)];
    let before = service.health().strangers;
    let bad = [
        "garbage".to_owned(),
        "a.b.c".to_owned(),
        altered_part(&service.jwt, 2),
        altered_part(&service.jwt, 1),
        altered_part(&service.jwt, 0),
        unsigned(&service.jwt),
        altered(&service.opaque),
    ];
    for (count, token) in (1..).zip(&bad) {
        let response = service.get("/hello/x", token);
        assert_eq!(response.status(), 401, "{token}: {response}");
        let challenge = challenge(&response);
        assert!(challenge.contains(r#"error="invalid_token""#), "{token}: {challenge}");
        assert!(!response.text().contains(token.as_str()), "the token comes back: {response}");
        expect_strangers(&service, before + count);
    }
    for watch in &mut watched {
        watch.expect_nothing_more();
    }
    let count = u64::try_from(bad.len()).expect("they are few");
    assert_eq!(service.health().strangers, before + count);
}

/// The scheme is compared without regard to case (RFC 9110 §11.1).
pub fn scheme_is_case_insensitive(stack: &Stack) {
    let service = stack.start();
    let mut watch = Watch::new(&service, "jwt");
    for scheme in ["Bearer", "bearer", "BEARER", "bEaReR"] {
        let header = format!("{scheme} {}", watch.token);
        let request = Request::get("/hello/x").header("Authorization", header);
        service.client().send(&request).expect_status(200);
        watch.expect(("GET", "/hello/{name}", 200, "success"));
    }
    watch.expect_nothing_more();
}

/// Two credentials, be they the same: 400 or 401, and no record.
pub fn two_credentials_in_one_request_are_refused_without_a_record(stack: &Stack) {
    let service = stack.start();
    let mut one = Watch::new(&service, "jwt");
    let mut other = Watch::new(&service, "opaque");
    let headers = |first: &str, second: &str| Request::get("/hello/x").bearer(first).bearer(second);
    let list = |first: &str, second: &str| {
        let header = format!("Bearer {first}, Bearer {second}");
        Request::get("/hello/x").header("Authorization", header)
    };
    for request in [
        headers(&one.token, &one.token),
        headers(&one.token, &other.token),
        headers(&other.token, "garbage"),
        headers("garbage", &other.token),
        list(&one.token, &one.token),
        list(&other.token, &one.token),
        list(&other.token, &other.token),
        Request::get("/hello/x").header("Authorization", "Bearer"),
        Request::get("/hello/x").header("Authorization", format!("Bearer {0} {0}", one.token)),
    ] {
        let response = service.client().send(&request);
        let is_refused = matches!(response.status(), 400 | 401);
        assert!(is_refused, "{response} to {}", request_text(&request));
    }
    one.expect_nothing_more();
    other.expect_nothing_more();
}

/// The challenge, which must be for a bearer token.
#[track_caller]
pub(crate) fn challenge(response: &Response) -> String {
    let challenge = response.head.header("www-authenticate").unwrap_or_default();
    assert!(challenge.starts_with("Bearer"), "the challenge of {response}");
    challenge.to_owned()
}

/// Waits until exactly so many strangers are counted.
#[track_caller]
fn expect_strangers(service: &Service, count: u64) {
    let strangers = wait::until("strangers are counted", Duration::from_secs(5), || {
        let strangers = service.health().strangers;
        if strangers >= count { Ok(strangers) } else { Err(format!("{strangers} of {count}")) }
    });
    assert_eq!(strangers, count, "strangers");
}

/// The token with one character in its middle changed.
fn altered(token: &str) -> String {
    let middle = token.len() / 2;
    let other = match &token[middle..=middle] {
        "A" => "B",
        _ => "A",
    };
    format!("{}{other}{}", &token[..middle], &token[middle + 1..])
}

/// The JWT with one character in the middle of one of its parts changed.
fn altered_part(token: &str, part: usize) -> String {
    let mut parts: Vec<_> = token.split('.').map(str::to_owned).collect();
    parts[part] = altered(&parts[part]);
    parts.join(".")
}

/// The claims of the JWT under the header `{"alg":"none"}` and without a signature.
fn unsigned(token: &str) -> String {
    let claims = token.split('.').nth(1).expect("a JWT has three parts");
    format!("eyJhbGciOiJub25lIn0.{claims}.")
}

fn request_text(request: &Request) -> String {
    String::from_utf8_lossy(&request.to_bytes()).into_owned()
}
