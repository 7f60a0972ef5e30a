//! Views are an interface for tools that nobody here knows: a column that moves, or says something else than the API,
//! breaks dashboards long after.

use std::net::IpAddr;
use std::time::Duration;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};
use time::macros::datetime;
use time::{OffsetDateTime, UtcOffset};
use token_tracker::{
    AuthRequest, ClientAddresses, Clock, ErrorKind, Issued, ManualClock, NewToken, TokenFilter,
    TokenTracker, Usage,
};

use crate::support::{Database, OWNER, access, denied, key, opaque};

const VIEWS: [&str; 4] = ["usage", "usage_hourly", "usage_daily", "tokens"];
const HOUR: Duration = Duration::from_secs(3_600);

fn documentation() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/sql.md")).unwrap()
}

/// The columns of a view as they are documented: name and types.
fn documented(view: &str) -> Vec<(String, Vec<String>)> {
    let text = documentation();
    let section = text.split("\n## ").find(|section| section.starts_with(&format!("`{view}`\n")));
    let rows = section.unwrap().lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| {
        let mut cells = row.split('|').map(str::trim);
        let name = cells.next().unwrap().trim_end_matches('`').to_owned();
        let types = cells.next().unwrap().split(" or ").map(str::to_lowercase).collect();
        (name, types)
    })
    .collect()
}

/// As another tool opens it.
fn read_only(database: &Database) -> Connection {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let path = format!("file:{}?mode=ro", database.path().display());
    Connection::open_with_flags(path, flags).unwrap()
}

fn rows(connection: &Connection, sql: &str) -> Vec<Vec<Value>> {
    let mut statement = connection.prepare(sql).unwrap();
    let count = statement.column_count();
    let value = |value: ValueRef<'_>| match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => number.into(),
        ValueRef::Real(number) => number.into(),
        ValueRef::Text(text) => String::from_utf8(text.to_vec()).unwrap().into(),
        ValueRef::Blob(bytes) => panic!("bytes: {bytes:?}"),
    };
    let read = |row: &rusqlite::Row<'_>| (0..count).map(|at| row.get_ref(at).map(value)).collect();
    statement.query_map([], read).unwrap().collect::<rusqlite::Result<_>>().unwrap()
}

/// Every value of a view is of a type that is documented.
fn assert_types(connection: &Connection, view: &str) {
    let mut values = 0;
    for (column, types) in documented(view) {
        for kind in rows(connection, &format!("SELECT DISTINCT typeof({column}) FROM {view}")) {
            let kind = kind[0].as_str().unwrap().to_owned();
            assert!(types.contains(&kind), "{view}.{column} is {kind}, not {types:?}");
            values += 1;
        }
    }
    assert!(values > 0, "{view} is empty");
}

fn text(at: OffsetDateTime) -> String {
    let at = at.to_offset(UtcOffset::UTC);
    let (year, month, day) = at.to_calendar_date();
    let (hour, minute, second, micros) = at.to_hms_micro();
    let month = u8::from(month);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
}

