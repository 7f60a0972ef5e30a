//! Somebody else who has the file: it does what it is told to it, and holds on until it is killed.
//!
//! Files are harmed from here too: a process that opens and closes a database by hand loses its own locks.

use std::fs::OpenOptions;
use std::io::{Read, Seek, SeekFrom, Write};
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
        "swap" => {
            let at = next().parse().expect("a place");
            if !swap(&path, at, &bytes(&next()), &bytes(&next())) {
                say(&Entry::Note("not as expected".to_owned()));
            }
            None
        }
        _ => unreachable!("there is no act {act:?}"),
    };
    say(&Entry::Note("done".to_owned()));
    while held.is_some() {
        pause(1_000);
    }
}

/// Writes bytes where others are expected, and nothing where they are not.
fn swap(path: &str, at: u64, expected: &[u8], with: &[u8]) -> bool {
    let mut file = OpenOptions::new().read(true).write(true).open(path).expect("it opens");
    let mut found = vec![0; expected.len()];
    file.seek(SeekFrom::Start(at)).expect("it is there");
    file.read_exact(&mut found).expect("it can be read");
    if found == expected {
        file.seek(SeekFrom::Start(at)).expect("it is there");
        file.write_all(with).expect("it can be written");
    }
    found == expected
}

/// Bytes in hexadecimal.
fn bytes(digits: &str) -> Vec<u8> {
    let byte = |digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok();
    digits.as_bytes().chunks(2).map(byte).collect::<Option<_>>().expect("they are hexadecimal")
}
