//! What an adapter knows of a request when it asks who is calling.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use crate::reason::DenialReason;

/// A request to authenticate: a credential and whatever else is known and wanted.
///
/// Anything that turns into one will do, so a bare token is enough. What is said of the request
/// here (method, route, address, agent) is in its usage record even if the handler never ends.
///
/// ```
/// # use token_tracker::{AuthRequest, NewToken, TokenTracker};
/// # let tracker = TokenTracker::builder().in_memory()?;
/// # let issued = tracker.tokens().issue(NewToken::opaque("alice", "laptop").scope("items:read"))?;
/// # let token = issued.secret.expose();
/// let access = tracker.authenticate(
///     AuthRequest::new(token)
///         .scope("items:read")
///         .method("GET")
///         .route("/items/{id}")
///         .client_address("192.0.2.7".parse::<std::net::IpAddr>()?)
///         .user_agent("curl/8.5"),
/// )?;
/// assert_eq!(access.identity().owner(), "alice");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct AuthRequest<'a> {
    pub(crate) credential: Result<Cow<'a, str>, DenialReason>,
    pub(crate) scope: Option<Cow<'a, str>>,
    pub(crate) audience: Option<Cow<'a, str>>,
    pub(crate) resource: Option<Cow<'a, str>>,
    pub(crate) path: Option<Cow<'a, str>>,
    pub(crate) facts: Facts<'a>,
}

/// What goes into the record as it is.
#[derive(Clone, Default)]
pub(crate) struct Facts<'a> {
    pub(crate) method: Option<Cow<'a, str>>,
    pub(crate) route: Option<Cow<'a, str>>,
    pub(crate) client_address: Option<IpAddr>,
    pub(crate) user_agent: Option<Cow<'a, [u8]>>,
    pub(crate) cost: Option<u32>,
}

impl Facts<'_> {
    pub(crate) fn units(&self) -> u32 {
        self.cost.unwrap_or(1)
    }
}

impl<'a> AuthRequest<'a> {
    /// A request with this token.
    #[must_use]
    pub fn new(token: impl Into<Cow<'a, str>>) -> Self {
        Self::of(Ok(token.into()))
    }

