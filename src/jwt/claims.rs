//! Claims: read, judged against what the issuer is configured for, and put together for signing.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::issuer::{ApiTokenMark, JwtIssuer};
use super::{NewClaims, Terms};
use crate::reason::DenialReason;
use crate::timestamp::Timestamp;

/// The claims set of a token (RFC 7519 §4).
pub(super) struct Claims(Map<String, Value>);

/// What a claims set comes to.
pub(super) struct Validated {
    pub(super) token_id: Option<String>,
    pub(super) subject: Option<String>,
    pub(super) terms: Terms,
}

impl Claims {
    pub(super) fn new(claims: Map<String, Value>) -> Self {
        Self(claims)
    }

    /// The `iss` claim, where it is a text.
    pub(super) fn issuer(&self) -> Option<&str> {
        self.0.get("iss").and_then(Value::as_str)
    }

    /// Judges everything that does not depend on the time; that is left as terms.
    pub(super) fn validate(&self, issuer: &JwtIssuer, typ: Option<&str>) -> Validated {
        let ours = issuer.outside_rule().is_none();
        let marked = ours && issuer.mark_list().iter().any(|mark| self.is_marked(mark));
        let mut terms = Terms { marked, ..Terms::default() };
        let checked = self.check(issuer, typ, &mut terms);
        terms.failure = checked.err();
        let text = |name| self.text(name).ok().flatten().map(str::to_owned);
        Validated { token_id: text("jti"), subject: text("sub"), terms }
    }

    fn check(
        &self,
        issuer: &JwtIssuer,
        typ: Option<&str>,
        terms: &mut Terms,
    ) -> Result<(), DenialReason> {
        let leeway = issuer.leeway_allowed();
        let expires_at = self.instant("exp")?;
        terms.expires_at = expires_at.map(|at| at.saturating_add(leeway));
        terms.lacks_expiry = expires_at.is_none() && issuer.requires_expiry();
        let not_before = self.instant("nbf")?;
        terms.not_before = not_before.map(|at| at.saturating_sub(leeway));
        let issued_at = self.instant("iat")?;
        for name in ["iss", "sub", "jti"] {
            self.text(name)?;
        }
        terms.audiences = self.audiences()?;
        terms.scopes = self.scopes()?;
        if issuer.required().any(|name| !self.0.contains_key(name)) {
            return Err(DenialReason::MissingClaim);
        }
        if issuer.subject().is_some_and(|subject| self.text("sub") != Ok(Some(subject))) {
            return Err(DenialReason::WrongSubject);
        }
        check_lifetime(issuer.longest_lifetime(), issued_at, expires_at)?;
        check_type(issuer.typ(), typ)?;
        check_audience(issuer.audiences(), &terms.audiences)
    }

    /// One text with a space between each two scopes (RFC 8693 §4.2).
    fn scopes(&self) -> Result<Arc<[String]>, DenialReason> {
        let scopes = self.text("scope")?.unwrap_or_default();
        Ok(scopes.split(' ').filter(|scope| !scope.is_empty()).map(str::to_owned).collect())
    }

    fn is_marked(&self, mark: &ApiTokenMark) -> bool {
        let mut names = mark.path.iter();
        let first = names.next().and_then(|name| self.0.get(name));
        let claim = names.fold(first, |value, name| value.and_then(|value| value.get(name)));
        claim.and_then(Value::as_str) == Some(mark.value.as_str())
    }

