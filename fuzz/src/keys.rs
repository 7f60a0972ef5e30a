//! The three keys of the fuzz targets, with signing and verifying by the RFCs' primitives. If this
//! accepted a signature that the library refuses, or the other way round, one of the two is wrong.

use std::sync::LazyLock;

use arbitrary::Arbitrary;
use ed25519_dalek::{Signer as _, Verifier as _};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Sha256, Sha384, Sha512};

use crate::base64url;

/// One of the keys that tokens are signed with.
#[derive(Arbitrary, Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyName {
    EdDsa,
    Es256,
    Hs256,
}

/// The secret of the HS256 key.
pub const SECRET: [u8; 32] = *b"a secret that everybody may know";

/// The modulus of an RSA key whose private part nobody has; its exponent is 65537.
pub const RSA_MODULUS: &str = "tn81P-JaPs6SIaNbApKm-BV1MRE8PyTokHRi8TfO5WoxdMfb6G_8a2lud9ZKGi0g6x1xSq8ZphPEY8BGYzzqfKzLToNR\
     DJRmYj1N4d1ItwOaMw4okLbK0VMz7ylqbvLfu1rhu28bzNNpFBq61jHmCKeYWswHL4EFm_l7EvaxSdwpVgQIg5rBLnpr\
     gaNnj_r3crSqOZSwF_YvueijMOrRzmbS-5SI_3QbA38hT5P1_dNtL4I0eIGd27TfXX8xFWibhl3C_aeEFgPYuKxLy8qj\
     Yn10C2Hl4cFSKWAV3NoHTham1UaGRp015TR-CJM0VvpC_P1dzF7iBr5Z_2RUF2KmZw";

/// All that it ever signed: one token with each scheme.
pub const RSA_TOKENS: [(&str, &str); 2] = [
    (
        "RS256",
        "eyJhbGciOiJSUzI1NiJ9.eyJqdGkiOiJqdGktMSJ9.hkX13QPh2fp44NJreWDuoKlmh_sNjMa_EnO80fpMOOoq1PG3jg\
     igSBjHo3bDf6lJGpbFOdT2hsT21gtJii-k_uwFPZTAOnL0whei8XwgeQyyyYUE4ZzkSbxb6nKAVE3Qdk1ucGErl6YAG7\
     BjWHWveVjcbX_V08PJxXY6UgrgOSvJNnTkAvvY4mfQaw4Iyb8zJHuN8E2TScAy3WRxSjJOrQdY8_t6cHafvUdzEahA-0\
     Mout_AywlEs25T575Svyat3uj_iSgjn_FFBizq9PtXK1i_LQzGX_bkSm9Ahvp7vV4FJm-FWo6XSob3x3utq8P9D5FNfQ\
     xw6AiH3bjCaRBBOA",
    ),
    (
        "PS256",
        "eyJhbGciOiJQUzI1NiJ9.eyJqdGkiOiJqdGktMSJ9.fZgbj3slk2s2lA-I-9YGFq3nK-mNk7nYpimAEPXcAvD8SHkmRX\
     SPC_7MvcnmeNdrlFxuPmGlHbj2GslodqfASSudnpwd0R5mQKFO_Haheno8VL52SJuinWVgbJbAgBh0LyLTjxNjvXHvUf\
     MAACeJBBTuSi5iZIiiB2CJjgwTjLns7AJPrn9YQ2kYjL7Hy7KOZrZwT_nLLKX4wBK-UvECU5lhvw1HHNbinexWJzWqWq\
     iW9z3l9tePyHOudEALjzqjNmWWwuWqlMq2jm3JCn1kn0f7O6a58V-AwaZ22NAMBknLg05uEtQbIqviYlguJw9-fC443f\
     BQV2y1XrINqBQMLw",
    ),
];

static ED25519: LazyLock<ed25519_dalek::SigningKey> =
    LazyLock::new(|| ed25519_dalek::SigningKey::from_bytes(&[0x5e; 32]));

static P256: LazyLock<p256::ecdsa::SigningKey> = LazyLock::new(|| {
    p256::ecdsa::SigningKey::from_slice(&[0x5e; 32]).expect("the scalar is below the order")
});

static P384: LazyLock<p384::ecdsa::SigningKey> = LazyLock::new(|| {
    p384::ecdsa::SigningKey::from_slice(&[0x5e; 48]).expect("the scalar is below the order")
});

impl KeyName {
    pub const ALL: [Self; 3] = [Self::EdDsa, Self::Es256, Self::Hs256];