    /// A request with the values of its `Authorization` header fields, all of them.
    ///
    /// By RFC 9110 §11.6.2 and RFC 6750 §2.1: the scheme `Bearer` in any case, then one token. Another
    /// scheme is a missing credential, a second field or a second token in one field is a
    /// repeated one; either comes out of `authenticate` as [`Denied`](crate::Denied).
    ///
    /// ```
    /// # use token_tracker::{AuthError, AuthRequest, DenialReason, TokenTracker};
    /// # let tracker = TokenTracker::builder().in_memory()?;
    /// let twice = AuthRequest::from_authorization(["Bearer one", "Bearer two"]);
    /// let Err(AuthError::Denied(denied)) = tracker.authenticate(twice) else { panic!() };
    /// assert_eq!(denied.reason(), DenialReason::CredentialRepeated);
    /// # Ok::<(), token_tracker::Error>(())
    /// ```
    #[must_use]
    pub fn from_authorization<T>(values: impl IntoIterator<Item = &'a T>) -> Self
    where
        T: AsRef<[u8]> + ?Sized + 'a,
    {
        let mut values = values.into_iter();
        Self::of(match (values.next(), values.next()) {
            (None, _) => Err(DenialReason::CredentialMissing),
            (Some(_), Some(_)) => Err(DenialReason::CredentialRepeated),
            (Some(value), None) => bearer_token(value.as_ref()).map(Cow::Borrowed),
        })
    }

    /// A request with its header fields, in any order: its `Authorization`, all of them, as
    /// [`from_authorization`](AuthRequest::from_authorization) takes them, and its `User-Agent`. The rest is not looked at.
    ///
    /// A `&HeaderMap` of the `http` crate goes in as it is, of any version; so do pairs of texts or bytes.
    ///
    /// ```
    /// # use token_tracker::{AuthRequest, NewToken, TokenTracker};
    /// # let tracker = TokenTracker::builder().in_memory()?;
    /// # let issued = tracker.tokens().issue(NewToken::opaque("alice", "laptop"))?;
    /// let bearer = format!("Bearer {}", issued.secret.expose());
    /// let headers = [("Accept", "*/*"), ("User-Agent", "curl/8.5"), ("authorization", &bearer)];
    /// let request = AuthRequest::from_headers(headers).method("GET").route("/items/{id}");
    /// assert_eq!(tracker.authenticate(request)?.identity().owner(), "alice");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn from_headers<N, V>(headers: impl IntoIterator<Item = (N, &'a V)>) -> Self
    where
        N: AsRef<[u8]>,
        V: AsRef<[u8]> + ?Sized + 'a,
    {
        let (mut agent, mut credentials) = (None, [None, None]);
        for (name, value) in headers {
            let name = name.as_ref();
            let places = if name.eq_ignore_ascii_case(b"authorization") {
                &mut credentials[..]
            } else if name.eq_ignore_ascii_case(b"user-agent") {
                std::slice::from_mut(&mut agent)
            } else {
                continue;
            };
            // A third credential says no more than a second.
            if let Some(place) = places.iter_mut().find(|place| place.is_none()) {
                *place = Some(value);
            }
        }
        let request = Self::from_authorization(credentials.into_iter().flatten());
        match agent {
            Some(agent) => request.user_agent(agent),
            None => request,
        }
    }

    fn of(credential: Result<Cow<'a, str>, DenialReason>) -> Self {
        Self {
            credential,
            scope: None,
            audience: None,
            resource: None,
            path: None,
            facts: Facts::default(),
        }
    }

    /// The token must have this scope; `None` wants none.
    #[must_use]
    pub fn scope(mut self, scope: impl Into<Option<&'a str>>) -> Self {
        self.scope = scope.into().map(Cow::Borrowed);
        self
    }

    /// The token's `aud` claim must name this audience. A token without the claim is refused.
    #[must_use]
    pub fn audience(mut self, audience: impl Into<Cow<'a, str>>) -> Self {
        self.audience = Some(audience.into());
        self
    }

    /// The resource that is asked for. A token limited to a resource is refused for any other, and
    /// also where none is named.
    #[must_use]
    pub fn resource(mut self, resource: impl Into<Cow<'a, str>>) -> Self {
        self.resource = Some(resource.into());
        self
    }

    /// The raw path, for the [`PathFilter`](crate::PathFilter). It is not recorded.
    #[must_use]
    pub fn path(mut self, path: impl Into<Cow<'a, str>>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// The raw query. An `access_token` in it beside another credential is a repeated credential
    /// (RFC 6750 §2); alone it is not taken, because URLs end up in logs (RFC 9700 §4.3.2).
    #[must_use]
    pub fn query(mut self, query: Option<&str>) -> Self {
        let mut names =
            query.unwrap_or_default().split('&').filter_map(|pair| pair.split('=').next());
        if self.credential.is_ok() && names.any(|name| percent_decoded(name) == b"access_token") {
            self.credential = Err(DenialReason::CredentialRepeated);
        }
        self
    }

    /// The request method, such as `GET`. One that is not of RFC 9110, PATCH or QUERY is recorded as
    /// `<other>`.
    #[must_use]
    pub fn method(mut self, method: impl Into<Cow<'a, str>>) -> Self {
        self.facts.method = Some(method.into());
        self
    }

    /// The route template, such as `/items/{id}` (`http.route`), not the raw path. Up to 256 bytes
    /// are recorded; with `None`, or where nothing is said, the record says `<unmatched>`.
    #[must_use]
    pub fn route(mut self, route: impl Into<Option<&'a str>>) -> Self {
        self.facts.route = route.into().map(Cow::Borrowed);
        self
    }

    /// The client's address as the adapter knows it, not as a header claims (`client.address`); `None` where there is
    /// none, or none that can be believed: a token that is limited to networks is then refused.
    /// Behind a proxy, [`TrustedProxies`](crate::TrustedProxies) tells it.
    #[must_use]
    pub fn client_address(mut self, address: impl Into<Option<IpAddr>>) -> Self {
        self.facts.client_address = address.into();
        self
    }

    /// The `User-Agent` header (`user_agent.original`), text or raw bytes. Up to 256 bytes are
    /// recorded, what is not UTF-8 replaced.
    #[must_use]
    pub fn user_agent<T: AsRef<[u8]> + ?Sized>(mut self, agent: &'a T) -> Self {
        self.facts.user_agent = Some(Cow::Borrowed(agent.as_ref()));
        self
    }

    /// What the request is worth, in units of the service's own; 1 unless said. So much of the token's
    /// [`Quota`](crate::Quota) is reserved; [`Usage::cost`](crate::Usage::cost) settles the difference. 0 is free.
    #[must_use]
    pub fn cost(mut self, cost: u32) -> Self {
        self.facts.cost = Some(cost);
        self
    }

    /// The same request on data of its own, to take to another thread.
    #[must_use]
    pub fn into_owned(self) -> AuthRequest<'static> {
        AuthRequest {
            credential: self.credential.map(owned),
            scope: self.scope.map(owned),
            audience: self.audience.map(owned),
            resource: self.resource.map(owned),
            path: self.path.map(owned),
            facts: Facts {
                method: self.facts.method.map(owned),
                route: self.facts.route.map(owned),
                client_address: self.facts.client_address,
                user_agent: self.facts.user_agent.map(|agent| Cow::Owned(agent.into_owned())),
                cost: self.facts.cost,
            },
        }
    }
}

fn owned(text: Cow<'_, str>) -> Cow<'static, str> {
    Cow::Owned(text.into_owned())
}

/// The bytes of a name in a query, whatever part of it is escaped.
fn percent_decoded(name: &str) -> Vec<u8> {
    let mut bytes = name.bytes();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        let escaped = (byte == b'%').then(|| {
            let mut ahead = bytes.clone();
            let digits = [ahead.next()?, ahead.next()?];
            let text = std::str::from_utf8(&digits).ok()?.to_owned();
            let value = u8::from_str_radix(&text, 16).ok().filter(|_| !text.starts_with('+'))?;
            bytes = ahead;
            Some(value)
        });
        decoded.push(escaped.flatten().unwrap_or(byte));
    }
    decoded
}

/// The token of a `Bearer` credential: `b64token` of RFC 6750 §2.1.
fn bearer_token(value: &[u8]) -> Result<&str, DenialReason> {
    let value = trimmed(value);
    let end = value.iter().position(|byte| *byte == b' ').unwrap_or(value.len());
    let (scheme, token) = value.split_at(end);
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return Err(DenialReason::CredentialMissing);
    }
    let start = token.iter().position(|byte| *byte != b' ').unwrap_or(token.len());
    let token = &token[start..];
    if token.contains(&b',') {
        return Err(DenialReason::CredentialRepeated);
    }
    std::str::from_utf8(token)
        .ok()
        .filter(|token| is_b64token(token))
        .ok_or(DenialReason::Malformed)
}

