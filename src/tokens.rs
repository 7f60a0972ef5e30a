//! The catalogue for administrators, and the one place that keeps cache and store coherent.

mod adopt;
mod change;
mod edit;
mod erase;
mod issue;
mod quota;
mod rotate;

use std::fmt;

use crate::audit::{AuditFilter, AuditPage, Behalf};
use crate::engine::Engine;
use crate::error::Error;
use crate::store::{TokenRow, to_error};
use crate::timestamp::Timestamp;
use crate::token::{Token, TokenFilter, TokenId, TokenPage};
use change::not_found;
pub use edit::Revoked;
pub use erase::Erased;
use issue::{fragment_of, new_row};

/// The catalogue: makes tokens, shows them, and changes what they may do.
///
/// Changes go through the writer's thread before any usage, block until they are on the disk, whatever the
/// [`Durability`](crate::Durability) of records is, and take effect in this process before that: a revoked token is refused by the
/// next call, whatever is cached. Every other process on the file follows within 250 ms.
///
/// # Errors
/// Each call fails with `Closed` once the tracker is closed, and with `Storage` or `Busy` where the file
/// cannot be read or written. The kind is `NotDurable` where a refusal is in force in this process and
/// could not be stored, and where it is unknown whether a change was: the call is to be repeated.
#[derive(Clone)]
pub struct Tokens<'t> {
    engine: &'t Engine,
    behalf: Behalf,
}

impl<'t> Tokens<'t> {
    pub(crate) fn new(engine: &'t Engine) -> Self {
        Self { engine, behalf: Behalf::default() }
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
        let found = self.engine.store.ask(|reader| reader.catalogue().find_id(id));
        let row = found.map_err(to_error)?.row.ok_or_else(not_found)?;
        Ok(self.show(&row, self.engine.now()))
    }

    /// A page of tokens, oldest first, living and dead.
    ///
    /// # Errors
    /// `InvalidInput` where the limit is out of bounds.
    pub fn list(&self, filter: &TokenFilter) -> Result<TokenPage, Error> {
        let limit = filter.page_size()?;
        let now = self.engine.now();
        let rows = self.engine.store.ask(|reader| {
            // One more than a page tells whether there is another.
            reader.catalogue().list(filter, limit + 1, now)
        });
        let rows = rows.map_err(to_error)?;
        let shown = rows.iter().take(limit as usize);
        let tokens: Vec<Token> = shown.map(|row| self.show(row, now)).collect();
        let more = rows.len() > tokens.len();
        let next = tokens.last().filter(|_| more).map(|token| token.id);
        Ok(TokenPage { tokens, next })
    }

    /// How many tokens the filter finds, whatever its page.
    ///
    /// # Errors
    /// See [`Tokens`].
    pub fn count(&self, filter: &TokenFilter) -> Result<u64, Error> {
        let now = self.engine.now();
        let count = self.engine.store.ask(|reader| reader.catalogue().count(filter, now));
        count.map_err(to_error)
    }

    /// What was done in the catalogue, by whom and why: a page of it, newest first. Each act is entered in the
    /// transaction that does it, and kept as long as daily sums are.
    ///
    /// # Errors
    /// `InvalidInput` where the limit is out of bounds.
    pub fn audit(&self, filter: &AuditFilter) -> Result<AuditPage, Error> {
        let limit = filter.page_size()?;
        // One more than a page tells whether there is another.
        let entries = self.engine.store.ask(|reader| reader.audit(filter, limit + 1));
        let mut entries = entries.map_err(to_error)?;
        let more = entries.len() > limit as usize;
        entries.truncate(limit as usize);
        let next = entries.last().filter(|_| more).map(|entry| entry.id);
        Ok(AuditPage { entries, next })
    }

    fn for_reason(&self, behalf: Behalf) -> Self {
        Self { engine: self.engine, behalf }
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
