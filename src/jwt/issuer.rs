//! Issuers: whose tokens are accepted, with which keys and on which terms.

use std::time::Duration;

use super::Header;
use super::key::JwtKey;
use super::key_set::KeySet;
use crate::bounds::check_text;
use crate::error::Error;
use crate::reason::DenialReason;
use crate::timestamp::Timestamp;

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

/// What becomes of a token of an outside issuer that is in no catalogue. A revocation is looked at before.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Outside {
    /// It is taken into the catalogue at its first sight, and tracked from then on: only with `jti`,
    /// `exp` and `sub`, and only while the issuer has fewer than `most` living tokens there.
    Adopt {
        /// How many living tokens of the issuer the catalogue may hold.
        most: u32,
    },
    /// It is let through untracked: there is neither a record nor a last use of it. Its scopes are those
    /// of its `scope` claim.
    Pass,
    /// It is refused.
    #[default]
    Refuse,
}

/// RFC 9068 §2.2.
const ACCESS_TOKEN_CLAIMS: [&str; 7] = ["iss", "exp", "aud", "sub", "client_id", "iat", "jti"];

/// How many replaced keys an issuer remembers.
const MAX_RETIRING: usize = 256;

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
    keys: KeySet,
    /// Keys that were replaced, and until when they still verify.
    retiring: Vec<(JwtKey, Timestamp)>,
    audiences: Vec<String>,
    marks: Vec<ApiTokenMark>,
    typ: Option<String>,
    subject: Option<String>,
    required: Option<Vec<String>>,
    max_lifetime: Option<Duration>,
    leeway: Duration,
    outside: Option<Outside>,
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
            keys: KeySet::new(),
            retiring: Vec::new(),
            audiences: Vec::new(),
            marks: ApiTokenMark::defaults(),
            typ: None,
            subject: None,
            required: None,
            max_lifetime: None,
            leeway: Self::DEFAULT_LEEWAY,
            outside: None,
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

    /// These keys instead of those given so far.
    #[must_use]
    pub fn keys(mut self, keys: KeySet) -> Self {
        self.keys = keys;
        self
    }

    /// Makes this an outside issuer: one whose tokens are not issued here, and need not be in the
    /// catalogue. Its marks do not count. Unless said, an issuer is one of our own.
    #[must_use]
    pub fn outside(mut self, outside: Outside) -> Self {
        self.outside = Some(outside);
        self
    }

    /// The claims that tokens must have, instead of `exp` alone. A token in the catalogue needs no `exp`:
    /// the catalogue says when it ends.
    #[must_use]
    pub fn require_claims<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.required = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// The one subject whose tokens are accepted.
    #[must_use]
    pub fn require_subject(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// The longest that tokens may live, from `iat` to `exp`; both are then required.
    #[must_use]
    pub fn max_lifetime(mut self, lifetime: Duration) -> Self {
        self.max_lifetime = Some(lifetime);
        self
    }

    /// The profile of RFC 9068 for access tokens: the type `at+jwt`, and the claims `iss`, `exp`, `aud`,
    /// `sub`, `client_id`, `iat` and `jti`. Needs a name and an audience; issued tokens have the owner as
    /// `client_id`.
    #[must_use]
    pub fn access_token_profile(self) -> Self {
        self.require_type("at+jwt").require_claims(ACCESS_TOKEN_CLAIMS)
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

    pub(super) fn subject(&self) -> Option<&str> {
        self.subject.as_deref()
    }

    /// The claims that tokens must have, `exp` apart.
    pub(super) fn required(&self) -> impl Iterator<Item = &str> {
        let required = self.required.iter().flatten().map(String::as_str);
        required.filter(|name| *name != "exp")
    }

    pub(super) fn requires_expiry(&self) -> bool {
        self.required.as_ref().is_none_or(|names| names.iter().any(|name| name == "exp"))
    }

    pub(super) fn longest_lifetime(&self) -> Option<Duration> {
        self.max_lifetime
    }

    pub(crate) fn outside_rule(&self) -> Option<Outside> {
        self.outside
    }

    /// The same issuer with other keys. Those it had verify until `until`.
    pub(super) fn with_keys(&self, keys: KeySet, now: Timestamp, until: Timestamp) -> Self {
        let mut issuer = self.clone();
        let replaced = std::mem::replace(&mut issuer.keys, keys);
        issuer.retiring.extend(replaced.iter().map(|key| (key.clone(), until)));
        let current = &issuer.keys;
        issuer.retiring.retain(|(key, until)| {
            now < *until && !current.iter().any(|current| current.is_same_key(key))
        });
        let excess = issuer.retiring.len().saturating_sub(MAX_RETIRING);
        issuer.retiring.drain(..excess);
        issuer
    }

    pub(crate) fn signing_key(&self) -> Option<&JwtKey> {
        self.keys.iter().find(|key| key.can_sign())
    }

    pub(super) fn validate(&self) -> Result<(), Error> {
        check_text("jwt_issuer", &self.name, 0, 512)?;
        self.keys.validate()?;
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
        let profiled = self.required.iter().flatten();
        if profiled.eq(ACCESS_TOKEN_CLAIMS) && (self.name.is_empty() || self.audiences.is_empty()) {
            let message = "needs a name and an audience for the access-token profile (RFC 9068)";
            return Err(Error::invalid("jwt_issuer", message));
        }
        Ok(())
    }

    /// A key takes part where its algorithm is the header's and, if the header names a key, it is named
    /// so or has no name. Returns the key, and until when it verifies if it is one that was replaced.
    pub(super) fn check_signature(
        &self,
        header: &Header,
        message: &[u8],
        signature: &[u8],
        now: Timestamp,
    ) -> Result<(&JwtKey, Option<Timestamp>), DenialReason> {
        let current = self.keys.iter().map(|key| (key, None));
        let retiring = self.retiring.iter().map(|(key, until)| (key, Some(*until)));
        let fits = |(key, until): &(&JwtKey, Option<Timestamp>)| {
            let named = match (&header.kid, key.kid_str()) {
                (Some(wanted), Some(kid)) => wanted == kid,
                _ => true,
            };
            key.algorithm() == header.algorithm && named && until.is_none_or(|until| now < until)
        };
        let mut candidates = current.chain(retiring).filter(fits).peekable();
        if candidates.peek().is_none() {
            return Err(DenialReason::UnknownKey);
        }
        let good = candidates.find(|(key, _)| key.verifies(message, signature));
        good.ok_or(DenialReason::SignatureInvalid)
    }
}
