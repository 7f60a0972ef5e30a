//! What is dead for long enough goes, and nothing else: no sum loses whose it is, and nothing comes back to life.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use token_tracker::{
    Act, Algorithm, AuditFilter, AuthError, AuthRequest, Builder, Clock, CredentialId,
    DenialReason, ErrorKind, Issued, JwtIssuer, JwtKey, ManualClock, NewToken, Outside, Rotation,
    TokenFilter, TokenId, TokenTracker, TokenUpdate, Usage,
};

use crate::support::{
    Database, OWNER, accepted, access, builder, denied, eventually, in_memory, jwt, key, opaque,
};

const DAY: Duration = Duration::from_secs(86_400);
const MICROSECOND: Duration = Duration::from_micros(1);

/// Daily sums are kept for ten days.
fn short(builder: Builder) -> Builder {
    builder.raw_retention(2 * DAY).hourly_retention(4 * DAY).daily_retention(10 * DAY)
}

fn open(database: &Database) -> (TokenTracker, ManualClock) {
    let (builder, clock) = builder();
    (short(builder).open(database.path()).unwrap(), clock)
}

fn is_there(tracker: &TokenTracker, id: TokenId) -> bool {
    tracker.upkeep().unwrap();
    tracker.tokens().get(id).is_ok()
}

/// A JWT that expires in a day.
fn short_jwt(tracker: &TokenTracker, name: &str) -> Issued {
    tracker.tokens().issue(NewToken::jwt(OWNER, name).expires_in(DAY)).unwrap()
}

#[test]
fn dead_token_goes_when_it_was_dead_for_longer_than_daily_sums_are_kept_and_not_before() {
    let database = Database::new();
    let (tracker, clock) = open(&database);
    let (revoked, expired) = (opaque(&tracker, "revoked"), short_jwt(&tracker, "expired"));
    let living = opaque(&tracker, "living");
    tracker.tokens().revoke(revoked.token.id, "").unwrap();
    clock.advance(10 * DAY);
    assert!(is_there(&tracker, revoked.token.id), "dead for as long as sums are kept");
    clock.advance(MICROSECOND);
    assert!(!is_there(&tracker, revoked.token.id));
    clock.advance(DAY - MICROSECOND);
    assert!(is_there(&tracker, expired.token.id), "expired a day later");
    clock.advance(MICROSECOND);
    assert!(!is_there(&tracker, expired.token.id));
    clock.advance(1_000 * DAY);
    assert!(is_there(&tracker, living.token.id));
    assert!(accepted(&tracker, &living));
    for issued in [&revoked, &expired] {
        assert!(!accepted(&tracker, issued));
    }
    assert_eq!(database.number("SELECT count(*) FROM credentials"), 1);
    assert_eq!(tracker.verify().unwrap().problems, [""; 0]);
}

#[test]
fn removal_is_in_the_book_and_numbers_are_never_used_again() {
    let (builder, clock) = builder();
    let tracker = short(builder).in_memory().unwrap();
    let dead = opaque(&tracker, "dead");
    tracker.tokens().revoke(dead.token.id, "").unwrap();
    clock.advance(11 * DAY);
    assert!(!is_there(&tracker, dead.token.id));
    let page = tracker.tokens().audit(&AuditFilter::new().act(Act::Remove)).unwrap();
    let entry = &page.entries[0];
    assert_eq!((page.entries.len(), entry.token_id, &entry.actor), (1, Some(dead.token.id), &None));
    assert_eq!(entry.at, clock.now());
    let next = opaque(&tracker, "dead");
    assert!(next.token.id > dead.token.id);
    assert!(accepted(&tracker, &next), "no refusal is left under another's number");
}

