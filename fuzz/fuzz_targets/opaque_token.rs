//! Any order of issuing, revoking, suspending, resuming and presenting opaque tokens, changed ones too: only
//! those that live are accepted, at the first look and from the cache. A difference is a revoked token that
//! the cache lets through, or two texts that pass for one token.
#![no_main]

use std::cell::RefCell;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use token_tracker_fuzz::opaque_model::{Model, Step};

/// Opening a tracker costs as much as issuing ten tokens, so that one serves many inputs.
const TOKENS_A_TRACKER: usize = 2_048;

/// The most steps of an input that are taken.
const MOST: usize = 24;

thread_local! {
    static MODEL: RefCell<Model> = RefCell::new(Model::new());
}

#[derive(Arbitrary, Debug)]
struct Case {
    steps: Vec<Step>,
}

fuzz_target!(|case: Case| {
    MODEL.with_borrow_mut(|model| {
        if model.issued() > TOKENS_A_TRACKER {
            *model = Model::new();
        }
        model.start_afresh();
        case.steps.iter().take(MOST).for_each(|step| model.take(step));
        model.check_all();
    });
});
