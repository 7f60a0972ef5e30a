//! Copies of the file while it is in use: all of one moment, and never half of one under its name.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use super::{Location, Store, create_private};
use crate::error::{Error, ErrorKind};
use crate::progress::{Progress, Told};
use crate::secret::random;

/// Pages to a step: 4 MB, which takes a few milliseconds.
const STEP: i32 = 1_024;

impl Store {
    /// Copies the database to a path where there is nothing yet. Returns its bytes. One snapshot is read from the
    /// first page to the last.
    pub(crate) fn backup(&self, to: &Path, told: Told<'_>) -> Result<u64> {
        if self.keeps(to) {
            return Err(
                Error::invalid("path", "is where SQLite keeps what is of the database").into()
            );
        }
        let part = Part::create(to, self.options.file_mode)?;
        self.ask(|reader| copy(&reader.0, &part.path, told))?;
        part.finish()
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

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
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

/// A file under a name of its own until it is whole. Removed where that never comes.
struct Part<'p> {
    path: PathBuf,
    to: &'p Path,
}

impl<'p> Part<'p> {
    fn create(to: &'p Path, mode: u32) -> Result<Self> {
        let exists = || Error::invalid("path", "exists already");
        if fs::symlink_metadata(to).is_ok() {
            return Err(exists().into());
        }
        let spelling = to.as_os_str().as_encoded_bytes();
        let name = to.file_name().filter(|name| spelling.ends_with(name.as_encoded_bytes()));
        let name = name.ok_or_else(|| Error::invalid("path", "must name a file"))?;
        let mut part = name.to_owned();
        part.push(format!(".{:016x}.part", u64::from_le_bytes(random::<8>()?)));
        let part = Self { path: to.with_file_name(part), to };
        create_private(&part.path, mode).map_err(|error| {
            Error::invalid("path", "is where no file can be created").with_source(error)
        })?;
        Ok(part)
    }

    /// Gives it its name, if that is still free.
    fn finish(self) -> Result<u64> {
        let file = File::open(&self.path)?;
        file.sync_all()?;
        let bytes = file.metadata()?.len();
        fs::hard_link(&self.path, self.to).map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => Error::invalid("path", "exists already"),
            _ => Error::new(ErrorKind::Storage, "the copy cannot be given its name")
                .with_source(error.into()),
        })?;
        #[cfg(unix)]
        File::open(directory_of(self.to))?.sync_all()?;
        Ok(bytes)
    }
}

impl Drop for Part<'_> {
    fn drop(&mut self) {
        // Under its own name it stays; under this one it is of no use.
        for end in ["", "-journal", "-wal", "-shm"] {
            let mut path = self.path.clone().into_os_string();
            path.push(end);
            let _ = fs::remove_file(path);
        }
    }
}
