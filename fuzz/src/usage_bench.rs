//! Requests made and recorded, and the ledger kept of them beside: the two must say the same.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use time::OffsetDateTime;
use token_tracker::{
    Access, AuthError, Clock as _, DenialReason, Denied, ErrorKind, ManualClock, NewToken, TokenId,
    TokenTracker, Usage,
};

use crate::bench::{START, instant};
use crate::ledger::{Ledger, Row};
use crate::ticket_model::{Now, Ticket};
use crate::usage_check;
use crate::usage_plan::{Act, Last, RESOURCE, Request, SCOPE, Said, Scope, Step};

pub const DAY: i64 = 86_400_000_000;

/// The wall clock stays within these, so that no sum is ever too old to be kept.
pub const EARLIEST: i64 = START as i64 - 300 * DAY;
pub const LATEST: i64 = START as i64 + 400 * DAY;

/// For so long the log has every row, and there is a sum of every hour.
const RAW_RETENTION: i64 = 30 * DAY;
const HOURLY_RETENTION: i64 = 20 * DAY;

/// Requests that may be open at the same time.
const MOST_OPEN: usize = 6;

/// When a tracker has served enough: of its log, of what it tells denials apart by, and of its dictionary,
/// none is to come to its bounds.
const MOST_INPUTS: usize = 48;
const MOST_REQUESTS: u64 = 2_000;
const MOST_KINDS: usize = 3_000;
const MOST_TEXTS: usize = 3_000;

pub struct UsageBench {
    pub tracker: TokenTracker,
    clock: ManualClock,
    /// What the tokens of this input did.
    pub ledger: Ledger,
    pub tokens: Vec<Token>,
    pub owner: String,
    open: Vec<(Access, Ticket)>,
    /// Whether the wall clock was set without a word since it was confirmed.
    is_doubtful: bool,
    /// The earliest row and the latest that the wall clock showed.
    earliest: i64,
    latest: i64,
    inputs: usize,
    kinds: usize,
    texts: HashSet<String>,
    /// All that the tracker has recorded.
    pub requests: u64,
}

pub struct Token {
    pub id: TokenId,
    secret: String,
    is_limited: bool,
    is_suspended: bool,
}

impl Default for UsageBench {
    fn default() -> Self {
        Self::new()
    }
}

impl UsageBench {
    pub fn new() -> Self {
        let clock = ManualClock::new(instant(START));
        // No window is to end before its batch is asked for.
        let builder = TokenTracker::builder().clock(clock.clone());
        let builder = builder.commit_window(Duration::from_secs(1)).cache_capacity(16);
        // Shorter than that of records, so that hours go while the log still has their rows.
        let builder = builder.hourly_retention(Duration::from_micros(HOURLY_RETENTION as u64));
        Self {
            tracker: builder.in_memory().expect("the configuration is valid"),
            clock,
            ledger: Ledger::default(),
            tokens: Vec::new(),
            owner: String::new(),
            open: Vec::new(),
            is_doubtful: false,
            earliest: i64::MAX,
            latest: i64::MIN,
            inputs: 0,
            kinds: 0,
            texts: HashSet::new(),
            requests: 0,
        }
    }

    /// Other tokens at the time of the start; another tracker now and then.
    pub fn start_afresh(&mut self) {
        let is_full = self.inputs >= MOST_INPUTS
            || self.requests >= MOST_REQUESTS
            || self.kinds >= MOST_KINDS
            || self.texts.len() >= MOST_TEXTS;
        if is_full || self.has_forgotten() {
            *self = Self::new();
        }
        self.clock.set_wall(instant(START));
        self.confirm();
        self.inputs += 1;
        self.ledger = Ledger::default();
        self.owner = format!("owner {}", self.inputs);
        self.tokens = [false, true].map(|is_limited| self.issue(is_limited)).into();
    }

    fn issue(&self, is_limited: bool) -> Token {
        let name = if is_limited { "limited" } else { "free" };
        let new = NewToken::opaque(self.owner.as_str(), name).scope(SCOPE);
        let new = if is_limited { new.resource(RESOURCE) } else { new };
        let issued = self.tracker.tokens().issue(new).expect("the name is new");
        let secret = issued.secret.expose().to_owned();
        Token { id: issued.token.id, secret, is_limited, is_suspended: false }
    }

