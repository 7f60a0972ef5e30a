//! Plans of tokens: a good one, with arbitrary deviations in header, claims, signature and text. Tokens
//! made of bytes alone would be refused by their signature, and the rules behind it never be compared.

use arbitrary::Arbitrary;

use crate::base64url;
use crate::bench::START;
use crate::keys::{KeyName, hmac_sha256};
use crate::oracle::LEEWAY;
use crate::render::{Members, quoted};

/// How a token is made.
#[derive(Arbitrary, Debug)]
pub struct Plan<'a> {
    key: KeyName,
    header: Vec<Change<'a>>,
    claims: Vec<Change<'a>>,
    /// Header and payload as they are, instead of changed ones.
    raw: Option<(&'a [u8], &'a [u8])>,
    signing: Signing,
    edits: Vec<Edit>,
}

/// One deviation from a good header or claims set.
#[derive(Arbitrary, Debug)]
enum Change<'a> {
    /// Put beside what is there: a duplicate where that has the name.
    Add(Name<'a>, Value<'a>),
    Drop(Name<'a>),
    /// A date on the edge of where it begins or ceases to count.
    Edge {
        date: EdgeOf,
        off: Off,
        style: Style,
    },
    /// Spell a name with escapes.
    Escape(Name<'a>),
    Set(Name<'a>, Value<'a>),
}

/// The names that mean something, and any other.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Name<'a> {
    Alg,
    Aud,
    B64,
    Crit,
    Exp,
    Iat,
    Iss,
    Jti,
    Jwk,
    Kid,
    Nbf,
    Other(&'a str),
    Scope,
    Sub,
    TokenUse,
    Typ,
}

#[derive(Arbitrary, Debug)]
enum Value<'a> {
    Bool(bool),
    Decimal { whole: u64, fraction: u32, exponent: i16, negative: bool },
    Double(f64),
    Empty,
    Integer(i64),
    Known(u8),
    List(Vec<Value<'a>>),
    Near { off: Off, style: Style },
    Nested(u8),
    Null,
    Object(Vec<(Name<'a>, Value<'a>)>),
    Raw(&'a str),
    Text(&'a str),
}

/// A date that is judged, with the leeway on its side.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum EdgeOf {
    Exp,
    Nbf,
}

/// How far from the edge.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Off {
    Micros(i8),
    MicrosecondEarlier,
    MicrosecondLater,
    Nothing,
    Seconds(i8),
}

/// How a date is written.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Style {
    Exponent,
    Fraction,
    Nanos,
    Whole,
}

/// Who signs.
#[derive(Arbitrary, Debug)]
enum Signing {
    Key,
    /// The public key as a secret (RFC 8725 §2.1).
    Confused(KeyName),
    None,
    Other(KeyName),
}

/// A change of the finished text.
#[derive(Arbitrary, Debug)]
enum Edit {
    Append(u8),
    /// Another last digit of a part, which leaves its bytes as they are or not.
    Digit {
        part: u8,
        up: u8,
    },
    Flip {
        at: u16,
        bit: u8,
    },
    Insert {
        at: u16,
        byte: u8,
    },
    Pad {
        part: u8,
        count: u8,
    },
    /// A header signed by nobody.
    Reheader(KeyName),
    Repeat(u8),
    Swap(u8, u8),
    Truncate(u16),
}

const WORDS: [&str; 22] = [
    "https://public.example.com",
    "https://secret.example.com",
    "https://secret.example.com/",
    "items",
    "reports",
    "ITEMS",
    "jti-1",
    "jti-2",
    "jti-é",
    "jti-revoked",
    "jti-unknown",
    "HS256",
    "ES256",
    "EdDSA",
    "none",
    "RS256",
    "Ed25519",
    "hs-1",
    "es-1",
    "ed-1",
    "JWT",
    "api",
];

/// The most deviations of a kind that count: more only make tokens wrong in more ways.
const MOST: usize = 4;

impl Plan<'_> {
    /// The text of the token.
    pub fn token(&self) -> String {
        let (header, payload) = match self.raw {
            Some((header, payload)) => (header.to_vec(), payload.to_vec()),
            None => (self.header(), self.payload()),
        };
        let message = format!("{}.{}", base64url::encode(&header), base64url::encode(&payload));
        let signature = match self.signing {
            Signing::Confused(key) => hmac_sha256(&key.public_point(), message.as_bytes()),
            Signing::Key => self.key.sign(message.as_bytes()),
            Signing::None => Vec::new(),
            Signing::Other(key) => key.sign(message.as_bytes()),
        };
        let token = format!("{message}.{}", base64url::encode(&signature));
        self.edits.iter().take(MOST).fold(token, |token, edit| edit.apply(token))
    }

    fn header(&self) -> Vec<u8> {
        let good = [("alg", self.key.algorithm()), ("kid", self.key.kid()), ("typ", "JWT")];
        changed(good.map(|(name, value)| (name, quoted(value))), &self.header)
    }

    fn issuer(&self) -> &'static str {
        match self.key {
            KeyName::Hs256 => "https://secret.example.com",
            KeyName::EdDsa | KeyName::Es256 => "https://public.example.com",
        }
    }

    fn payload(&self) -> Vec<u8> {
        let now = START / 1_000_000;
        let good = [
            ("iss", quoted(self.issuer())),
            ("sub", quoted("alice")),
            ("aud", quoted("items")),
            ("exp", (now + 600).to_string()),
            ("iat", now.to_string()),
            ("jti", quoted("jti-1")),
        ];
        changed(good, &self.claims)
    }
}

