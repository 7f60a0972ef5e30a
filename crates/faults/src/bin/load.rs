//! A service under load, that tells its parent what was acknowledged. It is killed, or told to end.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use token_tracker_faults::{Entry, Load, say};

fn main() {
    let load =
        Load::from_args(std::env::args().skip(1)).expect("the arguments are those of a load");
    let stop = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGTERM, Arc::clone(&stop))
        .expect("the signal can be waited for");
    let tracker = load.open();
    say(&Entry::Note("ready".to_owned()));
    load.run(&tracker, &stop, &|entry| say(&entry));
    tracker.close().expect("it closes");
    say(&Entry::Note(format!("last_used_writes {}", tracker.health().last_used_writes)));
}
