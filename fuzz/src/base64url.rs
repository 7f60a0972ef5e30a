//! base64url by RFC 7515 §2, strict. A lax reader here would hide that the library takes two texts for
//! one token.

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The bytes of a text without padding, white space and stray bits in its last digit (RFC 4648 §3.5).
pub fn decode(text: &str) -> Option<Vec<u8>> {
    if text.len() % 4 == 1 {
        return None;
    }
    let (mut bytes, mut window, mut bits) = (Vec::new(), 0_u32, 0);
    for digit in text.bytes() {
        window = window << 6 | value(digit)?;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((window >> bits) as u8);
            window &= (1 << bits) - 1;
        }
    }
    (window == 0).then_some(bytes)
}

/// The one text of these bytes.
pub fn encode(bytes: &[u8]) -> String {
    bytes.chunks(3).flat_map(encode_group).collect()
}

fn encode_group(group: &[u8]) -> impl Iterator<Item = char> {
    let padded = [0, 1, 2].map(|at| u32::from(group.get(at).copied().unwrap_or_default()));
    let window = padded[0] << 16 | padded[1] << 8 | padded[2];
    let digits = [18, 12, 6, 0].map(|shift| char::from(DIGITS[(window >> shift & 63) as usize]));
    digits.into_iter().take(group.len() + 1)
}

fn value(digit: u8) -> Option<u32> {
    DIGITS.iter().position(|known| *known == digit).map(|at| at as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_canonical_text_is_read() {
        for (bytes, text) in
            [("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("??>", "Pz8-")]
        {
            assert_eq!(encode(bytes.as_bytes()), text);
            assert_eq!(decode(text).as_deref(), Some(bytes.as_bytes()));
        }
        for wrong in ["Zg==", "Zh", "Zm9", "Z", "Zm8\n", " Zm8", "Zm+8", "Zm/8", "Zm.8", "Zmé"] {
            assert_eq!(decode(wrong), None, "{wrong:?}");
        }
    }
}
