//! What administrators do: tokens issued, listed, suspended and revoked, as JSON.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Extension, Json, Router};
use http::{StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use token_tracker::{
    Identity, Network, NewToken, Quota, Restrictions, Revoked, Token, TokenFilter, TokenId,
    TokenTracker,
};

use crate::routes::{Failure, Limit, blocking, parse, records, text};

/// The routes, for whoever has the scope.
pub(crate) fn router() -> Router<TokenTracker> {
    Router::new()
        .route("/admin/health", get(health))
        .route("/admin/tokens", get(list_tokens).post(issue_token))
        .route("/admin/tokens/{token_id}", delete(revoke_token))
        .route("/admin/tokens/{token_id}/recent", get(recent_of_token))
        .route("/admin/tokens/{token_id}/resume", post(resume_token))
        .route("/admin/tokens/{token_id}/suspend", post(suspend_token))
}

async fn recent_of_token(
    State(tracker): State<TokenTracker>,
    Path(id): Path<TokenId>,
    Query(Limit { limit }): Query<Limit>,
) -> Result<Json<Value>, Failure> {
    blocking(move || records(&tracker, id, limit)).await
}

/// A token to be made. A field that is not known is an error: it may be a restriction that its sender
/// relies on.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenRequest {
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
    fn into_token(self) -> Result<NewToken, Failure> {
        let new = match self.kind.as_str() {
            "jwt" => NewToken::jwt(self.owner, self.name),
            "legacy_jwt" => NewToken::legacy_jwt(self.owner, self.name),
            "opaque" => NewToken::opaque(self.owner, self.name),
            _ => {
                let message = "`kind` must be `jwt`, `legacy_jwt` or `opaque`".to_owned();
                return Err(Failure { status: StatusCode::BAD_REQUEST, message });
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

async fn issue_token(
    State(tracker): State<TokenTracker>,
    Extension(caller): Extension<Identity>,
    body: Bytes,
) -> Result<Response, Failure> {
    let new = parse::<TokenRequest>(&body)?.into_token()?;
    blocking(move || {
        let issued = tracker.tokens().acting_as(caller.owner()).issue(new)?;
        let mut answer = token_json(&issued.token);
        answer["token"] = issued.secret.expose().into();
        // RFC 6749 §5.1: no cache may keep a secret.
        let uncached = [(header::CACHE_CONTROL, "no-store")];
        Ok((StatusCode::CREATED, uncached, Json(answer)).into_response())
    })
    .await
}

async fn list_tokens(State(tracker): State<TokenTracker>) -> Result<Json<Value>, Failure> {
    blocking(move || {
        // The last uses that are still on their way; where they cannot be written, the list is as good.
        let _ = tracker.flush();
        let mut filter = TokenFilter::new().limit(TokenFilter::MAX_LIMIT);
        let mut tokens = Vec::new();
        loop {
            let page = tracker.tokens().list(&filter)?;
            tokens.extend(page.tokens.iter().map(token_json));
            match page.next {
                Some(next) => filter = filter.after(next),
                None => return Ok(Json(tokens.into())),
            }
        }
    })
    .await
}

async fn revoke_token(
    State(tracker): State<TokenTracker>,
    Extension(caller): Extension<Identity>,
    Path(id): Path<TokenId>,
) -> Result<StatusCode, Failure> {
    blocking(move || {
        let revoked =
            tracker.tokens().acting_as(caller.owner()).revoke(id, "asked for over HTTP")?;
        Ok(if revoked == Revoked::Unknown { StatusCode::NOT_FOUND } else { StatusCode::NO_CONTENT })
    })
    .await
}

async fn suspend_token(
    State(tracker): State<TokenTracker>,
    Extension(caller): Extension<Identity>,
    Path(id): Path<TokenId>,
) -> Result<Json<Value>, Failure> {
    blocking(move || {
        let token = tracker.tokens().acting_as(caller.owner()).suspend(id)?;
        Ok(Json(token_json(&token)))
    })
    .await
}

async fn resume_token(
    State(tracker): State<TokenTracker>,
    Extension(caller): Extension<Identity>,
    Path(id): Path<TokenId>,
) -> Result<Json<Value>, Failure> {
    blocking(move || {
        let token = tracker.tokens().acting_as(caller.owner()).resume(id)?;
        Ok(Json(token_json(&token)))
    })
    .await
}

fn token_json(token: &Token) -> Value {
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

async fn health(State(tracker): State<TokenTracker>) -> Json<Value> {
    let health = tracker.health();
    Json(json!({
        "strangers": health.strangers,
        "accepted": health.accepted,
        "stored": health.stored,
        "buffered": health.buffered,
        "dropped": health.dropped,
    }))
}
