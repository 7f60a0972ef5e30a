//! Whatever usage is grouped by, the groups are those of the records. A group that is counted twice, or by sums that
//! are of another hour, would be believed: nobody adds up what a dashboard shows.

use std::time::Duration;

use time::UtcOffset;
use time::macros::{datetime, offset};
use token_tracker::{
    AuthRequest, ClientAddresses, Clock, ErrorKind, GroupKey, Grouping, Groups, NewToken, Order,
    TokenTracker, Usage,
};

use crate::ledger::{Dice, Ledger, Whose, any_instant, assert_seven, counted};
use crate::support::{Database, OWNER, access, builder, in_memory, opaque};

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

fn any_offset(dice: &mut Dice) -> UtcOffset {
    [UtcOffset::UTC, offset!(+2), offset!(-7), offset!(+5:30)][dice.roll(4) as usize]
}

#[test]
fn every_grouping_of_any_scope_and_period_is_what_plain_sql_makes_of_the_records() {
    let (builder, clock) = builder();
    let database = Database::new();
    let tracker = builder.open(database.path()).unwrap();
    let ledger = Ledger::new(&tracker, 20);
    let (start, mut dice) = (clock.now(), Dice(1));
    for _ in 0..4 {
        ledger.live(&tracker, &clock, &mut dice, (1_500, 6 * HOUR / 50));
        tracker.upkeep().unwrap();
    }
    ledger.live(&tracker, &clock, &mut dice, (50, HOUR / 50));
    let end = clock.now() + HOUR;
    for round in 0..25 {
        let (one, two) = (any_instant(start, end, &mut dice), any_instant(start, end, &mut dice));
        let period = (one.min(two), one.max(two) + Duration::from_secs(1));
        let (whose, offset) = (ledger.anyone(&mut dice), any_offset(&mut dice));
        let query = whose.ask(&tracker).between(period.0, period.1).offset(offset).top(1_000);
        assert_seven(&ledger, &whose, &tracker, period);
        for by in Grouping::all() {
            let expected = ledger.groups(&whose, period, by, offset);
            for query in [query.clone(), query.clone().from_records()] {
                let groups = query.groups(by).unwrap();
                assert_eq!(counted(&groups), expected, "{round}: {whose:?} by {by}, {period:?}");
                assert_eq!(groups.other, 0);
            }
        }
    }
}

/// The numbers of an answer that do not depend on when it is asked for.
fn numbers(query: &token_tracker::StatsQuery<'_>, by: Grouping) -> Groups {
    let mut groups = query.groups(by).unwrap();
    let as_of = groups.total.from;
    groups.total.as_of = as_of;
    for group in &mut groups.groups {
        group.summary.iter_mut().for_each(|summary| summary.as_of = as_of);
    }
    groups
}

#[test]
fn no_group_changes_as_records_and_then_hours_are_removed() {
    let (builder, clock) = builder();
    let database = Database::new();
    let builder = builder.raw_retention(2 * DAY).hourly_retention(20 * DAY);
    let tracker = builder.open(database.path()).unwrap();
    let ledger = Ledger::new(&tracker, 12);
    let start = clock.now();
    ledger.live(&tracker, &clock, &mut Dice(2), (2_000, 5 * DAY / 2_000));
    let (one, two) = (start + DAY, start + 4 * DAY);
    let ask = |whose: &Whose| whose.ask(&tracker).between(one, two).top(1_000);
    let whose = [
        Whose::All,
        Whose::Owner("owner 0".to_owned()),
        Whose::Tag("tag 1".to_owned()),
        Whose::Token(ledger.tokens[0].token.id),
    ];
    let all = || -> Vec<Groups> {
        let by = |whose| Grouping::all().map(move |by| (whose, by));
        let asked = whose.iter().flat_map(by);
        asked
            .filter(|(_, by)| *by != Grouping::Hour)
            .map(|(whose, by)| numbers(&ask(whose), by))
            .collect()
    };
    let expected = all();
    assert!(expected[0].total.total > 500 && expected[0].total.distinct_addresses.count > 50);
    let rows = |table: &str| database.number(&format!("SELECT count(*) FROM {table}"));
    for (days, table) in [(6, "usage_log"), (30, "hourly_sums")] {
        let before = rows(table);
        clock.advance(DAY * days);
        tracker.upkeep().unwrap();
        assert!(rows(table) < before / 4, "{table}");
        assert_eq!(all(), expected, "without most of {table}");
        assert_eq!(tracker.verify().unwrap().problems, [""; 0]);
    }
    assert_eq!(ask(&whose[0]).groups(Grouping::Hour).unwrap_err().field(), Some("from"));
    for offset in [offset!(+2), offset!(+5:30)] {
        let days = ask(&whose[0]).offset(offset).groups(Grouping::Day);
        assert_eq!(days.unwrap_err().field(), Some("from"), "{offset}");
        let days = whose[0].ask(&tracker).last_days(300).offset(offset).groups(Grouping::Day);
        assert!(days.unwrap().total.from > start + 4 * DAY, "up to now it begins where it can");
    }
    let records = ask(&whose[0]).from_records().groups(Grouping::Route).unwrap_err();
    assert_eq!((records.kind(), records.field()), (ErrorKind::InvalidInput, Some("from")));
}