/// Without the optional white space around it: spaces and tabs, nothing else (RFC 9110 §5.6.3).
pub(crate) fn trimmed(text: &[u8]) -> &[u8] {
    let visible = |byte: &u8| !matches!(byte, b' ' | b'\t');
    let start = text.iter().position(visible).unwrap_or(text.len());
    let end = text.iter().rposition(visible).map_or(start, |at| at + 1);
    &text[start..end]
}

/// `1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="`
pub(crate) fn is_b64token(token: &str) -> bool {
    let unpadded = token.trim_end_matches('=');
    !unpadded.is_empty() && unpadded.bytes().all(|byte| B64TOKEN[usize::from(byte)])
}

/// Which bytes may be in a `b64token`, before its padding. Looked up, because each first sight of a token
/// reads all of its bytes twice.
const B64TOKEN: [bool; 256] = {
    let mut allowed = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        allowed[byte] = (byte as u8).is_ascii_alphanumeric()
            || matches!(byte as u8, b'-' | b'.' | b'_' | b'~' | b'+' | b'/');
        byte += 1;
    }
    allowed
};

impl fmt::Debug for AuthRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthRequest")
            .field("credential", &self.credential.as_ref().map(|_| "[redacted]"))
            .field("scope", &self.scope)
            .field("method", &self.facts.method)
            .field("route", &self.facts.route)
            .finish_non_exhaustive()
    }
}

