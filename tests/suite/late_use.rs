//! Who still uses what is dead: each request counts, also where a flood is thinned out.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use token_tracker::{
    AuthRequest, ClientAddress, Clock, DenialReason, ErrorKind, Issued, LateUse, LateUseFilter,
    NewToken, PathFilter, Rotation, TokenTracker, Usage,
};

use crate::support::{
    Database, accepted, assert_balanced, builder, denied, in_memory, jwt, opaque, records,
};

const MINUTE: Duration = Duration::from_secs(60);

fn late_uses(tracker: &TokenTracker, filter: &LateUseFilter) -> Vec<LateUse> {
    tracker.flush().unwrap();
    tracker.tokens().late_uses(filter).unwrap().late_uses
}

fn of(issued: &Issued) -> LateUseFilter {
    LateUseFilter::new().token(issued.token.id)
}

/// Reasons and counts, in the order of credentials.
fn counts(late_uses: &[LateUse]) -> Vec<(Option<DenialReason>, u64)> {
    late_uses.iter().map(|late| (late.reason, late.count)).collect()
}

fn address(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, last))
}

fn leaked(tracker: &TokenTracker, issued: &Issued) -> Issued {
    let credential = tracker.tokens().get(issued.token.id).unwrap().credential_id;
    tracker.tokens().rotate(credential, Rotation::within(Duration::ZERO)).unwrap()
}

#[test]
fn thousand_denials_of_a_retired_credential_count_a_thousand_with_the_newest_of_them() {
    let (tracker, clock) = in_memory();
    for issued in [jwt(&tracker, "jwt"), opaque(&tracker, "opaque")] {
        drop(leaked(&tracker, &issued));
        let first_at = clock.now();
        for number in 1..=1_000_u16 {
            let (agent, route) = (format!("agent/{number}"), format!("/{number}"));
            let request = AuthRequest::from(&issued.secret)
                .client_address(address((number % 250) as u8))
                .user_agent(&agent)
                .route(route.as_str());
            assert_eq!(denied(&tracker, request).reason(), DenialReason::CredentialRetired);
            clock.advance(Duration::from_millis(50));
        }
        let last_at = clock.now() - Duration::from_millis(50);
        let expected = (Some(DenialReason::CredentialRetired), 1_000, first_at, last_at);
        let late = late_uses(&tracker, &of(&issued)).remove(0);
        assert_eq!((late.reason, late.count, late.first_at, late.last_at), expected);
        assert_eq!(
            (late.token_id, late.credential_id),
            (issued.token.id, issued.token.credential_id)
        );
        assert_eq!(late.last_address, Some(ClientAddress::Address(address(0))));
        assert_eq!(late.last_user_agent.as_deref(), Some("agent/1000"));
        assert_eq!(late.last_route.as_deref(), Some("/1000"));
        assert!(records(&tracker, issued.token.id).len() <= 40, "thinned out");
    }
    assert_balanced(&tracker);
    assert_eq!(tracker.verify().unwrap().problems, [""; 0]);
}

#[test]
fn two_dead_credentials_of_a_token_are_told_apart_in_the_same_minute() {
    let (tracker, _clock) = in_memory();
    let first = opaque(&tracker, "laptop");
    let second = leaked(&tracker, &first);
    drop(leaked(&tracker, &second));
    for number in 0..100 {
        drop(denied(&tracker, &first.secret));
        if number % 2 == 0 {
            drop(denied(&tracker, &second.secret));
        }
    }
    let late = late_uses(&tracker, &of(&first));
    let retired = Some(DenialReason::CredentialRetired);
    assert_eq!(counts(&late), [(retired, 100), (retired, 50)]);
    let shown = tracker.tokens().credentials(first.token.id).unwrap();
    let per_credential: Vec<_> = shown.iter().map(|shown| counts(&shown.late_uses)).collect();
    assert_eq!(per_credential, [vec![], vec![(retired, 50)], vec![(retired, 100)]]);
    assert_eq!(tracker.stats().token(first.token.id).last_days(1).summary().unwrap().denied, 150);
}

#[test]
fn use_during_an_overlap_is_counted_until_the_new_secret_takes_over() {
    let (tracker, _clock) = in_memory();
    let old = opaque(&tracker, "laptop");
    let credential = old.token.credential_id;
    for _ in 0..3 {
        assert!(accepted(&tracker, &old), "not late yet");
    }
    let new = tracker.tokens().rotate(credential, Rotation::until_first_use()).unwrap();
    for status in [200, 404] {
        let request = AuthRequest::from(&old.secret).client_address(address(7));
        let access = tracker.authenticate(request).unwrap();
        tracker.record(Usage::of(access).route("GET", "/items/{id}").status(status));
    }
    drop(denied(&tracker, AuthRequest::from(&old.secret).scope("admin")));
    assert!(accepted(&tracker, &new) && accepted(&tracker, &new));
    drop(denied(&tracker, &old.secret));
    let late = late_uses(&tracker, &of(&old));
    assert_eq!(counts(&late), [(None, 2), (Some(DenialReason::CredentialRetired), 1)]);
    assert!(late.iter().all(|late| late.credential_id == credential));
    assert_eq!(late[0].last_address, Some(ClientAddress::Address(address(7))));
    assert_eq!(late[0].last_route.as_deref(), Some("/items/{id}"));
    assert_eq!(counts(&late_uses(&tracker, &of(&old).overlap())), [(None, 2)]);
    let dead = [(Some(DenialReason::CredentialRetired), 1)];
    assert_eq!(counts(&late_uses(&tracker, &of(&old).dead())), dead);
}

