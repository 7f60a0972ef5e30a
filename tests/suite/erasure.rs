//! Erasing an owner: nothing says who he was, nothing of his comes back, totals stay, and what was interrupted can be
//! finished.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use token_tracker::{
    Access, Act, AuditFilter, AuthRequest, Builder, Checkpoints, DenialReason, Erased, ErrorKind,
    Grouping, Issued, NewToken, TokenFilter, TokenId, TokenStatus, TokenTracker, TokenUpdate,
    Usage,
};

use crate::support::{
    Database, OWNER, access, builder, denied, in_memory, jwt, key, opaque, records,
};

const NAME: &str = "laptop-of-alice";
const METADATA: &str = "employee-4711";
const DESCRIPTION: &str = "third-floor-desk-nine";
const TAG: &str = "alices-team";
const AGENT: &str = "alice-tool/1.0 (alice@home)";
const ADDRESS: [u8; 16] = [
    0x20, 0x01, 0x0d, 0xb8, 0x5a, 0x5a, 0xc3, 0xc3, 0x7e, 0x7e, 0x18, 0x81, 0xe7, 0xe7, 0x96, 0x69,
];
const ACTOR: &str = "helpdesk-carol";
const DAY: Duration = Duration::from_secs(86_400);
const REASON: &str = "she-lost-it";

fn issue(tracker: &TokenTracker, owner: &str, name: &str) -> Issued {
    tracker.tokens().issue(NewToken::opaque(owner, name)).unwrap()
}

fn request(issued: &Issued) -> AuthRequest<'_> {
    AuthRequest::from(&issued.secret).client_address(IpAddr::from(ADDRESS)).user_agent(AGENT)
}

fn sign_in(tracker: &TokenTracker, issued: &Issued) -> Access {
    tracker.authenticate(request(issued)).unwrap()
}

fn use_once(tracker: &TokenTracker, issued: &Issued) {
    let usage = Usage::of(sign_in(tracker, issued)).route("GET", "/items/{id}");
    tracker.record(usage.status(200).response_bytes(7));
}

/// Alice with much that tells who she is, and some use of each of her tokens.
fn alice(tracker: &TokenTracker) -> [Issued; 2] {
    let detailed = |new: NewToken| {
        let networks = ["2001:db8:5a5a::/48".parse().unwrap()];
        let new = new.description(DESCRIPTION).tag(TAG).metadata("who", METADATA);
        new.scope("alices:scope").networks(networks)
    };
    let new = [NewToken::opaque(OWNER, NAME), NewToken::jwt(OWNER, "nightly-of-alice")];
    let tokens = new.map(|new| tracker.tokens().issue(detailed(new)).unwrap());
    for issued in &tokens {
        use_once(tracker, issued);
        let _ = denied(tracker, request(issued).scope("admin"));
    }
    let tokens_of = tracker.tokens().acting_as(ACTOR).because(REASON);
    tokens_of.suspend(tokens[1].token.id).unwrap();
    tokens_of.resume(tokens[1].token.id).unwrap();
    tracker.flush().unwrap();
    tokens
}

/// Rows that parts of the library write which are not asked here.
fn add_traces(database: &Database, token: TokenId) {
    let address: String = ADDRESS.iter().map(|byte| format!("{byte:02x}")).collect();
    database.execute(&format!(
        "INSERT INTO late_uses SELECT id, 0, 3, 0, 1, x'{address}', '{AGENT}', '/late'
            FROM credentials WHERE token_id = {token};
         INSERT INTO token_addresses VALUES ({token}, x'{address}', 0);
         INSERT INTO quota_windows VALUES ({token}, 2, 19000, 7, 0, 0);"
    ));
}

fn erase(tracker: &TokenTracker) -> Erased {
    tracker.tokens().erase_owner(OWNER).unwrap()
}

fn assert_sound(tracker: &TokenTracker) {
    assert_eq!(tracker.verify().unwrap().problems, [""; 0]);
}

