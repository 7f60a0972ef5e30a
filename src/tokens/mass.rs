//! Revoking many tokens at once.

use std::time::Duration;

use serde_json::json;

use super::Tokens;
use super::change::{Changed, Effect, is_answer};
use crate::audit::{Act, Deed};
use crate::error::{Error, ErrorKind};
use crate::store::Part;
use crate::timestamp::Timestamp;
use crate::token::{TokenFilter, TokenId, TokenState, check_span};

/// Tokens to a reading.
const PAGE: u32 = 10_000;

/// Tokens to a transaction.
const STEP: usize = 256;

/// What became of a mass revocation.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct MassRevocation {
    /// Tokens that are revoked from now on.
    pub revoked: u64,
    /// Tokens that the filter finds and that were revoked before; when, by whom and why stays as it was.
    pub already_revoked: u64,
}

/// What a mass revocation would do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Preview {
    /// Tokens that would be revoked.
    pub to_revoke: u64,
    /// Of these, those that were used within the time asked for, as far as it is known.
    pub used: u64,
    /// Of these, those that may have been used within it unseen, because last use was not tracked all the time.
    pub use_not_tracked: u64,
    /// Tokens that the filter finds and that are revoked already.
    pub already_revoked: u64,
}

/// What a filter finds.
#[derive(Default)]
struct Found {
    living: Vec<TokenId>,
    revoked: u64,
}

impl Found {
    /// Sees to it that this token is done after all others. Returns whether it was found.
    fn put_last(&mut self, token: Option<TokenId>) -> bool {
        let place = self.living.iter().position(|found| Some(*found) == token);
        if let Some(place) = place {
            self.living[place..].rotate_left(1);
        }
        place.is_some()
    }
}

