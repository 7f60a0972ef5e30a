//! A disk that fails on demand: `shim/shim.c`, loaded before the C library of a child program.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::compile::compile;

/// Input/output error, as the kernel numbers it.
const EIO: i64 = 5;

/// Where the count of failed calls stands among the fields.
const HITS: u64 = 6;

/// Which calls count.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Call {
    /// `read` and `pread`.
    Read,
    /// `fsync` and `fdatasync`.
    Sync,
    /// `write`, `pwrite` and `ftruncate`.
    Write,
}

/// How a call fails.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Failure {
    /// It does its work, and reports a failure.
    Done,
    /// So do all that follow, for this long.
    Lasting(Duration),
    /// It alone, without doing anything.
    Once,
    /// It does not fail: it stands still until the shim is disarmed, no longer than this, and then does its work. So do
    /// all that follow.
    Stalled(Duration),
}

/// The faults of one child program. Both sides hold one.
pub struct Shim {
    control: File,
    path: PathBuf,
}

impl Shim {
    /// One that fails nothing yet, told by a file at this path.
    ///
    /// # Panics
    /// Where the file cannot be written.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let control = options.open(path).expect("the control file opens");
        let shim = Self { control, path: path.to_owned() };
        shim.write(0, &[0; 9]);
        shim
    }

    /// Has a program fail at the files whose path begins with this one's.
    ///
    /// # Panics
    /// Where there is no C compiler.
    pub fn load_into(&self, command: &mut Command, database: &Path) {
        let library = self.path.with_extension("so");
        if !library.exists() {
            compile("shim.c", &["-shared", "-fPIC"], &library);
        }
        command
            .env("LD_PRELOAD", library)
            .env("FAULTS_CONTROL", &self.path)
            .env("FAULTS_PREFIX", database);
    }

    /// From now on the nth call of this kind fails, counted from 1.
    pub fn arm(&self, call: Call, nth: u64, failure: Failure) {
        self.disarm();
        let kinds = match call {
            Call::Write => 1,
            Call::Sync => 2,
            Call::Read => 4,
        };
        let lasting = match failure {
            Failure::Lasting(time) | Failure::Stalled(time) => {
                i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
            }
            _ => 0,
        };
        let done = i64::from(failure == Failure::Done);
        let stalled = i64::from(matches!(failure, Failure::Stalled(_)));
        self.write(1, &[kinds, lasting, done, EIO, 0, 0, 0, stalled]);
        // Last: it is what arms.
        self.write(0, &[i64::try_from(nth).unwrap_or(i64::MAX)]);
    }

    /// From now on nothing fails. The count of failed calls stays.
    pub fn disarm(&self) {
        self.write(0, &[0]);
    }

    /// How many calls failed or stood still since it was armed.
    ///
    /// # Panics
    /// Where the control file cannot be read.
    #[must_use]
    pub fn hits(&self) -> u64 {
        let mut field = [0; 8];
        self.control.read_exact_at(&mut field, HITS * 8).expect("the control file can be read");
        u64::from_ne_bytes(field)
    }

    fn write(&self, first: u64, fields: &[i64]) {
        let bytes: Vec<u8> = fields.iter().flat_map(|field| field.to_ne_bytes()).collect();
        self.control.write_all_at(&bytes, first * 8).expect("the control file can be written");
    }
}
