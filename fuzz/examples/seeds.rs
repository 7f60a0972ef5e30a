//! Writes the seeds of the targets that take text: `cargo run --example seeds`, in this folder. Without
//! seeds that are signed, a fuzzer never learns what a good token looks like.

use std::fs;
use std::io::Result;
use std::path::Path;

use token_tracker_fuzz::base64url;
use token_tracker_fuzz::keys::{KeyName, RSA_MODULUS, RSA_TOKENS, hmac_sha256, p384_point};
use token_tracker_fuzz::render::signed;

/// 2026-01-01T00:00:00Z, where the clock stands.
const NOW: u32 = 1_767_225_600;

/// The first byte says that the text is a key or a set, the next two that all algorithms are allowed, or
/// those that every kind of key has one of.
const KEY_OF_ANY: [u8; 3] = [0, 0xff, 0xff];
const KEY_OF_ONE: [u8; 3] = [0, 0b0000_1111, 0b0000_0010];
const SET_OF_ONE: [u8; 3] = [1, 0b0000_1111, 0b0000_0010];

/// A scope, then fields that begin with `0xff`, in which `0x01` stands for the good token.
const HEADERS: [(&str, &[u8]); 24] = [
    ("accepted_after_a_form_feed", b"\xff\x0cBearer \x01"),
    ("accepted_after_a_tab", b"\xffBearer \t\x01"),
    ("accepted_before_a_carriage_return", b"\xffBearer \x01\r"),
    ("accepted_before_a_line_feed", b"\xffBearer \x01\n"),
    ("any_case", b"\xffbEARER \x01"),
    ("another_scheme", b"\xffBasic YTpi"),
    ("comma", b"\xffBearer \x01,\x01"),
    ("empty_field", b"\xff"),
    ("good", b"\xffBearer \x01"),
    ("good_and_empty", b"\xffBearer \x01\xff"),
    ("good_between_tabs", b"\xff\t Bearer  \x01 \t"),
    ("good_for_no_scope", b"items:read\xffBearer \x01"),
    ("good_for_quoted_scope", b"a\", realm=\"b\xffBearer \x01"),
    ("good_for_two_scopes", b"items:read items:write\xffBearer \x01"),
    ("no_field", b""),
    ("no_token", b"\xffBearer "),
    ("not_utf8", b"\xffBearer \xfe"),
    ("opaque", b"\xffBearer tt_0000000000000000000000000000000000000000000000000"),
    ("padded", b"\xffBearer \x01=="),
    ("quoted", b"\xffBearer \"\x01\""),
    ("tab_for_space", b"\xffBearer\t\x01"),
    ("two_in_a_field", b"\xffBearer \x01, Bearer \x01"),
    ("two_in_a_row", b"\xffBearer \x01 \x01"),
    ("twice", b"\xffBearer \x01\xffBearer \x01"),
];

/// 0 for `Forwarded` or 1 for `X-Forwarded-For`, then fields that begin with `0xff`.
const FORWARDED: [(&str, &[u8]); 12] = [
    ("custom", b"\x01\xff6.6.6.6\xff6.6.6.6, 192.0.2.7:80,10.0.0.2"),
    ("custom_v6", b"\x01\xff2001:db8::1 , [2001:db8::1]:80, ::ffff:10.0.0.2"),
    ("custom_unknown", b"\x01\xff192.0.2.7, unknown"),
    ("duplicate", b"\x00\xfffor=192.0.2.7;FOR=192.0.2.7"),
    ("escapes", b"\x00\xfffor=6.6.6.6,x=\"\\\\\\\",\";for=\"192\\.0.2.7\""),
    ("forwarded", b"\x00\xfffor=6.6.6.6\xfffor=192.0.2.7;proto=http;by=_x, for=10.0.0.2"),
    ("forwarded_v6", b"\x00\xfffor=\"[2001:db8::1]:_x\",for=\"[::ffff:10.0.0.2]\""),
    ("hidden", b"\x00\xfffor=192.0.2.7, for=_hidden, for=10.0.0.2"),
    ("many", b"\x01\xff,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,10.0.0.2"),
    ("no_element", b"\x00\xff;;for=10.0.0.2;, \t,for=10.0.0.2"),
    ("no_field", b"\x00"),
    ("unclosed", b"\x00\xfffor=\"unclosed, for=6.6.6.6\xffx=\"\\, for=10.0.0.2"),
];

