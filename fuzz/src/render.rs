//! Tokens put together part by part, wrong ones too.

use crate::base64url;
use crate::keys::KeyName;

/// The compact serialisation of a header and a payload, signed.
pub fn signed(key: KeyName, header: &[u8], payload: &[u8]) -> String {
    let message = format!("{}.{}", base64url::encode(header), base64url::encode(payload));
    let signature = base64url::encode(&key.sign(message.as_bytes()));
    format!("{message}.{signature}")
}

/// The bytes of a token's header and payload, where it has them.
pub fn opened(token: &str) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut parts = token.split('.');
    Some((base64url::decode(parts.next()?)?, base64url::decode(parts.next()?)?))
}

/// The key that a header asks for, by the look of it.
pub fn asked_for(header: &[u8]) -> KeyName {
    let says = |name: &str| header.windows(name.len()).any(|found| found == name.as_bytes());
    let named = KeyName::ALL.into_iter().find(|key| says(key.algorithm()));
    named.unwrap_or(KeyName::Hs256)
}

/// The members of an object as they are written, duplicates too.
#[derive(Debug)]
pub struct Members(Vec<(String, String)>);

impl Members {
    /// Names, and values that are JSON already.
    pub fn of<'a>(members: impl IntoIterator<Item = (&'a str, String)>) -> Self {
        Self(members.into_iter().map(|(name, value)| (quoted(name), value)).collect())
    }

    /// Puts a member beside those of the same name.
    pub fn add(&mut self, name: &str, value: String) {
        self.0.push((quoted(name), value));
    }

    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(found, _)| *found != quoted(name));
    }

    /// Puts a member instead of those of the same name.
    pub fn set(&mut self, name: &str, value: String) {
        self.remove(name);
        self.add(name, value);
    }

    /// Spells a name with escapes.
    pub fn escape(&mut self, name: &str) {
        let found = self.0.iter_mut().filter(|(found, _)| *found == quoted(name));
        found.for_each(|(found, _)| *found = escaped(name));
    }

    pub fn object(&self) -> String {
        let written = self.0.iter().map(|(name, value)| format!("{name}:{value}"));
        format!("{{{}}}", written.collect::<Vec<_>>().join(","))
    }
}

/// A text between quotes, with the escapes that RFC 8259 §7 asks for.
pub fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            '\0'..='\x1f' => quoted.push_str(&format!("\\u{:04x}", u32::from(character))),
            _ => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

/// The same, every unit of it escaped.
fn escaped(text: &str) -> String {
    let units: String = text.encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect();
    format!("\"{units}\"")
}
