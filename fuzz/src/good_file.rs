//! A database file made by the library, with a write-ahead log that holds the latest commits: what `db_file`
//! damages. And which of its pages say who may do what.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;
use tempfile::TempDir;
use token_tracker::{
    Access, Algorithm, AuthRequest, Builder, JwtKey, ManualClock, NewToken, Quota, Secret, TokenId,
    TokenTracker, Usage,
};

use crate::bench::{START, instant};
use crate::keys::KeyName;
use crate::render::signed;

/// Bytes to a page of a database that SQLite makes.
pub const PAGE: usize = 4_096;

pub const OWNER: &str = "alice";

const DAY: Duration = Duration::from_secs(86_400);

/// Tables and indexes that a verdict on a token hangs on.
const AUTHORITY: &str = "SELECT DISTINCT pageno FROM dbstat WHERE name IN
    ('sqlite_schema', 'tokens', 'credentials', 'credential_jti', 'credential_hash')";

pub struct GoodFile {
    pub database: Vec<u8>,
    pub log: Vec<u8>,
    pub tokens: Vec<Known>,
    /// Where each page begins that says who may do what.
    authority: Vec<usize>,
}

/// A token and what it is in the good file.
#[derive(Debug)]
pub struct Known {
    pub text: String,
    pub id: Option<TokenId>,
    pub fate: Fate,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fate {
    /// It has a signature that nobody made.
    Forged,
    Ended,
    Lives,
    Revoked,
    Suspended,
    /// Well-formed, and nobody registered or issued it.
    Unknown,
}

impl GoodFile {
    /// # Panics
    /// Where the library fails on a file that nobody damaged.
    pub fn new() -> Self {
        let folder = folder();
        let path = folder.path().join("tokens.db");
        let clock = ManualClock::new(instant(START));
        let tracker = builder(&clock).open(&path).expect("a new file");
        let tokens = catalogue(&tracker);
        (0..3).for_each(|_| a_day(&tracker, &clock, &tokens));
        tracker.upkeep().expect("a good file");
        tracker.close().expect("a good file");
        drop(tracker);
        let database = fs::read(&path).expect("the file is there");
        let authority = pages_of_authority(&path);

        let tracker = builder(&clock).open(&path).expect("a good file");
        a_day(&tracker, &clock, &tokens);
        let late = NewToken::opaque(OWNER, "late").scope("items:read");
        tracker.tokens().issue(late).expect("the name is new");
        // Read while the tracker lives: the last to close moves the log into the file.
        let log = fs::read(log_of(&path)).expect("the log is there");
        assert_eq!(fs::read(&path).expect("the file is there"), database, "it is in the log");
        assert!(log.len() > PAGE && database.len().is_multiple_of(PAGE));
        drop(tracker);
        Self { database, log, tokens, authority }
    }

    /// Whether a damaged database says of tokens what the good one does. Of the log this needs not be asked:
    /// SQLite reads it up to the first commit whose checksum is wrong, and every commit of the good one leaves
    /// the dead tokens dead.
    pub fn has_authority(&self, damaged: &[u8]) -> bool {
        self.authority.iter().all(|start| {
            let page = *start..start + PAGE;
            damaged.get(page.clone()) == self.database.get(page)
        })
    }

    /// How a tracker on a damaged file is set up, long after the good one was made.
    pub fn builder(&self) -> Builder {
        let clock = ManualClock::new(instant(START));
        clock.advance(40 * DAY);
        let builder = builder(&clock).busy_timeout(Duration::from_millis(10)).readers(2);
        let builder = builder.commit_window(Duration::from_millis(100));
        // So that there is something of every kind to remove.
        builder
            .raw_retention(37 * DAY + DAY / 2)
            .hourly_retention(38 * DAY)
            .daily_retention(39 * DAY)
    }
}

impl Default for GoodFile {
    fn default() -> Self {
        Self::new()
    }
}

/// In memory, where that is to be had.
pub fn folder() -> TempDir {
    let shared = Path::new("/dev/shm");
    let folder = if shared.is_dir() { tempfile::tempdir_in(shared) } else { tempfile::tempdir() };
    folder.expect("a folder can be made")
}

/// The write-ahead log of a database.
pub fn log_of(database: &Path) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push("-wal");
    path.into()
}

/// Nothing waits for a commit that a call does not wait for: a tracker that cannot commit takes seconds to
/// close.
fn builder(clock: &ManualClock) -> Builder {
    let key = JwtKey::from_jwk(&KeyName::Hs256.jwk(None), &[Algorithm::Hs256]);
    let builder = TokenTracker::builder().clock(clock.clone()).without_last_used();
    builder.jwt_key(key.expect("the key is good"))
}

