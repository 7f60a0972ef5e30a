//! An administration that revokes all tokens of one owner after the other, and tells its parent when it has. It is
//! killed.

use std::path::PathBuf;

use token_tracker::{TokenFilter, TokenTracker};
use token_tracker_faults::{Entry, pause, say};

fn main() {
    let mut args = std::env::args().skip(1);
    let database = PathBuf::from(args.next().expect("a database"));
    let builder = TokenTracker::builder().without_usage_recording();
    let tracker = builder.open(database).expect("it opens");
    for owner in args {
        let all = TokenFilter::new().owner(&owner);
        tracker.tokens().revoke_all(&all, "left the company").expect("they are revoked");
        say(&Entry::Note(format!("revoked {owner}")));
    }
    pause(60_000);
}
