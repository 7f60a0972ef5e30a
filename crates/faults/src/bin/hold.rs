//! Somebody else who has the file: it does what it is told to it, and holds on until it is killed.
//!
//! Files are harmed from here too: a process that opens and closes a database by hand loses its own locks.

use std::fs::OpenOptions;
use std::io::{Seek, SeekFrom, Write};
use std::time::Duration;

use rusqlite::Connection;
use token_tracker_faults::{Entry, pause, say};

fn main() {
    let mut args = std::env::args().skip(1);
    let mut next = || args.next().expect("another argument");
    let (act, path) = (next(), next());
    let held = match act.as_str() {
        "sql" => {
            let connection = Connection::open(path).expect("it opens");
            connection.busy_timeout(Duration::from_secs(5)).expect("it is set");
            connection.execute_batch(&next()).expect("it is done");
            Some(connection)
        }
        "overwrite" => {
            let at = next().parse().expect("a place");
            overwrite(&path, at, &next());
            None
        }
        "truncate" => {
            let file = OpenOptions::new().write(true).open(path).expect("it opens");
            file.set_len(next().parse().expect("a length")).expect("it is cut");
            None
        }
        _ => unreachable!("there is no act {act:?}"),
    };
    say(&Entry::Note("done".to_owned()));
    while held.is_some() {
        pause(1_000);
    }
}

/// Writes bytes, given in hexadecimal, where others were.
fn overwrite(path: &str, at: u64, with: &str) {
    let byte = |digits: &[u8]| {
        let digits = std::str::from_utf8(digits).ok()?;
        u8::from_str_radix(digits, 16).ok()
    };
    let bytes: Option<Vec<u8>> = with.as_bytes().chunks(2).map(byte).collect();
    let mut file = OpenOptions::new().read(true).write(true).open(path).expect("it opens");
    file.seek(SeekFrom::Start(at)).expect("it is there");
    file.write_all(&bytes.expect("they are hexadecimal")).expect("it is written");
    file.flush().expect("it is written");
}
