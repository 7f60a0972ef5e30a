//! A damaged file put to use: what the library may say of it, and what never.

use std::cell::RefCell;
use std::fs;
use std::thread::JoinHandle;
use std::time::Duration;

use tempfile::TempDir;
use token_tracker::{
    AuditFilter, AuthError, AuthRequest, DenialReason, Error, ErrorKind, Grouping, LateUseFilter,
    NewToken, Revoked, Rotation, TokenFilter, TokenTracker, TokenUpdate, Usage,
};

use crate::damage::Damage;
use crate::good_file::{Fate, GoodFile, Known, OWNER, folder, log_of};

const DAY: Duration = Duration::from_secs(86_400);

/// Trackers that may be closing at the same time. One whose last commit fails tries again for five seconds.
const MOST_CLOSING: usize = 24;

thread_local! {
    static CLOSING: RefCell<Vec<JoinHandle<()>>> = const { RefCell::new(Vec::new()) };
}

/// What a call comes to where the file is at fault.
const FAULTS: [ErrorKind; 6] = [
    ErrorKind::Busy,
    ErrorKind::NewerSchema,
    ErrorKind::NotADatabase,
    ErrorKind::NotDurable,
    ErrorKind::NotFound,
    ErrorKind::Storage,
];

/// What a call that changes something may come to besides, where a row says something else.
const CHANGED: [ErrorKind; 2] = [ErrorKind::AlreadyExists, ErrorKind::Revoked];

/// And a rotation, which of a JWT needs a key.
const ROTATED: [ErrorKind; 4] =
    [ErrorKind::AlreadyRotated, ErrorKind::Expired, ErrorKind::InvalidInput, ErrorKind::Revoked];

/// One damaged file from its opening to its end.
pub struct Trial<'g> {
    good: &'g GoodFile,
    tracker: TokenTracker,
    /// Whether it says of tokens what the good file does.
    has_authority: bool,
    is_good: bool,
    folder: TempDir,
}

/// Damages the file, opens it, and makes every call.
///
/// # Panics
/// Where the library allows what it must not, or answers in a way that the damage does not explain.
pub fn run(good: &GoodFile, damage: &Damage<'_>) {
    let folder = folder();
    let path = folder.path().join("tokens.db");
    let (database, log) = damage.of_bytes(good);
    fs::write(&path, &database).expect("there is room");
    fs::write(log_of(&path), &log).expect("there is room");
    let has_authority = good.has_authority(&database) && !damage.is_of_authority();
    damage.set_cells(&path);
    let before = fs::read(&path).expect("the file is there");
    let has_log = fs::metadata(log_of(&path)).is_ok_and(|log| log.len() > 0);
    match good.builder().open(&path) {
        Ok(tracker) => {
            let is_good = damage.is_none();
            Trial { good, tracker, has_authority, is_good, folder }.run();
        }
        Err(error) => {
            assert!(!damage.is_none(), "a good file is not opened: {error:?}");
            is_fault(&error, &[]);
            let is_others = [ErrorKind::NotADatabase, ErrorKind::NewerSchema];
            // What is in the log is moved into the file by whoever closes it last.
            if is_others.contains(&error.kind()) && !has_log {
                assert_eq!(fs::read(&path).ok(), Some(before), "not left as it was: {error:?}");
            }
        }
    }
}

