//! A token that can make a stronger one is that stronger one.

use std::time::Duration;

use token_tracker::{
    Act, AuditFilter, AuthRequest, Builder, Clock, Error, ErrorKind, Identity, Issued, JwtIssuer,
    LateUseFilter, NewToken, Outside, Quota, Restrictions, Revoked, Rotation, TokenFilter,
    TokenStatus, TokenTracker, TokenUpdate, Tokens,
};

use crate::support::{Database, accepted, builder, eventually, in_memory, key};

const HOUR: Duration = Duration::from_secs(3_600);

fn identity(tracker: &TokenTracker, issued: &Issued) -> Identity {
    let request = AuthRequest::from(&issued.secret)
        .client_address("192.0.2.7".parse::<std::net::IpAddr>().unwrap());
    tracker.authenticate(request.resource("srv-1")).unwrap().identity().clone()
}

fn manager(tracker: &TokenTracker) -> Issued {
    let new = NewToken::opaque("alice", "manager").scopes(["tokens:manage", "items:*"]);
    tracker.tokens().issue(new.expires_in(HOUR)).unwrap()
}

fn small(owner: &str, name: &str) -> NewToken {
    NewToken::opaque(owner, name).scope("items:read").expires_in(HOUR)
}

fn forbidden<T>(result: Result<T, Error>, field: Option<&str>) {
    let error = result.err().expect("it was allowed");
    assert_eq!((error.kind(), error.field()), (ErrorKind::Forbidden, field), "{error}");
}

#[test]
fn managing_takes_the_management_scope() {
    let (tracker, _clock) = in_memory();
    let with = |name: &str, scope: &str| {
        let new = NewToken::opaque("alice", name).scope(scope);
        identity(&tracker, &tracker.tokens().issue(new).unwrap())
    };
    forbidden(tracker.tokens().on_behalf_of(&with("1", "items:*")), Some("scopes"));
    forbidden(tracker.tokens().on_behalf_of(&with("2", "tokens:manage:own")), Some("scopes"));
    for (name, scope) in [("3", "tokens:manage"), ("4", "tokens:*"), ("5", "*")] {
        assert!(tracker.tokens().on_behalf_of(&with(name, scope)).is_ok(), "{scope}");
    }
}

#[test]
fn management_scope_is_the_builders() {
    let (with, _clock) = builder();
    let tracker = with.management_scope("admin").in_memory().unwrap();
    let with = |name: &str, scope: &str| {
        let new = NewToken::opaque("alice", name).scope(scope);
        identity(&tracker, &tracker.tokens().issue(new).unwrap())
    };
    forbidden(tracker.tokens().on_behalf_of(&with("1", "tokens:manage")), Some("scopes"));
    assert!(tracker.tokens().on_behalf_of(&with("2", "admin")).is_ok());
    for scope in ["", "two words", "tokens:*", "a\"b"] {
        let error = builder().0.management_scope(scope).in_memory().unwrap_err();
        assert_eq!(error.field(), Some("management_scope"), "{scope}");
    }
}

#[test]
fn token_of_no_catalogue_manages_nothing() {
    let issuer = || JwtIssuer::named("https://outside.example").key(key());
    let elsewhere = TokenTracker::builder().jwt_issuer(issuer()).in_memory().unwrap();
    let new = NewToken::jwt("mallory", "own").scope("*").expires_in(HOUR);
    let issued = elsewhere.tokens().issue(new).unwrap();
    let here: Builder = TokenTracker::builder().jwt_issuer(issuer().outside(Outside::Pass));
    let here = here.in_memory().unwrap();
    let access = here.authenticate(&issued.secret).unwrap();
    assert!(!access.identity().is_tracked());
    forbidden(here.tokens().on_behalf_of(access.identity()), None);
}