#[test]
fn jwt_that_could_be_good_again_is_remembered_for_ever() {
    let (builder, clock) = builder();
    let tracker = short(builder).in_memory().unwrap();
    let endless = jwt(&tracker, "without exp");
    tracker.tokens().revoke(endless.token.id, "").unwrap();
    let new = NewToken::legacy_jwt(OWNER, "registered").expires_in(DAY);
    let registered = tracker.tokens().register(new, None, "known elsewhere").unwrap();
    // The catalogue is edited; what the token says of itself is not.
    let long = NewToken::jwt(OWNER, "long").expires_in(100 * DAY);
    let long = tracker.tokens().issue(long).unwrap();
    let update = TokenUpdate::new().expires_at(Some(clock.now() + DAY));
    tracker.tokens().update(long.token.id, update).unwrap();
    clock.advance(100 * DAY);
    for id in [endless.token.id, registered.id, long.token.id] {
        assert!(is_there(&tracker, id));
    }
    clock.advance(DAY - MICROSECOND);
    assert!(is_there(&tracker, long.token.id), "over for less than a day");
    clock.advance(MICROSECOND);
    assert!(!is_there(&tracker, long.token.id));
    clock.advance(3_000 * DAY);
    assert!(is_there(&tracker, endless.token.id) && is_there(&tracker, registered.id));
    assert_eq!(denied(&tracker, &endless.secret).reason(), DenialReason::Revoked);
}

#[test]
fn adopted_token_is_refused_after_it_was_removed_and_not_adopted_again() {
    let outside_key = || JwtKey::hmac(Algorithm::Hs256, &[9; 32]).unwrap();
    let leeway = Duration::from_secs(300);
    let issuer = JwtIssuer::named("https://id.example.com").key(outside_key()).leeway(leeway);
    let (_, clock) = builder();
    let ours = JwtIssuer::named("ours").key(key());
    let builder = TokenTracker::builder().clock(clock.clone()).jwt_issuer(ours);
    let builder = builder.jwt_issuer(issuer.outside(Outside::Adopt { most: 5 }));
    let tracker = short(builder).in_memory().unwrap();
    let expires_at = clock.now().unix_timestamp() + 3_600;
    let token = signed(&json!({"iss": "https://id.example.com", "sub": "bob", "jti": "1",
        "exp": expires_at}));
    let (kept, revoked) = (tracker.authenticate(&token).unwrap(), jwt(&tracker, "unrelated"));
    let id = kept.identity().token_id();
    drop((kept, revoked));
    tracker.tokens().revoke(id, "stolen").unwrap();
    assert_eq!(denied(&tracker, &token).reason(), DenialReason::Revoked);
    clock.advance(30 * DAY);
    assert!(!is_there(&tracker, id));
    let count = || tracker.tokens().count(&TokenFilter::new()).unwrap();
    let before = (count(), tracker.health().strangers);
    assert_eq!(denied(&tracker, &token).reason(), DenialReason::Expired);
    assert_eq!((count(), tracker.health().strangers), (before.0, before.1 + 1));
}

#[test]
fn token_stays_as_long_as_a_sum_is_of_it_and_totals_of_its_owner_never_change_before() {
    let database = Database::new();
    let (tracker, clock) = open(&database);
    let (dead, living) = (opaque(&tracker, "dead"), opaque(&tracker, "living"));
    for issued in [&dead, &living] {
        tracker.record(Usage::of(access(&tracker, issued)).route("GET", "/").status(200));
    }
    tracker.flush().unwrap();
    tracker.tokens().revoke(dead.token.id, "").unwrap();
    // Refused requests are in the sums, and move no last use.
    clock.advance(5 * DAY + DAY / 2);
    (0..3).for_each(|_| drop(denied(&tracker, &dead.secret)));
    tracker.flush().unwrap();
    let total = || tracker.stats().owner(OWNER).last_days(30).summary().unwrap().total;
    for day in 0..11 {
        assert!(is_there(&tracker, dead.token.id), "day {day}");
        assert_eq!(tracker.verify().unwrap().problems, [""; 0], "day {day}");
        let all = tracker.stats().all().last_days(30).summary().unwrap().total;
        assert_eq!(total(), all, "day {day}");
        if day < 5 {
            assert_eq!(total(), 5, "day {day}");
        } else {
            assert!(total() >= 3, "day {day}");
        }
        clock.advance(DAY);
    }
    assert!(!is_there(&tracker, dead.token.id), "the last sum of it is gone");
    assert_eq!(total(), 0);
    assert_eq!(tracker.verify().unwrap().problems, [""; 0]);
    assert_eq!(database.number("SELECT count(*) FROM usage_heads"), 1, "the living one's");
}

