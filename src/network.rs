//! The networks that a client may come from.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// How many networks a token may be limited to.
const MAX_NETWORKS: usize = 64;

/// An IPv4 network that is mapped into IPv6 has this many bits more (RFC 4291 §2.5.5.2).
const MAPPED_BITS: u8 = 96;

/// What is kept of a client's address where it is truncated.
const CLIENT_BITS_V4: u8 = 24;
const CLIENT_BITS_V6: u8 = 48;

/// A network in CIDR notation (RFC 4632, RFC 4291 §2.3), such as `192.0.2.0/24` or `2001:db8::/48`.
///
/// An address alone is the network of just that. IPv4 addresses mapped into IPv6 (`::ffff:192.0.2.7`) count as
/// the IPv4 addresses that they are, in networks and in requests.
///
/// ```
/// use token_tracker::Network;
///
/// let office: Network = "192.0.2.0/24".parse()?;
/// assert!(office.contains("192.0.2.7".parse()?));
/// assert!(office.contains("::ffff:192.0.2.7".parse()?));
/// assert!("192.0.2.7/24".parse::<Network>().is_err(), "an address within a network is none");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network(IpNet);

impl Network {
    /// Whether an address is in it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }

    /// The network that is kept of a client's address: a /24, or a /48 of IPv6.
    pub(crate) fn of_client(address: IpAddr) -> Self {
        let net = match address.to_canonical() {
            IpAddr::V4(address) => IpNet::V4(Ipv4Net::new_assert(address, CLIENT_BITS_V4)),
            IpAddr::V6(address) => IpNet::V6(Ipv6Net::new_assert(address, CLIENT_BITS_V6)),
        };
        Self(net.trunc())
    }

    /// Whether it is as long as what is kept of a client's address.
    pub(crate) fn is_of_client(&self) -> bool {
        *self == Self::of_client(self.0.network())
    }

    pub(crate) fn first_address(&self) -> IpAddr {
        self.0.network()
    }

    /// Whether all of another network is in it.
    #[must_use]
    pub fn contains_network(&self, other: &Self) -> bool {
        self.0.contains(&other.0)
    }
}

impl FromStr for Network {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let invalid = |message: &str| Error::invalid("networks", message);
        let net = parse(text)
            .ok_or_else(|| invalid("must be addresses or networks as `192.0.2.0/24` each"))?;
        if net.trunc() != net {
            return Err(invalid("must not have bits of a host behind the network's"));
        }
        Ok(Self(canonical(net)))
    }
}

/// The address is read by the standard library, which refuses leading zeros: some read those as octal. The length may
/// have none either.
fn parse(text: &str) -> Option<IpNet> {
    let Some((address, prefix)) = text.split_once('/') else {
        return Some(IpNet::from(text.parse::<IpAddr>().ok()?.to_canonical()));
    };
    let is_number = prefix.bytes().all(|byte| byte.is_ascii_digit())
        && (prefix.len() == 1 || !prefix.starts_with('0'));
    let prefix = prefix.parse().ok().filter(|_| is_number)?;
    IpNet::new(address.parse().ok()?, prefix).ok()
}

/// An IPv4 network that was written as a mapped one, as what it is.
fn canonical(net: IpNet) -> IpNet {
    let IpNet::V6(v6) = net else { return net };
    let mapped = v6.network().to_ipv4_mapped().filter(|_| v6.prefix_len() >= MAPPED_BITS);
    let unmapped = mapped.map(|v4| Ipv4Net::new(v4, v6.prefix_len() - MAPPED_BITS));
    unmapped.and_then(Result::ok).map_or(net, IpNet::V4)
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TryFrom<String> for Network {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

/// A list of networks: some, none twice or within another, which would be somebody's mistake.
pub(crate) fn check_networks(networks: &[Network]) -> Result<(), Error> {
    if networks.is_empty() {
        return Err(Error::invalid("networks", "must not be empty: nobody could use the token"));
    }
    if networks.len() > MAX_NETWORKS {
        let count = networks.len();
        let message = format!("may have {MAX_NETWORKS} entries, not {count}");
        return Err(Error::invalid("networks", message));
    }
    for (at, network) in networks.iter().enumerate() {
        let overlaps =
            |other: &&Network| other.contains_network(network) || network.contains_network(other);
        if let Some(other) = networks[..at].iter().find(overlaps) {
            let message = format!("must not overlap: {other} and {network}");
            return Err(Error::invalid("networks", message));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(texts: &[&str]) -> Result<Vec<Network>, Error> {
        let networks = texts.iter().map(|text| text.parse()).collect::<Result<Vec<_>, _>>()?;
        check_networks(&networks).map(|()| networks)
    }

    #[test]
    fn mapped_addresses_and_networks_are_those_of_ipv4() {
        let office: Network = "::ffff:192.0.2.0/120".parse().unwrap();
        assert_eq!(office.to_string(), "192.0.2.0/24");
        assert!(office.contains("192.0.2.1".parse().unwrap()));
        assert!(office.contains("::ffff:c000:0201".parse().unwrap()));
        assert!(!office.contains("192.0.3.1".parse().unwrap()));
        assert!(!office.contains("2001:db8::1".parse().unwrap()));
        let one: Network = "::ffff:192.0.2.7".parse().unwrap();
        assert_eq!(one.to_string(), "192.0.2.7/32");
        let everything: Network = "::/0".parse().unwrap();
        assert!(!everything.contains("192.0.2.1".parse().unwrap()), "IPv4 is 0.0.0.0/0");
    }

    #[test]
    fn host_bits_overlaps_and_empty_lists_are_refused_by_name() {
        for bad in [
            &["192.0.2.7/24"][..],
            &["2001:db8::1/48"],
            &["10.0.0.0/33"],
            &["10.0.0.0/"],
            &["10.0.0.0/-1"],
            &["010.0.0.0/8"],
            &["10.0.0.0/08"],
            &["10.0.0.0/00"],
            &["192.0.2.7/032"],
            &["10.0.0/8"],
            &["localhost"],
            &[""],
            &[],
            &["10.0.0.0/8", "10.1.0.0/16"],
            &["10.1.0.0/16", "10.0.0.0/8"],
            &["10.0.0.0/8", "::ffff:10.0.0.0/104"],
            &["192.0.2.7", "192.0.2.7/32"],
        ] {
            assert_eq!(networks(bad).unwrap_err().field(), Some("networks"), "{bad:?}");
        }
        assert_eq!(networks(&["10.0.0.0/8", "2001:db8::/32", "192.0.2.7"]).unwrap().len(), 3);
        assert!(networks(&vec!["10.0.0.0/8"; 65]).is_err());
    }
}
