//! What a client may ask for and hardly ever does is where a route, a method or a second record slips through.

use crate::client::{Reply, Request};
use crate::exceptions::Exception;
use crate::suite::Stack;
use crate::watch::Watch;

/// A method that no route has is refused; if it is recorded, then once, and one that is not registered as `<other>`.
pub fn unusual_method_is_refused_and_never_taken_for_another(stack: &Stack) {
    let service = stack.start();
    let mut watch = Watch::new(&service, "opaque");
    let long = "A".repeat(10_000);
    for (method, recorded) in [
        ("BREW", "<other>"),
        ("get", "<other>"),
        ("Get", "<other>"),
        ("PROPFIND", "<other>"),
        ("TRACE", "TRACE"),
        (long.as_str(), "<other>"),
    ] {
        let request = watch.sign(Request::new(method, "/hello/x"));
        let mut answered = None;
        if let Reply::Answered(response) = service.client().attempt(&request) {
            let is_refused = matches!(response.status(), 400..=499 | 501);
            assert!(is_refused, "{}: {response}", request.line());
            answered = Some(u64::from(response.status()));
        }
        match watch.take().as_slice() {
            // Refused before anybody was authenticated: the server knows no such method.
            [] if !matches!(answered, Some(404 | 405)) => {}
            [one] => {
                let route = one.route.as_str();
                assert!(matches!(route, "<unmatched>" | "/hello/{name}"), "{one:?}");
                assert_eq!((one.method.as_str(), Some(one.status)), (recorded, answered));
                let outcome = if one.status == 501 { "server_error" } else { "client_error" };
                assert_eq!(one.outcome, outcome, "{one:?}");
            }
            records => panic!("{}, answered {answered:?}: {records:?}", request.line()),
        }
    }
    watch.expect_nothing_more();
    service.assert_accounts_balance();
}

/// A target in absolute form is served as its path is (RFC 9112 §3.2.2), and recorded under its route.
pub fn absolute_target_is_recorded_under_its_route(stack: &Stack) {
    let service = stack.start();
    let mut watch = Watch::new(&service, "jwt");
    for (path, route, status, outcome) in [
        ("/hello/x", "/hello/{name}", 200, "success"),
        ("/items/7?secret=1", "/items/{id}", 200, "success"),
        ("/items/1001", "/items/{id}", 404, "client_error"),
        ("/nowhere", "<unmatched>", 404, "client_error"),
    ] {
        watch.get(&format!("http://127.0.0.1{path}"), route, status, outcome);
    }
    // Nor is a query in it another credential that goes unseen.
    let twice = watch.sign(Request::get("http://127.0.0.1/hello/x?access_token=x"));
    let response = service.client().send(&twice);
    assert!(matches!(response.status(), 400 | 401), "{response}");
    let open = service.client().send(&Request::get("http://127.0.0.1/hello/x"));
    open.expect_status(401);
    watch.expect_nothing_more();
}

/// `OPTIONS *` asks of the server as a whole: whatever its answer, it is recorded once at most, under no route.
pub fn options_of_the_whole_server_are_recorded_under_no_route(stack: &Stack) {
    let service = stack.start();
    let mut watch = Watch::new(&service, "opaque");
    let request = watch.sign(Request::new("OPTIONS", "*"));
    let mut answered = None;
    if let Reply::Answered(response) = service.client().attempt(&request) {
        assert!(matches!(response.status(), 200..=299 | 400..=499 | 501), "{response}");
        answered = Some(response.status());
    }
    match watch.take().as_slice() {
        [] if answered != Some(404) => {}
        [one] => {
            let outcome = if one.status < 400 { "success" } else { "client_error" };
            let status = u64::from(answered.unwrap_or(499));
            assert_eq!(one.shape(), ("OPTIONS", "<unmatched>", status, outcome), "{one:?}");
        }
        records => panic!("answered {answered:?}: {records:?}"),
    }
    watch.expect_nothing_more();
    service.assert_accounts_balance();
}

/// More fields than any client sends are served and recorded, or refused; far more are refused.
pub fn many_header_fields_are_served_or_refused(stack: &Stack) {
    let service = stack.start();
    let mut watch = Watch::new(&service, "jwt");
    for (count, may_be_served) in [(90, true), (150, true), (20_000, false)] {
        let fields = (0..count).fold(Request::get("/hello/x"), |request, _| {
            request.header("X-Filler", "a field like many others")
        });
        let request = watch.sign(fields);
        match service.client().attempt(&request) {
            Reply::Answered(response) if response.status() == 200 => {
                let is_expected = may_be_served || stack.has(Exception::HeadsMayBeHuge);
                assert!(is_expected, "{count} fields: {response}");
                watch.expect(("GET", "/hello/{name}", 200, "success"));
            }
            Reply::Answered(response) => {
                assert!(count > 100, "{count} fields: {response}");
                assert!((400..500).contains(&response.status()), "{count} fields: {response}");
            }
            Reply::Closed => assert!(count > 100, "closed at {count} fields"),
        }
    }
    watch.expect_nothing_more();
    service.assert_accounts_balance();
}
