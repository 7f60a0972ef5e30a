//! A fault of the storage that comes out as a 401 sends every client to ask for a new token; one that fails requests
//! for the sake of bookkeeping is worse than no bookkeeping.

use std::thread;
use std::time::Duration;

use rusqlite::Connection;

use crate::service::Service;
use crate::suite::Stack;

/// How long a service may rely on what it knew of a token before it has to look again.
const FRESHNESS: Duration = Duration::from_millis(300);

/// Somebody else's hand in the database of a service.
fn execute(service: &Service, sql: &str) {
    let connection =
        Connection::open(service.home().database()).expect("the database can be opened");
    connection.busy_timeout(Duration::from_secs(5)).expect("a timeout can be set");
    connection.execute_batch(sql).expect("the database can be changed");
}

/// Where nobody can tell whether a token is good, the answer is 503 and challenges nobody.
pub fn storage_fault_during_authentication_is_503(stack: &Stack) {
    let service = stack.start();
    let fresh = service.issue("opaque", "not seen before");
    service.get("/hello/x", &service.jwt).expect_status(200);
    execute(&service, "ALTER TABLE catalogue RENAME TO lost; ALTER TABLE changes RENAME TO gone;");
    thread::sleep(FRESHNESS);
    for token in [&fresh.token, &service.jwt] {
        let response = service.get("/hello/x", token).expect_status(503);
        assert_eq!(response.head.header("www-authenticate"), None, "a fault challenges nobody");
    }
    service.get("/hello/x", "tt_forged").expect_status(401);
    execute(&service, "ALTER TABLE lost RENAME TO catalogue; ALTER TABLE gone RENAME TO changes;");
    service.get("/hello/x", &fresh.token).expect_status(200);
}

/// Where records cannot be written, requests go on, and the records are there when they can be.
pub fn storage_fault_during_recording_fails_no_request(stack: &Stack) {
    let service = stack.start();
    let issued = service.issue("opaque", "laptop");
    execute(&service, "ALTER TABLE usage_log RENAME TO lost");
    for _ in 0..5 {
        service.get("/hello/x", &issued.token).expect_status(200);
    }
    assert_eq!(service.assert_accounts_balance().dropped, 0);
    execute(&service, "ALTER TABLE lost RENAME TO usage_log");
    crate::wait::until("the records are written", Duration::from_secs(10), || {
        let response = service.get("/usage/recent", &service.admin);
        if response.status() == 200 { Ok(()) } else { Err(response.text()) }
    });
    assert_eq!(service.recent(&issued.token_id).len(), 5);
}
