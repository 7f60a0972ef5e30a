//! A quota that lets one request too many through is no quota, and one that refuses a request too many is a fault that
//! looks like an answer.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use time::OffsetDateTime;
use time::macros::datetime;
use token_tracker::{
    Act, AuditFilter, AuthError, AuthRequest, Builder, Clock, DenialReason, ErrorKind, Hook,
    Issued, LastUsed, ManualClock, NewToken, Outcome, Quota, QuotaState, QuotaWindow, Rate,
    Restrictions, ThresholdEvent, TokenFilter, TokenTracker, TokenUpdate, Usage,
};

use crate::support::{
    Database, OWNER, accepted, access, builder, denied, eventually, in_memory, key, opaque, records,
};

const SECOND: Duration = Duration::from_secs(1);
const MICROSECOND: Duration = Duration::from_micros(1);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

fn limited(tracker: &TokenTracker, name: &str, quota: Quota) -> Issued {
    tracker.tokens().issue(NewToken::opaque(OWNER, name).quota(quota)).unwrap()
}

/// How many of so many requests are let through.
fn uses(tracker: &TokenTracker, issued: &Issued, requests: u32) -> u32 {
    (0..requests).map(|_| u32::from(accepted(tracker, issued))).sum()
}

fn costing(issued: &Issued, cost: u32) -> AuthRequest<'_> {
    AuthRequest::from(&issued.secret).cost(cost)
}

/// Authenticates at one cost, and settles at another.
fn settled(tracker: &TokenTracker, issued: &Issued, cost: u32, in_the_end: u32) {
    let access = tracker.authenticate(costing(issued, cost)).unwrap();
    tracker.record(Usage::of(access).status(200).cost(in_the_end));
}

fn remaining(tracker: &TokenTracker, issued: &Issued) -> Vec<u64> {
    let access = tracker.authenticate(costing(issued, 0)).unwrap();
    access.quota().iter().map(|state| state.remaining).collect()
}

fn edit_quota(tracker: &TokenTracker, issued: &Issued, quota: Quota) {
    let restrictions = Restrictions { quota: Some(quota), ..Restrictions::default() };
    let update = TokenUpdate::new().restrictions(restrictions);
    tracker.tokens().update(issued.token.id, update).unwrap();
}

fn open(database: &Database) -> TokenTracker {
    TokenTracker::builder().jwt_key(key()).open(database.path()).unwrap()
}

#[test]
fn rate_lets_its_burst_through_at_once_and_then_a_unit_each_time() {
    let (tracker, clock) = in_memory();
    let quota = Quota::new().rate(Rate::per_second(4).burst(3));
    let issued = limited(&tracker, "laptop", quota);
    assert_eq!(uses(&tracker, &issued, 10), 3);
    clock.advance(Duration::from_millis(250) - MICROSECOND);
    let refused = denied(&tracker, &issued.secret);
    assert_eq!(refused.reason(), DenialReason::RateExceeded);
    assert_eq!((refused.status(), refused.retry_after()), (429, Some(SECOND)));
    clock.advance(MICROSECOND);
    assert_eq!(uses(&tracker, &issued, 10), 1);
    clock.advance(HOUR);
    assert_eq!(uses(&tracker, &issued, 10), 3, "a pause saves no more than the burst");
    // The wall clock has nothing to do with it.
    clock.set_wall(clock.now() + DAY);
    assert_eq!(uses(&tracker, &issued, 10), 0);
}

