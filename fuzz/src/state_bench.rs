//! Two trackers on one file, and a model of what each must say.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use token_tracker::{
    Access, Algorithm, Builder, Clock as _, Error, ErrorKind, JwtIssuer, JwtKey, ManualClock,
    TokenTracker, Usage,
};

use crate::bench::{START, instant};
use crate::state_check;
use crate::state_faults::Trouble;
use crate::state_model::{Late, Now, Reserved, Token};
use crate::state_plan::{Last, New, Pause, Request, Side, Step, fault_steps, status};
use crate::token_model::Phase;

/// An input may take so long by the clock, and a bench may be so old for another: sums are kept for longer.
const LONGEST: i64 = 1_500 * DAY;
const OLDEST: i64 = START as i64 + 2_000 * DAY;
const DAY: i64 = 86_400_000_000;
const RETENTION: Duration = Duration::from_secs(3_650 * 86_400);

/// As long as a change waits under a lock, and longer than anything else takes that one of the trackers does.
const BUSY: Duration = Duration::from_millis(15);
const MOST_OPENINGS: usize = 50;

const MOST_OPEN: usize = 8;

/// Numbers from here up mean another token than the one before.
const OTHERS: u8 = 180;

/// Credentials of a token that are looked at after each change: the newest.
const MOST_PROBED: usize = 4;

/// How many inputs a bench serves: opening two trackers costs as much as several inputs.
const MOST_INPUTS: usize = 24;

pub struct StateBench {
    pub trackers: [TokenTracker; 2],
    /// How often each was opened, and what it was to record since.
    pub opened: [u32; 2],
    pub recorded: [u64; 2],
    pub clock: ManualClock,
    /// Of all inputs; this one knows of those from `first` on.
    pub tokens: Vec<Token>,
    pub first: usize,
    named: usize,
    inputs: usize,
    latest: i64,
    pub open: Vec<Open>,
    pub trouble: Option<Trouble>,
    /// First uses that were not.
    pub not_stored: u32,
    directory: TempDir,
}

/// A request that was allowed and is not settled.
pub struct Open {
    pub access: Access,
    pub at: Side,
    pub opened: u32,
    pub token: usize,
    pub credential: usize,
    pub late: Late,
    pub reserved: Reserved,
}

impl Default for StateBench {
    fn default() -> Self {
        Self::new()
    }
}

