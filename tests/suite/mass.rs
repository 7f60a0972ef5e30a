//! An administrator who revokes everything of somebody means all of it, at once, and nothing else.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use token_tracker::{
    Act, AuditFilter, Clock, DenialReason, ErrorKind, Issued, NewToken, TokenFilter, TokenStatus,
    TokenTracker, Usage,
};

use crate::support::{
    Database, Done, accepted, access, assert_balanced, builder, denied, eventually, in_memory, key,
    opaque,
};

const DAY: Duration = Duration::from_secs(86_400);
const MANY: usize = 2_500;

fn issue(tracker: &TokenTracker, new: NewToken) -> Issued {
    tracker.tokens().issue(new).unwrap()
}

fn many(tracker: &TokenTracker, count: usize) -> Vec<Issued> {
    let new = |number| NewToken::opaque("mallory", format!("token {number}")).tag("leaked");
    (0..count).map(|number| issue(tracker, new(number))).collect()
}

fn leaked() -> TokenFilter {
    TokenFilter::new().tag("leaked")
}

fn revoked_rows(database: &Database) -> i64 {
    database.number("SELECT count(*) FROM catalogue WHERE state = 2")
}

/// Refuses to revoke tokens from this number on, as a disk would that is full by then.
fn break_from(database: &Database, token: usize) {
    database.execute(&format!(
        "CREATE TRIGGER broken BEFORE UPDATE ON catalogue WHEN new.state = 2 AND new.id >= {token}
         BEGIN SELECT raise(ABORT, 'no more'); END"
    ));
}

#[test]
fn what_the_filter_finds_is_revoked_and_nothing_else() {
    let (tracker, clock) = in_memory();
    let new = |owner: &str, name: &str, tag: &str| {
        issue(&tracker, NewToken::opaque(owner, name).tag(tag))
    };
    let (a, b) = (new("alice", "a", "ci"), new("alice", "b", "desk"));
    let (c, d) = (new("bob", "c", "ci"), new("bob", "d", "desk"));
    let all = [&a, &b, &c, &d];
    let tokens = tracker.tokens().acting_as("carol");
    let alive = || all.iter().map(|issued| accepted(&tracker, issued)).collect::<Vec<_>>();
    assert_eq!(alive(), [true; 4]);

    let done = tokens.revoke_all(&TokenFilter::new().owner("alice").tag("ci"), "leaked").unwrap();
    assert_eq!((done.revoked, done.already_revoked), (1, 0));
    assert_eq!(alive(), [false, true, true, true]);
    clock.advance(DAY);
    let done = tokens.revoke_all(&TokenFilter::new().owner("alice"), "left").unwrap();
    assert_eq!((done.revoked, done.already_revoked), (1, 1));
    assert_eq!(alive(), [false, false, true, true]);
    let done = tokens.revoke_all(&TokenFilter::new().owner("alice"), "again").unwrap();
    assert_eq!((done.revoked, done.already_revoked), (0, 2));
    let done = tokens.revoke_all(&TokenFilter::new().owner("nobody"), "").unwrap();
    assert_eq!((done.revoked, done.already_revoked), (0, 0));
    assert_eq!(alive(), [false, false, true, true]);

    let first = tracker.tokens().get(a.token.id).unwrap().revocation.unwrap();
    assert_eq!(first.at, clock.now() - DAY);
    assert_eq!((first.by.as_deref(), first.reason.as_deref()), (Some("carol"), Some("leaked")));
    let second = tracker.tokens().get(b.token.id).unwrap().revocation.unwrap();
    assert_eq!((second.at, second.reason.as_deref()), (clock.now(), Some("left")));
    assert_eq!(denied(&tracker, &a.secret).reason(), DenialReason::Revoked);
}

