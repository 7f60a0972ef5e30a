//! The keys of an issuer, judged together.

use super::algorithm::Algorithm;
use super::jwk;
use super::key::JwtKey;
use crate::error::Error;

/// The keys that an issuer signs with: of one kind, and each with a name of its own if it has one.
///
/// ```
/// use token_tracker::{Algorithm, JwtIssuer, KeySet};
///
/// // As an issuer publishes it; fetching it is the host's business.
/// let jwk_set = r#"{"keys":[
///     {"kty":"OKP","crv":"Ed25519","kid":"2026","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
///     {"kty":"EC","use":"enc","kid":"not for signatures, passed over"}]}"#;
/// let keys = KeySet::from_jwk_set(jwk_set, &[Algorithm::EdDsa, Algorithm::Es256])?;
/// let issuer = JwtIssuer::named("https://id.example.com").keys(keys);
/// # Ok::<(), token_tracker::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct KeySet {
    keys: Vec<JwtKey>,
}

impl KeySet {
    /// No key yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One more key. The first with a private part signs.
    #[must_use]
    pub fn with(mut self, key: JwtKey) -> Self {
        self.keys.push(key);
        self
    }

    /// The keys of a JWK Set (RFC 7517 §5) that are for one of the allowed algorithms; keys that are not
    /// understood, or are for something else, are passed over. At most 256 keys and a mebibyte.
    ///
    /// # Errors
    /// `InvalidInput` where the text is not a JWK Set, has no usable key or too many, names two keys
    /// alike, or mixes secrets with public keys.
    pub fn from_jwk_set(text: &str, allowed: &[Algorithm]) -> Result<Self, Error> {
        let set = Self { keys: jwk::set(text, allowed)? };
        set.validate()?;
        Ok(set)
    }

    pub(super) fn push(&mut self, key: JwtKey) {
        self.keys.push(key);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &JwtKey> {
        self.keys.iter()
    }

    /// A set that mixes secrets and public keys is how a public key comes to be taken for a secret.
    pub(super) fn validate(&self) -> Result<(), Error> {
        if self.keys.is_empty() {
            return Err(Error::invalid("keys", "must not be empty"));
        }
        let symmetric = self.keys.iter().filter(|key| key.is_symmetric()).count();
        if symmetric != 0 && symmetric != self.keys.len() {
            return Err(Error::invalid("keys", "must be secrets or public keys, not both"));
        }
        for (at, key) in self.keys.iter().enumerate() {
            let earlier = &self.keys[..at];
            if key.kid_str().is_some() && earlier.iter().any(|k| k.kid_str() == key.kid_str()) {
                return Err(Error::invalid("kid", "must not be given to two keys of an issuer"));
            }
        }
        Ok(())
    }
}

impl From<JwtKey> for KeySet {
    fn from(key: JwtKey) -> Self {
        Self::new().with(key)
    }
}
