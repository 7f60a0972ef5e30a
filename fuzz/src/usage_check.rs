//! Everything that the library says of usage, compared with the ledger.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use time::OffsetDateTime;
use token_tracker::{ClientAddress, Grouping, StatsQuery, Summary, UsageRecord};

use crate::bench::instant;
use crate::ledger::{Row, Sums, is_sum};
use crate::usage_bench::{DAY, EARLIEST, LATEST, UsageBench, micros};

const HOUR: i64 = 3_600_000_000;

/// The most records and routes that one question gives.
const LIMIT: u32 = 1_000;

/// What is committed: of the owner, of each token, and of the tracker.
///
/// # Panics
/// Where the library says otherwise.
pub fn all(bench: &UsageBench) {
    bench.tracker.flush().expect("the storage is in memory");
    health(bench);
    let stats = bench.tracker.stats();
    question(bench, &stats.owner(bench.owner.as_str()), |_| true);
    for (at, token) in bench.tokens.iter().enumerate() {
        question(bench, &stats.token(token.id), |row| row.token == at);
    }
    let whole = stats.all().between(date(EARLIEST - DAY), date(LATEST + DAY)).summary();
    let whole = whole.expect("a period of two years");
    assert_eq!((whole.total, whole.dropped), (bench.requests, 0), "of all tokens");
}

/// What the library finds of its own file.
///
/// # Panics
/// Where it finds a problem, or other numbers than there are.
pub fn file(bench: &UsageBench) {
    let found = bench.tracker.verify().expect("the storage is in memory");
    assert_eq!(found.problems, [""; 0]);
    if !bench.has_forgotten() {
        assert_eq!(found.records, bench.requests, "in the log");
    }
}

fn health(bench: &UsageBench) {
    let health = bench.tracker.health();
    let accounts = (health.accepted, health.stored, health.buffered, health.dropped);
    assert_eq!(accounts, (bench.requests, bench.requests, 0, 0), "{health:?}");
    assert!(!health.degraded && health.last_error.is_none(), "{health:?}");
}

fn question(bench: &UsageBench, asked: &StatsQuery<'_>, counts: impl Fn(&Row) -> bool) {
    recent(bench, asked, &counts);
    let (from, until) = (EARLIEST - DAY, LATEST + DAY);
    summary(bench, asked, (from, until), &counts);
    routes(bench, &asked.clone().between(date(from), date(until)), &counts);
    // From the first row to the second, and so on: parts of hours, hours and days.
    let mut times: Vec<i64> =
        bench.ledger.rows().filter(|row| counts(row)).map(|row| row.at).collect();
    times.sort_unstable();
    times.dedup();
    let Some((first, last)) = times.first().zip(times.last()) else { return };
    summary(bench, asked, (*first, *last + 1), &counts);
    for pair in times.windows(2).take(2) {
        summary(bench, asked, (pair[0], pair[1]), &counts);
        summary(bench, asked, (pair[0] + 1, pair[1] + 1), &counts);
    }
}

fn recent(bench: &UsageBench, asked: &StatsQuery<'_>, counts: impl Fn(&Row) -> bool) {
    let numbers = bench.numbers();
    let row = |record: UsageRecord| Row {
        at: micros(record.at),
        token: numbers[&record.token_id],
        method: record.method,
        route: record.route,
        status: record.status,
        outcome: record.outcome,
        duration: record.duration.as_micros() as u64,
        bytes: record.response_bytes,
        address: record.client_address.map(kept),
        user_agent: record.user_agent,
        cost: record.cost,
        weight: record.weight,
    };
    let records = asked.recent(LIMIT).expect("the token is known");
    let found: Vec<Row> = records.into_iter().map(row).collect();
    bench.ledger.check(&found, counts, bench.has_forgotten());
    let latest = asked.recent(1).expect("the token is known").into_iter().map(row).next();
    assert_eq!(latest.as_ref(), found.first());
}

/// Addresses are kept as they are here.
fn kept(address: ClientAddress) -> IpAddr {
    match address {
        ClientAddress::Address(address) => address,
        other => panic!("not as it was said: {other}"),
    }
}

