//! Records page by page: all that are asked for, each once, whatever is recorded and removed meanwhile, and nobody
//! else's.

use std::time::Duration;

use token_tracker::{
    AuthRequest, Clock, ErrorKind, Issued, NewToken, OutcomeKind, RecordCursor, RecordFilter,
    StatsQuery, TokenTracker, Usage, UsageRecord,
};

use crate::ledger::{Dice, Ledger, Whose, any_instant};
use crate::support::{Database, access, builder, denied, in_memory, opaque};

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// All pages of a question, with so many records each; between two pages `meanwhile`.
fn all_pages(
    query: &StatsQuery<'_>,
    filter: &RecordFilter,
    mut meanwhile: impl FnMut(),
) -> Vec<UsageRecord> {
    let (mut records, mut filter) = (Vec::new(), filter.clone());
    for _ in 0..10_000 {
        let page = query.records(&filter).unwrap();
        records.extend(page.records);
        let Some(next) = page.next else { return records };
        let text = next.to_string();
        filter = filter.after(text.parse::<RecordCursor>().unwrap());
        meanwhile();
    }
    panic!("there is no end to them");
}

fn any_filter(dice: &mut Dice, all: &[UsageRecord]) -> RecordFilter {
    let some = &all[dice.roll(all.len() as u64) as usize];
    let filter = RecordFilter::new().limit(1 + dice.roll(60) as u32);
    let filter = if dice.roll(2) == 0 { filter.oldest_first() } else { filter };
    match dice.roll(7) {
        0 => filter.outcome(some.outcome.kind()),
        1 => filter.outcome(OutcomeKind::Denied).route(&some.route),
        2 => filter.statuses(400..=499),
        3 => filter.status(some.status).outcome(some.outcome.kind()),
        4 => filter.route(&some.route),
        5 => match some.client_address {
            Some(address) => filter.client_address(address),
            None => filter,
        },
        _ => filter,
    }
}

fn meets(filter: &str, record: &UsageRecord) -> bool {
    // What the filter asks for, read from how it is shown.
    let asks = |name: &str| {
        let start = filter.find(&format!("{name}: Some("))? + name.len() + 7;
        Some(filter[start..].to_owned())
    };
    let begins = |name: &str, value: String| {
        asks(name).is_none_or(|wanted| wanted.starts_with(&format!("{value})")))
    };
    let statuses = asks("statuses").is_none_or(|wanted| {
        let numbers: Vec<u16> = wanted
            .split(|c: char| !c.is_ascii_digit())
            .filter(|part| !part.is_empty())
            .take(2)
            .map(|part| part.parse().unwrap())
            .collect();
        (numbers[0]..=numbers[1]).contains(&record.status)
    });
    let address = record.client_address;
    statuses
        && begins("outcome", format!("{:?}", record.outcome.kind()))
        && begins("route", format!("{:?}", record.route))
        && (asks("client_address").is_none()
            || address.is_some_and(|address| begins("client_address", format!("{address:?}"))))
}

#[test]
fn pages_of_any_question_are_a_plain_filter_while_records_come_and_go() {
    let database = Database::new();
    let (builder, clock) = builder();
    let tracker = builder.raw_retention(30 * DAY).open(database.path()).unwrap();
    let ledger = Ledger::new(&tracker, 8);
    let (mut dice, start) = (Dice(11), clock.now());
    ledger.live(&tracker, &clock, &mut dice, (2_500, 6 * HOUR / 30));
    let unfiltered = RecordFilter::new().oldest_first().limit(1_000);
    for round in 0..60 {
        let all = all_pages(&tracker.stats().all(), &unfiltered, || ());
        let (filter, whose) = (any_filter(&mut dice, &all), ledger.anyone(&mut dice));
        let (one, two) = (
            any_instant(start, clock.now(), &mut dice),
            any_instant(start, clock.now(), &mut dice),
        );
        let period = (dice.roll(2) == 0).then(|| (one.min(two), one.max(two) + HOUR));
        let query = match period {
            Some((from, until)) => whose.ask(&tracker).between(from, until),
            None => whose.ask(&tracker),
        };
        let shown = format!("{filter:?}");
        let is_oldest_first = shown.contains("oldest_first: true");
        let is_meant = |record: &&UsageRecord| {
            let tokens = &ledger.tokens;
            let token = tokens.iter().find(|issued| issued.token.id == record.token_id).unwrap();
            let of_whom = match &whose {
                Whose::All => true,
                Whose::Owner(owner) => token.token.owner == *owner,
                Whose::Tag(tag) => token.token.tags.contains(tag),
                Whose::Token(id) => token.token.id == *id,
            };
            of_whom
                && period.is_none_or(|(from, until)| (from..until).contains(&record.at))
                && meets(&shown, record)
        };
        let last = all.last().unwrap().id;
        let mut expected: Vec<_> = all.iter().filter(is_meant).map(|record| record.id).collect();
        if !is_oldest_first {
            expected.reverse();
        }
        let mut more = Dice(round);
        let records = all_pages(&query, &filter, || {
            if more.roll(4) == 0 {
                ledger.live(&tracker, &clock, &mut more, (3, Duration::from_millis(5)));
            }
        });
        let found: Vec<_> =
            records.iter().map(|record| record.id).filter(|id| *id <= last).collect();
        assert_eq!(found, expected, "{round}: {whose:?} {period:?} {shown}");
        assert!(records.iter().all(|record| record.id <= last || is_oldest_first));
        assert!(records.iter().all(|record| is_meant(&record)));
    }
}

