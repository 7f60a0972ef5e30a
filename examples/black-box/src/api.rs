//! What the service is asked through its own routes, and the shapes it answers with.

use serde_json::{Map, Value, json};

use crate::client::{Request, Response};
use crate::moment;
use crate::service::Service;

/// A token that was issued for a test.
#[derive(Clone, Debug)]
pub(crate) struct Issued {
    pub(crate) token_id: String,
    pub(crate) token: String,
}

/// What `/admin/health` counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Health {
    pub(crate) strangers: u64,
    pub(crate) accepted: u64,
    pub(crate) stored: u64,
    pub(crate) buffered: u64,
    pub(crate) dropped: u64,
}

impl Service {
    /// `GET` with a bearer token.
    pub(crate) fn get(&self, target: &str, token: &str) -> Response {
        self.client().send(&Request::get(target).bearer(token))
    }

    /// `GET` with the admin token, which must be answered with 200 and JSON.
    #[track_caller]
    pub(crate) fn admin_get(&self, target: &str) -> Value {
        self.get(target, &self.admin).expect_status(200).json()
    }

    /// Asks for a token with this body.
    pub(crate) fn ask_for_token(&self, body: &Value) -> Response {
        self.ask_for_token_in(&body.to_string())
    }

    /// Asks for a token with this text as body.
    pub(crate) fn ask_for_token_in(&self, body: &str) -> Response {
        let request = Request::post("/admin/tokens").bearer(&self.admin);
        self.client().send(&request.json_text(body))
    }

    /// Issues a token with this body.
    #[track_caller]
    pub(crate) fn issue_as(&self, body: &Value) -> Issued {
        let answer = self.ask_for_token(body).expect_status(201).json();
        Issued { token_id: id(field(&answer, "token_id")), token: text(&answer, "token") }
    }

    /// Issues a token without scopes that lives on.
    #[track_caller]
    pub(crate) fn issue(&self, kind: &str, name: &str) -> Issued {
        self.issue_as(&new_token(kind, name))
    }

    /// Revokes a token.
    pub(crate) fn revoke(&self, token_id: &str) -> Response {
        let request = Request::delete(format!("/admin/tokens/{token_id}"));
        self.client().send(&request.bearer(&self.admin))
    }

    /// All tokens as the service lists them.
    #[track_caller]
    pub(crate) fn tokens(&self) -> Vec<Value> {
        array(&self.admin_get("/admin/tokens"))
    }

    /// One token of that list.
    #[track_caller]
    pub(crate) fn listed(&self, token_id: &str) -> Value {
        let tokens = self.tokens();
        let mut found = tokens.iter().filter(|one| id(&one["token_id"]) == token_id);
        match (found.next(), found.next()) {
            (Some(one), None) => one.clone(),
            (one, _) => {
                panic!("token {token_id} is listed {} times: {tokens:?}", one.map_or(0, |_| 2))
            }
        }
    }

    /// The id that `/me` gives for this token.
    #[track_caller]
    pub(crate) fn id_of(&self, token: &str) -> String {
        let identity = self.get("/me", token).expect_status(200).json();
        id(field(&identity, "token_id"))
    }

    /// The newest records of a token, newest first, read without adding one to it.
    #[track_caller]
    pub(crate) fn recent(&self, token_id: &str) -> Vec<Record> {
        let records = self.admin_get(&format!("/admin/tokens/{token_id}/recent?limit=1000"));
        array(&records).iter().map(Record::parse).collect()
    }

    /// The counters.
    #[track_caller]
    pub(crate) fn health(&self) -> Health {
        let health = self.admin_get("/admin/health");
        Health {
            strangers: number(&health, "strangers"),
            accepted: number(&health, "accepted"),
            stored: number(&health, "stored"),
            buffered: number(&health, "buffered"),
            dropped: number(&health, "dropped"),
        }
    }

