//! Any sequence of changes of tokens in two trackers on one file, with requests, steps of the clock and faults of the
//! storage between them: each answer is that of a plain model, and in the end everything is counted. A difference is
//! a dead token that is let in, a living one that is refused, a quota that is exceeded, or usage that is lost.
#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use token_tracker_fuzz::state_bench::StateBench;
use token_tracker_fuzz::state_plan::Plan;

thread_local! {
    static BENCH: RefCell<StateBench> = RefCell::new(StateBench::new());
}

/// Which inputs end with a look through the whole file: every so manieth by its length.
const LOOK_EACH: usize = 8;

fuzz_target!(|plan: Plan| {
    BENCH.with_borrow_mut(|bench| {
        bench.start_afresh();
        plan.steps.iter().for_each(|step| bench.take(step));
        bench.finish(plan.steps.len() % LOOK_EACH == 0);
    });
});
