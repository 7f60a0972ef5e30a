//! A file that is damaged would let in whom it was told to refuse, refuse whom it does not know any more as if
//! that were an answer, or leave a tracker that does not work again when the file does.

use std::path::{Path, PathBuf};
use std::time::Duration;

use token_tracker::{AuthError, ErrorKind, Issued, TokenTracker, TokenUpdate, Usage};
use token_tracker_faults::{
    Ack, Child, Entry, Load, Scene, Shared, alone, at_us, builder, eventually, opaque, pause,
    rounds, secret_of,
};

const PAGE: usize = 4_096;

/// A page in the log, with its header.
const FRAME: usize = 24 + PAGE;

/// A file with tokens, half of them revoked, and records; all in the database and nothing beside it.
struct Good {
    scene: Scene,
    living: Vec<Issued>,
    revoked: Vec<Issued>,
    ledger: Shared,
}

impl Good {
    fn new() -> Self {
        let scene = Scene::new();
        let tracker = builder("committed").open(scene.database()).unwrap();
        let issue =
            |kind: &str| (0..40).map(|at| opaque(&tracker, &format!("{kind} {at}"))).collect();
        let (living, revoked): (Vec<_>, Vec<Issued>) = (issue("living"), issue("revoked"));
        let ledger = Shared::default();
        let mut receipts = Vec::new();
        for serial in 2..1_500 {
            let issued = &living[serial as usize % living.len()];
            let access = tracker.authenticate(&issued.secret).unwrap();
            receipts.push((issued, serial, tracker.record(Load::usage(Usage::of(access), serial))));
        }
        for (issued, serial, receipt) in receipts {
            receipt.wait().unwrap();
            let token = secret_of(issued).0;
            ledger.enter(Entry::Recorded(Ack { token, serial, at_us: at_us() }));
        }
        for issued in &revoked {
            tracker.tokens().revoke(issued.token.id, "").unwrap();
        }
        tracker.close().unwrap();
        drop(tracker);
        Self { scene, living, revoked, ledger }
    }

    fn bytes(&self) -> Vec<u8> {
        std::fs::read(self.scene.database()).unwrap()
    }

