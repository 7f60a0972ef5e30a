//! Sums outlive the records they are made of, and equal them while both are there. A sum that is added twice, or a
//! record that goes before it is summed up, makes every number above it wrong for good.

use std::time::Duration;

use token_tracker::{
    Clock, Grouping, Issued, ManualClock, Order, StatsQuery, Summary, TokenTracker, Usage,
};

use crate::support::{Database, access, builder, opaque, records};

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// Numbers without a pattern, the same in each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % sides
    }
}

/// Requests of every kind, of several tokens and routes, over some days.
fn live(
    tracker: &TokenTracker,
    clock: &ManualClock,
    tokens: &[Issued],
    dice: &mut Dice,
    days: u64,
) {
    for _ in 0..days * 40 {
        clock.advance(Duration::from_secs(dice.roll(4_200)));
        let issued = &tokens[(dice.roll(9) * dice.roll(9) / 20) as usize % tokens.len()];
        if dice.roll(10) == 0 {
            drop(access(tracker, issued));
            continue;
        }
        let status = [200, 201, 204, 304, 404, 429, 500][dice.roll(7) as usize];
        let usage = Usage::of(access(tracker, issued))
            .route("GET", &format!("/{}", dice.roll(12)))
            .user_agent(format!("agent/{}", dice.roll(3)))
            .status(status)
            .response_bytes(dice.roll(5_000))
            .elapsed(Duration::from_micros(dice.roll(200_000)));
        tracker.record(usage.cost(dice.roll(4) as u32));
        if dice.roll(5) == 0 {
            tracker.flush().unwrap();
        }
        if dice.roll(50) == 0 {
            tracker.upkeep().unwrap();
        }
    }
    tracker.flush().unwrap();
}

/// The numbers of a summary that do not depend on when it is asked for.
fn numbers(query: &StatsQuery<'_>) -> (Summary, Vec<(String, u64)>) {
    let mut summary = query.summary().unwrap();
    summary.as_of = summary.from;
    let routes = query.clone().top(100).order(Order::Key).groups(Grouping::Route).unwrap();
    let routes: Vec<_> =
        routes.groups.iter().map(|group| (group.key.to_string(), group.requests)).collect();
    (summary, routes)
}

fn assert_sound(tracker: &TokenTracker) {
    assert_eq!(tracker.verify().unwrap().problems, [""; 0]);
}

#[test]
fn totals_stay_as_records_hours_and_days_are_removed_in_turn() {
    let database = Database::new();
    let (builder, clock) = builder();
    let tracker = builder.open(database.path()).unwrap();
    let tokens: Vec<_> = (0..4).map(|number| opaque(&tracker, &number.to_string())).collect();
    let start = clock.now();
    live(&tracker, &clock, &tokens, &mut Dice(1), 20);
    let end = start + DAY * ((clock.now() - start).whole_days() as u32 + 1);
    let stats = tracker.stats();
    let queries: Vec<_> = tokens
        .iter()
        .map(|issued| stats.token(issued.token.id))
        .chain([stats.all(), stats.owner(crate::support::OWNER)])
        .map(|query| query.between(start, end))
        .collect();
    let expected: Vec<_> = queries.iter().map(numbers).collect();
    assert_eq!(expected[4].0.total, 800);
    assert_eq!(expected[4].0.total, expected[5].0.total);
    assert_sound(&tracker);
    let count = |table: &str| database.number(&format!("SELECT count(*) FROM {table}"));
    for (days, gone) in [(0, ""), (50, "usage_log"), (60, "hourly_sums"), (3, "usage_groups")] {
        clock.advance(DAY * days);
        tracker.upkeep().unwrap();
        assert!(gone.is_empty() || count(gone) == 0, "{gone} after {days} days more");
        assert_eq!(queries.iter().map(numbers).collect::<Vec<_>>(), expected, "{gone}");
        assert_sound(&tracker);
    }
    assert_eq!((count("hourly_counts"), count("usage_gaps")), (0, 0));
    assert!(count("daily_sums") > 0 && count("names") > 0);
    clock.advance(DAY * 730);
    tracker.upkeep().unwrap();
    assert_eq!((count("daily_sums"), count("daily_counts"), count("names")), (0, 0, 0));
    let error = stats.all().between(start, end).summary().unwrap_err();
    assert_eq!(error.field(), Some("from"), "nothing is not the same as none");
    let all = stats.all().last_days(3_650).summary().unwrap();
    assert!(all.total == 0 && all.from >= end, "up to now it begins where what is kept does");
    live(&tracker, &clock, &tokens, &mut Dice(2), 1);
    assert_sound(&tracker);
}