#[test]
fn erased_owner_is_nowhere_in_the_file() {
    let database = Database::new();
    let tracker = database.open();
    let tokens = alice(&tracker);
    let bobs = issue(&tracker, "bob", "bobs-own-laptop");
    tracker.record(Usage::of(access(&tracker, &bobs)).user_agent("bobs-tool").status(200));
    tracker.flush().unwrap();
    tokens.iter().for_each(|issued| add_traces(&database, issued.token.id));

    let erased = tracker.tokens().acting_as(ACTOR).erase_owner(OWNER).unwrap();
    assert_eq!(erased.tokens, tokens.each_ref().map(|issued| issued.token.id));
    assert_eq!((erased.records, erased.user_agents), (4, 1));
    assert_eq!((erased.late_uses, erased.addresses, erased.log_emptied), (2, 2, true));
    assert_sound(&tracker);
    let size = std::fs::metadata(database.path().with_extension("db-wal")).unwrap().len();
    assert_eq!(size, 0, "nor in the write-ahead log");
    tracker.close().unwrap();
    drop(tracker);

    let mut bytes = Vec::new();
    for file in std::fs::read_dir(database.directory()).unwrap() {
        bytes.extend(std::fs::read(file.unwrap().path()).unwrap());
    }
    let contains = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
    for there in ["bobs-own-laptop", "bobs-tool", "bob"] {
        assert!(contains(there.as_bytes()), "the search finds what is there: {there}");
    }
    let gone = [OWNER, NAME, "nightly-of-alice", METADATA, DESCRIPTION, TAG, AGENT, REASON];
    for gone in gone.into_iter().chain(["alices:scope", "5a5a"]) {
        assert!(!contains(gone.as_bytes()), "{gone}");
    }
    for gone in [&ADDRESS[..], &ADDRESS[4..10]] {
        assert!(!contains(gone), "{gone:02x?}");
    }
    for issued in &tokens {
        let fragment = issued.token.fragment.as_bytes();
        assert!(!contains(fragment), "{}", issued.token.fragment);
    }
}

/// What a file's whole bytes have of her, wherever it stands in them.
fn found(database: &Database, needles: &[&str]) -> Vec<String> {
    let bytes = std::fs::read(database.path()).unwrap();
    let is_in = |needle: &&&str| bytes.windows(needle.len()).any(|part| part == needle.as_bytes());
    needles.iter().filter(is_in).map(|needle| (*needle).to_owned()).collect()
}

#[test]
fn nothing_stays_in_parts_of_pages_that_hold_no_row() {
    let database = Database::new();
    let tracker = database.open();
    for number in 0..120 {
        let is_hers = number % 5 == 0;
        let owner = if is_hers { OWNER } else { "bob" };
        let name = format!("{NAME}-{number}");
        let new = NewToken::opaque(owner, if is_hers { name.as_str() } else { "bobs" });
        // Pages overflow, split, and are freed again.
        let long = METADATA.repeat(if number % 10 == 0 { 70 } else { 1 });
        let new = (0..8).fold(new, |new, key| new.metadata(format!("{key}"), long.as_str()));
        let new = if is_hers { new } else { NewToken::opaque(format!("bob{number}"), "bobs") };
        let issued = tracker.tokens().issue(new).unwrap();
        tracker.record(Usage::of(sign_in(&tracker, &issued)).status(200));
        if is_hers {
            let name = TokenUpdate::new().name(format!("{NAME}-again-{number}"));
            let name = name.description(Some(DESCRIPTION.repeat(1 + number % 50)));
            tracker.tokens().update(issued.token.id, name).unwrap();
        }
        tracker.flush().unwrap();
    }
    let needles = [OWNER, NAME, METADATA, DESCRIPTION, AGENT];
    database.number("PRAGMA wal_checkpoint(TRUNCATE)");
    assert_eq!(found(&database, &needles), needles, "the search finds what is there");
    assert_eq!(erase(&tracker).tokens.len(), 24);
    tracker.close().unwrap();
    assert_eq!(found(&database, &needles), [""; 0]);
}

#[test]
fn tokens_are_dead_at_once_and_unnamed() {
    let (tracker, _clock) = in_memory();
    let [laptop, nightly] = alice(&tracker);
    erase(&tracker);
    assert_eq!(denied(&tracker, &laptop.secret).reason(), DenialReason::UnknownToken);
    assert_eq!(denied(&tracker, &nightly.secret).reason(), DenialReason::Revoked);
    for issued in [&laptop, &nightly] {
        let token = tracker.tokens().get(issued.token.id).unwrap();
        assert_eq!((token.owner.as_str(), token.status), ("<erased>", TokenStatus::Revoked));
        assert_eq!(token.name, format!("<erased {}>", token.id));
        assert_eq!((token.description, token.fragment.as_str()), (None, ""));
        assert!(token.tags.is_empty() && token.scopes.is_empty() && token.metadata.is_empty());
        assert!(token.restrictions.is_empty());
        assert_eq!(token.created_at, issued.token.created_at);
        assert!(token.last_used.at().is_some());
        let revocation = token.revocation.unwrap();
        assert_eq!((revocation.by, revocation.reason), (None, None));
        let resumed = tracker.tokens().resume(token.id).unwrap_err();
        assert_eq!(resumed.kind(), ErrorKind::Revoked);
    }
    assert_eq!(tracker.tokens().count(&TokenFilter::new().owner(OWNER)).unwrap(), 0);
    let again = tracker.tokens().register(NewToken::jwt("bob", "x"), None, "other");
    assert!(again.is_ok());
}

