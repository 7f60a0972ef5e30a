//! The judgement on a verified token: may it do this now?

use crate::identity::Grant;
use crate::jwt::Terms;
use crate::reason::DenialReason;
use crate::request::AuthRequest;
use crate::timestamp::Timestamp;
use crate::token::TokenState;

/// Decides from memory. What is final comes first, then what the owner can mend, then what this one
/// request asks for.
pub(crate) fn judge(
    grant: &Grant,
    request: &AuthRequest<'_>,
    now: Timestamp,
) -> Result<(), DenialReason> {
    judge_token(grant, now)?;
    judge_request(grant, &grant.terms, request)
}

/// The part of the judgement that does not depend on the request.
pub(crate) fn judge_token(grant: &Grant, now: Timestamp) -> Result<(), DenialReason> {
    judge_state(grant, now)?;
    judge_terms(&grant.terms, now)
}

fn judge_state(grant: &Grant, now: Timestamp) -> Result<(), DenialReason> {
    match grant.state {
        TokenState::Revoked => return Err(DenialReason::Revoked),
        TokenState::MarkedExpired => return Err(DenialReason::Expired),
        TokenState::Active | TokenState::Suspended => {}
    }
    if grant.ends_at.is_some_and(|ends_at| now >= ends_at) {
        return Err(DenialReason::Expired);
    }
    if grant.state == TokenState::Suspended { Err(DenialReason::Suspended) } else { Ok(()) }
}

fn judge_terms(terms: &Terms, now: Timestamp) -> Result<(), DenialReason> {
    if terms.not_before.is_some_and(|not_before| now < not_before) {
        return Err(DenialReason::NotYetValid);
    }
    terms.failure.map_or(Ok(()), Err)
}

/// Denies on doubt: a token limited to a resource is no good where none is named, and a token without
/// audiences is for none in particular.
fn judge_request(
    grant: &Grant,
    terms: &Terms,
    request: &AuthRequest<'_>,
) -> Result<(), DenialReason> {
    if request.audience.as_ref().is_some_and(|wanted| terms.audiences.iter().all(|a| a != wanted)) {
        return Err(DenialReason::WrongAudience);
    }
    if grant.resource.is_some() && grant.resource.as_deref() != request.resource.as_deref() {
        return Err(DenialReason::WrongResource);
    }
    if request.scope.as_ref().is_some_and(|wanted| grant.scopes.iter().all(|scope| scope != wanted))
    {
        return Err(DenialReason::MissingScope);
    }
    Ok(())
}