#[test]
fn records_that_are_removed_between_two_pages_are_not_shown_and_end_what_goes_on_with_them() {
    let database = Database::new();
    let (builder, clock) = builder();
    let tracker = builder.raw_retention(DAY).open(database.path()).unwrap();
    let ledger = Ledger::new(&tracker, 3);
    ledger.live(&tracker, &clock, &mut Dice(5), (300, HOUR / 10));
    for query in [
        tracker.stats().token(ledger.tokens[0].token.id),
        tracker.stats().all(),
        tracker.stats().tag("tag 0"),
    ] {
        let newest = query.records(&RecordFilter::new().limit(20)).unwrap();
        let oldest = query.records(&RecordFilter::new().oldest_first().limit(20)).unwrap();
        assert_eq!((newest.records.len(), oldest.records.len()), (20, 20));
        clock.advance(10 * HOUR);
        tracker.upkeep().unwrap();
        let kept = query.records(&RecordFilter::new().limit(1_000)).unwrap().records;
        let rest = |page: token_tracker::RecordPage, filter: RecordFilter| {
            all_pages(&query, &filter.after(page.next.unwrap()), || ())
        };
        let down = rest(newest.clone(), RecordFilter::new().limit(7));
        let after = newest.records.last().unwrap().id;
        assert_eq!(
            down,
            kept.iter().filter(|record| record.id < after).cloned().collect::<Vec<_>>()
        );
        let up = rest(oldest, RecordFilter::new().oldest_first().limit(7));
        assert!(up.iter().all(|record| kept.contains(record)));
    }
}

#[test]
fn cursor_of_another_question_or_of_somebody_elses_records_is_refused_by_name() {
    let (tracker, _clock) = in_memory();
    let (mine, others) =
        (opaque(&tracker, "mine"), tracker.tokens().issue(NewToken::opaque("bob", "his")).unwrap());
    for _ in 0..5 {
        drop(access(&tracker, &mine));
        drop(access(&tracker, &others));
    }
    tracker.flush().unwrap();
    let query = |issued: &token_tracker::Issued| tracker.stats().token(issued.token.id);
    let two = RecordFilter::new().limit(2);
    let next = |query: StatsQuery<'_>, filter: &RecordFilter| query.records(filter).unwrap().next;
    let of_his = next(query(&others), &two).unwrap();
    let of_mine = next(query(&mine), &two).unwrap();
    let refused = |query: StatsQuery<'_>, filter: RecordFilter| {
        let error = query.records(&filter).unwrap_err();
        assert_eq!((error.kind(), error.field()), (ErrorKind::InvalidInput, Some("cursor")));
    };
    refused(query(&mine), two.clone().after(of_his.clone()));
    refused(query(&mine), two.clone().oldest_first().after(of_mine.clone()));
    refused(query(&mine), two.clone().status(200).after(of_mine.clone()));
    refused(query(&mine).last_days(1), two.clone().after(of_mine.clone()));
    refused(tracker.stats().all(), two.clone().after(of_mine.clone()));
    assert_eq!(
        query(&mine).records(&two.clone().limit(9).after(of_mine.clone())).unwrap().records.len(),
        3
    );

    // Made up: his rows under my question. The text is base64 of a kind, four bytes of the question, and the rows.
    let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let bytes =
        |cursor: &RecordCursor| base64::Engine::decode(&engine, cursor.to_string()).unwrap();
    let forged = [&bytes(&of_mine)[..5], &bytes(&of_his)[5..]].concat();
    let forged: RecordCursor = base64::Engine::encode(&engine, forged).parse().unwrap();
    refused(query(&mine), two.clone().after(forged));
    // Two rows of one chain come once each.
    let forged = [&bytes(&of_mine)[..5], &[9, 2, 2]].concat();
    let forged: RecordCursor = base64::Engine::encode(&engine, forged).parse().unwrap();
    let page = query(&mine).records(&two.clone().limit(50).after(forged)).unwrap();
    assert_eq!(page.records.iter().map(|record| record.id).collect::<Vec<_>>(), [9, 7, 5, 3, 1]);
    for kind in [0x11, 0x12, 0x13] {
        let mut other = bytes(&of_mine);
        other[0] = kind;
        if let Ok(cursor) = base64::Engine::encode(&engine, other).parse::<RecordCursor>() {
            for filter in [two.clone(), two.clone().oldest_first()] {
                if let Ok(page) = query(&mine).records(&filter.after(cursor.clone())) {
                    assert!(page.records.iter().all(|record| record.token_id == mine.token.id));
                }
            }
        }
    }
}