#[test]
fn count_is_exact_to_the_microsecond_where_one_window_ends_and_the_next_begins() {
    type Case = (fn(Quota, u64) -> Quota, OffsetDateTime, OffsetDateTime);
    let cases: [Case; 11] = [
        (Quota::per_minute, datetime!(2026-06-30 23:59 UTC), datetime!(2026-07-01 00:00 UTC)),
        (Quota::per_hour, datetime!(2026-12-31 23:00 UTC), datetime!(2027-01-01 00:00 UTC)),
        (Quota::per_day, datetime!(2026-02-28 00:00 UTC), datetime!(2026-03-01 00:00 UTC)),
        (Quota::per_day, datetime!(2028-02-28 00:00 UTC), datetime!(2028-02-29 00:00 UTC)),
        (Quota::per_day, datetime!(2026-12-31 00:00 UTC), datetime!(2027-01-01 00:00 UTC)),
        (Quota::per_month, datetime!(2026-02-01 00:00 UTC), datetime!(2026-03-01 00:00 UTC)),
        (Quota::per_month, datetime!(2028-02-01 00:00 UTC), datetime!(2028-03-01 00:00 UTC)),
        (Quota::per_month, datetime!(2100-02-01 00:00 UTC), datetime!(2100-03-01 00:00 UTC)),
        (Quota::per_month, datetime!(2026-04-01 00:00 UTC), datetime!(2026-05-01 00:00 UTC)),
        (Quota::per_month, datetime!(2026-07-01 00:00 UTC), datetime!(2026-08-01 00:00 UTC)),
        (Quota::per_month, datetime!(2026-12-01 00:00 UTC), datetime!(2027-01-01 00:00 UTC)),
    ];
    for (limit, start, end) in cases {
        let clock = ManualClock::new(start - MICROSECOND);
        let tracker = TokenTracker::builder().clock(clock.clone()).in_memory().unwrap();
        let issued = limited(&tracker, "laptop", limit(Quota::new(), 250));
        assert_eq!(uses(&tracker, &issued, 260), 250);
        clock.advance(MICROSECOND);
        let length = (end - start).unsigned_abs();
        assert_eq!(uses(&tracker, &issued, 200), 200, "{start}");
        let state = access(&tracker, &issued).quota()[0];
        assert_eq!((state.limit, state.remaining, state.reset), (250, 49, length));
        clock.advance(length - MICROSECOND);
        assert_eq!(uses(&tracker, &issued, 60), 49, "{end}");
        let refused = denied(&tracker, &issued.secret);
        assert_eq!(refused.reason(), DenialReason::QuotaExceeded);
        assert_eq!((refused.status(), refused.retry_after()), (429, Some(SECOND)));
        clock.advance(MICROSECOND);
        assert_eq!(clock.now(), end);
        assert_eq!(uses(&tracker, &issued, 260), 250, "{end}");
    }
}

#[test]
fn what_is_refused_says_when_to_come_again_and_asks_for_no_other_credential() {
    let (builder, clock) = builder();
    let tracker = builder.realm("api").in_memory().unwrap();
    clock.set_wall(datetime!(2026-02-27 22:30 UTC));
    let quota = Quota::new().rate(Rate::per_minute(6).burst(5)).per_hour(4).per_month(5);
    let issued = limited(&tracker, "laptop", quota);
    assert_eq!(uses(&tracker, &issued, 5), 4);
    let refused = tracker.authenticate(&issued.secret).unwrap_err();
    assert_eq!(refused.status(), 429);
    assert_eq!(refused.www_authenticate(), None);
    assert_eq!(refused.retry_after(), Some(HOUR / 2));
    // All that refuse are waited for: the month longer than the hour, and that longer than the rate.
    let two = denied(&tracker, costing(&issued, 2));
    assert_eq!(two.retry_after(), Some(HOUR + HOUR / 2 + DAY));
    assert_eq!(two.reason(), DenialReason::QuotaExceeded);
    for never in [5, 6, u32::MAX] {
        let refused = denied(&tracker, costing(&issued, never));
        assert_eq!((refused.reason(), refused.retry_after()), (DenialReason::QuotaExceeded, None));
    }
    let rate = limited(&tracker, "rate", Quota::new().rate(Rate::per_second(1).burst(5)));
    let refused = denied(&tracker, costing(&rate, 6));
    assert_eq!((refused.reason(), refused.retry_after()), (DenialReason::RateExceeded, None));
    // Other refusals are as before.
    let stranger = tracker.authenticate("made-up").unwrap_err();
    assert!(stranger.www_authenticate().is_some() && stranger.retry_after().is_none());
    assert_eq!(denied(&tracker, "made-up").quota(), []);
}

#[test]
fn limits_are_shown_in_order_with_what_is_left_of_them() {
    let (tracker, clock) = in_memory();
    clock.set_wall(datetime!(2026-11-30 23:58:30 UTC));
    let rate = Rate::per_second(2).burst(10);
    let quota = Quota::new().rate(rate).per_minute(20).per_hour(30).per_day(40).per_month(50);
    let issued = limited(&tracker, "laptop", quota);
    let access = tracker.authenticate(costing(&issued, 4)).unwrap();
    let shown = |states: Vec<QuotaState>| -> Vec<_> {
        let shown = |state: &QuotaState| (state.window, state.limit, state.remaining, state.reset);
        states.iter().map(shown).collect()
    };
    let (minute, rest) = (SECOND * 30, SECOND * 90);
    let expected = [
        (QuotaWindow::Rate, 10, 6, SECOND * 2),
        (QuotaWindow::Minute, 20, 16, minute),
        (QuotaWindow::Hour, 30, 26, rest),
        (QuotaWindow::Day, 40, 36, rest),
        (QuotaWindow::Month, 50, 46, rest),
    ];
    assert_eq!(shown(access.quota()), expected);
    assert_eq!(shown(denied(&tracker, costing(&issued, 7)).quota()), expected, "it used nothing");
    clock.advance(rest);
    let all: Vec<_> = access.quota().iter().map(|state| state.remaining).collect();
    assert_eq!(all, [10, 20, 30, 40, 50]);
    assert_eq!(self::access(&tracker, &opaque(&tracker, "other")).quota(), []);
}

