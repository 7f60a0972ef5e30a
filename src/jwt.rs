//! JSON Web Tokens: made and verified. `jsonwebtoken` computes the signatures; format, keys and claims
//! are judged here, by RFC 7515, RFC 7519 and RFC 8725.

mod algorithm;
mod base64url;
mod claims;
mod ed;
mod issuer;
mod json;
mod jwk;
mod key;
mod key_set;
mod pem;
mod provider;
mod rsa;

pub use algorithm::Algorithm;
pub use issuer::{ApiTokenMark, JwtIssuer, Outside};
pub use key::JwtKey;
pub use key_set::KeySet;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::error::{Error, ErrorKind};
use crate::reason::DenialReason;
use crate::secret::Secret;
use crate::timestamp::Timestamp;
use claims::{Claims, Validated};

/// A JWT whose signature is good, whatever its claims say.
#[derive(Debug)]
pub(crate) struct VerifiedJwt {
    /// The issuer's configured name, empty where it has none: half of what the catalogue knows a JWT by.
    pub(crate) issuer: String,
    /// The other half.
    pub(crate) token_id: Option<String>,
    pub(crate) subject: Option<String>,
    /// The name of the key that signed it, if it has one.
    pub(crate) kid: Option<String>,
    /// What becomes of it where no catalogue has it; `None` for an issuer of our own.
    pub(crate) outside: Option<Outside>,
    pub(crate) terms: Terms,
}

/// What the token itself says of its use.
#[derive(Debug, Default)]
pub(crate) struct Terms {
    /// Refused from here on, leeway included.
    pub(crate) expires_at: Option<Timestamp>,
    /// Refused before, leeway included.
    pub(crate) not_before: Option<Timestamp>,
    pub(crate) audiences: Arc<[String]>,
    /// Whether it has no `exp` where the issuer's tokens must have one.
    pub(crate) lacks_expiry: bool,
    /// Until when the key verifies that signed it, if that was replaced.
    pub(crate) key_retires_at: Option<Timestamp>,
    pub(crate) scopes: Arc<[String]>,
    /// Whether it carries an API-token mark.
    pub(crate) marked: bool,
    /// Why the claims are refused, whatever the time is.
    pub(crate) failure: Option<DenialReason>,
}

impl Terms {
    /// Whether the key that signed the token still verifies.
    pub(crate) fn key_holds(&self, now: Timestamp) -> bool {
        self.key_retires_at.is_none_or(|retires_at| now < retires_at)
    }
}

/// The claims of a token to be signed.
#[derive(Debug)]
pub(crate) struct NewClaims<'a> {
    pub(crate) subject: &'a str,
    pub(crate) token_id: &'a str,
    pub(crate) issued_at: Timestamp,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) marked: bool,
}

/// The longest that a replaced key may still verify.
const MAX_OVERLAP: Duration = Duration::from_secs(366 * 86_400);

/// All issuers whose tokens are accepted. The first signs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Issuers(Vec<JwtIssuer>);

impl Issuers {
    pub(crate) fn new(issuers: Vec<JwtIssuer>) -> Result<Self, Error> {
        for (at, issuer) in issuers.iter().enumerate() {
            issuer.validate()?;
            if issuers[..at].iter().any(|other| other.name() == issuer.name()) {
                return Err(Error::invalid("jwt_issuer", "must not be given twice under one name"));
            }
        }
        if issuers.len() > 1 && issuers.iter().any(|issuer| issuer.name().is_empty()) {
            return Err(Error::invalid("jwt_issuer", "must have a name where there are several"));
        }
        Ok(Self(issuers))
    }

    /// Checks the format and the signature of a token; what its claims say is in the answer's terms.
    ///
    /// The claims are read before the signature is checked, to find the issuer and so the keys: a key of
    /// one issuer never validates a token that names another.
    pub(crate) fn verify(&self, token: &str, now: Timestamp) -> Result<VerifiedJwt, DenialReason> {
        let parts = Parts::split(token)?;
        let header = Header::parse(&json::object(&base64url::decode(parts.header)?)?)?;
        let claims = Claims::new(json::object(&base64url::decode(parts.payload)?)?);
        let signature = base64url::decode(parts.signature)?;
        let issuer = self.find(&claims)?;
        let (key, key_retires_at) =
            issuer.check_signature(&header, parts.message.as_bytes(), &signature, now)?;
        let Validated { token_id, subject, terms } = claims.validate(issuer, header.typ.as_deref());
        let (name, outside) = (issuer.name().to_owned(), issuer.outside_rule());
        // Asked for where a token is adopted, and nowhere else.
        let kid = outside.and_then(|_| key.kid_str()).map(str::to_owned);
        let terms = Terms { key_retires_at, ..terms };
        Ok(VerifiedJwt { issuer: name, token_id, subject, kid, outside, terms })
    }

