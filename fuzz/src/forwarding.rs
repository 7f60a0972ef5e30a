//! `Forwarded` by RFC 7239 §4 and §6, and `X-Forwarded-For` by custom, read from the left. The library reads from the
//! right and stops early, so that it has to agree with every reading from the left that begins before the elements
//! that decide. A difference is an address that a client could choose.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Both spellings of the list.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Header {
    Custom,
    Forwarded,
}

/// The proxy that the request came from, and the network that it and other proxies are in.
pub const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
pub const NETWORK: &str = "10.0.0.0/29";

/// How many elements are looked at.
const MOST: usize = 32;

/// What an element names, if anything.
type Element = Option<IpAddr>;

/// The client of a request with these fields, in order.
///
/// Whatever text to the right of a comma keeps to the grammar has to decide alike.
pub fn client(header: Header, fields: &[&[u8]]) -> Option<IpAddr> {
    let mut right: Vec<Element> = Vec::new();
    for field in fields.iter().rev() {
        let mut answer = None;
        let mut whole = None;
        for start in starts(field) {
            let Some(elements) = elements(header, &field[start..]) else { continue };
            let all: Vec<Element> =
                right.iter().copied().chain(elements.into_iter().rev()).collect();
            if let Some(decided) = decision(&all) {
                let shown = field.escape_ascii();
                assert!(answer.is_none_or(|earlier| earlier == decided), "two readings: {shown}");
                answer = Some(decided);
            }
            whole = (start == 0).then_some(all);
        }
        match answer {
            Some(decided) => return decided,
            None => right = whole?,
        }
    }
    right.last().copied().unwrap_or(Some(PEER))
}

/// Where an element may begin, from the right.
fn starts(field: &[u8]) -> impl Iterator<Item = usize> {
    (0..=field.len()).rev().filter(|at| *at == 0 || field[at - 1] == b',')
}

/// What the elements, the last one first, come to, unless all are proxies.
fn decision(elements: &[Element]) -> Option<Option<IpAddr>> {
    let decides = |element: &Element| element.is_none_or(|address| !is_proxy(address));
    match elements.iter().position(decides) {
        Some(at) if at < MOST => Some(elements[at]),
        None if elements.len() <= MOST => None,
        _ => Some(None),
    }
}

fn is_proxy(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(v4) if v4.octets()[..3] == [10, 0, 0] && v4.octets()[3] < 8)
}

/// The elements of a text from the left, if all of it keeps to the grammar.
fn elements(header: Header, text: &[u8]) -> Option<Vec<Element>> {
    match header {
        Header::Custom => Some(text.split(|byte| *byte == b',').map(custom).collect()),
        Header::Forwarded => unquoted_parts(text, b',')?.into_iter().map(forwarded).collect(),
    }
}

/// The parts between separators outside of strings, if no string is left open.
fn unquoted_parts(text: &[u8], separator: u8) -> Option<Vec<&[u8]>> {
    let mut parts = Vec::new();
    let mut in_string = false;
    let (mut start, mut at) = (0, 0);
    while at < text.len() {
        match text[at] {
            b'\\' if in_string => at += 1,
            b'"' => in_string = !in_string,
            byte if byte == separator && !in_string => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
        at += 1;
    }
    parts.push(&text[start..]);
    (!in_string && at == text.len()).then_some(parts)
}

/// `OWS [ forwarded-pair ] *( ";" [ forwarded-pair ] ) OWS`
fn forwarded(element: &[u8]) -> Option<Element> {
    let mut nodes = Vec::new();
    for pair in unquoted_parts(trimmed(element), b';')? {
        if pair.is_empty() {
            continue;
        }
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        let (name, value) = (&pair[..equals], value(&pair[equals + 1..])?);
        if !is_token(name) {
            return None;
        }
        if name.eq_ignore_ascii_case(b"for") {
            nodes.push(value);
        }
    }
    let [one] = &nodes[..] else { return Some(None) };
    Some(node(one, true))
}

/// `token / quoted-string`
fn value(text: &[u8]) -> Option<Vec<u8>> {
    let [b'"', content @ .., b'"'] = text else { return is_token(text).then(|| text.to_vec()) };
    let mut plain = Vec::new();
    let mut bytes = content.iter().copied();
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'"' => return None,
            b'\\' => bytes.next()?,
            byte => byte,
        };
        if !matches!(byte, b'\t' | b' '..=b'~' | 0x80..) {
            return None;
        }
        plain.push(byte);
    }
    Some(plain)
}