#[test]
fn suspended_and_expired_tokens_are_revoked_too() {
    let (tracker, clock) = in_memory();
    let short = issue(&tracker, NewToken::opaque("alice", "short").expires_in(DAY));
    let lost = issue(&tracker, NewToken::opaque("alice", "lost"));
    tracker.tokens().suspend(lost.token.id).unwrap();
    clock.advance(DAY);
    tracker.tokens().mark_expired().unwrap();
    let done = tracker.tokens().revoke_all(&TokenFilter::new().owner("alice"), "").unwrap();
    assert_eq!(done.revoked, 2);
    for issued in [short, lost] {
        let token = tracker.tokens().get(issued.token.id).unwrap();
        assert_eq!(token.status, TokenStatus::Revoked);
    }
}

#[test]
fn tokens_of_before_an_instant_are_revoked_to_the_microsecond() {
    let (tracker, clock) = in_memory();
    let before = opaque(&tracker, "a microsecond before");
    clock.advance(Duration::from_micros(1));
    let instant = clock.now();
    let at = opaque(&tracker, "at the instant");
    clock.advance(Duration::from_secs(1));
    let filter = TokenFilter::new().issued_before(instant);
    let done = tracker.tokens().revoke_all(&filter, "the key leaked").unwrap();
    assert_eq!((done.revoked, done.already_revoked), (1, 0));
    assert!(!accepted(&tracker, &before) && accepted(&tracker, &at));
}

#[test]
fn tokens_of_a_key_are_revoked() {
    let (tracker, _clock) = in_memory();
    let register = |jti: &str, kid: &str| {
        let new = NewToken::legacy_jwt("alice", jti).signing_key(kid);
        tracker.tokens().register(new, None, jti).unwrap().id
    };
    let (old, new) = (register("1", "2025"), register("2", "2026"));
    tracker.tokens().revoke_all(&TokenFilter::new().signing_key("2025"), "leaked").unwrap();
    let status = |id| tracker.tokens().get(id).unwrap().status;
    assert_eq!((status(old), status(new)), (TokenStatus::Revoked, TokenStatus::Active));
}

#[test]
fn filter_that_narrows_nothing_or_has_a_page_is_refused_and_nothing_happens() {
    let (tracker, _clock) = in_memory();
    let issued = opaque(&tracker, "laptop");
    let owner = TokenFilter::new().owner(&issued.token.owner);
    for (filter, field) in [
        (TokenFilter::new(), "filter"),
        (owner.clone().limit(10), "limit"),
        (owner.clone().after(issued.token.id), "after"),
    ] {
        let error = tracker.tokens().revoke_all(&filter, "").unwrap_err();
        assert_eq!((error.kind(), error.field()), (ErrorKind::InvalidInput, Some(field)));
        let error = tracker.tokens().preview(&filter, DAY).unwrap_err();
        assert_eq!((error.kind(), error.field()), (ErrorKind::InvalidInput, Some(field)));
    }
    let error = tracker.tokens().revoke_all(&owner, &"x".repeat(501)).unwrap_err();
    assert_eq!(error.field(), Some("reason"));
    let error = tracker.tokens().preview(&owner, Duration::ZERO).unwrap_err();
    assert_eq!(error.field(), Some("used_within"));
    assert!(accepted(&tracker, &issued));
}

#[test]
fn dry_run_says_what_would_be_done_and_does_nothing() {
    let database = Database::new();
    let (builder, clock) = builder();
    let tracker = builder.open(database.path()).unwrap();
    let tokens = many(&tracker, 5);
    opaque(&tracker, "other");
    tracker.tokens().revoke(tokens[0].token.id, "").unwrap();
    assert!(accepted(&tracker, &tokens[1]));
    clock.advance(10 * DAY);
    for issued in &tokens[2..4] {
        assert!(accepted(&tracker, issued));
    }
    tracker.flush().unwrap();
    let listed = || tracker.tokens().list(&TokenFilter::new()).unwrap();
    let marks = || {
        let count = |table: &str| database.number(&format!("SELECT count(*) FROM {table}"));
        (count("audit"), count("changes"), listed())
    };
    let before = marks();
    let preview = |within: Duration| {
        let preview = tracker.tokens().preview(&leaked(), within).unwrap();
        assert_eq!((preview.already_revoked, preview.use_not_tracked), (1, 0));
        (preview.to_revoke, preview.used)
    };
    assert_eq!(preview(5 * DAY), (4, 2));
    assert_eq!(preview(10 * DAY), (4, 3));
    assert_eq!(preview(Duration::from_secs(1)), (4, 2));
    assert_eq!(marks(), before);
    assert!(tokens[1..].iter().all(|issued| accepted(&tracker, issued)));
}