#[test]
fn use_of_revoked_and_expired_tokens_is_late_and_that_of_others_is_not() {
    let (tracker, clock) = in_memory();
    let (revoked, suspended) = (jwt(&tracker, "revoked"), opaque(&tracker, "suspended"));
    let short = NewToken::opaque("bob", "expired").expires_in(MINUTE);
    let expired = tracker.tokens().issue(short).unwrap();
    clock.advance(MINUTE);
    tracker.tokens().revoke(revoked.token.id, "").unwrap();
    tracker.tokens().suspend(suspended.token.id).unwrap();
    for issued in [&revoked, &suspended, &expired, &expired] {
        drop(denied(&tracker, &issued.secret));
    }
    let all = late_uses(&tracker, &LateUseFilter::new());
    let (of_revoked, of_expired) =
        ((Some(DenialReason::Revoked), 1), (Some(DenialReason::Expired), 2));
    assert_eq!(counts(&all), [of_revoked, of_expired]);
    assert_eq!(counts(&late_uses(&tracker, &LateUseFilter::new().owner("bob"))), [of_expired]);
    assert_eq!(counts(&late_uses(&tracker, &of(&revoked).owner("bob"))), []);
    assert_eq!(late_uses(&tracker, &LateUseFilter::new().overlap()), []);
    assert_eq!(late_uses(&tracker, &LateUseFilter::new().dead()), all);
}

#[test]
fn late_use_is_asked_for_by_time_and_page_by_page() {
    let (tracker, clock) = in_memory();
    let dead: Vec<_> = (0..5).map(|number| opaque(&tracker, &number.to_string())).collect();
    for issued in &dead {
        tracker.tokens().revoke(issued.token.id, "").unwrap();
        drop(denied(&tracker, &issued.secret));
        clock.advance(MINUTE);
    }
    let all = late_uses(&tracker, &LateUseFilter::new());
    assert_eq!(late_uses(&tracker, &LateUseFilter::new().since(all[3].last_at)), all[3..]);
    for filter in [LateUseFilter::new(), LateUseFilter::new().owner(crate::support::OWNER)] {
        let (mut paged, mut next) = (Vec::new(), None);
        loop {
            let filter = filter.clone().limit(2);
            let filter = next.map_or(filter.clone(), |next| filter.after(next));
            let page = tracker.tokens().late_uses(&filter).unwrap();
            assert!(page.late_uses.len() <= 2);
            paged.extend(page.late_uses);
            next = page.next;
            if next.is_none() {
                break;
            }
        }
        assert_eq!(paged, all);
    }
    for limit in [0, 1_001] {
        let error = tracker.tokens().late_uses(&LateUseFilter::new().limit(limit)).unwrap_err();
        assert_eq!((error.kind(), error.field()), (ErrorKind::InvalidInput, Some("limit")));
    }
}

#[test]
fn clock_that_goes_back_moves_the_last_use_nowhere() {
    let (tracker, clock) = in_memory();
    let issued = opaque(&tracker, "laptop");
    tracker.tokens().revoke(issued.token.id, "").unwrap();
    drop(denied(&tracker, AuthRequest::from(&issued.secret).route("/later")));
    let later = clock.now();
    tracker.flush().unwrap();
    clock.set_wall(later - MINUTE);
    drop(denied(&tracker, AuthRequest::from(&issued.secret).route("/earlier")));
    let late = late_uses(&tracker, &of(&issued)).remove(0);
    assert_eq!((late.count, late.first_at, late.last_at), (2, later - MINUTE, later));
    assert_eq!(late.last_route.as_deref(), Some("/later"));
}

#[test]
fn what_is_not_recorded_is_not_counted() {
    let (builder, _clock) = builder();
    let filter = PathFilter::none().exact("/health");
    let tracker = builder.path_filter(filter).in_memory().unwrap();
    let issued = opaque(&tracker, "laptop");
    tracker.tokens().revoke(issued.token.id, "").unwrap();
    drop(denied(&tracker, AuthRequest::from(&issued.secret).path("/health")));
    assert_eq!(late_uses(&tracker, &of(&issued)), []);
}

#[test]
fn late_use_is_stored_with_its_records_and_added_to_by_every_tracker_on_the_file() {
    let database = Database::new();
    let one = database.open();
    let issued = opaque(&one, "laptop");
    one.tokens().revoke(issued.token.id, "").unwrap();
    for _ in 0..25 {
        drop(denied(&one, &issued.secret));
    }
    drop(one);
    let (one, two) = (database.open(), database.open());
    for tracker in [&one, &two] {
        for _ in 0..25 {
            drop(denied(tracker, &issued.secret));
        }
        tracker.flush().unwrap();
    }
    let revoked = [(Some(DenialReason::Revoked), 75)];
    assert_eq!(counts(&late_uses(&one, &of(&issued))), revoked);
    assert_eq!(counts(&late_uses(&two, &of(&issued))), revoked);
}
