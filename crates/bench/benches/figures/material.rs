//! What the figures are measured on: a database full of tokens, and their texts.

use std::path::{Path, PathBuf};

use jsonwebtoken::{DecodingKey, EncodingKey, Header, Validation};
use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use token_tracker::{Algorithm, Builder, JwtIssuer, JwtKey, TokenTracker};

pub(crate) const SCOPE: &str = "items:read";
const ISSUER: &str = "https://api.example.com";
const SECRET: [u8; 32] = [7; 32];
const OTHER_SECRET: [u8; 32] = [8; 32];
const ISSUED_AT: i64 = 1_767_225_600;
const EXPIRES_AT: i64 = 4_102_444_800;

/// The claims of a token as the tracker issues them.
#[derive(Deserialize, Serialize)]
pub(crate) struct Claims {
    pub(crate) iss: String,
    pub(crate) sub: String,
    aud: String,
    iat: i64,
    exp: i64,
    pub(crate) jti: String,
    token_use: String,
}

/// A database file with so many tokens, gone with this.
pub(crate) struct Database {
    directory: TempDir,
}

impl Database {
    /// Rows go in by bulk: issuing commits each token on its own.
    pub(crate) fn with_tokens(count: u64) -> Self {
        let database = Self { directory: tempfile::tempdir().unwrap() };
        drop(builder().open(database.path()).unwrap());
        let mut connection = database.connect();
        let transaction = connection.transaction().unwrap();
        let mut tokens = transaction.prepare(INSERT_TOKEN).unwrap();
        let mut credentials = transaction.prepare(INSERT_CREDENTIAL).unwrap();
        for number in 1..=count {
            let (owner, name) = (owner(number), format!("token {number}"));
            let (issued_at, expires_at) = (ISSUED_AT * 1_000_000, EXPIRES_AT * 1_000_000);
            let id = number as i64;
            tokens.execute((id, owner, name, SCOPES, issued_at, expires_at)).unwrap();
            credentials.execute((id, ISSUER, jti(number), issued_at)).unwrap();
        }
        drop((tokens, credentials));
        transaction.commit().unwrap();
        database
    }

    /// The same file again, of one that nobody has open.
    pub(crate) fn copy_of(other: &Self) -> Self {
        let database = Self { directory: tempfile::tempdir().unwrap() };
        std::fs::copy(other.path(), database.path()).unwrap();
        database
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("tokens.db")
    }

    pub(crate) fn connect(&self) -> Connection {
        Connection::open(self.path()).unwrap()
    }

    pub(crate) fn open(&self) -> TokenTracker {
        open(&self.path())
    }
}

const SCOPES: &str = r#"["items:read","items:write"]"#;
const INSERT_TOKEN: &str = "INSERT INTO catalogue
    (id, owner, name, kind, state, tags, scopes, metadata, fragment, created_at, expires_at)
    VALUES (?1, ?2, ?3, 0, 0, '[]', ?4, '{}', '', ?5, ?6)";
const INSERT_CREDENTIAL: &str =
    "INSERT INTO credentials (token_id, state, issuer, jti, fragment, created_at)
    VALUES (?1, 0, ?2, ?3, '', ?4)";

/// A tracker at its defaults.
pub(crate) fn open(path: &Path) -> TokenTracker {
    builder().open(path).unwrap()
}

pub(crate) fn builder() -> Builder {
    let key = JwtKey::hmac(Algorithm::Hs256, &SECRET).unwrap();
    TokenTracker::builder().jwt_issuer(JwtIssuer::named(ISSUER).audience(ISSUER).key(key))
}

/// The texts of the tokens of a database, in a stable order that is not that of their rows.
pub(crate) fn tokens(count: u64) -> Vec<String> {
    // Any odd step that shares no factor with the count visits each once.
    let step = 7_919;
    (0..count).map(|at| token(at * step % count + 1)).collect()
}

pub(crate) fn token(number: u64) -> String {
    sign(number, &SECRET)
}

/// The same in everything but the key.
pub(crate) fn forged(number: u64) -> String {
    sign(number, &OTHER_SECRET)
}

fn sign(number: u64, secret: &[u8]) -> String {
    let claims = Claims {
        iss: ISSUER.to_owned(),
        sub: owner(number),
        aud: ISSUER.to_owned(),
        iat: ISSUED_AT,
        exp: EXPIRES_AT,
        jti: jti(number),
        token_use: "api".to_owned(),
    };
    jsonwebtoken::encode(&Header::default(), &claims, &EncodingKey::from_secret(secret)).unwrap()
}

/// An ordinary user of `jsonwebtoken`.
pub(crate) struct Decoder {
    key: DecodingKey,
    validation: Validation,
}

impl Decoder {
    pub(crate) fn new() -> Self {
        let mut validation = Validation::new(jsonwebtoken::Algorithm::HS256);
        validation.set_audience(&[ISSUER]);
        validation.set_issuer(&[ISSUER]);
        Self { key: DecodingKey::from_secret(&SECRET), validation }
    }

    pub(crate) fn decode(&self, token: &str) -> Claims {
        jsonwebtoken::decode(token, &self.key, &self.validation).unwrap().claims
    }
}

fn owner(number: u64) -> String {
    format!("user-{}@example.com", number % 100_000)
}

/// In the shape of a UUID, with the number spread so that rows and index are in different orders.
fn jti(number: u64) -> String {
    let spread = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let (high, low) = (spread >> 32, spread & 0xffff_ffff);
    format!("{high:08x}-{:04x}-7{:03x}-8000-{number:012x}", low >> 16, low & 0xfff)
}
