//! An administration that rotates tokens, and tells its parent the new secrets a moment late. It is killed.

use std::path::PathBuf;

use token_tracker::{Rotation, TokenTracker};
use token_tracker_faults::{Entry, pause, say, secret_of};

const THREADS: usize = 3;

fn main() {
    let mut args = std::env::args().skip(1);
    let database = PathBuf::from(args.next().expect("a database"));
    let secrets: Vec<String> = args.collect();
    let builder = TokenTracker::builder().without_usage_recording();
    let tracker = builder.open(database).expect("it opens");
    say(&Entry::Note("ready".to_owned()));
    std::thread::scope(|scope| {
        for secrets in secrets.chunks(secrets.len().div_ceil(THREADS)) {
            scope.spawn(|| secrets.iter().for_each(|old| rotate(&tracker, old)));
        }
    });
    say(&Entry::Note("all are rotated".to_owned()));
    pause(60_000);
}

fn rotate(tracker: &TokenTracker, old: &str) {
    let access = tracker.authenticate(old).expect("it is good");
    let credential = access.identity().credential_id();
    let rotated = tracker.tokens().rotate(credential, Rotation::until_first_use());
    let (token, new) = secret_of(&rotated.expect("it is rotated"));
    // Half of the answers have a way to go.
    if token % 2 == 0 {
        pause(1);
    }
    say(&Entry::Issued(token, new));
}