#[test]
fn period_with_broken_hours_is_exact_while_the_records_are_there() {
    let database = Database::new();
    let (builder, clock) = builder();
    let tracker = builder.open(database.path()).unwrap();
    let tokens: Vec<_> = (0..3).map(|number| opaque(&tracker, &number.to_string())).collect();
    let start = clock.now();
    let mut dice = Dice(3);
    live(&tracker, &clock, &tokens, &mut dice, 6);
    let seconds = (clock.now() - start).whole_seconds().unsigned_abs();
    let all: Vec<_> = tokens.iter().map(|issued| records(&tracker, issued.token.id)).collect();
    for round in 0..200 {
        if round == 100 {
            tracker.upkeep().unwrap();
        }
        let from = start + Duration::from_secs(dice.roll(seconds));
        let until = from + Duration::from_secs(1 + dice.roll(2 * 86_400));
        let at = dice.roll(3) as usize;
        let expected: Vec<_> =
            all[at].iter().filter(|record| record.at >= from && record.at < until).collect();
        let query = tracker.stats().token(tokens[at].token.id).between(from, until);
        let summary = query.summary().unwrap();
        assert_eq!(summary.total, expected.len() as u64, "{from} to {until}");
        assert_eq!((summary.from, summary.until), (from, until));
        let bytes: u64 = expected.iter().map(|record| record.response_bytes).sum();
        let longest = expected.iter().map(|record| record.duration).max();
        assert_eq!(summary.response_bytes, bytes);
        assert_eq!(summary.latency.map(|latency| latency.max), longest);
    }
}

#[test]
fn period_is_widened_to_what_is_still_kept_and_says_so() {
    let database = Database::new();
    let (builder, clock) = builder();
    let builder = builder.raw_retention(HOUR * 2).hourly_retention(DAY * 2);
    let tracker = builder.open(database.path()).unwrap();
    let issued = opaque(&tracker, "laptop");
    let start = clock.now();
    for _ in 0..6 * 24 * 4 {
        drop(access(&tracker, &issued));
        clock.advance(HOUR / 4);
    }
    tracker.flush().unwrap();
    tracker.upkeep().unwrap();
    assert!(database.number("SELECT count(*) FROM usage_log") < 24 * 4);
    let asked = |from: Duration, until: Duration| {
        let query = tracker.stats().token(issued.token.id).between(start + from, start + until);
        let summary = query.summary().unwrap();
        let since = |at: time::OffsetDateTime| (at - start).unsigned_abs();
        (since(summary.from), since(summary.until), summary.total)
    };
    let minutes = |minutes: u32| Duration::from_secs(60) * minutes;
    let exact = (DAY * 6 - minutes(20), DAY * 6 - minutes(10));
    assert_eq!(asked(exact.0, exact.1), (exact.0, exact.1, 1));
    let hours = asked(DAY * 5 + minutes(20), DAY * 5 + minutes(90));
    assert_eq!(hours, (DAY * 5, DAY * 5 + HOUR * 2, 8));
    let whole_days = asked(DAY + minutes(20), DAY * 2 + minutes(90));
    assert_eq!(whole_days, (DAY, DAY * 3, 2 * 96));
    assert_sound(&tracker);
}

#[test]
fn requests_that_come_late_for_a_day_that_is_summed_up_are_added_to_it() {
    let database = Database::new();
    let (builder, clock) = builder();
    let tracker = builder.open(database.path()).unwrap();
    let issued = opaque(&tracker, "laptop");
    let start = clock.now();
    drop(access(&tracker, &issued));
    clock.advance(DAY * 100);
    tracker.flush().unwrap();
    tracker.upkeep().unwrap();
    assert_eq!(database.number("SELECT count(*) FROM hourly_sums"), 0);
    let mut total = 1;
    for back in [DAY * 100, DAY * 99, Duration::ZERO] {
        clock.set_wall(start + DAY * 100 - back);
        tracker.confirm_clock();
        for _ in 0..3 {
            drop(access(&tracker, &issued));
            tracker.flush().unwrap();
            total += 1;
            let query = tracker.stats().token(issued.token.id).between(start, start + DAY * 101);
            assert_eq!(query.summary().unwrap().total, total, "{back:?} ago");
            tracker.upkeep().unwrap();
            assert_eq!(query.summary().unwrap().total, total, "{back:?} ago, rolled up");
            assert_sound(&tracker);
        }
    }
}

#[test]
fn two_trackers_sum_up_each_record_once() {
    let database = Database::new();
    let (one, clock) = builder();
    let (two, _) = builder();
    let trackers = [
        one.open(database.path()).unwrap(),
        two.clock(clock.clone()).open(database.path()).unwrap(),
    ];
    let issued = opaque(&trackers[0], "shared");
    let mut dice = Dice(4);
    for _ in 0..600 {
        clock.advance(Duration::from_secs(dice.roll(600)));
        let tracker = &trackers[dice.roll(2) as usize];
        tracker.record(Usage::of(access(tracker, &issued)).status(200));
        match dice.roll(12) {
            0..4 => tracker.flush().unwrap(),
            4 => tracker.upkeep().unwrap(),
            _ => {}
        }
    }
    trackers.iter().for_each(|tracker| tracker.flush().unwrap());
    for tracker in &trackers {
        assert_eq!(
            tracker.stats().token(issued.token.id).last_days(30).summary().unwrap().total,
            600
        );
        assert_sound(tracker);
        tracker.upkeep().unwrap();
        assert_eq!(tracker.stats().all().last_days(30).summary().unwrap().total, 600);
        assert_sound(tracker);
    }
}

