//! A process that uses up quotas, and tells its parent each unit that it was granted. It is killed, told
//! to end, or comes to its end.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use token_tracker_faults::{Entry, Spending, say};

fn main() {
    let spending = Spending::from_args(std::env::args().skip(1)).expect("the arguments are right");
    let stop = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGTERM, Arc::clone(&stop))
        .expect("the signal can be waited for");
    let tracker = spending.open();
    say(&Entry::Note("ready".to_owned()));
    let unavailable = spending.run(&tracker, &stop, &|entry| say(&entry));
    tracker.close().expect("it closes");
    say(&Entry::Note(format!("unavailable {unavailable}")));
}
