//! Scopes: what they look like, and when one covers another.

use crate::error::Error;

/// Stands for everything that may come in its place, as the last part of a granted scope.
const ANY: &str = "*";

/// Whether a granted scope covers a wanted one.
///
/// Exact and case-sensitive (RFC 6749 §3.3), but that `*` as the last part of a granted scope, or as all of
/// it, stands for one part or more: `items:*` covers `items:read` and `items:read:own`, not `items`. A wanted
/// scope with a `*` is covered where everything is that it covers.
pub(crate) fn covers(granted: &str, wanted: &str) -> bool {
    if granted == wanted || granted == ANY {
        return true;
    }
    let Some(start) = granted.strip_suffix(ANY).filter(|start| start.ends_with(':')) else {
        return false;
    };
    wanted.strip_prefix(start).is_some_and(|rest| !rest.is_empty())
}

/// Whether one of the granted scopes covers the wanted one.
pub(crate) fn any_covers(granted: &[String], wanted: &str) -> bool {
    granted.iter().any(|granted| covers(granted, wanted))
}

/// `scope-token` of RFC 6749 §3.3: visible ASCII but `"` and `\`.
pub(crate) fn is_scope(scope: &str) -> bool {
    (1..=128).contains(&scope.len())
        && scope.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\')
}

/// A scope as it can be granted: a `*` is the last part of it, so that nobody takes it for a pattern that it
/// is not.
pub(crate) fn check_scope(scope: &str) -> Result<(), Error> {
    if !is_scope(scope) {
        let message =
            "must be 1 to 128 visible ASCII characters each, without space, `\"` and `\\`";
        return Err(Error::invalid("scopes", message));
    }
    let start = scope.strip_suffix(ANY).unwrap_or(scope);
    let is_last = start.len() == scope.len() || start.is_empty() || start.ends_with(':');
    if start.contains('*') || !is_last {
        return Err(Error::invalid("scopes", "may have a `*` alone or after the last `:`"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcard_covers_what_comes_in_its_place_and_nothing_else() {
        for (granted, wanted, covered) in [
            ("items:read", "items:read", true),
            ("items:read", "items:Read", false),
            ("items:read", "items:read:own", false),
            ("items:*", "items:read", true),
            ("items:*", "items:read:own", true),
            ("items:*", "items:*", true),
            ("items:*", "items:read:*", true),
            ("items:read:*", "items:*", false),
            ("items:read", "items:*", false),
            ("items:*", "items", false),
            ("items:*", "items:", false),
            ("items:*", "itemsx:read", false),
            ("*", "anything", true),
            ("*", "*", true),
            ("items:*", "*", false),
        ] {
            assert_eq!(covers(granted, wanted), covered, "{granted} {wanted}");
        }
    }

    #[test]
    fn wildcard_that_is_no_last_part_is_refused() {
        for scope in ["*", "a:*", "a:b:*", "a", "a:b", "a*".trim_end_matches('*')] {
            assert!(check_scope(scope).is_ok(), "{scope}");
        }
        for scope in ["a*", "*a", "a:*:b", "*:a", "a:**", "**", "", "a b", "a\u{7f}", "é"] {
            assert_eq!(check_scope(scope).unwrap_err().field(), Some("scopes"), "{scope}");
        }
    }
}