/// A token of each fate: by its `jti`, which makes the same file each time, and opaque.
fn catalogue(tracker: &TokenTracker) -> Vec<Known> {
    let mut known = Vec::new();
    for (name, fate) in [
        ("living", Fate::Lives),
        ("revoked", Fate::Revoked),
        ("suspended", Fate::Suspended),
        ("ended", Fate::Ended),
    ] {
        let dress = |new: NewToken| {
            let new = new.scope("items:read").tag("fuzzed").description("of a good file");
            match fate {
                Fate::Ended => new.expires_in(Duration::from_secs(3_600)),
                Fate::Lives => new.quota(Quota::new().per_month(1_000_000)),
                _ => new,
            }
        };
        let jwt = dress(NewToken::legacy_jwt(OWNER, format!("{name} JWT")));
        let jwt = tracker.tokens().register(jwt, None, name).expect("the `jti` is new");
        known.push(Known { text: jwt_of(name), id: Some(jwt.id), fate });
        let issued = dress(NewToken::opaque(OWNER, name));
        let issued = tracker.tokens().issue(issued).expect("the name is new");
        known.push(Known { text: exposed(&issued.secret), id: Some(issued.token.id), fate });
    }
    for token in &known {
        let (tokens, id) = (tracker.tokens(), token.id.expect("it was just made"));
        match token.fate {
            Fate::Revoked => drop(tokens.revoke(id, "fuzzed").expect("the token lives")),
            Fate::Suspended => drop(tokens.suspend(id).expect("the token lives")),
            _ => {}
        }
    }
    known.extend(strangers());
    known
}

fn strangers() -> [Known; 3] {
    let elsewhere = TokenTracker::builder().in_memory().expect("the configuration is valid");
    let issued = elsewhere.tokens().issue(NewToken::opaque(OWNER, "elsewhere"));
    let opaque = exposed(&issued.expect("the name is new").secret);
    let (living, unknown) = (jwt_of("living"), jwt_of("unknown"));
    let (message, _) = living.rsplit_once('.').expect("a JWT has dots");
    let (_, signature) = unknown.rsplit_once('.').expect("a JWT has dots");
    let forged = format!("{message}.{signature}");
    [(opaque, Fate::Unknown), (forged, Fate::Forged), (unknown, Fate::Unknown)]
        .map(|(text, fate)| Known { text, id: None, fate })
}

fn jwt_of(jti: &str) -> String {
    let payload = format!(r#"{{"sub":"{OWNER}","jti":"{jti}"}}"#);
    signed(KeyName::Hs256, br#"{"alg":"HS256"}"#, payload.as_bytes())
}

fn exposed(secret: &Secret) -> String {
    secret.expose().to_owned()
}

/// Some requests of every token in each of three hours, and the rest of the day without any.
fn a_day(tracker: &TokenTracker, clock: &ManualClock, tokens: &[Known]) {
    for hour in 0..3_u64 {
        for token in tokens {
            (0..2 + 6 * hour).for_each(|number| a_request(tracker, &token.text, number));
        }
        tracker.flush().expect("a good file");
        clock.advance(Duration::from_secs(3_600));
    }
    tracker.upkeep().expect("a good file");
    clock.advance(DAY - Duration::from_secs(3 * 3_600));
}

/// A refused one is recorded when its answer is dropped.
fn a_request(tracker: &TokenTracker, token: &str, number: u64) {
    let route = format!("/items/{}", number % 3);
    let request = AuthRequest::new(token).method("GET").route(route.as_str());
    let request = request.user_agent("curl/8.5").client_address(std::net::IpAddr::from([192, 0, 2, 7]));
    if let Ok(access) = tracker.authenticate(request) {
        drop(tracker.record(usage(access, number)));
    }
}

fn usage(access: Access, number: u64) -> Usage {
    let usage = Usage::of(access).status(200 + (number % 4) as u16 * 100);
    usage.elapsed(Duration::from_micros(number * 700)).response_bytes(number * 512)
}

fn pages_of_authority(path: &Path) -> Vec<usize> {
    let connection = Connection::open(path).expect("the file is there");
    let mut statement = connection.prepare(AUTHORITY).expect("SQLite has the table");
    let pages = statement.query_map([], |row| row.get::<_, i64>(0)).expect("a good file");
    let pages = pages.map(|page| page.expect("a good file"));
    let pages: Vec<usize> = pages.map(|page| (page as usize - 1) * PAGE).collect();
    assert!(pages.contains(&0) && pages.len() > 4, "{pages:?}");
    pages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authority_is_lost_with_any_byte_of_its_pages_and_no_other() {
        let good = GoodFile::new();
        assert!(good.has_authority(&good.database));
        for start in (0..good.database.len()).step_by(PAGE) {
            let mut damaged = good.database.clone();
            damaged[start + PAGE / 2] ^= 1;
            assert_eq!(good.has_authority(&damaged), !good.authority.contains(&start));
        }
        assert!(!good.has_authority(&good.database[..PAGE]));
        assert!(!good.has_authority(&[]));
    }
}
