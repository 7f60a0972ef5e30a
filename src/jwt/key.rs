//! Keys: an algorithm each, checked when they are loaded.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::jwk::EllipticCurve;
use jsonwebtoken::{DecodingKey, DecodingKeyKind, EncodingKey};

use subtle::ConstantTimeEq;

use super::algorithm::{Algorithm, Family, KeyKind};
use super::provider::PROVIDER;
use super::{ed, pem, rsa};
use crate::error::Error;

/// A key to verify tokens with and, where it has a private part, to sign them.
///
/// ```
/// use token_tracker::{Algorithm, JwtKey};
///
/// let secret = JwtKey::hmac(Algorithm::Hs256, &[7; 32])?.kid("2026-01");
/// assert_eq!(secret.algorithm(), Algorithm::Hs256);
///
/// let short = JwtKey::hmac(Algorithm::Hs256, b"too short").unwrap_err();
/// assert_eq!(short.to_string(), "`key` must be a secret of 32 bytes or more for HS256");
/// # Ok::<(), token_tracker::Error>(())
/// ```
#[derive(Clone)]
pub struct JwtKey {
    algorithm: Algorithm,
    kid: Option<String>,
    verifying: DecodingKey,
    signing: Option<EncodingKey>,
}

impl JwtKey {
    /// A secret for HS256, HS384 or HS512, at least as long as the hash: 32, 48 or 64 bytes.
    ///
    /// # Errors
    /// `InvalidInput` where the secret is shorter or the algorithm is not HMAC.
    pub fn hmac(algorithm: Algorithm, secret: &[u8]) -> Result<Self, Error> {
        let name = algorithm.as_str();
        if secret.trim_ascii_start().starts_with(b"-----BEGIN ") {
            return Err(Error::invalid("key", "must be a secret, not a PEM text"));
        }
        match algorithm.family() {
            Family::Hmac(least) if secret.len() < least => Err(Error::invalid(
                "key",
                format!("must be a secret of {least} bytes or more for {name}"),
            )),
            Family::Hmac(_) => Ok(Self {
                algorithm,
                kid: None,
                verifying: DecodingKey::from_secret(secret),
                signing: Some(EncodingKey::from_secret(secret)),
            }),
            _ => Err(Error::invalid("algorithm", format!("must be HMAC for a secret, not {name}"))),
        }
    }

    /// A private key in PEM, PKCS #8 or (RSA) PKCS #1: verifies and signs.
    ///
    /// # Errors
    /// `InvalidInput` where the text is not one private key of the algorithm's kind, RSA is under 2,048
    /// or over 8,192 bits, or the curve is another.
    pub fn private_pem(algorithm: Algorithm, pem: &[u8]) -> Result<Self, Error> {
        pem::check(pem, &["PRIVATE KEY", "RSA PRIVATE KEY"])?;
        let signing = match algorithm.family() {
            Family::Ec(_) => EncodingKey::from_ec_pem(pem),
            Family::Ed => EncodingKey::from_ed_pem(pem),
            Family::Rsa => EncodingKey::from_rsa_pem(pem),
            Family::Hmac(_) => return Err(not_asymmetric(algorithm)),
        };
        let signing = signing.map_err(|error| unusable(algorithm, error))?;
        let key = Self {
            algorithm,
            kid: None,
            verifying: public_part(algorithm, &signing)?,
            signing: Some(signing),
        };
        check_public(algorithm, &key.verifying)?;
        // What loads must work: a backend may read a key that it then does not verify with.
        match key.sign(PROBE) {
            Ok(signature) if key.verifies(PROBE, &signature) => Ok(key),
            _ => Err(Error::invalid("key", format!("is not one for {}", algorithm.as_str()))),
        }
    }

    /// A public key in PEM, SPKI or (RSA) PKCS #1: verifies only.
    ///
    /// # Errors
    /// As [`JwtKey::private_pem`], for a public key.
    pub fn public_pem(algorithm: Algorithm, pem: &[u8]) -> Result<Self, Error> {
        let der = pem::check(pem, &["PUBLIC KEY", "RSA PUBLIC KEY"])?;
        pem::check_curve(algorithm, &der)?;
        let verifying = match algorithm.family() {
            Family::Ec(_) => DecodingKey::from_ec_pem(pem),
            Family::Ed => DecodingKey::from_ed_pem(pem),
            Family::Rsa => DecodingKey::from_rsa_pem(pem),
            Family::Hmac(_) => return Err(not_asymmetric(algorithm)),
        };
        Self::verifying(algorithm, verifying.map_err(|error| unusable(algorithm, error))?)
    }

