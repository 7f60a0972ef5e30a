//! Refusals: an answer with all that is needed to give it.

use std::fmt;
use std::time::Duration;

use crate::identity::Identity;
use crate::meter::Refusal;
use crate::quota::QuotaState;
use crate::reason::DenialReason;
use crate::scope;
use crate::ticket::Ticket;

/// A refusal of [`authenticate`](crate::TokenTracker::authenticate): an answer, not a failure.
///
/// Where the token was verified, the refusal carries its ticket: dropping it records the request as
/// `denied` with the suggested status, and [`Usage::of`](crate::Usage::of) takes it to say more.
///
/// ```
/// # use token_tracker::{AuthError, NewToken, TokenTracker};
/// # let tracker = TokenTracker::builder().in_memory()?;
/// let Err(AuthError::Denied(denied)) = tracker.authenticate("made-up") else { panic!() };
/// assert_eq!(denied.status(), 401);
/// assert_eq!(
///     denied.www_authenticate(),
///     r#"Bearer error="invalid_token", error_description="the token is malformed""#,
/// );
/// # Ok::<(), token_tracker::Error>(())
/// ```
#[must_use = "the answer to give is in it"]
pub struct Denied {
    inner: Box<Inner>,
}

struct Inner {
    reason: DenialReason,
    identity: Option<Identity>,
    ticket: Option<Ticket>,
    realm: Option<String>,
    scope: Option<String>,
    retry_after: Option<Duration>,
}

impl Denied {
    pub(crate) fn stranger(reason: DenialReason, realm: Option<&str>) -> Self {
        let realm = realm.map(str::to_owned);
        let inner =
            Inner { reason, identity: None, ticket: None, realm, scope: None, retry_after: None };
        Self { inner: Box::new(inner) }
    }

    pub(crate) fn verified(
        refusal: Refusal,
        identity: Identity,
        ticket: Ticket,
        realm: Option<&str>,
        scope: Option<&str>,
    ) -> Self {
        let Refusal { reason, retry_after } = refusal;
        let realm = realm.map(str::to_owned);
        let shown = |scope: &&str| reason == DenialReason::MissingScope && is_scope(scope);
        let scope = scope.filter(shown).map(str::to_owned);
        let (identity, ticket) = (Some(identity), Some(ticket));
        let inner = Inner { reason, identity, ticket, realm, scope, retry_after };
        Self { inner: Box::new(inner) }
    }

    /// Why.
    #[must_use]
    pub fn reason(&self) -> DenialReason {
        self.inner.reason
    }

    /// Whose token it was, where the token was verified.
    #[must_use]
    pub fn identity(&self) -> Option<&Identity> {
        self.inner.identity.as_ref()
    }

    /// The HTTP status to answer with: 400, 401, 403 or 429.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.inner.reason.status()
    }

    /// How long the client is to wait before the same request can succeed, as far as this process knows: in whole
    /// seconds, rounded up, as the `Retry-After` header has it (RFC 9110 §10.2.3). `None` where waiting does not
    /// help: for every reason but [`RateExceeded`](DenialReason::RateExceeded) and
    /// [`QuotaExceeded`](DenialReason::QuotaExceeded), and for a cost that is more than a window ever has.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use token_tracker::{AuthError, ManualClock, NewToken, Quota, Rate, TokenTracker};
    /// # let tracker = TokenTracker::builder().clock(ManualClock::default()).in_memory()?;
    /// let quota = Quota::new().rate(Rate::per_second(5).burst(1));
    /// let issued = tracker.tokens().issue(NewToken::opaque("alice", "laptop").quota(quota))?;
    /// assert!(tracker.authenticate(&issued.secret).is_ok());
    /// let Err(AuthError::Denied(denied)) = tracker.authenticate(&issued.secret) else { panic!() };
    /// assert_eq!(denied.status(), 429);
    /// assert_eq!(denied.retry_after(), Some(Duration::from_secs(1)));
    /// assert_eq!(denied.quota()[0].reset, Duration::from_millis(200), "as it is");
    /// # Ok::<(), token_tracker::Error>(())
    /// ```
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.inner.retry_after.map(|wait| {
            let seconds = wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0));
            Duration::from_secs(seconds)
        })
    }

    /// How the limits of the token's quota stand now: see [`Access::quota`](crate::Access::quota). The refused request
    /// has used nothing of them. Nothing where the token was not verified.
    #[must_use]
    pub fn quota(&self) -> Vec<QuotaState> {
        let grant = self.inner.identity.as_ref().map(|identity| &identity.grant);
        grant.map_or_else(Vec::new, |grant| grant.quota_states())
    }

    /// The value of the `WWW-Authenticate` header to answer with (RFC 6750 §3). Plain ASCII; nothing
    /// that a client sent is in it. With the status 429 the header is to be left out: no other credential is asked
    /// for. [`AuthError::www_authenticate`](crate::AuthError::www_authenticate) has that right.
    #[must_use]
    pub fn www_authenticate(&self) -> String {
        let reason = self.inner.reason;
        let mut parameters = Vec::new();
        if let Some(realm) = &self.inner.realm {
            parameters.push(format!("realm=\"{realm}\""));
        }
        if let Some(code) = reason.error_code() {
            parameters.push(format!("error=\"{code}\""));
            parameters.push(format!("error_description=\"{}\"", reason.description()));
        }
        if let Some(scope) = &self.inner.scope {
            parameters.push(format!("scope=\"{scope}\""));
        }
        if parameters.is_empty() {
            return "Bearer".to_owned();
        }
        format!("Bearer {}", parameters.join(", "))
    }

    pub(crate) fn into_ticket(self) -> Option<Ticket> {
        self.inner.ticket
    }
}

impl fmt::Debug for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Denied")
            .field("reason", &self.inner.reason)
            .field("identity", &self.inner.identity)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.inner.reason.description())
    }
}

impl std::error::Error for Denied {}

/// Whether a text may stand between quotes as the `scope` attribute (RFC 6750 §3).
fn is_scope(scope: &str) -> bool {
    scope.split(' ').all(scope::is_scope)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_credential_is_answered_with_the_bare_challenge() {
        let denied = Denied::stranger(DenialReason::CredentialMissing, None);
        assert_eq!(denied.www_authenticate(), "Bearer");
        let denied = Denied::stranger(DenialReason::CredentialMissing, Some("api"));
        assert_eq!(denied.www_authenticate(), "Bearer realm=\"api\"");
    }
}