#[test]
fn request_takes_as_much_as_it_costs_or_nothing() {
    let (tracker, _clock) = in_memory();
    let issued = limited(&tracker, "laptop", Quota::new().per_day(10));
    for _ in 0..3 {
        assert!(tracker.authenticate(costing(&issued, 3)).is_ok());
    }
    assert_eq!(denied(&tracker, costing(&issued, 3)).reason(), DenialReason::QuotaExceeded);
    assert_eq!(denied(&tracker, costing(&issued, 2)).reason(), DenialReason::QuotaExceeded);
    assert!(tracker.authenticate(costing(&issued, 1)).is_ok());
    assert!(!accepted(&tracker, &issued));
    assert_eq!(remaining(&tracker, &issued), [0], "what costs nothing is free");
}

#[test]
fn refused_request_consumes_nothing_of_any_window() {
    let (tracker, clock) = in_memory();
    let quota = Quota::new().rate(Rate::per_second(1).burst(5)).per_minute(3).per_day(100);
    let new = NewToken::opaque(OWNER, "laptop").quota(quota).scope("items:read");
    let issued = tracker.tokens().issue(new).unwrap();
    // There are units to be had without asking the file.
    settled(&tracker, &issued, 3, 0);
    for _ in 0..50 {
        let request = AuthRequest::from(&issued.secret).scope("items:write");
        assert_eq!(denied(&tracker, request).reason(), DenialReason::MissingScope);
        assert_eq!(denied(&tracker, costing(&issued, 6)).status(), 429, "by the rate");
        assert_eq!(denied(&tracker, costing(&issued, 4)).status(), 429, "by the minute");
    }
    assert_eq!(remaining(&tracker, &issued), [5, 3, 100]);
    assert_eq!(uses(&tracker, &issued, 50), 3);
    assert_eq!(remaining(&tracker, &issued), [2, 0, 97]);
    clock.advance(SECOND * 60);
    assert_eq!(remaining(&tracker, &issued), [5, 3, 97]);
}

#[test]
fn over_quota_is_recorded_as_denied_and_is_no_last_use() {
    let (tracker, clock) = in_memory();
    let issued = limited(&tracker, "laptop", Quota::new().per_month(1));
    let first = clock.now();
    settled(&tracker, &issued, 1, 1);
    clock.advance(DAY);
    drop(denied(&tracker, AuthRequest::from(&issued.secret).method("GET").route("/report")));
    let record = records(&tracker, issued.token.id).remove(0);
    assert_eq!(record.outcome, Outcome::Denied(DenialReason::QuotaExceeded));
    assert_eq!((record.status, record.route.as_str()), (429, "/report"));
    let token = tracker.tokens().get(issued.token.id).unwrap();
    assert_eq!(token.last_used, LastUsed::At(first));
}

#[test]
fn settlement_gives_back_what_was_not_used_and_charges_what_was_used_beyond() {
    let (tracker, _clock) = in_memory();
    let quota = Quota::new().rate(Rate::new(10, 86_400)).per_day(20);
    let issued = limited(&tracker, "laptop", quota);
    settled(&tracker, &issued, 5, 2);
    assert_eq!(remaining(&tracker, &issued), [8, 18]);
    settled(&tracker, &issued, 1, 4);
    assert_eq!(remaining(&tracker, &issued), [4, 14]);
    settled(&tracker, &issued, 4, 0);
    assert_eq!(remaining(&tracker, &issued), [4, 14]);
    settled(&tracker, &issued, 0, 1);
    assert_eq!(remaining(&tracker, &issued), [3, 13], "also where nothing was reserved");
    drop(tracker.authenticate(costing(&issued, 2)).unwrap());
    assert_eq!(remaining(&tracker, &issued), [1, 11], "unsettled, it stays reserved");
    drop(Usage::of(access(&tracker, &issued)).cost(0));
    assert_eq!(remaining(&tracker, &issued), [0, 10]);
    let refused = denied(&tracker, &issued.secret);
    tracker.record(Usage::of(refused).cost(7));
    assert_eq!(remaining(&tracker, &issued), [0, 10], "a refusal has nothing to settle");
}

#[test]
fn access_that_settled_itself_is_not_settled_again() {
    let (tracker, _clock) = in_memory();
    let issued = limited(&tracker, "laptop", Quota::new().per_day(20));
    let mut access = tracker.authenticate(costing(&issued, 5)).unwrap();
    access.begin(204, None);
    assert!(access.is_settled());
    tracker.record(Usage::of(access).cost(0));
    assert_eq!(remaining(&tracker, &issued), [15]);
}