/// Cells of a database that hold what the library never writes: table and column by their numbers in
/// `src/damage.rs`, the row, and the value.
const CELLS: [(&str, &[(u8, u8, u8, i64)]); 16] = [
    ("chain_below_all_rows", &[(18, 0, 0, -2), (18, 3, 0, i64::MAX)]),
    ("credential_of_an_unknown_state", &[(2, 2, 0, 77)]),
    ("day_beyond_all_hours", &[(11, 0, 0, i64::MAX)]),
    ("folded_day_beyond_all_hours", &[(6, 2, 0, i64::MAX)]),
    ("group_that_begins_ages_before_its_rows", &[(13, 0, 0, i64::MIN)]),
    ("group_that_never_ends", &[(13, 1, 0, i64::MAX)]),
    ("group_told_from_the_end_of_time", &[(13, 4, 0, i64::MAX)]),
    ("hour_before_all_times", &[(16, 0, 0, i64::MIN)]),
    ("hour_beyond_all_times", &[(16, 0, 0, i64::MAX)]),
    ("late_use_beyond_all_counts", &[(3, 2, 0, i64::MAX), (3, 2, 1, i64::MIN)]),
    ("log_that_is_full", &[(6, 0, 0, i64::MAX)]),
    ("outcome_that_is_none", &[(18, 6, 0, 200)]),
    ("quota_below_all_units", &[(7, 3, 0, i64::MIN), (7, 5, 0, i64::MAX)]),
    ("token_of_an_unknown_kind", &[(9, 3, 0, 77)]),
    ("token_that_ends_before_all_times", &[(9, 11, 0, i64::MIN)]),
    ("weights_beyond_all_sums", &[(18, 12, 0, i64::MIN), (18, 12, 1, i64::MIN)]),
];

fn main() -> Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (name, token) in tokens() {
        write(&corpus.join("jwt_authenticate"), &name, token.as_bytes())?;
    }
    for (name, start, text) in jwks() {
        write(&corpus.join("jwk_load"), name, &[&start[..], text.as_bytes()].concat())?;
    }
    for (name, input) in HEADERS {
        write(&corpus.join("authorization_header"), name, input)?;
    }
    for (name, input) in FORWARDED {
        write(&corpus.join("forwarding_header"), name, input)?;
    }
    for (name, cells) in CELLS {
        write(&corpus.join("db_file"), name, &cells.iter().flat_map(cell).collect::<Vec<u8>>())?;
    }
    Ok(())
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    fs::create_dir_all(folder)?;
    fs::write(folder.join(name), bytes)
}

/// Set to an integer, in the encoding of `arbitrary`.
fn cell((table, column, row, value): &(u8, u8, u8, i64)) -> Vec<u8> {
    const CELL: u8 = 1;
    const INTEGER: [u8; 4] = [0, 0, 0, 0x40];
    let is_negative = *value < 0;
    let bits = if is_negative { -1 - *value } else { *value };
    let mut bytes = vec![CELL, *table, *column, *row];
    bytes.extend(INTEGER);
    bytes.extend(bits.to_le_bytes());
    bytes.extend([0, u8::from(is_negative)]);
    bytes
}

fn tokens() -> Vec<(String, String)> {
    let mut tokens = good_tokens();
    tokens.extend(signed_mutants());
    tokens.extend(forged_mutants());
    tokens.extend(RSA_TOKENS.map(|(scheme, token)| (scheme.to_lowercase(), token.to_owned())));
    tokens
}

