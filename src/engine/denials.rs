//! Refusals of verified tokens, as they are told.

use super::Engine;
use crate::events::{DeniedEvent, Event, Subject};
use crate::identity::Grant;
use crate::reason::DenialReason;
use crate::request::AuthRequest;
use crate::ticket::{Ticket, agent_text, route_text};
use crate::timestamp::Timestamp;
use crate::token::CredentialId;

impl Engine {
    /// Tells of a refusal, whether it is recorded or not. Never waits.
    pub(super) fn tell_of_denial(
        &self,
        reason: DenialReason,
        grant: &Grant,
        request: &AuthRequest<'_>,
        ticket: &Ticket,
        now: Timestamp,
    ) {
        if self.events.wants_denial(grant.id, reason, now) {
            let event = || Event::of_denial(self.denied_event(reason, grant, request, ticket, now));
            self.events.tell(event);
        }
    }

    /// A refusal as it is told: of the request as much as a record keeps.
    fn denied_event(
        &self,
        reason: DenialReason,
        grant: &Grant,
        request: &AuthRequest<'_>,
        ticket: &Ticket,
        now: Timestamp,
    ) -> DeniedEvent {
        let facts = &request.facts;
        let agent = facts.user_agent.as_deref().filter(|_| !ticket.is_anonymous());
        let (token_id, owner, name) = (grant.id, grant.owner.to_string(), grant.name.to_string());
        DeniedEvent {
            subject: Subject { token_id, owner, name },
            at: now.to_date_time(),
            reason,
            client_address: ticket.client_address(),
            user_agent: agent.map(|agent| agent_text(agent).to_string()),
            route: facts.route.as_deref().map(|route| route_text(route).to_string()),
        }
    }
}

/// The credential, where this refusal says that it, or its token, is dead.
pub(super) fn dead_credential(grant: &Grant, reason: DenialReason) -> Option<CredentialId> {
    use DenialReason::{CredentialRetired, Expired, Revoked};
    matches!(reason, CredentialRetired | Expired | Revoked).then_some(grant.standing.id)
}
