//! What leaves the library arrives as it was: every line once, every text unchanged, and no cell that a spreadsheet
//! would execute. Half a file is worse than none: somebody will load it.

use std::collections::BTreeMap;
use std::io::Write;
use std::ops::ControlFlow;
use std::time::Duration;

use serde_json::Value;
use token_tracker::{
    AuthRequest, Clock, ErrorKind, Export, ExportFormat, NewToken, Progress, TokenTracker, Usage,
};

use crate::ledger::{Dice, Ledger, Whose};
use crate::support::{Database, access, builder, in_memory, opaque};

const DAY: Duration = Duration::from_secs(86_400);

fn text(tracker: &TokenTracker, what: Export, format: ExportFormat) -> String {
    let mut bytes = Vec::new();
    tracker.stats().all().export(what, format).write(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// Rows by column, as whoever reads the CSV sees them: without the one `'` before a text.
fn rows(text: &str) -> Vec<BTreeMap<String, String>> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header = reader.headers().unwrap().clone();
    let cell = |cell: &str| cell.strip_prefix('\'').unwrap_or(cell).to_owned();
    let row = |row: csv::StringRecord| {
        header.iter().map(str::to_owned).zip(row.iter().map(cell)).collect()
    };
    reader.records().map(|record| row(record.unwrap())).collect()
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A value of JSON as a cell has it.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[test]
fn records_and_sums_are_the_same_in_both_formats_and_each_is_there_once() {
    let (tracker, clock) = in_memory();
    let ledger = Ledger::new(&tracker, 5);
    ledger.live(&tracker, &clock, &mut Dice(1), (1_500, DAY / 400));
    tracker.upkeep().unwrap();
    for (what, kind) in
        [(Export::Records, "record"), (Export::Hours, "hour"), (Export::Days, "day")]
    {
        let (csv, json) = (
            rows(&text(&tracker, what, ExportFormat::Csv)),
            lines(&text(&tracker, what, ExportFormat::JsonLines)),
        );
        assert!(csv.len() == json.len() && csv.len() > 3, "{kind}: {}", csv.len());
        for (csv, json) in csv.iter().zip(&json) {
            assert_eq!(json["type"], kind);
            for (column, shown) in csv {
                assert_eq!(*shown, cell(&json[column]), "{kind}: {column}");
            }
            assert_eq!(csv.len(), json.as_object().unwrap().len() - 1, "{kind}");
        }
    }
    let records = lines(&text(&tracker, Export::Records, ExportFormat::JsonLines));
    let ids: Vec<_> = records.iter().map(|record| record["id"].as_u64().unwrap()).collect();
    assert_eq!(ids, (1..=1_500).collect::<Vec<u64>>());
    let outcomes = ["success", "client_error", "server_error", "denied", "unfinished"];
    let total = |what| -> u64 {
        let lines = lines(&text(&tracker, what, ExportFormat::JsonLines));
        lines.iter().flat_map(|line| outcomes.map(|name| line[name].as_u64().unwrap())).sum()
    };
    assert_eq!(total(Export::Hours), 1_500);
    let over = tracker.stats().all().last_days(300).summary().unwrap().total;
    assert!(total(Export::Days) > 1_000 && total(Export::Days) < over, "today is not over");
}

#[test]
fn scope_and_period_are_those_of_the_question() {
    let (tracker, clock) = in_memory();
    let ledger = Ledger::new(&tracker, 6);
    let start = clock.now();
    ledger.live(&tracker, &clock, &mut Dice(2), (600, DAY / 100));
    tracker.upkeep().unwrap();
    let period = (start + DAY, start + 3 * DAY);
    let whose = [
        Whose::All,
        Whose::Owner("owner 1".to_owned()),
        Whose::Tag("tag 2".to_owned()),
        Whose::Token(ledger.tokens[0].token.id),
    ];
    for whose in whose {
        let query = whose.ask(&tracker).between(period.0, period.1);
        let total = query.summary().unwrap().total;
        for what in [Export::Records, Export::Hours, Export::Days] {
            let mut bytes = Vec::new();
            let written = query.export(what, ExportFormat::JsonLines).write(&mut bytes).unwrap();
            let lines = lines(std::str::from_utf8(&bytes).unwrap());
            assert_eq!(written, lines.len() as u64);
            let of = |line: &Value, name: &str| line[name].as_u64().unwrap();
            let requests = |line: &Value| match what {
                Export::Records => of(line, "weight"),
                _ => ["success", "client_error", "server_error", "denied", "unfinished"]
                    .map(|name| of(line, name))
                    .iter()
                    .sum(),
            };
            assert_eq!(lines.iter().map(requests).sum::<u64>(), total, "{whose:?} {what:?}");
        }
    }
}

/// Texts that a spreadsheet would execute, or a writer could damage.
const NASTY: [&str; 21] = [
    "=HYPERLINK(\"https://example.com\")",
    "+1",
    "-2+3",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    " =1",
    "\u{feff}=1",
    "\u{ff1d}1",
    "'quoted",
    "''=1",
    "a,b;\"c\"",
    "two\r\nlines",
    "nul\0and bell\u{7}",
    "\u{202e}reversed\u{2066}",
    "שלום مرحبا",
    "🦀",
    "|cmd",
    "%00",
    "plain",
];

#[test]
fn texts_that_clients_and_owners_choose_come_back_as_they_were_and_no_cell_is_a_formula() {
    let (tracker, _clock) = in_memory();
    let long = "x=".repeat(1_000);
    let mut expected = Vec::new();
    for agent in NASTY.iter().copied().chain([long.as_str()]) {
        let owner: String = agent.chars().filter(|c| !c.is_control()).take(80).collect();
        let issued = tracker
            .tokens()
            .issue(NewToken::opaque(&owner, format!("={}", expected.len())))
            .unwrap();
        let request =
            AuthRequest::from(&issued.secret).route(agent).user_agent(agent).method("GET");
        let access = tracker.authenticate(request).unwrap();
        tracker.record(Usage::of(access).status(200));
        expected.push(owner);
    }
    let kept = |tracker: &TokenTracker| -> Vec<_> {
        tracker.flush().unwrap();
        let mut records = tracker.stats().all().recent(1_000).unwrap();
        records.reverse();
        records
    };
    let records = kept(&tracker);
    let csv = text(&tracker, Export::Records, ExportFormat::Csv);
    let json = lines(&text(&tracker, Export::Records, ExportFormat::JsonLines));
    for (((row, line), record), owner) in rows(&csv).iter().zip(&json).zip(&records).zip(&expected)
    {
        let agent = record.user_agent.as_deref().unwrap_or("");
        assert_eq!(
            (row["route"].as_str(), row["user_agent"].as_str()),
            (record.route.as_str(), agent)
        );
        assert_eq!((&row["owner"], cell(&line["owner"])), (owner, owner.clone()));
        assert_eq!(line["route"], record.route.as_str());
    }
    let mut raw = csv::Reader::from_reader(csv.as_bytes());
    for cell in
        raw.records().flat_map(|row| row.unwrap().iter().map(str::to_owned).collect::<Vec<_>>())
    {
        let begins =
            cell.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}').chars().next();
        let is_formula = begins.is_some_and(|c| "=+-@\u{ff1d}\u{ff0b}\u{ff0d}\u{ff20}".contains(c));
        assert!(!is_formula && !cell.starts_with(['\t', '\r', '\n']), "{cell:?}");
    }
    assert!(csv.contains("'=HYPERLINK"), "it is still to be read");
}

#[test]
fn file_is_whole_or_not_there_and_nothing_is_overwritten() {
    let database = Database::new();
    let tracker = database.open();
    let issued = opaque(&tracker, "laptop");
    (0..2_000).for_each(|_| drop(access(&tracker, &issued)));
    let export = || tracker.stats().all().export(Export::Records, ExportFormat::Csv);
    let path = |name: &str| database.directory().join(name);
    let files = || {
        let mut names: Vec<_> = std::fs::read_dir(database.directory())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !name.starts_with("tokens.db"))
            .collect();
        names.sort();
        names
    };
    std::fs::write(path("mine"), "mine").unwrap();
    for taken in ["mine", "no/such/folder", "tokens.db", ".", "tokens.db-wal"] {
        let error = export().save(path(taken)).unwrap_err();
        assert_eq!(
            (error.kind(), error.field()),
            (ErrorKind::InvalidInput, Some("path")),
            "{taken}"
        );
    }
    assert_eq!(
        (std::fs::read_to_string(path("mine")).unwrap(), files()),
        ("mine".to_owned(), vec!["mine".to_owned()])
    );
    let nobody = tracker.stats().owner("nobody").export(Export::Records, ExportFormat::Csv);
    assert_eq!(nobody.save(path("none")).unwrap_err().kind(), ErrorKind::NotFound);
    let mut pages = 0;
    let cancelled = export().progress(|_| {
        pages += 1;
        if pages == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert_eq!(cancelled.save(path("half")).unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(files(), ["mine"], "nothing of it is left");
    let mut told = Vec::<Progress>::new();
    let whole = export().progress(|progress| {
        told.push(progress);
        ControlFlow::Continue(())
    });
    assert_eq!(whole.save(path("whole.csv")).unwrap(), 2_000);
    assert!(told.len() > 2 && told.is_sorted_by_key(|progress| progress.done));
    assert_eq!(told.last().map(|progress| (progress.done, progress.total)), Some((2_000, 2_000)));
    assert_eq!(rows(&std::fs::read_to_string(path("whole.csv")).unwrap()).len(), 2_000);
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &std::fs::metadata(path("whole.csv")).unwrap().permissions(),
        );
        assert_eq!(mode & 0o777, 0o600);
    }
}

/// Takes its time: between two writes others write, and the write-ahead log is emptied.
struct Slow<'d> {
    database: &'d Database,
    tracker: &'d TokenTracker,
    issued: &'d token_tracker::Issued,
    emptied: u32,
}