#[test]
fn what_is_charged_beyond_the_limit_is_a_debt_of_its_window_alone() {
    let (tracker, clock) = in_memory();
    let issued = limited(&tracker, "laptop", Quota::new().per_hour(100).per_day(1_000));
    settled(&tracker, &issued, 1, 150);
    assert_eq!(remaining(&tracker, &issued), [0, 850]);
    assert_eq!(denied(&tracker, &issued.secret).reason(), DenialReason::QuotaExceeded);
    clock.advance(HOUR);
    assert_eq!(remaining(&tracker, &issued), [100, 850]);
    assert_eq!(uses(&tracker, &issued, 200), 100);
    // What is settled after its hour is settled with its day alone.
    clock.advance(HOUR);
    let late = tracker.authenticate(costing(&issued, 10)).unwrap();
    clock.advance(HOUR);
    assert_eq!(uses(&tracker, &issued, 1), 1);
    assert_eq!(remaining(&tracker, &issued), [99, 739]);
    tracker.record(Usage::of(late).status(200).cost(0));
    assert_eq!(remaining(&tracker, &issued), [99, 749]);
}

#[test]
fn quota_holds_where_nothing_is_recorded() {
    let (builder, _clock) = builder();
    let tracker = builder.without_usage_recording().in_memory().unwrap();
    let issued = limited(&tracker, "laptop", Quota::new().per_day(3));
    settled(&tracker, &issued, 3, 1);
    assert_eq!(remaining(&tracker, &issued), [2]);
    assert_eq!(uses(&tracker, &issued, 5), 2);

    let (tracker, _clock) = in_memory();
    let issued = limited(&tracker, "laptop", Quota::new().per_day(3));
    let request = costing(&issued, 3).path("/healthz");
    let access = tracker.authenticate(request).unwrap();
    assert!(access.is_settled(), "the path is filtered");
    tracker.record(Usage::of(access).cost(1));
    assert_eq!(uses(&tracker, &issued, 5), 2);
}

#[test]
fn hit_costs_no_look_into_the_file_but_where_a_lease_runs_out() {
    let (tracker, _clock) = in_memory();
    let issued = limited(&tracker, "laptop", Quota::new().per_day(1_000));
    let request = || AuthRequest::from(&issued.secret).path("/healthz");
    assert!(tracker.authenticate(request()).is_ok());
    let accounts = || (tracker.health().filtered, tracker.health().accepted);
    for _ in 0..9 {
        assert!(tracker.authenticate_cached(&request()).unwrap().is_ok());
    }
    let before = accounts();
    assert!(tracker.authenticate_cached(&request()).is_none(), "the lease is used up");
    assert_eq!(accounts(), before, "nothing is armed or counted yet");
    assert!(tracker.authenticate(request()).is_ok());
    assert_eq!(accounts(), (before.0 + 1, before.1));
    assert!(tracker.authenticate_cached(&request()).unwrap().is_ok());
    // A client that goes on over its quota costs no look either.
    let used_up = limited(&tracker, "used up", Quota::new().per_day(1));
    assert_eq!(uses(&tracker, &used_up, 2), 1);
    let answer = tracker.authenticate_cached(&AuthRequest::from(&used_up.secret)).unwrap();
    assert_eq!(answer.unwrap_err().status(), 429);
}

#[test]
fn threads_that_hammer_one_token_never_get_a_unit_too_many() {
    let database = Database::new();
    let tracker = database.open();
    let period = limited(&tracker, "period", Quota::new().per_day(777));
    let burst = limited(&tracker, "burst", Quota::new().rate(Rate::per_second(1).burst(333)));
    let weighted = limited(&tracker, "weighted", Quota::new().per_month(1_000).per_hour(900));
    let [periods, bursts, weights] = [const { AtomicU64::new(0) }; 3];
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (tracker, period, burst, weighted) = (&tracker, &period, &burst, &weighted);
            let (periods, bursts, weights) = (&periods, &bursts, &weights);
            scope.spawn(move || {
                for request in 0..400 {
                    periods.fetch_add(uses(tracker, period, 1).into(), Ordering::Relaxed);
                    bursts.fetch_add(uses(tracker, burst, 1).into(), Ordering::Relaxed);
                    let cost = 1 + (request + thread) % 4;
                    if let Ok(access) = tracker.authenticate(costing(weighted, cost)) {
                        let in_the_end = cost / 2;
                        weights.fetch_add(in_the_end.into(), Ordering::Relaxed);
                        tracker.record(Usage::of(access).cost(in_the_end));
                    }
                }
            });
        }
    });
    assert_eq!((periods.into_inner(), bursts.into_inner()), (777, 333));
    let used = weights.into_inner();
    assert!(used <= 900);
    assert_eq!(remaining(&tracker, &weighted), [900 - used, 1_000 - used]);
}