#[test]
fn dry_run_says_of_which_tokens_the_use_is_not_known() {
    let database = Database::new();
    let (untracked, clock) = builder();
    let tracker = untracked.without_last_used().open(database.path()).unwrap();
    many(&tracker, 3);
    let preview = |tracker: &TokenTracker, within| {
        let preview = tracker.tokens().preview(&leaked(), within).unwrap();
        (preview.to_revoke, preview.used, preview.use_not_tracked)
    };
    assert_eq!(preview(&tracker, DAY), (3, 0, 3));
    drop(tracker);
    clock.advance(DAY);
    let tracker = builder().0.clock(clock.clone()).open(database.path()).unwrap();
    clock.advance(DAY);
    assert_eq!(preview(&tracker, DAY), (3, 0, 0), "tracked all that time");
    assert_eq!(preview(&tracker, DAY * 2), (3, 0, 3));
}

#[test]
fn all_are_refused_at_once_before_the_first_is_stored() {
    let database = Database::new();
    let (builder, _clock) = builder();
    let builder = builder.busy_timeout(Duration::from_secs(30));
    let tracker = builder.open(database.path()).unwrap();
    let (tokens, other) = (many(&tracker, MANY), opaque(&tracker, "other"));
    assert!(tokens.iter().all(|issued| accepted(&tracker, issued)));
    let lock = database.connect();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    std::thread::scope(|scope| {
        let call = scope.spawn(|| tracker.tokens().revoke_all(&leaked(), "leaked").unwrap());
        eventually("the last is refused", || !accepted(&tracker, &tokens[MANY - 1]));
        assert!(tokens.iter().all(|issued| !accepted(&tracker, issued)));
        assert!(accepted(&tracker, &other));
        assert_eq!(revoked_rows(&database), 0);
        lock.execute_batch("ROLLBACK").unwrap();
        assert_eq!(call.join().unwrap().revoked, MANY as u64);
    });
    assert_eq!(revoked_rows(&database), MANY as i64);
    assert!(tokens.iter().all(|issued| !accepted(&tracker, issued)));
    assert!(accepted(&tracker, &other));
    drop(tracker);
    let tracker = database.open();
    assert!(tokens.iter().all(|issued| !accepted(&tracker, issued)), "durably");
}

#[test]
fn more_tokens_than_one_reading_takes_are_all_found() {
    let database = Database::new();
    let tracker = database.open();
    database.execute(
        "INSERT INTO catalogue (owner, name, kind, state, tags, scopes, metadata, fragment, created_at)
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10001)
         SELECT 'mallory', i, 2, iif(i % 1000 = 0, 2, 0), '[\"leaked\"]', '[]', '{}', '',
             1767225600000000 FROM n",
    );
    let other = opaque(&tracker, "other");
    let preview = tracker.tokens().preview(&leaked(), DAY).unwrap();
    assert_eq!((preview.to_revoke, preview.already_revoked), (9_991, 10));
    let done = tracker.tokens().revoke_all(&leaked(), "").unwrap();
    assert_eq!((done.revoked, done.already_revoked), (9_991, 10));
    assert_eq!(revoked_rows(&database), 10_001);
    assert!(accepted(&tracker, &other));
}

#[test]
fn none_is_accepted_between_the_steps() {
    let database = Database::new();
    let tracker = database.open();
    let (tokens, other) = (many(&tracker, MANY), opaque(&tracker, "other"));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let (reader, mut between) = (database.connect(), 0);
            while !done.load(Ordering::SeqCst) {
                let sql = "SELECT count(*) FROM catalogue WHERE state = 2";
                let stored: i64 = reader.query_row(sql, [], |row| row.get(0)).unwrap();
                if stored > 0 {
                    let late = tokens.iter().rev().step_by(97);
                    assert!(late.into_iter().all(|issued| !accepted(&tracker, issued)));
                    between += u32::from(stored < MANY as i64);
                }
                drop(access(&tracker, &other));
            }
            between
        });
        let done = Done(&done);
        tracker.tokens().revoke_all(&leaked(), "leaked").unwrap();
        drop(done);
        assert!(watching.join().unwrap() > 0, "nobody looked between two steps");
    });
    tracker.record(Usage::of(access(&tracker, &other)).status(200));
    tracker.flush().unwrap();
    assert_balanced(&tracker);
    assert_eq!(tracker.health().dropped, 0);
}

