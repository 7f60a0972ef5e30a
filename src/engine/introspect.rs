//! What a token is, told without using it.

use std::sync::Arc;

use super::Engine;
use super::look_up::Sight;
use crate::identity::Identity;
use crate::introspection::Introspection;
use crate::policy::judge_token;
use crate::refusal::Unavailable;
use crate::store::to_error;
use crate::timestamp::Timestamp;

impl Engine {
    /// What a token is, without using it.
    pub(crate) fn introspect(&self, token: &str) -> Result<Introspection, Unavailable> {
        let now = self.moment();
        let seen =
            self.look_up(token, now).map_err(|failure| Unavailable::new(to_error(failure)))?;
        let grant = match seen {
            Sight::Known(grant) => grant,
            Sight::Passed(grant) => Arc::new(grant),
            Sight::Adoptable(_) | Sight::Stranger(_) => return Ok(Introspection::default()),
        };
        if judge_token(&grant, now.wall).is_err() {
            return Ok(Introspection::default());
        }
        let identity = Identity { grant };
        let grant = &identity.grant;
        Ok(Introspection {
            active: true,
            scope: (!grant.scopes.is_empty()).then(|| grant.scopes.join(" ")),
            sub: Some(grant.owner.to_string()),
            aud: grant.terms.audiences.to_vec(),
            exp: grant
                .ends_at
                .into_iter()
                .chain(grant.standing.ends_at())
                .min()
                .map(Timestamp::as_seconds),
            token_type: Some("Bearer"),
            token_id: identity.is_tracked().then_some(grant.id),
        })
    }
}
