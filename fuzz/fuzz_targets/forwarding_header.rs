//! Any list of `Forwarded` or `X-Forwarded-For` fields: the client's address is what a reading from the left
//! finds, wherever that may begin, and nothing to the left of what a proxy wrote changes what it wrote. A
//! difference is an address that a client could choose.
#![no_main]

use std::net::IpAddr;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use token_tracker::{Network, TrustedProxies};
use token_tracker_fuzz::forwarding::{self, Header, NETWORK, PEER};

static FORWARDED: LazyLock<TrustedProxies> =
    LazyLock::new(|| TrustedProxies::forwarded(networks()));

static CUSTOM: LazyLock<TrustedProxies> =
    LazyLock::new(|| TrustedProxies::x_forwarded_for(networks()));

/// Begins a field; a byte that means nothing in either header.
const FIELD: u8 = 0xff;

/// What proxies write for a client at `192.0.2.7`.
const BY_FORWARDED: [&str; 4] = [
    "for=192.0.2.7",
    r#"by="";for="192.0.2.7:80";host="a, b""#,
    r#"host="\",for=6.6.6.6;x=\"";for=192.0.2.7;x="\\""#,
    r#"for=192.0.2.7;by="_x",for="10.0.0.2:80""#,
];
const BY_CUSTOM: [&str; 3] = ["192.0.2.7", "192.0.2.7:80", "192.0.2.7, 10.0.0.2"];

// A byte for the header, then the fields.
fuzz_target!(|data: &[u8]| {
    let Some((header, data)) = data.split_first() else { return };
    let (header, written) = match header % 2 {
        0 => (Header::Forwarded, &BY_FORWARDED[..]),
        _ => (Header::Custom, &BY_CUSTOM[..]),
    };
    let fields: Vec<&[u8]> = data.split(|byte| *byte == FIELD).skip(1).collect();
    assert_eq!(
        answer(header, &fields),
        forwarding::client(header, &fields),
        "{:?}",
        shown(&fields)
    );
    for text in written {
        check_right_of(header, &fields, text.as_bytes());
    }
});

/// What a proxy adds, in a field of its own and in the last one, decides alone.
fn check_right_of(header: Header, fields: &[&[u8]], written: &[u8]) {
    let client = Some(IpAddr::from([192, 0, 2, 7]));
    let with = [fields, &[written]].concat();
    assert_eq!(answer(header, &with), client, "{:?}", shown(&with));
    let Some((last, others)) = fields.split_last() else { return };
    let last = [last, &b", "[..], written].concat();
    let with = [others, &[&last[..]]].concat();
    assert_eq!(answer(header, &with), client, "{:?}", shown(&with));
}

fn answer(header: Header, fields: &[&[u8]]) -> Option<IpAddr> {
    let (name, proxies) = match header {
        Header::Custom => ("x-forwarded-for", &CUSTOM),
        Header::Forwarded => ("forwarded", &FORWARDED),
    };
    proxies.client_address(PEER, fields.iter().map(|field| (name, field)))
}

fn networks() -> [Network; 1] {
    [NETWORK.parse().expect("it is one")]
}

fn shown(fields: &[&[u8]]) -> Vec<String> {
    fields.iter().map(|field| field.escape_ascii().to_string()).collect()
}
