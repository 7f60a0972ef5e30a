//! Clients' addresses: what is kept of them, as it is shown, and as bytes in a column.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher24;
use zeroize::Zeroizing;

use crate::error::Error;
use crate::network::Network;

/// What is kept of clients' addresses, in records and in everything else. The address itself is looked at once,
/// for the [networks](crate::NewToken::networks) that a token is limited to, and then forgotten.
///
/// An IPv4 address that is mapped into IPv6 (`::ffff:192.0.2.7`) is kept as the IPv4 address that it is. A change
/// of this setting counts for what is recorded from then on; what was kept before stays as it is.
///
/// ```
/// use token_tracker::{AuthRequest, ClientAddresses, NewToken, TokenTracker};
///
/// let tracker = TokenTracker::builder().client_addresses(ClientAddresses::Truncate).in_memory()?;
/// let issued = tracker.tokens().issue(NewToken::opaque("alice", "laptop"))?;
/// drop(tracker.authenticate(AuthRequest::from(&issued.secret).client_address("192.0.2.7".parse::<std::net::IpAddr>()?))?);
///
/// tracker.flush()?;
/// let record = tracker.stats().token(issued.token.id).recent(1)?.remove(0);
/// assert_eq!(record.client_address.unwrap().to_string(), "192.0.2.0/24");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum ClientAddresses {
    /// Nothing is kept.
    Drop,
    /// A hash under a key is kept: see [`ClientAddresses::hashed`].
    Hash(AddressKey),
    /// Addresses are kept as they are.
    #[default]
    Keep,
    /// The network is kept that an address is in: the first 24 bits of an IPv4 address, the first 48 of an IPv6
    /// address, the most that a site is given (RFC 6177).
    Truncate,
}

impl ClientAddresses {
    /// Keeps 64 bits of SipHash-2-4 under this key instead of the address.
    ///
    /// It tells whether two requests came from the same address, and no more, to whoever has the file, a backup
    /// or an export, and not the key. Whoever has the key can try all IPv4 addresses: keep it where the file is not,
    /// and random. The same address has the same hash under every token and for as long as the key is the
    /// same, so that it still singles somebody out (a pseudonym by GDPR Art. 4(5), not an anonymous number); another
    /// key begins anew. Processes that share a file need the same key.
    ///
    /// ```
    /// # use token_tracker::{ClientAddresses, TokenTracker};
    /// # let key_from_your_vault = [7; 16];
    /// let addresses = ClientAddresses::hashed(key_from_your_vault);
    /// assert_eq!(format!("{addresses:?}"), "Hash(AddressKey([redacted]))");
    /// let tracker = TokenTracker::builder().client_addresses(addresses).in_memory()?;
    /// # Ok::<(), token_tracker::Error>(())
    /// ```
    #[must_use]
    pub fn hashed(key: [u8; 16]) -> Self {
        Self::Hash(AddressKey(Zeroizing::new(key)))
    }

    /// What is kept of an address.
    pub(crate) fn kept(&self, address: IpAddr) -> Option<ClientAddress> {
        let address = address.to_canonical();
        match self {
            Self::Drop => None,
            Self::Hash(key) => Some(ClientAddress::Hashed(key.hash(address))),
            Self::Keep => Some(ClientAddress::Address(address)),
            Self::Truncate => Some(ClientAddress::Network(Network::of_client(address))),
        }
    }
}

/// The key of [`ClientAddresses::hashed`]. Cannot be printed, and is wiped from memory when dropped.
#[derive(Clone)]
pub struct AddressKey(Zeroizing<[u8; 16]>);

impl AddressKey {
    fn hash(&self, address: IpAddr) -> u64 {
        let hasher = SipHasher24::new_with_key(&self.0);
        match address {
            IpAddr::V4(address) => hasher.hash(&address.octets()),
            IpAddr::V6(address) => hasher.hash(&address.octets()),
        }
    }
}

impl fmt::Debug for AddressKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AddressKey([redacted])")
    }
}