#[test]
fn nothing_is_issued_or_registered_that_has_more() {
    let (tracker, clock) = in_memory();
    let restrictions = Restrictions {
        resource: Some("srv-1".to_owned()),
        networks: Some(vec!["192.0.2.0/24".parse().unwrap()]),
        not_before: None,
        quota: Some(Quota::new().per_day(100)),
    };
    let strong = NewToken::opaque("alice", "manager").scopes(["tokens:manage", "items:*"]);
    let strong = strong.restrictions(restrictions.clone()).expires_in(HOUR);
    let strong = tracker.tokens().issue(strong).unwrap();
    let identity = identity(&tracker, &strong);
    let tokens = tracker.tokens().on_behalf_of(&identity).unwrap();
    let within = |name: &str| {
        NewToken::legacy_jwt("bob", name)
            .scopes(["items:read", "items:*", "tokens:manage"])
            .restrictions(restrictions.clone())
            .expires_at(clock.now() + HOUR)
    };
    let with = |change: fn(&mut Restrictions)| {
        let mut changed = restrictions.clone();
        change(&mut changed);
        within("more").restrictions(changed)
    };
    assert!(tokens.issue(within("as much")).is_ok());
    assert!(tokens.register(within("as much, elsewhere"), None, "jti-1").is_ok());
    let end = clock.now() + HOUR + Duration::from_secs(1);
    for (new, field) in [
        (within("more").scope("orders:read"), "scopes"),
        (within("more").scope("*"), "scopes"),
        (within("more").scope("tokens:*"), "scopes"),
        (with(|more| more.resource = None), "restrictions"),
        (with(|more| more.resource = Some("srv-2".to_owned())), "restrictions"),
        (with(|more| more.networks = None), "restrictions"),
        (with(|more| more.networks = Some(vec!["192.0.0.0/16".parse().unwrap()])), "restrictions"),
        (with(|more| more.quota = Some(Quota::new().per_day(101))), "restrictions"),
        (with(|more| more.quota = None), "restrictions"),
        (within("more").expires_at(end), "expires_at"),
        (NewToken::legacy_jwt("bob", "more").restrictions(restrictions.clone()), "expires_at"),
    ] {
        forbidden(tokens.issue(new.clone()), Some(field));
        forbidden(tokens.register(new, None, "jti-2"), Some(field));
    }
    let of_bob = tracker.tokens().count(&TokenFilter::new().owner("bob")).unwrap();
    assert_eq!(of_bob, 2, "nothing half done");
    assert!(tracker.tokens().register(within("free"), None, "jti-2").is_ok());
}

#[test]
fn update_gives_nobody_more_and_not_the_manager_himself() {
    let (tracker, clock) = in_memory();
    let manager = manager(&tracker);
    let identity = identity(&tracker, &manager);
    let tokens = tracker.tokens().on_behalf_of(&identity).unwrap();
    let weak = tracker.tokens().issue(small("bob", "weak")).unwrap().token;
    for id in [weak.id, manager.token.id] {
        let before = tracker.tokens().get(id).unwrap();
        let update = |update: TokenUpdate| tokens.update(id, update);
        forbidden(update(TokenUpdate::new().scopes(["*"])), Some("scopes"));
        forbidden(update(TokenUpdate::new().scopes(["items:read", "admin"])), Some("scopes"));
        forbidden(update(TokenUpdate::new().expires_at(None)), Some("expires_at"));
        let later = clock.now() + HOUR * 2;
        forbidden(update(TokenUpdate::new().expires_at(Some(later))), Some("expires_at"));
        assert_eq!(tracker.tokens().get(id).unwrap(), before);
    }
    let updated = tokens.update(weak.id, TokenUpdate::new().scopes(["items:*"])).unwrap();
    assert_eq!(updated.scopes, ["items:*"]);
    let entries = tracker.tokens().audit(&AuditFilter::new().act(Act::Update)).unwrap().entries;
    assert_eq!(entries.len(), 1, "what was refused is not in the book");
}

