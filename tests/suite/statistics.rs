//! Sums over the log: exact, of the right token, over the right period.

use std::time::Duration;

use token_tracker::{
    AuthRequest, Clock, ErrorKind, Grouping, Groups, Issued, NewToken, TokenTracker, Usage,
};

use crate::support::{OWNER, denied, in_memory, opaque, records};

fn request(tracker: &TokenTracker, issued: &Issued, route: &str, status: u16, took: Duration) {
    let access = tracker.authenticate(&issued.secret).unwrap();
    let usage = Usage::of(access).route("GET", route).status(status).elapsed(took);
    tracker.record(usage.response_bytes(10).cost(2));
}

const MS: Duration = Duration::from_millis(1);

#[test]
fn summary_adds_up_by_outcome() {
    let (tracker, _clock) = in_memory();
    let issued = opaque(&tracker, "laptop");
    for (status, route) in
        [(200, "/a"), (201, "/a"), (302, "/b"), (400, "/a"), (404, "/c"), (500, "/c"), (503, "/b")]
    {
        request(&tracker, &issued, route, status, MS);
    }
    drop(tracker.authenticate(&issued.secret).unwrap());
    drop(denied(&tracker, AuthRequest::from(&issued.secret).scope("admin")));
    tracker.flush().unwrap();
    let query = tracker.stats().token(issued.token.id);
    let summary = query.summary().unwrap();
    assert_eq!(summary.total, 9);
    assert_eq!((summary.success, summary.client_error, summary.server_error), (3, 2, 2));
    assert_eq!((summary.denied, summary.unfinished, summary.below_400), (1, 1, 3));
    assert_eq!((summary.response_bytes, summary.cost), (70, 16));
    let routes: Vec<_> = query
        .groups(Grouping::Route)
        .unwrap()
        .groups
        .into_iter()
        .map(|group| (group.key.to_string(), group.requests))
        .collect();
    let expected = [("/a", 3), ("/b", 2), ("/c", 2), ("<unmatched>", 2)];
    let mut sorted = routes.clone();
    sorted.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    let mut wanted: Vec<_> = expected.map(|(route, count)| (route.to_owned(), count)).to_vec();
    wanted.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    assert_eq!(sorted, wanted);
    assert_eq!(routes[0].1, 3);
}

#[test]
fn the_seven_numbers_are_what_they_were_elsewhere() {
    let (tracker, _clock) = in_memory();
    let issued = opaque(&tracker, "laptop");
    for number in 0..6 {
        let route = format!("/{number}");
        request(&tracker, &issued, &route, 200, Duration::from_micros(300));
    }
    request(&tracker, &issued, "/0", 404, Duration::from_micros(1_000));
    let denial = denied(&tracker, AuthRequest::from(&issued.secret).scope("x").route("/0"));
    tracker.record(Usage::of(denial).elapsed(Duration::ZERO));
    tracker.flush().unwrap();
    let seven =
        tracker.stats().token(issued.token.id).last_days(7).compatibility_summary().unwrap();
    assert_eq!((seven.total_requests, seven.successful_requests), (8, 6));
    assert_eq!((seven.blocked_requests, seven.success_rate), (1, 0.75));
    assert_eq!(seven.average_response_time_ms, 0.35, "requests under half a millisecond count");
    assert_eq!(seven.top_endpoints.len(), 5);
    assert_eq!((seven.top_endpoints[0].route.as_str(), seven.top_endpoints[0].requests), ("/0", 3));
    assert_eq!(seven.period_days, 7.0);
}

#[test]
fn sums_of_nothing_are_zero() {
    let (tracker, _clock) = in_memory();
    let issued = opaque(&tracker, "laptop");
    let summary = tracker.stats().token(issued.token.id).summary().unwrap();
    assert_eq!((summary.total, summary.latency, summary.success_rate), (0, None, 0.0));
    let seven = tracker.stats().all().compatibility_summary().unwrap();
    assert_eq!((seven.average_response_time_ms, seven.success_rate), (0.0, 0.0));
}

