//! Refusals of verified tokens, as they are told.

use super::Engine;
use crate::events::{DeniedEvent, Event, Subject, address_text};
use crate::identity::Grant;
use crate::reason::DenialReason;
use crate::request::AuthRequest;
use crate::ticket::{shown_route, shown_user_agent};
use crate::timestamp::Timestamp;

impl Engine {
    /// Tells of a refusal, whether it is recorded or not. Never waits.
    pub(super) fn tell_of_denial(
        &self,
        reason: DenialReason,
        grant: &Grant,
        request: &AuthRequest<'_>,
        now: Timestamp,
    ) {
        if self.events.wants_denial(grant.id, reason, now) {
            let event = || Event::of_denial(self.denied_event(reason, grant, request, now));
            self.events.tell(event);
        }
    }

    /// A refusal as it is told: of the request as much as a record keeps.
    fn denied_event(
        &self,
        reason: DenialReason,
        grant: &Grant,
        request: &AuthRequest<'_>,
        now: Timestamp,
    ) -> DeniedEvent {
        let facts = &request.facts;
        let (token_id, owner, name) = (grant.id, grant.owner.clone(), grant.name.clone());
        DeniedEvent {
            subject: Subject { token_id, owner, name },
            at: now.to_date_time(),
            reason,
            client_address: facts.client_address.map(address_text),
            user_agent: facts.user_agent.as_deref().map(shown_user_agent),
            route: facts.route.as_deref().map(|route| shown_route(route).to_owned()),
        }
    }
}
