//! Whether a folder's file system keeps what a registry stands on: a name has one maker, a look
//! is fresh, and what was appended is read back.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::thread;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::fs::{Fs, Published, token};

/// What a registry's folder lies on, as it was when the registry was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSystem {
    /// Such as `ext4` or `nfs4`; empty if unknown.
    #[serde(rename = "type")]
    pub kind: String,
    /// Those of its mount.
    pub options: String,
    /// Whether a file can have two names.
    pub hard_links: bool,
}

/// Tries the folder's file system, in well under a second, and leaves nothing behind.
pub fn probe(fs: &dyn Fs, folder: &Path) -> Result<FileSystem> {
    let found = mounted_at(folder);
    let file = folder.join(format!("probe-{}", token()));
    let tried = try_file(fs, &file);
    fs.unlink(&file)?;
    match tried? {
        None => Ok(found),
        Some(fault) => Err(unfit(folder, &found, fault)),
    }
}

/// What the file system does not keep.
fn try_file(fs: &dyn Fs, file: &Path) -> Result<Option<&'static str>> {
    let contenders: [&[u8]; 2] = [b"first", b"other"];
    let start = Barrier::new(contenders.len());
    let published = thread::scope(|scope| {
        let publish = |bytes: &'static [u8]| {
            start.wait();
            fs.publish(file, bytes)
        };
        let [first, other] = contenders.map(|bytes| scope.spawn(move || publish(bytes)));
        [first, other].map(|contender| contender.join().expect("publishing does not panic"))
    });
    let [first, other] = published;
    let (first, other) = (first?, other?);
    if (first == Published::Won) == (other == Published::Won) {
        return Ok(Some("two writers made one file, and not exactly one of them was told so"));
    }
    let winner = contenders[usize::from(other == Published::Won)];
    let folder = file.parent().expect("it lies in a folder");
    let name = file.file_name().expect("it has a name").to_string_lossy();
    if !fs.look(folder)?.iter().any(|found| *found == name) {
        return Ok(Some("a file that was just made is not in the list of its folder"));
    }
    if fs.tail(file, 0)? != winner {
        return Ok(Some("a file does not hold what its maker wrote"));
    }
    let mut open = fs.append(file, winner.len() as u64)?;
    open.append(b" and more")?;
    open.sync()?;
    drop(open);
    if fs.tail(file, winner.len() as u64)? != b" and more" {
        return Ok(Some("what was appended to a file and synced is not read back"));
    }
    Ok(None)
}

fn unfit(folder: &Path, found: &FileSystem, fault: &str) -> Error {
    let kind = if found.kind.is_empty() { "unknown" } else { &found.kind };
    let what = format!("`{}` cannot hold a registry: {fault} (type {kind})", folder.display());
    Error::new(ErrorKind::Invalid, what)
        .at(folder)
        .hint("choose a folder on a local disk or on the cluster's shared file system")
}

/// Type and options of the mount that holds the folder.
#[expect(clippy::disallowed_methods, reason = "the kernel's table of mounts is no file")]
fn mounted_at(folder: &Path) -> FileSystem {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let holding = mounts.lines().filter_map(mount).filter(|(at, _)| folder.starts_with(at));
    // Of two mounts at one place the later one counts.
    let newest = holding.fold(None, |best: Option<(PathBuf, FileSystem)>, next| match best {
        Some(best) if best.0.components().count() > next.0.components().count() => Some(best),
        _ => Some(next),
    });
    newest.map(|(_, found)| found).unwrap_or_default()
}

/// Where a line of `mountinfo` is mounted, and what (proc(5): fields 5 and 6, and behind the dash
/// the type and the options of the file system itself).
fn mount(line: &str) -> Option<(PathBuf, FileSystem)> {
    let (fields, behind) = line.split_once(" - ")?;
    let mut fields = fields.split(' ').skip(4);
    let at = fields.next()?.replace("\\040", " ");
    let own = fields.next()?;
    let mut behind = behind.split(' ');
    let kind = behind.next()?.to_owned();
    let options = format!("{own},{}", behind.nth(1).unwrap_or_default());
    Some((PathBuf::from(at), FileSystem { kind, options, hard_links: false }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Access;
    use crate::fs::{JournalFile, RealFs};

    /// A file system that breaks one promise.
    struct Lying {
        real: RealFs,
        lie: &'static str,
    }

    impl Fs for Lying {
        fn publish(&self, path: &Path, bytes: &[u8]) -> Result<Published> {
            let published = self.real.publish(path, bytes)?;
            Ok(if self.lie == "names" { Published::Won } else { published })
        }
        fn publish_all(&self, files: &[(PathBuf, Vec<u8>)]) -> Result<()> {
            self.real.publish_all(files)
        }
        fn look(&self, folder: &Path) -> Result<Vec<String>> {
            if self.lie == "looks" { Ok(Vec::new()) } else { self.real.look(folder) }
        }
        fn tail(&self, path: &Path, offset: u64) -> Result<Vec<u8>> {
            if self.lie == "reads" && offset > 0 {
                return Ok(Vec::new());
            }
            self.real.tail(path, offset)
        }
        fn read(&self, path: &Path, offset: u64, length: usize) -> Result<Vec<u8>> {
            self.real.read(path, offset, length)
        }
        fn length(&self, path: &Path) -> Result<u64> {
            self.real.length(path)
        }
        fn append(&self, path: &Path, end: u64) -> Result<Box<dyn JournalFile>> {
            self.real.append(path, end)
        }
        fn sync(&self, path: &Path) -> Result<()> {
            self.real.sync(path)
        }
        fn make_folder(&self, path: &Path) -> Result<()> {
            self.real.make_folder(path)
        }
        fn unlink(&self, path: &Path) -> Result<()> {
            self.real.unlink(path)
        }
    }

    fn lying(lie: &'static str) -> (tempfile::TempDir, Result<FileSystem>) {
        let folder = tempfile::tempdir().expect("a folder");
        let found = probe(&Lying { real: RealFs::new(Access::Private), lie }, folder.path());
        (folder, found)
    }

    fn names_in(folder: &Path) -> Vec<String> {
        RealFs::new(Access::Private).look(folder).expect("listed")
    }

    #[test]
    fn a_disk_passes_and_keeps_nothing() {
        let (folder, found) = lying("nothing");
        let found = found.expect("it is fit");
        assert_ne!(found.kind, "");
        assert_eq!(names_in(folder.path()), Vec::<String>::new());
    }

    #[test]
    fn each_broken_promise_is_named() {
        for (lie, said) in [("names", "two writers"), ("looks", "list"), ("reads", "appended")] {
            let (folder, found) = lying(lie);
            let message = found.expect_err("it is unfit").to_string();
            assert!(message.contains(said), "{lie}: {message}");
            assert_eq!(names_in(folder.path()), Vec::<String>::new());
        }
    }

    #[test]
    fn a_mount_is_read_as_the_kernel_writes_it() {
        let line = r"36 35 98:0 /mnt1 /home/a\040b rw,noatime master:1 - nfs4 srv:/x rw,vers=4.2";
        let (at, found) = mount(line).expect("a mount");
        assert_eq!(at, Path::new("/home/a b"));
        assert_eq!(
            (found.kind.as_str(), found.options.as_str()),
            ("nfs4", "rw,noatime,rw,vers=4.2")
        );
        assert_eq!(mount("nonsense"), None);
    }
}
