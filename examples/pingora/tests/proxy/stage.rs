//! The proxy as a process, an upstream behind it, and its database opened a second time to issue tokens and to read
//! what was recorded.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use token_tracker::{
    Algorithm, Issued, JwtIssuer, JwtKey, NewToken, Outcome, TokenId, TokenTracker, UsageRecord,
};

use crate::client::{Answer, Connection, get};
use crate::upstream::Upstream;

const BINARY: &str = env!("CARGO_BIN_EXE_example-pingora");
const BOUND: Duration = Duration::from_secs(20);

/// What is told of a record: method, route, status, outcome.
pub(crate) type Shape = (&'static str, &'static str, u16, Outcome);

pub(crate) struct Stage {
    child: Process,
    /// Its standard output, after the four lines.
    _rest: BufReader<ChildStdout>,
    _home: TempDir,
    pub(crate) address: SocketAddr,
    /// The printed JWT and the printed opaque token.
    pub(crate) printed: [String; 2],
    pub(crate) tracker: TokenTracker,
    pub(crate) upstream: Upstream,
}

impl Stage {
    pub(crate) fn start() -> Self {
        let upstream = Upstream::start();
        let address = upstream.address;
        Self::before(upstream, address)
    }

    /// With a proxy in front of a port that nobody can be given.
    pub(crate) fn start_before_nobody() -> Self {
        Self::before(Upstream::start(), SocketAddr::from(([127, 0, 0, 1], 1)))
    }

    fn before(upstream: Upstream, behind: SocketAddr) -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut child = Process(command(home.path(), &behind.to_string()).spawn().unwrap());
        let mut output = BufReader::new(child.0.stdout.take().unwrap());
        let [address, jwt, opaque, _] = ["listening on http://", "jwt: ", "opaque: ", "admin: "]
            .map(|start| {
                let mut line = String::new();
                output.read_line(&mut line).unwrap();
                line.trim_end().strip_prefix(start).unwrap_or_else(|| panic!("{line}")).to_owned()
            });
        let tracker = opened(home.path());
        Self {
            child,
            _rest: output,
            _home: home,
            address: address.parse().unwrap(),
            printed: [jwt, opaque],
            tracker,
            upstream,
        }
    }

    /// A token of its own, with its secret in the clear.
    pub(crate) fn issue(&self, new: NewToken) -> (TokenId, String) {
        let Issued { token, secret, .. } = self.tracker.tokens().issue(new).unwrap();
        (token.id, secret.expose().to_owned())
    }

    /// A token that may do everything.
    pub(crate) fn token(&self) -> (TokenId, String) {
        self.issue(NewToken::opaque("judge@example.com", "plain"))
    }

    pub(crate) fn connect(&self) -> Connection {
        Connection::open(self.address)
    }

    /// Sends one request on a connection of its own.
    pub(crate) fn exchange(&self, request: &str) -> Answer {
        self.connect().exchange(request)
    }

    pub(crate) fn get(&self, target: &str, token: &str) -> Answer {
        self.exchange(&get(target, token, &[]))
    }

    /// Waits until a token has so many records, and gives them, oldest first.
    #[track_caller]
    pub(crate) fn records(&self, id: TokenId, count: usize) -> Vec<UsageRecord> {
        let started = Instant::now();
        loop {
            let records = recorded(&self.tracker, id);
            if records.len() >= count {
                return records;
            }
            assert!(started.elapsed() < BOUND, "{count} records are not there: {records:?}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until so many requests have reached the upstream.
    #[track_caller]
    pub(crate) fn wait_for_heads(&self, count: usize) {
        let started = Instant::now();
        while self.upstream.heads().len() < count {
            assert!(started.elapsed() < BOUND, "{count} requests have not come");
            thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.0.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &id]).status().unwrap().success());
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        wait(&mut self.child.0)
    }

    /// Ends the proxy, which must say that all went well. What the token has then is all that it will ever have.
    #[track_caller]
    pub(crate) fn expect(&mut self, id: TokenId, shapes: &[Shape]) -> Vec<UsageRecord> {
        self.records(id, shapes.len());
        self.signal("TERM");
        assert_eq!(self.wait().code(), Some(0));
        let records = recorded(&self.tracker, id);
        let found: Vec<_> = records.iter().map(shape).collect();
        let wanted: Vec<_> =
            shapes.iter().map(|(m, r, s, o)| ((*m).into(), (*r).into(), *s, *o)).collect();
        assert_eq!(found, wanted, "{records:#?}");
        records
    }
}

/// A child that does not outlive its owner.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn shape(record: &UsageRecord) -> (String, String, u16, Outcome) {
    (record.method.clone(), record.route.clone(), record.status, record.outcome)
}

fn recorded(tracker: &TokenTracker, id: TokenId) -> Vec<UsageRecord> {
    let mut records = tracker.stats().token(id).recent(1_000).unwrap();
    records.reverse();
    records
}

fn command(home: &Path, upstream: &str) -> Command {
    let mut command = Command::new(BINARY);
    command
        .current_dir(home)
        .env("PORT", "0")
        .env("TOKENS_DB", home.join("tokens.db"))
        .env("UPSTREAM", upstream)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// The same database and key, as a second process would open them.
fn opened(home: &Path) -> TokenTracker {
    let key = std::fs::read(home.join("tokens.db.key")).unwrap();
    let key = JwtKey::hmac(Algorithm::Hs256, &key).unwrap();
    let issuer = JwtIssuer::named("https://example.com").key(key);
    TokenTracker::builder().jwt_issuer(issuer).open(home.join("tokens.db")).unwrap()
}

#[track_caller]
fn wait(child: &mut Child) -> ExitStatus {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(started.elapsed() < BOUND, "it does not end");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Starts a proxy with this upstream, which must fail; gives what it says, and whether it made a database.
pub(crate) fn failed_start(upstream: &str) -> (String, bool) {
    let home = tempfile::tempdir().unwrap();
    let mut child = Process(command(home.path(), upstream).spawn().unwrap());
    assert_eq!(wait(&mut child.0).code(), Some(1));
    let mut message = String::new();
    child.0.stderr.take().unwrap().read_to_string(&mut message).unwrap();
    (message, home.path().join("tokens.db").exists())
}
