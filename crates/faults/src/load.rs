//! The load: several threads that record, and one that administers, each telling what was acknowledged.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use token_tracker::{AuthError, ErrorKind, Receipt, TokenTracker, Usage};

use crate::entry::{Ack, Entry};
use crate::moment::{at_us, pause};
use crate::scene::{mode, row_of_access, secret_of};

/// A load, as a child program is told of it.
#[derive(Clone, Debug)]
pub struct Load {
    /// The database.
    pub database: PathBuf,
    /// The mode, by the word for it.
    pub durability: String,
    /// Which of up to 63 loads on the same file it is: no two have the same serials.
    pub number: u32,
    /// How many threads record, up to 15.
    pub threads: u32,
    /// Secrets of the tokens that the threads record under, beside one of their own.
    pub shared: Vec<String>,
}

/// Records that are handed in before the first is waited for.
const BURST: u32 = 8;

impl Load {
    /// As arguments of a program.
    #[must_use]
    pub fn to_args(&self) -> Vec<String> {
        let mut args = vec![
            self.database.display().to_string(),
            self.durability.clone(),
            self.number.to_string(),
            self.threads.to_string(),
        ];
        args.extend(self.shared.iter().cloned());
        args
    }

    /// From the arguments of a program.
    #[must_use]
    pub fn from_args(mut args: impl Iterator<Item = String>) -> Option<Self> {
        Some(Self {
            database: args.next()?.into(),
            durability: args.next()?,
            number: args.next()?.parse().ok()?,
            threads: args.next()?.parse().ok()?,
            shared: args.collect(),
        })
    }

    /// Runs until told to stop, entering in the ledger what is acknowledged. Faults of the storage are
    /// what this is for: what fails is not entered, and tried again.
    ///
    /// # Panics
    /// Where a token that is good is refused, or a revoked one is not.
    pub fn run(&self, tracker: &TokenTracker, stop: &AtomicBool, enter: &(dyn Fn(Entry) + Sync)) {
        std::thread::scope(|scope| {
            for thread in 1..=self.threads {
                scope.spawn(move || self.record(thread, tracker, stop, enter));
            }
            scope.spawn(move || self.administer(tracker, stop, enter));
        });
    }

    fn record(
        &self,
        thread: u32,
        tracker: &TokenTracker,
        stop: &AtomicBool,
        enter: &(dyn Fn(Entry) + Sync),
    ) {
        let mut secrets = self.shared.clone();
        let name = format!("load {} thread {thread}", self.number);
        let own = (0..100).find_map(|_| {
            let new = token_tracker::NewToken::opaque("alice@example.com", &name);
            tracker.tokens().issue(new).inspect_err(|_| pause(20)).ok()
        });
        secrets.extend(own.map(|issued| secret_of(&issued).1));
        let mut serial = self.number << 26 | thread << 22;
        while !stop.load(Ordering::Relaxed) {
            let mut burst = Vec::new();
            for turn in 0..BURST {
                serial += 1;
                let secret = &secrets[(turn as usize) % secrets.len()];
                burst.extend(record_one(tracker, secret, serial));
            }
            for (token, serial, at_us, receipt) in burst {
                // Enqueued is acknowledged in the first mode: the moment counts at which it was.
                let waited = self.durability != "buffered";
                if waits_out(&receipt, stop) {
                    let at_us = if waited { crate::moment::at_us() } else { at_us };
                    enter(Entry::Recorded(Ack { token, serial, at_us }));
                }
            }
            // What is stored is to be checked too: a load, not a flood.
            pause(2);
        }
    }

    /// Issues, uses, revokes and presents what is revoked.
    fn administer(
        &self,
        tracker: &TokenTracker,
        stop: &AtomicBool,
        enter: &(dyn Fn(Entry) + Sync),
    ) {
        let mut number = 0;
        while !stop.load(Ordering::Relaxed) {
            number += 1;
            let name = format!("load {} administration {number}", self.number);
            let new = token_tracker::NewToken::opaque("bob@example.com", name);
            let Ok(issued) = tracker.tokens().issue(new) else {
                pause(5);
                continue;
            };
            let (row, secret) = secret_of(&issued);
            enter(Entry::Issued(row, secret.clone()));
            if number % 3 == 0 {
                continue;
            }
            enter(Entry::Revoking(row));
            if tracker.tokens().revoke(issued.token.id, "no longer needed").is_ok() {
                enter(Entry::Revoked(row));
            }
            for _ in 0..number % 20 {
                present_revoked(tracker, &secret, row, self.durability != "buffered", stop, enter);
            }
            pause(2);
        }
    }
}

/// Whether a record is acknowledged, for as long as a fault may last.
fn waits_out(receipt: &Receipt, stop: &AtomicBool) -> bool {
    let last_chance = Duration::from_secs(3);
    for _ in 0..300 {
        match receipt.wait_for(Duration::from_millis(100)) {
            Ok(()) => return true,
            Err(error) if error.kind() == ErrorKind::Lost => return false,
            Err(_) if stop.load(Ordering::Relaxed) => return receipt.wait_for(last_chance).is_ok(),
            Err(_) => {}
        }
    }
    false
}

fn record_one(
    tracker: &TokenTracker,
    secret: &str,
    serial: u32,
) -> Option<(i64, u32, i64, Receipt)> {
    let access = match tracker.authenticate(secret) {
        Ok(access) => access,
        Err(AuthError::Denied(denied)) => unreachable!("a good token is refused: {denied:?}"),
        Err(_) => {
            pause(5);
            return None;
        }
    };
    let token = row_of_access(&access);
    let receipt = tracker.record(Load::usage(Usage::of(access), serial));
    receipt.is_accepted().then(|| (token, serial, at_us(), receipt))
}

fn present_revoked(
    tracker: &TokenTracker,
    secret: &str,
    row: i64,
    waits: bool,
    stop: &AtomicBool,
    enter: &(dyn Fn(Entry) + Sync),
) {
    match tracker.authenticate(secret) {
        Ok(access) => unreachable!("a revoked token is let through: {access:?}"),
        Err(AuthError::Denied(denied)) => {
            let receipt = tracker.record(Usage::of(denied));
            if receipt.is_accepted() && waits && waits_out(&receipt, stop) {
                enter(Entry::Denied(row));
            }
        }
        Err(_) => {}
    }
}

const ROUTES: [&str; 3] = ["/v1/items", "/v1/items/{id}", "/v1/report"];

/// The status that the record of this serial was given.
pub(crate) fn status_of(serial: u32) -> u16 {
    [200, 404, 500, 204][serial as usize % 4]
}

impl Load {
    /// What the record of this serial says.
    pub fn usage(usage: Usage, serial: u32) -> Usage {
        usage
            .route("GET", ROUTES[serial as usize % ROUTES.len()])
            .status(status_of(serial))
            .response_bytes(u64::from(serial % 1_000))
            .cost(serial)
    }

    /// Opens a tracker for this load.
    ///
    /// # Panics
    /// Where it cannot be opened.
    #[must_use]
    pub fn open(&self) -> TokenTracker {
        let builder = TokenTracker::builder().durability(mode(&self.durability));
        builder.open(&self.database).expect("the database opens")
    }
}
