//! Copies of the file while it is in use: all of one moment, and never half of one under its name.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result};
use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use super::{Location, Store};
use crate::error::{Error, ErrorKind};
use crate::part_file::{PartFile, directory_of};
use crate::progress::{Progress, Told};

/// Pages to a step: 4 MB, which takes a few milliseconds.
const STEP: i32 = 1_024;

impl Store {
    /// Copies the database to a path where there is nothing yet. Returns its bytes. One snapshot is read from the
    /// first page to the last.
    pub(crate) fn backup(&self, to: &Path, told: Told<'_>) -> Result<u64> {
        let (part, file) = self.new_file(to)?;
        drop(file);
        self.ask(|reader| copy(&reader.0, part.path(), told))?;
        Ok(part.finish()?)
    }

    /// A file with the mode of the database, at a path where there is nothing yet.
    pub(crate) fn new_file<'p>(&self, to: &'p Path) -> Result<(PartFile<'p>, File), Error> {
        if self.keeps(to) {
            return Err(Error::invalid("path", "is where SQLite keeps what is of the database"));
        }
        PartFile::create(to, self.options.file_mode)
    }
}

/// What SQLite keeps beside a file, or takes for a part of it where it finds it.
const BESIDE: [&str; 3] = ["-journal", "-shm", "-wal"];

impl Store {
    /// Whether a path is one of those, be there a file or not.
    fn keeps(&self, path: &Path) -> bool {
        let (Location::File(file), Some(name)) = (&self.location, path.file_name()) else {
            return false;
        };
        let (Ok(file), Ok(directory)) = (file.canonicalize(), directory_of(path).canonicalize())
        else {
            return false;
        };
        let path = directory.join(name);
        BESIDE.iter().any(|end| {
            let mut beside = file.clone().into_os_string();
            beside.push(end);
            path.as_os_str() == beside
        })
    }
}

fn copy(source: &Connection, path: &Path, told: Told<'_>) -> Result<()> {
    let snapshot = source.unchecked_transaction()?;
    // Without a read the snapshot is not taken yet, and what others write would have the copy start over.
    snapshot.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    let mut target = Connection::open(path)?;
    target.pragma_update(None, "synchronous", "OFF")?;
    let backup = Backup::new(&snapshot, &mut target)?;
    loop {
        let step = backup.step(STEP)?;
        let progress = backup.progress();
        let pages = |count: i32| u64::from(count.unsigned_abs());
        let done = pages(progress.pagecount - progress.remaining);
        if told(Progress::new(done, pages(progress.pagecount))).is_break() {
            return Err(Error::new(ErrorKind::Cancelled, "the copy was cancelled").into());
        }
        match step {
            StepResult::Done => break,
            StepResult::More => {}
            _ => anyhow::bail!("the copy cannot be written: it is locked"),
        }
    }
    drop(backup);
    // The copy is nobody's that ended without closing it.
    target.execute("DELETE FROM writers", [])?;
    target.close().map_err(|(_, error)| error).context("the copy cannot be closed")
}
