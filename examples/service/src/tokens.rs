//! What administrators can ask for, and what they are told.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use token_tracker::{
    Error, Network, NewToken, Quota, Restrictions, Token, TokenFilter, TokenTracker,
};

use crate::reply::Reply;

/// A token to be made. A field that is not known is an error: it may be a restriction that its sender
/// relies on.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenRequest {
    owner: String,
    name: String,
    kind: String,
    #[serde(default)]
    scopes: Vec<String>,
    #[serde(default)]
    tags: Vec<String>,
    expires_in_s: Option<u64>,
    description: Option<String>,
    resource: Option<String>,
    networks: Option<Vec<Network>>,
    #[serde(default, with = "time::serde::rfc3339::option")]
    not_before: Option<OffsetDateTime>,
    quota: Option<Quota>,
}

impl TokenRequest {
    pub(crate) fn into_token(self) -> Result<NewToken, Reply> {
        let new = match self.kind.as_str() {
            "jwt" => NewToken::jwt(self.owner, self.name),
            "legacy_jwt" => NewToken::legacy_jwt(self.owner, self.name),
            "opaque" => NewToken::opaque(self.owner, self.name),
            _ => {
                return Err(Reply::bad_request("`kind` must be `jwt`, `legacy_jwt` or `opaque`"));
            }
        };
        let mut new = self.tags.into_iter().fold(new.scopes(self.scopes), NewToken::tag);
        if let Some(seconds) = self.expires_in_s {
            new = new.expires_in(Duration::from_secs(seconds));
        }
        if let Some(description) = self.description {
            new = new.description(description);
        }
        let restrictions = Restrictions {
            resource: self.resource,
            networks: self.networks,
            not_before: self.not_before,
            quota: self.quota,
        };
        Ok(new.restrictions(restrictions))
    }
}

/// All tokens, page by page.
pub(crate) fn list(tracker: &TokenTracker) -> Result<Value, Error> {
    let mut filter = TokenFilter::new().limit(TokenFilter::MAX_LIMIT);
    let mut tokens = Vec::new();
    loop {
        let page = tracker.tokens().list(&filter)?;
        tokens.extend(page.tokens.iter().map(token_json));
        match page.next {
            Some(next) => filter = filter.after(next),
            None => return Ok(tokens.into()),
        }
    }
}

pub(crate) fn token_json(token: &Token) -> Value {
    json!({
        "token_id": token.id,
        "owner": token.owner,
        "name": token.name,
        "kind": token.kind,
        "status": token.status,
        "description": token.description,
        "tags": token.tags,
        "scopes": token.scopes,
        "restrictions": token.restrictions,
        "created_at": text(Some(token.created_at)),
        "expires_at": text(token.expires_at),
        "last_used_at": text(token.last_used.at()),
    })
}

/// An instant as RFC 3339 has it.
pub(crate) fn text(at: Option<OffsetDateTime>) -> Option<String> {
    at.and_then(|at| at.format(&Rfc3339).ok())
}
