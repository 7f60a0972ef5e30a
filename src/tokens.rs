//! The catalogue for administrators, and the one place that keeps cache and store coherent.

mod adopt;
mod change;
mod delegate;
mod edit;
mod erase;
mod issue;
mod mass;
mod quota;
mod rotate;

use std::fmt;

use crate::audit::{AuditFilter, AuditPage, Behalf};
use crate::engine::Engine;
use crate::error::Error;
use crate::store::{At, Reader, TokenRow, to_error};
use crate::timestamp::Timestamp;
use crate::token::{Token, TokenFilter, TokenId, TokenPage};
use change::not_found;
use delegate::Permit;
pub use edit::Revoked;
pub use erase::Erased;
use issue::{fragment_of, new_row};
pub use mass::{MassRevocation, Preview};

/// The catalogue: makes tokens, shows them, and changes what they may do.
///
/// Changes go through the writer's thread before any usage, block until they are on the disk, whatever the
/// [`Durability`](crate::Durability) of records is, and take effect in this process before that: a revoked token is refused by the
/// next call, whatever is cached. Every other process on the file follows within 250 ms.
///
/// # Errors
/// Each change fails with `Closed` once the tracker is closed, and each call with `Storage` or `Busy` where the file
/// cannot be read or written. The kind is `NotDurable` where a refusal is in force in this process and
/// could not be stored, and where it is unknown whether a change was: the call is to be repeated.
#[derive(Clone)]
pub struct Tokens<'t> {
    engine: &'t Engine,
    behalf: Behalf,
    /// What is checked where a token's bearer acts. Without, it is the service itself, which may do anything.
    permit: Option<Permit>,
}

impl<'t> Tokens<'t> {
    pub(crate) fn new(engine: &'t Engine) -> Self {
        Self { engine, behalf: Behalf::default(), permit: None }
    }

    /// The same catalogue, in the name of `actor`, up to 320 bytes: kept with everything that is done, and with
    /// revocations.
    #[must_use]
    pub fn acting_as(mut self, actor: impl Into<String>) -> Self {
        self.behalf.actor = Some(actor.into());
        self
    }

    /// The same catalogue, for this reason, up to 500 bytes: kept with everything that is done.
    ///
    /// ```
    /// # use token_tracker::{AuditFilter, NewToken, TokenTracker};
    /// # let tracker = TokenTracker::builder().in_memory()?;
    /// # let id = tracker.tokens().issue(NewToken::opaque("alice", "laptop"))?.token.id;
    /// tracker.tokens().acting_as("bob").because("the laptop was lost").suspend(id)?;
    /// let newest = tracker.tokens().audit(&AuditFilter::new().token(id))?.entries.remove(0);
    /// assert_eq!(newest.act.as_str(), "suspend");
    /// assert_eq!(newest.reason.as_deref(), Some("the laptop was lost"));
    /// # Ok::<(), token_tracker::Error>(())
    /// ```
    #[must_use]
    pub fn because(mut self, reason: impl Into<String>) -> Self {
        self.behalf.reason = Some(reason.into());
        self
    }

    /// One token, living or dead.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn get(&self, id: TokenId) -> Result<Token, Error> {
        let found = self.ask(|reader| reader.catalogue().find_id(id))?;
        let row = found.row.ok_or_else(not_found)?;
        Ok(self.show(&row, self.engine.now()))
    }

    /// A page of tokens, oldest first, living and dead.
    ///
    /// # Errors
    /// `InvalidInput` names what of the filter is out of bounds.
    pub fn list(&self, filter: &TokenFilter) -> Result<TokenPage, Error> {
        let limit = filter.page_size()?;
        let now = self.engine.now();
        filter.check(now)?;
        // One more than a page tells whether there is another.
        let rows = self.ask(|reader| reader.catalogue().list(filter, limit + 1, self.at(now)))?;
        let shown = rows.iter().take(limit as usize);
        let tokens: Vec<Token> = shown.map(|row| self.show(row, now)).collect();
        let more = rows.len() > tokens.len();
        let next = tokens.last().filter(|_| more).map(|token| token.id);
        Ok(TokenPage { tokens, next })
    }

    /// How many tokens the filter finds, whatever its page.
    ///
    /// # Errors
    /// `InvalidInput` names what of the filter is out of bounds.
    pub fn count(&self, filter: &TokenFilter) -> Result<u64, Error> {
        let now = self.engine.now();
        filter.check(now)?;
        self.ask(|reader| reader.catalogue().count(filter, self.at(now)))
    }

    /// What was done in the catalogue, by whom and why: a page of it, newest first. Each act is entered in the
    /// transaction that does it, and kept as long as daily sums are.
    ///
    /// # Errors
    /// `InvalidInput` where the limit is out of bounds.
    pub fn audit(&self, filter: &AuditFilter) -> Result<AuditPage, Error> {
        let limit = filter.page_size()?;
        // One more than a page tells whether there is another.
        let mut entries = self.ask(|reader| reader.audit(filter, limit + 1))?;
        let more = entries.len() > limit as usize;
        entries.truncate(limit as usize);
        let next = entries.last().filter(|_| more).map(|entry| entry.id);
        Ok(AuditPage { entries, next })
    }

    fn for_reason(&self, behalf: Behalf) -> Self {
        Self { engine: self.engine, behalf, permit: self.permit.clone() }
    }

    /// Asks the store, if whoever asks may.
    fn ask<T>(&self, question: impl FnOnce(&Reader) -> anyhow::Result<T>) -> Result<T, Error> {
        let answer = self.engine.store.ask(|reader| {
            if let Some(permit) = &self.permit {
                permit.actor(&reader.catalogue(), &self.engine.cache, self.engine.now())?;
            }
            question(reader)
        });
        answer.map_err(to_error)
    }

    /// Whether whoever acts may, before anything is done: a refusal is in force before its transaction is.
    fn check_permit(&self) -> Result<(), Error> {
        self.permit.as_ref().map_or(Ok(()), |_| self.ask(|_| Ok(())))
    }

    fn at(&self, now: Timestamp) -> At {
        At { now, tracked_since: self.engine.tracked_since }
    }

    /// The time, if anything may be marked by it.
    fn trusted_now(&self) -> Option<Timestamp> {
        self.engine.upkeep.clock.trusted_now()
    }

    fn show(&self, row: &TokenRow, now: Timestamp) -> Token {
        row.to_token(self.engine.tracked_since, now)
    }
}

impl fmt::Debug for Tokens<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("behalf", &self.behalf).finish_non_exhaustive()
    }
}