#[test]
fn known_jwt_stays_known_by_its_number_alone() {
    let database = Database::new();
    let tracker = database.open();
    let tokens = alice(&tracker);
    tokens.iter().for_each(|issued| add_traces(&database, issued.token.id));
    erase(&tracker);
    let number = |sql: &str| database.number(sql);
    assert_eq!(number("SELECT count(*) FROM credentials WHERE hash IS NOT NULL"), 0);
    assert_eq!(number("SELECT count(*) FROM credentials WHERE jti IS NOT NULL"), 1);
    assert_eq!(
        number("SELECT count(*) FROM credentials WHERE fragment <> '' OR kid IS NOT NULL"),
        0
    );
    for table in ["late_uses", "token_addresses", "quota_windows"] {
        assert_eq!(number(&format!("SELECT count(*) FROM {table}")), 0, "{table}");
    }
}

#[test]
fn totals_stay_exact_and_belong_to_nobody() {
    let (tracker, _clock) = in_memory();
    let [laptop, nightly] = alice(&tracker);
    let bobs = issue(&tracker, "bob", "bobs");
    use_once(&tracker, &bobs);
    tracker.flush().unwrap();
    let stats = |owner: &str| tracker.stats().owner(owner).last_days(30).summary();
    let (mut hers, mut all) = (stats(OWNER).unwrap(), tracker.stats().all().summary().unwrap());
    assert_eq!((hers.total, all.total), (4, 5));
    assert_eq!((hers.distinct_addresses.count, all.distinct_addresses.count), (1, 1));
    hers.distinct_addresses.count = 0;
    all.distinct_addresses.count = 1;
    erase(&tracker);
    assert_eq!(stats("<erased>").unwrap(), hers);
    assert_eq!(tracker.stats().all().summary().unwrap(), all);
    assert_eq!(stats(OWNER).unwrap_err().kind(), ErrorKind::NotFound);
    for issued in [laptop, nightly] {
        for record in records(&tracker, issued.token.id) {
            assert_eq!(
                (record.client_address, record.user_agent.as_deref()),
                (None, Some("<erased 2>"))
            );
        }
    }
    let record = records(&tracker, bobs.token.id).remove(0);
    assert_eq!(
        record.client_address.unwrap().to_string(),
        std::net::IpAddr::from(ADDRESS).to_string()
    );
    assert_sound(&tracker);
}

#[test]
fn dead_jwt_is_recorded_without_its_client() {
    let (tracker, _clock) = in_memory();
    let [_, nightly] = alice(&tracker);
    erase(&tracker);
    let refused = denied(&tracker, request(&nightly));
    let usage = Usage::of(refused).user_agent(AGENT).client_address(IpAddr::from(ADDRESS));
    tracker.record(usage.route("GET", "/items/{id}").status(401));
    let record = records(&tracker, nightly.token.id).remove(0);
    assert_eq!(record.outcome.reason(), Some(DenialReason::Revoked));
    assert_eq!((record.client_address, record.user_agent), (None, None));
    assert_eq!(record.route, "/items/{id}");
    assert_eq!(tracker.stats().owner("<erased>").summary().unwrap().denied, 3);
}

#[test]
fn nobody_can_be_called_erased() {
    let (tracker, _clock) = in_memory();
    let error = tracker.tokens().issue(NewToken::opaque("<erased>", "x")).unwrap_err();
    assert_eq!((error.kind(), error.field()), (ErrorKind::InvalidInput, Some("owner")));
    let error = tracker.tokens().register(NewToken::jwt("<erased>", "x"), None, "1").unwrap_err();
    assert_eq!(error.field(), Some("owner"));
    let error = tracker.tokens().erase_owner("<erased>").unwrap_err();
    assert_eq!(error.field(), Some("owner"));
}