impl StateBench {
    pub fn new() -> Self {
        let memory = PathBuf::from("/dev/shm");
        let directory = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() };
        let directory = directory.expect("a directory");
        let clock = ManualClock::new(instant(START));
        let path = directory.path().join("tokens.db");
        let trackers = Side::BOTH.map(|_| tracker(&path, &clock));
        Self {
            trackers,
            opened: [0; 2],
            recorded: [0; 2],
            clock,
            tokens: Vec::new(),
            first: 0,
            named: 0,
            inputs: 0,
            latest: 0,
            open: Vec::new(),
            trouble: None,
            not_stored: 0,
            directory,
        }
    }

    /// Other tokens, from the beginning of a day on; another bench now and then.
    pub fn start_afresh(&mut self) {
        if self.inputs >= MOST_INPUTS || self.now().wall > OLDEST {
            *self = Self::new();
        }
        self.inputs += 1;
        self.not_stored = 0;
        self.first = self.tokens.len();
        let rest = DAY - self.now().wall.rem_euclid(DAY);
        self.clock.advance(Duration::from_micros(rest.unsigned_abs()));
        self.latest = self.now().wall + LONGEST;
        New::FIRST.iter().for_each(|new| self.issue(Side::A, new));
        self.named = self.first;
    }

    /// When the input began.
    pub fn begun(&self) -> i64 {
        self.latest - LONGEST
    }

    /// The token that an input means by a number: the one before, mostly.
    pub fn numbered(&mut self, token: u8) -> usize {
        if token >= OTHERS {
            self.named = self.first + usize::from(token) % (self.tokens.len() - self.first);
        }
        self.named
    }

    /// Looks at a token with all its credentials from both sides, and uses those that were used before.
    fn probe(&mut self, token: usize) {
        for at in Side::BOTH {
            for credential in (0..self.tokens[token].secrets.len()).rev().take(MOST_PROBED) {
                self.introspect(at, token, credential);
                if self.tokens[token].current().credentials[credential].phase != Phase::New {
                    self.present(at, token, credential, &Request::FREE, Last::Drop);
                }
            }
        }
    }

    pub fn take(&mut self, step: &Step) {
        self.last_of_trouble();
        match step {
            Step::Advance(pause) => {
                self.advance(*pause);
                self.probe(self.named);
            }
            Step::Authenticate { at, token, credential, request, last, times } => {
                let token = self.numbered(*token);
                let credential = usize::from(*credential) % self.tokens[token].secrets.len();
                for _ in 0..=times % 12 {
                    self.present(*at, token, credential, request, *last);
                }
            }
            Step::Change { at, token, change } => {
                let token = self.numbered(*token);
                self.change(*at, token, change);
                self.probe(token);
            }
            Step::Fault { fault, steps } => {
                self.trouble = None;
                let steps = fault_steps(*steps);
                self.trouble = Some(Trouble::begin(&self.path(), *fault, steps));
            }
            Step::Flush => state_check::all(self),
            Step::Issue { at, new } => {
                self.issue(*at, new);
                self.named = self.tokens.len() - 1;
            }
            Step::MarkExpired { at } => self.mark_expired(*at),
            Step::Reopen { at } => self.reopen(*at),
            Step::Settle { open, last } if !self.open.is_empty() => {
                let open = self.open.swap_remove(usize::from(*open) % self.open.len());
                self.settle(open, *last);
            }
            Step::Settle { .. } => {}
            Step::StillHolds { open } => self.still_holds(*open),
            Step::Upkeep { at } => {
                self.trouble = None;
                self.upkeep(*at);
            }
        }
    }

    /// Ends what is open, and compares everything. `looks_through` the whole file, or only at the tokens.
    pub fn finish(&mut self, looks_through: bool) {
        while let Some(open) = self.open.pop() {
            self.settle(open, Last::Drop);
        }
        state_check::all(self);
        if looks_through {
            state_check::file(self);
        }
    }

    pub fn now(&self) -> Now {
        let monotonic = self.clock.monotonic().as_micros() as i64;
        Now { wall: (self.clock.now().unix_timestamp_nanos() / 1_000) as i64, monotonic }
    }

    pub fn path(&self) -> PathBuf {
        self.directory.path().join("tokens.db")
    }

    fn upkeep(&self, at: Side) {
        match self.trackers[at.place()].upkeep() {
            Err(error) if is_slow(&error) => {}
            answer => answer.expect("the storage works"),
        }
    }

    fn last_of_trouble(&mut self) {
        if let Some(trouble) = &mut self.trouble {
            trouble.steps = trouble.steps.saturating_sub(1);
        }
        if self.trouble.as_ref().is_some_and(|trouble| trouble.steps == 0) {
            self.trouble = None;
        }
    }

    fn advance(&mut self, pause: Pause) {
        let now = self.now().wall;
        let micros = match pause {
            Pause::Bound(by) => 249_998 + i64::from(by % 5),
            Pause::Days(days) => (1 << (days % 11)) * DAY,
            Pause::Micros(micros) => micros.into(),
            Pause::Millis(millis) => i64::from(millis) * 1_000,
            Pause::Seconds(seconds) => i64::from(seconds) * 1_000_000,
            Pause::To { end, short } => {
                let mut ends: Vec<i64> =
                    self.tokens[self.first..].iter().flat_map(Token::ends).collect();
                ends.extend([60, 3_600, 86_400].map(|length: i64| {
                    let length = length * 1_000_000;
                    (now.div_euclid(length) + 1) * length
                }));
                ends.retain(|end| now < *end);
                ends.sort_unstable();
                ends[usize::from(end) % ends.len()] - now - i64::from(short)
            }
        };
        if now + micros <= self.latest {
            self.clock.advance(Duration::from_micros(micros.unsigned_abs()));
        }
    }

    fn reopen(&mut self, at: Side) {
        // A tracker that cannot write tries for seconds before it closes.
        self.trouble = None;
        let tracker = &self.trackers[at.place()];
        tracker.flush().expect("the storage works");
        state_check::accounts(self, at);
        tracker.close().expect("everything is flushed");
        self.trackers[at.place()] = tracker_on(self);
        self.opened[at.place()] += 1;
        self.recorded[at.place()] = 0;
        self.tokens.iter_mut().for_each(|token| token.reopen(at));
    }

    /// Keeps a request open, or settles it.
    pub fn settle(&mut self, open: Open, last: Last) {
        let Open { mut access, at, opened, token, credential, late, reserved } = open;
        let is_alive = opened == self.opened[at.place()];
        let (mut cost, mut outcome) = (reserved.units, token_tracker::Outcome::Unfinished);
        match last {
            Last::Keep if self.open.len() < MOST_OPEN => {
                let open = Open { access, at, opened, token, credential, late, reserved };
                return self.open.push(open);
            }
            Last::Drop | Last::Keep => drop(access),
            Last::Finish { status: of } => {
                outcome = outcome_of(status(of));
                access.begin(status(of), None);
                access.finish();
            }
            Last::Record { status: of, cost: settled } => {
                let mut usage = Usage::of(access);
                if let Some(of) = of {
                    outcome = outcome_of(status(of));
                    usage = usage.status(status(of));
                }
                if let Some(settled) = settled {
                    cost = settled.into();
                    usage = usage.cost(cost);
                }
                let receipt = self.trackers[at.place()].record(usage);
                assert_eq!(receipt.is_accepted(), is_alive);
            }
        }
        if !is_alive {
            return;
        }
        let (monotonic, token) = (self.now().monotonic, &mut self.tokens[token]);
        token.windows.settle(&reserved.windows, reserved.units, cost);
        let rate = &mut token.rates[at.place()];
        if reserved.rate == Some(rate.resets) {
            rate.bucket.add(cost.saturating_sub(reserved.units), monotonic);
            rate.bucket.remove(reserved.units.saturating_sub(cost));
        }
        token.counts.enter(outcome, cost);
        token.counts.late(token.secrets[credential].0, None, late);
        self.recorded[at.place()] += 1;
    }
}