/// What was kept of a client's address, by [`ClientAddresses`].
///
/// As text, which is also its form in JSON: `192.0.2.7`, `192.0.2.0/24` or `hash:0123456789abcdef`.
///
/// ```
/// use token_tracker::ClientAddress;
///
/// let kept: ClientAddress = "::ffff:192.0.2.7".parse()?;
/// assert_eq!(kept, ClientAddress::Address("192.0.2.7".parse()?));
/// assert_eq!(serde_json::to_string(&kept)?, r#""192.0.2.7""#);
/// assert_eq!("hash:00000000000000ff".parse::<ClientAddress>()?, ClientAddress::Hashed(255));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum ClientAddress {
    /// The address itself.
    Address(IpAddr),
    /// A keyed hash of it.
    Hashed(u64),
    /// The network that it is in: a /24 of IPv4, a /48 of IPv6.
    Network(Network),
}

/// How many bytes stand for what: nothing else has to be said of a column.
const V4: usize = 4;
const V6: usize = 16;
const HASH: usize = 8;
const NETWORK_V4: usize = 3;
const NETWORK_V6: usize = 6;

/// An address as the bytes of a column.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AddressBytes {
    bytes: [u8; V6],
    length: usize,
}

impl AddressBytes {
    fn of(start: &[u8]) -> Self {
        let mut bytes = [0; V6];
        bytes[..start.len()].copy_from_slice(start);
        Self { bytes, length: start.len() }
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl ClientAddress {
    /// As a column has it: 4 or 16 bytes an address, 3 or 6 the start of one, 8 a hash.
    pub(crate) fn to_bytes(self) -> AddressBytes {
        let cut = |address: IpAddr, v4, v6| match address {
            IpAddr::V4(address) => AddressBytes::of(&address.octets()[..v4]),
            IpAddr::V6(address) => AddressBytes::of(&address.octets()[..v6]),
        };
        match self {
            Self::Address(address) => cut(address.to_canonical(), V4, V6),
            Self::Hashed(hash) => AddressBytes::of(&hash.to_be_bytes()),
            Self::Network(network) => cut(network.first_address(), NETWORK_V4, NETWORK_V6),
        }
    }

    /// What a column has; `None` where it has something else.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        fn padded<const N: usize>(start: &[u8]) -> [u8; N] {
            std::array::from_fn(|at| start.get(at).copied().unwrap_or(0))
        }
        Some(match bytes.len() {
            V4 => Self::Address(padded::<V4>(bytes).into()),
            V6 => Self::Address(padded::<V6>(bytes).into()),
            HASH => Self::Hashed(u64::from_be_bytes(padded(bytes))),
            NETWORK_V4 => Self::Network(Network::of_client(padded::<V4>(bytes).into())),
            NETWORK_V6 => Self::Network(Network::of_client(padded::<V6>(bytes).into())),
            _ => return None,
        })
    }
}

const HASH_PREFIX: &str = "hash:";

impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Hashed(hash) => write!(f, "{HASH_PREFIX}{hash:016x}"),
            Self::Network(network) => network.fmt(f),
        }
    }
}

impl FromStr for ClientAddress {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let read = if let Some(digits) = text.strip_prefix(HASH_PREFIX) {
            let is_hash = digits.len() == 16 && !digits.starts_with('+');
            u64::from_str_radix(digits, 16).ok().filter(|_| is_hash).map(Self::Hashed)
        } else if text.contains('/') {
            let network = text.parse::<Network>().ok();
            network.filter(|network| network.is_of_client()).map(Self::Network)
        } else {
            let address = text.parse::<IpAddr>().ok();
            address.map(|address| Self::Address(address.to_canonical()))
        };
        read.ok_or_else(|| {
            let message = "must be an address, a /24 or /48, or `hash:` and 16 hexadecimal digits";
            Error::invalid("client_address", message)
        })
    }
}

impl TryFrom<String> for ClientAddress {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<ClientAddress> for String {
    fn from(address: ClientAddress) -> Self {
        address.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 16] = *b"0123456789abcdef";

    fn modes() -> [ClientAddresses; 4] {
        [
            ClientAddresses::Drop,
            ClientAddresses::hashed(KEY),
            ClientAddresses::Keep,
            ClientAddresses::Truncate,
        ]
    }

