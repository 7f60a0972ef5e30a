//! Making tokens, and making tokens known.

use uuid::Builder as UuidBuilder;

use super::Tokens;
use super::change::{Changed, Effect, free_name};
use crate::audit::{Act, Deed};
use crate::bounds::check_text;
use crate::error::{Error, ErrorKind};
use crate::jwt::NewClaims;
use crate::opaque;
use crate::secret::{Secret, random};
use crate::store::{CredentialKey, NewCredential, TokenRow};
use crate::timestamp::Timestamp;
use crate::token::{CredentialId, Issued, NewToken, Token, TokenId, TokenKind, TokenState};

impl Tokens<'_> {
    /// Makes a token. The secret is in the answer and nowhere else.
    ///
    /// # Errors
    /// `InvalidInput` names the field that is out of bounds. `AlreadyExists` where a living token of this
    /// owner has the name.
    pub fn issue(&self, new: NewToken) -> Result<Issued, Error> {
        new.validate()?;
        let now = self.engine.now();
        let expires_at = future(new.expiry.resolve(now)?, now)?;
        let (secret, credential) = self.make_credential(new.kind, &new.owner, now, expires_at)?;
        let token = self.insert(Act::Issue, new, credential, expires_at, now)?;
        Ok(Issued { token, secret })
    }

    /// Makes a JWT known that was issued elsewhere with one of the configured keys, by its issuer (the
    /// first configured one, unless said) and its `jti`, 1 to 256 bytes.
    ///
    /// # Errors
    /// As [`Tokens::issue`]; `AlreadyExists` also where the `jti` is known.
    pub fn register(&self, new: NewToken, issuer: Option<&str>, jti: &str) -> Result<Token, Error> {
        new.validate()?;
        check_text("jti", jti, 1, 256)?;
        if new.kind == TokenKind::Opaque {
            return Err(Error::invalid("kind", "must be a JWT to have a `jti`"));
        }
        let issuer = self.engine.issuers().named(issuer)?.name().to_owned();
        let now = self.engine.now();
        let expires_at = new.expiry.resolve(now)?;
        let credential = NewCredential {
            key: CredentialKey::Jwt { issuer, jti: jti.to_owned() },
            kid: new.kid.clone(),
            expires_at: None,
            fragment: fragment_of(jti),
        };
        self.insert(Act::Register, new, credential, expires_at, now)
    }

    /// A secret for a token, and what it is known by.
    pub(super) fn make_credential(
        &self,
        kind: TokenKind,
        owner: &str,
        now: Timestamp,
        expires_at: Option<Timestamp>,
    ) -> Result<(Secret, NewCredential), Error> {
        match kind {
            TokenKind::Opaque => self.make_opaque(),
            _ => self.make_jwt(kind, owner, now, expires_at),
        }
    }

    fn make_opaque(&self) -> Result<(Secret, NewCredential), Error> {
        let secret = self.engine.opaque_prefix.generate()?;
        let (text, shown) = (secret.expose(), secret.expose().len() - 4);
        let prefix = &text[..text.find('_').map_or(0, |at| at + 1)];
        let fragment = format!("{prefix}…{}", &text[shown..]);
        let key = CredentialKey::Hash(opaque::hash(text));
        Ok((secret, NewCredential { key, kid: None, expires_at: None, fragment }))
    }

    fn make_jwt(
        &self,
        kind: TokenKind,
        owner: &str,
        now: Timestamp,
        expires_at: Option<Timestamp>,
    ) -> Result<(Secret, NewCredential), Error> {
        let issuers = self.engine.issuers();
        let issuer = issuers.signing_issuer()?;
        let millis = u64::try_from(now.as_micros() / 1_000).unwrap_or(0);
        let jti = UuidBuilder::from_unix_timestamp_millis(millis, &random::<10>()?).into_uuid();
        let jti = jti.to_string();
        let secret = issuers.sign(&NewClaims {
            subject: owner,
            token_id: &jti,
            issued_at: now,
            expires_at,
            marked: kind == TokenKind::Jwt,
        })?;
        if secret.expose().len() > self.engine.max_token_length {
            let message = "is shorter than the token would be: shorten owner, issuer or audience";
            return Err(Error::invalid("max_token_length", message));
        }
        let credential = NewCredential {
            fragment: fragment_of(&jti),
            kid: issuer.signing_key().and_then(|key| key.kid_str()).map(str::to_owned),
            expires_at,
            key: CredentialKey::Jwt { issuer: issuer.name().to_owned(), jti },
        };
        Ok((secret, credential))
    }

    fn insert(
        &self,
        act: Act,
        new: NewToken,
        credential: NewCredential,
        expires_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Token, Error> {
        let mut row = new_row(new, &credential, expires_at, now);
        let trusted = self.trusted_now();
        let row = self.change(move |catalogue| {
            if catalogue.find(&credential.key)?.row.is_some() {
                let error = Error::new(ErrorKind::AlreadyExists, "the `jti` is known already");
                return Err(error.naming("jti").into());
            }
            let expired = free_name(catalogue, &row, trusted)?;
            row.id = catalogue.insert(&row, &credential)?;
            row.credential = catalogue.newest_credential(row.id)?;
            let (deed, effect) =
                (Deed::of(act, row.id).with(described(&row)?), Effect::Forgets(row.id));
            Ok(Changed::of(row, Vec::new()).expiring(expired).with(effect).noting(deed))
        })?;
        Ok(self.show(&row, now))
    }
}

pub(super) fn future(
    expires_at: Option<Timestamp>,
    now: Timestamp,
) -> Result<Option<Timestamp>, Error> {
    if expires_at.is_some_and(|expires_at| expires_at <= now) {
        return Err(Error::invalid("expires_at", "must be in the future"));
    }
    Ok(expires_at)
}

/// The ends of a `jti`: enough to recognise a token by, and in itself no secret.
pub(super) fn fragment_of(jti: &str) -> String {
    if jti.len() <= 16 || !jti.is_ascii() {
        return jti.chars().take(16).collect();
    }
    format!("{}…{}", &jti[..8], &jti[jti.len() - 4..])
}

pub(super) fn new_row(
    new: NewToken,
    credential: &NewCredential,
    expires_at: Option<Timestamp>,
    now: Timestamp,
) -> TokenRow {
    TokenRow {
        id: TokenId::from_row(0),
        credential: CredentialId::from_row(0),
        owner: new.owner,
        name: new.name,
        kind: new.kind,
        state: TokenState::Active,
        description: new.description,
        tags: new.tags,
        scopes: new.scopes,
        restrictions: new.restrictions,
        metadata: new.metadata,
        fragment: credential.fragment.clone(),
        created_at: now,
        expires_at,
        last_used_at: None,
        revoked_at: None,
        revoked_by: None,
        revoke_reason: None,
    }
}

/// What a new token may do, for the book.
pub(super) fn described(row: &TokenRow) -> anyhow::Result<Option<String>> {
    let described = serde_json::json!({
        "owner": row.owner,
        "name": row.name,
        "kind": row.kind,
        "scopes": row.scopes,
        "restrictions": row.restrictions,
        "expires_at": row.expires_at.and_then(Timestamp::to_text),
    });
    Ok(Some(serde_json::to_string(&described)?))
}