impl Tokens<'_> {
    /// Says what [`Tokens::revoke_all`] would do, and how many of those tokens were used within this time, a second
    /// to 3,650 days. Changes nothing.
    ///
    /// # Errors
    /// `InvalidInput` as there; it names `used_within` where that is out of bounds.
    pub fn preview(&self, filter: &TokenFilter, used_within: Duration) -> Result<Preview, Error> {
        let now = self.engine.now();
        filter.check_for_all(now)?;
        check_span("used_within", used_within)?;
        let (at, used_since) = (self.at(now), now.saturating_sub(used_within));
        let survey = self.ask(|reader| reader.catalogue().survey(filter, at, used_since))?;
        Ok(Preview {
            to_revoke: survey.others,
            used: survey.used,
            use_not_tracked: survey.unknown,
            already_revoked: survey.revoked,
        })
    }

    /// Revokes all tokens that a filter finds, for good: whatever it asks for, combined. Repeating it is success.
    ///
    /// All of them are refused in this process at once, before the first is stored; every other process on the file
    /// follows within 250 ms of each commit. Stored they are in steps of 256, between which usage has its turn, each
    /// with its entries in the audit, which show the filter.
    ///
    /// Tokens that are issued meanwhile are not touched, but for those that bear a time before
    /// [`issued_before`](TokenFilter::issued_before) all the same, because their issuing was under way: with it the
    /// catalogue is looked through again until there is none. The filter may not have a page, and must ask for
    /// something: nothing would mean everything.
    ///
    /// Cost: a walk of the filter, another with `issued_before`, and about 35 µs and 60 bytes of memory for each token
    /// that is revoked. While they are refused, which takes half a microsecond each, tokens that are not cached wait.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use token_tracker::{NewToken, TokenFilter, TokenTracker};
    /// # let tracker = TokenTracker::builder().in_memory()?;
    /// # for name in ["laptop", "phone"] {
    /// tracker.tokens().issue(NewToken::opaque("alice", name))?;
    /// # }
    /// let hers = TokenFilter::new().owner("alice");
    /// let month = Duration::from_secs(30 * 86_400);
    /// let preview = tracker.tokens().preview(&hers, month)?;
    /// assert_eq!((preview.to_revoke, preview.used), (2, 0));
    ///
    /// let done = tracker.tokens().acting_as("carol").revoke_all(&hers, "left the company")?;
    /// assert_eq!((done.revoked, done.already_revoked), (2, 0));
    /// # Ok::<(), token_tracker::Error>(())
    /// ```
    ///
    /// # Errors
    /// `InvalidInput` names what is out of bounds: `filter` where it narrows nothing, `after` and `limit` where it
    /// has a page, `reason` above 500 bytes. `NotDurable` says how many revocations are stored; the others are in
    /// force in this process all the same, and the call is to be repeated. With any other error of the storage
    /// nothing is in force. `Forbidden` where a [bearer](Tokens::on_behalf_of) may not, or not any longer: what was
    /// stored before that stays revoked.
    pub fn revoke_all(&self, filter: &TokenFilter, reason: &str) -> Result<MassRevocation, Error> {
        let now = self.engine.now();
        filter.check_for_all(now)?;
        let behalf = self.behalf.because(reason);
        behalf.check()?;
        let tokens = self.for_reason(behalf);
        let detail = json!({ "filter": filter.criteria() }).to_string();
        let mut found = tokens.find(filter, now)?;
        let ends_itself = found.put_last(tokens.own());
        let mut done = MassRevocation { revoked: 0, already_revoked: found.revoked };
        tokens.refusing(&found.living).revoke_found(&found.living, now, &detail, &mut done)?;
        let tokens = if ends_itself { tokens.permitted_before() } else { tokens };
        while filter.issued_before.is_some() {
            let late = tokens.find(filter, now).map_err(|error| not_durable(done, None, error))?;
            if late.living.is_empty() {
                break;
            }
            tokens.revoke_found(&late.living, now, &detail, &mut done)?;
        }
        Ok(done)
    }

    /// What the filter finds among the tokens that there are now.
    fn find(&self, filter: &TokenFilter, now: Timestamp) -> Result<Found, Error> {
        let at = self.at(now);
        let until = self.ask(|reader| reader.catalogue().newest())?;
        let mut part = Part { after: TokenId::from_row(0), until, limit: PAGE };
        let mut found = Found::default();
        loop {
            let page = self.ask(|reader| reader.catalogue().find_all(filter, part, at))?;
            let living = page.iter().filter(|(_, revoked)| !revoked);
            let before = found.living.len();
            found.living.extend(living.map(|(token, _)| *token));
            found.revoked += (page.len() - (found.living.len() - before)) as u64;
            match page.last() {
                Some((last, _)) if page.len() == PAGE as usize => part.after = *last,
                _ => return Ok(found),
            }
        }
    }

    /// Refuses the tokens in this process, then stores that step by step. What could not be stored stays refused.
    fn revoke_found(
        &self,
        tokens: &[TokenId],
        now: Timestamp,
        detail: &str,
        done: &mut MassRevocation,
    ) -> Result<(), Error> {
        let cache = &self.engine.cache;
        cache.refuse_all(tokens, TokenState::Revoked);
        let mut left = tokens;
        while !left.is_empty() {
            let (step, rest) = left.split_at(left.len().min(STEP));
            match self.revoke_step(step.to_vec(), now, detail.to_owned()) {
                Ok(revoked) => {
                    done.revoked += revoked;
                    done.already_revoked += step.len() as u64 - revoked;
                }
                Err(error) if is_answer(&error) => {
                    cache.refusals_withdrawn(left);
                    return Err(error);
                }
                Err(error) => {
                    cache.refusals_failed(left);
                    return Err(not_durable(*done, Some(left.len()), error));
                }
            }
            left = rest;
        }
        Ok(())
    }

    fn revoke_step(
        &self,
        step: Vec<TokenId>,
        now: Timestamp,
        detail: String,
    ) -> Result<u64, Error> {
        let (by, reason) = (self.behalf.actor.clone(), self.behalf.reason.clone());
        self.change(move |catalogue| {
            let revoked = catalogue.revoke(&step, now, by.as_deref(), reason.as_deref())?;
            let deed = |token: &TokenId| Deed::of(Act::Revoke, *token).with(Some(detail.clone()));
            let deeds = revoked.iter().map(deed).collect();
            let changed = Changed { deeds, ..Changed::of(revoked.len() as u64, revoked) };
            Ok(changed.with(Effect::RefusesAll(step, TokenState::Revoked)))
        })
    }
}

/// What is known of a mass revocation that did not come to its end.
fn not_durable(done: MassRevocation, left: Option<usize>, error: Error) -> Error {
    if error.kind() == ErrorKind::Closed || is_answer(&error) {
        return error;
    }
    let left = left.map_or_else(|| "perhaps others".to_owned(), |left| left.to_string());
    let durable = done.revoked;
    let message = format!(
        "{durable} revocations are durable, {left} are in force in this process and not durable yet: repeat it"
    );
    Error::new(ErrorKind::NotDurable, message).with_source(error.into())
}