fn header(key: KeyName) -> String {
    format!(r#"{{"alg":"{}","kid":"{}","typ":"JWT"}}"#, key.algorithm(), key.kid())
}

fn good_tokens() -> Vec<(String, String)> {
    let payload = format!(r#"{{"sub":"alice","iat":{NOW},"exp":{},"jti":"jti-1"}}"#, NOW + 600);
    let tokens = KeyName::ALL.map(|key| {
        (format!("good_{}", key.kid()), signed(key, header(key).as_bytes(), payload.as_bytes()))
    });
    tokens.into()
}

/// Tokens that are signed, and turn on one rule each.
fn signed_mutants() -> Vec<(String, String)> {
    let deep = format!(r#"{{"jti":"jti-1","x":{}{}}}"#, "[".repeat(126), "]".repeat(126));
    let payloads = [
        ("audience_list", r#"{"jti":"jti-1","aud":["items","other"]}"#.to_owned()),
        ("audience_not_text", r#"{"jti":"jti-1","aud":["items",1]}"#.to_owned()),
        ("deep", deep),
        ("duplicate_escaped", r#"{"jti":"jti-1","\u006ati":"jti-2"}"#.to_owned()),
        ("duplicate_nested", r#"{"jti":"jti-1","x":[{"a":1,"a":2}]}"#.to_owned()),
        ("expired_at_equality", format!(r#"{{"jti":"jti-2","exp":{}}}"#, NOW - 30)),
        ("expires_in_a_microsecond", format!(r#"{{"jti":"jti-2","exp":{}.000001}}"#, NOW - 30)),
        ("expiry_exponent", r#"{"jti":"jti-1","exp":17672262e2}"#.to_owned()),
        ("expiry_huge", r#"{"jti":"jti-1","exp":1e308,"nbf":-1e308}"#.to_owned()),
        ("expiry_text", format!(r#"{{"jti":"jti-1","exp":"{}"}}"#, NOW + 600)),
        ("infinite", r#"{"jti":"jti-1","exp":1e309}"#.to_owned()),
        ("issuer_list", r#"{"jti":"jti-1","iss":["x"]}"#.to_owned()),
        ("lone_surrogate", r#"{"jti":"jti-1","x":"\ud800"}"#.to_owned()),
        ("not_before_at_equality", format!(r#"{{"jti":"jti-1","nbf":{}}}"#, NOW + 30)),
        ("not_before_late", format!(r#"{{"jti":"jti-1","nbf":{}.000001}}"#, NOW + 30)),
        ("null_claims", r#"{"jti":"jti-1","sub":null,"exp":null}"#.to_owned()),
        ("revoked", r#"{"jti":"jti-revoked"}"#.to_owned()),
        ("spaced", " { \"jti\" :\t\"jti-1\" ,\r\n\"x\":[ 1 , true,null ] } ".to_owned()),
        ("surrogate_pair", r#"{"jti":"jti-\u00e9","x":"\ud83d\ude00"}"#.to_owned()),
        ("trailing_bytes", r#"{"jti":"jti-1"} {}"#.to_owned()),
        ("unknown", r#"{"jti":"jti-unknown"}"#.to_owned()),
    ];
    let sign = |(name, payload): (&str, String)| {
        let key = KeyName::Hs256;
        (name.to_owned(), signed(key, header(key).as_bytes(), payload.as_bytes()))
    };
    payloads.into_iter().map(sign).collect()
}

/// Tokens whose header or text is wrong.
fn forged_mutants() -> Vec<(String, String)> {
    let payload = br#"{"jti":"jti-1"}"#;
    let good = signed(KeyName::Hs256, br#"{"alg":"HS256"}"#, payload);
    let (message, signature) = good.rsplit_once('.').expect("a token has dots");
    let none =
        format!("{}.{}.", base64url::encode(br#"{"alg":"none"}"#), base64url::encode(payload));
    let confused = {
        let header = base64url::encode(br#"{"alg":"HS256"}"#);
        let message = format!("{header}.{}", base64url::encode(payload));
        let mac = hmac_sha256(&KeyName::Es256.public_point(), message.as_bytes());
        format!("{message}.{}", base64url::encode(&mac))
    };
    let headed = |header: &[u8]| signed(KeyName::Hs256, header, payload);
    let mutants = [
        ("crit", headed(br#"{"alg":"HS256","crit":["exp"]}"#)),
        ("confused", confused),
        ("four_parts", format!("{good}.")),
        ("kid_unknown", headed(br#"{"alg":"HS256","kid":"other"}"#)),
        ("none", none),
        ("padded", format!("{good}=")),
        ("stray_bits", format!("{message}.{}", stray_bits(signature))),
        ("unencoded", headed(br#"{"alg":"HS256","b64":false}"#)),
        ("unsigned", format!("{message}.")),
    ];
    mutants.map(|(name, token)| (name.to_owned(), token)).into()
}

/// 32 bytes leave two bits of the last digit unused.
fn stray_bits(signature: &str) -> String {
    let other = if signature.ends_with(['A', 'E', 'I', 'M']) { "B" } else { "-" };
    format!("{}{other}", &signature[..signature.len() - 1])
}

fn p384_coordinates() -> (String, String) {
    let point = p384_point();
    let (x, y) = point[1..].split_at(48);
    (base64url::encode(x), base64url::encode(y))
}

fn jwks() -> Vec<(&'static str, [u8; 3], String)> {
    let [ed, ec, secret] = KeyName::ALL.map(|key| key.jwk(Some(key.kid())));
    let rsa = format!(r#"{{"kty":"RSA","e":"AQAB","alg":"RS256","n":"{RSA_MODULUS}"}}"#);
    let unnamed = KeyName::Es256.jwk(None);
    let (x, y) = p384_coordinates();
    let p384 = format!(r#"{{"kty":"EC","crv":"P-384","x":"{x}","y":"{y}"}}"#);
    let long = format!(r#"{{"kty":"oct","alg":"HS512","k":"{}"}}"#, base64url::encode(&[7; 64]));
    vec![
        ("ed25519", KEY_OF_ANY, ed.clone()),
        ("p256", KEY_OF_ANY, ec.clone()),
        ("p384", KEY_OF_ANY, p384),
        ("secret_long", KEY_OF_ANY, long),
        ("rsa", KEY_OF_ANY, rsa.clone()),
        ("rsa_pss", KEY_OF_ANY, rsa.replace("RS256", "PS256")),
        ("secret", KEY_OF_ONE, secret.clone()),
        ("secret_ambiguous", KEY_OF_ANY, secret.clone()),
        ("secret_only_verifies", KEY_OF_ONE, secret.replace('}', r#","key_ops":["verify"]}"#)),
        ("secret_short", KEY_OF_ONE, r#"{"kty":"oct","k":"c2hvcnQ"}"#.to_owned()),
        ("for_encryption", KEY_OF_ONE, ec.replace('}', r#","use":"enc"}"#)),
        (
            "ed25519_small_order",
            KEY_OF_ONE,
            format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{}"}}"#, "A".repeat(43)),
        ),
        ("set", SET_OF_ONE, format!(r#"{{"keys":[{ed},{ec},{rsa}]}}"#)),
        ("set_mixed", SET_OF_ONE, format!(r#"{{"keys":[{ed},{secret}]}}"#)),
        ("set_named_alike", SET_OF_ONE, format!(r#"{{"keys":[{ec},{ec}]}}"#)),
        ("set_unnamed", SET_OF_ONE, format!(r#"{{"keys":[{unnamed},{{"kty":"x"}},1]}}"#)),
    ]
}
