//! Texts that come again and again, shared instead of copied.

use std::cell::RefCell;
use std::sync::Arc;

/// How many texts a thread remembers.
const REMEMBERED: usize = 64;

thread_local! {
    /// Of each thread its own: what all threads share, all threads would write to.
    static TEXTS: RefCell<[Option<Arc<str>>; REMEMBERED]> = const { RefCell::new([const { None }; REMEMBERED]) };
}

/// The text, shared with earlier ones that were the same if this thread remembers them. Services have few
/// routes and many requests: copies of route and user agent took 65 ns of a request's 440, and most of the
/// memory of a record that waits.
pub(crate) fn shared(text: &str) -> Arc<str> {
    let remembered = TEXTS.try_with(|texts| {
        let remembered = &mut texts.borrow_mut()[place(text)];
        match remembered {
            Some(same) if **same == *text => Arc::clone(same),
            _ => Arc::clone(remembered.insert(Arc::from(text))),
        }
    });
    // A thread at its end remembers nothing.
    remembered.unwrap_or_else(|_| Arc::from(text))
}

/// By length, start and end: where two texts meet, the later one is remembered.
fn place(text: &str) -> usize {
    let bytes = text.as_bytes();
    let word = |chunk: Option<&[u8; 8]>| chunk.map_or(0, |chunk| u64::from_le_bytes(*chunk));
    let ends = word(bytes.first_chunk()).rotate_left(23) ^ word(bytes.last_chunk());
    let mixed = (ends ^ bytes.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 32) as usize % REMEMBERED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_texts_are_shared_and_all_texts_stay_what_they_are() {
        assert!(Arc::ptr_eq(&shared("/items/{id}"), &shared("/items/{id}")));
        for round in 0..3 {
            for number in 0..1_000 {
                let text = format!("/items/{}/{number}", "x".repeat(number % 20));
                assert_eq!(*shared(&text), *text, "{round}");
            }
        }
        assert_eq!((&*shared(""), &*shared("GET")), ("", "GET"));
    }
}
