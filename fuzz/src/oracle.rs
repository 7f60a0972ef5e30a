//! A strict verifier of JWTs by RFC 7515, RFC 7519 and RFC 8725. What it refuses and the library accepts
//! is a hole; what it accepts and the library refuses locks somebody out.

use crate::base64url;
use crate::date::Date;
use crate::json::{Flaw, Json, Object};
use crate::keys::KeyName;

/// The longest token that is looked at, in bytes: the documented default.
pub const MAX_LENGTH: usize = 8_192;

/// How far clocks may be apart, in microseconds: the documented default.
pub const LEEWAY: i128 = 30_000_000;

/// Whose tokens are accepted, and which of them live.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    pub issuers: &'static [Issuer],
    /// The `jti` of the tokens that live, of each issuer the same.
    pub living: &'static [&'static str],
    /// The `jti` of one that was revoked.
    pub revoked: &'static str,
}

/// An issuer, with its keys and its terms.
#[derive(Clone, Copy, Debug)]
pub struct Issuer {
    /// What `iss` must be. One without a name is alone, and `iss` is not looked at.
    pub name: Option<&'static str>,
    /// What `aud` must have one of; not looked at where there are none.
    pub audiences: &'static [&'static str],
    pub keys: &'static [KeyName],
    /// Those of the keys that have a name.
    pub named_keys: &'static [KeyName],
}

/// The judgement on a token.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// With its `jti`.
    Accepted(String),
    Refused(&'static str),
    /// It hangs on a rounding that no RFC fixes.
    Undecided,
}

/// Why a token is not accepted.
enum Flawed {
    Refused(&'static str),
    Undecided,
}

impl From<Flaw> for Flawed {
    fn from(flaw: Flaw) -> Self {
        match flaw {
            Flaw::Borderline => Self::Undecided,
            Flaw::Wrong(why) => Self::Refused(why),
        }
    }
}

type Judged<T> = Result<T, Flawed>;

impl Policy {
    /// Judges a token at `now`, in microseconds since 1970.
    pub fn judge(&self, token: &str, now: i128) -> Verdict {
        match self.accept(token, now) {
            Ok(jti) => Verdict::Accepted(jti),
            Err(Flawed::Refused(why)) => Verdict::Refused(why),
            Err(Flawed::Undecided) => Verdict::Undecided,
        }
    }

    fn accept(&self, token: &str, now: i128) -> Judged<String> {
        require(token.len() <= MAX_LENGTH, "too long")?;
        let parts: Vec<&str> = token.split('.').collect();
        let [header, payload, signature] = parts[..] else { return refuse("not three parts") };
        let message = &token[..header.len() + 1 + payload.len()];
        let signature = decode(signature)?;
        let header = Json::object(&decode(header)?)?;
        let claims = Json::object(&decode(payload)?)?;
        let issuer = self.issuer(&claims)?;
        issuer.check_signature(&header, message.as_bytes(), &signature)?;
        issuer.check_claims(&claims, now)?;
        let jti = text(&claims, "jti")?.ok_or(Flawed::Refused("no jti"))?;
        require(jti != self.revoked, "revoked")?;
        require(self.living.contains(&jti), "not in the catalogue")?;
        Ok(jti.to_owned())
    }

    /// The issuer decides on the keys (RFC 8725 §3.8).
    fn issuer(&self, claims: &Object) -> Judged<&Issuer> {
        let name = text(claims, "iss")?;
        let found = self.issuers.iter().find(|issuer| issuer.name.is_none() || issuer.name == name);
        found.ok_or(Flawed::Refused("wrong issuer"))
    }
}

impl Issuer {
    fn check_signature(&self, header: &Object, message: &[u8], signature: &[u8]) -> Judged<()> {
        require(!header.contains_key("crit"), "an extension that must be understood")?;
        require(!header.contains_key("b64"), "an unencoded payload")?;
        let algorithm = text(header, "alg")?.ok_or(Flawed::Refused("no alg"))?;
        let kid = text(header, "kid")?;
        text(header, "typ")?;
        let fits = |key: &KeyName| {
            let named = kid.is_none_or(|kid| !self.named_keys.contains(key) || kid == key.kid());
            named && key.is_for(algorithm)
        };
        let mut fitting = self.keys.iter().filter(|key| fits(key));
        let good = fitting.any(|key| key.verifies(message, signature));
        require(good, "no key verifies the signature")
    }

    fn check_claims(&self, claims: &Object, now: i128) -> Judged<()> {
        for name in ["sub", "jti", "scope"] {
            text(claims, name)?;
        }
        let audiences = audiences(claims)?;
        let named = audiences.iter().any(|audience| self.audiences.contains(audience));
        require(self.audiences.is_empty() || named, "wrong audience")?;
        date(claims, "iat")?;
        check_times(date(claims, "exp")?, date(claims, "nbf")?, now)
    }
}

/// RFC 7519 §4.1.4 and §4.1.5: on or after `exp` no longer, on or after `nbf` already.
fn check_times(exp: Option<Date>, nbf: Option<Date>, now: i128) -> Judged<()> {
    let expired = exp.map_or(Some(false), |exp| exp.is_reached(now - LEEWAY));
    let started = nbf.map_or(Some(true), |nbf| nbf.is_reached(now + LEEWAY));
    match (expired, started) {
        (Some(true), _) => refuse("expired"),
        (_, Some(false)) => refuse("not valid yet"),
        (Some(false), Some(true)) => Ok(()),
        (None, _) | (_, None) => Err(Flawed::Undecided),
    }
}

fn decode(part: &str) -> Judged<Vec<u8>> {
    base64url::decode(part).ok_or(Flawed::Refused("not base64url"))
}

fn text<'a>(object: &'a Object, name: &str) -> Judged<Option<&'a str>> {
    match object.get(name) {
        None => Ok(None),
        Some(Json::Text(text)) => Ok(Some(text)),
        Some(_) => refuse("not a text"),
    }
}

fn date(claims: &Object, name: &str) -> Judged<Option<Date>> {
    match claims.get(name) {
        None => Ok(None),
        Some(Json::Number(number)) => Ok(Some(Date::parse(number))),
        Some(_) => refuse("not a number"),
    }
}

/// A text or a list of texts (RFC 7519 §4.1.3).
fn audiences(claims: &Object) -> Judged<Vec<&str>> {
    let items = match claims.get("aud") {
        None => &[],
        Some(Json::Array(items)) => items.as_slice(),
        Some(one) => std::slice::from_ref(one),
    };
    items
        .iter()
        .map(|item| match item {
            Json::Text(text) => Ok(text.as_str()),
            _ => refuse("an audience that is not a text"),
        })
        .collect()
}

fn require(holds: bool, otherwise: &'static str) -> Judged<()> {
    if holds { Ok(()) } else { refuse(otherwise) }
}

fn refuse<T>(why: &'static str) -> Judged<T> {
    Err(Flawed::Refused(why))
}
