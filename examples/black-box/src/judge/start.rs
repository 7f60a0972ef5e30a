//! A service that starts wrongly, or not at all without saying so, would be judged on nothing.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;

use crate::client::{Reply, Request};
use crate::process::Process;
use crate::service::{self, Home, Service};
use crate::suite::Stack;
use crate::wait;
use crate::watch::Watch;

const FAILURE_BOUND: Duration = Duration::from_secs(10);

/// How long it may wait for a lock of another program.
const LOCK_BOUND: Duration = Duration::from_secs(30);

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
    let port = port.to_string();
    expect_failure(home.command(stack.binary).env("PORT", &port), &[]);
}

/// A file that is no database ends the service with a message and is not touched.
pub fn file_that_is_no_database_is_left_alone(stack: &Stack) {
    let home = Home::fresh();
    let text = "This is a letter, not a database.\n".repeat(32);
    fs::write(home.database(), &text).expect("the temporary directory can be written");
    expect_failure(&mut home.command(stack.binary), &["not a database", "tokens.db", "TOKENS_DB"]);
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

/// A file that a newer version has brought to its schema is not touched, and the message says that it is newer.
pub fn file_of_a_newer_schema_is_left_alone(stack: &Stack) {
    let home = Home::fresh();
    Service::start(stack.binary, &home).stop();
    let connection = Connection::open(home.database()).expect("it is a database");
    let set = connection.pragma_update(None, "user_version", 1_000);
    set.and_then(|()| connection.close().map_err(|(_, error)| error)).expect("nobody has it open");
    let before = fs::read(home.database()).expect("the file is there");
    expect_failure(&mut home.command(stack.binary), &["newer", "update", "tokens.db"]);
    let after = fs::read(home.database()).expect("the file is still there");
    assert!(before == after, "the file was written");
}

/// While another program locks the database, old or not made yet, it serves or says so and ends, soon; nothing is
/// damaged, and with the lock gone it starts.
pub fn locked_database_is_waited_for_or_named(stack: &Stack) {
    let fresh = Home::fresh();
    start_beside_a_lock(stack, &fresh);
    let home = Home::fresh();
    let first = Service::start(stack.binary, &home);
    let issued = first.issue("opaque", "from before");
    first.get("/hello/x", &issued.token).expect_status(200);
    let records = first.recent(&issued.token_id);
    first.stop();
    let again = start_beside_a_lock(stack, &home);
    assert_eq!(again.recent(&issued.token_id), records);
    again.get("/hello/x", &issued.token).expect_status(200);
}

/// Starts the service beside a lock, and once more without; the latter.
fn start_beside_a_lock(stack: &Stack, home: &Arc<Home>) -> Service {
    let lock = Connection::open(home.database()).expect("the directory can be written");
    lock.execute_batch("BEGIN EXCLUSIVE").expect("nobody else locks it");
    let mut process = Process::spawn(&mut home.command(stack.binary));
    let status = wait::until("it serves or ends", LOCK_BOUND, || match process.exit_status() {
        None if service::is_serving(&process) => Ok(None),
        None => Err(process.output()),
        ended => Ok(ended),
    });
    if status.is_some() {
        assert_failed(&mut process, &["locked", "tokens.db", "TOKENS_DB"]);
    }
    drop(process);
    lock.execute_batch("ROLLBACK").expect("it was begun");
    let read = |row: &rusqlite::Row<'_>| row.get::<_, String>(0);
    let sound = lock.query_row("PRAGMA integrity_check", [], read).expect("it can be read");
    assert_eq!(sound, "ok");
    drop(lock);
    Service::start(stack.binary, home)
}

/// A directory where the database should be ends the service with a message that names it.
pub fn directory_in_place_of_the_database_is_named(stack: &Stack) {
    let home = Home::fresh();
    fs::create_dir(home.database()).expect("the temporary directory can be written");
    let path = home.database().display().to_string();
    expect_failure(&mut home.command(stack.binary), &[&path]);
    let inside = fs::read_dir(home.database()).expect("it is still a directory");
    assert_eq!(inside.count(), 0, "something was put into it");
}

/// A port that is no number ends the service with a message that names the setting, before there is any file.
pub fn port_that_is_no_number_is_named(stack: &Stack) {
    let home = Home::fresh();
    for port in ["http", "70000", "-1", "80 80"] {
        let command = &mut home.command(stack.binary);
        expect_failure(command.env("PORT", port), &["PORT", port]);
    }
    let made = fs::read_dir(home.path()).expect("the directory is there");
    assert_eq!(made.count(), 0, "something was made");
}

/// A signing key that is cut short ends the service with a message that names its file, and is not replaced.
pub fn signing_key_that_is_cut_short_is_named(stack: &Stack) {
    let home = Home::fresh();
    Service::start(stack.binary, &home).stop();
    let files = fs::read_dir(home.path()).expect("the directory is there");
    let mut paths = files.map(|entry| entry.expect("the directory can be read").path());
    let is_key = |path: &PathBuf| path.to_string_lossy().contains("key");
    let path = paths.find(is_key).expect("the key is beside the database");
    for kept in [0, 5, 31] {
        let key = vec![7; kept];
        fs::write(&path, &key).expect("the key can be written");
        let name = path.display().to_string();
        expect_failure(&mut home.command(stack.binary), &[&name, "key"]);
        assert_eq!(fs::read(&path).expect("the key is still there"), key);
    }
}

/// Starts what must not start; its message, which has all of these words.
#[track_caller]
fn expect_failure(command: &mut Command, words: &[&str]) -> String {
    assert_failed(&mut Process::spawn(command), words)
}

#[track_caller]
fn assert_failed(process: &mut Process, words: &[&str]) -> String {
    let status = process.wait(FAILURE_BOUND);
    let output = process.output();
    assert_ne!(status.code(), Some(0), "it ended as if all were well\n{output}");
    assert!(status.code().is_some(), "a signal ended it: {status}\n{output}");
    let message = process.stderr();
    assert!(!message.trim().is_empty(), "no message on stderr\n{output}");
    assert!(!message.contains("panicked"), "it panicked\n{output}");
    for word in words {
        assert!(message.contains(word), "the message does not say {word:?}\n{output}");
    }
    message
}