#[test]
fn processes_on_one_file_share_counts_and_lose_a_lease_each_at_most() {
    let database = Database::new();
    let (one, two) = (database.open(), database.open());
    let limits = [1, 7, 99, 1_000, 2_345].into_iter().enumerate();
    for (at, limit) in limits {
        let issued = limited(&one, &format!("token {at}"), Quota::new().per_day(limit));
        let used = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for tracker in [&one, &two, &two] {
                let (issued, used) = (&issued, &used);
                scope.spawn(move || {
                    for _ in 0..limit * 2 / 5 {
                        used.fetch_add(uses(tracker, issued, 1).into(), Ordering::Relaxed);
                    }
                });
            }
        });
        let (mut used, lease) = (used.into_inner(), (limit / 100).max(1));
        for tracker in [&one, &two] {
            used += u64::from(uses(tracker, &issued, u32::try_from(limit).unwrap()));
        }
        assert!(used <= limit && used + lease >= limit, "{used} of {limit}");
        assert_eq!(uses(&one, &issued, 10) + uses(&two, &issued, 10), 0);
    }
}

#[test]
fn windows_that_change_under_load_get_no_unit_too_many() {
    let database = Database::new();
    let clock = ManualClock::default();
    let open = || {
        let builder: Builder = TokenTracker::builder().jwt_key(key()).clock(clock.clone());
        builder.open(database.path()).unwrap()
    };
    let (one, two) = (open(), open());
    let quota = Quota::new().per_minute(150).per_hour(1_000_000);
    let issued = limited(&one, "laptop", quota);
    let minutes = 12_u32;
    let used = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for tracker in [&one, &one, &two] {
            let (issued, used, clock) = (&issued, &used, &clock);
            scope.spawn(move || {
                for _ in 0..minutes / 3 {
                    used.fetch_add(uses(tracker, issued, 250).into(), Ordering::Relaxed);
                    clock.advance(SECOND * 60);
                }
            });
        }
    });
    let used = used.into_inner();
    assert!(used <= u64::from(minutes) * 150, "{used} in {minutes} minutes");
    assert!(used >= 4 * 150, "{used} in {minutes} minutes");
    let hour = database.number("SELECT granted FROM quota_windows WHERE period = 1");
    assert!(u64::try_from(hour).unwrap() >= used);
}

#[test]
fn counts_outlive_the_process_and_a_crash_costs_a_lease_at_most() {
    let database = Database::new();
    let issued = {
        let tracker = database.open();
        let issued = limited(&tracker, "laptop", Quota::new().per_day(1_000).per_month(100_000));
        assert_eq!(uses(&tracker, &issued, 101), 101);
        issued
    };
    let crashed = database.open();
    assert_eq!(remaining(&crashed, &issued), [1_000, 100_000], "before the file is asked");
    assert_eq!(uses(&crashed, &issued, 1), 1);
    assert_eq!(remaining(&crashed, &issued), [898, 99_898], "a clean end forfeits nothing");
    // It never gives back what it has leased.
    std::mem::forget(crashed);
    let tracker = database.open();
    assert_eq!(uses(&tracker, &issued, 1_000), 889);
    assert_eq!(denied(&tracker, &issued.secret).reason(), DenialReason::QuotaExceeded);
    let granted = "SELECT granted FROM quota_windows WHERE period = 2";
    assert_eq!(database.number(granted), 1_000);
}

#[test]
fn debt_outlives_the_process_that_made_it() {
    let database = Database::new();
    let issued = {
        let tracker = database.open();
        let issued = limited(&tracker, "laptop", Quota::new().per_hour(100).per_day(1_000));
        settled(&tracker, &issued, 1, 150);
        issued
    };
    let tracker = database.open();
    assert_eq!(denied(&tracker, &issued.secret).reason(), DenialReason::QuotaExceeded);
    let states = denied(&tracker, &issued.secret).quota();
    assert_eq!(states.iter().map(|state| state.remaining).collect::<Vec<_>>(), [0, 850]);
    let granted = |period| {
        database.number(&format!("SELECT granted FROM quota_windows WHERE period = {period}"))
    };
    assert_eq!((granted(1), granted(2)), (150, 150));
}

