//! Opaque tokens: a prefix that secret scanners know, 256 random bits and a checksum.
//!
//! `tt_` + 43 digits in base 62 + 6 digits of checksum. The checksum tells a mistyped or made-up
//! token from a real one without a look-up; only the SHA-256 of the whole text is ever stored.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::error::Error;
use crate::secret::{Secret, random};

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const RANDOM_DIGITS: usize = 43;
const CHECKSUM_DIGITS: usize = 6;
const MAX_PREFIX: usize = 16;

/// The SHA-256 of an opaque token: what the store knows it by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct TokenHash(pub(crate) [u8; 32]);

/// The checked start of every opaque token of a service.
#[derive(Clone, Debug)]
pub(crate) struct OpaquePrefix(String);

impl OpaquePrefix {
    pub(crate) fn new(prefix: &str) -> Result<Self, Error> {
        let well_formed = prefix.len() >= 2
            && prefix.len() <= MAX_PREFIX
            && prefix.ends_with('_')
            && prefix.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !well_formed {
            return Err(Error::invalid(
                "opaque_prefix",
                format!("must be 2 to {MAX_PREFIX} ASCII letters, digits or `_`, ending in `_`"),
            ));
        }
        Ok(Self(prefix.to_owned()))
    }

    /// A fresh token.
    pub(crate) fn generate(&self) -> Result<Secret, Error> {
        let mut text = String::with_capacity(self.0.len() + RANDOM_DIGITS + CHECKSUM_DIGITS);
        text.push_str(&self.0);
        push_base62(&mut text, &mut random::<32>()?, RANDOM_DIGITS);
        let mut checksum = checksum(&text);
        push_base62(&mut text, &mut checksum, CHECKSUM_DIGITS);
        Ok(Secret::new(text))
    }

    /// The hash of a token that this prefix could have issued, or `None` where prefix, length,
    /// alphabet or checksum are wrong.
    pub(crate) fn parse(&self, token: &str) -> Option<TokenHash> {
        let digits = token.strip_prefix(self.0.as_str())?;
        if digits.len() != RANDOM_DIGITS + CHECKSUM_DIGITS
            || !digits.bytes().all(|byte| byte.is_ascii_alphanumeric())
        {
            return None;
        }
        let (body, claimed) = token.split_at(token.len() - CHECKSUM_DIGITS);
        let mut expected = String::with_capacity(CHECKSUM_DIGITS);
        push_base62(&mut expected, &mut checksum(body), CHECKSUM_DIGITS);
        bool::from(expected.as_bytes().ct_eq(claimed.as_bytes())).then(|| hash(token))
    }
}

/// The hash of a whole token text.
pub(crate) fn hash(token: &str) -> TokenHash {
    TokenHash(Sha256::digest(token.as_bytes()).into())
}

/// 32 bits over everything before the checksum. They guard against accidents, not attackers: a
/// made-up token with a right checksum still has no hash in the store.
fn checksum(body: &str) -> [u8; 4] {
    let digest = Sha256::new().chain_update(b"token-tracker checksum\0").chain_update(body);
    let digest: [u8; 32] = digest.finalize().into();
    [digest[0], digest[1], digest[2], digest[3]]
}

/// Appends `number` (big-endian, left at zero) as exactly `width` digits.
fn push_base62(text: &mut String, number: &mut [u8], width: usize) {
    let mut digits = [b'0'; RANDOM_DIGITS];
    for digit in digits[..width].iter_mut().rev() {
        let mut remainder = 0_usize;
        for byte in number.iter_mut() {
            let value = remainder * 256 + usize::from(*byte);
            *byte = u8::try_from(value / 62)
                .expect("a remainder under 62 keeps the quotient in a byte");
            remainder = value % 62;
        }
        *digit = DIGITS[remainder];
    }
    text.extend(digits[..width].iter().map(|digit| char::from(*digit)));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix() -> OpaquePrefix {
        OpaquePrefix::new("tt_").unwrap()
    }

    #[test]
    fn an_issued_token_is_known_by_the_hash_of_its_whole_text() {
        let token = prefix().generate().unwrap();
        assert_eq!(token.expose().len(), 3 + 43 + 6);
        assert_eq!(prefix().parse(token.expose()), Some(hash(token.expose())));
    }

    #[test]
    fn one_changed_character_anywhere_is_refused_without_a_look_up() {
        let token = prefix().generate().unwrap();
        for at in 0..token.expose().len() {
            let mut changed = token.expose().as_bytes().to_vec();
            changed[at] = if changed[at] == b'x' { b'y' } else { b'x' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(prefix().parse(&changed), None, "changed at {at}");
        }
    }

    #[test]
    fn truncated_extended_and_foreign_tokens_are_refused() {
        let token = prefix().generate().unwrap();
        let text = token.expose();
        let other = OpaquePrefix::new("other_").unwrap();
        for wrong in ["", "tt_", &text[1..], &text[..text.len() - 1], &format!("{text}0")] {
            assert_eq!(prefix().parse(wrong), None);
        }
        assert_eq!(other.parse(text), None);
    }

    #[test]
    fn the_largest_number_still_fits_its_digits() {
        let mut text = String::new();
        push_base62(&mut text, &mut [0xff; 32], RANDOM_DIGITS);
        assert_eq!(text.len(), RANDOM_DIGITS);
        assert_ne!(text.as_bytes()[0], b'0');
        let mut text = String::new();
        push_base62(&mut text, &mut [0xff; 4], CHECKSUM_DIGITS);
        assert_eq!(text, "4gfFC3");
    }

    #[test]
    fn a_prefix_out_of_bounds_is_an_error_that_names_it() {
        for wrong in ["", "_x", "tt", "t.t_", "much_too_long_for_it_", "é_"] {
            assert_eq!(OpaquePrefix::new(wrong).unwrap_err().field(), Some("opaque_prefix"));
        }
    }
}