#[test]
fn nobody_gets_the_numbers_of_somebody_else() {
    let (tracker, _clock) = in_memory();
    let (one, two) = (opaque(&tracker, "one"), opaque(&tracker, "two"));
    let bobs = tracker.tokens().issue(NewToken::opaque("bob", "three")).unwrap();
    for (issued, times) in [(&one, 1), (&two, 2), (&bobs, 4)] {
        (0..times).for_each(|_| request(&tracker, issued, "/", 200, MS));
    }
    tracker.flush().unwrap();
    let stats = tracker.stats();
    assert_eq!(stats.token(one.token.id).summary().unwrap().total, 1);
    assert_eq!(stats.owner(OWNER).summary().unwrap().total, 3);
    assert_eq!(stats.owner("bob").recent(10).unwrap().len(), 4);
    assert_eq!(stats.all().summary().unwrap().total, 7);
    assert_eq!(stats.all().recent(5).unwrap().len(), 5);
    for query in [stats.token("4711".parse().unwrap()), stats.owner("nobody")] {
        assert_eq!(query.summary().unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(query.recent(1).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(query.groups(Grouping::Route).unwrap_err().kind(), ErrorKind::NotFound);
    }
}

#[test]
fn period_includes_its_start_and_not_its_end() {
    let (tracker, clock) = in_memory();
    let issued = opaque(&tracker, "laptop");
    let start = clock.now();
    for _ in 0..3 {
        request(&tracker, &issued, "/", 200, MS);
        clock.advance(Duration::from_secs(86_400));
    }
    tracker.flush().unwrap();
    let query = || tracker.stats().token(issued.token.id);
    let total = |query: token_tracker::StatsQuery<'_>| query.summary().unwrap().total;
    let day = |number: u32| start + Duration::from_secs(86_400) * number;
    assert_eq!(total(query().between(day(0), day(1))), 1);
    assert_eq!(total(query().between(day(0), day(2))), 2);
    assert_eq!(total(query().between(day(1), day(1) + Duration::from_micros(1))), 1);
    assert_eq!(total(query().last_days(1)), 1);
    assert_eq!(total(query().last_days(2)), 2);
    assert_eq!(total(query().last_days(3)), 3);
}

#[test]
fn period_and_limit_out_of_bounds_are_an_error_that_names_them() {
    let (tracker, clock) = in_memory();
    let query = || tracker.stats().all();
    for days in [0_i64, -5, 1_000_000_000, 3_651] {
        assert_eq!(query().last_days(days).summary().unwrap_err().field(), Some("days"));
    }
    assert!(query().last_days(3_650).summary().is_ok());
    let now = clock.now();
    assert_eq!(query().between(now, now).summary().unwrap_err().field(), Some("until"));
    for limit in [0, 1_001] {
        assert_eq!(query().recent(limit).unwrap_err().field(), Some("limit"));
        assert_eq!(query().top(limit).groups(Grouping::Route).unwrap_err().field(), Some("top"));
    }
}

#[test]
fn latest_records_of_each_token_are_found_by_back_links_among_many() {
    let (tracker, _clock) = in_memory();
    let tokens: Vec<_> = (0..7).map(|number| opaque(&tracker, &number.to_string())).collect();
    for round in 0..100_u64 {
        for (at, issued) in tokens.iter().enumerate() {
            if round % (at as u64 + 1) == 0 {
                request(&tracker, issued, "/", 200, Duration::from_micros(round));
            }
        }
        if round % 13 == 0 {
            tracker.flush().unwrap();
        }
    }
    for (at, issued) in tokens.iter().enumerate() {
        let found: Vec<_> =
            records(&tracker, issued.token.id).iter().map(|r| r.duration.as_micros()).collect();
        let expected: Vec<_> =
            (0..100).rev().filter(|round| round % (at as u128 + 1) == 0).collect();
        assert_eq!(found, expected);
        assert_eq!(tracker.stats().token(issued.token.id).recent(3).unwrap().len(), 3);
    }
}

#[test]
fn percentiles_of_known_durations_are_within_the_stated_error_and_mean_and_maximum_exact() {
    let (tracker, _clock) = in_memory();
    let issued = opaque(&tracker, "laptop");
    (1..=100).for_each(|ms| request(&tracker, &issued, "/", 200, MS * ms));
    tracker.flush().unwrap();
    let latency = tracker.stats().all().summary().unwrap().latency.unwrap();
    for (shown, exact) in
        [(latency.p50, 50), (latency.p90, 90), (latency.p95, 95), (latency.p99, 99)]
    {
        assert!(shown.abs_diff(MS * exact) <= MS * exact / 32, "{exact} ms is {shown:?}");
    }
    assert_eq!((latency.mean, latency.max), (Duration::from_micros(50_500), 100 * MS));
}

#[test]
fn texts_past_a_tokens_share_of_the_dictionary_become_other_and_totals_stay_exact() {
    let (tracker, _clock) = in_memory();
    let (greedy, modest) = (opaque(&tracker, "greedy"), opaque(&tracker, "modest"));
    for number in 0..600 {
        request(&tracker, &greedy, &format!("/{number}"), 200, MS);
    }
    request(&tracker, &greedy, "/599", 200, MS);
    request(&tracker, &modest, "/of its own", 200, MS);
    tracker.flush().unwrap();
    let records = records(&tracker, greedy.token.id);
    let other = records.iter().filter(|record| record.route == "<other>").count();
    assert_eq!(other, 600 - 512 + 1, "a token brings 512 routes at most");
    assert_eq!(tracker.stats().token(modest.token.id).recent(1).unwrap()[0].route, "/of its own");
    let query = tracker.stats().token(greedy.token.id);
    let routes = || query.clone().top(1_000).groups(Grouping::Route).unwrap();
    assert_eq!((query.summary().unwrap().total, sum(&routes())), (601, 601));
    tracker.upkeep().unwrap();
    assert_eq!((query.summary().unwrap().total, sum(&routes())), (601, 601), "rolled up too");
    assert!(routes().groups.len() <= 256 && routes().other > 200);
    assert_eq!(tracker.stats().all().summary().unwrap().total, 602);
}

fn sum(routes: &Groups) -> u64 {
    routes.groups.iter().map(|route| route.requests).sum::<u64>() + routes.other
}
