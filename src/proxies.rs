//! From which peers a header that tells the client's address is believed.
//!
//! The list in the header is read from its right end, where the proxies write, and no further than to the client. What
//! the client wrote stands to the left of that and is never looked at: whatever it is, it cannot change the answer.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use crate::network::Network;
use crate::request::trimmed;

/// How many elements of a list are looked at. Each field has one at least, so that no more fields need be kept.
const MAX_HOPS: usize = 32;

/// How many bytes of a list are looked at, the commas between its elements among them.
const MAX_BYTES: usize = 8 * 1024;

/// The proxies that a service stands behind, and the header in which they tell for whom they ask.
///
/// An adapter asks it for the address to give to [`AuthRequest::client_address`](crate::AuthRequest::client_address).
/// Nothing is believed by default, nor with an empty list of networks: then each peer is the client. Exactly one header
/// is read, the one that the proxies are known to write; the other one comes from the client untouched.
///
/// Name the addresses of the proxies and nothing wider: whoever asks from within these networks is taken for a proxy,
/// and may say whom he asks for.
///
/// # How a list is read
///
/// All fields of the name are one list (RFC 9110 §5.3). Each proxy adds the address of its own peer to the right end,
/// so the list is read from there:
///
/// | met | means |
/// |---|---|
/// | an address outside the trusted networks | this is the client; what is left of it is not looked at |
/// | an address inside | another proxy; the next element is looked at |
/// | no address: `unknown`, `_hidden`, an empty element, an error in the grammar | `None` |
/// | the end of the list | the last address that was met is the client, without a list the peer's |
/// | a 33rd element, or the end of 8 KiB | `None` |
///
/// `None` is to be taken as an address that is not known, as `client_address` does where it is not called: tokens
/// [limited to networks](crate::NewToken::networks) are then refused. Do not put the peer's in its place, which may lie
/// inside what a token is limited to.
///
/// IPv4 addresses mapped into IPv6 are the IPv4 addresses that they are, as in a [`Network`].
///
/// ```
/// use token_tracker::TrustedProxies;
///
/// let proxies = TrustedProxies::x_forwarded_for(["10.0.0.0/30".parse()?]);
/// let headers = [("x-forwarded-for", "6.6.6.6, 192.0.2.7, 10.0.0.2")];
/// assert_eq!(proxies.client_address("10.0.0.1".parse()?, headers), Some("192.0.2.7".parse()?));
///
/// let stranger = "198.51.100.9".parse()?;
/// assert_eq!(proxies.client_address(stranger, headers), Some(stranger));
/// assert_eq!(TrustedProxies::default().client_address(stranger, headers), Some(stranger));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies {
    networks: Arc<[Network]>,
    header: Header,
}

/// The header that is read.
#[derive(Clone, Copy, Debug, Default)]
enum Header {
    #[default]
    Forwarded,
    XForwardedFor,
}

