//! A service that starts wrongly, or not at all without saying so, would be judged on nothing.

use std::fs;
use std::net::TcpListener;
use std::time::Duration;

use crate::client::{Reply, Request};
use crate::process::Process;
use crate::service::Home;
use crate::suite::Stack;
use crate::watch::Watch;

const FAILURE_BOUND: Duration = Duration::from_secs(10);

/// The four lines are printed, and the three tokens differ and are of their kinds.
pub fn service_prints_where_it_listens_and_three_tokens(stack: &Stack) {
    let service = stack.start();
    assert!(service.address.ip().is_loopback(), "{}", service.address);
    assert_ne!(service.address.port(), 0);
    assert_eq!(service.jwt.split('.').count(), 3, "jwt: {}", service.jwt);
    assert_ne!(service.opaque.split('.').count(), 3, "opaque: {}", service.opaque);
    for (one, other) in [
        (&service.jwt, &service.opaque),
        (&service.opaque, &service.admin),
        (&service.admin, &service.jwt),
    ] {
        assert!(!one.is_empty());
        assert_ne!(one, other);
    }
}

/// `/healthz` answers 200 without a token and with one, and leaves no record.
pub fn health_check_wants_no_token_and_is_never_recorded(stack: &Stack) {
    let service = stack.start();
    let mut watch = Watch::new(&service, "opaque");
    let before = service.health();
    for _ in 0..3 {
        let response = service.client().send(&Request::get("/healthz"));
        response.expect_status(200);
        watch.send(Request::get("/healthz")).expect_status(200);
    }
    watch.expect_nothing_more();
    assert_eq!(service.health().strangers, before.strangers);
}

/// Where the port is taken, it exits with an error and says why, and whoever has the port keeps it.
pub fn port_in_use_ends_the_service_with_a_message(stack: &Stack) {
    let home = Home::fresh();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("a bound port").port();
    assert_fails(home.spawn(stack.binary, port));
}

/// A file that is no database ends the service with a message and is not touched.
pub fn file_that_is_no_database_is_left_alone(stack: &Stack) {
    let home = Home::fresh();
    let text = "This is a letter, not a database.\n".repeat(32);
    fs::write(home.database(), &text).expect("the temporary directory can be written");
    assert_fails(home.spawn(stack.binary, 0));
    let left = fs::read(home.database()).expect("the file is still there");
    assert_eq!(String::from_utf8_lossy(&left), text);
}

/// A client that says nothing does not keep others from being served.
pub fn silent_connections_do_not_block_others(stack: &Stack) {
    let service = stack.start();
    let silent: Vec<_> = (0..8).map(|_| service.client().connect()).collect();
    service.get("/hello/x", &service.jwt).expect_status(200);
    drop(silent);
    let again = service.client().attempt(&Request::get("/healthz"));
    assert!(matches!(again, Reply::Answered(response) if response.status() == 200));
}

fn assert_fails(mut process: Process) {
    let status = process.wait(FAILURE_BOUND);
    let output = process.output();
    assert_ne!(status.code(), Some(0), "it ended as if all were well\n{output}");
    assert!(status.code().is_some(), "a signal ended it: {status}\n{output}");
    assert!(!process.stderr().trim().is_empty(), "no message on stderr\n{output}");
}