fn is_token(text: &[u8]) -> bool {
    let delimiters = b"\"(),/:;<=>?@[\\]{}";
    !text.is_empty()
        && text.iter().all(|byte| matches!(byte, b'!'..=b'~') && !delimiters.contains(byte))
}

fn custom(element: &[u8]) -> Element {
    let element = trimmed(element);
    v6(element).or_else(|| node(element, false))
}

/// An address in front of a port or none; `may_hide` allows an obfuscated port.
fn node(text: &[u8], may_hide: bool) -> Element {
    let (address, rest) = match text {
        [b'[', inner @ ..] => {
            let end = inner.iter().position(|byte| *byte == b']')?;
            (v6(&inner[..end])?, &inner[end + 1..])
        }
        _ => {
            let end = text.iter().position(|byte| *byte == b':').unwrap_or(text.len());
            (v4(&text[..end])?, &text[end..])
        }
    };
    let is_good = match rest {
        [] => true,
        [b':', b'_', port @ ..] if may_hide => {
            let is_hidden = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
            !port.is_empty() && port.iter().all(is_hidden)
        }
        [b':', port @ ..] => matches!(port.len(), 1..=5) && port.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    is_good.then_some(address)
}

/// Four decimal numbers without leading zeros.
fn v4(text: &[u8]) -> Element {
    let numbers: Option<Vec<u8>> = text
        .split(|byte| *byte == b'.')
        .map(|part| {
            let is_decimal = matches!(part, [b'0'] | [b'1'..=b'9', ..]);
            let number = std::str::from_utf8(part).ok()?.parse().ok()?;
            is_decimal.then_some(number)
        })
        .collect();
    let octets: [u8; 4] = numbers?.try_into().ok()?;
    Some(IpAddr::V4(octets.into()))
}

/// An address of IPv6, or of IPv4 where it is mapped.
fn v6(text: &[u8]) -> Element {
    let address: Ipv6Addr = std::str::from_utf8(text).ok()?.parse().ok()?;
    let octets = address.octets();
    let is_mapped = octets[..10] == [0; 10] && octets[10..12] == [0xff; 2];
    if !is_mapped {
        return Some(IpAddr::V6(address));
    }
    Some(IpAddr::V4(Ipv4Addr::new(octets[12], octets[13], octets[14], octets[15])))
}

/// Without the spaces and tabs around it; RFC 9110 has no other white space.
fn trimmed(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(header: Header, fields: &[&str]) -> Option<String> {
        let fields: Vec<&[u8]> = fields.iter().map(|field| field.as_bytes()).collect();
        client(header, &fields).map(|address| address.to_string())
    }

    #[test]
    fn both_headers_are_read_from_the_right() {
        for (fields, client) in [
            (&["for=6.6.6.6, for=192.0.2.7"][..], Some("192.0.2.7")),
            (&["for=6.6.6.6", "for=192.0.2.7,for=10.0.0.2"], Some("192.0.2.7")),
            (&[r#"for="x, for=192.0.2.7"#], Some("192.0.2.7")),
            (&[r#"for="x, for=10.0.0.2"#], None),
            (&[r#"x="\",";For="[2001:db8::1]:80""#], Some("2001:db8::1")),
            (&["for=10.0.0.3,for=10.0.0.2"], Some("10.0.0.3")),
            (&["for=unknown"], None),
            (&["for=192.0.2.7;for=192.0.2.7"], None),
            (&["for=192.0.2.7,"], None),
            (&[], Some("10.0.0.1")),
        ] {
            assert_eq!(read(Header::Forwarded, fields).as_deref(), client, "{fields:?}");
        }
        for (fields, client) in [
            (&["6.6.6.6, 192.0.2.7:80, ::ffff:10.0.0.2"][..], Some("192.0.2.7")),
            (&["\"6.6.6.6", "[2001:db8::1]:80"], Some("2001:db8::1")),
            (&["192.0.2.7", "10.0.0.02"], None),
        ] {
            assert_eq!(read(Header::Custom, fields).as_deref(), client, "{fields:?}");
        }
    }
}