impl TrustedProxies {
    /// Proxies in these networks, which write `Forwarded` (RFC 7239).
    ///
    /// The grammar of §4 and §6 counts to the letter: elements are parameters with semicolons between them, each a
    /// token, `=`, and a token or a quoted string, without white space in between. Each element has one parameter
    /// `for`, in any case; others are not looked at. An address with a port, or of IPv6, stands in quotes, and that of
    /// IPv6 in brackets too.
    ///
    /// A proxy that copies texts of the client's into its element (`host=`) has to escape them, or it lets him write
    /// elements.
    ///
    /// ```
    /// use token_tracker::TrustedProxies;
    ///
    /// let proxies = TrustedProxies::forwarded(["10.0.0.0/30".parse()?]);
    /// let client = |element: &str| {
    ///     proxies.client_address([10, 0, 0, 1].into(), [("forwarded", format!("for=6.6.6.6, {element}"))])
    /// };
    /// assert_eq!(client(r#"for="[2001:db8::1]:4711";proto=https"#), Some("2001:db8::1".parse()?));
    /// assert_eq!(client("for=2001:db8::1"), None);
    /// assert_eq!(client("for=unknown"), None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn forwarded(networks: impl IntoIterator<Item = Network>) -> Self {
        Self { networks: networks.into_iter().collect(), header: Header::Forwarded }
    }

    /// Proxies in these networks, which write `X-Forwarded-For`.
    ///
    /// No standard has it; by custom it is a list of addresses with commas between them. `192.0.2.7`, `2001:db8::1` and
    /// `[2001:db8::1]` are understood, and a port behind the first and the last of them. Quotes mean nothing.
    ///
    /// ```
    /// use token_tracker::TrustedProxies;
    ///
    /// let proxies = TrustedProxies::x_forwarded_for(["10.0.0.0/30".parse()?]);
    /// let client = |element: &str| {
    ///     proxies.client_address([10, 0, 0, 1].into(), [("X-Forwarded-For", format!("6.6.6.6, {element}"))])
    /// };
    /// assert_eq!(client("192.0.2.7"), Some("192.0.2.7".parse()?));
    /// assert_eq!(client("[2001:db8::1]:4711"), Some("2001:db8::1".parse()?));
    /// assert_eq!(client("unknown"), None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn x_forwarded_for(networks: impl IntoIterator<Item = Network>) -> Self {
        Self { networks: networks.into_iter().collect(), header: Header::XForwardedFor }
    }

    /// The client's address for a request that came from `peer` with these headers, or `None` where it is in doubt.
    ///
    /// `headers` are all of the request's, names (in any case) and values in the order in which they came: a
    /// `&http::HeaderMap` of any version, or pairs of texts or bytes. They are not looked at if the peer is no trusted
    /// proxy; then it is the client. A peer on a Unix socket has no address, and nothing here can tell what to believe
    /// of it.
    ///
    /// # Cost
    ///
    /// A comparison for each header's name, then up to 32 elements of up to 8 KiB together, each address compared with
    /// each network. The values of 33 fields are held at most.
    ///
    /// ```
    /// use token_tracker::{AuthRequest, TrustedProxies};
    ///
    /// let proxies = TrustedProxies::forwarded(["10.0.0.0/30".parse()?]);
    /// let headers = vec![("Forwarded", "for=6.6.6.6"), ("Host", "api"), ("Forwarded", "for=192.0.2.7")];
    /// let mut request = AuthRequest::new("the token");
    /// if let Some(client) = proxies.client_address("10.0.0.1".parse()?, headers) {
    ///     assert_eq!(client.to_string(), "192.0.2.7");
    ///     request = request.client_address(client);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn client_address<N: AsRef<[u8]>, V: AsRef<[u8]>>(
        &self,
        peer: IpAddr,
        headers: impl IntoIterator<Item = (N, V)>,
    ) -> Option<IpAddr> {
        let mut client = peer.to_canonical();
        if !self.trusts(client) {
            return Some(client);
        }
        let fields = self.header.last_fields(headers);
        for (hops, element) in Elements::of(self.header, &fields).enumerate() {
            let element = element.filter(|_| hops < MAX_HOPS)?;
            client = self.header.address(element)?;
            if !self.trusts(client) {
                break;
            }
        }
        Some(client)
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(address))
    }
}

impl Header {
    fn name(self) -> &'static [u8] {
        match self {
            Self::Forwarded => b"forwarded",
            Self::XForwardedFor => b"x-forwarded-for",
        }
    }

    /// The values of the last fields of the name: one more than may be looked at, so that too many are noticed.
    fn last_fields<N: AsRef<[u8]>, V>(
        self,
        headers: impl IntoIterator<Item = (N, V)>,
    ) -> VecDeque<V> {
        let mut last = VecDeque::new();
        for (name, value) in headers {
            if !name.as_ref().eq_ignore_ascii_case(self.name()) {
                continue;
            }
            if last.len() > MAX_HOPS {
                last.pop_front();
            }
            last.push_back(value);
        }
        last
    }

    /// Where the last element of a field begins: behind this comma.
    fn last_comma(self, field: &[u8]) -> Option<usize> {
        match self {
            Self::Forwarded => last_unquoted_comma(field),
            Self::XForwardedFor => field.iter().rposition(|byte| *byte == b','),
        }
    }

    /// The address that an element names. White space around it is not part of it (RFC 9110 §5.6.1).
    fn address(self, element: &[u8]) -> Option<IpAddr> {
        let element = trimmed(element);
        match self {
            Self::Forwarded => address_of_node(&for_of(element)?),
            Self::XForwardedFor => address_of_custom(element),
        }
    }
}