#[test]
fn storage_that_fails_is_no_answer_and_uses_nothing() {
    let database = Database::new();
    let (builder, _clock) = builder();
    let tracker = builder.busy_timeout(Duration::from_millis(20)).open(database.path()).unwrap();
    let issued = limited(&tracker, "laptop", Quota::new().rate(Rate::new(500, 60)).per_day(200));
    assert_eq!(uses(&tracker, &issued, 1), 1);
    let other = database.connect();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(uses(&tracker, &issued, 1), 1, "what is leased is good");
    for _ in 0..3 {
        let error = tracker.authenticate(&issued.secret).unwrap_err();
        assert!(matches!(error, AuthError::Unavailable(_)), "{error:?}");
        assert_eq!((error.status(), error.www_authenticate()), (503, None));
    }
    assert!(tracker.authenticate(costing(&issued, 0)).is_ok(), "what is free needs no file");
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(remaining(&tracker, &issued), [498, 198]);
    assert_eq!(uses(&tracker, &issued, 300), 198);

    let closed = limited(&tracker, "closed", Quota::new().per_day(1_000));
    assert_eq!(uses(&tracker, &closed, 1), 1);
    tracker.close().unwrap();
    let error = tracker.authenticate(&closed.secret).unwrap_err();
    assert!(matches!(error, AuthError::Unavailable(_)), "{error:?}");
}

#[test]
fn token_that_is_revoked_while_its_units_are_waited_for_is_refused() {
    let database = Database::new();
    let (builder, _clock) = builder();
    let tracker = builder.busy_timeout(SECOND * 30).open(database.path()).unwrap();
    let issued = limited(&tracker, "laptop", Quota::new().per_day(50));
    let identity = access(&tracker, &issued).identity().clone();
    let other = database.connect();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| tracker.authenticate(&issued.secret));
        // Until it waits; if it does not yet, it is refused all the more.
        std::thread::sleep(Duration::from_millis(50));
        let revoking = scope.spawn(|| tracker.tokens().revoke(issued.token.id, "leaked"));
        eventually("it is revoked here", || !tracker.still_holds(&identity).unwrap());
        other.execute_batch("ROLLBACK").unwrap();
        let error = waiting.join().unwrap().unwrap_err();
        assert_eq!(error.status(), 401, "{error:?}");
        revoking.join().unwrap().unwrap();
    });
}

#[test]
fn token_that_another_process_revoked_while_units_were_waited_for_is_refused_though_nobody_told() {
    let database = Database::new();
    let (builder, _clock) = builder();
    let tracker = builder.busy_timeout(SECOND * 30).open(database.path()).unwrap();
    let issued = limited(&tracker, "laptop", Quota::new().per_day(50));
    // What is looked up is then older than what this process has seen: as during a commit, it is told of no change.
    edit_quota(&tracker, &issued, Quota::new().per_day(40));
    database.execute("DELETE FROM changes");
    let other = database.connect();
    other.execute_batch("BEGIN IMMEDIATE; UPDATE catalogue SET state = 2").unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| tracker.authenticate(&issued.secret));
        std::thread::sleep(Duration::from_millis(100));
        other.execute_batch("COMMIT").unwrap();
        let error = waiting.join().unwrap().unwrap_err();
        assert_eq!(error.status(), 401, "{error:?}");
    });
}

#[test]
fn reset_forgives_what_was_charged_before_the_file_was_ever_asked() {
    let (tracker, _clock) = in_memory();
    let issued = limited(&tracker, "laptop", Quota::new().per_day(50).per_month(50));
    settled(&tracker, &issued, 0, 1_000);
    tracker.tokens().reset_quota(issued.token.id).unwrap();
    assert_eq!(remaining(&tracker, &issued), [50, 50]);
    assert_eq!(uses(&tracker, &issued, 60), 50);
}

#[test]
fn lease_whose_commit_has_no_answer_is_forfeited() {
    let database = Database::new();
    let (builder, _clock) = builder();
    let tracker = builder.open(database.path()).unwrap();
    let issued = limited(&tracker, "laptop", Quota::new().per_day(1_000));
    assert_eq!(uses(&tracker, &issued, 10), 10);
    // Refused at its commit, as a disk would.
    database.execute(
        "CREATE TABLE parent (id INTEGER PRIMARY KEY);
         CREATE TABLE child (id INTEGER REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED);
         CREATE TRIGGER fail AFTER UPDATE ON quota_windows
             BEGIN INSERT INTO child VALUES (1); END;",
    );
    for _ in 0..3 {
        let error = tracker.authenticate(&issued.secret).unwrap_err();
        assert!(matches!(error, AuthError::Unavailable(_)), "{error:?}");
    }
    database.execute("DROP TRIGGER fail");
    assert_eq!(uses(&tracker, &issued, 1_000), 990);
}

#[test]
fn every_form_of_a_token_and_every_look_up_count_as_one() {
    let (builder, _clock) = builder();
    let tracker = builder.cache_capacity(16).in_memory().unwrap();
    let issued = limited(&tracker, "laptop", Quota::new().rate(Rate::new(10, 86_400)).per_day(100));
    let others: Vec<_> = (0..64).map(|at| opaque(&tracker, &format!("other {at}"))).collect();
    for used in 1..=5 {
        assert!(accepted(&tracker, &issued));
        assert!(others.iter().all(|other| accepted(&tracker, other)), "out of the cache");
        assert_eq!(remaining(&tracker, &issued), [10 - used, 100 - used]);
    }
    let description = TokenUpdate::new().description(Some("another form".to_owned()));
    tracker.tokens().update(issued.token.id, description).unwrap();
    assert_eq!(remaining(&tracker, &issued), [5, 95]);
}