#[test]
fn stronger_token_can_be_shown_suspended_and_revoked_and_nothing_else() {
    let (tracker, _clock) = in_memory();
    let manager = manager(&tracker);
    let identity = identity(&tracker, &manager);
    let tokens = tracker.tokens().on_behalf_of(&identity).unwrap();
    for (name, strong) in [
        ("scopes", NewToken::opaque("root", "scopes").scope("*").expires_in(HOUR)),
        ("expires_at", NewToken::opaque("root", "expires_at").scope("items:read")),
    ] {
        let strong = tracker.tokens().issue(strong).unwrap();
        let id = strong.token.id;
        assert_eq!(tokens.get(id).unwrap().name, name);
        let less = || TokenUpdate::new().scopes([""; 0]).expires_at(None);
        forbidden(tokens.update(id, TokenUpdate::new().name("mine")), Some(name));
        forbidden(tokens.update(id, less()), Some(name));
        let credential = strong.token.credential_id;
        forbidden(tokens.rotate(credential, Rotation::within(HOUR)), Some(name));
        forbidden(tokens.reset_quota(id), Some(name));
        assert_eq!(tokens.suspend(id).unwrap().status, TokenStatus::Suspended);
        assert!(!accepted(&tracker, &strong));
        forbidden(tokens.resume(id), Some(name));
        assert!(!accepted(&tracker, &strong), "still suspended");
        assert_eq!(tokens.revoke(id, "").unwrap(), Revoked::Now);
        assert!(!accepted(&tracker, &strong));
    }
    let weak = tokens.issue(small("bob", "weak")).unwrap();
    tokens.rotate(weak.token.credential_id, Rotation::within(HOUR)).unwrap();
    tokens.suspend(weak.token.id).unwrap();
    assert_eq!(tokens.resume(weak.token.id).unwrap().status, TokenStatus::Active);
}

/// Every call that a manager might try, on a token of somebody else.
fn everything_is_forbidden(tracker: &TokenTracker, tokens: &Tokens<'_>, field: Option<&str>) {
    let name = format!("victim {:?}", tracker.tokens().count(&TokenFilter::new()).unwrap());
    let victim = tracker.tokens().issue(small("bob", &name)).unwrap();
    let (id, filter) = (victim.token.id, TokenFilter::new().owner("bob"));
    forbidden(tokens.issue(small("bob", "new")), field);
    forbidden(tokens.register(NewToken::legacy_jwt("bob", "new"), None, "jti"), field);
    forbidden(tokens.update(id, TokenUpdate::new().name("other")), field);
    forbidden(tokens.revoke(id, ""), field);
    forbidden(tokens.suspend(id), field);
    forbidden(tokens.resume(id), field);
    forbidden(tokens.rotate(victim.token.credential_id, Rotation::within(HOUR)), field);
    forbidden(tokens.reset_quota(id), field);
    forbidden(tokens.erase_owner("bob"), field);
    forbidden(tokens.credentials(id), field);
    forbidden(tokens.late_uses(&LateUseFilter::new()), field);
    forbidden(tokens.revoke_all(&filter, ""), field);
    forbidden(tokens.preview(&filter, HOUR), field);
    forbidden(tokens.mark_expired(), field);
    forbidden(tokens.rotate(victim.token.credential_id, Rotation::until_first_use()), field);
    forbidden(tokens.reset_quota(id), field);
    forbidden(tokens.erase_owner("bob"), field);
    forbidden(tokens.sweep_erased(), field);
    forbidden(tokens.credentials(id), field);
    forbidden(tokens.late_uses(&LateUseFilter::new()), field);
    forbidden(tokens.get(id), field);
    forbidden(tokens.list(&filter), field);
    forbidden(tokens.count(&filter), field);
    forbidden(tokens.audit(&AuditFilter::new()), field);
    assert!(accepted(tracker, &victim), "no refusal stays behind");
    assert_eq!(tracker.tokens().get(id).unwrap(), victim.token);
}

