//! The caller as header fields, for a service that takes a proxy's word.

use crate::identity::Identity;

/// How the names of all of them begin, and those of whatever is added to them later.
const PREFIX: &[u8] = b"x-token-";

impl Identity {
    /// Who is calling, as header fields for a service that does not authenticate by itself: `x-token-id`,
    /// `x-token-owner`, `x-token-name` and `x-token-scopes`, the scopes with a space between each two. There are always
    /// four; the last is empty where there are no scopes. Values are plain ASCII: a space, a `%` and whatever is no
    /// visible ASCII is percent-encoded, as UTF-8 (RFC 3986 §2.1).
    ///
    /// The service may believe them only where nobody but the proxy reaches it, and where the proxy has removed the
    /// client's own: all for which [`is_header_field`](Identity::is_header_field).
    ///
    /// ```
    /// # use token_tracker::{Identity, NewToken, TokenTracker};
    /// # let tracker = TokenTracker::builder().in_memory()?;
    /// let new = NewToken::opaque("zoë@example.com", "nightly export").scopes(["read", "write"]);
    /// # let issued = tracker.tokens().issue(new)?;
    /// # let mut headers = vec![("X_Token_Owner".to_owned(), "root".to_owned())];
    /// let access = tracker.authenticate(&issued.secret)?;
    /// headers.retain(|(name, _)| !Identity::is_header_field(name));
    /// headers.extend(access.identity().header_fields().map(|(name, value)| (name.to_owned(), value)));
    /// assert_eq!(headers[0], ("x-token-id".to_owned(), issued.token.id.to_string()));
    /// assert_eq!(headers[1], ("x-token-owner".to_owned(), "zo%C3%AB@example.com".to_owned()));
    /// assert_eq!(headers[2], ("x-token-name".to_owned(), "nightly%20export".to_owned()));
    /// assert_eq!(headers[3], ("x-token-scopes".to_owned(), "read write".to_owned()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn header_fields(&self) -> [(&'static str, String); 4] {
        let scopes: Vec<_> = self.scopes().iter().map(|scope| encoded(scope)).collect();
        [
            ("x-token-id", self.token_id().to_string()),
            ("x-token-owner", encoded(self.owner())),
            ("x-token-name", encoded(self.name())),
            ("x-token-scopes", scopes.join(" ")),
        ]
    }

    /// Whether a service could take a header field of this name for one of
    /// [`header_fields`](Identity::header_fields): whether it begins with `x-token-`, in any case, and with any sign for
    /// the `-`. What turns fields into variables, as CGI does, takes `_` for `-` and often every other sign, too.
    #[must_use]
    pub fn is_header_field<N: AsRef<[u8]> + ?Sized>(name: &N) -> bool {
        let start = name.as_ref().get(..PREFIX.len());
        start.is_some_and(|start| start.iter().copied().map(folded).eq(PREFIX.iter().copied()))
    }
}

fn folded(byte: u8) -> u8 {
    if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() } else { b'-' }
}

fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && byte != b'%' {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_is_visible_ascii_and_tells_apart_what_was_apart() {
        assert_eq!(encoded("a b%20c\u{7f}\u{9}é\"\\,;"), "a%20b%2520c%7F%09%C3%A9\"\\,;");
        for byte in 0..128_u8 {
            let text = char::from(byte).to_string();
            assert!(encoded(&text).bytes().all(|byte| byte.is_ascii_graphic()), "{text:?}");
        }
    }

    #[test]
    fn name_is_known_in_every_spelling_and_no_other_name_is() {
        for name in [
            "x-token-owner",
            "X-Token-ID",
            "x_token_owner",
            "X_TOKEN.scopes",
            "x-token-",
            "X~Token!x",
        ] {
            assert!(Identity::is_header_field(name), "{name}");
        }
        for name in ["", "x-token", "x-tokens", "x--token-owner", "token-owner", "a-x-token-owner"]
        {
            assert!(!Identity::is_header_field(name), "{name}");
        }
    }
}
