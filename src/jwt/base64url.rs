//! base64url by RFC 7515 §2: no padding, no white space, no stray bits; one text for one value.

use base64::Engine;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD};

use crate::reason::DenialReason;

const ENGINE: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::URL_SAFE, NO_PAD);

pub(super) fn decode(text: &str) -> Result<Vec<u8>, DenialReason> {
    ENGINE.decode(text).map_err(|_| DenialReason::Malformed)
}

pub(super) fn encode(bytes: &[u8]) -> String {
    ENGINE.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_canonical_text_is_read() {
        assert_eq!(decode("Zm8").unwrap(), b"fo");
        for wrong in ["Zm8=", "Zm9", "Zm8\n", " Zm8", "Zm8+", "Zm/8", "Z", "Zm8.", "Zmé"] {
            assert!(decode(wrong).is_err(), "{wrong:?}");
        }
    }
}
