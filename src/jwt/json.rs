//! JSON objects without duplicate members, at any depth (RFC 7519 §4 lets a verifier refuse them).

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::reason::DenialReason;

/// Reads an object that fills `bytes` but for white space. Nesting over 128 levels, numbers beyond the
/// range of a double, lone surrogates and bytes that are not UTF-8 are refused.
///
/// Two passes: one that only looks for duplicates, one that reads the values as serde_json does, whose
/// own numbers reach a visitor in another shape where somebody's build turns `arbitrary_precision` on.
pub(super) fn object(bytes: &[u8]) -> Result<Map<String, Value>, DenialReason> {
    let unique: Result<Unique, _> = serde_json::from_slice(bytes);
    match unique.and_then(|_| serde_json::from_slice(bytes)) {
        Ok(Value::Object(object)) => Ok(object),
        _ => Err(DenialReason::Malformed),
    }
}

/// A value in which no object names a member twice.
struct Unique;

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UniqueVisitor)
    }
}

struct UniqueVisitor;

impl<'de> Visitor<'de> for UniqueVisitor {
    type Value = Unique;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without duplicate members")
    }

    fn visit_unit<E>(self) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_bool<E>(self, _value: bool) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_i64<E>(self, _value: i64) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_u64<E>(self, _value: u64) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_f64<E>(self, _value: f64) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_str<E>(self, _value: &str) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Unique, A::Error> {
        while items.next_element::<Unique>()?.is_some() {}
        Ok(Unique)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Unique, A::Error> {
        let mut names = Vec::new();
        while let Some((Name(name), Unique)) = members.next_entry()? {
            names.push(name);
        }
        names.sort_unstable();
        if names.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(A::Error::custom("duplicate member"));
        }
        Ok(Unique)
    }
}

/// The name of a member, copied only where it is escaped.
struct Name<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(NameVisitor)
    }
}

struct NameVisitor;

impl<'de> Visitor<'de> for NameVisitor {
    type Value = Name<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a member")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Name<'de>, E> {
        Ok(Name(Cow::Borrowed(name)))
    }

    fn visit_str<E>(self, name: &str) -> Result<Name<'de>, E> {
        Ok(Name(Cow::Owned(name.to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicates_are_refused_at_any_depth_and_under_any_spelling() {
        for wrong in [r#"{"a":1,"a":2}"#, r#"{"a":1,"\u0061":1}"#, r#"{"x":[{"a":1,"a":1}]}"#] {
            assert!(object(wrong.as_bytes()).is_err(), "{wrong}");
        }
        let good = object(br#" {"a":[1,-2,2.5,null,true,"x"],"b":{}} "#).unwrap();
        assert_eq!(Value::Object(good), serde_json::json!({"a":[1,-2,2.5,null,true,"x"],"b":{}}));
    }

    #[test]
    fn what_is_not_one_object_is_refused() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
        let wrong: [&[u8]; 9] = [
            b"",
            b"[]",
            b"1",
            b"{} {}",
            b"{\"a\":1e400}",
            b"{\"a\":NaN}",
            b"{\"a\":\"\xff\"}",
            b"{\"a\":\"\\ud800\"}",
            deep.as_bytes(),
        ];
        for wrong in wrong {
            assert!(object(wrong).is_err());
        }
    }
}