fn changed<const COUNT: usize>(good: [(&str, String); COUNT], changes: &[Change<'_>]) -> Vec<u8> {
    let mut members = Members::of(good);
    changes.iter().take(MOST).for_each(|change| change.apply(&mut members));
    members.object().into_bytes()
}

impl Change<'_> {
    fn apply(&self, members: &mut Members) {
        match self {
            Self::Add(name, value) => members.add(name.text(), value.written()),
            Self::Drop(name) => members.remove(name.text()),
            Self::Edge { date: EdgeOf::Exp, off, style } => {
                members.set("exp", style.written(START - LEEWAY + off.micros()));
            }
            Self::Edge { date: EdgeOf::Nbf, off, style } => {
                members.set("nbf", style.written(START + LEEWAY + off.micros()));
            }
            Self::Escape(name) => members.escape(name.text()),
            Self::Set(name, value) => members.set(name.text(), value.written()),
        }
    }
}

impl Name<'_> {
    fn text(&self) -> &str {
        match self {
            Self::Alg => "alg",
            Self::Aud => "aud",
            Self::B64 => "b64",
            Self::Crit => "crit",
            Self::Exp => "exp",
            Self::Iat => "iat",
            Self::Iss => "iss",
            Self::Jti => "jti",
            Self::Jwk => "jwk",
            Self::Kid => "kid",
            Self::Nbf => "nbf",
            Self::Other(name) => name,
            Self::Scope => "scope",
            Self::Sub => "sub",
            Self::TokenUse => "token_use",
            Self::Typ => "typ",
        }
    }
}

impl Value<'_> {
    /// The value as JSON, or as something near it.
    fn written(&self) -> String {
        match self {
            Self::Bool(value) => value.to_string(),
            Self::Decimal { whole, fraction, exponent, negative } => {
                let sign = if *negative { "-" } else { "" };
                format!("{sign}{whole}.{fraction}e{exponent}")
            }
            Self::Double(value) => format!("{value:e}"),
            Self::Empty => quoted(""),
            Self::Integer(value) => value.to_string(),
            Self::Known(word) => quoted(WORDS[usize::from(*word) % WORDS.len()]),
            Self::List(items) => {
                let items: Vec<String> = items.iter().map(Self::written).collect();
                format!("[{}]", items.join(","))
            }
            Self::Near { off, style } => style.written(START + off.micros()),
            Self::Nested(depth) => {
                let depth = usize::from(*depth);
                format!("{}{}", "[".repeat(depth), "]".repeat(depth))
            }
            Self::Null => "null".to_owned(),
            Self::Object(members) => {
                Members::of(members.iter().map(|(name, value)| (name.text(), value.written())))
                    .object()
            }
            Self::Raw(text) => (*text).to_owned(),
            Self::Text(text) => quoted(text),
        }
    }
}

impl Off {
    fn micros(self) -> i128 {
        match self {
            Self::Micros(micros) => micros.into(),
            Self::MicrosecondEarlier => -1,
            Self::MicrosecondLater => 1,
            Self::Nothing => 0,
            Self::Seconds(seconds) => i128::from(seconds) * 1_000_000,
        }
    }
}

impl Style {
    fn written(self, micros: i128) -> String {
        let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
        match self {
            Self::Exponent => format!("{micros}e-6"),
            Self::Fraction => format!("{seconds}.{fraction:06}"),
            Self::Nanos => format!("{seconds}.{fraction:06}001"),
            Self::Whole => seconds.to_string(),
        }
    }
}

impl Edit {
    fn apply(&self, token: String) -> String {
        match *self {
            Self::Append(byte) => format!("{token}{}", char::from(byte)),
            Self::Digit { part, up } => edited(&token, part, |part| next_digit(part, up)),
            Self::Flip { at, bit } => {
                let mut bytes = token.into_bytes();
                let at = usize::from(at) % bytes.len().max(1);
                bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << (bit % 8));
                String::from_utf8_lossy(&bytes).into_owned()
            }
            Self::Insert { at, byte } => {
                let at = token.floor_char_boundary(usize::from(at) % (token.len() + 1));
                format!("{}{}{}", &token[..at], char::from(byte), &token[at..])
            }
            Self::Pad { part, count } => {
                edited(&token, part, |part| format!("{part}{}", "=".repeat(usize::from(count % 4))))
            }
            Self::Reheader(key) => {
                let header = format!(r#"{{"alg":"{}","kid":"{}"}}"#, key.algorithm(), key.kid());
                edited(&token, 0, |_| base64url::encode(header.as_bytes()))
            }
            Self::Repeat(part) => edited(&token, part, |part| format!("{part}.{part}")),
            Self::Swap(one, other) => {
                let mut parts: Vec<&str> = token.split('.').collect();
                let count = parts.len();
                parts.swap(usize::from(one) % count, usize::from(other) % count);
                parts.join(".")
            }
            Self::Truncate(by) => {
                let keep = token.len().saturating_sub(usize::from(by));
                token[..token.floor_char_boundary(keep)].to_owned()
            }
        }
    }
}

/// The token with another text for one of its parts.
fn edited(token: &str, part: u8, edit: impl FnOnce(&str) -> String) -> String {
    let mut parts: Vec<String> = token.split('.').map(str::to_owned).collect();
    let at = usize::from(part) % parts.len();
    parts[at] = edit(&parts[at]);
    parts.join(".")
}

/// The part with its last digit moved on in the alphabet.
fn next_digit(part: &str, up: u8) -> String {
    const DIGITS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let Some(last) = part.chars().last() else { return part.to_owned() };
    let Some(at) = DIGITS.find(last) else { return part.to_owned() };
    let next = &DIGITS[(at + usize::from(up)) % DIGITS.len()..][..1];
    format!("{}{next}", &part[..part.len() - 1])
}
