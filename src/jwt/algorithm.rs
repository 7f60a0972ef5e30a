//! The signature algorithms, and what kind of key each takes.

use jsonwebtoken::Algorithm as Jwa;

/// A signature algorithm of RFC 7518 or RFC 8037. The key fixes it; a token's header only has to agree.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Algorithm {
    /// Ed25519.
    EdDsa,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// HMAC with SHA-256.
    Hs256,
    /// HMAC with SHA-384.
    Hs384,
    /// HMAC with SHA-512.
    Hs512,
    /// RSA-PSS with SHA-256.
    Ps256,
    /// RSA-PSS with SHA-384.
    Ps384,
    /// RSA-PSS with SHA-512.
    Ps512,
    /// RSA PKCS #1 v1.5 with SHA-256.
    Rs256,
    /// RSA PKCS #1 v1.5 with SHA-384.
    Rs384,
    /// RSA PKCS #1 v1.5 with SHA-512.
    Rs512,
}

/// What kind of key an algorithm takes, with its measures.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Family {
    /// With the length of a public key point in bytes.
    Ec(usize),
    Ed,
    /// With the least length of a secret in bytes, that of the hash (RFC 7518 §3.2).
    Hmac(usize),
    Rsa,
}

impl Algorithm {
    const ALL: [(Self, &'static str, Jwa, Family); 12] = [
        (Self::EdDsa, "EdDSA", Jwa::EdDSA, Family::Ed),
        (Self::Es256, "ES256", Jwa::ES256, Family::Ec(65)),
        (Self::Es384, "ES384", Jwa::ES384, Family::Ec(97)),
        (Self::Hs256, "HS256", Jwa::HS256, Family::Hmac(32)),
        (Self::Hs384, "HS384", Jwa::HS384, Family::Hmac(48)),
        (Self::Hs512, "HS512", Jwa::HS512, Family::Hmac(64)),
        (Self::Ps256, "PS256", Jwa::PS256, Family::Rsa),
        (Self::Ps384, "PS384", Jwa::PS384, Family::Rsa),
        (Self::Ps512, "PS512", Jwa::PS512, Family::Rsa),
        (Self::Rs256, "RS256", Jwa::RS256, Family::Rsa),
        (Self::Rs384, "RS384", Jwa::RS384, Family::Rsa),
        (Self::Rs512, "RS512", Jwa::RS512, Family::Rsa),
    ];

    fn row(self) -> &'static (Self, &'static str, Jwa, Family) {
        Self::ALL.iter().find(|row| row.0 == self).expect("every algorithm has its row")
    }

    /// The algorithm as a JOSE header names it, such as `ES256`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.row().1
    }

    /// The algorithm of this name, case-sensitive (RFC 7515 §4.1.1). `none` is not one. RFC 9864 names EdDSA
    /// on its one curve here anew.
    pub(super) fn named(name: &str) -> Option<Self> {
        let name = if name == "Ed25519" { "EdDSA" } else { name };
        Self::ALL.iter().find(|row| row.1 == name).map(|row| row.0)
    }

    pub(super) fn jwa(self) -> Jwa {
        self.row().2
    }

    pub(super) fn family(self) -> Family {
        self.row().3
    }

    pub(super) fn kind(self) -> KeyKind {
        match self.family() {
            Family::Ec(_) => KeyKind::Ec,
            Family::Ed => KeyKind::Ed,
            Family::Hmac(_) => KeyKind::Hmac,
            Family::Rsa => KeyKind::Rsa,
        }
    }

    /// The curve as a JWK names it (RFC 7518 §6.2.1.1, RFC 8037 §2).
    pub(super) fn curve(self) -> Option<&'static str> {
        match self {
            Self::EdDsa => Some("Ed25519"),
            Self::Es256 => Some("P-256"),
            Self::Es384 => Some("P-384"),
            _ => None,
        }
    }
}

/// What kind of key an algorithm takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum KeyKind {
    Ec,
    Ed,
    Hmac,
    Rsa,
}
