//! Numbers that do not add up with what was sent are worse than no numbers.

use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::api::{self, Issued, field, number, real};
use crate::client::Request;
use crate::service::Service;
use crate::suite::Stack;
use crate::wait;
use crate::watch::Watch;

const THREADS: usize = 4;
const REQUESTS: usize = 50;

/// The summary is the sum of what this token sent, and of nothing else.
pub fn summary_adds_up_with_what_was_sent(stack: &Stack) {
    let service = stack.start();
    let other = service.issue("opaque", "somebody else");
    service.get("/hello/x", &other.token).expect_status(200);
    let mut watch = Watch::new(&service, "jwt");
    for (times, target, route, status, outcome) in [
        (5, "/hello/x", "/hello/{name}", 200, "success"),
        (3, "/empty", "/empty", 204, "success"),
        (2, "/items/1001", "/items/{id}", 404, "client_error"),
        (1, "/fail", "/fail", 500, "server_error"),
        (1, "/admin/health", "/admin/health", 403, "denied"),
    ] {
        for _ in 0..times {
            watch.get(target, route, status, outcome);
        }
    }
    let usage = summary(&service, &watch.token, "?days=30");
    assert_eq!(number(&usage, "period_days"), 30, "{usage}");
    assert_eq!(number(&usage, "total_requests"), 12, "{usage}");
    assert_eq!(number(&usage, "successful_requests"), 8, "{usage}");
    assert_eq!(number(&usage, "blocked_requests"), 1, "{usage}");
    let endpoints = endpoints(&usage);
    assert_eq!(endpoints.first(), Some(&("/hello/{name}".to_owned(), 5)), "{usage}");
    assert_eq!(endpoints.get(1), Some(&("/empty".to_owned(), 3)), "{usage}");
    watch.expect(("GET", "/usage", 200, "success"));
    // The summary itself is a request, and it is in the next one.
    let next = summary(&service, &watch.token, "?days=1");
    assert_eq!(number(&next, "total_requests"), 13, "{next}");
    assert_eq!(number(&next, "successful_requests"), 9, "{next}");
}

/// The first summary of a token is of nothing, in numbers all the same.
pub fn summary_of_a_new_token_is_of_nothing(stack: &Stack) {
    let service = stack.start();
    let issued = service.issue("opaque", "new");
    let usage = summary(&service, &issued.token, "?days=30");
    for name in ["total_requests", "successful_requests", "blocked_requests"] {
        assert_eq!(number(&usage, name), 0, "{usage}");
    }
    assert_eq!(endpoints(&usage), [], "{usage}");
}

/// `days` is 1 to 3,650 and `limit` 1 to 1,000; all else is 400.
pub fn bounds_of_days_and_limit_are_kept(stack: &Stack) {
    let service = stack.start();
    let token = &service.opaque;
    for days in ["0", "-5", "1000000000", "abc", "3651", "99999999999999999999", "1.5", "%00"] {
        expect_bad_request(&service, &format!("/usage?days={days}"), token);
    }
    for days in ["1", "30", "3650"] {
        let usage = summary(&service, token, &format!("?days={days}"));
        assert_eq!(field(&usage, "period_days").to_string(), days, "{usage}");
    }
    let default = summary(&service, token, "");
    assert_eq!(number(&default, "period_days"), 30, "without `days`: {default}");

    let of_admin = format!("/admin/tokens/{}/recent", service.id_of(token));
    for (path, token) in [("/usage/recent", token), (of_admin.as_str(), &service.admin)] {
        for limit in ["0", "-1", "1001", "abc", "99999999999999999999"] {
            expect_bad_request(&service, &format!("{path}?limit={limit}"), token);
        }
        for limit in [1, 2, 1000] {
            let target = format!("{path}?limit={limit}");
            let records = service.get(&target, token).expect_status(200).json();
            assert!(api::array(&records).len() <= limit, "{target}: {records}");
        }
    }
}

/// Two hundred requests at once are two hundred records, and the accounts balance at every moment.
pub fn burst_is_counted_to_the_last_record(stack: &Stack) {
    let service = stack.start();
    let issued = service.issue("jwt", "burst");
    thread::scope(|scope| {
        let clients: Vec<_> =
            (0..THREADS).map(|_| scope.spawn(|| send_burst(&service, &issued))).collect();
        for _ in 0..10 {
            service.assert_accounts_balance();
        }
        for client in clients {
            client.join().expect("each request is answered");
        }
    });
    wait::until("all records are there", Duration::from_secs(10), || {
        match service.recent(&issued.token_id).len() {
            count if count >= THREADS * REQUESTS => Ok(()),
            count => Err(format!("{count} records")),
        }
    });
    let usage = summary(&service, &issued.token, "?days=1");
    assert_eq!(number(&usage, "total_requests"), 200, "{usage}");
    assert_eq!(number(&usage, "successful_requests"), 200, "{usage}");
    assert_eq!(endpoints(&usage), [("/hello/{name}".to_owned(), 200)], "{usage}");
    let health = service.assert_accounts_balance();
    assert!(health.accepted >= 200, "{health:?}");
}

fn send_burst(service: &Service, issued: &Issued) {
    let request = Request::get("/hello/burst").bearer(&issued.token);
    // Half of them on one connection, half on one each.
    let mut connection = service.client().connect();
    for count in 0..REQUESTS {
        let response = match count % 2 {
            0 => connection.exchange(&request),
            _ => service.client().send(&request),
        };
        response.expect_status(200);
    }
}

#[track_caller]
fn expect_bad_request(service: &Service, target: &str, token: &str) {
    let response = service.get(target, token);
    assert_eq!(response.status(), 400, "{target}: {response}");
}

/// A summary whose numbers agree with each other.
#[track_caller]
fn summary(service: &Service, token: &str, query: &str) -> Value {
    let response = service.get(&format!("/usage{query}"), token);
    let usage = response.expect_status(200).json();
    let total = number(&usage, "total_requests");
    let successful = number(&usage, "successful_requests");
    let blocked = number(&usage, "blocked_requests");
    assert!(successful + blocked <= total, "{usage}");
    assert!(real(&usage, "average_response_time_ms") >= 0.0, "{usage}");
    let rate = real(&usage, "success_rate");
    assert!((0.0..=1.0).contains(&rate), "{usage}");
    if total > 0 {
        let expected = successful as f64 / total as f64;
        assert!((rate - expected).abs() < 1e-9, "{usage}");
        let [p50, p95, p99] = ["p50_ms", "p95_ms", "p99_ms"].map(|name| real(&usage, name));
        assert!(0.0 <= p50 && p50 <= p95 && p95 <= p99, "{usage}");
    }
    let endpoints = endpoints(&usage);
    assert!(endpoints.is_sorted_by_key(|(_, count)| std::cmp::Reverse(*count)), "{usage}");
    let sum: u64 = endpoints.iter().map(|(_, count)| count).sum();
    assert!(sum <= total, "{usage}");
    usage
}

/// The pairs of route and count.
#[track_caller]
fn endpoints(usage: &Value) -> Vec<(String, u64)> {
    let pairs = api::array(field(usage, "top_endpoints"));
    let pair = |pair: &Value| match pair.as_array().map(Vec::as_slice) {
        Some([Value::String(route), Value::Number(count)]) => {
            (route.clone(), count.as_u64().expect("a count"))
        }
        _ => panic!("no pair of route and count: {usage}"),
    };
    pairs.iter().map(pair).collect()
}
