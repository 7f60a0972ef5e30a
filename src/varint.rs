//! Whole numbers in as few bytes as they need: seven bits a byte, the lowest first (LEB128).

pub(crate) fn write(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Takes a number off the front; `None` where there is no whole one.
pub(crate) fn read(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for (at, byte) in bytes.iter().enumerate().take(10) {
        let part = u64::from(byte & 0x7f);
        number |= part.checked_shl(7 * at as u32).filter(|shifted| shifted >> (7 * at) == part)?;
        if byte & 0x80 == 0 {
            *bytes = &bytes[at + 1..];
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_survive_their_bytes() {
        let edges = (0..64).flat_map(|bit| [1_u64 << bit, (1 << bit) - 1]).chain([u64::MAX]);
        for number in edges {
            let mut bytes = Vec::new();
            write(&mut bytes, number);
            write(&mut bytes, 5);
            let mut rest = bytes.as_slice();
            assert_eq!(read(&mut rest), Some(number));
            assert_eq!(rest, [5]);
        }
    }

    #[test]
    fn what_is_cut_off_or_too_large_is_none() {
        for wrong in [&[][..], &[0x80], &[0xff; 10], &[0xff; 11]] {
            assert_eq!(read(&mut &wrong[..]), None);
        }
    }
}