#[test]
fn token_that_was_asked_for_late_stays() {
    let database = Database::new();
    let (tracker, clock) = open(&database);
    let dead = opaque(&tracker, "dead");
    tracker.tokens().revoke(dead.token.id, "").unwrap();
    clock.advance(20 * DAY);
    let now = clock.now().unix_timestamp() * 1_000_000;
    database.execute(&format!(
        "INSERT INTO late_uses (credential_id, reason, count, first_at, last_at)
         SELECT id, 9, 1, {now}, {now} FROM credentials"
    ));
    clock.advance(10 * DAY);
    assert!(is_there(&tracker, dead.token.id));
    clock.advance(MICROSECOND);
    assert!(!is_there(&tracker, dead.token.id));
    assert_eq!(database.number("SELECT count(*) FROM late_uses"), 0);
}

#[test]
fn token_stays_as_long_as_the_audit_tells_of_it_so_that_its_owner_can_be_erased() {
    let database = Database::new();
    let (tracker, clock) = open(&database);
    let new = NewToken::opaque(OWNER, "dead").expires_in(DAY);
    let dead = tracker.tokens().issue(new).unwrap().token.id;
    clock.advance(6 * DAY);
    tracker
        .tokens()
        .update(dead, TokenUpdate::new().description(Some("of Alice".to_owned())))
        .unwrap();
    clock.advance(10 * DAY);
    assert!(is_there(&tracker, dead));
    let in_file = || database.number("SELECT count(*) FROM audit WHERE instr(detail, 'Alice') > 0");
    assert_eq!(in_file(), 1);
    assert_eq!(tracker.tokens().erase_owner(OWNER).unwrap().tokens, [dead]);
    assert_eq!(in_file(), 0);

    let new = NewToken::opaque("bob", "dead").expires_in(DAY);
    let dead = tracker.tokens().issue(new).unwrap().token.id;
    clock.advance(2 * DAY);
    tracker
        .tokens()
        .update(dead, TokenUpdate::new().description(Some("of Bob".to_owned())))
        .unwrap();
    clock.advance(10 * DAY + MICROSECOND);
    assert!(!is_there(&tracker, dead));
}

#[test]
fn everything_of_a_removed_token_goes_and_so_does_what_belongs_to_none() {
    let database = Database::new();
    let (tracker, clock) = open(&database);
    let (dead, living) = (opaque(&tracker, "dead"), opaque(&tracker, "living"));
    drop(access(&tracker, &living));
    tracker.flush().unwrap();
    // Not so long ago that they would go for their age.
    let (now, later) = (clock.now().unix_timestamp(), clock.now().unix_timestamp() + 172_800);
    let (now, later) = (now * 1_000_000, later * 1_000_000);
    database.execute(&format!(
        "INSERT INTO token_addresses (token_id, address, seen_at)
             VALUES (1, x'01', {now}), (2, x'01', {later}), (77, x'01', {later});
         INSERT INTO quota_windows (token_id, period, window_number, granted, told)
             VALUES (1, 0, 1, 1, 0), (2, 0, 1, 1, 0), (77, 0, 1, 1, 0);
         INSERT INTO usage_heads (token_id, last_id) VALUES (77, 1), (78, 0);
         INSERT INTO late_uses (credential_id, reason, count, first_at, last_at)
             VALUES (1, 9, 1, {now}, {now}), (2, 9, 1, {now}, {later}), (77, 9, 1, {now}, {later});"
    ));
    let rows = || {
        ["token_addresses", "quota_windows", "usage_heads", "late_uses"]
            .map(|table| database.number(&format!("SELECT count(*) FROM {table}")))
    };
    tracker.upkeep().unwrap();
    assert_eq!(rows(), [2, 2, 2, 2], "a head that leads to a row stays");
    tracker.tokens().revoke(dead.token.id, "").unwrap();
    clock.advance(11 * DAY);
    assert!(!is_there(&tracker, dead.token.id));
    assert_eq!(rows(), [1, 1, 1, 1]);
    assert!(is_there(&tracker, living.token.id));
    assert_eq!(database.number("SELECT count(*) FROM credentials"), 1);
}

