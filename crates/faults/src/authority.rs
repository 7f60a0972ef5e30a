//! What tokens were allowed at which time, as their administrator knows it; what they were let through with, as
//! those saw who asked; and the judgement of the one by the other.

use std::fmt;
use std::io::Write;
use std::path::Path;
use std::str::FromStr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use token_tracker::{AuthError, DenialReason, TokenTracker};

use crate::moment::at_us;

/// Equal answers within so short a time are one sight, with its first and its last. Of many tokens there would be too
/// many: so many share this time.
const SIGHT_US: i64 = 5_000;
const SHARING: usize = 256;

/// A thread that asks may be held up for as long.
const NOTICEABLE_US: i64 = 50_000;

/// What is answered, of which there is one for each state that an administrator can bring about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Answer {
    /// Let through, with these scopes.
    Accepted(u64),
    /// Refused, because another secret took its place.
    Retired,
    /// Refused for good.
    Revoked,
    /// Refused for now.
    Suspended,
}

/// One call, from before it to after it.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// Its begin.
    pub began_us: i64,
    /// Its end.
    pub ended_us: i64,
}

/// Equal answers to one asker, back to back.
#[derive(Clone, Debug)]
pub struct Sight {
    /// The token, by its place in the list.
    pub token: usize,
    /// The answer.
    pub answer: Answer,
    /// The first call.
    pub first: Request,
    /// The last call.
    pub last: Request,
    /// How many calls.
    pub count: u64,
}

/// What a token was allowed, from each change on.
#[derive(Clone, Debug)]
pub struct History {
    changes: Vec<(Request, Answer)>,
}

/// Writes what was seen, a line each.
///
/// # Panics
/// Where there is no room for it.
pub fn write_report(report: &Path, seen: &[Sight]) {
    let report = std::fs::File::create(report).expect("there is room for a report");
    let mut report = std::io::BufWriter::new(report);
    seen.iter().for_each(|sight| writeln!(report, "{sight}").expect("there is room for it"));
    report.flush().expect("there is room for it");
}

/// Reads what was seen.
///
/// # Panics
/// Where that is not what was written.
#[must_use]
pub fn read_report(report: &Path) -> Vec<Sight> {
    let report = std::fs::read_to_string(report).expect("there is a report");
    report.lines().map(|line| line.parse().expect("a line is a sight")).collect()
}

/// The scope by which a version of a token's authority is told from others.
#[must_use]
pub fn scope_of(version: u64) -> String {
    format!("version:{version}")
}

/// Asks about each token in turn until told to stop.
///
/// # Panics
/// Where an answer is none that there can be.
pub fn look(tracker: &TokenTracker, secrets: &[String], stop: &AtomicBool) -> Vec<Sight> {
    look_at(tracker, secrets.len(), |at| secrets.get(at), stop)
}

/// As [`look`], where some are made known meanwhile.
///
/// # Panics
/// Where an answer is none that there can be.
pub fn look_as_known(
    tracker: &TokenTracker,
    secrets: &[OnceLock<String>],
    stop: &AtomicBool,
) -> Vec<Sight> {
    look_at(tracker, secrets.len(), |at| secrets[at].get(), stop)
}

fn look_at<'s>(
    tracker: &TokenTracker,
    count: usize,
    secret: impl Fn(usize) -> Option<&'s String>,
    stop: &AtomicBool,
) -> Vec<Sight> {
    let mut seen = Vec::<Sight>::new();
    let mut latest = vec![None::<usize>; count];
    let within_us = SIGHT_US * i64::try_from(1 + count / SHARING).unwrap_or(i64::MAX);
    while !stop.load(Ordering::Relaxed) {
        for (token, secret) in (0..count).filter_map(|token| Some((token, secret(token)?))) {
            let (answer, call) = ask(tracker, secret);
            let same = latest[token].map(|at| &mut seen[at]).filter(|sight| {
                sight.answer == answer && call.began_us - sight.first.began_us < within_us
            });
            if let Some(sight) = same {
                sight.last = call;
                sight.count += 1;
                continue;
            }
            latest[token] = Some(seen.len());
            seen.push(Sight { token, answer, first: call, last: call, count: 1 });
        }
    }
    seen
}