    /// A copy of it with these bytes.
    fn copy(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let directory = self.scene.directory().join(name);
        std::fs::create_dir(&directory).unwrap();
        let path = directory.join("tokens.db");
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// Nobody is let in who was revoked, and nobody refused who was not. How often nobody could tell.
    fn judge(&self, tracker: &TokenTracker) -> usize {
        for issued in &self.revoked {
            assert!(tracker.authenticate(&issued.secret).is_err(), "a revoked token is let in");
        }
        let unknown =
            self.living.iter().filter(|issued| match tracker.authenticate(&issued.secret) {
                Ok(_) => false,
                Err(AuthError::Denied(denied)) => panic!("a good token is refused: {denied:?}"),
                Err(_) => true,
            });
        unknown.count()
    }
}

/// What a page is replaced with.
fn garbage(kind: usize, page: &[u8]) -> Vec<u8> {
    match kind % 3 {
        0 => vec![0; page.len()],
        1 => vec![0xA5; page.len()],
        _ => page.iter().rev().copied().collect(),
    }
}

#[test]
fn damaged_header_is_an_error_of_opening_and_leaves_the_file_alone() {
    let good = Good::new();
    let mut bytes = good.bytes();
    for kind in 0..3 {
        let header = garbage(kind, &bytes[..100]);
        bytes[..100].copy_from_slice(&header);
        let path = good.copy(&format!("header {kind}"), &bytes);
        let error = builder("committed").open(&path).unwrap_err();
        let kinds = [ErrorKind::NotADatabase, ErrorKind::Storage];
        assert!(kinds.contains(&error.kind()), "{error:?}");
        assert!(std::fs::read(&path).unwrap() == bytes, "the file is as it was");
    }
}

#[test]
fn damaged_page_found_when_opening_lets_in_nobody_who_was_revoked() {
    let _alone = alone();
    let good = Good::new();
    let bytes = good.bytes();
    let (mut refused, mut unknown, mut tried) = (0, 0, 0);
    for page in 0..bytes.len() / PAGE {
        for kind in page..page + rounds(1, 3) as usize {
            tried += 1;
            let mut damaged = bytes.clone();
            let place = page * PAGE..(page + 1) * PAGE;
            damaged[place.clone()].copy_from_slice(&garbage(kind, &bytes[place]));
            let path = good.copy(&format!("page {page} {kind}"), &damaged);
            let quiet = builder("committed").without_usage_recording().without_last_used();
            match quiet.open(&path) {
                Err(error) => {
                    let kinds = [ErrorKind::NotADatabase, ErrorKind::Storage];
                    assert!(kinds.contains(&error.kind()), "page {page}: {error:?}");
                    refused += 1;
                }
                Ok(tracker) => unknown += good.judge(&tracker),
            }
            std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
        }
    }
    eprintln!("{tried} damages: {refused} not opened, {unknown} answers unknown");
    assert!(refused > 0 && unknown > 0, "the damage is not where anybody looks");
}

/// Damages a file that is open, from another process; or makes it good again.
fn swap(file: &Path, place: usize, from: &[u8], to: &[u8]) -> bool {
    let hexadecimal = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let path = file.to_str().unwrap().to_owned();
    let args = ["swap".to_owned(), path, place.to_string(), hexadecimal(from), hexadecimal(to)];
    let mut child = Child::start(env!("CARGO_BIN_EXE_hold"), &args);
    assert!(child.finish(Duration::from_secs(20)).success());
    !child.ledger().has_note("not as expected")
}

#[test]
fn page_damaged_while_in_use_lets_in_nobody_who_was_revoked_and_heals() {
    let _alone = alone();
    let good = Good::new();
    let bytes = good.bytes();
    let database = good.scene.database();
    let pages = bytes.len() / PAGE;
    let (mut unknown, mut unstored) = (0, 0);
    let step = if rounds(0, 1) == 1 { 1 } else { pages.div_ceil(10) };
    for (round, page) in (0..pages).step_by(step).enumerate() {
        // Opened anew: what was read before is remembered, and hides the damage.
        let tracker = builder("committed").open(&database).unwrap();
        tracker.flush().unwrap();
        let now = std::fs::read(&database).unwrap();
        let place = page * PAGE..(page + 1) * PAGE;
        let (from, to) = (&now[place.clone()], garbage(round, &now[place.clone()]));
        assert!(swap(&database, place.start, from, &to), "nobody writes at present");
        unknown += good.judge(&tracker);
        let issued = &good.living[0];
        if let Ok(access) = tracker.authenticate(&issued.secret) {
            let serial = 2_000 + u32::try_from(page).unwrap();
            let receipt = tracker.record(Load::usage(Usage::of(access), serial));
            unstored += u32::from(receipt.wait_for(Duration::from_millis(200)).is_err());
            // It is stored when the page is good again, at the latest.
            swap(&database, place.start, &to, from);
            receipt.wait_for(Duration::from_secs(15)).unwrap_or_else(|error| {
                panic!("page {page}: not healed: {error}, {:?}", tracker.health())
            });
            let token = secret_of(issued).0;
            good.ledger.enter(Entry::Recorded(Ack { token, serial, at_us: at_us() }));
        } else {
            swap(&database, place.start, &to, from);
        }
        eventually("what was read is forgotten", || good.judge(&tracker) == 0);
        eventually("it is flushed", || tracker.flush().is_ok());
        good.ledger.copy().assert_balances(&database, &tracker);
        tracker.close().unwrap();
    }
    eprintln!("{pages} pages: {unknown} answers unknown, {unstored} records had to wait");
}

#[test]
fn log_damaged_while_in_use_lets_in_nobody_who_was_revoked_and_heals() {
    let _alone = alone();
    let mut good = Good::new();
    let database = good.scene.database();
    let log = good.scene.directory().join("tokens.db-wal");
    let tracker = builder("committed").open(&database).unwrap();
    // Of the living and of the revoked there are pages in the log alone.
    for (at, issued) in good.living.iter().enumerate() {
        let update = TokenUpdate::new().tags([format!("tag {at}")]);
        tracker.tokens().update(issued.token.id, update).unwrap();
        let issued = opaque(&tracker, &format!("late {at}"));
        tracker.tokens().revoke(issued.token.id, "").unwrap();
        good.revoked.push(issued);
    }
    let frames = (std::fs::metadata(&log).unwrap().len() as usize - 32) / FRAME;
    let mut unknown = 0;
    for (round, frame) in (frames.saturating_sub(rounds(8, 100) as usize)..frames).enumerate() {
        let now = std::fs::read(&log).unwrap();
        let start = 32 + frame * FRAME + 24;
        let (from, to) = (&now[start..start + PAGE], garbage(round, &now[start..start + PAGE]));
        assert!(swap(&log, start, from, &to), "nobody writes at present");
        let late = builder("committed").without_usage_recording().without_last_used();
        // Whoever comes now reads what is damaged.
        let judged = late.open(&database).map(|late| good.judge(&late));
        swap(&log, start, &to, from);
        unknown += judged.unwrap_or(1);
        good.ledger.copy().assert_balances(&database, &tracker);
    }
    assert!(unknown > 0, "the damage is not where anybody looks");
    let access = tracker.authenticate(&good.living[0].secret).unwrap();
    tracker.record(Usage::of(access)).wait().unwrap();
    good.ledger.copy().assert_balances(&database, &tracker);
}

#[test]
fn damaged_log_leaves_a_whole_file_that_refuses_whom_it_refused() {
    let _alone = alone();
    for number in 1..=rounds(1, 10) {
        let good = Good::new();
        let load = Load {
            database: good.scene.database(),
            durability: "committed".to_owned(),
            number,
            threads: 1,
            shared: vec![secret_of(&good.living[0]).1],
        };
        let mut child = Child::start(env!("CARGO_BIN_EXE_load"), &load.to_args());
        child.await_records(30);
        pause(u64::from(number * 7 % 20));
        child.kill();
        let mut ledger = good.ledger.copy();
        ledger.absorb(child.ledger().copy().records_only());
        let database = good.bytes();
        let log = std::fs::read(good.scene.directory().join("tokens.db-wal")).unwrap();
        assert!(log.len() < 900 * PAGE, "the log was written back in part: it must not be needed");
        for (at, damaged) in damages(&log).into_iter().enumerate() {
            let path = good.copy(&format!("log {at}"), &database);
            std::fs::write(path.with_file_name("tokens.db-wal"), damaged).unwrap();
            let tracker = builder("committed").open(&path).unwrap();
            assert_eq!(good.judge(&tracker), 0);
            let audit = ledger.audit(&path, &tracker);
            assert!(
                audit.lost.len() <= ledger.records.len() - 1_498,
                "what was in the file is lost"
            );
            assert!(at > 0 || audit.lost.is_empty(), "the undamaged one has everything");
        }
    }
}

/// The log as it is, and what may become of it.
fn damages(log: &[u8]) -> Vec<Vec<u8>> {
    let flipped = |place: usize| {
        let mut log = log.to_vec();
        log[place] ^= 0x10;
        log
    };
    let mut damages = vec![log.to_vec(), Vec::new(), vec![0xA5; log.len()], vec![0; log.len()]];
    damages.extend((1..20).map(|part| log[..log.len() * part / 20].to_vec()));
    damages.extend([8, 16, 24, 31].map(flipped));
    damages.extend((1..10).map(|part| flipped(log.len() * part / 10)));
    damages.extend((1..6).map(|frame| flipped(log.len() - frame * 1_000)));
    damages
}
