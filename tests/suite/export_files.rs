//! An export that has what came later, or not what it was asked for, that stands in the way of others, or that leaves
//! half a file.

use std::error::Error;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use token_tracker::{
    AuthRequest, Clock, ErrorKind, Export, ExportFormat, Issued, NewToken, StatsQuery,
    TokenTracker, Usage,
};

use crate::support::{Database, OWNER, access, builder, in_memory, opaque};

const HOUR: Duration = Duration::from_secs(3_600);

const ALL: [Export; 3] = [Export::Days, Export::Hours, Export::Records];

fn use_once(tracker: &TokenTracker, issued: &Issued, route: &str) {
    tracker.record_blocking(Usage::of(access(tracker, issued)).route("GET", route).status(200));
}

fn json_lines(query: &StatsQuery<'_>, what: Export) -> Vec<Value> {
    let mut bytes = Vec::new();
    let count = query.export(what, ExportFormat::JsonLines).write(&mut bytes).unwrap();
    let lines = bytes.split_inclusive(|byte| *byte == b'\n');
    let lines: Vec<Value> = lines.map(|line| serde_json::from_slice(line).unwrap()).collect();
    assert_eq!(count, lines.len() as u64);
    lines
}

/// Two days, three tokens of two owners.
fn scene(database: &Database) -> (TokenTracker, [Issued; 3]) {
    let (builder, clock) = builder();
    let tracker = builder.open(database.path()).unwrap();
    let bobs = NewToken::opaque("bob", "bobs");
    let tokens = [
        opaque(&tracker, "laptop"),
        opaque(&tracker, "phone"),
        tracker.tokens().issue(bobs).unwrap(),
    ];
    for _ in 0..3 {
        for issued in &tokens {
            use_once(&tracker, issued, "/");
        }
        let _ = tracker.authenticate(AuthRequest::from(&tokens[0].secret).scope("admin"));
        tracker.flush().unwrap();
        clock.advance(24 * HOUR);
    }
    tracker.upkeep().unwrap();
    (tracker, tokens)
}

#[test]
fn only_those_who_are_asked_about_and_their_time_are_in_it() {
    let database = Database::new();
    let (tracker, tokens) = scene(&database);
    let ids = |query: &StatsQuery<'_>, what| {
        let lines = json_lines(query, what);
        lines.iter().map(|line| line["token_id"].as_i64().unwrap()).collect::<Vec<_>>()
    };
    let stats = tracker.stats();
    let of_day = [1, 2, 3, 1].map(|id: i64| id);
    for what in ALL {
        let each: &[i64] = if what == Export::Records { &of_day } else { &of_day[..3] };
        let three = each.repeat(3);
        let only = |of: &[i64]| -> Vec<i64> {
            three.iter().copied().filter(|id| of.contains(id)).collect()
        };
        assert_eq!(ids(&stats.all(), what), three, "{what:?}");
        assert_eq!(ids(&stats.owner(OWNER), what), only(&[1, 2]));
        assert_eq!(ids(&stats.owner("bob"), what), only(&[3]));
        assert_eq!(ids(&stats.token(tokens[0].token.id), what), only(&[1]));
        assert_eq!(ids(&stats.tag("none"), what), only(&[]));
        // The second day, to the microsecond.
        let starts = token_tracker::ManualClock::default().now() + 24 * HOUR;
        let tick = Duration::from_micros(1);
        let between = |from, until| ids(&stats.all().between(from, until), what);
        assert_eq!(between(starts, starts + tick), each);
        assert_eq!(between(starts + tick, starts + 24 * HOUR), [0; 0]);
        assert_eq!(between(starts - HOUR, starts), [0; 0]);
        assert_eq!(ids(&stats.owner("bob").between(starts - HOUR, starts + HOUR), what), [3]);
    }
}

