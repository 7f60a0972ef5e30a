//! JSON by RFC 8259, strict. A reader that took the last of two members, or half a surrogate pair, would
//! let a token say one thing here and another in the library.

use std::collections::BTreeMap;

use crate::render::{Members, quoted};

/// The deepest nesting that is read. Of its bound of 128, `serde_json` lets 127 levels through.
const MAX_DEPTH: usize = 127;

/// From here on it depends on how a reader rounds whether a number is in the range of a double.
const BORDER: f64 = 1.797_693_134_862_31e308;

/// A value in which no object names a member twice.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    Array(Vec<Json>),
    Bool(bool),
    Null,
    /// As it is written.
    Number(String),
    Object(Object),
    Text(String),
}

/// The members of an object.
pub type Object = BTreeMap<String, Json>;

/// Why bytes are no JSON.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Flaw {
    /// A number that one strict reader may take and another refuse.
    Borderline,
    Wrong(&'static str),
}

impl Json {
    /// The one value that fills `bytes` but for white space.
    pub fn parse(bytes: &[u8]) -> Result<Self, Flaw> {
        let text = std::str::from_utf8(bytes).map_err(|_| Flaw::Wrong("not UTF-8"))?;
        let mut reader = Reader { text, at: 0 };
        let value = reader.value(0)?;
        reader.skip_space();
        if reader.at < text.len() { Err(Flaw::Wrong("trailing bytes")) } else { Ok(value) }
    }

    /// The one object that fills `bytes` but for white space.
    pub fn object(bytes: &[u8]) -> Result<Object, Flaw> {
        match Self::parse(bytes)? {
            Self::Object(object) => Ok(object),
            _ => Err(Flaw::Wrong("not an object")),
        }
    }

    /// A text that reads as this value.
    pub fn written(&self) -> String {
        match self {
            Self::Array(items) => {
                let items: Vec<String> = items.iter().map(Self::written).collect();
                format!("[{}]", items.join(","))
            }
            Self::Bool(value) => value.to_string(),
            Self::Null => "null".to_owned(),
            Self::Number(number) => number.clone(),
            Self::Object(object) => {
                let written = object.iter().map(|(name, value)| (name.as_str(), value.written()));
                Members::of(written).object()
            }
            Self::Text(text) => quoted(text),
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, expected: u8) -> bool {
        let found = self.peek() == Some(expected);
        self.at += usize::from(found);
        found
    }

    fn need(&mut self, expected: u8) -> Result<(), Flaw> {
        self.skip_space();
        if self.take(expected) { Ok(()) } else { Err(Flaw::Wrong("another character expected")) }
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(|byte| b" \t\r\n".contains(&byte)) {
            self.at += 1;
        }
    }

    fn value(&mut self, depth: usize) -> Result<Json, Flaw> {
        self.skip_space();
        match self.peek().ok_or(Flaw::Wrong("a value is missing"))? {
            b'{' | b'[' if depth == MAX_DEPTH => Err(Flaw::Wrong("too deep")),
            b'{' => self.members(depth + 1).map(Json::Object),
            b'[' => self.items(depth + 1).map(Json::Array),
            b'"' => self.string().map(Json::Text),
            b'-' | b'0'..=b'9' => self.number().map(Json::Number),
            _ => self.word(),
        }
    }

    fn word(&mut self) -> Result<Json, Flaw> {
        let words =
            [("null", Json::Null), ("true", Json::Bool(true)), ("false", Json::Bool(false))];
        for (word, value) in words {
            if self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
                self.at += word.len();
                return Ok(value);
            }
        }
        Err(Flaw::Wrong("not a value"))
    }

    fn members(&mut self, depth: usize) -> Result<Object, Flaw> {
        let mut object = Object::new();
        self.need(b'{')?;
        self.skip_space();
        if self.take(b'}') {
            return Ok(object);
        }
        loop {
            self.skip_space();
            let name = self.string()?;
            self.need(b':')?;
            let value = self.value(depth)?;
            if object.insert(name, value).is_some() {
                return Err(Flaw::Wrong("duplicate member"));
            }
            self.skip_space();
            if !self.take(b',') {
                return self.need(b'}').map(|()| object);
            }
        }
    }

    fn items(&mut self, depth: usize) -> Result<Vec<Json>, Flaw> {
        let mut items = Vec::new();
        self.need(b'[')?;
        self.skip_space();
        if self.take(b']') {
            return Ok(items);
        }
        loop {
            items.push(self.value(depth)?);
            self.skip_space();
            if !self.take(b',') {
                return self.need(b']').map(|()| items);
            }
        }
    }