#[test]
fn sums_and_records_say_the_same_of_hours_tokens_and_owners() {
    let (tracker, clock) = in_memory();
    let ledger = Ledger::new(&tracker, 9);
    let start = clock.now();
    ledger.live(&tracker, &clock, &mut Dice(3), (1_000, HOUR / 10));
    let query = tracker.stats().all().between(start, clock.now() + HOUR).top(100);
    for by in [Grouping::Hour, Grouping::Day, Grouping::Owner, Grouping::Token] {
        for order in [Order::Key, Order::Cost, Order::P95, Order::ServerErrors] {
            let query = query.clone().order(order);
            let (sums, records) = (query.groups(by), query.clone().from_records().groups(by));
            assert_eq!(sums.unwrap(), records.unwrap(), "by {by}, {order:?} first");
        }
    }
}

fn request(tracker: &TokenTracker, issued: &token_tracker::Issued, route: &str, took: Duration) {
    let usage = Usage::of(access(tracker, issued)).route("GET", route).status(200);
    tracker.record(usage.elapsed(took));
}

#[test]
fn largest_groups_come_first_and_the_rest_is_other() {
    let (tracker, _clock) = in_memory();
    let issued = opaque(&tracker, "laptop");
    for (route, times) in [("/a", 2), ("/b", 5), ("/c", 2), ("/d", 1)] {
        (0..times).for_each(|_| request(&tracker, &issued, route, Duration::ZERO));
    }
    tracker.flush().unwrap();
    let query = tracker.stats().all();
    let keys = |groups: &Groups| -> Vec<_> {
        groups.groups.iter().map(|group| group.key.to_string()).collect()
    };
    let two = query.clone().top(2).groups(Grouping::Route).unwrap();
    assert_eq!((keys(&two), two.other), (vec!["/b".to_owned(), "/a".to_owned()], 3));
    let by_key = query.clone().order(Order::Key).groups(Grouping::Route).unwrap();
    assert_eq!((keys(&by_key).join(" "), by_key.other), ("/a /b /c /d".to_owned(), 0));
    assert_eq!(by_key.groups[0].summary, None, "routes are counted");
    let error = query.clone().order(Order::P95).groups(Grouping::Route).unwrap_err();
    assert_eq!(error.field(), Some("order"));
    for top in [0, 1_001, 1_000_000] {
        let error = query.clone().top(top).groups(Grouping::Day).unwrap_err();
        assert_eq!(error.field(), Some("top"));
    }
}