    fn kept(mode: &ClientAddresses, address: &str) -> Option<String> {
        mode.kept(address.parse().unwrap()).map(|kept| kept.to_string())
    }

    #[test]
    fn each_mode_keeps_what_it_says_and_mapped_addresses_are_those_of_ipv4() {
        let [drop, hash, keep, truncate] = modes();
        for address in ["192.0.2.7", "::ffff:192.0.2.7"] {
            assert_eq!(kept(&drop, address), None);
            assert_eq!(kept(&keep, address).as_deref(), Some("192.0.2.7"));
            assert_eq!(kept(&truncate, address).as_deref(), Some("192.0.2.0/24"));
            assert_eq!(kept(&hash, address), kept(&hash, "192.0.2.7"));
        }
        let v6 = "2001:db8:1:2:3:4:5:6";
        assert_eq!(kept(&keep, v6).as_deref(), Some(v6));
        assert_eq!(kept(&truncate, v6).as_deref(), Some("2001:db8:1::/48"));
        assert_ne!(kept(&hash, "192.0.2.7"), kept(&hash, "192.0.2.8"));
        assert_ne!(kept(&hash, "192.0.2.7"), kept(&ClientAddresses::hashed([1; 16]), "192.0.2.7"));
    }

    #[test]
    fn hash_is_siphash_2_4_with_the_vectors_of_its_authors() {
        let key = AddressKey(Zeroizing::new(std::array::from_fn(|at| at as u8)));
        // vectors_sip64 of the reference implementation: the inputs 00 01 02 03 and 00 to 0f.
        let four: IpAddr = [0, 1, 2, 3].into();
        let sixteen: IpAddr = std::array::from_fn::<u8, 16, _>(|at| at as u8).into();
        assert_eq!(
            key.hash(four),
            u64::from_le_bytes([0xb7, 0x87, 0x71, 0x27, 0xe0, 0x94, 0x27, 0xcf])
        );
        assert_eq!(
            key.hash(sixteen),
            u64::from_le_bytes([0xdb, 0x9b, 0xc2, 0x57, 0x7f, 0xcc, 0x2a, 0x3f])
        );
    }

    #[test]
    fn what_is_kept_survives_its_bytes_its_text_and_json() {
        for mode in modes() {
            for address in
                ["192.0.2.7", "::ffff:192.0.2.7", "0.0.0.0", "::", "2001:db8::1", "ff::ff"]
            {
                let Some(kept) = mode.kept(address.parse().unwrap()) else { continue };
                assert_eq!(ClientAddress::from_bytes(kept.to_bytes().as_slice()), Some(kept));
                assert_eq!(kept.to_string().parse::<ClientAddress>().unwrap(), kept);
                let json = serde_json::to_string(&kept).unwrap();
                assert_eq!(json, format!("\"{kept}\""));
                assert_eq!(serde_json::from_str::<ClientAddress>(&json).unwrap(), kept);
            }
        }
    }

    #[test]
    fn bytes_of_another_length_are_no_address() {
        let known: Vec<usize> =
            (0..20).filter(|n| ClientAddress::from_bytes(&vec![1; *n]).is_some()).collect();
        assert_eq!(known, [3, 4, 6, 8, 16]);
    }

    #[test]
    fn other_texts_are_refused_by_name() {
        for text in [
            "",
            "localhost",
            "192.0.2.7/24",
            "192.0.2.0/25",
            "2001:db8::/32",
            "hash:",
            "hash:ff",
            "hash:+123456789abcdef",
            "hash:0123456789abcdeg",
            "010.0.0.1",
            "192.0.2.7 ",
        ] {
            let error = text.parse::<ClientAddress>().unwrap_err();
            assert_eq!(error.field(), Some("client_address"), "{text}");
        }
    }

    #[test]
    fn key_is_not_shown() {
        let shown =
            format!("{:?} {:#?}", ClientAddresses::hashed(KEY), ClientAddresses::hashed(KEY));
        assert!(shown.contains("redacted") && !shown.contains("48") && !shown.contains("0123"));
    }

    #[test]
    fn records_do_not_grow_by_more_than_a_word() {
        assert!(size_of::<Option<ClientAddress>>() <= 24);
    }
}