#[test]
fn what_was_recorded_before_is_in_it_and_what_comes_later_is_not() {
    let (tracker, _clock) = in_memory();
    let issued = opaque(&tracker, "laptop");
    for _ in 0..1_300 {
        use_once(&tracker, &issued, "/");
    }
    let mut seen = Vec::new();
    let export = tracker.stats().all().export(Export::Records, ExportFormat::JsonLines);
    let lines = export
        .progress(|progress| {
            seen.push((progress.done, progress.total));
            use_once(&tracker, &issued, "/later");
            tracker.flush().unwrap();
            ControlFlow::Continue(())
        })
        .write(io::sink());
    assert_eq!(lines.unwrap(), 1_300);
    assert_eq!(seen, [(512, 1_300), (1_024, 1_300), (1_300, 1_300)]);
    assert_eq!(json_lines(&tracker.stats().all(), Export::Hours)[0]["success"], 1_303);
}

#[test]
fn pages_of_sums_lose_nothing_and_repeat_nothing() {
    let (tracker, clock) = in_memory();
    let tokens: Vec<_> = (0..130).map(|number| opaque(&tracker, &format!("{number}"))).collect();
    for _ in 0..5 {
        tokens.iter().for_each(|issued| use_once(&tracker, issued, "/"));
        clock.advance(HOUR);
    }
    for query in [tracker.stats().all(), tracker.stats().owner(OWNER)] {
        let lines = json_lines(&query, Export::Hours);
        let keys: Vec<_> = lines
            .iter()
            .map(|line| {
                (line["hour"].as_str().unwrap().to_owned(), line["token_id"].as_i64().unwrap())
            })
            .collect();
        assert_eq!(keys.len(), 650);
        assert!(keys.is_sorted_by(|one, two| one < two));
        let mut last = None;
        let export = query.export(Export::Hours, ExportFormat::Csv).progress(|progress| {
            assert!(
                last.is_none_or(|last| last <= progress.done) && progress.done <= progress.total
            );
            last = Some(progress.done);
            ControlFlow::Continue(())
        });
        export.write(io::sink()).unwrap();
        assert_eq!(last, Some(5));
    }
}

/// Each write has the file's log start over, which a reader would be in the way of, and others write meanwhile.
struct Slow<'a> {
    other: &'a TokenTracker,
    issued: &'a Issued,
    database: &'a Database,
    writes: &'a mut u32,
}

impl io::Write for Slow<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        use_once(self.other, self.issued, "/later");
        self.other.flush().unwrap();
        let busy = self.database.number("PRAGMA wal_checkpoint(TRUNCATE)");
        assert_eq!(busy, 0, "a reader is in the way");
        *self.writes += 1;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn slow_writer_keeps_nobody_from_writing_and_the_log_from_nothing() {
    let database = Database::new();
    let tracker = database.open();
    let other = database.open();
    let issued = opaque(&tracker, "laptop");
    for _ in 0..2_000 {
        use_once(&tracker, &issued, "/");
    }
    for what in ALL {
        for format in [ExportFormat::Csv, ExportFormat::JsonLines] {
            let mut writes = 0;
            let slow =
                Slow { other: &other, issued: &issued, database: &database, writes: &mut writes };
            let before = database.number("SELECT next_id - 1 FROM progress").max(2_000);
            let lines = tracker.stats().owner(OWNER).export(what, format).write(slow).unwrap();
            if what == Export::Records {
                assert_eq!(lines, before.unsigned_abs());
                assert!(writes >= 4, "{writes}");
            }
        }
    }
}