#[test]
fn manager_who_is_one_no_longer_manages_nothing() {
    for (field, end) in [
        (None, (|tracker, id| drop(tracker.tokens().revoke(id, ""))) as fn(&TokenTracker, _)),
        (None, |tracker, id| drop(tracker.tokens().suspend(id))),
        (None, |tracker, id| {
            let later = Restrictions {
                not_before: Some(time::macros::datetime!(2999-01-01 00:00 UTC)),
                ..Restrictions::default()
            };
            drop(tracker.tokens().update(id, TokenUpdate::new().restrictions(later)));
        }),
        (Some("scopes"), |tracker, id| {
            drop(tracker.tokens().update(id, TokenUpdate::new().scopes(["items:*"])));
        }),
    ] {
        let (tracker, _clock) = in_memory();
        let manager = manager(&tracker);
        let identity = identity(&tracker, &manager);
        let tokens = tracker.tokens().on_behalf_of(&identity).unwrap();
        tokens.issue(small("bob", "before")).unwrap();
        end(&tracker, manager.token.id);
        everything_is_forbidden(&tracker, &tokens, field);
        let fresh = tracker.tokens().on_behalf_of(&identity).unwrap();
        everything_is_forbidden(&tracker, &fresh, field);
    }
}

#[test]
fn expired_manager_manages_nothing() {
    let (tracker, clock) = in_memory();
    let identity = identity(&tracker, &manager(&tracker));
    let tokens = tracker.tokens().on_behalf_of(&identity).unwrap();
    clock.advance(HOUR - Duration::from_micros(1));
    assert!(tokens.count(&TokenFilter::new()).is_ok());
    clock.advance(Duration::from_micros(1));
    everything_is_forbidden(&tracker, &tokens, None);
}

#[test]
fn credential_that_ends_before_its_token_is_not_outlived_either() {
    let (tracker, clock) = in_memory();
    let new = NewToken::jwt("alice", "manager").scopes(["tokens:manage", "items:*"]);
    let manager = tracker.tokens().issue(new.expires_in(HOUR)).unwrap();
    let never = TokenUpdate::new().expires_at(None);
    tracker.tokens().update(manager.token.id, never).unwrap();
    let identity = identity(&tracker, &manager);
    let tokens = tracker.tokens().on_behalf_of(&identity).unwrap();
    assert!(tokens.issue(small("bob", "as long")).is_ok());
    let endless = NewToken::opaque("bob", "endless").scope("items:read");
    forbidden(tokens.issue(endless), Some("expires_at"));
    clock.advance(HOUR + Duration::from_secs(60));
    everything_is_forbidden(&tracker, &tokens, None);
}

#[test]
fn manager_whose_revocation_is_not_stored_yet_manages_nothing() {
    let database = Database::new();
    let (builder, _clock) = builder();
    let tracker = builder.busy_timeout(Duration::from_millis(20)).open(database.path()).unwrap();
    let manager = manager(&tracker);
    let identity = identity(&tracker, &manager);
    let tokens = tracker.tokens().on_behalf_of(&identity).unwrap();
    let lock = database.connect();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    tracker.tokens().revoke(manager.token.id, "").unwrap_err();
    lock.execute_batch("ROLLBACK").unwrap();
    everything_is_forbidden(&tracker, &tokens, None);
}

#[test]
fn revocation_by_another_tracker_counts_at_once() {
    let database = Database::new();
    let (one, two) = (database.open(), database.open());
    let manager = manager(&one);
    let identity = identity(&two, &manager);
    let tokens = two.tokens().on_behalf_of(&identity).unwrap();
    one.tokens().revoke(manager.token.id, "").unwrap();
    everything_is_forbidden(&two, &tokens, None);
}

#[test]
fn manager_revoked_while_his_act_waits_is_too_late() {
    let database = Database::new();
    let (builder, _clock) = builder();
    let builder = builder.busy_timeout(Duration::from_secs(30));
    let tracker = builder.open(database.path()).unwrap();
    let manager = manager(&tracker);
    let victim = tracker.tokens().issue(small("bob", "victim")).unwrap();
    let identity = identity(&tracker, &manager);
    let tokens = tracker.tokens().on_behalf_of(&identity).unwrap();
    let other = database.connect();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    std::thread::scope(|scope| {
        let filter = TokenFilter::new().owner("bob");
        let call = scope.spawn(move || tokens.revoke_all(&filter, ""));
        eventually("refused meanwhile", || !accepted(&tracker, &victim));
        let id = manager.token.id;
        other.execute_batch(&format!("UPDATE catalogue SET state = 2 WHERE id = {id}")).unwrap();
        other.execute_batch("COMMIT").unwrap();
        forbidden(call.join().unwrap(), None);
    });
    assert!(accepted(&tracker, &victim), "the refusal is taken back");
    tracker.tokens().suspend(victim.token.id).unwrap();
    tracker.tokens().resume(victim.token.id).unwrap();
    assert!(accepted(&tracker, &victim), "and the token is not taken for a revoked one");
}