#[test]
fn records_say_whose_they_are_and_serialise_flat() {
    let (tracker, _clock) = in_memory();
    let issued = opaque(&tracker, "laptop");
    drop(denied(
        &tracker,
        AuthRequest::from(&issued.secret).scope("admin").route("/a").method("GET"),
    ));
    tracker.flush().unwrap();
    let page = tracker.stats().all().records(&RecordFilter::new()).unwrap();
    let json = serde_json::to_value(&page).unwrap();
    assert_eq!(
        json["records"][0],
        serde_json::json!({
            "id": 1, "at": "2026-01-01T00:00:00Z", "token_id": 1, "owner": "alice@example.com",
            "method": "GET", "route": "/a", "status": 403, "outcome": "denied",
            "reason": "missing_scope", "duration_us": 0, "response_bytes": 0,
            "client_address": null, "user_agent": null, "cost": 1, "weight": 1,
        })
    );
    assert_eq!(json["next"], serde_json::Value::Null);
}

#[test]
fn what_is_out_of_bounds_is_an_error_that_names_it() {
    let (tracker, _clock) = in_memory();
    let field = |filter: RecordFilter| tracker.stats().all().records(&filter).unwrap_err().field();
    assert_eq!(field(RecordFilter::new().limit(0)), Some("limit"));
    assert_eq!(field(RecordFilter::new().limit(1_001)), Some("limit"));
    assert_eq!(field(RecordFilter::new().status(7)), Some("status"));
    let unknown = tracker.stats().owner("nobody").records(&RecordFilter::new()).unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::NotFound);
    let backwards = tracker.stats().all().last_days(0).records(&RecordFilter::new()).unwrap_err();
    assert_eq!(backwards.field(), Some("days"));
    fn is_send<T: Send>(_: &T) {}
    is_send(&TokenTracker::stats);
}

/// Many records of one token, the first of them of a route of its own.
fn many(tracker: &TokenTracker, issued: &Issued, count: usize) {
    for number in 0..count {
        let route = if number == 0 { "/rare" } else { "/" };
        tracker.record_blocking(Usage::of(access(tracker, issued)).route("GET", route).status(200));
    }
    tracker.flush().unwrap();
}

/// How many pages it takes, and how many records are on them.
fn pages(query: &StatsQuery<'_>, filter: &RecordFilter) -> (usize, Vec<u64>) {
    let (mut filter, mut found, mut count) = (filter.clone(), Vec::new(), 0);
    loop {
        let page = query.records(&filter).unwrap();
        count += 1;
        found.extend(page.records.iter().map(|record| record.id));
        let Some(next) = page.next else { return (count, found) };
        filter = filter.after(next);
    }
}

