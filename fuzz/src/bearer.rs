//! The `Authorization` header by RFC 9110 §11.6.2 and RFC 6750 §2.1. A laxer reading than this one lets
//! two credentials, or one that a proxy reads differently, through.

use token_tracker::DenialReason;

/// The token of a request with these `Authorization` fields, or why it has none.
pub fn token<'a>(fields: &[&'a [u8]]) -> Result<&'a str, DenialReason> {
    match fields {
        [] => Err(DenialReason::CredentialMissing),
        [field] => token_of(field),
        _ => Err(DenialReason::CredentialRepeated),
    }
}

/// `"Bearer" 1*SP b64token`, between optional white space (RFC 9110 §5.5, §5.6.3).
fn token_of(field: &[u8]) -> Result<&str, DenialReason> {
    let field = trimmed(field);
    let scheme = field.split(|byte| *byte == b' ').next().unwrap_or_default();
    if !scheme.eq_ignore_ascii_case(b"Bearer") {
        return Err(DenialReason::CredentialMissing);
    }
    let rest = &field[scheme.len()..];
    let spaces = rest.iter().take_while(|byte| **byte == b' ').count();
    let token = &rest[spaces..];
    if token.contains(&b',') {
        return Err(DenialReason::CredentialRepeated);
    }
    let token = std::str::from_utf8(token).map_err(|_| DenialReason::Malformed)?;
    if is_b64token(token) { Ok(token) } else { Err(DenialReason::Malformed) }
}

/// Without the spaces and tabs around it; RFC 9110 has no other white space.
fn trimmed(field: &[u8]) -> &[u8] {
    let is_content = |byte: &u8| *byte != b' ' && *byte != b'\t';
    let start = field.iter().position(is_content).unwrap_or(field.len());
    let end = field.iter().rposition(is_content).map_or(start, |last| last + 1);
    &field[start..end]
}

/// `1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="`
fn is_b64token(token: &str) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
    let digits = token.bytes().take_while(|byte| is_digit(*byte)).count();
    digits > 0 && token.bytes().skip(digits).all(|byte| byte == b'=')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bearer_token_is_read_and_nothing_else() {
        use DenialReason::{CredentialMissing, CredentialRepeated, Malformed};
        for good in ["Bearer abc==", " \tbEaReR   abc==\t "] {
            assert_eq!(token(&[good.as_bytes()]), Ok("abc=="), "{good:?}");
        }
        for (wrong, why) in [
            ("", CredentialMissing),
            ("Bearerabc", CredentialMissing),
            ("Bearer\tabc", CredentialMissing),
            ("Basic abc", CredentialMissing),
            ("Bearer", Malformed),
            ("Bearer =", Malformed),
            ("Bearer a=b", Malformed),
            ("Bearer \tabc", Malformed),
            ("Bearer abc\r\n", Malformed),
            ("Bearer a, Bearer b", CredentialRepeated),
        ] {
            assert_eq!(token(&[wrong.as_bytes()]), Err(why), "{wrong:?}");
        }
        assert_eq!(token(&[]), Err(CredentialMissing));
        assert_eq!(token(&[b"Bearer a", b""]), Err(CredentialRepeated));
    }
}