fn routes(bench: &UsageBench, asked: &StatsQuery<'_>, counts: impl Fn(&Row) -> bool) {
    let mut expected = BTreeMap::<String, u64>::new();
    for row in bench.ledger.rows().filter(|row| counts(row)) {
        *expected.entry(row.route.clone()).or_default() += u64::from(row.weight);
    }
    let answer = asked.clone().top(LIMIT).groups(Grouping::Route).expect("the token is known");
    let (told, other) = (answer.groups, answer.other);
    assert!(told.is_sorted_by(|one, next| one.requests >= next.requests), "{told:?}");
    let of_shared = bench.ledger.has_shared() && bench.has_forgotten();
    let other = Some(("<other>".to_owned(), other)).filter(|(_, requests)| *requests > 0);
    let told = told.into_iter().map(|group| (group.key.to_string(), group.requests));
    let told: BTreeMap<String, u64> = told.chain(other).collect();
    if of_shared {
        assert_eq!(told.values().sum::<u64>(), expected.values().sum::<u64>());
    } else {
        assert_eq!(told, expected, "routes");
    }
}

/// Of a period, or of the longer one that the library tells of where it no longer has the rows.
fn summary(
    bench: &UsageBench,
    asked: &StatsQuery<'_>,
    (from, until): (i64, i64),
    counts: impl Fn(&Row) -> bool,
) {
    let told = asked.clone().between(date(from), date(until)).summary().expect("a period");
    let period = micros(told.from)..micros(told.until);
    if bench.has_only_days() {
        let is_within = period.start <= from && until <= period.end;
        assert!(is_within, "{} to {} was asked for: {told:?}", date(from), date(until));
    } else {
        assert_eq!(period, from..until, "another period: {told:?}");
    }
    // Rows may be gone that lie after those of a clock that was set back; parts of hours are told without them.
    let is_whole = [period.start, period.end].iter().all(|edge| edge % HOUR == 0);
    if bench.has_forgotten() && !is_whole {
        return;
    }
    let rows = bench.ledger.rows().filter(|row| counts(row) && period.contains(&row.at));
    let sums = Sums::of(rows);
    let counted = [
        told.total,
        told.success,
        told.client_error,
        told.server_error,
        told.denied,
        told.unfinished,
    ];
    let expected = [
        sums.total,
        sums.success,
        sums.client_error,
        sums.server_error,
        sums.denied,
        sums.unfinished,
    ];
    assert_eq!(counted, expected, "{told:?}");
    assert_eq!(told.dropped, 0);
    assert!(is_sum(told.response_bytes, sums.bytes), "{told:?}: {sums:?}");
    assert!(is_sum(told.cost, sums.cost), "{told:?}: {sums:?}");
    // A row that was forgotten while others shared it has another first.
    if !(bench.ledger.has_shared() && bench.has_forgotten()) {
        assert_eq!(told.below_400, sums.below_400, "{told:?}");
        latency(&told, &sums);
    }
}

fn latency(told: &Summary, sums: &Sums) {
    let Some(latency) = told.latency else { return assert_eq!(sums.total, 0) };
    let us = |duration: Duration| duration.as_micros() as u64;
    let total = u128::from(sums.total);
    let mean = u128::from(us(latency.mean));
    if sums.duration <= i64::MAX as u128 {
        assert_eq!(mean, sums.duration / total, "{told:?}");
    } else {
        assert!(mean >= i64::MAX as u128 / total, "{told:?}");
    }
    assert_eq!(us(latency.max), sums.max, "{told:?}");
    let percentiles = [(50, latency.p50), (90, latency.p90), (95, latency.p95), (99, latency.p99)];
    for (percent, shown) in percentiles {
        let exact = sums.percentile(percent);
        let off = exact.abs_diff(us(shown));
        assert!(off <= exact / 32, "{percent} % is {exact}, not {shown:?}");
    }
}

fn date(micros: i64) -> OffsetDateTime {
    instant(micros.into())
}
