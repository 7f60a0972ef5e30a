//! Any text as a key or a set of keys: what loads obeys the rules, what is plainly good loads, and a tracker
//! with it accepts what the reference verifies and nothing else, whatever algorithm a token names. A
//! difference is a key that panics at its first use, or that verifies what nobody signed.
#![no_main]

use arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use token_tracker::{Algorithm, JwtKey, KeySet};
use token_tracker_fuzz::json::{Flaw, Json, Object};
use token_tracker_fuzz::jwk::{ALGORITHMS, Key};
use token_tracker_fuzz::jwk_plan::JwkPlan;
use token_tracker_fuzz::key_trial;

/// The most keys of a planned set.
const MOST_KEYS: usize = 4;

// One byte says what the rest is, two say which algorithms are allowed: a JWK with three bytes before it
// is a seed.
fuzz_target!(|data: &[u8]| {
    let [kind, low, high, rest @ ..] = data else { return };
    let mask = u16::from_le_bytes([*low, *high]);
    let allowed = ALGORITHMS.iter().enumerate().filter(|(at, _)| mask >> at & 1 == 1);
    let allowed: Vec<Algorithm> = allowed.map(|(_, algorithm)| *algorithm).collect();
    match kind % 4 {
        0 => load_key(&String::from_utf8_lossy(rest), &allowed),
        1 => load_set(&String::from_utf8_lossy(rest), &allowed),
        2 => load_key(&planned_key(rest), &allowed),
        _ => load_set(&planned_set(rest), &allowed),
    }
});

fn planned_key(bytes: &[u8]) -> String {
    let plan = JwkPlan::arbitrary_take_rest(Unstructured::new(bytes));
    plan.map(|plan| plan.jwk()).unwrap_or_default()
}

fn planned_set(bytes: &[u8]) -> String {
    let plans = Vec::<JwkPlan<'_>>::arbitrary_take_rest(Unstructured::new(bytes));
    let keys =
        plans.unwrap_or_default().iter().take(MOST_KEYS).map(JwkPlan::jwk).collect::<Vec<_>>();
    format!(r#"{{"keys":[{}]}}"#, keys.join(","))
}

fn load_key(text: &str, allowed: &[Algorithm]) {
    match (JwtKey::from_jwk(text, allowed), Key::parse(text, allowed)) {
        (Ok(key), Ok(reference)) => {
            assert_eq!(key.algorithm(), reference.algorithm, "{text}");
            key_trial::run(KeySet::from(key), &[reference]);
        }
        (Ok(key), Err(why)) => panic!("loaded as {key:?}, but it is {why}: {text}"),
        (Err(error), Ok(reference)) => assert!(!reference.is_plain(), "{error}: {text}"),
        (Err(_), Err(_)) => {}
    }
}

/// A set loads where the keys in it that load alone go together.
fn load_set(text: &str, allowed: &[Algorithm]) {
    let expected = match Json::object(text.as_bytes()) {
        Ok(set) => usable_keys(&set, allowed),
        Err(Flaw::Wrong(_)) => None,
        Err(Flaw::Borderline) => return,
    };
    match (KeySet::from_jwk_set(text, allowed), expected) {
        (Ok(keys), Some(expected)) => key_trial::run(keys, &expected),
        (Err(_), None) => {}
        (Ok(keys), None) => panic!("loaded as {keys:?}: {text}"),
        (Err(error), Some(_)) => panic!("not loaded, {error}: {text}"),
    }
}

fn usable_keys(set: &Object, allowed: &[Algorithm]) -> Option<Vec<Key>> {
    let Some(Json::Array(entries)) = set.get("keys") else { return None };
    let usable = entries.iter().filter(|entry| JwtKey::from_jwk(&entry.written(), allowed).is_ok());
    let keys: Vec<Key> = usable
        .map(|entry| Key::parse(&entry.written(), allowed).expect("the key loads, so it is good"))
        .collect();
    let go_together = keys.iter().enumerate().all(|(at, key)| {
        keys[..at].iter().all(|other| {
            let named_alike = key.kid.is_some() && key.kid == other.kid;
            key.material.is_secret() == other.material.is_secret() && !named_alike
        })
    });
    (!keys.is_empty() && entries.len() <= 256 && go_together).then_some(keys)
}