    /// The counters, which must account for every accepted record, none of them dropped.
    #[track_caller]
    pub(crate) fn assert_accounts_balance(&self) -> Health {
        let health = self.health();
        let accounted = health.stored + health.buffered + health.dropped;
        assert_eq!(health.accepted, accounted, "{health:?}");
        assert_eq!(health.dropped, 0, "{health:?}");
        health
    }
}

/// The body that asks for a token without scopes that lives on.
pub(crate) fn new_token(kind: &str, name: &str) -> Value {
    json!({ "owner": "judge@example.com", "name": name, "kind": kind, "scopes": [] })
}

/// One record as `/usage/recent` gives it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Record {
    pub(crate) at: f64,
    pub(crate) method: String,
    pub(crate) route: String,
    pub(crate) status: u64,
    pub(crate) outcome: String,
    pub(crate) reason: Option<String>,
    pub(crate) duration_us: u64,
    pub(crate) response_bytes: u64,
    pub(crate) client_address: String,
    pub(crate) user_agent: Option<String>,
}

impl Record {
    /// Panics, showing the value, where a field is missing or of another type.
    #[track_caller]
    pub(crate) fn parse(value: &Value) -> Self {
        Self {
            at: time(value, "at").unwrap_or_else(|| panic!("`at` is null: {value}")),
            method: text(value, "method"),
            route: text(value, "route"),
            status: number(value, "status"),
            outcome: text(value, "outcome"),
            reason: optional_text(value, "reason"),
            duration_us: number(value, "duration_us"),
            response_bytes: number(value, "response_bytes"),
            client_address: text(value, "client_address"),
            user_agent: optional_text(value, "user_agent"),
        }
    }

    /// Method, route, status and outcome.
    pub(crate) fn shape(&self) -> (&str, &str, u64, &str) {
        (&self.method, &self.route, self.status, &self.outcome)
    }
}

/// A field that must be there; it may be null.
#[track_caller]
pub(crate) fn field<'a>(value: &'a Value, name: &str) -> &'a Value {
    let found = value.as_object().and_then(|object: &Map<_, _>| object.get(name));
    found.unwrap_or_else(|| panic!("`{name}` is missing: {value}"))
}

/// A field that is text.
#[track_caller]
pub(crate) fn text(value: &Value, name: &str) -> String {
    optional_text(value, name).unwrap_or_else(|| panic!("`{name}` is null: {value}"))
}

/// A field that is text or null.
#[track_caller]
pub(crate) fn optional_text(value: &Value, name: &str) -> Option<String> {
    match field(value, name) {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        _ => panic!("`{name}` is no text: {value}"),
    }
}

/// A field that is a whole number, not below zero.
#[track_caller]
pub(crate) fn number(value: &Value, name: &str) -> u64 {
    let number = field(value, name).as_u64();
    number.unwrap_or_else(|| panic!("`{name}` is no whole number from zero up: {value}"))
}

/// A field that is a number.
#[track_caller]
pub(crate) fn real(value: &Value, name: &str) -> f64 {
    let number = field(value, name).as_f64();
    number.unwrap_or_else(|| panic!("`{name}` is no number: {value}"))
}

/// A field that is a time or null, in seconds since 1970.
#[track_caller]
pub(crate) fn time(value: &Value, name: &str) -> Option<f64> {
    let text = optional_text(value, name)?;
    let seconds = moment::seconds(&text);
    Some(seconds.unwrap_or_else(|| panic!("`{name}` is no RFC 3339 time: {value}")))
}

/// The elements of an array.
#[track_caller]
pub(crate) fn array(value: &Value) -> Vec<Value> {
    let array = value.as_array();
    array.unwrap_or_else(|| panic!("no array: {value}")).clone()
}

/// An id as it goes into a path, be it text or a number.
#[track_caller]
pub(crate) fn id(value: &Value) -> String {
    match value {
        Value::String(id) if !id.is_empty() => id.clone(),
        Value::Number(id) => id.to_string(),
        _ => panic!("no id: {value}"),
    }
}
