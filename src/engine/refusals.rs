//! What a service is told of refusals, and what is late about a use.

use super::Engine;
use crate::events::{DeniedEvent, Event, Subject};
use crate::identity::Grant;
use crate::reason::DenialReason;
use crate::request::AuthRequest;
use crate::ticket::{agent_text, route_text};
use crate::timestamp::Timestamp;
use crate::token::CredentialId;

impl Engine {
    /// Tells of the reuse of a credential that was replaced.
    pub(super) fn tell_reuse(
        &self,
        grant: &Grant,
        reason: DenialReason,
        request: &AuthRequest<'_>,
        now: Timestamp,
    ) {
        if reason == DenialReason::CredentialRetired {
            self.events.tell(|| Event::Reuse(self.denied_event(grant, reason, request, now)));
        }
    }

    /// A refusal, as a service is told of it.
    pub(super) fn denied_event(
        &self,
        grant: &Grant,
        reason: DenialReason,
        request: &AuthRequest<'_>,
        now: Timestamp,
    ) -> DeniedEvent {
        let facts = &request.facts;
        DeniedEvent {
            subject: Subject {
                token_id: grant.id,
                owner: grant.owner.clone(),
                name: grant.name.clone(),
            },
            at: now.to_date_time(),
            reason,
            client_address: facts.client_address.map(|address| address.to_canonical().to_string()),
            user_agent: facts.user_agent.as_deref().map(|agent| agent_text(agent).to_string()),
            route: facts.route.as_deref().map(|route| route_text(route).to_string()),
        }
    }
}

/// The credential, where this refusal says that it, or its token, is dead.
pub(super) fn dead_credential(grant: &Grant, reason: DenialReason) -> Option<CredentialId> {
    use DenialReason::{CredentialRetired, Expired, Revoked};
    matches!(reason, CredentialRetired | Expired | Revoked).then_some(grant.standing.id)
}
