//! File systems of a test's own, where mounting is allowed. They are unmounted with their handle.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::compile::compile;

/// A small file system in memory.
pub struct Tmpfs {
    place: Place,
}

/// A file system with a journal, on a block device that is a file.
pub struct Ext4 {
    place: Place,
    image: PathBuf,
    cutter: PathBuf,
}

/// A directory that something is mounted at.
struct Place {
    directory: TempDir,
}

/// A file that takes all the room there is.
pub struct Filler(PathBuf);

impl Tmpfs {
    /// Mounts one; `None`, said aloud, where that is not allowed.
    #[must_use]
    pub fn mount(megabytes: u32) -> Option<Self> {
        let place = Place::new();
        let size = format!("size={megabytes}m");
        let point = place.point();
        let mounted = run(
            "mount",
            [
                "-t".as_ref(),
                "tmpfs".as_ref(),
                "-o".as_ref(),
                size.as_ref(),
                "none".as_ref(),
                point.as_os_str(),
            ],
        );
        or_skip(mounted, "a file system in memory cannot be mounted").then_some(Self { place })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.place.point()
    }

    /// Makes it read-only, or writable again. Files that are open for writing stand in the way of the first.
    ///
    /// # Panics
    /// Where that fails.
    pub fn remount(&self, access: &str) {
        let point = self.path();
        let options = format!("remount,{access}");
        let done = run("mount", ["-o".as_ref(), options.as_ref(), point.as_os_str()]);
        assert!(done, "it cannot be remounted {access}");
    }

    /// Takes all the room, until the filler is dropped.
    ///
    /// # Panics
    /// Where there is no end of it.
    #[must_use]
    pub fn fill(&self) -> Filler {
        let path = self.path().join("filler");
        let mut file = File::create(&path).expect("a file can be made");
        let megabyte = vec![0xAA; 1 << 20];
        let filler = Filler(path);
        for size in [1 << 20, 1 << 12, 1] {
            while file.write_all(&megabyte[..size]).is_ok() {}
        }
        filler
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Ext4 {
    /// Makes and mounts one; `None`, said aloud, where that is not allowed.
    #[must_use]
    pub fn make(megabytes: u64) -> Option<Self> {
        let place = Place::new();
        let image = place.directory.path().join("image");
        let file = File::create(&image).expect("a file can be made");
        file.set_len(megabytes << 20).expect("it can be sparse");
        let made = run("mkfs.ext4", ["-q".as_ref(), "-F".as_ref(), image.as_os_str()]);
        let cutter = place.directory.path().join("cut");
        compile("cut.c", &[], &cutter);
        let disk = Self { place, image, cutter };
        or_skip(made && disk.mount(), "an image of a disk cannot be mounted").then_some(disk)
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.place.point()
    }

    /// Mounts it, replaying its journal.
    #[must_use]
    pub fn mount(&self) -> bool {
        let point = self.path();
        run("mount", ["-o".as_ref(), "loop".as_ref(), self.image.as_os_str(), point.as_os_str()])
    }

    /// Cuts the power: what is not on the disk at this moment will not be. Returns whether that can be done.
    #[must_use]
    pub fn cut(&self) -> bool {
        let point = self.path();
        or_skip(run(&self.cutter, [point.as_os_str()]), "the power cannot be cut")
    }

    /// Unmounts it, once nobody has a file in it open.
    pub fn unmount(&self) {
        self.place.unmount();
    }

    /// Whether files can be changed: those given, whoever has them open, and by the directory's entry what is
    /// in it. The file system itself cannot be made read-only while they are open for writing.
    ///
    /// # Panics
    /// Where that fails.
    pub fn set_immutable(&self, flag: &str, files: &[&Path]) {
        let files = files.iter().map(|file| file.as_os_str());
        assert!(run("chattr", std::iter::once(flag.as_ref()).chain(files)), "chattr {flag}");
    }
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("there is a directory for temporary files");
        std::fs::create_dir(directory.path().join("mount")).expect("it is empty");
        Self { directory }
    }

    fn point(&self) -> PathBuf {
        self.directory.path().join("mount")
    }

    /// In the end without waiting for those who still have it open.
    fn unmount(&self) {
        let point = self.point();
        for _ in 0..50 {
            if !is_mounted(&point) || run("umount", [point.as_os_str()]) {
                return;
            }
            crate::moment::pause(20);
        }
        let _ = run("umount", ["-l".as_ref(), point.as_os_str()]);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.unmount();
    }
}

fn is_mounted(point: &Path) -> bool {
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    mounts.lines().any(|line| line.split(' ').nth(1) == point.to_str())
}

fn run<'a>(program: impl AsRef<OsStr>, args: impl IntoIterator<Item = &'a OsStr>) -> bool {
    let mut command = Command::new(program);
    command.args(args).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Past the test harness, which keeps what passing tests print to itself.
fn or_skip(done: bool, what: &str) -> bool {
    if !done {
        let _ = writeln!(std::io::stderr(), "SKIPPED: {what} here");
    }
    done
}
