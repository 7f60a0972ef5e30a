//! The `WWW-Authenticate` header by RFC 6750 §3. A challenge that does not parse, or that something from
//! the request breaks out of, is a header injection.

/// Asserts that a challenge is `Bearer` with distinct parameters in quotes, in printable ASCII.
///
/// # Panics
/// Where it is not.
pub fn check(challenge: &str) {
    assert!(challenge.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{challenge:?}");
    let parameters = challenge.strip_prefix("Bearer").expect("the scheme comes first");
    let mut names = Vec::new();
    let mut rest = parameters.strip_prefix(' ').unwrap_or(parameters);
    while !rest.is_empty() {
        let (name, after) = parameter(rest).unwrap_or_else(|| panic!("no parameter: {challenge}"));
        assert!(!names.contains(&name), "twice the same parameter: {challenge}");
        names.push(name);
        rest = match after.strip_prefix(", ") {
            Some(next) if !next.is_empty() => next,
            Some(_) => panic!("nothing after the comma: {challenge}"),
            None => after,
        };
        assert!(rest.is_empty() || rest.len() < after.len(), "no comma: {challenge}");
    }
}

/// `name="value"`, with the characters that RFC 6750 §3 allows, and what follows.
fn parameter(text: &str) -> Option<(&str, &str)> {
    let (name, rest) = text.split_once("=\"")?;
    let (value, after) = rest.split_once('"')?;
    let known = ["realm", "scope", "error", "error_description", "error_uri"].contains(&name);
    (known && !value.contains('\\')).then_some((name, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_by_the_rfc_pass() {
        check("Bearer");
        check("Bearer realm=\"a b\"");
        check("Bearer error=\"invalid_token\", error_description=\"no good\"");
    }

    #[test]
    fn what_breaks_out_of_its_quotes_is_seen() {
        for wrong in [
            "Basic",
            "Bearer realm=\"a\r\nb\"",
            "Bearer realm=\"a",
            "Bearer realm=a",
            "Bearer realm=\"a\"b\"",
            "Bearer realm=\"a\" error=\"b\"",
            "Bearer realm=\"a\", realm=\"b\"",
            "Bearer realm=\"a\", ",
            "Bearer scope=\"a\\\"",
            "Bearer cookie=\"a\"",
            "Bearer scope=\"é\"",
        ] {
            assert!(std::panic::catch_unwind(|| check(wrong)).is_err(), "{wrong:?}");
        }
    }
}
