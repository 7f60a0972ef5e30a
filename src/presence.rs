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
    /// Takes the lock, and does `work`, telling it whether nobody else holds the lock while it works.
    pub(crate) fn announce<T>(
        database: &Path,
        mode: u32,
        work: impl FnOnce(bool) -> Result<T>,
    ) -> Result<(Self, T)> {
        let path = lock_path(database);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
        #[cfg(not(unix))]
        let _ = mode;
        let file = options.open(&path).context("the lock file cannot be opened")?;
        let alone = match file.try_lock() {
            Ok(()) => true,
            Err(TryLockError::WouldBlock) => {
                file.lock_shared()?;
                false
            }
            Err(TryLockError::Error(error)) => return Err(error.into()),
        };
        let done = work(alone)?;
        if alone {
            file.lock_shared()?;
        }
        Ok((Self { _file: file }, done))
    }
}

fn lock_path(database: &Path) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(".lock");
    PathBuf::from(path)
}