#[test]
fn slowest_routes_are_found_in_the_records() {
    let (tracker, _clock) = in_memory();
    let issued = opaque(&tracker, "laptop");
    for number in 1..=100 {
        request(&tracker, &issued, "/fast", Duration::from_millis(number));
        request(&tracker, &issued, "/slow", Duration::from_millis(10 * number));
    }
    request(&tracker, &issued, "/once", Duration::from_millis(500));
    tracker.flush().unwrap();
    let query = tracker.stats().all().from_records().order(Order::P95);
    let groups = query.groups(Grouping::Route).unwrap();
    let slowest: Vec<_> = groups
        .groups
        .iter()
        .map(|group| (group.key.to_string(), group.summary.as_ref().unwrap().latency.unwrap().p95))
        .collect();
    assert_eq!(
        slowest.iter().map(|(route, _)| route.as_str()).collect::<Vec<_>>(),
        ["/slow", "/once", "/fast"]
    );
    assert!(slowest[0].1.abs_diff(Duration::from_millis(950)) < Duration::from_millis(30));
}

#[test]
fn hours_and_days_without_requests_are_there_and_begin_at_midnight_of_the_offset() {
    let (tracker, clock) = in_memory();
    let issued = opaque(&tracker, "laptop");
    clock.advance(30 * HOUR);
    request(&tracker, &issued, "/", Duration::ZERO);
    clock.advance(50 * HOUR);
    request(&tracker, &issued, "/", Duration::ZERO);
    tracker.flush().unwrap();
    let query = tracker.stats().all().offset(offset!(-5));
    let days = query.clone().calendar_days(4).groups(Grouping::Day).unwrap();
    let of_days: Vec<_> =
        days.groups.iter().map(|group| (group.key.clone(), group.requests)).collect();
    let day = |at| GroupKey::Time(at);
    assert_eq!(
        of_days,
        [
            (day(datetime!(2026-01-01 00:00 -5)), 0),
            (day(datetime!(2026-01-02 00:00 -5)), 1),
            (day(datetime!(2026-01-03 00:00 -5)), 0),
            (day(datetime!(2026-01-04 00:00 -5)), 1),
        ]
    );
    assert_eq!((days.total.period_days, days.total.from), (4.0, datetime!(2026-01-01 05:00 UTC)));
    let hours = query.last_hours(3).groups(Grouping::Hour).unwrap();
    assert_eq!(hours.groups.len(), 4, "three hours and the present one");
    assert_eq!(hours.groups[3].requests, 1);
    let one = tracker
        .stats()
        .all()
        .days(time::macros::date!(2026 - 01 - 02), time::macros::date!(2026 - 01 - 02));
    assert_eq!(one.summary().unwrap().total, 1);
}

#[test]
fn ten_years_by_the_hour_are_refused() {
    let (tracker, _clock) = in_memory();
    let error = tracker.stats().all().last_days(3_650).groups(Grouping::Hour).unwrap_err();
    assert_eq!(error.field(), Some("by"));
    assert_eq!(tracker.stats().all().last_hours(0).summary().unwrap_err().field(), Some("hours"));
}

#[test]
fn question_that_takes_longer_than_it_may_is_ended() {
    let (tracker, _clock) = in_memory();
    let issued = opaque(&tracker, "laptop");
    request(&tracker, &issued, "/", Duration::ZERO);
    tracker.flush().unwrap();
    let query = tracker.stats().all().deadline(Duration::ZERO);
    for error in [
        query.summary().unwrap_err(),
        query.groups(Grouping::Token).unwrap_err(),
        query.clone().from_records().groups(Grouping::Route).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
    }
    assert_eq!(query.deadline(Duration::from_secs(60)).summary().unwrap().total, 1);
}

#[test]
fn distinct_addresses_are_exact_up_to_the_stated_number_and_estimated_above() {
    let (tracker, _clock) = in_memory();
    let issued = opaque(&tracker, "laptop");
    let visit = |numbers: std::ops::Range<u32>| {
        for number in numbers {
            let address = std::net::IpAddr::from((0x0a00_0000_u32 + number).to_be_bytes());
            let request = AuthRequest::from(&issued.secret).client_address(address);
            drop(tracker.authenticate(request).unwrap());
        }
        tracker.flush().unwrap();
        tracker.upkeep().unwrap();
        let token = tracker.stats().token(issued.token.id).summary().unwrap();
        let all = tracker.stats().all().summary().unwrap();
        [token, all]
            .map(|summary| (summary.distinct_addresses.count, summary.distinct_addresses.is_exact))
    };
    for _ in 0..2 {
        assert_eq!(visit(0..64), [(64, true); 2]);
    }
    let [token, all] = visit(0..1_024);
    assert_eq!(all, (1_024, true));
    assert!(!token.1 && token.0.abs_diff(1_024) < 5 * 128, "{token:?}");
    let [token, all] = visit(0..6_000);
    assert!(!all.1 && all.0.abs_diff(6_000) < 5 * 188, "{all:?}");
    assert!(!token.1 && token.0.abs_diff(6_000) < 5 * 750, "{token:?}");
    let all = tracker.stats().all().top(1_000).groups(Grouping::ClientAddress).unwrap();
    assert_eq!(all.groups.iter().map(|group| group.requests).sum::<u64>() + all.other, 7_152);
    let records = tracker.stats().all().from_records().groups(Grouping::Route).unwrap();
    assert!(records.total.distinct_addresses.count.abs_diff(6_000) < 5 * 188);
}