/// The elements of a list from its right end, `None` for one that begins beyond the bytes that may be looked at.
struct Elements<'a, V> {
    header: Header,
    fields: std::collections::vec_deque::Iter<'a, V>,
    /// What is left of the field that is being read.
    rest: Option<&'a [u8]>,
    budget: usize,
}

impl<'a, V> Elements<'a, V> {
    fn of(header: Header, fields: &'a VecDeque<V>) -> Self {
        Self { header, fields: fields.iter(), rest: None, budget: MAX_BYTES }
    }
}

impl<'a, V: AsRef<[u8]>> Iterator for Elements<'a, V> {
    type Item = Option<&'a [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        let text = match self.rest.take() {
            Some(rest) => rest,
            None => self.fields.next_back()?.as_ref(),
        };
        let unseen = text.len().saturating_sub(self.budget);
        let comma = self.header.last_comma(&text[unseen..]).map(|at| unseen + at);
        if comma.is_none() && unseen > 0 {
            return Some(None);
        }
        self.rest = comma.map(|at| &text[..at]);
        self.budget -= text.len() - comma.unwrap_or(0);
        Some(Some(&text[comma.map_or(0, |at| at + 1)..]))
    }
}

/// The last comma outside of quoted strings, found from the right end alone: read from the left, a quote that a client
/// leaves open would make the elements behind it, a proxy's, the content of his string. An element that keeps to the
/// grammar is found whole, whatever stands before it: a string that ends in it begins in it, at a quote behind `=`, and
/// each quote inside is behind a backslash.
fn last_unquoted_comma(field: &[u8]) -> Option<usize> {
    let mut rest = field;
    let mut is_quoted = false;
    loop {
        let at = rest.iter().rposition(|byte| matches!(byte, b',' | b'"'))?;
        let byte = rest[at];
        rest = &rest[..at];
        if byte == b',' && !is_quoted {
            return Some(at);
        }
        if byte == b'"' && !(is_quoted && rest.ends_with(b"\\")) {
            is_quoted = !is_quoted;
        }
    }
}

/// The value of the one parameter `for` of a `forwarded-element` (RFC 7239 §4), all of which has to keep to the grammar:
/// `[ forwarded-pair ] *( ";" [ forwarded-pair ] )`, a pair being `token "=" value`.
fn for_of(element: &[u8]) -> Option<Cow<'_, [u8]>> {
    let mut node = None;
    let mut rest = element;
    loop {
        if !matches!(rest.first(), None | Some(b';')) {
            let name = token(&mut rest)?;
            rest = rest.strip_prefix(b"=")?;
            let value = value(&mut rest)?;
            if name.eq_ignore_ascii_case(b"for") && node.replace(value).is_some() {
                return None;
            }
        }
        match rest.split_first() {
            None => return node,
            Some((b';', after)) => rest = after,
            Some(_) => return None,
        }
    }
}

/// Takes a `token / quoted-string` off the text.
fn value<'a>(rest: &mut &'a [u8]) -> Option<Cow<'a, [u8]>> {
    match rest.strip_prefix(b"\"") {
        Some(content) => {
            *rest = content;
            quoted(rest)
        }
        None => token(rest).map(Cow::Borrowed),
    }
}

/// Takes a `token` off the text (RFC 9110 §5.6.2).
fn token<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let is_tchar = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let end = rest.iter().position(|byte| !is_tchar(byte)).unwrap_or(rest.len());
    let (token, after) = rest.split_at(end);
    *rest = after;
    Some(token).filter(|token| !token.is_empty())
}

/// Takes what follows the opening quote of a `quoted-string` off the text, and the closing one (RFC 9110 §5.6.4).
fn quoted<'a>(rest: &mut &'a [u8]) -> Option<Cow<'a, [u8]>> {
    let end = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
    let mut content = Cow::Borrowed(&rest[..end]);
    let mut bytes = rest[end..].iter();
    loop {
        match bytes.next()? {
            b'"' => break,
            b'\\' => content.to_mut().push(*bytes.next()?),
            byte => content.to_mut().push(*byte),
        }
    }
    *rest = bytes.as_slice();
    let is_text = |byte: &u8| *byte == b'\t' || !byte.is_ascii_control();
    Some(content).filter(|content| content.iter().all(is_text))
}