impl Write for Slow<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        drop(access(self.tracker, self.issued));
        self.tracker.flush().unwrap();
        let sql = "PRAGMA wal_checkpoint(TRUNCATE)";
        let busy: i64 = self.database.connect().query_row(sql, [], |row| row.get(0)).unwrap();
        self.emptied += u32::from(busy == 0);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn slow_writer_holds_up_neither_the_log_nor_the_end_of_the_export() {
    let database = Database::new();
    let (builder, _clock) = builder();
    let tracker = builder.open(database.path()).unwrap();
    let issued = opaque(&tracker, "laptop");
    (0..3_000).for_each(|_| drop(access(&tracker, &issued)));
    tracker.flush().unwrap();
    let mut slow = Slow { database: &database, tracker: &tracker, issued: &issued, emptied: 0 };
    let export = tracker.stats().all().export(Export::Records, ExportFormat::JsonLines);
    assert_eq!(export.write(&mut slow).unwrap(), 3_000, "what came later is none of it");
    assert!(slow.emptied > 3, "nobody reads while the writer writes");
}

#[test]
fn writer_that_fails_is_said_so() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let (tracker, _clock) = in_memory();
    for what in [Export::Records, Export::Hours, Export::Days] {
        let error = tracker.stats().all().export(what, ExportFormat::Csv).write(Full).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Output);
    }
}