#[test]
fn addresses_are_grouped_as_they_are_kept() {
    let (builder, _clock) = builder();
    let tracker = builder.client_addresses(ClientAddresses::Truncate).in_memory().unwrap();
    let issued = opaque(&tracker, "laptop");
    for last in [7, 8] {
        let request = AuthRequest::from(&issued.secret);
        drop(
            tracker
                .authenticate(request.client_address(std::net::IpAddr::from([192, 0, 2, last])))
                .unwrap(),
        );
    }
    drop(tracker.authenticate(&issued.secret).unwrap());
    tracker.flush().unwrap();
    tracker.upkeep().unwrap();
    let groups = tracker.stats().all().groups(Grouping::ClientAddress).unwrap();
    assert_eq!(counted(&groups), [("192.0.2.0/24".to_owned(), 2), ("<none>".to_owned(), 1)].into());
    assert_eq!(groups.total.distinct_addresses.count, 1);
}

#[test]
fn an_owner_called_other_is_a_group_like_any_other() {
    let (tracker, _clock) = in_memory();
    for owner in ["<other>", "<none>", OWNER] {
        let issued = tracker.tokens().issue(NewToken::opaque(owner, "x")).unwrap();
        drop(access(&tracker, &issued));
    }
    tracker.flush().unwrap();
    let groups = tracker.stats().all().top(2).order(Order::Key).groups(Grouping::Owner).unwrap();
    assert_eq!((groups.groups[1].key.to_string(), groups.other), ("<other>".to_owned(), 1));
}

#[test]
fn tag_that_nobody_has_is_nothing() {
    let (tracker, _clock) = in_memory();
    drop(access(&tracker, &opaque(&tracker, "laptop")));
    tracker.flush().unwrap();
    assert_eq!(tracker.stats().tag("ci").summary().unwrap().total, 0);
    assert!(tracker.stats().tag("ci").recent(5).unwrap().is_empty());
}

#[test]
fn answers_serialise_with_names_that_say_their_units() {
    let (tracker, _clock) = in_memory();
    let issued = opaque(&tracker, "laptop");
    request(&tracker, &issued, "/a", Duration::from_micros(17));
    tracker.flush().unwrap();
    let groups = tracker.stats().all().last_days(1).groups(Grouping::Token).unwrap();
    let json = serde_json::to_value(&groups).unwrap();
    assert_eq!(json["by"], "token");
    assert_eq!(json["groups"][0]["key"], 1);
    let summary = &json["groups"][0]["summary"];
    assert_eq!((&summary["total"], &summary["success_rate"]), (&1.into(), &1.0.into()));
    assert_eq!(summary["latency"]["p95_us"], 17);
    assert_eq!(summary["from"], "2025-12-31T00:00:00Z");
    assert_eq!(summary["distinct_addresses"]["is_exact"], true);
    let seven = serde_json::to_value(tracker.stats().all().compatibility_summary().unwrap());
    assert_eq!(seven.unwrap()["top_endpoints"][0]["route"], "/a");
    let days = tracker.stats().all().last_days(1).groups(Grouping::Day).unwrap();
    assert_eq!(serde_json::to_value(&days).unwrap()["groups"][0]["key"], "2025-12-31T00:00:00Z");
}