/// The address of a `node` (RFC 7239 §6): with brackets if it is of IPv6, and a port or an obfuscated one behind it.
fn address_of_node(node: &[u8]) -> Option<IpAddr> {
    let (address, port) = address_and_port(std::str::from_utf8(node).ok()?)?;
    let is_obfuscated = |port: &str| {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        port.len() > 1 && port.starts_with('_') && port.bytes().all(is_allowed)
    };
    port.is_none_or(|port| is_port(port) || is_obfuscated(port)).then_some(address)
}

/// The address of an element of `X-Forwarded-For`: that of IPv6 may have no brackets, if no port follows.
fn address_of_custom(element: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(element).ok()?;
    if let Ok(address) = text.parse::<Ipv6Addr>() {
        return Some(address.to_canonical());
    }
    let (address, port) = address_and_port(text)?;
    port.is_none_or(is_port).then_some(address)
}

/// `IPv4address [ ":" port ]` or `"[" IPv6address "]" [ ":" port ]`. The standard library reads the addresses: without
/// leading zeros, which some take for octal, and without zones.
fn address_and_port(text: &str) -> Option<(IpAddr, Option<&str>)> {
    let (address, rest) = match text.strip_prefix('[') {
        Some(text) => {
            let (address, rest) = text.split_once(']')?;
            (address.parse::<Ipv6Addr>().ok()?.to_canonical(), rest)
        }
        None => {
            let (address, rest) = text.split_at(text.find(':').unwrap_or(text.len()));
            (IpAddr::V4(address.parse::<Ipv4Addr>().ok()?), rest)
        }
    };
    if rest.is_empty() {
        return Some((address, None));
    }
    rest.strip_prefix(':').map(|port| (address, Some(port)))
}