#[test]
fn manager_who_expires_while_his_act_waits_is_too_late() {
    let database = Database::new();
    let (builder, clock) = builder();
    let builder = builder.busy_timeout(Duration::from_secs(30));
    let tracker = builder.open(database.path()).unwrap();
    let victim = small("bob", "victim").expires_in(HOUR * 2);
    let victim = tracker.tokens().issue(victim).unwrap();
    let identity = identity(&tracker, &manager(&tracker));
    let tokens = tracker.tokens().on_behalf_of(&identity).unwrap();
    let lock = database.connect();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    std::thread::scope(|scope| {
        let id = victim.token.id;
        let call = scope.spawn(move || tokens.suspend(id));
        eventually("refused meanwhile", || !accepted(&tracker, &victim));
        clock.advance(HOUR);
        lock.execute_batch("ROLLBACK").unwrap();
        forbidden(call.join().unwrap(), None);
    });
    assert!(accepted(&tracker, &victim), "the refusal is taken back");
}

#[test]
fn manager_can_end_his_own_token_alone_and_among_many() {
    let (tracker, clock) = in_memory();
    for all in [false, true] {
        let manager = manager(&tracker);
        let identity = identity(&tracker, &manager);
        let tokens = tracker.tokens().on_behalf_of(&identity).unwrap();
        for number in 0..600 {
            tracker.tokens().issue(small("alice", &format!("{all} {number}"))).unwrap();
        }
        clock.advance(Duration::from_secs(1));
        if all {
            let filter = TokenFilter::new().owner("alice").issued_before(clock.now());
            let done = tokens.revoke_all(&filter, "over").unwrap();
            assert_eq!((done.revoked, done.already_revoked), (1_201, 1));
        } else {
            assert_eq!(tokens.revoke(manager.token.id, "over").unwrap(), Revoked::Now);
        }
        assert!(!accepted(&tracker, &manager));
        everything_is_forbidden(&tracker, &tokens, None);
    }
}

#[test]
fn audit_shows_the_token_acted_with_and_its_owner_unless_somebody_is_named() {
    let (tracker, _clock) = in_memory();
    let manager = manager(&tracker);
    let identity = identity(&tracker, &manager);
    let tokens = tracker.tokens().because("as asked").on_behalf_of(&identity).unwrap();
    let id = tokens.issue(small("bob", "weak")).unwrap().token.id;
    let named = tracker.tokens().acting_as("carol").on_behalf_of(&identity).unwrap();
    named.suspend(id).unwrap();
    tokens.clone().acting_as("dave").resume(id).unwrap();
    tokens.revoke_all(&TokenFilter::new().owner("bob"), "over").unwrap();
    let page = tracker.tokens().audit(&AuditFilter::new().token(id)).unwrap();
    let shown = page.entries.iter().map(|entry| {
        assert_eq!(entry.actor_token, Some(manager.token.id));
        (entry.act, entry.actor.as_deref().unwrap(), entry.reason.as_deref())
    });
    let shown: Vec<_> = shown.collect();
    assert_eq!(
        shown,
        [
            (Act::Revoke, "alice", Some("over")),
            (Act::Resume, "dave", Some("as asked")),
            (Act::Suspend, "carol", None),
            (Act::Issue, "alice", Some("as asked")),
        ]
    );
    assert_eq!(tracker.tokens().get(id).unwrap().revocation.unwrap().by.as_deref(), Some("alice"));
    let own = tracker.tokens().audit(&AuditFilter::new().token(manager.token.id)).unwrap().entries;
    assert_eq!(own[0].actor_token, None);
}

