//! The book of administration: an act that is done and not entered, or entered and not done, would make it
//! worthless.

use std::time::Duration;

use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use token_tracker::{
    Act, AuditEntry, AuditFilter, Clock, ErrorKind, Issued, NewToken, Rotation, TokenId,
    TokenTracker, TokenUpdate,
};

use crate::support::{Database, OWNER, in_memory, opaque};

fn entries(tracker: &TokenTracker, filter: &AuditFilter) -> Vec<AuditEntry> {
    tracker.tokens().audit(filter).unwrap().entries
}

fn acts(tracker: &TokenTracker, filter: &AuditFilter) -> Vec<Act> {
    entries(tracker, filter).iter().map(|entry| entry.act).collect()
}

fn detail(entry: &AuditEntry) -> Value {
    serde_json::from_str(entry.detail.as_deref().unwrap()).unwrap()
}

#[test]
fn every_act_is_entered_with_who_when_what_and_why() {
    let (tracker, clock) = in_memory();
    let tokens = tracker.tokens().acting_as("carol").because("ticket 17");
    let new = NewToken::jwt(OWNER, "laptop").scope("items:read");
    let id = tokens.issue(new).unwrap().token.id;
    clock.advance(Duration::from_secs(1));
    tokens.update(id, TokenUpdate::new().scopes(["items:*"]).name("desk")).unwrap();
    tokens.suspend(id).unwrap();
    tokens.resume(id).unwrap();
    clock.advance(Duration::from_secs(1));
    let revoked_at = clock.now();
    tokens.revoke(id, "left the company").unwrap();
    tracker.tokens().register(NewToken::legacy_jwt(OWNER, "old"), None, "jti-1").unwrap();

    let of_token = AuditFilter::new().token(id);
    let expected = [Act::Revoke, Act::Resume, Act::Suspend, Act::Update, Act::Issue];
    assert_eq!(acts(&tracker, &of_token), expected);
    let book = entries(&tracker, &of_token);
    let revoke = &book[0];
    assert_eq!((revoke.at, revoke.token_id), (revoked_at, Some(id)));
    assert_eq!(revoke.actor.as_deref(), Some("carol"));
    assert_eq!(revoke.reason.as_deref(), Some("left the company"));
    assert_eq!(book[1].reason.as_deref(), Some("ticket 17"));
    assert_eq!(detail(&book[1]), json!({"status": ["suspended", "active"]}));
    assert_eq!(
        detail(&book[3]),
        json!({"name": ["laptop", "desk"], "scopes": [["items:read"], ["items:*"]]})
    );
    assert_eq!(detail(&book[4])["scopes"], json!(["items:read"]));
    let newest = entries(&tracker, &AuditFilter::new()).remove(0);
    assert_eq!((newest.act, newest.actor), (Act::Register, None));
}

#[test]
fn act_that_is_not_done_is_not_entered() {
    let (tracker, _clock) = in_memory();
    let one = opaque(&tracker, "one");
    opaque(&tracker, "two");
    let before = entries(&tracker, &AuditFilter::new()).len();
    let tokens = tracker.tokens();
    assert!(tokens.update(one.token.id, TokenUpdate::new().name("two")).is_err());
    assert!(tokens.issue(NewToken::opaque(OWNER, "two")).is_err());
    assert!(tokens.clone().acting_as("x".repeat(321)).suspend(one.token.id).is_err());
    let error = tokens.clone().because("a\nb").revoke(one.token.id, "").unwrap_err();
    assert_eq!((error.kind(), error.field()), (ErrorKind::InvalidInput, Some("reason")));
    assert!(tokens.revoke("999".parse().unwrap(), "").is_ok(), "the unknown cannot be used either");
    assert_eq!(entries(&tracker, &AuditFilter::new()).len(), before);
    assert!(tracker.authenticate(&one.secret).is_ok());
    tokens.revoke(one.token.id, "").unwrap();
    tokens.revoke(one.token.id, "again").unwrap();
    assert_eq!(entries(&tracker, &AuditFilter::new()).len(), before + 1, "once");
}

#[test]
fn entry_stands_in_the_transaction_of_its_act() {
    let database = Database::new();
    let tracker = database.open();
    let issued = opaque(&tracker, "laptop");
    database.execute("ALTER TABLE audit RENAME TO lost");
    assert!(tracker.tokens().suspend(issued.token.id).is_err());
    assert_eq!(database.number("SELECT state FROM catalogue"), 0, "not even half of it");
    database.execute("ALTER TABLE lost RENAME TO audit");
    tracker.tokens().suspend(issued.token.id).unwrap();
    assert_eq!(database.number("SELECT count(*) FROM audit"), 2);
}