#[test]
fn other_trackers_on_the_file_follow_within_a_quarter_of_a_second() {
    let database = Database::new();
    let open = || TokenTracker::builder().jwt_key(key()).open(database.path()).unwrap();
    let (one, two) = (open(), open());
    let (tokens, other) = (many(&one, 600), opaque(&one, "other"));
    assert!(tokens.iter().all(|issued| accepted(&two, issued)));
    one.tokens().revoke_all(&leaked(), "leaked").unwrap();
    std::thread::sleep(Duration::from_millis(250));
    let still = tokens.iter().filter(|issued| accepted(&two, issued)).count();
    assert_eq!(still, 0, "accepted 250 ms after the last commit");
    assert!(accepted(&two, &other));
}

#[test]
fn failure_half_way_leaves_all_refused_and_repeating_finishes() {
    let database = Database::new();
    let tracker = database.open();
    let tokens = many(&tracker, 1_000);
    assert!(tokens.iter().all(|issued| accepted(&tracker, issued)));
    break_from(&database, 700);
    let error = tracker.tokens().revoke_all(&leaked(), "leaked").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotDurable);
    let durable = revoked_rows(&database);
    assert_eq!(durable, 512, "two steps");
    let message = error.to_string();
    assert!(message.contains("512 revocations are durable, 488 are in force"), "{message}");
    assert!(tokens.iter().all(|issued| !accepted(&tracker, issued)));
    let again = tracker.tokens().revoke_all(&leaked(), "leaked").unwrap_err();
    assert!(again.to_string().starts_with("0 revocations are durable, 488"), "{again}");

    database.execute("DROP TRIGGER broken");
    let done = tracker.tokens().revoke_all(&leaked(), "leaked").unwrap();
    assert_eq!((done.revoked, done.already_revoked), (488, 512));
    let done = tracker.tokens().revoke_all(&leaked(), "leaked").unwrap();
    assert_eq!((done.revoked, done.already_revoked), (0, 1_000));
    assert!(tokens.iter().all(|issued| !accepted(&tracker, issued)));
    let entries = database.number("SELECT count(*) FROM audit WHERE act = 4");
    assert_eq!(entries, 1_000, "one for each");
    drop(tracker);
    let tracker = database.open();
    assert!(tokens.iter().all(|issued| !accepted(&tracker, issued)));
}

#[test]
fn what_cannot_be_stored_at_all_is_in_force_all_the_same() {
    let database = Database::new();
    let (builder, _clock) = builder();
    let tracker = builder.busy_timeout(Duration::from_millis(20)).open(database.path()).unwrap();
    let tokens = many(&tracker, 300);
    let lock = database.connect();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = tracker.tokens().revoke_all(&leaked(), "leaked").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotDurable);
    assert!(error.to_string().starts_with("0 revocations are durable, 300"), "{error}");
    lock.execute_batch("ROLLBACK").unwrap();
    assert!(tokens.iter().all(|issued| !accepted(&tracker, issued)));
    for issued in &tokens {
        assert_eq!(denied(&tracker, &issued.secret).reason(), DenialReason::Revoked);
    }
    assert_eq!(tracker.tokens().revoke_all(&leaked(), "leaked").unwrap().revoked, 300);
}