/// A hook that passes on of whom, which window and how much it is told.
struct Thresholds(Mutex<Sender<(String, ThresholdEvent)>>);

impl Hook for Thresholds {
    fn threshold(&self, event: &ThresholdEvent) {
        let _ = self.0.lock().unwrap().send((event.subject.name.clone(), event.clone()));
    }
}

#[test]
fn threshold_is_told_once_a_window_by_whichever_process_crosses_it() {
    let database = Database::new();
    let clock = ManualClock::default();
    let (sender, told) = channel();
    let open = |sender: Sender<_>| {
        let builder: Builder = TokenTracker::builder().jwt_key(key()).clock(clock.clone());
        builder.hook(Thresholds(Mutex::new(sender))).open(database.path()).unwrap()
    };
    let (one, two) = (open(sender.clone()), open(sender));
    let issued = limited(&one, "laptop", Quota::new().per_day(5).per_month(1_000));
    let mut expected = Vec::new();
    for (day, crossing) in [(0, [&one, &two]), (1, [&two, &one])] {
        for tracker in [&two, &one, &two, crossing[0]] {
            assert_eq!(uses(tracker, &issued, 1), 1, "day {day}");
        }
        expected.extend(told.recv_timeout(SECOND * 10));
        assert_eq!(uses(crossing[1], &issued, 3), 1);
        expected.extend(told.recv_timeout(SECOND * 10));
        assert_eq!(uses(&one, &issued, 3) + uses(&two, &issued, 3), 0);
        edit_quota(&one, &issued, Quota::new().per_day(5).per_month(999 - day));
        assert_eq!(uses(&one, &issued, 3), 0);
        clock.advance(DAY);
    }
    let shown: Vec<_> = expected
        .iter()
        .map(|(name, event)| {
            assert_eq!(event.subject.owner, OWNER);
            (name.as_str(), event.window, event.limit, event.percent, event.reset)
        })
        .collect();
    let [most, all] = [80, 100].map(|percent| ("laptop", "day", 5, percent, DAY));
    assert_eq!(shown, [most, all, most, all]);
    // Nothing more was told before what is told of another token.
    for tracker in [&one, &two] {
        let name = format!("marker {}", tracker.tokens().count(&TokenFilter::new()).unwrap());
        let marker = limited(tracker, &name, Quota::new().per_hour(1));
        assert_eq!(uses(tracker, &marker, 1), 1);
        assert_eq!(told.recv_timeout(SECOND * 10).unwrap().0, name);
    }
}

#[test]
fn edit_of_the_quota_is_in_force_with_the_next_request_and_keeps_what_is_used() {
    let (tracker, clock) = in_memory();
    let issued = limited(&tracker, "laptop", Quota::new().per_day(1_000));
    assert_eq!(uses(&tracker, &issued, 495), 495);
    edit_quota(&tracker, &issued, Quota::new().per_day(600).rate(Rate::per_second(3)));
    assert_eq!(uses(&tracker, &issued, 10), 3);
    edit_quota(&tracker, &issued, Quota::new().per_day(500));
    assert_eq!(uses(&tracker, &issued, 10), 2);
    edit_quota(&tracker, &issued, Quota::new().per_day(10));
    assert_eq!(uses(&tracker, &issued, 10), 0);
    edit_quota(&tracker, &issued, Quota::new().per_day(510));
    assert_eq!(uses(&tracker, &issued, 20), 10);
    edit_quota(&tracker, &issued, Quota::new().per_day(20));
    clock.advance(DAY);
    assert_eq!(uses(&tracker, &issued, 30), 20);
    let none = TokenUpdate::new().restrictions(Restrictions::default());
    tracker.tokens().update(issued.token.id, none).unwrap();
    assert_eq!(uses(&tracker, &issued, 30), 30);
}

#[test]
fn edit_and_reset_reach_the_other_process() {
    let database = Database::new();
    let (one, two) = (open(&database), open(&database));
    let issued = limited(&one, "laptop", Quota::new().per_month(1_000));
    assert_eq!(uses(&two, &issued, 1), 1);
    edit_quota(&one, &issued, Quota::new().per_month(5));
    eventually("it is lowered", || !accepted(&two, &issued));
    one.tokens().reset_quota(issued.token.id).unwrap();
    eventually("it is reset", || accepted(&two, &issued));
    assert_eq!(uses(&one, &issued, 10) + uses(&two, &issued, 10), 4);
}

