//! Units of quotas, used up by several threads of several processes.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use token_tracker::{AuthError, AuthRequest, DenialReason, TokenTracker, Usage};

use crate::entry::{Entry, Spent};
use crate::moment::pause;
use crate::scene::row_of_access;

/// What requests turn out to be worth.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Worth {
    /// One unit each, as was reserved.
    One,
    /// Less than was reserved, or as much.
    Less,
    /// More than was reserved, or as much.
    More,
}

/// A process that spends, as a child program is told of it.
#[derive(Clone, Debug)]
pub struct Spending {
    /// The database.
    pub database: PathBuf,
    /// How many threads spend.
    pub threads: u32,
    /// Tells one process from another.
    pub seed: u32,
    /// What requests of each token are worth, and its secret.
    pub tokens: Vec<(Worth, String)>,
}

impl Worth {
    const WORDS: [(Self, &str); 3] =
        [(Self::One, "one"), (Self::Less, "less"), (Self::More, "more")];

    /// The most that a request reserves.
    #[must_use]
    pub fn most_reserved(self) -> u32 {
        if self == Self::Less { 5 } else { 1 }
    }

    /// The most that a request is worth beyond what it reserved.
    #[must_use]
    pub fn most_over(self) -> u32 {
        if self == Self::More { 3 } else { 0 }
    }
}

impl Spending {
    /// As arguments of a program.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn to_args(&self) -> Vec<String> {
        let word = |worth| Worth::WORDS.iter().find(|(other, _)| *other == worth);
        let mut args = vec![
            self.database.display().to_string(),
            self.threads.to_string(),
            self.seed.to_string(),
        ];
        args.extend(self.tokens.iter().map(|(worth, secret)| {
            format!("{}:{secret}", word(*worth).expect("each has its word").1)
        }));
        args
    }

    /// From the arguments of a program.
    #[must_use]
    pub fn from_args(mut args: impl Iterator<Item = String>) -> Option<Self> {
        let (database, threads, seed) = (args.next()?.into(), args.next()?, args.next()?);
        let token = |arg: String| {
            let (word, secret) = arg.split_once(':')?;
            let (worth, _) = Worth::WORDS.iter().find(|(_, other)| *other == word)?;
            Some((*worth, secret.to_owned()))
        };
        Some(Self {
            database,
            threads: threads.parse().ok()?,
            seed: seed.parse().ok()?,
            tokens: args.map(token).collect::<Option<_>>()?,
        })
    }

    /// Opens a tracker for this.
    ///
    /// # Panics
    /// Where it cannot be opened.
    #[must_use]
    pub fn open(&self) -> TokenTracker {
        let builder = TokenTracker::builder().busy_timeout(Duration::from_millis(100));
        // Half of them record: what is leased waits for the same thread.
        let builder =
            if self.seed.is_multiple_of(2) { builder } else { builder.without_usage_recording() };
        builder.open(&self.database).expect("the database opens")
    }

    /// Spends until each thread was refused a single unit of each token, or until told to stop. Returns how often the
    /// storage could not be asked.
    ///
    /// # Panics
    /// Where a token is refused for anything but its quota.
    pub fn run(
        &self,
        tracker: &TokenTracker,
        stop: &AtomicBool,
        enter: &(dyn Fn(Entry) + Sync),
    ) -> u64 {
        let unavailable = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for thread in 0..self.threads {
                let unavailable = &unavailable;
                scope.spawn(move || self.spend(thread, tracker, stop, unavailable, enter));
            }
        });
        unavailable.into_inner()
    }

    fn spend(
        &self,
        thread: u32,
        tracker: &TokenTracker,
        stop: &AtomicBool,
        unavailable: &AtomicU64,
        enter: &(dyn Fn(Entry) + Sync),
    ) {
        let mut left: Vec<_> = self.tokens.iter().map(|token| (token, false)).collect();
        let mut turn = self.seed.wrapping_mul(31).wrapping_add(thread.wrapping_mul(17));
        while !left.is_empty() && !stop.load(Ordering::Relaxed) {
            left.retain_mut(|((worth, secret), scarce)| {
                turn = turn.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let dice = turn >> 16;
                let reserved = if *scarce { 1 } else { 1 + dice % worth.most_reserved() };
                match tracker.authenticate(AuthRequest::from(secret.as_str()).cost(reserved)) {
                    Ok(access) => {
                        let token = row_of_access(&access);
                        let units = match worth {
                            Worth::Less => reserved - dice / 8 % reserved,
                            _ => reserved + dice / 8 % (worth.most_over() + 1),
                        };
                        // Somebody else is to find what is reserved gone, and what is given back there again.
                        std::thread::yield_now();
                        tracker.record(Usage::of(access).status(200).cost(units));
                        enter(Entry::Spent(Spent { token, units }));
                        true
                    }
                    Err(AuthError::Denied(denied)) => {
                        assert_eq!(denied.reason(), DenialReason::QuotaExceeded, "{denied:?}");
                        let was_scarce = std::mem::replace(scarce, true);
                        !was_scarce && worth.most_reserved() > 1
                    }
                    Err(_) => {
                        unavailable.fetch_add(1, Ordering::Relaxed);
                        pause(2);
                        true
                    }
                }
            });
        }
    }
}