#[test]
fn audit_shows_each_revocation_with_its_reason_and_the_filter() {
    let (tracker, clock) = in_memory();
    let tokens = many(&tracker, 3);
    clock.advance(Duration::from_secs(1));
    let filter = leaked().owner("mallory").issued_before(clock.now()).unused_for(DAY / 86_400);
    let filter = filter.status(TokenStatus::Active);
    clock.advance(Duration::from_secs(60));
    tracker.tokens().acting_as("carol").revoke_all(&filter, "found in a log").unwrap();
    let entries = tracker.tokens().audit(&AuditFilter::new().act(Act::Revoke)).unwrap().entries;
    assert_eq!(entries.len(), 3);
    for (entry, issued) in entries.iter().rev().zip(&tokens) {
        assert_eq!(entry.token_id, Some(issued.token.id));
        assert_eq!((entry.actor.as_deref(), entry.at), (Some("carol"), clock.now()));
        assert_eq!(entry.reason.as_deref(), Some("found in a log"));
        let detail: serde_json::Value =
            serde_json::from_str(entry.detail.as_deref().unwrap()).unwrap();
        assert_eq!(detail["filter"]["owner"], "mallory");
        assert_eq!(detail["filter"]["tag"], "leaked");
        assert_eq!(detail["filter"]["status"], "active");
        assert_eq!(detail["filter"]["unused_for_s"], 1.0);
        assert!(detail["filter"]["issued_before"].as_str().unwrap().ends_with('Z'));
        assert_eq!(detail["filter"].as_object().unwrap().len(), 5);
    }
}

#[test]
fn tokens_issued_meanwhile_are_spared_unless_they_bear_a_time_of_before() {
    for by_time in [false, true] {
        let database = Database::new();
        let (builder, clock) = builder();
        let builder = builder.busy_timeout(Duration::from_secs(30));
        let tracker = builder.open(database.path()).unwrap();
        let first = many(&tracker, 1).remove(0);
        let lock = database.connect();
        lock.execute_batch("BEGIN IMMEDIATE").unwrap();
        let new = NewToken::opaque("mallory", "meanwhile").tag("leaked");
        std::thread::scope(|scope| {
            let meanwhile = scope.spawn(|| tracker.tokens().issue(new).unwrap());
            // It has read the time once it is in the queue, which nothing shows.
            std::thread::sleep(Duration::from_millis(200));
            clock.advance(Duration::from_secs(1));
            let filter = if by_time { leaked().issued_before(clock.now()) } else { leaked() };
            let call = scope.spawn(|| {
                let filter = filter;
                tracker.tokens().revoke_all(&filter, "").unwrap()
            });
            eventually("the first is refused", || !accepted(&tracker, &first));
            lock.execute_batch("ROLLBACK").unwrap();
            let meanwhile = meanwhile.join().unwrap();
            assert_eq!(call.join().unwrap().revoked, if by_time { 2 } else { 1 });
            assert_eq!(accepted(&tracker, &meanwhile), !by_time);
        });
        assert!(accepted(&tracker, &many_more(&tracker)), "issued afterwards");
    }
}

fn many_more(tracker: &TokenTracker) -> Issued {
    issue(tracker, NewToken::opaque("mallory", "afterwards").tag("leaked"))
}

#[test]
fn nothing_is_revoked_by_a_tracker_that_is_closed() {
    let (tracker, _clock) = in_memory();
    many(&tracker, 2);
    tracker.close().unwrap();
    let error = tracker.tokens().revoke_all(&leaked(), "").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
}

#[test]
fn what_is_stored_is_not_held_in_memory_any_longer() {
    let database = Database::new();
    let tracker = database.open();
    let tokens = many(&tracker, 300);
    break_from(&database, 270);
    tracker.tokens().revoke_all(&leaked(), "").unwrap_err();
    // As if somebody had put an old copy of the file in its place.
    database.execute("DROP TRIGGER broken; UPDATE catalogue SET state = 0");
    let alive = || tokens.iter().map(|issued| accepted(&tracker, issued)).collect::<Vec<_>>();
    assert_eq!(alive(), [vec![true; 256], vec![false; 44]].concat(), "the last step failed");
    tracker.tokens().revoke_all(&leaked(), "").unwrap();
    database.execute("UPDATE catalogue SET state = 0");
    assert_eq!(alive(), vec![true; 300]);
}
