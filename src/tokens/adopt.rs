//! Taking a token of an outside issuer into the catalogue at its first sight.

use super::change::{Changed, Effect, free_name};
use super::issue::described;
use super::{Tokens, fragment_of, new_row};
use crate::audit::{Act, Deed};
use crate::engine::Newcomer;
use crate::error::{Error, ErrorKind};
use crate::jwt::Outside;
use crate::store::{CredentialKey, NewCredential};
use crate::timestamp::Timestamp;
use crate::token::NewToken;

/// How much of a `jti` goes into the name of an adopted token.
const NAME_LENGTH: usize = 120;

impl Tokens<'_> {
    /// Adopts a newcomer, unless its issuer has as many living tokens as it may, or what it says of itself
    /// fits no token. Whoever came first has adopted it for all.
    pub(crate) fn adopt(&self, newcomer: Newcomer) -> Result<bool, Error> {
        let issuers = self.engine.issuers();
        let rule = issuers.named(Some(&newcomer.issuer))?.outside_rule();
        let Some(Outside::Adopt { most }) = rule else { return Ok(false) };
        let Newcomer { issuer, token_id: Some(jti), subject: Some(subject), kid, terms } = newcomer
        else {
            return Ok(false);
        };
        let shown = &jti[..jti.floor_char_boundary(NAME_LENGTH)];
        // Another issuer's `*` is a letter; here it would be a pattern.
        let scopes = terms.scopes.iter().filter(|scope| !scope.contains('*')).cloned();
        let new = NewToken::legacy_jwt(subject, format!("adopted {shown}")).scopes(scopes);
        if new.validate().is_err() {
            return Ok(false);
        }
        let now = self.engine.now();
        let credential = NewCredential {
            fragment: fragment_of(&jti),
            kid,
            expires_at: terms.expires_at,
            key: CredentialKey::Jwt { issuer: issuer.clone(), jti },
        };
        if self.is_full(&issuer, most, &credential.key, now)? {
            return Ok(false);
        }
        let mut row = new_row(new, &credential, terms.expires_at, now);
        let trusted = self.trusted_now();
        let adopted = self.change(move |catalogue| {
            if catalogue.find(&credential.key)?.row.is_some() {
                return Ok(Changed::nothing(true));
            }
            if catalogue.living_of_issuer(&issuer, now)? >= u64::from(most) {
                return Ok(Changed::nothing(false));
            }
            let expired = free_name(catalogue, &row, trusted)?;
            row.id = catalogue.insert(&row, &credential)?;
            let deed = Deed::of(Act::Adopt, row.id).with(described(&row)?);
            let changed = Changed::of(true, Vec::new()).expiring(expired);
            Ok(changed.with(Effect::Forgets(row.id)).noting(deed))
        });
        match adopted {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
            adopted => adopted,
        }
    }

    /// Whether there is no room for this one, so that whoever comes again and again keeps no writer busy.
    fn is_full(
        &self,
        issuer: &str,
        most: u32,
        key: &CredentialKey,
        now: Timestamp,
    ) -> Result<bool, Error> {
        self.ask(|reader| {
            let catalogue = reader.catalogue();
            // In this order: the last that there was room for may be this one.
            let is_full = catalogue.living_of_issuer(issuer, now)? >= u64::from(most);
            Ok(is_full && catalogue.find(key)?.row.is_none())
        })
    }
}
