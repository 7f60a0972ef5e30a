//! What a token is, told without using it (RFC 7662).

use serde::Serialize;

use crate::token::TokenId;

/// The answer of [`TokenTracker::introspect`](crate::TokenTracker::introspect), with the members of RFC 7662
/// §2.2. Serialises to its JSON; of a token that is not active only `active` is told.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Introspection {
    /// Whether the token would be accepted now, as far as it depends on the token alone.
    pub active: bool,
    /// The scopes, with a space between each two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// Whom the token belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sub: Option<String>,
    /// Whom the token is for, by its own word.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub aud: Vec<String>,
    /// When it expires, in seconds since 1970; where its secret was replaced with a deadline, that if it comes first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exp: Option<i64>,
    /// `Bearer` (RFC 6750).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_type: Option<&'static str>,
    /// The token's number in the catalogue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_id: Option<TokenId>,
}