#[test]
fn no_secret_is_in_the_book() {
    let (tracker, _clock) = in_memory();
    for new in [NewToken::opaque(OWNER, "one"), NewToken::jwt(OWNER, "two")] {
        let issued = tracker.tokens().issue(new).unwrap();
        let book = format!("{:?}", entries(&tracker, &AuditFilter::new()));
        for part in issued.secret.expose().split('.').filter(|part| part.len() > 8) {
            assert!(!book.contains(part));
        }
    }
}

#[test]
fn book_is_read_in_pages_and_by_what_is_asked_for() {
    let (tracker, clock) = in_memory();
    let mut instants = Vec::new();
    for number in 0..25 {
        instants.push(clock.now());
        let actor = if number % 2 == 0 { "even" } else { "odd" };
        let new = NewToken::opaque(OWNER, number.to_string());
        let id = tracker.tokens().acting_as(actor).issue(new).unwrap().token.id;
        if number % 5 == 0 {
            tracker.tokens().acting_as(actor).revoke(id, "").unwrap();
        }
        clock.advance(Duration::from_secs(60));
    }
    let mut filter = AuditFilter::new().limit(7);
    let mut read = Vec::new();
    loop {
        let page = tracker.tokens().audit(&filter).unwrap();
        read.extend(page.entries.iter().map(|entry| entry.id));
        let Some(next) = page.next else { break };
        filter = filter.before(next);
    }
    assert_eq!(read, (1..=30).rev().collect::<Vec<_>>());
    assert_eq!(acts(&tracker, &AuditFilter::new().act(Act::Revoke)).len(), 5);
    let odd = AuditFilter::new().actor("odd").act(Act::Issue);
    assert_eq!(acts(&tracker, &odd).len(), 12);
    let between = AuditFilter::new().from(instants[10]).until(instants[12]);
    let expected = [Act::Issue, Act::Revoke, Act::Issue];
    assert_eq!(acts(&tracker, &between), expected);
    for limit in [0, 1_001] {
        let error = tracker.tokens().audit(&AuditFilter::new().limit(limit)).unwrap_err();
        assert_eq!(error.field(), Some("limit"));
    }
}

#[test]
fn book_is_kept_as_long_as_daily_sums() {
    let (tracker, clock) = in_memory();
    opaque(&tracker, "first");
    clock.advance(Duration::from_secs(730 * 86_400));
    opaque(&tracker, "second");
    tracker.upkeep().unwrap();
    assert_eq!(entries(&tracker, &AuditFilter::new()).len(), 2, "not a microsecond less");
    clock.advance(Duration::from_micros(1));
    tracker.upkeep().unwrap();
    assert_eq!(entries(&tracker, &AuditFilter::new()).len(), 1);
}

#[test]
fn marking_and_adopting_are_entered_too() {
    let (tracker, clock) = in_memory();
    let new = NewToken::opaque(OWNER, "short").expires_in(Duration::from_secs(5));
    let id = tracker.tokens().issue(new).unwrap().token.id;
    clock.advance(Duration::from_secs(5));
    tracker.tokens().acting_as("cron").mark_expired().unwrap();
    let newest = entries(&tracker, &AuditFilter::new()).remove(0);
    assert_eq!((newest.act, newest.token_id), (Act::Expire, Some(id)));
    assert_eq!(newest.actor.as_deref(), Some("cron"));

    let new = NewToken::opaque(OWNER, "taken").expires_in(Duration::from_secs(5));
    let before = tracker.tokens().issue(new).unwrap().token.id;
    clock.advance(Duration::from_secs(5));
    let after = opaque(&tracker, "taken").token.id;
    let book = entries(&tracker, &AuditFilter::new().limit(2));
    let acts: Vec<_> = book.iter().map(|entry| (entry.act, entry.token_id)).collect();
    assert_eq!(acts, [(Act::Issue, Some(after)), (Act::Expire, Some(before))], "for its name");
}