#[test]
fn addresses_and_late_uses_of_a_living_token_go_once_they_are_older_than_daily_sums() {
    let database = Database::new();
    let (tracker, clock) = open(&database);
    let living = opaque(&tracker, "living");
    let at = clock.now().unix_timestamp() * 1_000_000;
    let (token, day) = (living.token.id, 86_400_000_000_i64);
    database.execute(&format!(
        "INSERT INTO token_addresses VALUES ({token}, x'cb007107', {at}), ({token}, x'cb007108', {at} + {day});
         INSERT INTO late_uses (credential_id, reason, count, first_at, last_at, last_address, last_agent)
            SELECT id, 0, 1, {at}, {at}, x'cb007107', 'agent' FROM credentials;
         INSERT INTO late_uses (credential_id, reason, count, first_at, last_at, last_address, last_agent)
            SELECT id, 1, 2, {at}, {at} + {day}, x'cb007108', 'agent' FROM credentials"
    ));
    let left = || {
        tracker.upkeep().unwrap();
        ["token_addresses", "late_uses"]
            .map(|table| database.number(&format!("SELECT count(*) FROM {table}")))
    };
    clock.advance(10 * DAY);
    assert_eq!(left(), [2, 2], "as old as the oldest daily sum");
    clock.advance(MICROSECOND);
    assert_eq!(left(), [1, 1]);
    clock.advance(DAY);
    assert_eq!(left(), [0, 0]);
    assert!(accepted(&tracker, &living));
}

#[test]
fn nothing_is_removed_while_the_clock_is_in_doubt() {
    let database = Database::new();
    let (tracker, clock) = open(&database);
    let dead = opaque(&tracker, "dead");
    tracker.tokens().revoke(dead.token.id, "").unwrap();
    clock.set_wall(clock.now() + 100 * DAY);
    assert!(tracker.upkeep().is_err());
    tracker.flush().unwrap();
    assert!(tracker.tokens().get(dead.token.id).is_ok());
    tracker.confirm_clock();
    assert!(!is_there(&tracker, dead.token.id));
}

#[test]
fn other_process_forgets_a_removed_token() {
    let database = Database::new();
    let (one, clock) = open(&database);
    let two = short(builder().0).clock(clock.clone()).without_usage_recording();
    let two = two.open(database.path()).unwrap();
    let dead = opaque(&one, "dead");
    one.tokens().revoke(dead.token.id, "").unwrap();
    clock.advance(15 * DAY);
    let cached = || {
        let answer = two.authenticate_cached(&AuthRequest::from(&dead.secret));
        matches!(answer, Some(Err(AuthError::Denied(denied))) if denied.reason() == DenialReason::Revoked)
    };
    eventually("cached and fresh", || {
        drop(denied(&two, &dead.secret));
        cached()
    });
    assert!(!is_there(&one, dead.token.id));
    eventually("forgotten", || !cached());
    assert_eq!(denied(&two, &dead.secret).reason(), DenialReason::UnknownToken);
}

