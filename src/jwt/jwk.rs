//! JSON Web Keys (RFC 7517, RFC 7518 §6, RFC 8037), judged when they are loaded.

use serde_json::{Map, Value};

use super::algorithm::{Algorithm, KeyKind};
use super::key::JwtKey;
use super::{base64url, json};
use crate::error::Error;

/// The longest JWK or JWK Set that is read, in bytes.
const MAX_LENGTH: usize = 1 << 20;

/// The most keys that a set may have.
const MAX_KEYS: usize = 256;

/// One key from its JSON. See [`JwtKey::from_jwk`].
pub(super) fn key(text: &str, allowed: &[Algorithm]) -> Result<JwtKey, Error> {
    read_key(&object(text)?, allowed)
}

/// The usable keys of a set. Keys that are not understood are passed over, as RFC 7517 §5 asks for.
pub(super) fn set(text: &str, allowed: &[Algorithm]) -> Result<Vec<JwtKey>, Error> {
    let set = object(text)?;
    let Some(Value::Array(entries)) = set.get("keys") else {
        return Err(invalid("must be a JWK Set: an object with an array `keys`"));
    };
    if entries.len() > MAX_KEYS {
        return Err(invalid(&format!("must have {MAX_KEYS} keys or fewer")));
    }
    let mut unusable = None;
    let mut keys = Vec::new();
    for entry in entries {
        let read = entry.as_object().ok_or_else(|| invalid("must hold objects"));
        match read.and_then(|jwk| read_key(jwk, allowed)) {
            Ok(key) => keys.push(key),
            Err(error) => unusable = Some(error),
        }
    }
    if keys.is_empty() {
        return Err(unusable.unwrap_or_else(|| invalid("must have a key")));
    }
    Ok(keys)
}

/// RFC 7517 §4.3 defines eight.
const MAX_OPERATIONS: usize = 16;

fn object(text: &str) -> Result<Map<String, Value>, Error> {
    if text.len() > MAX_LENGTH {
        return Err(invalid("must be a mebibyte or less"));
    }
    json::object(text.as_bytes()).map_err(|_| invalid("must be a JSON object without duplicates"))
}

fn read_key(jwk: &Map<String, Value>, allowed: &[Algorithm]) -> Result<JwtKey, Error> {
    check_use(jwk)?;
    let operations = operations(jwk)?;
    let algorithm = algorithm(jwk, allowed)?;
    let key = match algorithm.kind() {
        KeyKind::Hmac => {
            let signs = operations.is_none_or(|operations| operations.contains(&"sign"));
            JwtKey::hmac(algorithm, &bytes(jwk, "k")?)?.signing_if(signs)
        }
        KeyKind::Rsa => JwtKey::rsa_components(algorithm, &bytes(jwk, "n")?, &bytes(jwk, "e")?)?,
        KeyKind::Ec => JwtKey::ec_point(algorithm, &bytes(jwk, "x")?, &bytes(jwk, "y")?)?,
        KeyKind::Ed => JwtKey::ed_point(algorithm, &bytes(jwk, "x")?)?,
    };
    Ok(match text(jwk, "kid")? {
        Some(kid) => key.kid(kid),
        None => key,
    })
}

/// RFC 7517 §4.2: a key for encryption verifies nothing.
fn check_use(jwk: &Map<String, Value>) -> Result<(), Error> {
    match text(jwk, "use")? {
        None | Some("sig") => Ok(()),
        Some(_) => Err(invalid("must have the `use` \"sig\"")),
    }
}

/// RFC 7517 §4.3: the operations, where they are limited. They must be distinct and allow verification.
fn operations(jwk: &Map<String, Value>) -> Result<Option<Vec<&str>>, Error> {
    let wrong = || invalid("must have \"verify\" among its distinct `key_ops`");
    let Some(value) = jwk.get("key_ops") else { return Ok(None) };
    let list = value.as_array().ok_or_else(wrong)?;
    let operations: Option<Vec<&str>> = list.iter().map(Value::as_str).collect();
    let operations = operations.ok_or_else(wrong)?;
    if operations.len() > MAX_OPERATIONS {
        return Err(wrong());
    }
    let distinct = operations.iter().enumerate().all(|(at, name)| !operations[..at].contains(name));
    if distinct && operations.contains(&"verify") { Ok(Some(operations)) } else { Err(wrong()) }
}

/// The one algorithm that the key is for: its own `alg`, or the only allowed one that its type fits.
fn algorithm(jwk: &Map<String, Value>, allowed: &[Algorithm]) -> Result<Algorithm, Error> {
    let (kty, curve) = (text(jwk, "kty")?, text(jwk, "crv")?);
    let alg = text(jwk, "alg")?;
    let fits = |algorithm: &Algorithm| {
        let typed = match algorithm.kind() {
            KeyKind::Hmac => kty == Some("oct"),
            KeyKind::Rsa => kty == Some("RSA"),
            KeyKind::Ec => kty == Some("EC") && curve == algorithm.curve(),
            KeyKind::Ed => kty == Some("OKP") && curve == algorithm.curve(),
        };
        typed && alg.is_none_or(|alg| Algorithm::named(alg) == Some(*algorithm))
    };
    let mut fitting = allowed.iter().copied().filter(fits);
    match (fitting.next(), fitting.next()) {
        (Some(algorithm), None) => Ok(algorithm),
        (None, _) => {
            Err(invalid("must be for an allowed algorithm: `kty`, `crv` and `alg` decide"))
        }
        (Some(_), Some(_)) => {
            Err(invalid("must name its `alg` where several are allowed for its type"))
        }
    }
}

fn text<'a>(jwk: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, Error> {
    match jwk.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(invalid(&format!("must have a text as its `{name}`"))),
    }
}

fn bytes(jwk: &Map<String, Value>, name: &str) -> Result<zeroize::Zeroizing<Vec<u8>>, Error> {
    let encoded =
        text(jwk, name)?.ok_or_else(|| invalid(&format!("must have the member `{name}`")))?;
    base64url::decode(encoded)
        .map(zeroize::Zeroizing::new)
        .map_err(|_| invalid(&format!("must have base64url in its `{name}`")))
}

fn invalid(message: &str) -> Error {
    Error::invalid("jwk", message)
}