    fn string(&mut self) -> Result<String, Flaw> {
        if !self.take(b'"') {
            return Err(Flaw::Wrong("a text is missing"));
        }
        let mut text = String::new();
        loop {
            let next = self.text[self.at..].chars().next().ok_or(Flaw::Wrong("unended text"))?;
            self.at += next.len_utf8();
            match next {
                '"' => return Ok(text),
                '\\' => text.push(self.escape()?),
                '\0'..='\x1f' => return Err(Flaw::Wrong("control character in a text")),
                other => text.push(other),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Flaw> {
        let kind = self.peek().ok_or(Flaw::Wrong("unended escape"))?;
        self.at += 1;
        Ok(match kind {
            b'"' | b'\\' | b'/' => char::from(kind),
            b'b' => '\x08',
            b'f' => '\x0c',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.code_point(),
            _ => return Err(Flaw::Wrong("unknown escape")),
        })
    }

    /// A unit of UTF-16, or two that belong together.
    fn code_point(&mut self) -> Result<char, Flaw> {
        let high = self.unit()?;
        let code = match high {
            0xd800..=0xdbff => {
                let paired = self.take(b'\\') && self.take(b'u');
                let low = if paired { self.unit()? } else { 0 };
                if !(0xdc00..=0xdfff).contains(&low) {
                    return Err(Flaw::Wrong("lone surrogate"));
                }
                0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00)
            }
            unit => unit,
        };
        char::from_u32(code).ok_or(Flaw::Wrong("lone surrogate"))
    }

    fn unit(&mut self) -> Result<u32, Flaw> {
        let digits = self.text.as_bytes().get(self.at..self.at + 4);
        let digits = digits.ok_or(Flaw::Wrong("short escape"))?;
        self.at += 4;
        digits.iter().try_fold(0, |unit, digit| {
            let digit = char::from(*digit).to_digit(16).ok_or(Flaw::Wrong("not hexadecimal"))?;
            Ok(unit * 16 + digit)
        })
    }

    fn number(&mut self) -> Result<String, Flaw> {
        let start = self.at;
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            let _sign = self.take(b'+') || self.take(b'-');
            self.digits()?;
        }
        in_range(&self.text[start..self.at])
    }

    fn digits(&mut self) -> Result<(), Flaw> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start { Err(Flaw::Wrong("a digit is missing")) } else { Ok(()) }
    }
}

fn in_range(number: &str) -> Result<String, Flaw> {
    let double: f64 = number.parse().map_err(|_| Flaw::Wrong("not a number"))?;
    match double.abs() {
        size if size < BORDER => Ok(number.to_owned()),
        size if size.is_finite() => Err(Flaw::Borderline),
        _ => Err(Flaw::Wrong("beyond the range of a double")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> bool {
        matches!(Json::parse(text.as_bytes()), Err(Flaw::Wrong(_)))
    }

    #[test]
    fn what_is_written_is_read() {
        let text = r#" {"a" : [1 , -2.5e+3, null,true, false,"\u00e9\ud83d\ude00\n"], "b":{}} "#;
        let items = vec![
            Json::Number("1".into()),
            Json::Number("-2.5e+3".into()),
            Json::Null,
            Json::Bool(true),
            Json::Bool(false),
            Json::Text("é😀\n".into()),
        ];
        let object = [("a", Json::Array(items)), ("b", Json::Object(Object::new()))];
        let object = object.map(|(name, value)| (name.to_owned(), value)).into();
        let object = Json::Object(object);
        assert_eq!(Json::parse(text.as_bytes()), Ok(object.clone()));
        assert_eq!(Json::parse(object.written().as_bytes()), Ok(object));
    }

    #[test]
    fn what_is_not_json_or_says_a_thing_twice_is_refused() {
        for text in [
            "",
            " ",
            "{",
            "}",
            "[1,]",
            "{,}",
            "{\"a\"}",
            "{\"a\":1,}",
            "nul",
            "nullx",
            "+1",
            "01",
            "1.",
            ".5",
            "1e",
            "-",
            "--1",
            "1e400",
            "-1e400",
            "NaN",
            "\"",
            "\"\\x\"",
            "\"\n\"",
            "\"\\u12g4\"",
            "\"\\ud800\"",
            "\"\\ud800\\u0041\"",
            "\"\\udc00\"",
            "\"\\u+123\"",
            "{} {}",
            "\u{feff}{}",
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":1}"#,
            r#"{"x":[{"a":1,"a":1}]}"#,
            "\u{a0}1",
            "\"\\u12",
        ] {
            assert!(wrong(text), "{text:?}");
        }
        assert_eq!(Json::parse(b"\"\xff\""), Err(Flaw::Wrong("not UTF-8")));
        assert_eq!(Json::parse(b"1.7976931348623157e308"), Err(Flaw::Borderline));
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(!wrong(&nested(MAX_DEPTH)));
        assert!(wrong(&nested(MAX_DEPTH + 1)));
        assert!(wrong(&"[".repeat(1_000_000)));
    }
}
