//! Where a page of records ends.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::varint;

/// Where a page of records ends and the next one begins: a text for URLs, of a dozen characters as a rule and 4,096 at most.
///
/// It stays good for as long as there are records: what is recorded later does not shift it, and what is removed
/// meanwhile is not shown. It says nothing that is secret, and gives nothing to whoever makes one up: what it leads to
/// is looked at as everything else is.
///
/// ```
/// # use token_tracker::{NewToken, RecordCursor, RecordFilter, TokenTracker};
/// # let tracker = TokenTracker::builder().in_memory()?;
/// # let issued = tracker.tokens().issue(NewToken::opaque("alice", "laptop"))?;
/// # for _ in 0..3 {
/// #     drop(tracker.authenticate(&issued.secret)?);
/// # }
/// # tracker.flush()?;
/// let (query, filter) = (tracker.stats().owner("alice"), RecordFilter::new().limit(2));
/// let page = query.records(&filter)?;
/// let text = page.next.unwrap().to_string();
///
/// let rest = query.records(&filter.after(text.parse::<RecordCursor>()?))?;
/// assert_eq!((rest.records.len(), rest.next), (1, None));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct RecordCursor {
    /// A hash of what was asked: whoever goes on must ask the same.
    pub(crate) question: u32,
    pub(crate) place: Place,
}

/// The rows that come next.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Place {
    /// These, descending, and those that they lead back to.
    Chains(Vec<i64>),
    /// This one and those before it.
    Down(i64),
    /// This one and those after it.
    Up(i64),
}

/// What the first byte says, so that another form can come.
const CHAINS: u8 = 0x11;
const DOWN: u8 = 0x12;
const UP: u8 = 0x13;

impl RecordCursor {
    /// Chains that a cursor can have.
    pub(crate) const MAX_CHAINS: usize = 256;
    /// Characters that it can have: as many chains as there can be, however far apart, take fewer.
    const MAX_LENGTH: usize = 4_096;

    pub(crate) fn of_another_question() -> Error {
        Error::invalid("cursor", "must come with a page of the same question")
    }

    fn encode(&self) -> Vec<u8> {
        let (code, mut last, ids) = match &self.place {
            Place::Chains(ids) => (CHAINS, 0, ids.as_slice()),
            Place::Down(id) => (DOWN, 0, std::slice::from_ref(id)),
            Place::Up(id) => (UP, 0, std::slice::from_ref(id)),
        };
        let mut bytes = vec![code];
        bytes.extend(self.question.to_le_bytes());
        // The first as it is, the others as the distance to the one before.
        for id in ids {
            varint::write(&mut bytes, id.abs_diff(last));
            last = *id;
        }
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (code, bytes) = bytes.split_first()?;
        let (question, mut bytes) = bytes.split_first_chunk()?;
        let question = u32::from_le_bytes(*question);
        let first = i64::try_from(varint::read(&mut bytes)?).ok().filter(|id| *id > 0)?;
        let mut ids = vec![first];
        while !bytes.is_empty() && ids.len() < Self::MAX_CHAINS {
            let step = i64::try_from(varint::read(&mut bytes)?).ok().filter(|step| *step > 0)?;
            ids.push(ids.last()?.checked_sub(step).filter(|id| *id > 0)?);
        }
        let place = match (*code, ids.as_slice()) {
            (CHAINS, _) => Place::Chains(ids),
            (DOWN, [id]) => Place::Down(*id),
            (UP, [id]) => Place::Up(*id),
            _ => return None,
        };
        bytes.is_empty().then_some(Self { question, place })
    }
}

impl fmt::Display for RecordCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.encode()))
    }
}

impl FromStr for RecordCursor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let text = Some(text).filter(|text| text.len() <= Self::MAX_LENGTH);
        let bytes = text.and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
        let cursor = bytes.and_then(|bytes| Self::decode(&bytes));
        // One cursor has one text.
        cursor
            .filter(|cursor| text == Some(&cursor.to_string()))
            .ok_or_else(|| Error::invalid("cursor", "must be one that came with a page of records"))
    }
}

impl TryFrom<String> for RecordCursor {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<RecordCursor> for String {
    fn from(cursor: RecordCursor) -> Self {
        cursor.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places() -> Vec<Place> {
        let step = i64::MAX / 257;
        let far_apart = (0..RecordCursor::MAX_CHAINS as i64).map(|at| i64::MAX - at * step);
        let close = (1..=RecordCursor::MAX_CHAINS as i64).rev();
        vec![
            Place::Up(1),
            Place::Down(1),
            Place::Up(i64::MAX),
            Place::Down(i64::MAX),
            Place::Chains(vec![i64::MAX, 1]),
            Place::Chains(vec![7]),
            Place::Chains(close.collect()),
            Place::Chains(far_apart.collect()),
        ]
    }

    #[test]
    fn cursor_survives_its_text_and_json_and_its_text_is_bounded() {
        for place in places() {
            let cursor = RecordCursor { question: 0xdead_beef, place };
            let text = cursor.to_string();
            assert!(text.len() <= RecordCursor::MAX_LENGTH, "{} characters", text.len());
            assert_eq!(text.parse::<RecordCursor>().unwrap(), cursor);
            let json = serde_json::to_string(&cursor).unwrap();
            assert_eq!(json, format!("\"{text}\""));
            assert_eq!(serde_json::from_str::<RecordCursor>(&json).unwrap(), cursor);
        }
    }

    #[test]
    fn other_texts_are_refused_by_name() {
        let encoded = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let mut texts = vec![String::new(), "=".to_owned(), "x".repeat(1 << 20)];
        for bytes in [
            &[][..],
            &[UP],
            &[UP, 0, 0, 0, 0],
            &[UP, 0, 0, 0, 0, 0],
            &[UP, 0, 0, 0, 0, 9, 1],
            &[0x10, 0, 0, 0, 0, 9],
            &[UP, 0, 0, 0, 0, 0x89, 0],
            &[CHAINS, 0, 0, 0, 0, 9, 0],
            &[CHAINS, 0, 0, 0, 0, 9, 9],
            &[CHAINS, 0, 0, 0, 0, 9, 10],
            &[DOWN, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
            &[&[CHAINS, 0, 0, 0, 0, 0xff, 0x7f][..], &[1; 256]].concat(),
        ] {
            texts.push(encoded(bytes));
        }
        texts.push(format!("{}=", encoded(&[UP, 0, 0, 0, 0, 9])));
        for text in texts {
            let error = text.parse::<RecordCursor>().unwrap_err();
            assert_eq!(error.field(), Some("cursor"), "{text:.40}");
        }
        assert!(encoded(&[UP, 0, 0, 0, 0, 9]).parse::<RecordCursor>().is_ok());
    }

    #[test]
    fn any_bytes_are_a_cursor_of_the_same_text_or_refused() {
        let mut seed = 7_u64;
        for _ in 0..20_000 {
            let mut next = || {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (seed >> 33) as u8
            };
            let code = [CHAINS, DOWN, UP, next()][usize::from(next() % 4)];
            let length = next() % 24;
            let bytes: Vec<u8> = std::iter::once(code).chain((0..length).map(|_| next())).collect();
            let text = URL_SAFE_NO_PAD.encode(bytes);
            if let Ok(cursor) = text.parse::<RecordCursor>() {
                assert_eq!(cursor.to_string(), text);
            }
        }
    }
}
