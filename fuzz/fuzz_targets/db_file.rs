//! A database file with arbitrary damage, in the file, in its write-ahead log or in its cells: either it does
//! not open, with an error that says why, or every call gives an answer or such an error, and no token is
//! allowed that the good file would refuse. A difference is a service that a bad sector brings down, or one
//! that lets a revoked token in because it cannot read that it is.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use token_tracker_fuzz::damage::Damage;
use token_tracker_fuzz::file_trial;
use token_tracker_fuzz::good_file::GoodFile;

static GOOD: LazyLock<GoodFile> = LazyLock::new(GoodFile::new);

fuzz_target!(|damage: Damage<'_>| file_trial::run(&GOOD, &damage));
