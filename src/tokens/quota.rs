//! What a token has used of its quota, set to nothing.

use super::Tokens;
use super::change::{Changed, not_found};
use crate::audit::{Act, Deed};
use crate::error::Error;
use crate::token::TokenId;

impl Tokens<'_> {
    /// Sets what a token has used of its quota to nothing, in the current minute, hour, day and month and in the rate
    /// of this process. In force in this process at once; in every other one when it next takes units out of the
    /// file, so that it may grant what it had taken out before, a lease at most.
    ///
    /// It is also the way out after a clock that was ahead: windows that were begun in the future go on until then,
    /// unless they are reset.
    ///
    /// ```
    /// # use token_tracker::{NewToken, Quota, TokenTracker};
    /// # let tracker = TokenTracker::builder().in_memory()?;
    /// let new = NewToken::opaque("alice", "laptop").quota(Quota::new().per_month(1));
    /// let issued = tracker.tokens().issue(new)?;
    /// assert!(tracker.authenticate(&issued.secret).is_ok());
    /// assert!(tracker.authenticate(&issued.secret).is_err(), "used up");
    /// tracker.tokens().because("a good customer").reset_quota(issued.token.id)?;
    /// assert!(tracker.authenticate(&issued.secret).is_ok());
    /// # Ok::<(), token_tracker::Error>(())
    /// ```
    ///
    /// # Errors
    /// `NotFound`.
    pub fn reset_quota(&self, id: TokenId) -> Result<(), Error> {
        let now = self.engine.now();
        let resets = self.change(move |catalogue| {
            catalogue.find_id(id)?.row.ok_or_else(not_found)?;
            let resets = catalogue.reset_quota(id, now)?;
            Ok(Changed::of(resets, vec![id]).noting(Deed::of(Act::ResetQuota, id)))
        })?;
        if let Some(meter) = self.engine.limiter.find(id) {
            meter.reset(&resets);
        }
        Ok(())
    }
}