    /// The bytes of a PKCS #8 private key (DER): verifies and signs.
    ///
    /// # Errors
    /// As [`JwtKey::private_pem`].
    pub fn private_der(algorithm: Algorithm, der: &[u8]) -> Result<Self, Error> {
        Self::private_pem(algorithm, &zeroize::Zeroizing::new(armour("PRIVATE KEY", der)))
    }

    /// The bytes of an SPKI public key (DER): verifies only.
    ///
    /// # Errors
    /// As [`JwtKey::public_pem`].
    pub fn public_der(algorithm: Algorithm, der: &[u8]) -> Result<Self, Error> {
        Self::public_pem(algorithm, &armour("PUBLIC KEY", der))
    }

    /// A key from a JSON Web Key (RFC 7517): `oct`, `RSA`, `EC` (P-256, P-384) or `OKP` (Ed25519).
    ///
    /// The key is for the one algorithm that its `alg` names, or for the only allowed one that its type
    /// fits. A private key is read as its public part; a secret signs too, where its `key_ops` allow it.
    ///
    /// ```
    /// use token_tracker::{Algorithm, JwtKey};
    ///
    /// let jwk = r#"{"kty":"OKP","crv":"Ed25519","kid":"2026",
    ///     "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    /// let key = JwtKey::from_jwk(jwk, &[Algorithm::EdDsa, Algorithm::Es256])?;
    /// assert_eq!(key.algorithm(), Algorithm::EdDsa);
    /// # Ok::<(), token_tracker::Error>(())
    /// ```
    ///
    /// # Errors
    /// `InvalidInput` where the text is not such a key; where `use`, `key_ops`, `alg` or `crv` say that it
    /// is for something else; where a number is too short, too long or not canonical; where a secret is
    /// shorter than its hash; and where an RSA modulus comes from a generator known to be broken.
    pub fn from_jwk(jwk: &str, allowed: &[Algorithm]) -> Result<Self, Error> {
        super::jwk::key(jwk, allowed)
    }

    pub(super) fn rsa_components(algorithm: Algorithm, n: &[u8], e: &[u8]) -> Result<Self, Error> {
        Self::verifying(algorithm, DecodingKey::from_rsa_raw_components(n, e))
    }

    /// RFC 7518 §6.2.1.2: each coordinate has the full size of its curve.
    pub(super) fn ec_point(algorithm: Algorithm, x: &[u8], y: &[u8]) -> Result<Self, Error> {
        if x.len() != y.len() {
            return Err(Error::invalid("key", format!("is not one for {}", algorithm.as_str())));
        }
        Self::verifying(algorithm, DecodingKey::from_ec_der(&[&[4], x, y].concat()))
    }

    pub(super) fn ed_point(algorithm: Algorithm, x: &[u8]) -> Result<Self, Error> {
        Self::verifying(algorithm, DecodingKey::from_ed_der(x))
    }

    fn verifying(algorithm: Algorithm, verifying: DecodingKey) -> Result<Self, Error> {
        check_public(algorithm, &verifying)?;
        Ok(Self { algorithm, kid: None, verifying, signing: None })
    }

    /// The same key, kept from signing unless it may.
    pub(super) fn signing_if(mut self, may: bool) -> Self {
        self.signing = self.signing.filter(|_| may);
        self
    }

    /// Names the key, so that tokens which name it in their header find it among several.
    #[must_use]
    pub fn kid(mut self, kid: impl Into<String>) -> Self {
        self.kid = Some(kid.into());
        self
    }