    /// The same issuers, one of them with other keys; those it had verify for `overlap` longer.
    pub(crate) fn with_keys(
        &self,
        name: &str,
        keys: KeySet,
        now: Timestamp,
        overlap: Duration,
    ) -> Result<Self, Error> {
        keys.validate()?;
        if overlap > MAX_OVERLAP {
            return Err(Error::invalid("overlap", "must be a year or less"));
        }
        let mut issuers = self.clone();
        let found = issuers.0.iter_mut().find(|issuer| issuer.name() == name);
        let issuer =
            found.ok_or_else(|| Error::invalid("issuer", "is not one that is configured"))?;
        *issuer = issuer.with_keys(keys, now, now.saturating_add(overlap));
        Ok(issuers)
    }

    fn find(&self, claims: &Claims) -> Result<&JwtIssuer, DenialReason> {
        match self.0.as_slice() {
            [only] if only.name().is_empty() => Ok(only),
            issuers => {
                let name = claims.issuer().ok_or(DenialReason::WrongIssuer)?;
                let named = issuers.iter().find(|issuer| issuer.name() == name);
                named.ok_or(DenialReason::WrongIssuer)
            }
        }
    }

    /// The name under which tokens signed here are in the catalogue.
    pub(crate) fn signing_issuer(&self) -> Result<&JwtIssuer, Error> {
        let ours =
            |issuer: &&JwtIssuer| issuer.outside_rule().is_none() && issuer.signing_key().is_some();
        let first = self.0.first().filter(ours);
        first.ok_or_else(|| Error::invalid("kind", "cannot be a JWT: there is no signing key"))
    }

    /// The issuer of this name, for registering tokens that it made.
    pub(crate) fn named(&self, name: Option<&str>) -> Result<&JwtIssuer, Error> {
        let found = match name {
            None => self.0.first(),
            Some(name) => self.0.iter().find(|issuer| issuer.name() == name),
        };
        found.ok_or_else(|| Error::invalid("issuer", "is not one that is configured"))
    }

    pub(crate) fn sign(&self, new: &NewClaims<'_>) -> Result<Secret, Error> {
        let issuer = self.signing_issuer()?;
        let key = issuer.signing_key().expect("the signing issuer has a signing key");
        let mut header = Map::new();
        header.insert("alg".to_owned(), key.algorithm().as_str().into());
        header.insert("typ".to_owned(), issuer.typ().unwrap_or("JWT").into());
        if let Some(kid) = key.kid_str() {
            header.insert("kid".to_owned(), kid.into());
        }
        let header = base64url::encode(Value::Object(header).to_string().as_bytes());
        let payload = Value::Object(claims::assemble(issuer, new)).to_string();
        let message = format!("{header}.{}", base64url::encode(payload.as_bytes()));
        let signature = key.sign(message.as_bytes()).map_err(|source| {
            Error::new(ErrorKind::InvalidInput, "the signing key does not sign").with_source(source)
        })?;
        Ok(Secret::new(format!("{message}.{}", base64url::encode(&signature))))
    }
}

/// The compact serialisation, cut at its dots (RFC 7515 §3.1).
struct Parts<'a> {
    header: &'a str,
    payload: &'a str,
    signature: &'a str,
    message: &'a str,
}

impl<'a> Parts<'a> {
    fn split(token: &'a str) -> Result<Self, DenialReason> {
        let (message, signature) = token.rsplit_once('.').ok_or(DenialReason::Malformed)?;
        let (header, payload) = message.split_once('.').ok_or(DenialReason::Malformed)?;
        if payload.contains('.') {
            return Err(DenialReason::Malformed);
        }
        Ok(Self { header, payload, signature, message })
    }
}

/// The members of the header that matter. Keys carried or pointed to by a header (`jwk`, `jku`, `x5c`,
/// `x5u`) are never looked at (RFC 8725 §3.10).
struct Header {
    algorithm: Algorithm,
    kid: Option<String>,
    typ: Option<String>,
}

impl Header {
    fn parse(header: &Map<String, Value>) -> Result<Self, DenialReason> {
        if header.contains_key("crit") || header.contains_key("b64") {
            return Err(DenialReason::Malformed);
        }
        let text = |name: &str| match header.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(DenialReason::Malformed),
        };
        let algorithm = text("alg")?.ok_or(DenialReason::Malformed)?;
        let algorithm = Algorithm::named(&algorithm).ok_or(DenialReason::UnknownKey)?;
        Ok(Self { algorithm, kid: text("kid")?, typ: text("typ")? })
    }
}

#[cfg(test)]
mod tests;
