//! A service that authenticates tokens which another process administers. Told to end, it writes what it saw.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use token_tracker::TokenTracker;
use token_tracker_faults::{Entry, Sight, look, say, write_report};

const THREADS: usize = 3;

fn main() {
    let mut args = std::env::args().skip(1);
    let mut next = || args.next().expect("another argument");
    let (database, report) = (PathBuf::from(next()), PathBuf::from(next()));
    let secrets: Vec<String> = args.collect();
    let stop = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGTERM, Arc::clone(&stop))
        .expect("the signal can be waited for");
    let builder = TokenTracker::builder().without_usage_recording();
    let tracker = builder.open(database).expect("it opens");
    say(&Entry::Note("ready".to_owned()));
    let seen: Vec<Sight> = std::thread::scope(|scope| {
        let askers: Vec<_> =
            (0..THREADS).map(|_| scope.spawn(|| look(&tracker, &secrets, &stop))).collect();
        askers.into_iter().flat_map(|asker| asker.join().expect("every answer is one")).collect()
    });
    tracker.close().expect("it closes");
    write_report(&report, &seen);
}
