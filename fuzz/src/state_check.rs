//! What is told of the tokens after a flush, compared with what they were used for.

use std::collections::BTreeMap;

use token_tracker::{Act, AuditFilter, LateUseFilter, StatsQuery};

use crate::bench::instant;
use crate::state_bench::StateBench;
use crate::state_model::Token;
use crate::state_plan::Side;

const DAY: i64 = 86_400_000_000;

/// The longest period that sums are asked for: each of its days costs a look.
const LONGEST: i64 = 40 * DAY;

/// The most that one question gives.
const LIMIT: u32 = 1_000;

/// Everything that is committed.
///
/// # Panics
/// Where the library says otherwise.
pub fn all(bench: &mut StateBench) {
    bench.trouble = None;
    for at in Side::BOTH {
        bench.trackers[at.place()].flush().expect("the storage works");
        accounts(bench, at);
    }
    for (at, token) in bench.tokens.iter().enumerate().skip(bench.first) {
        let by = Side::BOTH[at % 2];
        usage(bench, token, by);
        audit(bench, token, by);
        bench.compare(at, by);
    }
}

/// What the library finds of its own file.
///
/// # Panics
/// Where it finds a problem.
pub fn file(bench: &StateBench) {
    let found = bench.trackers[0].verify().expect("the storage works");
    assert_eq!(found.problems, [""; 0]);
}

/// What a tracker says of itself once it is flushed.
///
/// # Panics
/// Where that is not what it was given.
pub fn accounts(bench: &StateBench, at: Side) {
    let health = bench.trackers[at.place()].health();
    let accounts = (health.accepted, health.stored, health.buffered, health.dropped);
    let recorded = bench.recorded[at.place()];
    assert_eq!(accounts, (recorded, recorded, 0, 0), "{at:?}: {health:?}");
    assert!(!health.degraded && !health.clock_in_doubt, "{health:?}");
}

fn usage(bench: &StateBench, token: &Token, by: Side) {
    let (begun, until) = (bench.begun(), bench.now().wall + DAY);
    let asked = bench.trackers[by.place()].stats().token(token.id);
    let asked = asked.between(instant(begun.into()), instant(until.into()));
    let mut outcomes = BTreeMap::<String, u64>::new();
    for record in asked.recent(LIMIT).expect("the token is known") {
        *outcomes.entry(format!("{:?}", record.outcome)).or_default() += u64::from(record.weight);
    }
    assert_eq!(outcomes, token.counts.outcomes, "{token:#?}");
    if until - begun < LONGEST {
        sums(&asked, token);
    }
    late(bench, token, by);
}

fn sums(asked: &StatsQuery<'_>, token: &Token) {
    let (told, counts) = (asked.summary().expect("a period"), &token.counts);
    assert_eq!((told.total, told.cost, told.dropped), (counts.total, counts.cost, 0), "{token:#?}");
    let count = |start: &str| {
        let outcomes = counts.outcomes.iter().filter(|(outcome, _)| outcome.starts_with(start));
        outcomes.map(|(_, count)| count).sum::<u64>()
    };
    let sums = [told.success, told.client_error, told.server_error, told.denied, told.unfinished];
    let names = ["Success", "ClientError", "ServerError", "Denied", "Unfinished"];
    assert_eq!(sums, names.map(count), "{told:?}");
}

fn late(bench: &StateBench, token: &Token, by: Side) {
    let filter = LateUseFilter::new().token(token.id).limit(LIMIT);
    let page = bench.trackers[by.place()].tokens().late_uses(&filter).expect("a page");
    let mut told = BTreeMap::new();
    for late in page.late_uses {
        told.insert((late.credential_id, format!("{:?}", late.reason)), late.count);
    }
    for (key, (least, most)) in &token.counts.late {
        let count = told.remove(key).unwrap_or(0);
        assert!((*least..=*most).contains(&count), "late {key:?}: {count}, {token:#?}");
    }
    assert!(told.is_empty(), "late use that was not: {told:?}, {token:#?}");
}

fn audit(bench: &StateBench, token: &Token, by: Side) {
    let filter = AuditFilter::new().token(token.id).limit(LIMIT);
    let page = bench.trackers[by.place()].tokens().audit(&filter).expect("a page");
    let told: Vec<Act> = page.entries.into_iter().rev().map(|entry| entry.act).collect();
    assert_eq!(told, token.acts, "the book: {token:#?}");
}