fn files(directory: &Path) -> Vec<String> {
    let names = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<_> =
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn file_is_whole_or_not_there_and_nothing_is_overwritten() {
    let database = Database::new();
    let (tracker, _) = scene(&database);
    let (query, before) = (tracker.stats().all(), files(database.directory()));
    let there = database.directory().join("there.csv");
    let export = |what| query.export(what, ExportFormat::Csv);
    for what in ALL {
        std::fs::write(&there, "mine").unwrap();
        let beside = database.directory().join("tokens.db-journal");
        let nowhere = database.directory().join("no/such/folder.csv");
        let directory = database.directory().to_owned();
        for taken in
            [there.clone(), database.path(), directory, nowhere, beside, "".into(), "/".into()]
        {
            let error = export(what).save(&taken).unwrap_err();
            assert_eq!(
                (error.kind(), error.field()),
                (ErrorKind::InvalidInput, Some("path")),
                "{taken:?}"
            );
        }
        assert_eq!(std::fs::read_to_string(&there).unwrap(), "mine");
        std::fs::remove_file(&there).unwrap();
        let cancelled = export(what).progress(|_| ControlFlow::Break(())).save(&there);
        assert_eq!(cancelled.unwrap_err().kind(), ErrorKind::Cancelled);
        let nobody = tracker.stats().owner("nobody").export(what, ExportFormat::Csv).save(&there);
        assert_eq!(nobody.unwrap_err().kind(), ErrorKind::NotFound);
        let bad = query.clone().last_days(0).export(what, ExportFormat::Csv).save(&there);
        assert_eq!(bad.unwrap_err().field(), Some("days"));
        assert_eq!(files(database.directory()), before);

        let mut bytes = Vec::new();
        let lines = export(what).write(&mut bytes).unwrap();
        // Somebody else may take the name meanwhile.
        let taken = export(what).progress(|_| {
            std::fs::write(&there, "theirs").unwrap();
            ControlFlow::Continue(())
        });
        assert_eq!(taken.save(&there).unwrap_err().field(), Some("path"));
        assert_eq!(std::fs::read_to_string(&there).unwrap(), "theirs");
        std::fs::remove_file(&there).unwrap();
        assert_eq!(export(what).save(&there).unwrap(), lines);
        assert_eq!(std::fs::read(&there).unwrap(), bytes);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(std::fs::metadata(&there).unwrap().permissions().mode() & 0o777, 0o600);
        }
        std::fs::remove_file(&there).unwrap();
        assert_eq!(files(database.directory()), before);
    }
}

#[test]
fn database_in_memory_can_be_exported_to_a_file() {
    let (tracker, _clock) = in_memory();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("hours.jsonl");
    let hours = tracker.stats().all().export(Export::Hours, ExportFormat::JsonLines);
    assert_eq!(hours.save(&path).unwrap(), 0);
    assert_eq!(std::fs::metadata(path).unwrap().len(), 0);
}

/// Fails after so many writes.
struct Full(u32);

impl io::Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(left) = self.0.checked_sub(1) else {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "no room"));
        };
        self.0 = left;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.0 == 0 { Err(io::Error::other("not flushed")) } else { Ok(()) }
    }
}

#[test]
fn errors_say_what_failed_and_nothing_is_written_for_nobody() {
    let database = Database::new();
    let (tracker, _) = scene(&database);
    let export = |query: StatsQuery<'_>, room| {
        query.export(Export::Records, ExportFormat::Csv).write(Full(room)).unwrap_err()
    };
    let all = || tracker.stats().all();
    // The header, and a page.
    for (room, cause) in [(0, "no room"), (1, "no room"), (2, "not flushed")] {
        let error = export(all(), room);
        assert_eq!(error.kind(), ErrorKind::Output);
        assert_eq!(error.source().unwrap().to_string(), cause);
    }
    assert_eq!(export(tracker.stats().owner("nobody"), 0).kind(), ErrorKind::NotFound);
    assert_eq!(export(all().last_days(0), 0).field(), Some("days"));
    let mut written = Vec::new();
    let cancelled = all()
        .export(Export::Records, ExportFormat::JsonLines)
        .progress(|_| ControlFlow::Break(()))
        .write(&mut written);
    assert_eq!(cancelled.unwrap_err().kind(), ErrorKind::Cancelled);
    assert!(written.ends_with(b"\n"));
    tracker.close().unwrap();
    assert_eq!(export(all(), 9).kind(), ErrorKind::Closed);
}