fn ask(tracker: &TokenTracker, secret: &str) -> (Answer, Request) {
    // Before anything else, so that whoever is held up seems to have asked earlier, not later.
    let began_us = at_us();
    let answer = match tracker.authenticate(secret) {
        Ok(access) => Answer::Accepted(version_of(access.identity().scopes())),
        Err(AuthError::Denied(denied)) => match denied.reason() {
            DenialReason::CredentialRetired => Answer::Retired,
            DenialReason::Revoked => Answer::Revoked,
            DenialReason::Suspended => Answer::Suspended,
            reason => unreachable!("nothing was done to the token that makes it {reason:?}"),
        },
        Err(unavailable) => unreachable!("nothing keeps the file from being read: {unavailable:?}"),
    };
    (answer, Request { began_us, ended_us: at_us() })
}

fn version_of(scopes: &[String]) -> u64 {
    let version = scopes.iter().find_map(|scope| scope.strip_prefix("version:")?.parse().ok());
    version.expect("every version has its scope")
}

impl History {
    /// Of a token that is let through with the first version.
    #[must_use]
    pub fn new() -> Self {
        let ever = Request { began_us: i64::MIN, ended_us: i64::MIN };
        Self { changes: vec![(ever, Answer::Accepted(0))] }
    }

    /// What is answered after the last change.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn now(&self) -> (Request, Answer) {
        *self.changes.last().expect("there is the first")
    }

    /// One change more.
    pub fn add(&mut self, change: Request, answer: Answer) {
        self.changes.push((change, answer));
    }

    /// How much later than it may this answer was asked for: after the change that ended it had been made. 0
    /// where it is right, `None` where there is no time at which it is.
    #[must_use]
    pub fn delay(&self, answer: Answer, call: Request) -> Option<i64> {
        let ends = self.changes.iter().skip(1).map(|(change, _)| change.ended_us);
        let times = self.changes.iter().zip(ends.chain([i64::MAX]));
        let begun = times.filter(|((change, allowed), _)| {
            *allowed == answer && change.began_us <= call.ended_us
        });
        begun.map(|(_, ended_us)| call.began_us.saturating_sub(ended_us).max(0)).min()
    }

    /// The times for which an answer was the only right one to be heard by others, where they are long enough
    /// to be noticed: from `bound_us` after the change that made it so.
    pub fn lasting(&self, bound_us: i64) -> impl Iterator<Item = (i64, i64, Answer)> {
        let times = self.changes.windows(2).skip(1).map(move |pair| {
            let ((from, answer), (until, _)) = (pair[0], pair[1]);
            (from.ended_us + bound_us, until.began_us, answer)
        });
        times.filter(|(begin, end, _)| end - begin > NOTICEABLE_US)
    }
}

impl Default for History {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for Sight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let answer = match self.answer {
            Answer::Accepted(version) => version.to_string(),
            Answer::Retired => "retired".to_owned(),
            Answer::Revoked => "revoked".to_owned(),
            Answer::Suspended => "suspended".to_owned(),
        };
        let (first, last) = (self.first, self.last);
        write!(f, "{} {answer} {} {}", self.token, first.began_us, first.ended_us)?;
        write!(f, " {} {} {}", last.began_us, last.ended_us, self.count)
    }
}

impl FromStr for Sight {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let mut words = line.split(' ');
        let mut next = || words.next().ok_or_else(|| format!("not a sight: {line:?}"));
        let unread = |_| format!("not a number in {line:?}");
        let token = next()?.parse().map_err(unread)?;
        let answer = match next()? {
            "retired" => Answer::Retired,
            "revoked" => Answer::Revoked,
            "suspended" => Answer::Suspended,
            version => Answer::Accepted(version.parse().map_err(unread)?),
        };
        let mut number = || next()?.parse::<i64>().map_err(unread);
        let first = Request { began_us: number()?, ended_us: number()? };
        let last = Request { began_us: number()?, ended_us: number()? };
        Ok(Self { token, answer, first, last, count: number()?.unsigned_abs() })
    }
}
