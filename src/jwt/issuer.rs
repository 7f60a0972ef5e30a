//! Issuers: whose tokens are accepted, with which keys and on which terms.

use std::time::Duration;

use super::Header;
use super::key::JwtKey;
use crate::error::Error;
use crate::reason::DenialReason;
use crate::token::check_text;

/// The claim that marks a JWT as an API token: a member, nested where the path has several names, and
/// the text that it must hold.
///
/// ```
/// use token_tracker::ApiTokenMark;
///
/// let mark = ApiTokenMark::new(["user", "auth_provider"], "api_token");
/// assert_eq!(ApiTokenMark::defaults()[1], mark);
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ApiTokenMark {
    pub(super) path: Vec<String>,
    pub(super) value: String,
}

/// Claims with a meaning of their own (RFC 7519 §4.1), which a mark must not overwrite.
const REGISTERED: [&str; 7] = ["aud", "exp", "iat", "iss", "jti", "nbf", "sub"];

impl ApiTokenMark {
    /// A mark: the names that lead to the claim, and its value.
    pub fn new<S: Into<String>>(
        path: impl IntoIterator<Item = S>,
        value: impl Into<String>,
    ) -> Self {
        Self { path: path.into_iter().map(Into::into).collect(), value: value.into() }
    }

    fn is_sound(&self) -> bool {
        self.path.first().is_some_and(|first| !REGISTERED.contains(&first.as_str()))
    }

    /// `token_use: "api"`, which issued tokens carry, and `user.auth_provider: "api_token"`.
    #[must_use]
    pub fn defaults() -> Vec<Self> {
        vec![Self::new(["token_use"], "api"), Self::new(["user", "auth_provider"], "api_token")]
    }
}

/// An issuer of JWTs: its name, its keys and what its tokens must say.
///
/// ```
/// use std::time::Duration;
/// use token_tracker::{Algorithm, JwtIssuer, JwtKey, TokenTracker};
///
/// let issuer = JwtIssuer::named("https://api.example.com")
///     .audience("https://api.example.com")
///     .key(JwtKey::hmac(Algorithm::Hs256, &[7; 32])?)
///     .leeway(Duration::from_secs(5));
/// let tracker = TokenTracker::builder().jwt_issuer(issuer).in_memory()?;
/// # Ok::<(), token_tracker::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct JwtIssuer {
    name: String,
    keys: Vec<JwtKey>,
    audiences: Vec<String>,
    marks: Vec<ApiTokenMark>,
    typ: Option<String>,
    leeway: Duration,
}

impl JwtIssuer {
    /// How far the clocks of issuer and verifier may be apart, unless said: 30 seconds.
    pub const DEFAULT_LEEWAY: Duration = Duration::from_secs(30);
    /// The most that can be said: 5 minutes.
    pub const MAX_LEEWAY: Duration = Duration::from_secs(300);

    /// An issuer whose tokens have exactly this `iss` claim.
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            keys: Vec::new(),
            audiences: Vec::new(),
            marks: ApiTokenMark::defaults(),
            typ: None,
            leeway: Self::DEFAULT_LEEWAY,
        }
    }

    /// An issuer whose tokens are known by their keys alone: `iss` is neither asked for nor issued. It
    /// must be the only one.
    #[must_use]
    pub fn unnamed() -> Self {
        Self::named("")
    }

    /// One more key. The first with a private part signs.
    #[must_use]
    pub fn key(mut self, key: JwtKey) -> Self {
        self.keys.push(key);
        self
    }

    /// One more accepted audience. With any, tokens must have an `aud` claim that names one of them, and
    /// issued tokens name the first; with none, `aud` is not looked at.
    #[must_use]
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audiences.push(audience.into());
        self
    }

    /// The claims that mark an API token, instead of [`ApiTokenMark::defaults`]. Issued tokens carry the
    /// first.
    #[must_use]
    pub fn marks(mut self, marks: impl IntoIterator<Item = ApiTokenMark>) -> Self {
        self.marks = marks.into_iter().collect();
        self
    }

    /// The `typ` header that tokens must have and issued ones get (RFC 8725 §3.11), compared as a media
    /// type. Not looked at unless said.
    #[must_use]
    pub fn require_type(mut self, typ: impl Into<String>) -> Self {
        self.typ = Some(typ.into());
        self
    }

    /// How far clocks may be apart in `exp` and `nbf`: up to [`JwtIssuer::MAX_LEEWAY`].
    #[must_use]
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.leeway = leeway;
        self
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn audiences(&self) -> &[String] {
        &self.audiences
    }

    pub(super) fn mark_list(&self) -> &[ApiTokenMark] {
        &self.marks
    }

    pub(super) fn typ(&self) -> Option<&str> {
        self.typ.as_deref()
    }

    pub(super) fn leeway_allowed(&self) -> Duration {
        self.leeway
    }

    pub(super) fn signing_key(&self) -> Option<&JwtKey> {
        self.keys.iter().find(|key| key.can_sign())
    }

    pub(super) fn validate(&self) -> Result<(), Error> {
        check_text("jwt_issuer", &self.name, 0, 512)?;
        if self.keys.is_empty() {
            return Err(Error::invalid("jwt_issuer", "must have a key"));
        }
        if self.leeway > Self::MAX_LEEWAY {
            return Err(Error::invalid("leeway", "must be 5 minutes or less"));
        }
        if self.marks.iter().any(|mark| !mark.is_sound()) {
            return Err(Error::invalid(
                "marks",
                "must name a claim each that is not a registered one",
            ));
        }
        for audience in &self.audiences {
            check_text("audience", audience, 1, 512)?;
        }
        if let Some(typ) = &self.typ {
            check_text("require_type", typ, 1, 128)?;
        }
        for (at, key) in self.keys.iter().enumerate() {
            if key.kid_str().is_some()
                && self.keys[..at].iter().any(|k| k.kid_str() == key.kid_str())
            {
                return Err(Error::invalid("kid", "must not be given to two keys of an issuer"));
            }
        }
        Ok(())
    }

    /// A key takes part where its algorithm is the header's and, if the header names a key, it is named
    /// so or has no name.
    pub(super) fn check_signature(
        &self,
        header: &Header,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), DenialReason> {
        let named = |key: &&JwtKey| match (&header.kid, key.kid_str()) {
            (Some(wanted), Some(kid)) => wanted == kid,
            _ => true,
        };
        let fits = |key: &&JwtKey| key.algorithm() == header.algorithm && named(key);
        let mut candidates = self.keys.iter().filter(fits).peekable();
        if candidates.peek().is_none() {
            return Err(DenialReason::UnknownKey);
        }
        let good = candidates.any(|key| key.verifies(message, signature));
        if good { Ok(()) } else { Err(DenialReason::SignatureInvalid) }
    }
}
