//! The judgement on a verified token: may it do this now?

use crate::identity::Grant;
use crate::jwt::Terms;
use crate::network::Network;
use crate::reason::DenialReason;
use crate::request::AuthRequest;
use crate::restrictions::Restrictions;
use crate::timestamp::Timestamp;
use crate::token::TokenState;

/// Decides from memory. What is final comes first, of the token and then of its credential, then what the owner can
/// mend, then what this one request asks for.
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
    let not_before = grant.restrictions.as_ref().and_then(|restrictions| restrictions.not_before);
    if not_before.is_some_and(|not_before| now < Timestamp::from(not_before)) {
        return Err(DenialReason::NotYetValid);
    }
    judge_terms(&grant.terms, now)
}

fn judge_state(grant: &Grant, now: Timestamp) -> Result<(), DenialReason> {
    match grant.state {
        TokenState::Revoked => return Err(DenialReason::Revoked),
        _ if grant.standing.is_over(now) => return Err(DenialReason::CredentialRetired),
        TokenState::MarkedExpired | TokenState::ExpiredSuspended => {
            return Err(DenialReason::Expired);
        }
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

/// Denies on doubt: a token limited to networks is no good where the client's address is not known, one limited
/// to a resource where none is named, and one without audiences is for none in particular.
fn judge_request(
    grant: &Grant,
    terms: &Terms,
    request: &AuthRequest<'_>,
) -> Result<(), DenialReason> {
    if request.audience.as_ref().is_some_and(|wanted| terms.audiences.iter().all(|a| a != wanted)) {
        return Err(DenialReason::WrongAudience);
    }
    grant.restrictions.as_ref().map_or(Ok(()), |restrictions| narrow(restrictions, request))?;
    if request.scope.as_ref().is_some_and(|wanted| !grant.has_scope(wanted)) {
        return Err(DenialReason::MissingScope);
    }
    Ok(())
}

fn narrow(restrictions: &Restrictions, request: &AuthRequest<'_>) -> Result<(), DenialReason> {
    let comes_from = |network: &Network| {
        request.facts.client_address.is_some_and(|address| network.contains(address))
    };
    if restrictions.networks.as_ref().is_some_and(|networks| !networks.iter().any(comes_from)) {
        return Err(DenialReason::WrongAddress);
    }
    if restrictions.resource.is_some()
        && restrictions.resource.as_deref() != request.resource.as_deref()
    {
        return Err(DenialReason::WrongResource);
    }
    Ok(())
}
