//! A service that authenticates with old secrets, and with new ones as it is told of them. Told to end, it writes what
//! it saw.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use token_tracker::TokenTracker;
use token_tracker_faults::{Entry, Sight, look_as_known, say, write_report};

const THREADS: usize = 3;

fn main() {
    let mut args = std::env::args().skip(1);
    let mut next = || args.next().expect("another argument");
    let (database, report) = (PathBuf::from(next()), PathBuf::from(next()));
    let secrets: Arc<Vec<_>> =
        Arc::new(args.flat_map(|old| [OnceLock::from(old), OnceLock::new()]).collect());
    let stop = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGTERM, Arc::clone(&stop))
        .expect("the signal can be waited for");
    let builder = TokenTracker::builder().without_usage_recording();
    let tracker = builder.open(database).expect("it opens");
    let told = Arc::clone(&secrets);
    std::thread::spawn(move || listen(&told));
    say(&Entry::Note("ready".to_owned()));
    let seen: Vec<Sight> = std::thread::scope(|scope| {
        let asker = || look_as_known(&tracker, &secrets, &stop);
        let askers: Vec<_> = (0..THREADS).map(|_| scope.spawn(asker)).collect();
        askers.into_iter().flat_map(|asker| asker.join().expect("every answer is one")).collect()
    });
    tracker.close().expect("it closes");
    write_report(&report, &seen);
}

/// Takes in places and the secrets that belong there.
fn listen(secrets: &[OnceLock<String>]) {
    for line in std::io::stdin().lines().map_while(Result::ok) {
        let (place, secret) = line.split_once(' ').expect("a place and a secret");
        let place: usize = place.parse().expect("a place is a number");
        secrets[place].set(secret.to_owned()).expect("it is told once");
    }
}
