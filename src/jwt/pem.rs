//! PEM (RFC 7468), looked at before a parser that recurses gets it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::algorithm::Algorithm;
use crate::error::Error;

/// An RSA key of 8,192 bits, private parts and all, takes about 6 KiB.
const MAX_LENGTH: usize = 16 << 10;

/// Keys nest six deep or so.
const MAX_DEPTH: usize = 16;

/// What an EC or Ed25519 public key starts with: its type, its curve and its length (RFC 5480, RFC 8410).
const P256: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
];
const P384: &[u8] = &[
    0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b,
    0x81, 0x04, 0x00, 0x22, 0x03, 0x62, 0x00, 0x04,
];
const ED25519: &[u8] = &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// One key, of a kind that is meant, with nothing else in the text that could be one. Returns its DER.
pub(super) fn check(pem: &[u8], labels: &[&str]) -> Result<Zeroizing<Vec<u8>>, Error> {
    let wrong = || {
        let labels = labels.join("` or `");
        Error::invalid("key", format!("must be exactly one PEM block, `{labels}`"))
    };
    if pem.len() > MAX_LENGTH {
        return Err(Error::invalid("key", "must be 16 KiB of PEM or less"));
    }
    let text = std::str::from_utf8(pem).map_err(|_| wrong())?;
    let der = labels.iter().find_map(|label| body(text, label)).ok_or_else(wrong)?;
    let der: Zeroizing<String> =
        Zeroizing::new(der.chars().filter(|c| !c.is_ascii_whitespace()).collect());
    let der = STANDARD.decode(der.as_bytes()).map(Zeroizing::new).map_err(|_| wrong())?;
    if !nests_sensibly(&der) {
        return Err(wrong());
    }
    Ok(der)
}

/// The text between the one pair of marks, with nothing but white space around them.
fn body<'t>(text: &'t str, label: &str) -> Option<&'t str> {
    let begin = format!("-----BEGIN {label}-----");
    let end = format!("-----END {label}-----");
    let body = text.trim().strip_prefix(&begin)?.strip_suffix(&end)?;
    (!body.contains('-')).then_some(body)
}

/// An elliptic key must lie on the curve of its algorithm.
pub(super) fn check_curve(algorithm: Algorithm, der: &[u8]) -> Result<(), Error> {
    let prefix = match algorithm {
        Algorithm::EdDsa => ED25519,
        Algorithm::Es256 => P256,
        Algorithm::Es384 => P384,
        _ => return Ok(()),
    };
    if der.starts_with(prefix) {
        return Ok(());
    }
    Err(Error::invalid("key", format!("is not one for {}", algorithm.as_str())))
}

/// Walks the DER without recursion: definite lengths within bounds, and no deeper than keys are.
fn nests_sensibly(der: &[u8]) -> bool {
    let mut ends = vec![der.len()];
    let mut at = 0;
    while let Some(end) = ends.last().copied() {
        if at == end {
            ends.pop();
            continue;
        }
        let Some((constructed, start, length)) = element(&der[at..end]) else { return false };
        at += start;
        if constructed {
            ends.push(at + length);
        } else {
            at += length;
        }
        if ends.len() > MAX_DEPTH {
            return false;
        }
    }
    true
}

/// Whether the element is constructed, where its content starts, and how long that is.
fn element(der: &[u8]) -> Option<(bool, usize, usize)> {
    let (tag, first) = (*der.first()?, usize::from(*der.get(1)?));
    let (start, length) = match first {
        0..=0x7f => (2, first),
        0x81..=0x83 => {
            let bytes = der.get(2..2 + (first - 0x80))?;
            let length = bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
            (2 + bytes.len(), length)
        }
        _ => return None,
    };
    let fits = tag & 0x1f != 0x1f && length <= der.len() - start;
    fits.then_some((tag & 0x20 != 0, start, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deep_and_broken_nesting_is_refused_without_recursion() {
        let mut deep = Vec::new();
        for _ in 0..5_000 {
            let length = deep.len();
            let mut outer =
                vec![0x30, 0x83, (length >> 16) as u8, (length >> 8) as u8, length as u8];
            outer.extend(&deep);
            deep = outer;
        }
        assert!(!nests_sensibly(&deep));
        assert!(nests_sensibly(&[0x30, 0x03, 0x02, 0x01, 0x05]));
        for broken in [&[0x30][..], &[0x30, 0x05, 0x02], &[0x30, 0x80, 0, 0], &[0x1f, 0x01, 0x00]] {
            assert!(!nests_sensibly(broken), "{broken:?}");
        }
    }

    #[test]
    fn text_around_a_block_and_two_blocks_are_refused() {
        let block = "-----BEGIN PUBLIC KEY-----\nMAMCAQU=\n-----END PUBLIC KEY-----";
        assert!(check(format!("\n{block}\n").as_bytes(), &["PUBLIC KEY"]).is_ok());
        for wrong in [format!("x{block}"), format!("{block}\n{block}"), format!("{block}y")] {
            assert!(check(wrong.as_bytes(), &["PUBLIC KEY"]).is_err(), "{wrong}");
        }
        assert!(check(block.as_bytes(), &["PRIVATE KEY"]).is_err());
        assert!(check(&[b' '; MAX_LENGTH + 1], &["PUBLIC KEY"]).is_err());
    }
}