#[test]
fn reset_is_an_act_that_sets_what_is_used_to_nothing() {
    let (tracker, _clock) = in_memory();
    let quota = Quota::new().rate(Rate::new(250, 86_400)).per_day(200).per_month(200);
    let issued = limited(&tracker, "laptop", quota);
    let before = tracker.authenticate(costing(&issued, 50)).unwrap();
    assert_eq!(uses(&tracker, &issued, 300), 150);
    tracker.tokens().acting_as("bob").because("paid").reset_quota(issued.token.id).unwrap();
    assert_eq!(remaining(&tracker, &issued), [250, 200, 200]);
    assert_eq!(uses(&tracker, &issued, 150), 150);
    tracker.record(Usage::of(before).cost(0));
    assert_eq!(remaining(&tracker, &issued), [100, 50, 50], "that was before");
    let filter = AuditFilter::new().token(issued.token.id).act(Act::ResetQuota);
    let entries = tracker.tokens().audit(&filter).unwrap().entries;
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].actor.as_deref(), Some("bob"));
    assert_eq!(entries[0].reason.as_deref(), Some("paid"));
    let unknown = tracker.tokens().reset_quota("987654".parse().unwrap()).unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::NotFound);
    let without = opaque(&tracker, "without a quota");
    tracker.tokens().reset_quota(without.token.id).unwrap();
}

#[test]
fn reset_of_what_only_another_process_used_is_one_here_too() {
    let database = Database::new();
    let (builder, clock) = builder();
    let (one, two) = (database.open(), builder.open(database.path()).unwrap());
    let quota = Quota::new().per_minute(9).per_month(9);
    let issued = limited(&one, "laptop", quota);
    let free = two.authenticate(costing(&issued, 0)).unwrap();
    assert_eq!(uses(&one, &issued, 20), 9);
    two.tokens().reset_quota(issued.token.id).unwrap();
    clock.set_wall(datetime!(2026-01-31 23:59 UTC));
    let states = free.quota();
    let shown: Vec<_> = states.iter().map(|state| (state.remaining, state.reset)).collect();
    assert_eq!(shown, [(9, SECOND * 60), (9, SECOND * 60)]);
    assert_eq!(uses(&two, &issued, 20), 9);
    let unused = limited(&one, "unused", quota);
    two.tokens().reset_quota(unused.token.id).unwrap();
    assert_eq!(uses(&two, &unused, 20), 9);
}

#[test]
fn windows_never_move_back_and_a_reset_is_the_way_out_of_a_clock_that_was_ahead() {
    let database = Database::new();
    let at = |wall: OffsetDateTime| -> (TokenTracker, ManualClock) {
        let clock = ManualClock::new(wall);
        let builder: Builder = TokenTracker::builder().jwt_key(key()).clock(clock.clone());
        (builder.open(database.path()).unwrap(), clock)
    };
    let right = datetime!(2026-05-10 12:00 UTC);
    let (one, clock) = at(right);
    let issued = limited(&one, "laptop", Quota::new().per_month(200));
    assert_eq!(uses(&one, &issued, 120), 120);
    // Back, within the process and in another one.
    clock.set_wall(right - DAY * 30);
    assert_eq!(uses(&one, &issued, 30), 30);
    let (behind, _) = at(right - DAY * 30);
    assert_eq!(uses(&behind, &issued, 100), 50);
    let refused = denied(&behind, &issued.secret);
    assert_eq!(refused.retry_after(), Some(DAY * 51 + HOUR * 12), "when May is over");
    // Ahead: what is taken there is of June, for all.
    clock.set_wall(right + DAY * 30);
    assert_eq!(uses(&one, &issued, 150), 150);
    clock.set_wall(right);
    assert_eq!(uses(&one, &issued, 100), 50);
    let refused = denied(&one, &issued.secret);
    assert_eq!(refused.retry_after(), Some(DAY * 51 + HOUR * 12), "when June is over");
    one.tokens().reset_quota(issued.token.id).unwrap();
    let state = access(&one, &issued).quota()[0];
    assert_eq!((state.remaining, state.reset), (199, DAY * 21 + HOUR * 12));
    assert_eq!(uses(&one, &issued, 300), 199);
}

#[test]
fn tokens_without_a_quota_and_those_of_others_are_not_touched() {
    let database = Database::new();
    let tracker = database.open();
    let (free, other) = (opaque(&tracker, "free"), opaque(&tracker, "other"));
    let small = limited(&tracker, "small", Quota::new().per_day(1));
    assert_eq!(uses(&tracker, &small, 5), 1);
    assert_eq!(uses(&tracker, &free, 500) + uses(&tracker, &other, 500), 1_000);
    assert_eq!(database.number("SELECT count(*) FROM quota_windows"), 1);
    assert_eq!(access(&tracker, &free).quota(), []);
}