    /// The algorithm that the key is for, as a header names it.
    pub fn algorithm(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
            Self::Es256 => "ES256",
            Self::Hs256 => "HS256",
        }
    }

    /// Whether a header may name the key's algorithm so. RFC 9864 §2.2 has a second name for EdDSA on the
    /// curve of this key.
    pub fn is_for(self, algorithm: &str) -> bool {
        algorithm == self.algorithm() || self == Self::EdDsa && algorithm == "Ed25519"
    }

    /// The name of the key, where it has one.
    pub fn kid(self) -> &'static str {
        match self {
            Self::EdDsa => "ed-1",
            Self::Es256 => "es-1",
            Self::Hs256 => "hs-1",
        }
    }

    pub fn sign(self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::EdDsa => ED25519.sign(message).to_bytes().to_vec(),
            Self::Es256 => {
                let signature: p256::ecdsa::Signature = P256.sign(message);
                signature.to_bytes().to_vec()
            }
            Self::Hs256 => hmac_sha256(&SECRET, message),
        }
    }

    pub fn verifies(self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::EdDsa => ed25519_verifies(ED25519.verifying_key().as_bytes(), message, signature),
            Self::Es256 => p256_verifies(&self.public_point(), message, signature),
            Self::Hs256 => hmac_sha256(&SECRET, message) == signature,
        }
    }

    /// The key as a JWK, public where there is a public part.
    pub fn jwk(self, kid: Option<&str>) -> String {
        let kid = kid.map(|kid| format!(r#","kid":"{kid}""#)).unwrap_or_default();
        let point = self.public_point();
        match self {
            Self::EdDsa => {
                format!(
                    r#"{{"kty":"OKP","crv":"Ed25519","x":"{}"{kid}}}"#,
                    base64url::encode(&point)
                )
            }
            Self::Es256 => {
                let (x, y) = point[1..].split_at(32);
                let (x, y) = (base64url::encode(x), base64url::encode(y));
                format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}","y":"{y}"{kid}}}"#)
            }
            Self::Hs256 => format!(r#"{{"kty":"oct","k":"{}"{kid}}}"#, base64url::encode(&SECRET)),
        }
    }

    /// What everybody may know of the key: a point, for EC uncompressed (SEC 1 §2.3.3).
    pub fn public_point(self) -> Vec<u8> {
        match self {
            Self::EdDsa => ED25519.verifying_key().as_bytes().to_vec(),
            Self::Es256 => P256.verifying_key().to_sec1_point(false).as_bytes().to_vec(),
            Self::Hs256 => Vec::new(),
        }
    }
}

pub fn hmac_sha256(secret: &[u8], message: &[u8]) -> Vec<u8> {
    let mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes secrets of any length");
    mac.chain_update(message).finalize().into_bytes().to_vec()
}

pub fn hmac_sha384(secret: &[u8], message: &[u8]) -> Vec<u8> {
    let mac = Hmac::<Sha384>::new_from_slice(secret).expect("HMAC takes secrets of any length");
    mac.chain_update(message).finalize().into_bytes().to_vec()
}

pub fn hmac_sha512(secret: &[u8], message: &[u8]) -> Vec<u8> {
    let mac = Hmac::<Sha512>::new_from_slice(secret).expect("HMAC takes secrets of any length");
    mac.chain_update(message).finalize().into_bytes().to_vec()
}

/// ES256 (RFC 7518 §3.4): two numbers of full length, and a point on the curve.
pub fn p256_verifies(point: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(point);
    let signature = p256::ecdsa::Signature::from_slice(signature);
    matches!((key, signature), (Ok(key), Ok(signature)) if key.verify(message, &signature).is_ok())
}

/// ES384, likewise.
pub fn p384_verifies(point: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let key = p384::ecdsa::VerifyingKey::from_sec1_bytes(point);
    let signature = p384::ecdsa::Signature::from_slice(signature);
    matches!((key, signature), (Ok(key), Ok(signature)) if key.verify(message, &signature).is_ok())
}

/// EdDSA on Ed25519 (RFC 8032 §5.1.7), with one encoding of a point.
pub fn ed25519_verifies(point: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let Ok(point) = <[u8; 32]>::try_from(point) else { return false };
    let key = ed25519_dalek::VerifyingKey::from_bytes(&point);
    let signature = ed25519_dalek::Signature::from_slice(signature);
    matches!((key, signature), (Ok(key), Ok(signature)) if key.verify(message, &signature).is_ok())
}

pub fn is_on_p256(point: &[u8]) -> bool {
    p256::ecdsa::VerifyingKey::from_sec1_bytes(point).is_ok()
}

pub fn is_on_p384(point: &[u8]) -> bool {
    p384::ecdsa::VerifyingKey::from_sec1_bytes(point).is_ok()
}

/// Whether a signature by this point proves anything.
pub fn is_sound_ed25519(point: &[u8]) -> bool {
    let Ok(point) = <[u8; 32]>::try_from(point) else { return false };
    ed25519_dalek::VerifyingKey::from_bytes(&point).is_ok_and(|key| !key.is_weak())
}

/// A P-384 key, for JWKs: its point and its signature.
pub fn p384_point() -> Vec<u8> {
    P384.verifying_key().to_sec1_point(false).as_bytes().to_vec()
}

pub fn p384_sign(message: &[u8]) -> Vec<u8> {
    let signature: p384::ecdsa::Signature = P384.sign(message);
    signature.to_bytes().to_vec()
}

/// Whether the RSA key made this signature with the scheme of that name.
pub fn is_known_rsa_signature(algorithm: &str, message: &[u8], signature: &[u8]) -> bool {
    RSA_TOKENS.iter().any(|(scheme, token)| {
        let (known, made) = token.rsplit_once('.').expect("it is a token");
        *scheme == algorithm
            && known.as_bytes() == message
            && base64url::decode(made).is_some_and(|made| made == signature)
    })
}
