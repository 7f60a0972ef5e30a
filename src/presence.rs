//! Whether anybody else has the same file open: a lock beside it, held as long as a tracker lives.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A shared lock on `<database>.lock`. The operating system lets go of it when the process ends, however
/// it ends.
#[derive(Debug)]
pub(crate) struct Presence {
    _file: File,
}

impl Presence {
    /// Takes the lock. `when_alone` runs first where nobody else holds it.
    pub(crate) fn announce(
        database: &Path,
        mode: u32,
        when_alone: impl FnOnce() -> Result<()>,
    ) -> Result<Self> {
        let path = lock_path(database);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
        #[cfg(not(unix))]
        let _ = mode;
        let file = options.open(&path).context("the lock file cannot be opened")?;
        match file.try_lock() {
            Ok(()) => when_alone()?,
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        // From exclusive to shared; another opener may come between and also find itself alone, which
        // does no harm: neither of us has written anything yet.
        file.lock_shared()?;
        Ok(Self { _file: file })
    }
}

fn lock_path(database: &Path) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(".lock");
    PathBuf::from(path)
}
