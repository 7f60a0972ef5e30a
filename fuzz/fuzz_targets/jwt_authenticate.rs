//! Any text as a token: the library accepts it if and only if the reference does, at the first look, from
//! the cache and on a tracker that never saw it. A difference is a hole in the format checks: a padding,
//! a duplicate member or a stray bit that lets two texts pass for one token.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use token_tracker_fuzz::bench::{Answer, Bench, PUBLIC, SECRET, START};
use token_tracker_fuzz::render::{asked_for, opened, signed};

static BENCHES: LazyLock<[Bench; 2]> = LazyLock::new(|| [PUBLIC, SECRET].map(Bench::new));

fuzz_target!(|data: &[u8]| {
    let token = String::from_utf8_lossy(data);
    for bench in BENCHES.iter() {
        let answer = bench.compare(&token, START);
        if deserves_fresh_tracker(data, &answer) {
            let fresh = Bench::new(bench.policy).answer(&token, START);
            assert_eq!(fresh, answer, "a fresh tracker answers otherwise to {token}");
        }
    }
});

/// Opening a tracker costs as much as a hundred verdicts, so that one in 16 of the accepted and one in
/// 1,024 of the refused inputs gets one, chosen by what is in it.
fn deserves_fresh_tracker(data: &[u8], answer: &Answer) -> bool {
    let sum =
        data.iter().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(*byte)));
    match answer {
        Answer::Accepted(_) => sum.is_multiple_of(16),
        Answer::Denied(_) => sum.is_multiple_of(1_024),
    }
}

// Three in four mutations change the header or the payload as it is inside the token and sign the result:
// without that no mutation would ever get past the signature.
fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    match resigned(&data[..size], max_size, seed) {
        Some(token) => {
            data[..token.len()].copy_from_slice(token.as_bytes());
            token.len()
        }
        None => fuzzer_mutate(data, size, max_size),
    }
});

fn resigned(token: &[u8], max_size: usize, seed: u32) -> Option<String> {
    let (mut header, mut payload) = opened(std::str::from_utf8(token).ok()?)?;
    match seed % 4 {
        0 => return None,
        1 => mutate(&mut header),
        _ => mutate(&mut payload),
    }
    let token = signed(asked_for(&header), &header, &payload);
    (token.len() <= max_size).then_some(token)
}

fn mutate(part: &mut Vec<u8>) {
    let size = part.len();
    let room = size * 2 + 64;
    part.resize(room, 0);
    let size = fuzzer_mutate(part, size, room);
    part.truncate(size);
}