    fn text(&self, name: &str) -> Result<Option<&str>, DenialReason> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(DenialReason::MalformedClaim),
        }
    }

    /// A NumericDate: seconds since 1970, fractions and signs allowed (RFC 7519 §2).
    ///
    /// Rounded up to a microsecond: whoever asks whether `now`, in whole microseconds, has reached the
    /// instant gets the answer that the fraction gives.
    fn instant(&self, name: &str) -> Result<Option<Timestamp>, DenialReason> {
        let number = match self.0.get(name) {
            None => return Ok(None),
            Some(Value::Number(number)) => number,
            Some(_) => return Err(DenialReason::MalformedClaim),
        };
        if let Some(seconds) = number.as_i64() {
            return Ok(Some(Timestamp::from_seconds(seconds)));
        }
        let micros = number.as_f64().ok_or(DenialReason::MalformedClaim)? * 1e6;
        Ok(Some(Timestamp::from_micros(micros.ceil() as i64)))
    }

    /// One text or a list of them (RFC 7519 §4.1.3).
    fn audiences(&self) -> Result<Arc<[String]>, DenialReason> {
        let text =
            |value: &Value| value.as_str().map(str::to_owned).ok_or(DenialReason::MalformedClaim);
        match self.0.get("aud") {
            None => Ok(Arc::default()),
            Some(Value::Array(list)) => list.iter().map(text).collect(),
            Some(one) => Ok(Arc::new([text(one)?])),
        }
    }
}

/// Media types compare without case, and `application/` may be left out (RFC 7515 §4.1.9).
fn check_type(wanted: Option<&str>, typ: Option<&str>) -> Result<(), DenialReason> {
    let Some(wanted) = wanted else { return Ok(()) };
    let short = |typ: &str| {
        let typ = typ.to_ascii_lowercase();
        typ.strip_prefix("application/").map(str::to_owned).unwrap_or(typ)
    };
    if typ.is_some_and(|typ| short(typ) == short(wanted)) {
        return Ok(());
    }
    Err(DenialReason::WrongType)
}

fn check_lifetime(
    longest: Option<Duration>,
    issued_at: Option<Timestamp>,
    expires_at: Option<Timestamp>,
) -> Result<(), DenialReason> {
    let Some(longest) = longest else { return Ok(()) };
    match (issued_at, expires_at) {
        (Some(issued_at), Some(expires_at)) if expires_at <= issued_at.saturating_add(longest) => {
            Ok(())
        }
        (Some(_), Some(_)) => Err(DenialReason::LifetimeTooLong),
        _ => Err(DenialReason::MissingClaim),
    }
}

fn check_audience(accepted: &[String], audiences: &[String]) -> Result<(), DenialReason> {
    if accepted.is_empty() || audiences.iter().any(|audience| accepted.contains(audience)) {
        return Ok(());
    }
    Err(if audiences.is_empty() { DenialReason::MissingClaim } else { DenialReason::WrongAudience })
}

/// The claims set of a token to be issued.
pub(super) fn assemble(issuer: &JwtIssuer, new: &NewClaims<'_>) -> Map<String, Value> {
    let mut claims = Map::new();
    if !issuer.name().is_empty() {
        claims.insert("iss".to_owned(), issuer.name().into());
    }
    claims.insert("sub".to_owned(), new.subject.into());
    if let Some(audience) = issuer.audiences().first() {
        claims.insert("aud".to_owned(), audience.as_str().into());
    }
    claims.insert("iat".to_owned(), new.issued_at.as_seconds().into());
    if let Some(expires_at) = new.expires_at {
        claims.insert("exp".to_owned(), expires_at.as_seconds().into());
    }
    claims.insert("jti".to_owned(), new.token_id.into());
    if issuer.required().any(|name| name == "client_id") {
        claims.insert("client_id".to_owned(), new.subject.into());
    }
    if let Some(mark) = issuer.mark_list().first().filter(|_| new.marked) {
        insert_nested(&mut claims, &mark.path, &mark.value);
    }
    claims
}

fn insert_nested(claims: &mut Map<String, Value>, path: &[String], value: &str) {
    let Some((first, rest)) = path.split_first() else { return };
    if rest.is_empty() {
        claims.insert(first.clone(), value.into());
        return;
    }
    let mut nested = Map::new();
    insert_nested(&mut nested, rest, value);
    claims.insert(first.clone(), Value::Object(nested));
}
