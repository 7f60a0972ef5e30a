//! What a child tells its parent: one line each, written at once, so that a kill cuts none in half.

use std::fmt;
use std::io::Write;
use std::str::FromStr;

/// A record that was acknowledged.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ack {
    /// The token's id.
    pub token: i64,
    /// Which record it is: no two in a file have the same. Stored as its cost.
    pub serial: u32,
    /// When it was acknowledged at the latest.
    pub at_us: i64,
}

/// A request that was granted units of a quota, and has settled what it was worth.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Spent {
    /// The token's id.
    pub token: i64,
    /// What it was worth in the end.
    pub units: u32,
}

/// A line of the ledger.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Entry {
    /// The record of a denial was acknowledged.
    Denied(i64),
    /// A token was issued: id and secret.
    Issued(i64, String),
    /// Something for people, or a word between a test and its child.
    Note(String),
    /// A record was acknowledged.
    Recorded(Ack),
    /// A token is revoked.
    Revoked(i64),
    /// A token is about to be revoked.
    Revoking(i64),
    /// Units of a quota were used.
    Spent(Spent),
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(token) => write!(f, "denied {token}"),
            Self::Issued(token, secret) => write!(f, "issued {token} {secret}"),
            Self::Note(text) => write!(f, "note {text}"),
            Self::Recorded(Ack { token, serial, at_us }) => {
                write!(f, "recorded {token} {serial} {at_us}")
            }
            Self::Revoked(token) => write!(f, "revoked {token}"),
            Self::Revoking(token) => write!(f, "revoking {token}"),
            Self::Spent(Spent { token, units }) => write!(f, "spent {token} {units}"),
        }
    }
}

impl FromStr for Entry {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let unread = || format!("not a line of the ledger: {line:?}");
        let (word, rest) = line.split_once(' ').ok_or_else(unread)?;
        let mut words = rest.split(' ');
        let mut number = || words.next().and_then(|word| word.parse::<i64>().ok());
        let entry = match word {
            "denied" => number().map(Self::Denied),
            "issued" => rest.split_once(' ').and_then(|(token, secret)| {
                Some(Self::Issued(token.parse().ok()?, secret.to_owned()))
            }),
            "note" => Some(Self::Note(rest.to_owned())),
            "recorded" => (|| {
                let token = number()?;
                let serial = u32::try_from(number()?).ok()?;
                Some(Self::Recorded(Ack { token, serial, at_us: number()? }))
            })(),
            "revoked" => number().map(Self::Revoked),
            "revoking" => number().map(Self::Revoking),
            "spent" => (|| {
                let token = number()?;
                Some(Self::Spent(Spent { token, units: u32::try_from(number()?).ok()? }))
            })(),
            _ => None,
        };
        entry.ok_or_else(unread)
    }
}

/// Tells the parent, in one write: a line is there or not.
///
/// # Panics
/// Where the parent is gone.
pub fn say(entry: &Entry) {
    let mut output = std::io::stdout().lock();
    output.write_all(format!("{entry}\n").as_bytes()).expect("the parent listens");
    output.flush().expect("the parent listens");
}
