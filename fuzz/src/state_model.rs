//! All that happened to the tokens of a file, and what each of two trackers may know of it.

use std::collections::BTreeMap;

use token_tracker::{Act, CredentialId, DenialReason, Identity, Outcome, TokenId, TokenKind};

use crate::bench::instant;
use crate::rate_model::Bucket;
use crate::state_plan::Side;
use crate::token_model::{Phase, State, Version};
use crate::window_model::{Taken, Windows};

/// How long another tracker may go by what it read before a change was committed.
const BOUND: i64 = 250_000;

/// A moment on both clocks, in microseconds.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    pub wall: i64,
    pub monotonic: i64,
}

#[derive(Debug)]
pub struct Token {
    pub id: TokenId,
    pub owner: String,
    pub name: String,
    pub kind: TokenKind,
    pub secrets: Vec<(CredentialId, String)>,
    versions: Vec<Entry>,
    /// By tracker: the oldest of them that it may know.
    oldest: [usize; 2],
    /// By tracker: a refusal that it was told of and could not store.
    pub refused: [Option<State>; 2],
    pub windows: Windows,
    pub rates: [Cell; 2],
    /// What the book says of it.
    pub acts: Vec<Act>,
    pub counts: Counts,
}

#[derive(Debug)]
struct Entry {
    version: Version,
    by: Side,
    /// Monotonic.
    since: i64,
}

/// The rate of a token in a tracker.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    pub bucket: Bucket,
    pub resets: u32,
}

/// Requests that are settled.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    pub outcomes: BTreeMap<String, u64>,
    pub total: u64,
    pub cost: u64,
    /// By credential and reason: at least and at most.
    pub late: BTreeMap<(CredentialId, String), (u64, u64)>,
}

/// Whether a request was late.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Late {
    No,
    Perhaps,
    Yes,
}

/// What a request took of a quota.
#[derive(Debug)]
pub struct Reserved {
    pub units: u32,
    pub windows: Vec<Taken>,
    pub rate: Option<u32>,
}

impl Token {
    pub fn new(issued: &token_tracker::Issued, version: Version, by: Side, now: Now) -> Self {
        let token = &issued.token;
        Self {
            id: token.id,
            owner: token.owner.clone(),
            name: token.name.clone(),
            kind: token.kind,
            secrets: vec![(token.credential_id, issued.secret.expose().to_owned())],
            versions: vec![Entry { version, by, since: now.monotonic }],
            oldest: [0; 2],
            refused: [None; 2],
            windows: Windows::default(),
            rates: [Cell::default(), Cell::default()],
            acts: vec![Act::Issue],
            counts: Counts::default(),
        }
    }

    /// As the file has it.
    pub fn current(&self) -> &Version {
        &self.versions[self.versions.len() - 1].version
    }

    pub fn change(&mut self, version: Version, by: Side, now: Now, act: Act) {
        self.versions.push(Entry { version, by, since: now.monotonic });
        self.acts.push(act);
    }

    /// A tracker begins anew: it knows what is in the file.
    pub fn reopen(&mut self, at: Side) {
        self.refused[at.place()] = None;
        self.rates[at.place()] =
            Cell { resets: self.rates[at.place()].resets + 1, ..Cell::default() };
        self.windows.doubt(at);
        self.oldest[at.place()] = self.versions.len() - 1;
    }

    /// What a tracker may go by: the newest, its own changes whatever happens, and what somebody else replaced lately.
    pub fn known(&self, at: Side, now: Now) -> impl Iterator<Item = &Version> {
        let is_new = |entry: &Entry| entry.by == at || now.monotonic - entry.since > BOUND;
        let first = self.versions.iter().rposition(is_new).unwrap_or(0);
        let first = first.max(self.oldest[at.place()]);
        self.versions[first..].iter().map(|entry| &entry.version)
    }

    /// The same of one credential that is presented. One that nobody used yet is never gone by from memory.
    pub fn known_of(
        &self,
        at: Side,
        credential: usize,
        now: Now,
    ) -> impl Iterator<Item = &Version> {
        let current: *const Version = self.current();
        self.known(at, now).filter(move |version| {
            std::ptr::eq(*version, current)
                || version.credentials.get(credential).is_some_and(|one| one.phase != Phase::New)
        })
    }

    /// Whether an identity is that of a credential, by what a version says.
    pub fn is_told(&self, identity: &Identity, credential: usize, version: &Version) -> bool {
        identity.token_id() == self.id
            && identity.credential_id() == self.secrets[credential].0
            && (identity.owner(), identity.name()) == (self.owner.as_str(), self.name.as_str())
            && identity.kind() == self.kind
            && identity.scopes() == version.scopes
            && identity.restrictions().cloned().unwrap_or_default() == version.limits.told()
            && identity.expires_at() == version.expires_at.map(|at| instant(at.into()))
    }

    /// The instants at which something ends that is now.
    pub fn ends(&self) -> Vec<i64> {
        let version = self.current();
        let of_credentials =
            version.credentials.iter().flat_map(|one| [one.ends_at, one.expires_at]);
        let of_token = [version.expires_at, version.limits.not_before];
        of_credentials.chain(of_token).flatten().collect()
    }
}

impl Counts {
    pub fn enter(&mut self, outcome: Outcome, cost: u32) {
        *self.outcomes.entry(format!("{outcome:?}")).or_default() += 1;
        self.total += 1;
        self.cost += u64::from(cost);
    }

    pub fn late(&mut self, credential: CredentialId, reason: Option<DenialReason>, late: Late) {
        if late == Late::No {
            return;
        }
        let (least, most) = self.late.entry((credential, format!("{reason:?}"))).or_default();
        *least += u64::from(late == Late::Yes);
        *most += 1;
    }
}
