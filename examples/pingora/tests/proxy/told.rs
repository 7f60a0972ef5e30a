//! An upstream that takes a forged identity for the proxy's word lets anybody be anybody.

use token_tracker::{NewToken, TokenId};

use crate::SUCCESS;
use crate::client::{get, request};
use crate::stage::Stage;

/// The fields of the reserved namespace in a head, and those that carry or drop them.
fn told(head: &str) -> Vec<String> {
    let lines = head.lines().skip(1).map(|line| line.trim_end().to_ascii_lowercase());
    let mut told: Vec<_> = lines
        .filter(|line| {
            line.contains("token")
                || line.contains("authorization")
                || line.starts_with("connection")
        })
        .collect();
    told.sort();
    told
}

fn identity(id: TokenId, owner: &str, name: &str, scopes: &str) -> Vec<String> {
    vec![
        format!("x-token-id: {id}"),
        format!("x-token-name: {name}"),
        format!("x-token-owner: {owner}"),
        format!("x-token-scopes: {scopes}").trim_end().to_owned(),
    ]
}

#[test]
fn upstream_is_told_who_is_calling_and_never_sees_the_token() {
    let mut stage = Stage::start();
    let new = NewToken::opaque("judge@example.com", "plain").scopes(["items:read", "items:write"]);
    let (id, token) = stage.issue(new);
    let answer = stage.get("/headers?a=b", &token);
    assert_eq!(answer.status, 200, "{answer:?}");
    let head = answer.text();
    assert!(head.starts_with("GET /headers?a=b HTTP/1.1\r\n"), "{head}");
    assert!(head.to_ascii_lowercase().contains("host: example.com"), "{head}");
    assert!(!head.contains(&token), "{head}");
    assert_eq!(told(&head), identity(id, "judge@example.com", "plain", "items:read items:write"));
    stage.expect(id, &[("GET", "<unmatched>", 200, SUCCESS)]);
}

#[test]
fn printed_tokens_of_both_kinds_get_through() {
    let stage = Stage::start();
    for token in &stage.printed {
        let answer = stage.get("/headers", token);
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(answer.text().contains("demo@example.com"), "{answer:?}");
    }
}

#[test]
fn names_that_are_no_plain_ascii_are_percent_encoded() {
    let stage = Stage::start();
    let (id, token) = stage.issue(NewToken::jwt("zoë, 東京", "50% \"off\" %41"));
    let answer = stage.get("/headers", &token);
    let owner = "zo%c3%ab,%20%e6%9d%b1%e4%ba%ac";
    assert_eq!(told(answer.text().trim()), identity(id, owner, "50%25%20\"off\"%20%2541", ""));
}

#[test]
fn identity_that_a_client_claims_never_reaches_the_upstream_in_any_spelling() {
    let mut stage = Stage::start();
    let (id, token) = stage.token();
    let claims: [&[&str]; 7] = [
        &["x-token-owner: root", "X-Token-Owner: root", "X-TOKEN-ID: 1", "x-token-owner: root"],
        &["x_token_owner: root", "X_Token_Scopes: admin", "x-token_name: root", "x_token-id: 1"],
        &["X.Token.Owner: root", "x~token~id: 1", "x-token.scopes: admin", "x!token!name: root"],
        &["x-token-role: admin", "x-token-: root", "X-Token-Owner-: root"],
        &["Connection: x-token-owner, X-Token-Id, close"],
        &[
            "Connection: keep-alive, x-token-scopes",
            "x-token-scopes: admin",
            "Keep-Alive: x-token-id",
        ],
        &["Connection: Upgrade, x-token-owner, x-token-id", "Upgrade: h2c"],
    ];
    for fields in claims {
        let answer = stage.exchange(&get("/headers", &token, fields));
        assert_eq!(answer.status, 200, "{fields:?}: {answer:?}");
        let found = told(&answer.text());
        assert_eq!(found, identity(id, "judge@example.com", "plain", ""), "{fields:?}");
    }
    stage.expect(id, &[("GET", "<unmatched>", 200, SUCCESS); 7]);
}

#[test]
fn identity_claimed_behind_a_body_or_beside_an_upgrade_never_reaches_the_upstream() {
    let mut stage = Stage::start();
    let (id, token) = stage.token();
    let fields = ["Transfer-Encoding: chunked", "Trailer: x-token-owner"];
    let body = "2\r\n{}\r\n0\r\nx-token-owner: root\r\nx_token_id: 1\r\n\r\n";
    let answer = stage.exchange(&(request("POST", "/items", &token, &fields) + body));
    assert_eq!((answer.status, answer.text()), (201, "{}".to_owned()));
    let fields = [
        "Connection: Upgrade, x-token-owner",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "X_Token_Owner: root",
    ];
    assert_eq!(stage.exchange(&get("/headers", &token, &fields)).status, 200);
    stage.expect(id, &[("POST", "/items", 201, SUCCESS), ("GET", "<unmatched>", 200, SUCCESS)]);
    let own = identity(id, "judge@example.com", "plain", "");
    let [posted, upgrade] = stage.upstream.heads().try_into().unwrap();
    let posted: Vec<_> =
        told(&posted).into_iter().filter(|line| !line.starts_with("trailer:")).collect();
    assert_eq!(posted, own);
    let upgraded = [vec!["connection: upgrade".to_owned()], own].concat();
    assert_eq!(told(&upgrade), upgraded);
}