    /// Whether the log may have let go of rows.
    pub fn has_forgotten(&self) -> bool {
        self.latest.saturating_sub(self.earliest) >= RAW_RETENTION
    }

    /// Whether sums of hours may be gone.
    pub fn has_only_days(&self) -> bool {
        self.latest.saturating_sub(self.earliest) >= HOURLY_RETENTION
    }

    pub fn take(&mut self, step: &Step<'_>) {
        match step {
            Step::Advance(time) => self.advance(time.micros()),
            Step::Confirm => self.confirm(),
            Step::Continue { open, acts, last } if !self.open.is_empty() => {
                let at = usize::from(*open) % self.open.len();
                let (access, ticket) = self.open.remove(at);
                self.go_on(access, ticket, acts, last);
            }
            Step::Continue { .. } => {}
            Step::Flush => usage_check::all(self),
            Step::Request { request, acts, last, times } => {
                (0..=times % 24).for_each(|again| self.request(request, acts, last, again > 0));
            }
            Step::Resume { token } => self.set_suspended(*token, false),
            Step::SetWall { time, before } => {
                let time = if *before { -time.micros() } else { time.micros() };
                self.set_wall(START as i64 + time);
            }
            Step::Suspend { token } => self.set_suspended(*token, true),
            Step::Upkeep => self.upkeep(),
        }
    }

    /// Ends what is open, and compares everything.
    pub fn finish(&mut self) {
        for (access, mut ticket) in std::mem::take(&mut self.open) {
            let row = ticket.drop(self.now());
            drop(access);
            self.enter(row);
        }
        usage_check::all(self);
        usage_check::file(self);
        self.kinds += self.ledger.kinds();
    }

    fn now(&self) -> Now {
        let monotonic = self.clock.monotonic().as_micros() as i64;
        Now { wall: micros(self.clock.now()), monotonic }
    }

    fn advance(&mut self, micros: i64) {
        if self.now().wall + micros <= LATEST {
            self.clock.advance(Duration::from_micros(micros.unsigned_abs()));
            self.note_time();
        }
    }

    fn set_wall(&mut self, micros: i64) {
        self.clock.set_wall(instant(micros.clamp(EARLIEST, LATEST).into()));
        self.is_doubtful = true;
        self.note_time();
    }

    fn note_time(&mut self) {
        self.latest = self.latest.max(self.now().wall);
    }

    fn confirm(&mut self) {
        self.tracker.confirm_clock();
        self.is_doubtful = false;
    }

    fn upkeep(&self) {
        match self.tracker.upkeep() {
            Ok(()) => {}
            Err(error) if self.is_doubtful => assert_eq!(error.kind(), ErrorKind::ClockInDoubt),
            Err(error) => panic!("no upkeep: {error:?}"),
        }
    }

    fn set_suspended(&mut self, token: u8, is_suspended: bool) {
        let token = self.at(token);
        let (tokens, token) = (self.tracker.tokens(), &mut self.tokens[token]);
        let changed = if is_suspended { tokens.suspend(token.id) } else { tokens.resume(token.id) };
        changed.expect("the token is not revoked");
        token.is_suspended = is_suspended;
    }

    fn at(&self, token: u8) -> usize {
        usize::from(token) % self.tokens.len()
    }

