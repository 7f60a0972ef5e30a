//! Plans of JSON Web Keys: a good one with arbitrary deviations. Keys made of bytes alone would hardly
//! ever be JSON, let alone have a modulus of 2,048 bits.

use arbitrary::Arbitrary;

use crate::base64url;
use crate::jwk::ALGORITHMS;
use crate::keys::{self, KeyName};
use crate::render::{Members, quoted};

/// How a JWK is made.
#[derive(Arbitrary, Debug)]
pub struct JwkPlan<'a> {
    base: Base,
    changes: Vec<Change<'a>>,
}

#[derive(Arbitrary, Debug)]
enum Base {
    Ed25519,
    Oct { length: u8 },
    P256,
    P384,
    Rsa,
}

/// One deviation.
#[derive(Arbitrary, Debug)]
enum Change<'a> {
    Add(Member<'a>, Value<'a>),
    Drop(Member<'a>),
    Set(Member<'a>, Value<'a>),
}

#[derive(Arbitrary, Debug)]
enum Member<'a> {
    Alg,
    Crv,
    D,
    E,
    K,
    KeyOps,
    Kid,
    Kty,
    N,
    Other(&'a str),
    Use,
    X,
    Y,
}

#[derive(Arbitrary, Debug)]
enum Value<'a> {
    Algorithm(u8),
    /// In base64url.
    Bytes(&'a [u8]),
    List(Vec<u8>),
    Null,
    Number(i32),
    Raw(&'a str),
    /// In base64url, with its first and last byte.
    Repeated {
        first: u8,
        rest: u8,
        last: u8,
        length: u16,
    },
    Text(&'a str),
    Word(u8),
}

const WORDS: [&str; 24] = [
    "sig",
    "enc",
    "verify",
    "sign",
    "encrypt",
    "EC",
    "RSA",
    "oct",
    "OKP",
    "P-256",
    "P-384",
    "P-521",
    "secp256k1",
    "Ed25519",
    "Ed448",
    "X25519",
    "AQAB",
    "Aw",
    "AQ",
    "AA",
    "",
    "key-1",
    "key-2",
    "none",
];

/// The most deviations that count.
const MOST: usize = 4;

/// The longest number that is made, in bytes: one over 8,192 bits.
const LONGEST: u16 = 1_030;

impl JwkPlan<'_> {
    /// The text of the key.
    pub fn jwk(&self) -> String {
        let mut members = self.base.members();
        self.changes.iter().take(MOST).for_each(|change| change.apply(&mut members));
        members.object()
    }
}

impl Base {
    fn members(&self) -> Members {
        match self {
            Self::Ed25519 => {
                let x = base64url::encode(&KeyName::EdDsa.public_point());
                members([("kty", "OKP"), ("crv", "Ed25519"), ("x", &x)])
            }
            Self::Oct { length } => {
                let k = base64url::encode(&vec![*length; usize::from(*length)]);
                members([("kty", "oct"), ("k", &k)])
            }
            Self::P256 => curve("P-256", &KeyName::Es256.public_point()),
            Self::P384 => curve("P-384", &keys::p384_point()),
            Self::Rsa => members([("kty", "RSA"), ("e", "AQAB"), ("n", keys::RSA_MODULUS)]),
        }
    }
}

fn curve(name: &str, point: &[u8]) -> Members {
    let (x, y) = point[1..].split_at(point.len() / 2);
    members([
        ("kty", "EC"),
        ("crv", name),
        ("x", &base64url::encode(x)),
        ("y", &base64url::encode(y)),
    ])
}

fn members<const COUNT: usize>(texts: [(&str, &str); COUNT]) -> Members {
    Members::of(texts.map(|(name, text)| (name, quoted(text))))
}

impl Change<'_> {
    fn apply(&self, members: &mut Members) {
        match self {
            Self::Add(name, value) => members.add(name.text(), value.written()),
            Self::Drop(name) => members.remove(name.text()),
            Self::Set(name, value) => members.set(name.text(), value.written()),
        }
    }
}

impl Member<'_> {
    fn text(&self) -> &str {
        match self {
            Self::Alg => "alg",
            Self::Crv => "crv",
            Self::D => "d",
            Self::E => "e",
            Self::K => "k",
            Self::KeyOps => "key_ops",
            Self::Kid => "kid",
            Self::Kty => "kty",
            Self::N => "n",
            Self::Other(name) => name,
            Self::Use => "use",
            Self::X => "x",
            Self::Y => "y",
        }
    }
}

impl Value<'_> {
    fn written(&self) -> String {
        match self {
            Self::Algorithm(at) => quoted(ALGORITHMS[usize::from(*at) % ALGORITHMS.len()].as_str()),
            Self::Bytes(bytes) => quoted(&base64url::encode(bytes)),
            Self::List(words) => {
                let words: Vec<String> = words.iter().map(|at| quoted(word(*at))).collect();
                format!("[{}]", words.join(","))
            }
            Self::Null => "null".to_owned(),
            Self::Number(number) => number.to_string(),
            Self::Raw(text) => (*text).to_owned(),
            Self::Repeated { first, rest, last, length } => {
                let mut bytes = vec![*rest; usize::from(length % LONGEST)];
                bytes.first_mut().into_iter().for_each(|byte| *byte = *first);
                bytes.last_mut().into_iter().for_each(|byte| *byte = *last);
                quoted(&base64url::encode(&bytes))
            }
            Self::Text(text) => quoted(text),
            Self::Word(at) => quoted(word(*at)),
        }
    }
}

fn word(at: u8) -> &'static str {
    WORDS[usize::from(at) % WORDS.len()]
}