/// A tracker whose clock stands where that of SQLite has long been.
fn open(database: &Database, addresses: ClientAddresses) -> (TokenTracker, ManualClock) {
    let clock = ManualClock::new(datetime!(2020-01-31 23:59:30.000_007 UTC));
    let builder = TokenTracker::builder().jwt_key(key()).clock(clock.clone());
    (builder.client_addresses(addresses).open(database.path()).unwrap(), clock)
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Requests of every method and outcome, with texts and addresses of every kind.
fn requests(tracker: &TokenTracker, clock: &ManualClock, issued: &Issued) {
    let methods = ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY"];
    for (number, method) in (1..).zip(methods.into_iter().chain(["TRACE", "BREW", ""])) {
        clock.advance(Duration::from_micros(7_654_321));
        let usage = Usage::of(access(tracker, issued))
            .route(method, &format!("/{number}"))
            .user_agent(format!("agent/{number}"))
            .status([200, 304, 404, 500][number as usize % 4])
            .response_bytes(number * 1_000)
            .elapsed(Duration::from_micros(number * 17));
        tracker.record(usage.cost(number as u32 % 3));
    }
    drop(access(tracker, issued));
    let request = || AuthRequest::from(&issued.secret);
    // More than ten of a kind within a minute stand together.
    for _ in 0..25 {
        drop(denied(tracker, request().scope("admin").route("/it").cost(3)));
    }
    tracker.tokens().suspend(issued.token.id).unwrap();
    drop(denied(tracker, request()));
    tracker.tokens().resume(issued.token.id).unwrap();
    for client in [
        "192.0.2.7",
        "0.0.0.0",
        "255.128.9.100",
        "::",
        "::1",
        "2001:db8::1",
        "2001:db8:0:1::",
        "2001:0:0:1::9",
        "1:2:3:4:5:6:7:8",
        "fe80:0:1:0:2:0:3:0",
        "1:0:0:2:0:0:0:ffff",
        "::ffff:203.0.113.77",
    ] {
        let usage = Usage::of(access(tracker, issued)).client_address(address(client));
        tracker.record(usage.status(204));
    }
    tracker.flush().unwrap();
}

/// One token brings no more than its share of routes; the next ones are other.
fn too_many_routes(tracker: &TokenTracker, issued: &Issued) {
    for number in 0..520 {
        let usage = Usage::of(access(tracker, issued)).route("GET", &format!("/many/{number}"));
        tracker.record_blocking(usage.user_agent(format!("many/{number}")).status(200));
    }
    tracker.flush().unwrap();
}

#[test]
fn views_have_the_documented_columns_in_their_order() {
    let database = Database::new();
    let tracker = database.open();
    let connection = read_only(&database);
    for view in VIEWS {
        let columns = rows(&connection, &format!("SELECT name FROM pragma_table_info('{view}')"));
        let columns: Vec<_> = columns.iter().map(|row| row[0].as_str().unwrap()).collect();
        let documented = documented(view);
        assert_eq!(columns, documented.iter().map(|(name, _)| name).collect::<Vec<_>>(), "{view}");
    }
    let views = rows(&connection, "SELECT name FROM sqlite_schema WHERE type = 'view'");
    assert_eq!(views.len(), VIEWS.len());
    drop(tracker);
}

/// The rows of `usage`, newest first, are the records of the API.
fn assert_records(tracker: &TokenTracker, shown: &[Vec<Value>]) {
    let records = tracker.stats().all().recent(1_000).unwrap();
    assert_eq!(shown.len(), records.len());
    let newest = shown[0][0].as_i64().unwrap();
    for ((row, record), id) in shown.iter().zip(&records).zip((1..=newest).rev()) {
        let token = tracker.tokens().get(record.token_id).unwrap();
        let at_unix = (record.at.unix_timestamp_nanos() / 1_000) as f64 / 1e6;
        let address = record.client_address.map(|address| address.to_string());
        let expected = json!([
            id,
            text(record.at),
            at_unix,
            token.id,
            token.owner,
            token.name,
            record.method,
            record.route,
            record.status,
            record.outcome.as_str(),
            record.outcome.reason().map(|reason| reason.as_str()),
            record.duration.as_micros() as u64,
            record.response_bytes,
            address,
            record.user_agent,
            record.cost,
            record.weight,
        ]);
        assert_eq!(json!(row), expected);
    }
}

#[test]
fn usage_says_of_each_record_what_the_api_says() {
    let database = Database::new();
    let hashed = ClientAddresses::hashed(*b"0123456789abcdef");
    let mut last = None;
    for mode in [ClientAddresses::Keep, ClientAddresses::Truncate, hashed, ClientAddresses::Drop] {
        drop(last.take());
        let (tracker, clock) = open(&database, mode.clone());
        let issued = opaque(&tracker, &format!("{mode:?}"));
        requests(&tracker, &clock, &issued);
        last = Some(tracker);
    }
    let tracker = last.unwrap();
    let new = NewToken::opaque("mallory@example.com", "many");
    too_many_routes(&tracker, &tracker.tokens().issue(new).unwrap());
    tracker.tokens().erase_owner("mallory@example.com").unwrap();
    let connection = read_only(&database);
    let shown = rows(&connection, "SELECT * FROM usage ORDER BY id DESC");
    assert_types(&connection, "usage");

    assert_records(&tracker, &shown);
    let distinct = |column: &str| {
        let found = rows(&connection, &format!("SELECT count(DISTINCT {column}) FROM usage"));
        found[0][0].as_i64().unwrap()
    };
    // What was to be there is there.
    assert_eq!((distinct("method"), distinct("outcome"), distinct("reason")), (12, 5, 2));
    assert_eq!(distinct("owner"), 2, "one of them erased");
    for sql in
        ["route = '<other>'", "route = '<unmatched>'", "user_agent = '<other>'", "weight > 1"]
    {
        let found = rows(&connection, &format!("SELECT 1 FROM usage WHERE {sql}"));
        assert!(!found.is_empty(), "{sql}");
    }
    let (from, until) = (datetime!(2020-01-01 0:00 UTC), datetime!(2020-03-01 0:00 UTC));
    let all = tracker.stats().all().between(from, until).summary().unwrap();
    let requests = rows(&connection, "SELECT sum(weight) FROM usage");
    assert_eq!(json!(requests), json!([[all.total]]));
}

#[test]
fn sums_are_those_of_the_api_and_count_nothing_twice() {
    let database = Database::new();
    let (tracker, clock) = open(&database, ClientAddresses::Keep);
    let start = clock.now();
    let tokens = [opaque(&tracker, "laptop"), opaque(&tracker, "phone")];
    for issued in [&tokens[0], &tokens[1], &tokens[0]] {
        requests(&tracker, &clock, issued);
        clock.advance(5 * HOUR);
    }
    clock.advance(24 * HOUR);
    tracker.confirm_clock();
    tracker.upkeep().unwrap();
    let connection = read_only(&database);
    let mut total = 0;
    for (view, unit, seconds) in [("usage_hourly", "hour", 3_600), ("usage_daily", "day", 86_400)] {
        assert_types(&connection, view);
        let shown = rows(&connection, &format!("SELECT * FROM {view} ORDER BY 3, token_id"));
        let mut of_view = 0;
        for row in &shown {
            let number = row[2].as_i64().unwrap();
            let from = OffsetDateTime::from_unix_timestamp(number * seconds).unwrap();
            let until = from + Duration::from_secs(seconds.unsigned_abs());
            let id = row[3].to_string().parse().unwrap();
            let token = tracker.tokens().get(id).unwrap();
            let sum = tracker.stats().token(id).between(from, until).summary().unwrap();
            let latency = sum.latency.unwrap();
            let expected = json!([
                text(from).replace(".000000", ""),
                number * seconds,
                number,
                id,
                OWNER,
                token.name,
                sum.total,
                sum.success,
                sum.client_error,
                sum.server_error,
                sum.denied,
                sum.unfinished,
                sum.below_400,
                sum.response_bytes,
                sum.cost,
                latency.mean.as_micros() as u64,
                latency.max.as_micros() as u64,
            ]);
            assert_eq!(json!(row), expected, "{unit}");
            of_view += sum.total;
        }
        assert!(shown.len() >= 3, "{shown:?}");
        total = of_view;
    }
    let all = tracker.stats().all().between(start - HOUR, clock.now() + HOUR).summary().unwrap();
    assert_eq!(total, all.total);
}

#[test]
fn tokens_are_those_of_the_api_with_their_status_at_the_time_of_the_question() {
    let database = Database::new();
    let (tracker, clock) = open(&database, ClientAddresses::Keep);
    let admin = tracker.tokens().acting_as("admin");
    let issue = |new: NewToken| tracker.tokens().issue(new).unwrap();
    let plain = issue(NewToken::opaque(OWNER, "plain"));
    let full = NewToken::jwt(OWNER, "full").description("all of it").tag("ci").tag("night");
    issue(full.scopes(["items:read", "*"]).expires_at(datetime!(2900-01-01 0:00 UTC)));
    let soon = datetime!(2020-02-01 0:00:01.5 UTC);
    issue(NewToken::opaque(OWNER, "expired").expires_at(soon));
    let paused = issue(NewToken::opaque(OWNER, "paused"));
    admin.suspend(paused.token.id).unwrap();
    let both = issue(NewToken::opaque(OWNER, "paused, then expired").expires_at(soon));
    admin.suspend(both.token.id).unwrap();
    let gone = issue(NewToken::legacy_jwt(OWNER, "gone").expires_at(soon));
    admin.revoke(gone.token.id, "lost").unwrap();
    let marked = issue(NewToken::opaque(OWNER, "marked").expires_at(soon));
    drop(access(&tracker, &plain));
    clock.advance(HOUR);
    tracker.confirm_clock();
    tracker.tokens().mark_expired().unwrap();
    admin.suspend(marked.token.id).unwrap();
    tracker.flush().unwrap();

    let connection = read_only(&database);
    assert_types(&connection, "tokens");
    let shown = rows(&connection, "SELECT * FROM tokens ORDER BY id");
    let tokens = tracker.tokens().list(&TokenFilter::new()).unwrap().tokens;
    assert_eq!((shown.len(), tokens.len()), (7, 7));
    for (row, token) in shown.iter().zip(&tokens) {
        let revocation = token.revocation.as_ref();
        let expected = json!([
            token.id,
            token.owner,
            token.name,
            token.kind.as_str(),
            token.status.as_str(),
            token.description,
            json!(token.tags).to_string(),
            json!(token.scopes).to_string(),
            token.fragment,
            text(token.created_at),
            token.expires_at.map(text),
            token.last_used.at().map(text),
            revocation.map(|revocation| text(revocation.at)),
            revocation.and_then(|revocation| revocation.by.clone()),
            revocation.and_then(|revocation| revocation.reason.clone()),
        ]);
        assert_eq!(json!(row), expected);
    }
    let statuses = rows(&connection, "SELECT DISTINCT status FROM tokens ORDER BY 1");
    assert_eq!(json!(statuses), json!([["active"], ["expired"], ["revoked"], ["suspended"]]));
}

#[test]
fn documented_examples_run_read_only_while_a_tracker_writes() {
    let database = Database::new();
    let tracker = database.open();
    let issued = opaque(&tracker, "laptop");
    let connection = read_only(&database);
    let text = documentation();
    let examples: Vec<_> = text
        .split("```sql\n")
        .skip(1)
        .flat_map(|part| part.split("```").next().unwrap().split_inclusive(";\n"))
        .filter(|example| !example.trim().is_empty())
        .collect();
    assert!(examples.len() >= 6, "{examples:?}");
    for count in 1..=3 {
        tracker.record(Usage::of(access(&tracker, &issued)).status(200));
        tracker.flush().unwrap();
        for example in &examples {
            rows(&connection, example);
        }
        let seen = rows(&connection, "SELECT count(*) FROM usage");
        assert_eq!(json!(seen), json!([[count]]), "the connection sees what was committed since");
    }
    assert_eq!(tracker.health().last_error, None);
}

#[test]
fn views_cannot_be_written_to_by_anybody() {
    let database = Database::new();
    let tracker = database.open();
    drop(access(&tracker, &opaque(&tracker, "laptop")));
    tracker.flush().unwrap();
    for view in VIEWS {
        let column = documented(view)[0].0.clone();
        for sql in [
            format!("DELETE FROM {view}"),
            format!("UPDATE {view} SET {column} = 1"),
            format!("INSERT INTO {view} ({column}) VALUES (1)"),
        ] {
            let error = database.connect().execute(&sql, []).unwrap_err().to_string();
            assert!(error.contains("because it is a view"), "{error}");
            assert!(read_only(&database).execute(&sql, []).is_err());
        }
    }
    assert_eq!(tracker.verify().unwrap().problems, [""; 0]);
}

#[test]
fn questions_by_the_number_of_a_row_or_an_hour_go_by_the_key() {
    let database = Database::new();
    let tracker = database.open();
    let connection = read_only(&database);
    let plan = |sql: &str| -> String {
        let steps = rows(&connection, &format!("EXPLAIN QUERY PLAN {sql}"));
        steps.iter().map(|step| format!("{}\n", step[3].as_str().unwrap())).collect()
    };
    for sql in [
        "SELECT * FROM usage WHERE id = 5",
        "SELECT * FROM usage WHERE id > 5 AND owner = 'alice'",
        "SELECT max(id) FROM usage",
    ] {
        assert!(plan(sql).contains("SEARCH log"), "{}", plan(sql));
    }
    let newest = plan("SELECT * FROM usage ORDER BY id DESC LIMIT 5");
    assert!(!newest.contains("TEMP B-TREE"), "{newest}");
    // What is not asked for is not looked up.
    assert_eq!(plan("SELECT sum(weight) FROM usage"), "SCAN log\n");
    for (view, number) in [("usage_hourly", "hour_number"), ("usage_daily", "day_number")] {
        let restricted = plan(&format!("SELECT * FROM {view} WHERE {number} >= 5"));
        assert!(restricted.contains("SEARCH sums USING PRIMARY KEY"), "{restricted}");
        let newest = plan(&format!("SELECT * FROM {view} ORDER BY {number} DESC LIMIT 5"));
        assert!(!newest.contains("TEMP B-TREE"), "{newest}");
    }
    drop(tracker);
}

#[test]
fn view_that_is_missing_is_noticed_at_opening() {
    for view in VIEWS {
        let database = Database::new();
        drop(database.open());
        database.execute(&format!("DROP VIEW {view}"));
        let error = TokenTracker::builder().open(database.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Storage);
        assert!(error.to_string().contains(&format!("no view `{view}`")), "{error}");
    }
}