impl Trial<'_> {
    fn run(self) {
        self.check_tokens(true);
        self.ask(true);
        self.change();
        self.check_tokens(false);
        let is_stored = self.record();
        self.ask(false);
        self.check_tokens(false);
        self.end(is_stored);
    }

    fn take<T>(&self, answer: Result<T, Error>, also: &[ErrorKind]) -> Option<T> {
        match answer {
            Ok(answer) => Some(answer),
            Err(error) => {
                assert!(!self.is_good, "of a good file: {error:?}");
                is_fault(&error, also);
                None
            }
        }
    }

    /// Every token once by each way to ask. `is_new` says that nothing was written yet by which the damage
    /// could have spread.
    fn check_tokens(&self, is_new: bool) {
        for token in &self.good.tokens {
            let request = || AuthRequest::new(token.text.as_str()).path("/healthz");
            self.check(token, self.tracker.authenticate(request()).map(drop), is_new);
            if let Some(cached) = self.tracker.authenticate_cached(&request()) {
                self.check(token, cached.map(drop), is_new);
            }
            if let Ok(told) = self.tracker.introspect(&token.text) {
                assert!(!told.active || self.may_allow(token), "active: {token:?}");
            }
        }
    }

    fn may_allow(&self, token: &Known) -> bool {
        match token.fate {
            Fate::Lives => true,
            Fate::Forged => false,
            // Whoever can write these rows can grant himself anything.
            Fate::Ended | Fate::Revoked | Fate::Suspended | Fate::Unknown => !self.has_authority,
        }
    }

    fn check(&self, token: &Known, answer: Result<(), AuthError>, is_new: bool) {
        match answer {
            Ok(()) => assert!(self.may_allow(token), "allowed: {token:?}"),
            Err(AuthError::Denied(denied)) => {
                let is_whole = self.is_good || (self.has_authority && is_new);
                // What others used of a quota is in no page of authority.
                let is_used_up = !self.is_good && denied.reason() == DenialReason::QuotaExceeded;
                let is_wrong = is_whole && token.fate == Fate::Lives && !is_used_up;
                assert!(!is_wrong, "a failure came out as a refusal, {denied:?}: {token:?}");
            }
            Err(AuthError::Unavailable(error)) => {
                assert!(!self.is_good, "of a good file: {error:?}");
            }
            Err(error) => panic!("another kind of answer: {error:?}"),
        }
    }

    /// Every question there is, of all tokens and of each.
    fn ask(&self, of_each: bool) {
        let stats = self.tracker.stats();
        let mut asked = vec![stats.all(), stats.owner(OWNER)];
        let tokens = self.good.tokens.iter().filter(|_| of_each);
        asked.extend(tokens.filter_map(|token| token.id).map(|id| stats.token(id)));
        for question in asked {
            let question = question.last_days(39);
            self.take(question.summary(), &[]);
            self.take(question.compatibility_summary(), &[]);
            self.take(question.recent(1_000), &[]);
        }
        let question = stats.all().last_days(3_650);
        self.take(question.summary(), &[]);
        for by in Grouping::all().filter(|by| *by != Grouping::Hour) {
            self.take(question.clone().top(1_000).groups(by), &[]);
        }
        let question = stats.owner(OWNER).last_days(39);
        self.take(question.groups(Grouping::Hour), &[]);
        self.take(question.from_records().groups(Grouping::UserAgent), &[]);
        let tokens = self.tracker.tokens();
        self.take(tokens.list(&TokenFilter::new().owner(OWNER)), &[]);
        self.take(tokens.list(&TokenFilter::new()), &[]);
        self.take(tokens.count(&TokenFilter::new()), &[]);
        for id in self.good.tokens.iter().filter_map(|token| token.id) {
            self.take(tokens.get(id), &[]);
            self.take(tokens.credentials(id), &[]);
        }
        self.take(tokens.audit(&AuditFilter::new()), &[]);
        self.take(tokens.late_uses(&LateUseFilter::new()), &[]);
        self.take(tokens.preview(&TokenFilter::new().tag("fuzzed"), DAY), &[]);
        self.take(self.tracker.export_owner(OWNER, std::io::sink()), &[]);
        let found = self.take(self.tracker.verify(), &[]);
        assert!(!self.is_good || found.is_some_and(|found| found.problems.is_empty()));
        let health = self.tracker.health();
        let accounted = health.stored + health.buffered + health.dropped;
        assert_eq!(health.accepted, accounted, "accounts do not balance: {health:?}");
    }

    /// Every change there is.
    fn change(&self) {
        let tokens = self.tracker.tokens();
        let issued = tokens.issue(NewToken::opaque(OWNER, "issued on a damaged file"));
        let issued = self.take(issued, &CHANGED);
        let live = self.good.tokens.iter().filter(|token| token.fate == Fate::Lives);
        for (at, id) in live.filter_map(|token| token.id).enumerate() {
            self.take(tokens.suspend(id), &CHANGED);
            self.take(tokens.resume(id), &CHANGED);
            self.take(tokens.update(id, TokenUpdate::new().name(format!("other {at}"))), &CHANGED);
        }
        for token in self.good.tokens.iter().filter(|token| token.fate == Fate::Lives) {
            let Some(id) = token.id else { continue };
            self.take(tokens.reset_quota(id), &[]);
            if !token.text.contains('.')
                && let Some(found) = self.take(tokens.get(id), &[])
            {
                let rotation = Rotation::until_first_use();
                self.take(tokens.rotate(found.credential_id, rotation), &ROTATED);
            }
        }
        if let Some(issued) = issued {
            let (id, text) = (issued.token.id, issued.secret.expose());
            let is_allowed = self.tracker.authenticate(AuthRequest::new(text).path("/healthz"));
            assert!(!self.is_good || is_allowed.is_ok());
            drop(is_allowed);
            let revoked = tokens.revoke(id, "fuzzed");
            let is_refused = match &revoked {
                Ok(revoked) => *revoked != Revoked::Unknown,
                Err(error) => error.kind() == ErrorKind::NotDurable,
            };
            self.take(revoked, &CHANGED);
            let answer = self.tracker.authenticate(AuthRequest::new(text).path("/healthz"));
            assert!(!(is_refused && answer.is_ok()), "allowed after it was revoked");
        }
        self.take(tokens.mark_expired(), &[]);
        self.take(self.tracker.upkeep(), &[]);
    }

    /// A record of whatever token is allowed. Returns whether nothing waits for a commit any longer.
    fn record(&self) -> bool {
        let closing = CLOSING.with_borrow_mut(|closing| {
            closing.retain(|thread| !thread.is_finished());
            closing.len()
        });
        if closing >= MOST_CLOSING {
            return true;
        }
        for token in &self.good.tokens {
            if let Ok(access) = self.tracker.authenticate(token.text.as_str()) {
                self.tracker.record(Usage::of(access).route("GET", "/damaged").status(200));
            }
        }
        self.take(self.tracker.flush(), &[]).is_some()
    }

    /// The end, on a thread of its own where it takes long.
    fn end(self, is_stored: bool) {
        let Self { tracker, folder, is_good, .. } = self;
        let end = move || {
            let closed = tracker.close();
            drop(tracker);
            drop(folder);
            closed
        };
        if is_stored {
            let closed = end();
            assert!(!is_good || closed.is_ok(), "a good file is not closed: {closed:?}");
            return;
        }
        let thread = std::thread::spawn(move || drop(end()));
        CLOSING.with_borrow_mut(|closing| closing.push(thread));
    }
}

fn is_fault(error: &Error, also: &[ErrorKind]) {
    let kind = error.kind();
    assert!(FAULTS.contains(&kind) || also.contains(&kind), "not for the file: {error:?}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_file_passes_every_trial() {
        run(&GoodFile::new(), &Damage { blows: Vec::new(), cells: Vec::new() });
    }
}
