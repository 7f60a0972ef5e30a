//! What a JSON Web Key must be to be accepted, by RFC 7517, RFC 7518 §6, RFC 8037 and RFC 8725. A key that
//! is taken for what it does not say verifies what nobody signed.

use token_tracker::Algorithm;

use crate::base64url;
use crate::json::{Json, Object};
use crate::keys::{self, hmac_sha256, hmac_sha384, hmac_sha512};

/// Every algorithm that there is.
pub const ALGORITHMS: [Algorithm; 12] = [
    Algorithm::EdDsa,
    Algorithm::Es256,
    Algorithm::Es384,
    Algorithm::Hs256,
    Algorithm::Hs384,
    Algorithm::Hs512,
    Algorithm::Ps256,
    Algorithm::Ps384,
    Algorithm::Ps512,
    Algorithm::Rs256,
    Algorithm::Rs384,
    Algorithm::Rs512,
];

/// The most `key_ops` that a verifier has to read.
const MAX_OPERATIONS: usize = 8;

/// A key that may be accepted.
#[derive(Debug)]
pub struct Key {
    pub algorithm: Algorithm,
    pub kid: Option<String>,
    pub material: Material,
    operations: usize,
}

/// The numbers of a key.
#[derive(Debug)]
pub enum Material {
    /// Uncompressed.
    EcPoint(Vec<u8>),
    EdPoint(Vec<u8>),
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
    Secret(Vec<u8>),
}

type Judged<T> = Result<T, &'static str>;

impl Key {
    /// The key that this text is, where the algorithm is among the allowed ones.
    pub fn parse(text: &str, allowed: &[Algorithm]) -> Judged<Self> {
        let jwk = Json::object(text.as_bytes()).map_err(|_| "not a JSON object")?;
        Self::read(&jwk, allowed)
    }

    pub fn read(jwk: &Object, allowed: &[Algorithm]) -> Judged<Self> {
        check_use(jwk)?;
        let operations = operations(jwk)?;
        let algorithm = algorithm(jwk, allowed)?;
        let material = material(jwk, algorithm)?;
        material.check(algorithm)?;
        let kid = text_of(jwk, "kid")?.map(str::to_owned);
        Ok(Self { algorithm, kid, material, operations })
    }

    /// Whether nothing speaks against the key, so that to refuse it is a fault.
    pub fn is_plain(&self) -> bool {
        self.operations <= MAX_OPERATIONS && self.material.is_plain(self.algorithm)
    }
}

impl Material {
    pub fn is_secret(&self) -> bool {
        matches!(self, Self::Secret(_))
    }

    /// Lengths: RFC 7518 §3.2, §3.3, §6.2.1 and §6.3.1; RFC 8037 §2.
    fn check(&self, algorithm: Algorithm) -> Judged<()> {
        match self {
            Self::EcPoint(_) => Ok(()),
            Self::EdPoint(point) => require(point.len() == 32, "Ed25519 of another length"),
            Self::Rsa { modulus, exponent } => check_rsa(modulus, exponent),
            Self::Secret(secret) => {
                require(secret.len() >= hash_length(algorithm), "a secret shorter than the hash")
            }
        }
    }

    fn is_plain(&self, algorithm: Algorithm) -> bool {
        match self {
            Self::EcPoint(point) if algorithm == Algorithm::Es256 => keys::is_on_p256(point),
            Self::EcPoint(point) => keys::is_on_p384(point),
            Self::EdPoint(point) => keys::is_sound_ed25519(point),
            Self::Rsa { modulus, exponent } => {
                *exponent == [1, 0, 1] && base64url::encode(modulus) == keys::RSA_MODULUS
            }
            Self::Secret(secret) => !secret.trim_ascii_start().starts_with(b"-----BEGIN"),
        }
    }

    /// Whether the signature is good, and for RSA whether it is a known one: nobody can make another.
    pub fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        match (self, algorithm) {
            (Self::Secret(secret), Algorithm::Hs256) => hmac_sha256(secret, message) == signature,
            (Self::Secret(secret), Algorithm::Hs384) => hmac_sha384(secret, message) == signature,
            (Self::Secret(secret), Algorithm::Hs512) => hmac_sha512(secret, message) == signature,
            (Self::EcPoint(point), Algorithm::Es256) => {
                keys::p256_verifies(point, message, signature)
            }
            (Self::EcPoint(point), Algorithm::Es384) => {
                keys::p384_verifies(point, message, signature)
            }
            (Self::EdPoint(point), Algorithm::EdDsa) => {
                keys::ed25519_verifies(point, message, signature)
            }
            (Self::Rsa { modulus, exponent }, _) => {
                let known =
                    base64url::encode(modulus) == keys::RSA_MODULUS && *exponent == [1, 0, 1];
                known && keys::is_known_rsa_signature(algorithm.as_str(), message, signature)
            }
            _ => false,
        }
    }
}