#[test]
fn times_in_the_details_are_rfc_3339() {
    let (tracker, clock) = in_memory();
    let day = Duration::from_secs(86_400);
    let text = |days: u32| (clock.now() + day * days).format(&Rfc3339).unwrap();
    let new = NewToken::opaque(OWNER, "laptop").expires_in(day * 2);
    let token = tracker.tokens().issue(new).unwrap().token;
    tracker
        .tokens()
        .update(token.id, TokenUpdate::new().expires_at(Some(clock.now() + day * 3)))
        .unwrap();
    tracker.tokens().rotate(token.credential_id, Rotation::within(day)).unwrap();
    let book = entries(&tracker, &AuditFilter::new());
    assert_eq!(detail(&book[0])["ends_at"], text(1));
    assert_eq!(detail(&book[1]), json!({ "expires_at": [text(2), text(3)] }));
    assert_eq!(detail(&book[2])["expires_at"], text(2));
}

#[test]
fn namesake_that_is_marked_expired_for_its_name_is_entered_in_the_same_transaction() {
    type Take = fn(&TokenTracker, &Issued) -> TokenId;
    let takes: [(Act, Take); 3] = [
        (Act::Issue, |tracker, _| {
            tracker
                .tokens()
                .acting_as("carol")
                .issue(NewToken::opaque(OWNER, "n"))
                .unwrap()
                .token
                .id
        }),
        (Act::Register, |tracker, _| {
            let new = NewToken::legacy_jwt(OWNER, "n");
            tracker.tokens().acting_as("carol").register(new, None, "jti-1").unwrap().id
        }),
        (Act::Update, |tracker, other| {
            let update = TokenUpdate::new().name("n");
            tracker.tokens().acting_as("carol").update(other.token.id, update).unwrap().id
        }),
    ];
    for (act, take) in takes {
        let (tracker, clock) = in_memory();
        let short = |name: &str| NewToken::opaque(OWNER, name).expires_in(Duration::from_secs(5));
        let other = tracker.tokens().issue(short("other")).unwrap();
        clock.advance(Duration::from_secs(1));
        let namesake = tracker.tokens().issue(short("n")).unwrap().token.id;
        clock.advance(Duration::from_secs(5));
        let before = entries(&tracker, &AuditFilter::new()).len();
        let taker = take(&tracker, &other);
        let book = entries(&tracker, &AuditFilter::new());
        assert_eq!(book.len(), before + 2);
        let entered: Vec<_> =
            book[..2].iter().map(|entry| (entry.act, entry.token_id.unwrap())).collect();
        assert_eq!(entered, [(act, taker), (Act::Expire, namesake)]);
        assert_eq!((book[1].at, book[1].actor.as_deref()), (clock.now(), Some("carol")));
        assert_eq!(book[1].detail, None);
    }
}

#[test]
fn token_that_comes_back_to_its_name_marks_who_took_it_and_has_that_entered() {
    let (tracker, clock) = in_memory();
    let five = Duration::from_secs(5);
    let short = || tracker.tokens().issue(NewToken::opaque(OWNER, "n").expires_in(five)).unwrap();
    let first = short().token.id;
    clock.advance(five);
    let second = short().token.id;
    clock.advance(five);
    tracker.tokens().update(first, TokenUpdate::new().expires_at(None)).unwrap();
    let book = entries(&tracker, &AuditFilter::new());
    let entered: Vec<_> = book.iter().map(|entry| (entry.act, entry.token_id.unwrap())).collect();
    let expected = [
        (Act::Update, first),
        (Act::Expire, second),
        (Act::Issue, second),
        (Act::Expire, first),
        (Act::Issue, first),
    ];
    assert_eq!(entered, expected);
}

#[test]
fn erasing_who_has_no_tokens_and_did_something_is_an_entry() {
    let (tracker, _clock) = in_memory();
    tracker.tokens().acting_as("carol").issue(NewToken::opaque(OWNER, "laptop")).unwrap();
    let erased = tracker.tokens().acting_as("dave").erase_owner("carol").unwrap();
    assert_eq!(erased.audit_entries, 1);
    let newest = entries(&tracker, &AuditFilter::new()).remove(0);
    assert_eq!((newest.act, newest.actor.as_deref()), (Act::Erase, Some("dave")));
    assert_eq!(detail(&newest), json!({"tokens": 0}));
    tracker.tokens().acting_as("dave").erase_owner("carol").unwrap();
    assert_eq!(entries(&tracker, &AuditFilter::new()).len(), 2, "nothing was erased");
}
