//! What is kept of clients and owners: no more of an address than was said, anywhere; and an owner gets all of
//! what is his, nothing of what is others', and no secret.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::io;
use std::net::IpAddr;

use serde_json::{Value, json};
use token_tracker::{
    Access, AuthRequest, ClientAddress, ClientAddresses, DenialReason, ErrorKind, ExportReport,
    Issued, NewToken, TokenTracker, Usage,
};

use crate::support::{Database, OWNER, access, builder, denied, in_memory, jwt, opaque, records};

const V4: &str = "203.0.113.77";
const MAPPED: &str = "::ffff:203.0.113.77";
const V6: &str = "2001:db8:5a5a:c3c3:7e7e:1881:e7e7:9669";

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn request<'a>(issued: &'a Issued, from: &str) -> AuthRequest<'a> {
    AuthRequest::from(&issued.secret).client_address(address(from))
}

fn from(tracker: &TokenTracker, issued: &Issued, client: &str) -> Access {
    tracker.authenticate(request(issued, client)).unwrap()
}

fn modes() -> [(ClientAddresses, [Option<&'static str>; 3]); 4] {
    let hashed = ClientAddresses::hashed(*b"0123456789abcdef");
    let (v4, v6) = ("hash:94920aa1a79832b5", "hash:deeda90a0ec7b5e0");
    [
        (ClientAddresses::Keep, [Some(V4), Some(V4), Some(V6)]),
        (
            ClientAddresses::Truncate,
            [Some("203.0.113.0/24"), Some("203.0.113.0/24"), Some("2001:db8:5a5a::/48")],
        ),
        (hashed, [Some(v4), Some(v4), Some(v6)]),
        (ClientAddresses::Drop, [None; 3]),
    ]
}

#[test]
fn each_mode_keeps_what_it_says_in_the_bytes_it_says() {
    let lengths = [[4, 4, 16], [3, 3, 6], [8, 8, 8], [0, 0, 0]];
    for ((mode, expected), lengths) in modes().into_iter().zip(lengths) {
        let database = Database::new();
        let tracker = builder().0.client_addresses(mode.clone()).open(database.path()).unwrap();
        let issued = opaque(&tracker, "laptop");
        for client in [V4, MAPPED, V6] {
            drop(from(&tracker, &issued, client));
        }
        // Said at the end instead of the beginning, it is the same.
        for client in [V4, MAPPED, V6] {
            let usage = Usage::of(access(&tracker, &issued)).client_address(address(client));
            tracker.record(usage.status(200));
        }
        let kept = records(&tracker, issued.token.id).into_iter().rev();
        let kept: Vec<_> = kept.map(|record| record.client_address).collect();
        let expected = expected.map(|text| text.map(|text| text.parse::<ClientAddress>().unwrap()));
        assert_eq!(kept, [expected, expected].concat(), "{mode:?}");
        let stored: Vec<i64> = (1..=6)
            .map(|id| {
                let sql = "SELECT coalesce(length(client_address), 0) FROM usage_log WHERE id = ";
                database.number(&format!("{sql}{id}"))
            })
            .collect();
        assert_eq!(stored, [lengths, lengths].concat(), "{mode:?}");
    }
}

#[test]
fn nothing_beyond_what_is_kept_reaches_the_file() {
    for (mode, _) in modes() {
        let database = Database::new();
        let tracker = builder().0.client_addresses(mode.clone()).open(database.path()).unwrap();
        let issued = opaque(&tracker, "laptop");
        drop(from(&tracker, &issued, V6));
        let _ = denied(&tracker, request(&issued, V6).scope("admin"));
        tracker.flush().unwrap();
        let mut bytes = Vec::new();
        for file in std::fs::read_dir(database.directory()).unwrap() {
            bytes.extend(std::fs::read(file.unwrap().path()).unwrap());
        }
        let IpAddr::V6(v6) = address(V6) else { unreachable!() };
        // Even half of what is behind the network would be too much.
        let found = bytes.windows(5).any(|window| window == &v6.octets()[6..11]);
        assert_eq!(found, matches!(mode, ClientAddresses::Keep), "{mode:?}");
    }
}

#[test]
fn networks_are_judged_by_the_address_itself_whatever_is_kept() {
    for (mode, _) in modes() {
        let tracker = builder().0.client_addresses(mode).in_memory().unwrap();
        let new = NewToken::opaque(OWNER, "office").networks(["203.0.113.77".parse().unwrap()]);
        let issued = tracker.tokens().issue(new).unwrap();
        drop(from(&tracker, &issued, MAPPED));
        let denied = denied(&tracker, request(&issued, "203.0.113.78"));
        assert_eq!(denied.reason(), DenialReason::WrongAddress);
    }
}

#[test]
fn another_mode_leaves_what_was_kept_before() {
    let database = Database::new();
    let mut issued = None;
    for (mode, _) in modes() {
        let tracker = builder().0.client_addresses(mode).open(database.path()).unwrap();
        let issued = issued.get_or_insert_with(|| opaque(&tracker, "laptop"));
        drop(from(&tracker, issued, V4));
        tracker.close().unwrap();
    }
    let kept = records(&database.open(), issued.unwrap().token.id);
    let kept: Vec<_> = kept.iter().rev().map(|record| record.client_address).collect();
    let expected = modes().map(|(_, [v4, ..])| v4.map(|text| text.parse().unwrap()));
    assert_eq!(kept, expected);
}

/// The lines of an export, by their type.
fn export(tracker: &TokenTracker, owner: &str) -> (ExportReport, BTreeMap<String, Vec<Value>>) {
    let mut out = Vec::new();
    let report = tracker.export_owner(owner, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(text.ends_with('\n'));
    let mut lines = BTreeMap::<String, Vec<Value>>::new();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        lines.entry(line["type"].as_str().unwrap().to_owned()).or_default().push(line);
    }
    assert_eq!(report.lines() as usize, lines.values().map(Vec::len).sum::<usize>());
    (report, lines)
}

fn use_once(tracker: &TokenTracker, issued: &Issued, agent: &str) {
    let usage = Usage::of(from(tracker, issued, V4)).route("GET", "/items/{id}");
    tracker.record(usage.user_agent(agent).status(200).response_bytes(5));
}

/// A line of every type for the owner, and as much for somebody else. The tokens are 1, 2, and 3 of the other.
fn with_everything(database: &Database) -> (TokenTracker, [Issued; 3]) {
    let tracker = database.open();
    let new = NewToken::opaque(OWNER, "laptop").tag("blue").scope("items:read").metadata("k", "v");
    let laptop = tracker.tokens().issue(new.description("mine").resource("srv-1")).unwrap();
    let nightly = jwt(&tracker, "nightly");
    let bobs = tracker.tokens().issue(NewToken::opaque("bob", "bobs")).unwrap();
    let resource = request(&laptop, V4).resource("srv-1").user_agent("alices/1");
    tracker.record(Usage::of(tracker.authenticate(resource).unwrap()).status(200));
    use_once(&tracker, &nightly, "alices/2");
    use_once(&tracker, &bobs, "bobs/1");
    tracker.tokens().acting_as(OWNER).because("his").suspend(bobs.token.id).unwrap();
    tracker.tokens().acting_as("root").revoke(nightly.token.id, "gone").unwrap();
    tracker.tokens().acting_as("bob").resume(bobs.token.id).unwrap();
    tracker.flush().unwrap();
    database.execute(
        "INSERT INTO late_uses VALUES (2, 0, 3, 0, 1000000, x'cb00714d', 'alices/2', '/late'),
            (3, 0, 3, 0, 1000000, x'cb00714e', 'bobs/1', '/bob');
         INSERT INTO token_addresses VALUES (1, x'cb0071', 0), (1, x'cb00714d', 1500000),
            (3, x'0a000001', 0);
         INSERT INTO quota_windows VALUES (2, 2, 19000, 7, 0, 0), (3, 2, 19000, 9, 0, 0);",
    );
    (tracker, [laptop, nightly, bobs])
}

#[test]
fn owner_gets_everything_that_is_his_and_nothing_else() {
    let database = Database::new();
    let (tracker, [_, _, bobs]) = with_everything(&database);
    let (report, lines) = export(&tracker, OWNER);
    let counts: Vec<_> = lines.iter().map(|(kind, lines)| (kind.as_str(), lines.len())).collect();
    let expected = [
        ("address", 2),
        ("audit", 4),
        ("credential", 2),
        ("hour", 2),
        ("late_use", 1),
        ("quota_window", 1),
        ("record", 2),
        ("token", 2),
        ("user_agent", 2),
    ];
    assert_eq!(counts, expected);
    assert_eq!((report.tokens, report.records, report.audit_entries), (2, 2, 4));
    let acts: Vec<_> =
        lines["audit"].iter().map(|line| json!([line["act"], line["token_id"]])).collect();
    let bobs = bobs.token.id;
    let expected =
        [json!(["issue", 1]), json!(["issue", 2]), json!(["suspend", bobs]), json!(["revoke", 2])];
    assert_eq!(acts, expected);
    let all = serde_json::to_string(&lines).unwrap();
    for of_bob in ["bobs/1", "/bob", "10.0.0.1", "resume"] {
        assert!(!all.contains(of_bob), "{of_bob}");
    }
}

#[test]
fn lines_say_everything_in_words_and_rfc_3339() {
    let database = Database::new();
    let (tracker, [laptop, nightly, _]) = with_everything(&database);
    let (_, lines) = export(&tracker, OWNER);
    let now = lines["token"][0]["created_at"].clone();
    assert!(now.as_str().unwrap().ends_with('Z'), "{now}");
    let token = json!({
        "type": "token", "id": 1, "owner": OWNER, "name": "laptop", "kind": "opaque",
        "status": "active", "description": "mine", "tags": ["blue"], "scopes": ["items:read"],
        "restrictions": {"resource": "srv-1"}, "metadata": {"k": "v"},
        "fragment": laptop.token.fragment, "created_at": now, "expires_at": null,
        "last_used_at": now, "revocation": null,
    });
    assert_eq!(lines["token"][0], token);
    let revocation = json!({"at": now, "by": "root", "reason": "gone"});
    assert_eq!(lines["token"][1]["revocation"], revocation);
    let late_use = json!({
        "type": "late_use", "token_id": 2, "credential_id": 2, "reason": null, "count": 3,
        "first_at": "1970-01-01T00:00:00Z", "last_at": "1970-01-01T00:00:01Z",
        "last_address": V4, "last_agent": "alices/2", "last_route": "/late",
    });
    assert_eq!(lines["late_use"], [late_use]);
    let address = json!({
        "type": "address", "token_id": 1, "address": "203.0.113.0/24",
        "seen_at": "1970-01-01T00:00:00Z",
    });
    assert_eq!(lines["address"][0], address);
    let window = json!({
        "type": "quota_window", "token_id": 2, "period": "day", "window": 19_000, "granted": 7,
    });
    assert_eq!(lines["quota_window"], [window]);
    let jti = database.connect();
    let jti: String =
        jti.query_row("SELECT jti FROM credentials WHERE id = 2", [], |row| row.get(0)).unwrap();
    let credential = json!({
        "type": "credential", "token_id": 2, "id": 2, "state": "current", "issuer": "", "jti": jti,
        "kid": null, "expires_at": null, "fragment": nightly.token.fragment, "created_at": now,
        "first_used_at": null, "ends_at": null, "ends_on_use": false, "retired_at": null,
    });
    assert_eq!(lines["credential"][1], credential);
    let record = json!({
        "type": "record", "id": 2, "token_id": 2, "owner": OWNER, "at": now, "method": "GET", "route": "/items/{id}",
        "status": 200, "outcome": "success", "reason": null, "duration_us": 0, "response_bytes": 5,
        "client_address": V4, "user_agent": "alices/2", "cost": 1, "weight": 1,
    });
    assert_eq!(lines["record"][1], record);
    let hour = json!({
        "type": "hour", "token_id": 2, "from": lines["hour"][0]["from"], "total": 1, "success": 1,
        "client_error": 0, "server_error": 0, "denied": 0, "unfinished": 0, "below_400": 1,
        "response_bytes": 5, "cost": 1,
        "latency_us": {"mean": 0, "p50": 0, "p90": 0, "p95": 0, "p99": 0, "max": 0},
        "routes": {"/items/{id}": 1}, "user_agents": {"alices/2": 1}, "methods": {"GET": 1},
        "statuses": {"200": 1}, "reasons": {}, "addresses": {V4: 1},
    });
    assert_eq!(lines["hour"][1], hour);
    let audit = json!({
        "type": "audit", "id": 5, "at": now, "actor": "root", "actor_token": null, "act": "revoke",
        "token_id": 2, "reason": "gone", "detail": null,
    });
    assert_eq!(lines["audit"][3], audit);
}

#[test]
fn export_shows_neither_secret_nor_hash() {
    use sha2::{Digest, Sha256};
    let (tracker, _clock) = in_memory();
    let tokens = [opaque(&tracker, "laptop"), jwt(&tracker, "nightly")];
    tokens.iter().for_each(|issued| drop(access(&tracker, issued)));
    let mut out = Vec::new();
    tracker.export_owner(OWNER, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap().to_lowercase();
    assert!(
        text.contains(&tokens[0].token.fragment.to_lowercase()),
        "the search finds what is there"
    );
    for issued in &tokens {
        let secret = issued.secret.expose();
        let hash: String =
            Sha256::digest(secret.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(!text.contains(&secret[secret.len() / 2..].to_lowercase()));
        assert!(!text.contains(&hash[..16]));
    }
}

#[test]
fn pages_lose_nothing_and_repeat_nothing() {
    let database = Database::new();
    let tracker = database.open();
    let tokens: Vec<_> = (0..130).map(|number| opaque(&tracker, &format!("{number}"))).collect();
    for number in 0..700_u64 {
        let usage = Usage::of(access(&tracker, &tokens[0])).response_bytes(number);
        tracker.record(usage.status(200));
    }
    tracker.flush().unwrap();
    let id = tokens[0].token.id;
    database.execute(&format!(
        "CREATE TABLE numbers (n INTEGER PRIMARY KEY);
         WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 9000)
             INSERT INTO numbers SELECT n FROM n;
         INSERT INTO token_addresses SELECT {id}, CAST(printf('%04d', n) AS BLOB), (SELECT max(created_at) FROM catalogue) + n
             FROM numbers WHERE n <= 600;
         INSERT INTO names (kind, text, brought_by, used_on) SELECT 1, 'agent ' || n, {id}, 100000
             FROM numbers WHERE n <= 512;
         INSERT INTO audit (at, act, token_id)
             SELECT (SELECT max(created_at) FROM catalogue), 3, iif(n % 3 = 0, {id}, NULL) FROM numbers;
         DROP TABLE numbers;"
    ));
    let (report, lines) = export(&tracker, OWNER);
    assert_eq!((report.tokens, report.credentials, report.addresses), (130, 130, 600));
    assert_eq!((report.records, report.audit_entries), (700, 130 + 3_000));
    assert_eq!(report.user_agents, 512);
    let bytes: Vec<_> =
        lines["record"].iter().map(|line| line["response_bytes"].as_u64().unwrap()).collect();
    assert_eq!(bytes, (0..700).rev().collect::<Vec<_>>(), "newest first");
    for (kind, key) in
        [("token", "id"), ("audit", "id"), ("address", "address"), ("user_agent", "user_agent")]
    {
        let mut keys: Vec<_> = lines[kind].iter().map(|line| line[key].to_string()).collect();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), lines[kind].len(), "{kind}");
    }
}

#[test]
fn days_that_are_summed_up_are_exported() {
    let (tracker, clock) = in_memory();
    let issued = opaque(&tracker, "laptop");
    use_once(&tracker, &issued, "curl");
    tracker.flush().unwrap();
    clock.advance(std::time::Duration::from_secs(2 * 86_400));
    tracker.upkeep().unwrap();
    let (report, lines) = export(&tracker, OWNER);
    assert_eq!((report.days, report.hours, report.records), (1, 1, 1));
    let (day, hour) = (&lines["day"][0], &lines["hour"][0]);
    assert_eq!((&day["total"], &day["response_bytes"]), (&json!(1), &json!(5)));
    assert_eq!(day["from"].as_str().unwrap().split('T').nth(1), Some("00:00:00Z"));
    assert_eq!(day["latency_us"], hour["latency_us"]);
}

#[test]
fn owner_without_a_token_is_not_found_and_nothing_is_written() {
    let (tracker, _clock) = in_memory();
    opaque(&tracker, "laptop");
    let mut out = Vec::new();
    let error = tracker.export_owner("nobody", &mut out).unwrap_err();
    assert_eq!((error.kind(), out.len()), (ErrorKind::NotFound, 0));
}

/// Fails after so many bytes.
struct Full(usize);

impl io::Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = self.0.min(bytes.len());
        self.0 -= room;
        if room == 0 {
            Err(io::Error::new(io::ErrorKind::StorageFull, "no room"))
        } else {
            Ok(room)
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.0 == 1 { Err(io::Error::other("not flushed")) } else { Ok(()) }
    }
}