fn outcome_of(status: u16) -> token_tracker::Outcome {
    match status {
        ..400 => token_tracker::Outcome::Success,
        400..500 => token_tracker::Outcome::ClientError,
        500.. => token_tracker::Outcome::ServerError,
    }
}

fn tracker_on(bench: &StateBench) -> TokenTracker {
    tracker(&bench.path(), &bench.clock)
}

fn tracker(path: &Path, clock: &ManualClock) -> TokenTracker {
    // On a machine that is busy the first connections can take longer than the timeout.
    let mut answers = (0..MOST_OPENINGS).map(|_| builder(clock).open(path));
    let answer = answers.find(|answer| !answer.as_ref().is_err_and(is_slow));
    answer.expect("a file in a fresh directory").expect("a file in a fresh directory")
}

fn is_slow(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Busy | ErrorKind::Storage)
}

fn builder(clock: &ManualClock) -> Builder {
    let key = JwtKey::hmac(Algorithm::Hs256, &[7; 32]).expect("a good key");
    let builder = TokenTracker::builder().clock(clock.clone());
    let builder = builder.jwt_issuer(JwtIssuer::unnamed().key(key).leeway(Duration::ZERO));
    // No window is to end before its batch is asked for, and nothing is to go.
    let builder = builder.commit_window(Duration::from_secs(1)).cache_capacity(16);
    let builder = builder.busy_timeout(BUSY).readers(2);
    let builder = builder.raw_retention(RETENTION).hourly_retention(RETENTION);
    builder.daily_retention(RETENTION)
}