impl<'a> From<&'a str> for AuthRequest<'a> {
    fn from(token: &'a str) -> Self {
        Self::new(token)
    }
}

impl<'a> From<&'a String> for AuthRequest<'a> {
    fn from(token: &'a String) -> Self {
        Self::new(token.as_str())
    }
}

impl From<String> for AuthRequest<'_> {
    fn from(token: String) -> Self {
        Self::new(token)
    }
}

impl<'a> From<&'a crate::Secret> for AuthRequest<'a> {
    fn from(token: &'a crate::Secret) -> Self {
        Self::new(token.expose())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(value: &[u8]) -> Result<String, DenialReason> {
        AuthRequest::from_authorization([value]).credential.map(Cow::into_owned)
    }

    #[test]
    fn the_scheme_is_read_in_any_case_and_space_around_the_token_is_not_part_of_it() {
        for value in ["Bearer abc.d-e_f~+/==", "bearer  abc.d-e_f~+/==", " BEARER abc.d-e_f~+/== "]
        {
            assert_eq!(parse(value.as_bytes()), Ok("abc.d-e_f~+/==".to_owned()));
        }
    }

    #[test]
    fn another_scheme_or_none_is_a_missing_credential() {
        for value in ["", "Basic YTpi", "Bearerabc", "abc", "Bear er x", "Digest a=b, c=d"] {
            assert_eq!(parse(value.as_bytes()), Err(DenialReason::CredentialMissing), "{value}");
        }
        let none = AuthRequest::from_authorization(std::iter::empty::<&str>());
        assert_eq!(none.credential.unwrap_err(), DenialReason::CredentialMissing);
    }

    #[test]
    fn two_credentials_in_whatever_form_are_refused() {
        assert_eq!(parse(b"Bearer a, Bearer b"), Err(DenialReason::CredentialRepeated));
        assert_eq!(parse(b"Bearer a,b"), Err(DenialReason::CredentialRepeated));
        for values in [["Bearer a", "Bearer a"], ["Basic YTpi", "Bearer a"]] {
            let request = AuthRequest::from_authorization(values);
            assert_eq!(request.credential.unwrap_err(), DenialReason::CredentialRepeated);
        }
        for query in ["access_token=x", "a=1&access%5Ftoken=x", "%61ccess_token", "access_token"] {
            let request = AuthRequest::new("a").query(Some(query));
            assert_eq!(request.credential.unwrap_err(), DenialReason::CredentialRepeated);
        }
        assert!(
            AuthRequest::new("a").query(Some("my_access_token=x&b&%&%zz&%5")).credential.is_ok()
        );
    }

    #[test]
    fn what_is_not_a_b64token_is_malformed() {
        let values: [&[u8]; 11] = [
            b"Bearer",
            b"Bearer ",
            b"Bearer a b",
            b"Bearer abc\r",
            b"Bearer \tabc",
            b"Bearer \x0cabc",
            b"Bearer =",
            b"Bearer a=b",
            b"Bearer a\0b",
            b"Bearer \xff\xfe",
            b"Bearer \"a\"",
        ];
        for value in values {
            assert_eq!(parse(value), Err(DenialReason::Malformed), "{value:?}");
        }
    }

    #[test]
    fn debug_does_not_show_the_token() {
        assert!(!format!("{:?}", AuthRequest::new("very-secret")).contains("very-secret"));
    }
}