#[test]
fn thousands_of_dead_tokens_go_and_each_is_in_the_book() {
    let database = Database::new();
    let (tracker, clock) = open(&database);
    let living = opaque(&tracker, "living");
    database.execute(
        "WITH RECURSIVE numbers (n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM numbers WHERE n <= 2500)
         INSERT INTO catalogue (id, owner, name, kind, state, tags, scopes, metadata, fragment, created_at, revoked_at)
             SELECT n, 'bob', 'name ' || n, 2, 2, '[]', '[]', '{}', '', 1, 1 FROM numbers;
         INSERT INTO credentials (token_id, state, hash, fragment, created_at)
             SELECT id, 0, randomblob(32), '', 1 FROM catalogue WHERE id > 1;",
    );
    let changes = || database.number("SELECT count(*) FROM changes");
    let before = changes();
    clock.advance(11 * DAY);
    drop(access(&tracker, &living));
    tracker.upkeep().unwrap();
    assert_eq!(database.number("SELECT count(*) FROM catalogue"), 1);
    assert_eq!(database.number("SELECT count(*) FROM credentials"), 1);
    assert_eq!(database.number("SELECT count(*) FROM audit WHERE act = 11"), 2_500);
    assert_eq!(changes() - before, 2_500);
    assert_eq!(tracker.verify().unwrap().problems, [""; 0]);
}

#[test]
fn census_that_finds_nothing_writes_nothing() {
    let database = Database::new();
    let (tracker, clock) = open(&database);
    (0..10).for_each(|number| drop(opaque(&tracker, &format!("living {number}"))));
    drop(access(&tracker, &opaque(&tracker, "used")));
    tracker.flush().unwrap();
    tracker.upkeep().unwrap();
    let other = database.connect();
    let version =
        || -> i64 { other.pragma_query_value(None, "data_version", |row| row.get(0)).unwrap() };
    let before = version();
    clock.advance(Duration::from_secs(7_200));
    tracker.upkeep().unwrap();
    assert_eq!(version(), before);
}

#[test]
fn census_of_a_catalogue_in_memory_leaves_the_cache_right() {
    let (tracker, clock) = in_memory();
    let dead = opaque(&tracker, "dead");
    tracker.tokens().revoke(dead.token.id, "").unwrap();
    assert_eq!(denied(&tracker, &dead.secret).reason(), DenialReason::Revoked);
    tracker.flush().unwrap();
    clock.advance(800 * DAY);
    assert!(!is_there(&tracker, dead.token.id));
    assert_eq!(denied(&tracker, &dead.secret).reason(), DenialReason::UnknownToken);
}

/// The credentials of a token, oldest first.
fn credentials(tracker: &TokenTracker, id: TokenId) -> Vec<CredentialId> {
    tracker.upkeep().unwrap();
    let credentials = tracker.tokens().credentials(id).unwrap();
    credentials.iter().rev().map(|credential| credential.id).collect()
}

/// The number of the credential that a secret is.
fn number(tracker: &TokenTracker, issued: &Issued) -> CredentialId {
    access(tracker, issued).identity().credential_id()
}

/// Another secret for a token, used once.
fn rotated(tracker: &TokenTracker, issued: &Issued, rotation: Rotation) -> Issued {
    let new = tracker.tokens().rotate(number(tracker, issued), rotation).unwrap();
    assert!(accepted(tracker, &new));
    new
}