#[test]
fn writer_that_fails_is_an_error_with_its_cause_and_harms_nothing_else() {
    let (tracker, _clock) = in_memory();
    let issued = opaque(&tracker, "laptop");
    drop(access(&tracker, &issued));
    let (_, lines) = export(&tracker, OWNER);
    let mut out = Vec::new();
    tracker.export_owner(OWNER, &mut out).unwrap();
    for (room, cause) in [(0, "no room"), (100, "no room"), (out.len() + 1, "not flushed")] {
        let error = tracker.export_owner(OWNER, Full(room)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Output);
        assert_eq!(error.source().unwrap().to_string(), cause);
    }
    assert_eq!(export(&tracker, OWNER).1, lines);
    assert!(tracker.authenticate(&issued.secret).is_ok());
}

/// With each write, changes the file and has its log start over.
struct Slow<'a>(&'a TokenTracker, &'a Issued, &'a Database);

impl io::Write for Slow<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Self(tracker, issued, database) = self;
        drop(access(tracker, issued));
        tracker.flush().unwrap();
        assert_eq!(database.number("PRAGMA wal_checkpoint(TRUNCATE)"), 0, "a reader is in the way");
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn slow_writer_holds_no_snapshot() {
    let database = Database::new();
    let tracker = database.open();
    let issued = opaque(&tracker, "laptop");
    for _ in 0..600 {
        tracker.record(Usage::of(access(&tracker, &issued)).status(200));
    }
    let report = tracker.export_owner(OWNER, Slow(&tracker, &issued, &database)).unwrap();
    // What came after the first page of records is none of it.
    assert!((600..620).contains(&report.records), "{report:?}");
}