    /// The one algorithm that this key is for.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub(crate) fn kid_str(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    pub(super) fn is_symmetric(&self) -> bool {
        self.algorithm.kind() == KeyKind::Hmac
    }

    /// Whether both are the same key for the same algorithm, whatever they are called.
    pub(super) fn is_same_key(&self, other: &Self) -> bool {
        let same = match (self.verifying.kind(), other.verifying.kind()) {
            (DecodingKeyKind::SecretOrDer(one), DecodingKeyKind::SecretOrDer(two)) => {
                one.ct_eq(two).into()
            }
            (
                DecodingKeyKind::RsaModulusExponent { n, e },
                DecodingKeyKind::RsaModulusExponent { n: other_n, e: other_e },
            ) => n == other_n && e == other_e,
            _ => false,
        };
        same && self.algorithm == other.algorithm
    }

    pub(super) fn can_sign(&self) -> bool {
        self.signing.is_some()
    }

    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let verifier = (PROVIDER.verifier_factory)(&self.algorithm.jwa(), &self.verifying);
        verifier.is_ok_and(|verifier| verifier.verify(message, &signature.to_vec()).is_ok())
    }

    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, anyhow::Error> {
        let key = self.signing.as_ref().ok_or_else(|| anyhow::anyhow!("no private part"))?;
        let signer = (PROVIDER.signer_factory)(&self.algorithm.jwa(), key)?;
        signer.try_sign(message).map_err(|_| anyhow::anyhow!("the backend refused to sign"))
    }
}

impl fmt::Debug for JwtKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtKey")
            .field("algorithm", &self.algorithm)
            .field("kid", &self.kid)
            .field("can_sign", &self.can_sign())
            .finish_non_exhaustive()
    }
}

/// What a private key signs when it is loaded, to see that its public part verifies it.
const PROBE: &[u8] = b"token-tracker probe";

fn armour(label: &str, der: &[u8]) -> Vec<u8> {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
        .into_bytes()
}

fn public_part(algorithm: Algorithm, signing: &EncodingKey) -> Result<DecodingKey, Error> {
    let utils = &PROVIDER.key_utils;
    let der = signing.as_bytes();
    let derived = match algorithm.family() {
        Family::Ec(_) => {
            (utils.ec_pub_components_from_private_key)(der, algorithm.jwa()).map(|(_, x, y)| {
                DecodingKey::from_ec_der(&[&[4], x.as_slice(), y.as_slice()].concat())
            })
        }
        Family::Ed => (utils.ed_pub_components_from_private_key)(der, &EllipticCurve::Ed25519)
            .map(|x| DecodingKey::from_ed_der(&x)),
        Family::Rsa => (utils.rsa_pub_components_from_private_key)(der)
            .map(|(n, e)| DecodingKey::from_rsa_raw_components(&n, &e)),
        Family::Hmac(_) => return Err(not_asymmetric(algorithm)),
    };
    derived.map_err(|error| unusable(algorithm, error))
}

fn check_public(algorithm: Algorithm, key: &DecodingKey) -> Result<(), Error> {
    let wrong = || Error::invalid("key", format!("is not one for {}", algorithm.as_str()));
    (PROVIDER.verifier_factory)(&algorithm.jwa(), key).map_err(|_| wrong())?;
    let has_length =
        |length: usize| key.try_get_as_bytes().is_ok_and(|point| point.len() == length);
    match (algorithm.family(), key.kind()) {
        (Family::Ec(length), _) if has_length(length) => Ok(()),
        (Family::Ed, _)
            if has_length(32) && !key.try_get_as_bytes().is_ok_and(ed::is_of_small_order) =>
        {
            Ok(())
        }
        (Family::Rsa, DecodingKeyKind::RsaModulusExponent { n, e }) => rsa::check(n, e),
        (Family::Rsa, DecodingKeyKind::SecretOrDer(der)) => {
            let (n, e) = (PROVIDER.key_utils.rsa_pub_components_from_public_key)(der)
                .map_err(|_| wrong())?;
            rsa::check(&n, &e)
        }
        _ => Err(wrong()),
    }
}

fn not_asymmetric(algorithm: Algorithm) -> Error {
    Error::invalid(
        "algorithm",
        format!("must be asymmetric for a key pair, not {}", algorithm.as_str()),
    )
}

/// The backend's error is not kept: a parser's message may quote the key.
fn unusable(algorithm: Algorithm, _error: jsonwebtoken::errors::Error) -> Error {
    Error::invalid("key", format!("is not one for {}", algorithm.as_str()))
}