/// `1*5DIGIT`
fn is_port(text: &str) -> bool {
    (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forwarded(element: &str) -> Option<String> {
        Header::Forwarded.address(element.as_bytes()).map(|address| address.to_string())
    }

    fn x_forwarded_for(element: &str) -> Option<String> {
        Header::XForwardedFor.address(element.as_bytes()).map(|address| address.to_string())
    }

    #[test]
    fn element_of_forwarded_names_the_address_of_its_one_for() {
        for (element, address) in [
            ("for=192.0.2.43", "192.0.2.43"),
            (" \tfor=192.0.2.43\t ", "192.0.2.43"),
            (r#"for="192.0.2.43""#, "192.0.2.43"),
            (r#"for="192.0.2.43:47011""#, "192.0.2.43"),
            (r#"for="192.0.2.43:_a.B-9_""#, "192.0.2.43"),
            (r#"FoR="[2001:db8::1]:4711""#, "2001:db8::1"),
            (r#"for="[2001:DB8:0::1]""#, "2001:db8::1"),
            (r#"for="[::ffff:192.0.2.43]:1""#, "192.0.2.43"),
            (r#"for="1\92\.0.2.43""#, "192.0.2.43"),
            ("for=192.0.2.43;proto=http;by=203.0.113.43", "192.0.2.43"),
            ("by=_x;PROTO=https;for=192.0.2.43", "192.0.2.43"),
            (";;for=192.0.2.43;", "192.0.2.43"),
            (r#"host="a;for=6.6.6.6, for=6.6.6.6\"\\";for=192.0.2.43"#, "192.0.2.43"),
            ("x=\"\t \u{e9}\";for=192.0.2.43", "192.0.2.43"),
            ("forx=6.6.6.6;xfor=6.6.6.6;for=192.0.2.43", "192.0.2.43"),
        ] {
            assert_eq!(forwarded(element).as_deref(), Some(address), "{element}");
        }
    }

    #[test]
    fn element_of_forwarded_that_breaks_the_grammar_or_names_no_address_has_none() {
        for element in [
            "",
            " ",
            ";",
            "for",
            "for=",
            r#"for="""#,
            "192.0.2.43",
            "=192.0.2.43",
            "by=192.0.2.43",
            "for=unknown",
            "for=_hidden",
            r#"for="_hidden:1""#,
            r#"for="unknown:1""#,
            "for=2001:db8::1",
            "for=[2001:db8::1]",
            r#"for="2001:db8::1""#,
            r#"for="[2001:db8::1""#,
            r#"for="[2001:db8::1]4711""#,
            r#"for="[192.0.2.43]""#,
            r#"for="[fe80::1%1]""#,
            "for=192.0.2.43:47011",
            r#"for="192.0.2.43:""#,
            r#"for="192.0.2.43:123456""#,
            r#"for="192.0.2.43:+1""#,
            r#"for="192.0.2.43:_""#,
            r#"for="192.0.2.43:_\"""#,
            r#"for=" 192.0.2.43""#,
            "for=192.0.2.043",
            "for=192.0.2",
            "for=3221226027",
            "for=192.0.2.43;for=192.0.2.43",
            "for=192.0.2.43;FOR=unknown",
            "for =192.0.2.43",
            "for= 192.0.2.43",
            "for=192.0.2.43; proto=http",
            "for=192.0.2.43 ;proto=http",
            "for=192.0.2.43 x",
            "for=192.0.2.43\u{b}",
            r#"for="192.0.2.43"x"#,
            r#"for="192.0.2.43"#,
            r#"for="192.0.2.43\""#,
            "for=192.0.2.43;x",
            "for=192.0.2.43;x=",
            "for=192.0.2.43;x=\"\0\"",
            "for=192.0.2.43;x=\"\\\n\"",
            "for=192.0.2.43;x=\"\u{7f}\"",
            "for=192.0.2.43;x=\u{e9}",
            "for=192.0.2.43,",
        ] {
            assert_eq!(forwarded(element), None, "{element}");
        }
    }

    #[test]
    fn element_of_the_custom_header_is_an_address_with_or_without_a_port() {
        for (element, address) in [
            ("192.0.2.43", "192.0.2.43"),
            ("\t 192.0.2.43 ", "192.0.2.43"),
            ("192.0.2.43:47011", "192.0.2.43"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:4711", "2001:db8::1"),
            ("::ffff:192.0.2.43", "192.0.2.43"),
            ("[::ffff:192.0.2.43]:1", "192.0.2.43"),
        ] {
            assert_eq!(x_forwarded_for(element).as_deref(), Some(address), "{element}");
        }
        for element in [
            "",
            "unknown",
            "_hidden",
            "localhost",
            "for=192.0.2.43",
            "\"192.0.2.43\"",
            "192.0.2.43 192.0.2.44",
            "192.0.2.43\n",
            "192.0.2.43/32",
            "192.0.2.043",
            "192.0.2.43:",
            "192.0.2.43:x",
            "192.0.2.43:_x",
            "192.0.2.43:123456",
            "[192.0.2.43]",
            "[2001:db8::1",
            "[2001:db8::1]4711",
            "fe80::1%eth0",
            "2001:db8::1;",
        ] {
            assert_eq!(x_forwarded_for(element), None, "{element}");
        }
        assert_eq!(Header::XForwardedFor.address(b"192.0.2.43\xff"), None);
        assert_eq!(Header::Forwarded.address(b"for=\"192.0.2.43\xff\""), None);
    }

    #[test]
    fn elements_are_found_from_the_right_whatever_their_strings_hold() {
        let elements = |field: &'static str| {
            let fields = VecDeque::from([field]);
            let elements = Elements::of(Header::Forwarded, &fields).map(Option::unwrap);
            elements.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(elements(""), [""]);
        assert_eq!(elements(",a,"), ["", "a", ""]);
        assert_eq!(elements(r#"a,b="c,d",e"#), ["e", r#"b="c,d""#, "a"]);
        assert_eq!(elements(r#"a,b="\",\\""#), [r#"b="\",\\""#, "a"]);
        assert_eq!(elements(r#"a,b="\\\"c,d""#), [r#"b="\\\"c,d""#, "a"]);
        assert_eq!(elements(r#"a="b,c,d=",""#), [r#"d=",""#, "c", r#"a="b"#]);
        assert_eq!(elements(r#"a,b",c"#), ["c", r#"a,b""#]);
    }
}