    fn request(&mut self, request: &Request<'_>, acts: &[Act<'_>], last: &Last<'_>, again: bool) {
        let at = self.at(request.token);
        let asked = request.ask(&self.tokens[at].secret);
        let known = if again { self.tracker.authenticate_cached(&asked) } else { None };
        let answer = known.unwrap_or_else(|| self.tracker.authenticate(asked));
        let reasons = self.reasons(at, request);
        match answer {
            Ok(access) => {
                assert!(reasons.is_empty(), "accepted, which is to be denied: {reasons:?}");
                let ticket = Ticket::of(request, at, None, self.now());
                self.go_on(access, ticket, acts, last);
            }
            Err(AuthError::Denied(denied)) => {
                assert!(reasons.contains(&denied.reason()), "{denied:?}, not {reasons:?}");
                let ticket = Ticket::of(request, at, Some(denied.reason()), self.now());
                self.deny(denied, ticket, last);
            }
            Err(error) => panic!("the storage failed: {error}"),
        }
    }

    /// Why the request is to be denied: any of these.
    fn reasons(&self, token: usize, request: &Request<'_>) -> Vec<DenialReason> {
        let token = &self.tokens[token];
        if token.is_suspended {
            return vec![DenialReason::Suspended];
        }
        let mut reasons = Vec::new();
        if token.is_limited && !request.names_resource {
            reasons.push(DenialReason::WrongResource);
        }
        if matches!(request.scope, Some(Scope::Missing)) {
            reasons.push(DenialReason::MissingScope);
        }
        reasons
    }

    fn go_on(&mut self, mut access: Access, mut ticket: Ticket, acts: &[Act<'_>], last: &Last<'_>) {
        for act in acts {
            match act {
                Act::Begin { status, length } => {
                    access.begin(*status, length.map(|length| length.value()));
                }
                Act::Fail => access.fail(),
                Act::Finish => access.finish(),
                Act::Sent(bytes) => access.sent(bytes.value()),
                Act::SetRoute(route) => access.set_route(&route.text()),
                Act::Wait(time) => self.advance(time.micros()),
            }
            let row = ticket.act(act, self.now());
            self.enter(row);
            assert_eq!(access.is_settled(), !ticket.is_open(), "after {act:?}: {ticket:?}");
        }
        let now = self.now();
        let row = match last {
            Last::Keep if self.open.len() < MOST_OPEN => {
                return self.open.push((access, ticket));
            }
            Last::Drop | Last::Keep => {
                drop(access);
                ticket.drop(now)
            }
            Last::DropUsage(said) => {
                drop(usage(Usage::of(access), said));
                ticket.hear(said);
                ticket.drop(now)
            }
            Last::Record(said) => {
                let receipt = self.tracker.record(usage(Usage::of(access), said));
                receipt.wait().expect("a record that is buffered is acknowledged");
                ticket.record(said, now)
            }
            Last::RecordBlocking(said) => {
                let receipt = self.tracker.record_blocking(usage(Usage::of(access), said));
                assert!(receipt.is_accepted());
                ticket.record(said, now)
            }
        };
        self.enter(row);
    }

    fn deny(&mut self, denied: Denied, mut ticket: Ticket, last: &Last<'_>) {
        let now = self.now();
        let row = match last {
            Last::Drop | Last::Keep => {
                drop(denied);
                ticket.drop(now)
            }
            Last::DropUsage(said) => {
                drop(usage(Usage::of(denied), said));
                ticket.hear(said);
                ticket.drop(now)
            }
            Last::Record(said) | Last::RecordBlocking(said) => {
                assert!(self.tracker.record(usage(Usage::of(denied), said)).is_accepted());
                ticket.record(said, now)
            }
        };
        self.enter(row);
    }

    fn enter(&mut self, row: Option<Row>) {
        let Some(row) = row else { return };
        self.requests += 1;
        self.earliest = self.earliest.min(row.at);
        self.note_time();
        let texts = [Some(row.route.clone()), row.user_agent.clone()];
        self.texts.extend(texts.into_iter().flatten());
        self.ledger.enter(row);
    }

    /// The tokens of this input by what the catalogue calls them.
    pub fn numbers(&self) -> HashMap<TokenId, usize> {
        self.tokens.iter().enumerate().map(|(at, token)| (token.id, at)).collect()
    }
}

fn usage(usage: Usage, said: &Said<'_>) -> Usage {
    let mut usage = usage;
    if let Some((method, route)) = &said.route {
        usage = usage.route(method.text(), &route.text());
    }
    if let Some(status) = said.status {
        usage = usage.status(status);
    }
    if let Some(elapsed) = said.elapsed {
        usage = usage.elapsed(elapsed.duration());
    }
    if let Some(bytes) = said.response_bytes {
        usage = usage.response_bytes(bytes.value());
    }
    if let Some(address) = said.address {
        usage = usage.client_address(address);
    }
    if let Some(agent) = &said.user_agent {
        usage = usage.user_agent(agent.bytes());
    }
    match said.cost {
        Some(cost) => usage.cost(cost),
        None => usage,
    }
}

/// Microseconds since 1970.
pub fn micros(at: OffsetDateTime) -> i64 {
    (at.unix_timestamp_nanos() / 1_000) as i64
}