#[test]
fn book_keeps_what_was_done_and_not_of_whom_or_why() {
    let (tracker, _clock) = in_memory();
    alice(&tracker);
    let bobs = issue(&tracker, "bob", "bobs");
    tracker.tokens().acting_as(OWNER).because("bob asked").revoke(bobs.token.id, "").unwrap();
    let before = tracker.tokens().audit(&AuditFilter::new()).unwrap().entries;
    let reason = format!("a request of {OWNER}");
    let erased = tracker.tokens().acting_as(ACTOR).because(reason).erase_owner(OWNER).unwrap();
    let after = tracker.tokens().audit(&AuditFilter::new()).unwrap().entries;
    let (newest, rest) = after.split_first().unwrap();
    assert_eq!((newest.act, newest.token_id), (Act::Erase, None));
    assert_eq!((newest.actor.as_deref(), newest.reason.as_deref()), (Some(ACTOR), None));
    assert_eq!(newest.detail.as_deref(), Some(r#"{"tokens":2}"#));
    // Two revocations are new, and cleared as the rest is.
    let (revocations, rest) = rest.split_at(2);
    assert!(revocations.iter().all(|entry| entry.act == Act::Revoke && entry.actor.is_none()));
    assert_eq!(rest.len(), before.len());
    for (entry, before) in rest.iter().zip(&before) {
        let of_bob = before.token_id == Some(bobs.token.id) && before.act == Act::Issue;
        assert_eq!(
            (entry.id, entry.at, entry.act, entry.token_id),
            (before.id, before.at, before.act, before.token_id)
        );
        let told = (&entry.actor, &entry.reason, &entry.detail);
        assert_eq!(
            told,
            if of_bob {
                (&before.actor, &before.reason, &before.detail)
            } else {
                (&None, &None, &None)
            }
        );
    }
    assert_eq!(erased.audit_entries, 2 + before.len() as u64 - 1);
    assert_eq!(tracker.tokens().get(bobs.token.id).unwrap().revocation.unwrap().by, None);
}

#[test]
fn owner_who_is_gone_is_erased_again_with_success_and_nothing_to_do() {
    let (tracker, _clock) = in_memory();
    alice(&tracker);
    erase(&tracker);
    let book = tracker.tokens().audit(&AuditFilter::new()).unwrap();
    for nobody in [OWNER, "never seen"] {
        let again = tracker.tokens().erase_owner(nobody).unwrap();
        assert_eq!((again.tokens.len(), again.records, again.audit_entries), (0, 0, 0));
    }
    assert_eq!(tracker.tokens().audit(&AuditFilter::new()).unwrap(), book);
    let one = opaque(&tracker, NAME);
    assert_eq!(erase(&tracker).tokens, [one.token.id], "who comes back can go again");
}

#[test]
fn interrupted_anywhere_it_is_finished_by_the_next_call() {
    for step in [
        "usage_log WHEN new.client_address IS NULL",
        "names",
        "audit",
        "credentials",
        "catalogue WHEN new.owner = '<erased>'",
    ] {
        let database = Database::new();
        let tracker = database.open();
        let tokens = alice(&tracker);
        let bobs = issue(&tracker, "bob", "bobs");
        let mut before = tracker.stats().owner(OWNER).summary().unwrap();
        before.distinct_addresses.count = 0;
        database.execute(&format!(
            "CREATE TRIGGER fault BEFORE UPDATE ON {} BEGIN SELECT raise(ABORT, 'fault'); END",
            step.replacen(" WHEN", " FOR EACH ROW WHEN", 1)
        ));
        let error = tracker.tokens().erase_owner(OWNER).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Storage, "{step}: {error:?}");
        let of_owner = TokenFilter::new().owner(OWNER);
        assert_eq!(tracker.tokens().count(&of_owner).unwrap(), 2, "{step}: found again");
        let revoked = of_owner.status(TokenStatus::Revoked);
        assert_eq!(tracker.tokens().count(&revoked).unwrap(), 2, "{step}: dead already");
        drop(tracker);

        database.execute("DROP TRIGGER fault");
        let tracker = database.open();
        let erased = erase(&tracker);
        assert_eq!(erased.tokens, tokens.each_ref().map(|issued| issued.token.id));
        assert_eq!(tracker.stats().owner("<erased>").summary().unwrap(), before, "{step}");
        assert_eq!(database.number("SELECT count(client_address) FROM usage_log"), 0, "{step}");
        assert_eq!(database.number("SELECT count(*) FROM audit WHERE act = 12"), 1, "{step}");
        assert!(tracker.authenticate(&bobs.secret).is_ok());
        assert_sound(&tracker);
    }
}

fn open(database: &Database) -> TokenTracker {
    TokenTracker::builder().jwt_key(key()).open(database.path()).unwrap()
}

#[test]
fn other_process_does_not_go_on_to_use_the_number_of_an_erased_agent() {
    let database = Database::new();
    let (one, two) = (open(&database), open(&database));
    let (alices, bobs) = (opaque(&one, NAME), issue(&one, "bob", "bobs"));
    use_once(&two, &alices);
    use_once(&two, &bobs);
    two.flush().unwrap();
    erase(&one);
    // The same text again, which the other process knew by the old number.
    use_once(&two, &bobs);
    let agents: Vec<_> =
        records(&two, bobs.token.id).into_iter().map(|record| record.user_agent.unwrap()).collect();
    assert_eq!(agents, [AGENT, "<erased 2>"]);
    use_once(&one, &bobs);
    assert_eq!(records(&one, bobs.token.id)[0].user_agent.as_deref(), Some(AGENT));
    assert_sound(&one);
}

#[test]
fn agent_that_calls_itself_erased_is_in_nobodys_way() {
    let (tracker, _clock) = in_memory();
    let (alices, bobs) = (opaque(&tracker, NAME), issue(&tracker, "bob", "bobs"));
    let with = |issued: &Issued, agent: &str| {
        tracker.record(Usage::of(access(&tracker, issued)).user_agent(agent).status(200));
    };
    with(&alices, "alices");
    with(&bobs, "<erased 1>");
    with(&alices, "<erased 4>");
    with(&alices, "<erased 3>");
    tracker.flush().unwrap();
    assert_eq!(erase(&tracker).user_agents, 3);
    let agents: Vec<_> = records(&tracker, alices.token.id)
        .into_iter()
        .map(|record| record.user_agent.unwrap())
        .collect();
    assert!(agents.iter().all(|agent| agent.starts_with("<erased ")), "{agents:?}");
    let mut distinct = agents.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), 3, "{agents:?}");
    assert_eq!(records(&tracker, bobs.token.id)[0].user_agent.as_deref(), Some("<erased 1>"));
    assert_sound(&tracker);
}

