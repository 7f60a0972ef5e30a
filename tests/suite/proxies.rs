//! Whose word counts for a client's address: if a client could write it, he could be in any network.

use std::collections::BTreeMap;
use std::net::IpAddr;

use token_tracker::{AuthRequest, DenialReason, Network, NewToken, TrustedProxies};

use crate::support::{denied, in_memory};

const PROXIES: [&str; 2] = ["10.0.0.0/29", "2001:db8:ffff::/64"];
const PEER: &str = "10.0.0.1";

fn networks() -> [Network; 2] {
    PROXIES.map(|network| network.parse().unwrap())
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A header with the proxies that write it, and how it spells an address.
struct Kind {
    name: &'static str,
    proxies: TrustedProxies,
    spelled: fn(&str) -> String,
}

impl Kind {
    fn both() -> [Self; 2] {
        let forwarded = TrustedProxies::forwarded(networks());
        let x_forwarded_for = TrustedProxies::x_forwarded_for(networks());
        [
            Self { name: "Forwarded", proxies: forwarded, spelled: |text| format!("for={text}") },
            Self { name: "X-Forwarded-For", proxies: x_forwarded_for, spelled: str::to_owned },
        ]
    }

    /// The client's address for fields of the header with these values.
    fn client(&self, values: &[impl AsRef<[u8]>]) -> Option<IpAddr> {
        let headers = values.iter().map(|value| (self.name, value));
        self.proxies.client_address(address(PEER), headers)
    }

    /// The same for one field with these addresses.
    fn client_of(&self, addresses: &[&str]) -> Option<IpAddr> {
        let elements: Vec<_> = addresses.iter().map(|text| (self.spelled)(text)).collect();
        self.client(&[elements.join(", ")])
    }
}

#[test]
fn peer_that_is_no_trusted_proxy_is_the_client_whatever_it_says() {
    let headers = [("Forwarded", "for=6.6.6.6"), ("X-Forwarded-For", "6.6.6.6")];
    for peer in ["10.0.0.8", "192.0.2.7", "2001:db8:fffe::1", "::1", "::a00:1"].map(address) {
        for Kind { proxies, .. } in Kind::both() {
            assert_eq!(proxies.client_address(peer, headers), Some(peer));
        }
    }
    for peer in [PEER, "127.0.0.1", "::1"].map(address) {
        for proxies in [
            TrustedProxies::default(),
            TrustedProxies::forwarded([]),
            TrustedProxies::x_forwarded_for([]),
        ] {
            assert_eq!(proxies.client_address(peer, headers), Some(peer));
        }
    }
}

#[test]
fn client_is_the_first_address_from_the_right_that_is_no_proxy() {
    for kind in Kind::both() {
        for (addresses, client) in [
            (&["192.0.2.7"][..], "192.0.2.7"),
            (&["6.6.6.6", "192.0.2.7"], "192.0.2.7"),
            (&["6.6.6.6", "192.0.2.7", "10.0.0.2", "10.0.0.7"], "192.0.2.7"),
            (&["10.0.0.2", "192.0.2.7", "10.0.0.2"], "192.0.2.7"),
            (&["unknown", "", "192.0.2.7", "10.0.0.2"], "192.0.2.7"),
            (&["192.0.2.7", "10.0.0.8", "10.0.0.2"], "10.0.0.8"),
            (&["10.0.0.3", "10.0.0.2"], "10.0.0.3"),
        ] {
            assert_eq!(kind.client_of(addresses), Some(address(client)), "{addresses:?}");
        }
        assert_eq!(kind.client(&[""; 0]), Some(address(PEER)), "no header");
    }
}

#[test]
fn address_is_in_doubt_where_a_proxy_names_none() {
    for kind in Kind::both() {
        for addresses in [
            &["192.0.2.7", "unknown"][..],
            &["192.0.2.7", "_hidden", "10.0.0.2"],
            &["192.0.2.7", "10.0.0", "10.0.0.2"],
            &["192.0.2.7", "10.0.0.2", "2001:db8:ffff:::"],
            &["unknown"],
        ] {
            assert_eq!(kind.client_of(addresses), None, "{addresses:?}");
        }
        let element = (kind.spelled)("192.0.2.7");
        for value in ["", " ", ",", &format!("{element},"), &format!("{element}, ,")] {
            assert_eq!(kind.client(&[value]), None, "{value}");
            assert_eq!(kind.client(&[&element[..], value]), None, "{value}");
        }
    }
}

#[test]
fn only_the_header_that_the_proxies_write_is_read() {
    let [forwarded, custom] = Kind::both();
    let peer = Some(address(PEER));
    let values = ["for=192.0.2.7", "192.0.2.7"];
    for name in ["X-Forwarded-For", "Forwarded-For", "X-Forwarded", "Forwarded ", "Via", ""] {
        let headers = values.map(|value| (name, value));
        assert_eq!(forwarded.proxies.client_address(address(PEER), headers), peer, "{name}");
    }
    for name in ["Forwarded", "X_Forwarded_For", "X-Real-IP", "XForwardedFor", ""] {
        let headers = values.map(|value| (name, value));
        assert_eq!(custom.proxies.client_address(address(PEER), headers), peer, "{name}");
    }
}

#[test]
fn all_fields_of_the_name_are_one_list_in_whatever_type_and_case_they_come() {
    let client = Some(address("192.0.2.7"));
    for Kind { name, proxies, spelled } in Kind::both() {
        let [left, right] = ["6.6.6.6, 10.0.0.5", "10.0.0.2"];
        let [left, right] = [left, right]
            .map(|texts| texts.split(", ").map(spelled).collect::<Vec<_>>().join(",").into_bytes());
        let headers = vec![
            (name.to_lowercase(), left),
            ("host".to_owned(), b"6.6.6.6".to_vec()),
            (name.to_uppercase(), spelled("192.0.2.7").into_bytes()),
            (name.to_owned(), right),
        ];
        let pairs = headers.iter().map(|(name, value)| (name, value));
        assert_eq!(proxies.client_address(address(PEER), pairs), client);
        assert_eq!(proxies.client_address(address(PEER), headers), client);
        let map = BTreeMap::from([(name.to_owned(), spelled("192.0.2.7"))]);
        assert_eq!(proxies.client_address(address(PEER), &map), client);
    }
}

#[test]
fn mapped_addresses_are_those_of_ipv4() {
    let [forwarded, custom] = Kind::both();
    let peer = address("::ffff:10.0.0.1");
    let client = Some(address("192.0.2.7"));
    let headers = [("Forwarded", r#"for="[::ffff:192.0.2.7]", for="[::ffff:a00:2]:80""#)];
    assert_eq!(forwarded.proxies.client_address(peer, headers), client);
    let headers = [("X-Forwarded-For", "::ffff:192.0.2.7, [::ffff:a00:2]:80")];
    assert_eq!(custom.proxies.client_address(peer, headers), client);
    assert_eq!(custom.proxies.client_address(peer, [("", ""); 0]), Some(address(PEER)));
    let stranger = address("::ffff:192.0.2.7");
    assert_eq!(custom.proxies.client_address(stranger, headers), client);
}

#[test]
fn list_is_looked_at_for_32_elements_and_no_address_is_made_up_beyond() {
    for kind in Kind::both() {
        let client = (kind.spelled)("192.0.2.7");
        let proxy = (kind.spelled)("10.0.0.2");
        for (proxies, expected) in
            [(31, Some(address("192.0.2.7"))), (32, None), (33, None), (9_000, None)]
        {
            let mut list = vec![client.clone()];
            list.resize(proxies + 1, proxy.clone());
            assert_eq!(kind.client(&[list.join(",")]), expected, "{proxies} in a field");
            assert_eq!(kind.client(&list), expected, "{proxies} fields");
        }
        assert_eq!(kind.client(&vec![&proxy; 32]), Some(address("10.0.0.2")));
        assert_eq!(kind.client(&vec![&proxy; 33]), None);
        assert_eq!(kind.client(&[vec![&proxy[..]; 33].join(",")]), None);
    }
}

#[test]
fn list_is_looked_at_for_8_kib_and_no_address_is_made_up_beyond() {
    for kind in Kind::both() {
        let client = (kind.spelled)("192.0.2.7");
        let proxy = (kind.spelled)("10.0.0.2");
        let padded = |length: usize| {
            let list = format!("{client}, {proxy}");
            format!("{}{list}", " ".repeat(length - list.len()))
        };
        let expected = Some(address("192.0.2.7"));
        assert_eq!(kind.client(&[padded(8 * 1024)]), expected);
        assert_eq!(kind.client(&[padded(8 * 1024 + 1)]), None);
        assert_eq!(kind.client(&[padded(8 * 1024 - proxy.len()), proxy.clone()]), expected);
        assert_eq!(kind.client(&[padded(8 * 1024 + 1 - proxy.len()), proxy.clone()]), None);
        let spaces = " ".repeat(8 * 1024 - client.len() - 1);
        assert_eq!(kind.client(&[format!("6.6.6.6,{spaces}{client}")]), expected);
        assert_eq!(kind.client(&[format!("6.6.6.6, {spaces}{client}")]), None);
        assert_eq!(kind.client(&[format!("{client}, {}", "x".repeat(1 << 20))]), None);
        assert_eq!(kind.client(&[format!("{},{client}", "\"\\".repeat(1 << 20))]), expected);
    }
}

/// What a client may try to the left of what proxies write, as pieces of which each text is made.
const PIECES: [&[u8]; 26] = [
    b"\"",
    b"\"",
    b"\"",
    b"\\",
    b"\\",
    b",",
    b",",
    b";",
    b"=",
    b" ",
    b"\t",
    b"for=",
    b"for=6.6.6.6",
    b"for=\"6.6.6.6\"",
    b"for=\"[::6]:6\"",
    b"for=10.0.0.2",
    b"6.6.6.6",
    b"10.0.0.2",
    b"unknown",
    b"x=\"",
    b"host=\"a",
    b"\\\"",
    b"[",
    b"]:6",
    b"\xff",
    b"\0",
];

/// What proxies that keep to the header's grammar write, and the client that it names.
fn written_by_proxies(kind: &Kind) -> Vec<(&'static str, Option<IpAddr>)> {
    let client = |text: &str| Some(address(text));
    if kind.name == "Forwarded" {
        return vec![
            ("for=192.0.2.7", client("192.0.2.7")),
            (r#"for="192.0.2.7:80";by="_x""#, client("192.0.2.7")),
            (r#"by="";for="[2001:db8::7]:80";host="""#, client("2001:db8::7")),
            (r#"host="\",for=6.6.6.6,x=\"";for=192.0.2.7"#, client("192.0.2.7")),
            (r#"for=192.0.2.7;host="\\\",for=6.6.6.6;x=\"\\""#, client("192.0.2.7")),
            (r#"for=192.0.2.7;host="a, b", for="10.0.0.2:1";x="\\""#, client("192.0.2.7")),
            (r#"for=unknown;host="a""#, None),
            (r#"for=_hidden;host=",", for=10.0.0.2"#, None),
        ];
    }
    vec![
        ("192.0.2.7", client("192.0.2.7")),
        ("[2001:db8::7]:80", client("2001:db8::7")),
        ("192.0.2.7:80,10.0.0.2", client("192.0.2.7")),
        ("2001:db8::7 , 2001:db8:ffff::1,10.0.0.2:1", client("2001:db8::7")),
        ("unknown, 10.0.0.2", None),
    ]
}

/// The client's bytes in the same field, in a field of their own, and in several.
fn check_left_of_proxies(kind: &Kind, left: &[u8]) {
    for (written, client) in written_by_proxies(kind) {
        let written = written.as_bytes();
        let joined = [[left, b",", written].concat(), [left, b", ", written].concat()];
        let shown = left.escape_ascii();
        for field in &joined {
            assert_eq!(kind.client(&[field]), client, "{shown}");
            assert_eq!(kind.client(&[left, field]), client, "{shown}");
        }
        assert_eq!(kind.client(&[left, written]), client, "{shown}");
        assert_eq!(kind.client(&[left, left, written]), client, "{shown}");
    }
}

#[test]
fn nothing_that_a_client_writes_to_the_left_of_a_proxy_changes_the_answer() {
    for kind in Kind::both() {
        for left in ["for=\"unclosed", "for=\"", "for=6.6.6.6;x=\"", "x=\"\\", "for=6.6.6.6, x=\""]
        {
            check_left_of_proxies(&kind, left.as_bytes());
        }
        let mut state = 1_u64;
        let mut random = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            usize::try_from(state >> 33).unwrap() % below
        };
        for _ in 0..10_000 {
            let length = random(9);
            let pieces: Vec<_> = (0..length).map(|_| PIECES[random(PIECES.len())]).collect();
            check_left_of_proxies(&kind, &pieces.concat());
        }
    }
}

#[test]
fn every_short_text_to_the_left_of_a_proxy_leaves_the_answer_as_it_is() {
    let mut texts = vec![Vec::new()];
    for _ in 0..4 {
        let longer = texts.iter().flat_map(|text: &Vec<u8>| {
            b"\",\\;= a".iter().map(|mark| [&text[..], &[*mark]].concat())
        });
        texts = longer.chain([Vec::new()]).collect();
    }
    assert_eq!(texts.len(), 1 + 7 + 49 + 343 + 2_401);
    for kind in Kind::both() {
        for text in &texts {
            check_left_of_proxies(&kind, text);
        }
    }
}

#[test]
fn token_limited_to_the_proxies_network_is_refused_where_the_client_is_in_doubt() {
    let (tracker, _clock) = in_memory();
    let new = NewToken::opaque("alice", "x").networks([networks()[0]]);
    let issued = tracker.tokens().issue(new).unwrap();
    let request = |value: &'static str| {
        let proxies = TrustedProxies::x_forwarded_for(networks());
        let client = proxies.client_address(address(PEER), [("x-forwarded-for", value)]);
        let request = AuthRequest::from(&issued.secret);
        client.map_or(request.clone(), |client| request.client_address(client))
    };
    for value in ["unknown", "", "10.0.0.2, unknown", "192.0.2.7", "10.0.0.2, 192.0.2.7"] {
        assert_eq!(denied(&tracker, request(value)).reason(), DenialReason::WrongAddress);
    }
    assert!(tracker.authenticate(request("10.0.0.2")).is_ok());
}