#[test]
fn what_is_wrong_in_a_file_is_told() {
    let database = Database::new();
    let tracker = database.open();
    let issued = opaque(&tracker, "laptop");
    (0..5).for_each(|_| drop(access(&tracker, &issued)));
    tracker.flush().unwrap();
    tracker.upkeep().unwrap();
    assert_sound(&tracker);
    for (harm, undo) in [
        ("UPDATE hourly_sums SET success = 9", "UPDATE hourly_sums SET success = 0"),
        (
            "UPDATE usage_log SET back = 2 WHERE id = 4",
            "UPDATE usage_log SET back = 1 WHERE id = 4",
        ),
        ("UPDATE usage_heads SET last_id = 3", "UPDATE usage_heads SET last_id = 5"),
        ("UPDATE usage_groups SET last_at = 0", "UPDATE usage_groups SET last_at = first_at"),
        ("UPDATE usage_log SET endpoint = 1600 WHERE id = 1", "UPDATE usage_log SET endpoint = 0"),
        ("UPDATE progress SET next_id = 5", "UPDATE progress SET next_id = 6"),
        (
            "CREATE TABLE kept AS SELECT * FROM hourly_sums; DELETE FROM hourly_sums",
            "INSERT INTO hourly_sums SELECT * FROM kept; DROP TABLE kept",
        ),
    ] {
        database.execute(harm);
        let found = tracker.verify();
        assert!(found.map_or(true, |found| !found.problems.is_empty()), "{harm}");
        database.execute(undo);
        assert_sound(&tracker);
    }
}

#[test]
fn what_is_old_goes_while_new_records_keep_coming() {
    let database = Database::new();
    let (builder, clock) = builder();
    let tracker = builder.open(database.path()).unwrap();
    let issued = opaque(&tracker, "laptop");
    for _ in 0..30_000 {
        tracker.record_blocking(Usage::of(access(&tracker, &issued)).status(200));
    }
    tracker.flush().unwrap();
    let old = database.number("SELECT max(id) FROM usage_log");
    clock.advance(DAY * 31);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                tracker.record_blocking(Usage::of(access(&tracker, &issued)).status(200));
            }
        });
        let _done = crate::support::Done(&done);
        tracker.upkeep().unwrap();
        let left = database.number(&format!("SELECT count(*) FROM usage_log WHERE id <= {old}"));
        assert_eq!(left, 0);
    });
    tracker.flush().unwrap();
    assert_sound(&tracker);
    let total = tracker.stats().all().last_days(60).summary().unwrap().total;
    assert_eq!(total, tracker.health().stored);
}

#[test]
fn numbers_beyond_all_bounds_are_kept_within_them_and_fail_no_commit() {
    let database = Database::new();
    let tracker = database.open();
    let issued = opaque(&tracker, "laptop");
    for _ in 0..3 {
        let usage = Usage::of(access(&tracker, &issued)).status(u16::MAX).cost(u32::MAX);
        tracker.record(usage.elapsed(Duration::MAX).response_bytes(u64::MAX));
    }
    let records = records(&tracker, issued.token.id);
    assert_eq!((records[0].status, records[0].cost), (999, u64::from(u32::MAX)));
    let largest = i64::MAX as u64;
    assert_eq!(
        (records[0].response_bytes, records[0].duration.as_micros()),
        (largest, largest.into())
    );
    for _ in 0..2 {
        let summary = tracker.stats().token(issued.token.id).summary().unwrap();
        assert_eq!((summary.total, summary.response_bytes), (3, largest));
        assert_eq!(summary.cost, 3 * u64::from(u32::MAX));
        assert_sound(&tracker);
        tracker.upkeep().unwrap();
    }
}

#[test]
fn records_that_are_old_before_they_are_summed_up_are_summed_up_first() {
    let database = Database::new();
    let (first, clock) = builder();
    let tracker = first.open(database.path()).unwrap();
    let issued = opaque(&tracker, "laptop");
    let start = clock.now();
    (0..5).for_each(|_| drop(access(&tracker, &issued)));
    tracker.close().unwrap();
    drop(tracker);
    clock.advance(DAY * 31);
    let tracker = builder().0.clock(clock).open(database.path()).unwrap();
    tracker.upkeep().unwrap();
    assert_eq!(database.number("SELECT count(*) FROM usage_log"), 0);
    let query = tracker.stats().token(issued.token.id).between(start, start + DAY);
    assert_eq!(query.summary().unwrap().total, 5);
}
