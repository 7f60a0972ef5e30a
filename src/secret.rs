//! Text that must not be shown: a token as it is handed out.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// A token in the clear. Cannot be printed by accident and is wiped from memory when dropped.
///
/// ```
/// # use token_tracker::{NewToken, TokenTracker};
/// # let tracker = TokenTracker::builder().in_memory()?;
/// let issued = tracker.tokens().issue(NewToken::opaque("alice@example.com", "laptop"))?;
/// assert_eq!(format!("{:?}", issued.secret), "Secret([redacted])");
/// let token: &str = issued.secret.expose();
/// assert!(token.starts_with("tt_"));
/// # Ok::<(), token_tracker::Error>(())
/// ```
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    pub(crate) fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text itself, to hand to its owner once.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret([redacted])")
    }
}

/// Compares in constant time.
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for Secret {}

/// Random bytes from the operating system.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], crate::Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| {
        crate::Error::new(crate::ErrorKind::Storage, "the operating system gives no random numbers")
            .with_source(anyhow::Error::new(error))
    })?;
    Ok(bytes)
}