#[test]
fn what_comes_late_is_swept() {
    let (tracker, _clock) = in_memory();
    let alices = opaque(&tracker, NAME);
    let (mut under_way, another) = (sign_in(&tracker, &alices), sign_in(&tracker, &alices));
    drop(another);
    erase(&tracker);
    under_way.begin(200, None);
    under_way.finish();
    let late = records(&tracker, alices.token.id).remove(0);
    assert!(late.client_address.is_some() && late.user_agent.as_deref() == Some(AGENT));
    let swept = tracker.tokens().sweep_erased().unwrap();
    assert_eq!((swept.records, swept.user_agents, swept.tokens.len()), (1, 1, 0));
    let late = records(&tracker, alices.token.id).remove(0);
    assert!(late.client_address.is_none() && late.user_agent.unwrap().starts_with("<erased "));
    let swept = tracker.tokens().sweep_erased().unwrap();
    assert_eq!((swept.records, swept.user_agents), (0, 0));
    assert_sound(&tracker);
}

#[test]
fn records_that_wait_in_the_queue_are_erased_too() {
    let (builder, _clock) = builder();
    let tracker = builder.commit_window(Duration::from_secs(1)).in_memory().unwrap();
    let alices = opaque(&tracker, NAME);
    for _ in 0..1_500 {
        use_once(&tracker, &alices);
    }
    assert_eq!(erase(&tracker).records, 1_500, "over several steps");
    assert_eq!(
        tracker
            .stats()
            .owner("<erased>")
            .recent(1_000)
            .unwrap()
            .iter()
            .filter(|record| record.client_address.is_some())
            .count(),
        0
    );
}

