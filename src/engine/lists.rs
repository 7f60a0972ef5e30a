//! Lists of texts that many tokens have in common, kept once.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::Mutex;

/// What is remembered at most, and of what length: half a mebibyte, all in all.
const MAX_LISTS: usize = 1_024;
const MAX_BYTES: usize = 512;

/// The scopes and audiences of cached tokens. A service has few different ones: shared, they are where the
/// processor finds them at once, and a cached token is a third smaller.
#[derive(Default)]
pub(super) struct Lists {
    known: Mutex<HashSet<Arc<[String]>>>,
}

impl Lists {
    /// The same list, shared with whoever has it already.
    pub(super) fn share(&self, list: Arc<[String]>) -> Arc<[String]> {
        let bytes: usize = list.iter().map(|text| size_of::<String>() + text.len()).sum();
        if bytes > MAX_BYTES {
            return list;
        }
        let mut known = self.known.lock();
        if let Some(shared) = known.get(&list) {
            return Arc::clone(shared);
        }
        // Those in use live on with their tokens.
        if known.len() >= MAX_LISTS {
            known.clear();
        }
        known.insert(Arc::clone(&list));
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Arc<[String]> {
        Arc::new([text.to_owned()])
    }

    #[test]
    fn equal_lists_are_one_and_there_is_an_end_to_what_is_remembered() {
        let lists = Lists::default();
        let first = lists.share(list("items:read"));
        assert!(Arc::ptr_eq(&first, &lists.share(list("items:read"))));
        for number in 0..3_000 {
            assert_eq!(lists.share(list(&number.to_string()))[0], number.to_string());
        }
        let long = list(&"x".repeat(MAX_BYTES));
        assert!(Arc::ptr_eq(&long, &lists.share(Arc::clone(&long))));
        let known = lists.known.lock();
        assert!(known.len() <= MAX_LISTS && !known.contains(&long));
    }
}