/// Rotates a manager's token. Returns its new secret, and who authenticated with the old one.
fn rotated(tracker: &TokenTracker, rotation: Rotation) -> (Issued, Identity) {
    let old = NewToken::opaque("alice", "manager").scopes(["tokens:manage", "items:*"]);
    let old = tracker.tokens().issue(old).unwrap();
    let identity = identity(tracker, &old);
    (tracker.tokens().rotate(old.token.credential_id, rotation).unwrap(), identity)
}

#[test]
fn manager_whose_secret_is_retired_manages_nothing_any_longer() {
    for overlap in [Duration::ZERO, HOUR] {
        let (tracker, clock) = in_memory();
        let (_new, old) = rotated(&tracker, Rotation::within(overlap));
        clock.advance(overlap);
        let tokens = tracker.tokens().on_behalf_of(&old).unwrap();
        everything_is_forbidden(&tracker, &tokens, None);
    }
    let (tracker, _clock) = in_memory();
    let (new, old) = rotated(&tracker, Rotation::until_first_use());
    let tokens = tracker.tokens().on_behalf_of(&old).unwrap();
    assert!(tokens.issue(small("bob", "before")).is_ok());
    assert!(accepted(&tracker, &new));
    everything_is_forbidden(&tracker, &tokens, None);
}

#[test]
fn manager_whose_secret_is_on_its_way_out_cannot_outlive_it_or_take_the_new_one_away() {
    let (tracker, clock) = in_memory();
    let (new, old) = rotated(&tracker, Rotation::within(HOUR));
    let tokens = tracker.tokens().on_behalf_of(&old).unwrap();
    let longer = small("bob", "longer").expires_in(HOUR + Duration::from_secs(1));
    forbidden(tokens.issue(longer), Some("expires_at"));
    forbidden(tokens.issue(NewToken::opaque("bob", "endless")), Some("expires_at"));
    assert!(tokens.issue(small("bob", "as long")).is_ok());

    let current = identity(&tracker, &new).credential_id();
    let long = TokenUpdate::new().expires_at(Some(clock.now() + HOUR));
    tracker.tokens().update(new.token.id, long).unwrap();
    forbidden(tokens.rotate(current, Rotation::within(Duration::ZERO)), None);
    assert!(accepted(&tracker, &new));
    let owner = identity(&tracker, &new);
    let owner = tracker.tokens().on_behalf_of(&owner).unwrap();
    assert!(owner.rotate(current, Rotation::within(Duration::ZERO)).is_ok());
}

#[test]
fn manager_who_lost_the_new_secret_can_ask_again() {
    let (tracker, _clock) = in_memory();
    let (lost, old) = rotated(&tracker, Rotation::until_first_use());
    let tokens = tracker.tokens().on_behalf_of(&old).unwrap();
    let again = tokens.rotate(old.credential_id(), Rotation::until_first_use()).unwrap();
    assert!(accepted(&tracker, &again) && !accepted(&tracker, &lost));
}

#[test]
fn owner_of_a_stronger_token_cannot_be_erased_and_others_can() {
    let (tracker, _clock) = in_memory();
    let manager = manager(&tracker);
    let identity = identity(&tracker, &manager);
    let tokens = tracker.tokens().on_behalf_of(&identity).unwrap();
    let weak = tracker.tokens().issue(small("root", "weak")).unwrap();
    let strong = NewToken::opaque("root", "strong").scope("*").expires_in(HOUR);
    let strong = tracker.tokens().issue(strong).unwrap();
    let before = tracker.tokens().audit(&AuditFilter::new()).unwrap();
    forbidden(tokens.erase_owner("root"), Some("scopes"));
    assert!(accepted(&tracker, &weak) && accepted(&tracker, &strong), "nothing half done");
    assert_eq!(tracker.tokens().audit(&AuditFilter::new()).unwrap(), before);
    tracker.tokens().issue(small("bob", "weak")).unwrap();
    assert_eq!(tokens.erase_owner("bob").unwrap().tokens.len(), 1);
    assert_eq!(tokens.erase_owner("alice").unwrap().tokens, [manager.token.id], "his own");
}