#[test]
fn page_looks_at_a_bounded_part_of_the_log_and_the_next_goes_on() {
    let (tracker, clock) = in_memory();
    let [busy, quiet, new] = ["busy", "quiet", "new"].map(|name| opaque(&tracker, name));
    let starts = Clock::now(&clock);
    many(&tracker, &quiet, 1);
    many(&tracker, &busy, 51_000);
    clock.advance(HOUR);
    many(&tracker, &quiet, 1);
    many(&tracker, &new, 1);
    let (stats, rare) = (tracker.stats(), RecordFilter::new().route("/rare"));
    let busy_only = stats.token(busy.token.id);
    assert_eq!(pages(&busy_only, &rare), (6, vec![2]), "10,000 links a page");
    assert_eq!(pages(&stats.all(), &rare), (2, vec![51_003, 51_002, 2, 1]), "50,000 rows a page");
    let no_such = RecordFilter::new().route("/never").oldest_first();
    assert_eq!(pages(&stats.all(), &no_such), (2, vec![]));
    // What is summed up says which hours have nothing of a token.
    let oldest_first = RecordFilter::new().oldest_first();
    tracker.upkeep().unwrap();
    assert_eq!(pages(&stats.token(new.token.id), &oldest_first), (1, vec![51_003]));
    // A period that is over is not reached link by link.
    many(&tracker, &busy, 10_100);
    let over = busy_only.between(starts - HOUR, starts + Duration::from_secs(1));
    let page = over.records(&RecordFilter::new().limit(2)).unwrap();
    assert_eq!(page.records.iter().map(|record| record.id).collect::<Vec<_>>(), [51_001, 51_000]);
    // But for a token that has few: it is not found in 50,000 rows from the end of the period backwards.
    let quiet_only = stats.token(quiet.token.id);
    let over = quiet_only.clone().between(starts, starts + HOUR);
    assert_eq!(pages(&over, &RecordFilter::new()), (1, vec![1]));
    assert_eq!(pages(&quiet_only, &RecordFilter::new()), (1, vec![51_002, 1]));
}

#[test]
fn owner_of_many_tokens_gets_the_same_records() {
    let (tracker, _clock) = in_memory();
    let tokens: Vec<_> = (0..300).map(|number| opaque(&tracker, &format!("{number}"))).collect();
    let other = tracker.tokens().issue(NewToken::opaque("bob", "laptop")).unwrap();
    let use_once =
        |issued: &Issued| tracker.record(Usage::of(access(&tracker, issued)).status(200));
    let few = &tokens[..250];
    for issued in few.iter().chain([&other]).chain(few) {
        use_once(issued);
    }
    tracker.flush().unwrap();
    let owner = tracker.stats().owner(crate::support::OWNER);
    let filter = RecordFilter::new().limit(40);
    let first = owner.records(&filter).unwrap();
    let by_links = pages(&owner, &filter).1;
    let expected: Vec<u64> = (1..=501).rev().filter(|id| *id != 251).collect();
    assert_eq!(by_links, expected);
    // Of more than 256 with records rows are looked through, and who has begun otherwise goes on so.
    tokens.iter().for_each(|issued| drop(use_once(issued)));
    tracker.flush().unwrap();
    let expected_now: Vec<u64> = (502..=801).rev().chain(expected.clone()).collect();
    assert_eq!(pages(&owner, &filter).1, expected_now);
    let rest = pages(&owner, &filter.after(first.next.unwrap())).1;
    assert_eq!(rest, expected[40..]);
    let recent: Vec<_> = owner.recent(1_000).unwrap().iter().map(|record| record.id).collect();
    assert_eq!(recent, expected_now);
}

#[test]
fn routes_are_found_by_what_they_read_as() {
    let database = Database::new();
    let tracker = database.open();
    let issued = opaque(&tracker, "laptop");
    // One token may bring 512 routes.
    for number in 0..520 {
        let usage = Usage::of(access(&tracker, &issued)).route("GET", &format!("/{number}"));
        tracker.record(usage.status(200));
    }
    tracker.record(Usage::of(access(&tracker, &issued)).status(200));
    tracker.flush().unwrap();
    let query = tracker.stats().all();
    let found = |route| pages(&query, &RecordFilter::new().route(route)).1;
    assert_eq!(found("<other>"), (513..=520).rev().collect::<Vec<_>>());
    assert_eq!(found("<unmatched>"), [521]);
    assert_eq!((found("/7"), found("/519")), (vec![8], vec![]));
    // What is forgotten of the dictionary reads so, too.
    database.execute("DELETE FROM names WHERE text = '/7'");
    assert_eq!(
        query.records(&RecordFilter::new().route("<other>").oldest_first()).unwrap().records[0].id,
        8
    );
    assert_eq!(found("/7"), [0; 0]);
}
