//! Files that have their name only once they are whole.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind};
use crate::secret::random;

/// A file under a name of its own until it is whole. Removed where that never comes.
pub(crate) struct PartFile<'p> {
    path: PathBuf,
    to: &'p Path,
}

impl<'p> PartFile<'p> {
    /// For a path where there is nothing yet, open to be written.
    pub(crate) fn create(to: &'p Path, mode: u32) -> Result<(Self, File), Error> {
        if fs::symlink_metadata(to).is_ok() {
            return Err(exists());
        }
        let spelling = to.as_os_str().as_encoded_bytes();
        let name = to.file_name().filter(|name| spelling.ends_with(name.as_encoded_bytes()));
        let name = name.ok_or_else(|| Error::invalid("path", "must name a file"))?;
        let mut part = name.to_owned();
        part.push(format!(".{:016x}.part", u64::from_le_bytes(random::<8>()?)));
        let path = to.with_file_name(part);
        let file = create_private(&path, mode).map_err(|error| {
            Error::invalid("path", "is where no file can be created").with_source(error.into())
        })?;
        Ok((Self { path, to }, file))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it its name, if that is still free, once all of it is on the disk. Returns its bytes.
    pub(crate) fn finish(self) -> Result<u64, Error> {
        let failed = |error: io::Error| {
            let message = "what was written cannot be brought to the disk";
            Error::new(ErrorKind::Storage, message).with_source(error.into())
        };
        let bytes = self.sync().map_err(failed)?;
        fs::hard_link(&self.path, self.to).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => exists(),
            _ => Error::new(ErrorKind::Storage, "what was written cannot be given its name")
                .with_source(error.into()),
        })?;
        #[cfg(unix)]
        File::open(directory_of(self.to))
            .and_then(|directory| directory.sync_all())
            .map_err(failed)?;
        Ok(bytes)
    }

    fn sync(&self) -> io::Result<u64> {
        let file = File::open(&self.path)?;
        file.sync_all()?;
        Ok(file.metadata()?.len())
    }
}

impl Drop for PartFile<'_> {
    fn drop(&mut self) {
        // Under its own name it stays; under this one it is of no use.
        for end in ["", "-journal", "-wal", "-shm"] {
            let mut path = self.path.clone().into_os_string();
            path.push(end);
            let _ = fs::remove_file(path);
        }
    }
}

fn exists() -> Error {
    Error::invalid("path", "exists already")
}

pub(crate) fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Creates a file that nobody else can read even for a moment, where there is none.
pub(crate) fn create_private(path: &Path, mode: u32) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode;
    options.open(path)
}
