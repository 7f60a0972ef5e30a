//! Network file systems, where the operating system tells: SQLite's locks and shared memory do not work there.

use std::path::{Path, PathBuf};

/// Kinds of file systems that are elsewhere, as Linux names them.
const REMOTE: [&str; 14] = [
    "9p",
    "afs",
    "beegfs",
    "ceph",
    "cifs",
    "fuse.glusterfs",
    "fuse.s3fs",
    "fuse.sshfs",
    "glusterfs",
    "lustre",
    "ncpfs",
    "nfs",
    "nfs4",
    "smb3",
];

/// The kind of network file system that a path is on, where that can be told: on Linux, from the mounts of this
/// process.
pub(crate) fn remote_file_system(path: &Path) -> Option<String> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new(".")).canonicalize().ok()?;
    let place = path.file_name().map_or(folder.clone(), |name| folder.join(name));
    kind_of(&place.canonicalize().unwrap_or(place), &mounts)
        .filter(|kind| REMOTE.contains(kind))
        .map(str::to_owned)
}

/// The kind of the file system at a path: of the mount with the longest path above it, the last of them where
/// several stand on one another.
fn kind_of<'m>(path: &Path, mounts: &'m str) -> Option<&'m str> {
    let above = mounts.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mounted_at = unescaped(before.split(' ').nth(4)?);
        path.starts_with(&mounted_at).then_some((mounted_at.as_os_str().len(), after))
    });
    let (_, after) = above.max_by_key(|(length, _)| *length)?;
    after.split(' ').next()
}

/// Spaces and the like are octal in the list of mounts.
fn unescaped(text: &str) -> PathBuf {
    let escapes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    escapes.iter().fold(text.to_owned(), |text, (octal, plain)| text.replace(octal, plain)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
30 22 0:26 / /srv rw - tmpfs tmpfs rw
31 30 0:27 / /srv/shared\\040data rw,relatime - nfs4 10.0.0.1:/export rw
32 22 0:28 / /home rw master:1 - cifs //host/home rw
33 32 0:29 / /home rw - ext4 /dev/vdb rw";

    #[test]
    fn longest_mount_above_a_path_tells_its_file_system() {
        let kind = |path: &str| kind_of(Path::new(path), MOUNTS);
        assert_eq!(kind("/var/lib/tokens.db"), Some("ext4"));
        assert_eq!(kind("/srv/tokens.db"), Some("tmpfs"));
        assert_eq!(kind("/srv/shared data/tokens.db"), Some("nfs4"));
        assert_eq!(kind("/srv/shared data2/tokens.db"), Some("tmpfs"));
        assert_eq!(
            kind("/home/me/tokens.db"),
            Some("ext4"),
            "what is mounted last covers the rest"
        );
    }

    #[test]
    fn local_path_is_not_remote() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(remote_file_system(&directory.path().join("tokens.db")), None);
        assert_eq!(remote_file_system(Path::new("/nowhere/at/all.db")), None);
    }
}
