//! A request that is recorded twice, not at all, or under its raw path makes every sum above it wrong.

use std::time::Duration;

use serde_json::{Value, json};

use crate::api::{self, Record, id};
use crate::client::Request;
use crate::suite::Stack;
use crate::wait;
use crate::watch::Watch;

/// Text, no content, failure and delay are recorded once each, as they were answered.
pub fn plain_routes_are_recorded_once_as_answered(stack: &Stack) {
    let service = stack.start();
    for kind in ["jwt", "opaque"] {
        let mut watch = Watch::new(&service, kind);
        let hello = watch.get("/hello/judge", "/hello/{name}", 200, "success");
        assert_ne!(hello.response_bytes, 0, "{hello:?}");
        let empty = watch.get("/empty", "/empty", 204, "success");
        assert_eq!(empty.response_bytes, 0, "{empty:?}");
        watch.get("/fail", "/fail", 500, "server_error");
        let slow = watch.get("/slow?ms=50", "/slow", 200, "success");
        assert!(slow.duration_us >= 45_000, "{slow:?}");
        watch.get("/me", "/me", 200, "success");
        watch.expect_nothing_more();
    }
    service.assert_accounts_balance();
}

/// Items are recorded by template and status, and nonsense sent to them is the client's error.
pub fn items_are_recorded_once_as_answered(stack: &Stack) {
    let service = stack.start();
    let mut watch = Watch::new(&service, "jwt");
    let created = watch.send(Request::post("/items").json(&json!({ "colour": "red" })));
    let body = created.expect_status(201);
    assert!(!id(&body.json()["id"]).is_empty());
    let record = watch.expect(("POST", "/items", 201, "success"));
    assert_eq!(record.response_bytes, body.length());

    let item = watch.send(Request::get("/items/7")).expect_status(200);
    assert_eq!(id(&item.json()["id"]), "7");
    let record = watch.expect(("GET", "/items/{id}", 200, "success"));
    assert_eq!(record.response_bytes, item.length());

    watch.get("/items/1000", "/items/{id}", 200, "success");
    watch.get("/items/1001", "/items/{id}", 404, "client_error");

    let refused = watch.send(Request::post("/items").json_text("{\"colour\": "));
    let status = refused.status();
    assert!((400..500).contains(&status), "{refused}");
    watch.expect(("POST", "/items", status, "client_error"));
    watch.expect_nothing_more();
}

/// Neither what a template stands for nor a query shows in a route.
pub fn route_shows_no_path_and_no_query(stack: &Stack) {
    let service = stack.start();
    let mut watch = Watch::new(&service, "opaque");
    for (target, route) in [
        ("/hello/a%20secret", "/hello/{name}"),
        ("/hello/%C3%A9t%C3%A9?token=secret", "/hello/{name}"),
        ("/items/%31?path=/secret", "/items/{id}"),
        ("/slow?ms=1&secret=%2F", "/slow"),
    ] {
        watch.get(target, route, 200, "success");
    }
    watch.expect_nothing_more();
}

/// What matches no route is recorded once as `<unmatched>`; a wrong method as the error that it got.
pub fn unknown_route_is_recorded_as_unmatched(stack: &Stack) {
    let service = stack.start();
    let mut watch = Watch::new(&service, "jwt");
    for target in ["/nowhere", "/hello/a/b/c", "/nowhere/secret?x=1"] {
        watch.get(target, "<unmatched>", 404, "client_error");
    }
    let response = watch.send(Request::delete("/hello/x"));
    let record = watch.next();
    assert!(matches!(response.status(), 404 | 405), "{response}");
    let is_known = matches!(record.route.as_str(), "<unmatched>" | "/hello/{name}");
    assert!(is_known, "{record:?}");
    let status = u64::from(response.status());
    assert_eq!(record.shape(), ("DELETE", record.route.as_str(), status, "client_error"));
    watch.expect_nothing_more();
}

/// Requests that share a connection, also sent before the answer to the last, are recorded one each.
pub fn requests_on_one_connection_are_recorded_one_each(stack: &Stack) {
    let service = stack.start();
    let mut watch = Watch::new(&service, "opaque");
    let mut connection = service.client().connect();
    for (target, route) in [
        ("/hello/x", "/hello/{name}"),
        ("/empty", "/empty"),
        ("/stream-known?n=2&every_ms=5", "/stream-known"),
        ("/stream?n=2&every_ms=5", "/stream"),
        ("/items/3", "/items/{id}"),
    ] {
        let request = watch.sign(Request::get(target));
        let response = connection.exchange(&request);
        // The connection stays open: the record must not wait for its end.
        let status = if target == "/empty" { 204 } else { 200 };
        let record = watch.expect(("GET", route, status, "success"));
        assert_eq!(record.response_bytes, response.length(), "{response}");
    }
    for _ in 0..2 {
        connection.send(&watch.sign(Request::get("/hello/pipelined")));
    }
    for _ in 0..2 {
        let response = connection.receive(false).expect("both are answered");
        response.expect_status(200);
    }
    drop(connection);
    let both = wait::until("both are recorded", Duration::from_secs(5), || {
        let records = service.recent(&watch.token_id);
        match records.len() {
            7.. => Ok(records),
            few => Err(format!("{few} records")),
        }
    });
    assert_eq!(both.len(), 7, "{both:?}");
}

/// A token reads its own records: newest first, no more than it asked for, the same as an admin reads.
pub fn own_records_are_newest_first_and_limited(stack: &Stack) {
    let service = stack.start();
    let mut watch = Watch::new(&service, "jwt");
    for target in ["/items/1", "/items/2000", "/items/3"] {
        watch.send(Request::get(target));
        watch.next();
    }
    let as_admin = service.recent(&watch.token_id);
    let statuses: Vec<_> = as_admin.iter().map(|record| record.status).collect();
    assert_eq!(statuses, [200, 404, 200], "newest first");
    assert!(as_admin.is_sorted_by(|newer, older| newer.at >= older.at), "{as_admin:?}");

    let two = own(&watch.send(Request::get("/usage/recent?limit=2")).expect_status(200).json());
    assert_eq!(two, as_admin[..2]);
    watch.expect(("GET", "/usage/recent", 200, "success"));
    let all = own(&watch.send(Request::get("/usage/recent")).expect_status(200).json());
    assert_eq!(all[1..], as_admin[..], "without a limit");
    assert_eq!(all[0].shape(), ("GET", "/usage/recent", 200, "success"));
    watch.expect(("GET", "/usage/recent", 200, "success"));
    watch.expect_nothing_more();
}

fn own(records: &Value) -> Vec<Record> {
    api::array(records).iter().map(Record::parse).collect()
}
