//! A service under load, that tells its parent what was acknowledged. It is killed, or told to end.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use token_tracker_faults::{Entry, Load};

fn main() {
    let load =
        Load::from_args(std::env::args().skip(1)).expect("the arguments are those of a load");
    let stop = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGTERM, Arc::clone(&stop))
        .expect("the signal can be waited for");
    let tracker = load.open();
    say(Entry::Note("ready".to_owned()));
    load.run(&tracker, &stop, &say);
    tracker.close().expect("it closes");
    say(Entry::Note(format!("last_used_writes {}", tracker.health().last_used_writes)));
}

/// In one write: a line is whole or not there.
fn say(entry: Entry) {
    let mut output = std::io::stdout().lock();
    output.write_all(format!("{entry}\n").as_bytes()).expect("the parent listens");
    output.flush().expect("the parent listens");
}