#[test]
fn long_book_and_list_are_looked_through_to_the_end() {
    let database = Database::new();
    let tracker = database.open();
    let alices = opaque(&tracker, NAME);
    database.execute(&format!(
        "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 9000)
             INSERT INTO audit (at, actor, act, token_id)
             SELECT (SELECT max(created_at) FROM catalogue), iif(n % 2 = 0, '{OWNER}', 'bob'), 3,
                 iif(n % 3 = 0, {}, NULL) FROM n;
         WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 300)
             INSERT INTO catalogue (owner, name, kind, state, tags, scopes, metadata, fragment, created_at)
             SELECT '{OWNER}', 'n' || n, 2, 2, '[]', '[]', '{{}}', 'f', (SELECT max(created_at) FROM catalogue)
             FROM n;",
        alices.token.id
    ));
    let erased = erase(&tracker);
    assert_eq!(erased.tokens.len(), 301);
    // The issue, and of the others those divisible by two or three; the revocation says nothing.
    assert_eq!(erased.audit_entries, 1 + 6_000);
    assert_eq!(database.number("SELECT count(*) FROM audit WHERE actor = 'bob'"), 3_000);
    let detail = tracker.tokens().audit(&AuditFilter::new().act(Act::Erase)).unwrap().entries;
    assert_eq!(detail.len(), 1);
    assert_eq!(detail[0].detail.as_deref(), Some(r#"{"tokens":301}"#));
}

#[test]
fn log_is_left_to_whoever_makes_checkpoints() {
    let database = Database::new();
    let open = |builder: Builder| builder.open(database.path()).unwrap();
    let tracker = open(builder().0.checkpoints(Checkpoints::External));
    alice(&tracker);
    assert!(!erase(&tracker).log_emptied);
    // Nor is it waited for where somebody reads: what is erased is so.
    drop(tracker);
    let tracker = open(builder().0);
    jwt(&tracker, NAME);
    let reader = database.connect();
    reader.execute_batch("BEGIN; SELECT count(*) FROM catalogue;").unwrap();
    let erased = erase(&tracker);
    assert_eq!((erased.tokens.len(), erased.log_emptied), (1, false));
}

#[test]
fn addresses_go_from_sums_too_and_those_that_others_came_from_stay() {
    let database = Database::new();
    let (builder, clock) = builder();
    let tracker = builder.raw_retention(DAY).open(database.path()).unwrap();
    let (alices, bobs) = (issue(&tracker, OWNER, NAME), issue(&tracker, "bob", "bobs"));
    let own: IpAddr = ADDRESS.into();
    let [shared, his]: [IpAddr; 2] = ["2001:db8::77", "2001:db8::88"].map(|it| it.parse().unwrap());
    let visits = [(&alices, own), (&alices, shared), (&bobs, shared), (&bobs, his)];
    // Summed up as days, with no record left; as hours; and not yet.
    for wait in [4 * DAY, Duration::from_secs(3_600), Duration::ZERO] {
        for (issued, address) in visits {
            let request = AuthRequest::from(&issued.secret).client_address(address);
            drop(tracker.authenticate(request).unwrap());
        }
        tracker.flush().unwrap();
        if !wait.is_zero() {
            clock.advance(wait);
            tracker.upkeep().unwrap();
        }
    }
    assert_eq!(database.number("SELECT count(*) FROM usage_log"), 8, "four are gone");
    let of_all = || {
        let groups = tracker.stats().all().groups(Grouping::ClientAddress).unwrap();
        let counts = groups.groups.iter().map(|group| (group.key.to_string(), group.requests));
        (counts.collect::<BTreeMap<_, _>>(), groups.total.distinct_addresses.count, groups.other)
    };
    let count = |address: IpAddr, many: u64| (address.to_string(), many);
    assert_eq!(of_all(), ([count(own, 3), count(shared, 6), count(his, 3)].into(), 3, 0));
    let erased = erase(&tracker);
    assert_eq!((erased.records, erased.sums), (4, 3), "two hours and a day had them");
    let none = ("<none>".to_owned(), 6);
    let rest = [none, count(shared, 3), count(his, 3)];
    assert_eq!(of_all(), (rest.clone().into(), 2, 0));
    assert_sound(&tracker);
    for wait in [Duration::ZERO, 4 * DAY] {
        clock.advance(wait);
        tracker.upkeep().unwrap();
        assert_eq!(of_all(), (rest.clone().into(), 2, 0), "nothing of it was still in memory");
        assert_sound(&tracker);
    }
    let hers = tracker.stats().owner("<erased>").summary().unwrap();
    assert_eq!((hers.total, hers.distinct_addresses.count), (6, 0));
    tracker.close().unwrap();
    drop(tracker);
    let bytes = std::fs::read(database.path()).unwrap();
    let contains = |address: &[u8]| bytes.windows(16).any(|window| window == address);
    assert!(!contains(&ADDRESS));
    assert!(
        matches!(his, IpAddr::V6(his) if contains(&his.octets())),
        "the search finds what is there"
    );
}