fn check_use(jwk: &Object) -> Judged<()> {
    require(matches!(text_of(jwk, "use")?, None | Some("sig")), "not for signatures")
}

/// RFC 7517 §4.3: distinct, and verification among them. Returns how many.
fn operations(jwk: &Object) -> Judged<usize> {
    let Some(operations) = jwk.get("key_ops") else { return Ok(0) };
    let Json::Array(operations) = operations else { return Err("key_ops is not an array") };
    for (at, operation) in operations.iter().enumerate() {
        require(matches!(operation, Json::Text(_)), "an operation that is not a text")?;
        require(!operations[..at].contains(operation), "an operation twice")?;
    }
    require(operations.contains(&Json::Text("verify".to_owned())), "not for verification")?;
    Ok(operations.len())
}

/// The only allowed algorithm that `kty`, `crv` and `alg` let the key be for.
fn algorithm(jwk: &Object, allowed: &[Algorithm]) -> Judged<Algorithm> {
    let (kty, crv, alg) = (text_of(jwk, "kty")?, text_of(jwk, "crv")?, text_of(jwk, "alg")?);
    let fits = |algorithm: &Algorithm| {
        let (its_kty, its_crv) = type_of(*algorithm);
        let named = alg.is_none_or(|alg| is_named(*algorithm, alg));
        kty == Some(its_kty) && (its_crv.is_none() || crv == its_crv) && named
    };
    match allowed.iter().copied().filter(fits).collect::<Vec<_>>()[..] {
        [algorithm] => Ok(algorithm),
        [] => Err("for no allowed algorithm"),
        _ => Err("for more than one algorithm"),
    }
}

/// RFC 7518 §3.1 and, for Ed25519, RFC 9864 §2.2.
pub fn is_named(algorithm: Algorithm, name: &str) -> bool {
    name == algorithm.as_str() || algorithm == Algorithm::EdDsa && name == "Ed25519"
}

fn type_of(algorithm: Algorithm) -> (&'static str, Option<&'static str>) {
    match algorithm.as_str() {
        "EdDSA" => ("OKP", Some("Ed25519")),
        "ES256" => ("EC", Some("P-256")),
        "ES384" => ("EC", Some("P-384")),
        name if name.starts_with("HS") => ("oct", None),
        _ => ("RSA", None),
    }
}

fn hash_length(algorithm: Algorithm) -> usize {
    match algorithm {
        Algorithm::Hs384 => 48,
        Algorithm::Hs512 => 64,
        _ => 32,
    }
}

fn material(jwk: &Object, algorithm: Algorithm) -> Judged<Material> {
    Ok(match type_of(algorithm).0 {
        "oct" => Material::Secret(bytes_of(jwk, "k")?),
        "RSA" => Material::Rsa { modulus: bytes_of(jwk, "n")?, exponent: bytes_of(jwk, "e")? },
        "EC" => {
            let length = if algorithm == Algorithm::Es256 { 32 } else { 48 };
            let (x, y) = (bytes_of(jwk, "x")?, bytes_of(jwk, "y")?);
            require(x.len() == length && y.len() == length, "a coordinate of another length")?;
            Material::EcPoint([&[4], x.as_slice(), &y].concat())
        }
        _ => Material::EdPoint(bytes_of(jwk, "x")?),
    })
}

/// The bounds are the library's documented ones; numbers are without leading zeros (RFC 7518 §2).
fn check_rsa(modulus: &[u8], exponent: &[u8]) -> Judged<()> {
    let first = |number: &[u8]| number.first().copied().unwrap_or_default();
    require(first(modulus) != 0 && first(exponent) != 0, "a number with a leading zero")?;
    let bits = modulus.len() * 8 - first(modulus).leading_zeros() as usize;
    require((2_048..=8_192).contains(&bits), "a modulus out of bounds")?;
    require(exponent.last().is_some_and(|last| last % 2 == 1), "an even exponent")?;
    require(exponent != [1], "an exponent of one")
}

fn text_of<'a>(jwk: &'a Object, name: &str) -> Judged<Option<&'a str>> {
    match jwk.get(name) {
        None => Ok(None),
        Some(Json::Text(text)) => Ok(Some(text)),
        Some(_) => Err("not a text"),
    }
}

fn bytes_of(jwk: &Object, name: &str) -> Judged<Vec<u8>> {
    let text = text_of(jwk, name)?.ok_or("a number is missing")?;
    base64url::decode(text).ok_or("not base64url")
}

fn require(holds: bool, otherwise: &'static str) -> Judged<()> {
    if holds { Ok(()) } else { Err(otherwise) }
}
