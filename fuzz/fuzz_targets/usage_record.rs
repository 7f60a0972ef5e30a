//! Any sequence of requests, settled in any way, with flushes, upkeep and steps of the clock between them:
//! what is read back, record by record and as sums, is what was put in. A difference is a record that is
//! lost, counted twice or under another hour, or a text that is not what it was.
#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use token_tracker_fuzz::usage_bench::UsageBench;
use token_tracker_fuzz::usage_plan::Plan;

thread_local! {
    static BENCH: RefCell<UsageBench> = RefCell::new(UsageBench::new());
}

fuzz_target!(|plan: Plan<'_>| {
    BENCH.with_borrow_mut(|bench| {
        bench.start_afresh();
        plan.steps.iter().for_each(|step| bench.take(step));
        bench.finish();
    });
});