#[test]
fn what_was_rotated_out_goes_when_it_was_dead_for_longer_than_daily_sums_are_kept() {
    let database = Database::new();
    let (tracker, clock) = open(&database);
    let first = opaque(&tracker, "laptop");
    let id = first.token.id;
    let second = rotated(&tracker, &first, Rotation::until_first_use());
    clock.advance(DAY);
    let all = [first.token.credential_id, number(&tracker, &second)];
    let third = rotated(&tracker, &second, Rotation::within(DAY));
    let all = [all[0], all[1], number(&tracker, &third)];
    clock.advance(9 * DAY);
    assert_eq!(credentials(&tracker, id), all, "dead for as long as sums are kept");
    clock.advance(MICROSECOND);
    assert_eq!(credentials(&tracker, id), all[1..]);
    // The deadline of the second passed, and nobody marked it.
    assert_eq!(database.number("SELECT state FROM credentials WHERE id = 2"), 2);
    clock.advance(2 * DAY - MICROSECOND);
    assert_eq!(credentials(&tracker, id), all[1..]);
    clock.advance(MICROSECOND);
    assert_eq!(credentials(&tracker, id), all[2..]);
    clock.advance(1_000 * DAY);
    assert_eq!(credentials(&tracker, id), all[2..], "what lives stays");
    assert!(accepted(&tracker, &third));
    for dead in [&first, &second] {
        assert_eq!(denied(&tracker, &dead.secret).status(), 401);
    }
    let error = tracker.tokens().rotate(all[0], Rotation::until_first_use()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let fourth = rotated(&tracker, &third, Rotation::until_first_use());
    assert!(number(&tracker, &fourth) > all[2], "no number is used again");
    assert_eq!(tracker.verify().unwrap().problems, [""; 0]);
}

#[test]
fn what_was_rotated_out_and_is_asked_for_stays_until_that_is_as_long_ago() {
    let database = Database::new();
    let (tracker, clock) = open(&database);
    let old = opaque(&tracker, "laptop");
    let new = rotated(&tracker, &old, Rotation::until_first_use());
    clock.advance(8 * DAY);
    assert_eq!(denied(&tracker, &old.secret).reason(), DenialReason::CredentialRetired);
    tracker.flush().unwrap();
    let all = [old.token.credential_id, number(&tracker, &new)];
    clock.advance(10 * DAY);
    assert_eq!(credentials(&tracker, old.token.id), all);
    assert_eq!(database.number("SELECT count(*) FROM late_uses"), 1);
    clock.advance(MICROSECOND);
    assert_eq!(credentials(&tracker, old.token.id), all[1..]);
    assert_eq!(database.number("SELECT count(*) FROM late_uses"), 0);
    assert!(accepted(&tracker, &new));
}

#[test]
fn jwt_that_was_rotated_out_goes_when_its_own_expiry_is_known_and_over_for_a_day() {
    let (builder, clock) = builder();
    let tracker = short(builder).in_memory().unwrap();
    let long = NewToken::jwt(OWNER, "long").expires_in(100 * DAY);
    let long = tracker.tokens().issue(long).unwrap();
    let never = TokenUpdate::new().expires_at(None);
    tracker.tokens().update(long.token.id, never).unwrap();
    let endless = jwt(&tracker, "endless");
    let registered = NewToken::legacy_jwt(OWNER, "registered").expires_in(DAY);
    let registered = tracker.tokens().register(registered, None, "elsewhere").unwrap();
    let never = TokenUpdate::new().expires_at(None);
    tracker.tokens().update(registered.id, never).unwrap();
    for named in [long.token.credential_id, endless.token.credential_id, registered.credential_id] {
        let new = tracker.tokens().rotate(named, Rotation::until_first_use()).unwrap();
        assert!(accepted(&tracker, &new));
    }
    let count = |id| credentials(&tracker, id).len();
    clock.advance(101 * DAY - MICROSECOND);
    assert_eq!(count(long.token.id), 2, "over for less than a day");
    clock.advance(MICROSECOND);
    assert_eq!(count(long.token.id), 1);
    clock.advance(3_000 * DAY);
    assert_eq!((count(endless.token.id), count(registered.id)), (2, 2), "it is not known when");
    assert_eq!(denied(&tracker, &endless.secret).reason(), DenialReason::CredentialRetired);
}

#[test]
fn nothing_goes_whose_place_is_taken_by_a_secret_that_nobody_used() {
    let (builder, clock) = builder();
    let tracker = short(builder).in_memory().unwrap();
    let old = opaque(&tracker, "laptop");
    let rotate = |named| tracker.tokens().rotate(named, Rotation::within(DAY)).unwrap();
    let lost = rotate(old.token.credential_id);
    clock.advance(30 * DAY);
    assert_eq!(credentials(&tracker, old.token.id).len(), 2);
    // Whoever still has the old number repeats the rotation with it.
    let again = rotate(old.token.credential_id);
    assert_eq!(credentials(&tracker, old.token.id).len(), 3);
    let used = number(&tracker, &again);
    let left = credentials(&tracker, old.token.id);
    assert_eq!((left.len(), left[1]), (2, used), "the lost one was ended just now");
    assert!(!accepted(&tracker, &old) && !accepted(&tracker, &lost));
}

#[test]
fn thousands_of_retired_credentials_go_in_steps_and_those_of_dead_tokens_stay_with_them() {
    let database = Database::new();
    let (tracker, clock) = open(&database);
    let (living, dead) = (opaque(&tracker, "living"), jwt(&tracker, "dead"));
    database.execute(
        "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 2500)
         INSERT INTO credentials (token_id, state, hash, fragment, created_at, retired_at)
             SELECT 1 + (n % 5 = 0), 3, randomblob(32), '', 1, 1 FROM numbers;
         INSERT INTO late_uses (credential_id, reason, count, first_at, last_at)
             SELECT id, 9, 1, 1, 1 FROM credentials WHERE retired_at = 1",
    );
    tracker.tokens().revoke(dead.token.id, "").unwrap();
    clock.advance(11 * DAY);
    tracker.upkeep().unwrap();
    let of = |token: TokenId, table: &str| {
        database.number(&format!("SELECT count(*) FROM {table} WHERE token_id = {token}"))
    };
    let late = "late_uses JOIN credentials ON credentials.id = credential_id";
    assert_eq!((of(living.token.id, "credentials"), of(living.token.id, late)), (1, 0));
    assert_eq!(of(dead.token.id, "credentials"), 501);
    assert_eq!(database.number("SELECT count(*) FROM late_uses"), 0, "they are as old");
    assert!(accepted(&tracker, &living));
    assert_eq!(tracker.verify().unwrap().problems, [""; 0]);
}

/// A token as an outside issuer signs it.
fn signed(claims: &Value) -> String {
    use sha2::{Digest, Sha256};
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(&json!({"alg": "HS256", "typ": "JWT"})), part(claims));
    let pad = |byte: u8| {
        let mut block = [byte; 64];
        block[..32].iter_mut().for_each(|pad| *pad ^= 9);
        block
    };
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(&message).finalize();
    let signature = Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize();
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[test]
fn credential_that_was_replaced_goes_while_its_token_lives_on() {
    let database = Database::new();
    let (tracker, clock) = open(&database);
    let (old, asked_for) = (opaque(&tracker, "old"), opaque(&tracker, "asked for"));
    let endless = jwt(&tracker, "endless");
    let new = [&old, &asked_for, &endless]
        .map(|issued| rotated(&tracker, issued, Rotation::within(Duration::ZERO)));
    let known = |tracker: &TokenTracker, issued: &Issued| {
        tracker.upkeep().unwrap();
        tracker.tokens().credentials(issued.token.id).unwrap().len()
    };
    clock.advance(DAY);
    assert_eq!(denied(&tracker, &asked_for.secret).reason(), DenialReason::CredentialRetired);
    tracker.flush().unwrap();
    clock.advance(9 * DAY);
    assert_eq!(known(&tracker, &old), 2, "for as long as daily sums are kept");
    clock.advance(MICROSECOND);
    assert_eq!(known(&tracker, &old), 1);
    assert_eq!(known(&tracker, &asked_for), 2, "it was asked for a day later");
    clock.advance(DAY);
    assert_eq!(known(&tracker, &asked_for), 1);
    let removed = tracker.tokens().audit(&AuditFilter::new().act(Act::Remove)).unwrap().entries;
    let detail: Value = serde_json::from_str(removed[0].detail.as_deref().unwrap()).unwrap();
    assert_eq!(detail, json!({ "credential": 2 }));
    clock.advance(1_000 * DAY);
    assert_eq!(known(&tracker, &endless), 2, "a JWT without an end is kept for ever");
    assert_eq!(database.number("SELECT count(*) FROM late_uses"), 0);
    drop(tracker);
    let (tracker, _clock) = open(&database);
    assert!(new.iter().all(|issued| accepted(&tracker, issued)));
    for dead in [&old, &asked_for, &endless] {
        assert!(!accepted(&tracker, dead), "and nothing comes back");
    }
}
