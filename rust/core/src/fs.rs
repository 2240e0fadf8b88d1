//! The file-system seam: six primitives, through which all access of core and executor goes.
//!
//! Each exists because of what shared file systems do (ARCHITECTURE.md, "Files"): names appear
//! whole or not at all, names are looked up by listing, data are read through a fresh descriptor,
//! every file has one writer, and an error of write or sync is final for that file.
#![allow(clippy::disallowed_methods, reason = "this module is the seam")]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::access::Access;
use crate::error::{Error, ErrorKind, Result};

/// Whether put-if-absent created the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    Won,
    /// Somebody else's file stands under that name.
    Lost,
}

pub trait Fs: Send + Sync {
    /// P1: the file appears whole under `path`, or another's file is already there.
    fn publish(&self, path: &Path, bytes: &[u8]) -> Result<Published>;
    /// P1 for many files, where one sync serves all.
    fn publish_each(&self, files: &[(PathBuf, Vec<u8>)]) -> Result<Vec<Published>> {
        files.iter().map(|(path, bytes)| self.publish(path, bytes)).collect()
    }
    /// P1 for many new files at once, where one sync serves all. Names must be new: random ones
    /// of this process, as nothing tells here that another's file stands under one.
    fn publish_all(&self, files: &[(PathBuf, Vec<u8>)]) -> Result<()>;
    /// P2: all names in a folder, read afresh; none where the folder is absent. Hidden names
    /// are left out.
    fn look(&self, folder: &Path) -> Result<Vec<String>>;
    /// P3: the bytes of `path` from `offset` to its end, through a descriptor of its own.
    fn tail(&self, path: &Path, offset: u64) -> Result<Vec<u8>>;
    /// Up to `length` bytes from `offset`, through a descriptor of its own.
    fn read(&self, path: &Path, offset: u64, length: usize) -> Result<Vec<u8>>;
    fn length(&self, path: &Path) -> Result<u64>;
    /// P4: opens a file that this process published, to append at `end`.
    fn append(&self, path: &Path, end: u64) -> Result<Box<dyn JournalFile>>;
    /// P5 through a reader's own descriptor.
    fn sync(&self, path: &Path) -> Result<()>;
    /// Makes a folder and its missing parents below an existing one; an existing one is fine.
    fn make_folder(&self, path: &Path) -> Result<()>;
    fn unlink(&self, path: &Path) -> Result<()>;
}

/// A file with one writer in its whole life.
pub trait JournalFile: Send {
    /// P4: writes all bytes at the writer's own counter. After an error the file is dead.
    fn append(&mut self, bytes: &[u8]) -> Result<()>;
    /// P5. After an error the file is dead.
    fn sync(&mut self) -> Result<()>;
    /// Where the next byte goes.
    fn end(&self) -> u64;
    fn is_dead(&self) -> bool;
    /// Gives the file up: what no sync has covered is somebody else's business from now on.
    fn abandon(&mut self);
}

/// The operating system's files.
#[derive(Clone, Copy, Debug)]
pub struct RealFs {
    pub access: Access,
}

impl RealFs {
    pub fn new(access: Access) -> Self {
        Self { access }
    }

    fn create_new(self, path: &Path) -> io::Result<File> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
            .open(path)?;
        file.set_permissions(fs::Permissions::from_mode(self.access.file_mode()))?;
        Ok(file)
    }

    /// Without hard links the final name itself is the claim.
    fn publish_exclusive(self, path: &Path, bytes: &[u8]) -> Result<Published> {
        match self.create_new(path) {
            Ok(mut file) => {
                file.write_all(bytes)
                    .and_then(|()| file.sync_all())
                    .map_err(|e| Error::io("write", path, &e))?;
                sync_folder(parent(path))?;
                Ok(Published::Won)
            }
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(Published::Lost),
            Err(e) => Err(Error::io("create", path, &e)),
        }
    }

    /// Whether a file in this folder can have two names.
    pub fn has_hard_links(self, folder: &Path) -> bool {
        let [file, name] = [(); 2].map(|()| folder.join(format!(".link-{}", token())));
        let linked = self.create_new(&file).and_then(|_| fs::hard_link(&file, &name)).is_ok();
        for path in [&file, &name] {
            let _gone = fs::remove_file(path);
        }
        linked
    }

    /// As [`Fs::make_folder`], and an error of kind `Exists` where the folder is there.
    pub fn make_new_folder(self, path: &Path) -> Result<()> {
        if let Some(above) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            self.make_folder(above)?;
        }
        let made = fs::DirBuilder::new().mode(0o700).create(path);
        made.map_err(|e| Error::io("make the folder", path, &e))?;
        let mode = fs::Permissions::from_mode(self.access.folder_mode());
        fs::set_permissions(path, mode).map_err(|e| Error::io("set the mode of", path, &e))?;
        sync_folder(parent(path))
    }

    fn write_temporary(self, path: &Path, bytes: &[u8], sync: bool) -> Result<(PathBuf, File)> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let temporary = path.with_file_name(format!(".{name}.{}", token()));
        let written = self.create_new(&temporary).and_then(|mut file| {
            file.write_all(bytes)?;
            if sync {
                file.sync_all()?;
            }
            Ok(file)
        });
        written.map(|file| (temporary.clone(), file)).map_err(|e| {
            let _gone = fs::remove_file(&temporary);
            Error::io("write", path, &e)
        })
    }

    /// One for each file, made durable by one sync; after an error, those made so far are named.
    fn write_temporaries(
        self,
        files: &[(PathBuf, Vec<u8>)],
        temporaries: &mut Vec<PathBuf>,
    ) -> Result<()> {
        for (path, bytes) in files {
            temporaries.push(self.write_temporary(path, bytes, false)?.0);
        }
        sync_file_system(&files[0].0)
    }
}

/// 128 random bits as hex.
pub fn token() -> String {
    let mut bytes = [0u8; 16];
    fill_random(&mut bytes);
    hex(&bytes)
}

/// Two digits a byte.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// Bytes from the operating system's generator, which Linux always has.
pub fn fill_random(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the kernel's random generator answers");
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn sync_folder(folder: &Path) -> Result<()> {
    let synced = File::open(folder).and_then(|f| f.sync_all());
    match synced {
        Ok(()) => Ok(()),
        // Some file systems cannot sync a folder; the name is then as durable as they make it.
        Err(e) if matches!(e.raw_os_error(), Some(libc::EINVAL | libc::ENOTSUP)) => Ok(()),
        Err(e) => Err(Error::io("sync the folder", folder, &e)),
    }
}

fn no_hard_links(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EPERM | libc::EOPNOTSUPP | libc::ENOSYS))
}

impl Fs for RealFs {
    fn publish(&self, path: &Path, bytes: &[u8]) -> Result<Published> {
        let (temporary, file) = self.write_temporary(path, bytes, true)?;
        match link(&temporary, &file, path)? {
            Some(Published::Won) => sync_folder(parent(path)).map(|()| Published::Won),
            Some(Published::Lost) => Ok(Published::Lost),
            None => self.publish_exclusive(path, bytes),
        }
    }

    fn publish_each(&self, files: &[(PathBuf, Vec<u8>)]) -> Result<Vec<Published>> {
        if files.len() < FEW {
            return files.iter().map(|(path, bytes)| self.publish(path, bytes)).collect();
        }
        let mut temporaries = Vec::with_capacity(files.len());
        let published = self.write_temporaries(files, &mut temporaries).and_then(|()| {
            let each =
                files.iter().zip(&temporaries).map(|((path, bytes), temporary)| {
                    match link(temporary, &open(temporary)?, path)? {
                        Some(published) => Ok(published),
                        None => self.publish_exclusive(path, bytes),
                    }
                });
            each.collect::<Result<Vec<_>>>()
        });
        for temporary in &temporaries {
            let _gone = fs::remove_file(temporary);
        }
        published.and_then(|each| sync_file_system(&files[0].0).map(|()| each))
    }

    fn publish_all(&self, files: &[(PathBuf, Vec<u8>)]) -> Result<()> {
        if files.len() < FEW {
            return files.iter().try_for_each(|(path, bytes)| match self.publish(path, bytes)? {
                Published::Won => Ok(()),
                Published::Lost => Err(taken(path)),
            });
        }
        let mut temporaries = Vec::with_capacity(files.len());
        let published = self
            .write_temporaries(files, &mut temporaries)
            .and_then(|()| rename_all(files, &temporaries))
            .and_then(|()| sync_file_system(&files[0].0));
        if published.is_err() {
            let ours = files.iter().take(temporaries.len()).map(|(path, _)| path);
            for path in ours.chain(&temporaries) {
                let _gone = fs::remove_file(path);
            }
        }
        published
    }

    fn look(&self, folder: &Path) -> Result<Vec<String>> {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(Error::io("list", folder, &e)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|e| Error::io("list", folder, &e))?;
            match entry.file_name().into_string() {
                Ok(name) if !name.starts_with('.') => names.push(name),
                _ => {}
            }
        }
        Ok(names)
    }

    fn tail(&self, path: &Path, offset: u64) -> Result<Vec<u8>> {
        let file = open(path)?;
        let length = file.metadata().map_err(|e| Error::io("stat", path, &e))?.len();
        let wanted = usize::try_from(length.saturating_sub(offset)).unwrap_or(usize::MAX);
        read_at(&file, path, offset, wanted)
    }

    fn read(&self, path: &Path, offset: u64, length: usize) -> Result<Vec<u8>> {
        let file = open(path)?;
        let end = file.metadata().map_err(|e| Error::io("stat", path, &e))?.len();
        let available = usize::try_from(end.saturating_sub(offset)).unwrap_or(usize::MAX);
        read_at(&file, path, offset, length.min(available))
    }

    fn length(&self, path: &Path) -> Result<u64> {
        open(path)?.metadata().map(|m| m.len()).map_err(|e| Error::io("stat", path, &e))
    }

    fn append(&self, path: &Path, end: u64) -> Result<Box<dyn JournalFile>> {
        let file = OpenOptions::new()
            .write(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
            .open(path)
            .map_err(|e| Error::io("open", path, &e))?;
        let (path, pid) = (path.to_owned(), std::process::id());
        Ok(Box::new(RealJournal { file, path, end, dirty: false, dead: false, pid }))
    }

    fn sync(&self, path: &Path) -> Result<()> {
        open(path)?.sync_data().map_err(|e| Error::io("sync", path, &e))
    }

    fn make_folder(&self, path: &Path) -> Result<()> {
        if path.is_dir() {
            return Ok(());
        }
        match self.make_new_folder(path) {
            Err(e) if e.kind() == ErrorKind::Exists => Ok(()),
            other => other,
        }
    }

    fn unlink(&self, path: &Path) -> Result<()> {
        match fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", path, &e)),
            _ => Ok(()),
        }
    }
}

/// Fewer files than this are synced one by one.
const FEW: usize = 8;

/// Gives a whole file its name, and takes the temporary one away; none without hard links.
fn link(temporary: &Path, file: &File, path: &Path) -> Result<Option<Published>> {
    let linked = fs::hard_link(temporary, path);
    // A retransmitted request can be answered with an error although it was done.
    let won = linked.is_ok() || file.metadata().is_ok_and(|m| m.nlink() == 2);
    let _gone = fs::remove_file(temporary);
    match linked {
        Err(e) if !won && e.kind() == io::ErrorKind::AlreadyExists => Ok(Some(Published::Lost)),
        Err(e) if !won && no_hard_links(&e) => Ok(None),
        Err(e) if !won => Err(Error::io("publish", path, &e)),
        _ => Ok(Some(Published::Won)),
    }
}

fn taken(path: &Path) -> Error {
    Error::new(ErrorKind::Exists, format!("`{}` is already there", path.display())).at(path)
}

/// The names are new and random, so a rename replaces nothing; it is half of a link's work.
fn rename_all(files: &[(PathBuf, Vec<u8>)], temporaries: &[PathBuf]) -> Result<()> {
    files.iter().zip(temporaries).try_for_each(|((path, _), temporary)| {
        match fs::rename(temporary, path) {
            Ok(()) => Ok(()),
            // A retransmitted request can be answered with an error although it was done.
            Err(_) if fs::symlink_metadata(path).is_ok() && !temporary.exists() => Ok(()),
            Err(e) => Err(Error::io("publish", path, &e)),
        }
    })
}

#[expect(unsafe_code, reason = "the standard library has no syncfs")]
fn sync_file_system(inside: &Path) -> Result<()> {
    let folder = parent(inside);
    let file = File::open(folder).map_err(|e| Error::io("open", folder, &e))?;
    // SAFETY: the descriptor is open for the whole call.
    if unsafe { libc::syncfs(file.as_raw_fd()) } == 0 {
        return Ok(());
    }
    Err(Error::io("sync the file system of", folder, &io::Error::last_os_error()))
}

fn open(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC);
    let opened = match options.open(path) {
        // A stale handle is no answer; listing the folder afresh makes the next one true.
        Err(e) if e.raw_os_error() == Some(libc::ESTALE) => {
            fs::read_dir(parent(path)).and_then(|_| options.open(path))
        }
        other => other,
    };
    opened.map_err(|e| Error::io("open", path, &e))
}

fn read_at(file: &File, path: &Path, offset: u64, wanted: usize) -> Result<Vec<u8>> {
    // A damaged length must not allocate more than the file can hold, so `wanted` is bounded
    // by the caller with the file's own length.
    let mut bytes = Vec::with_capacity(wanted);
    let mut part = PositionedReader { file, offset }.take(wanted as u64);
    part.read_to_end(&mut bytes).map_err(|e| Error::io("read", path, &e))?;
    Ok(bytes)
}

struct PositionedReader<'a> {
    file: &'a File,
    offset: u64,
}

impl Read for PositionedReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}

struct RealJournal {
    file: File,
    path: PathBuf,
    end: u64,
    dirty: bool,
    dead: bool,
    /// A forked child drops its copy as it is.
    pid: u32,
}

impl RealJournal {
    fn ensure_alive(&self) -> Result<()> {
        if !self.dead {
            return Ok(());
        }
        let what = format!("`{}` failed before and is not written again", self.path.display());
        Err(Error::new(ErrorKind::Io, what).at(&self.path))
    }
}

impl JournalFile for RealJournal {
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.ensure_alive()?;
        self.dirty = true;
        if let Err(e) = self.file.write_all_at(bytes, self.end) {
            self.dead = true;
            return Err(Error::io("append to", &self.path, &e));
        }
        self.end += bytes.len() as u64;
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        self.ensure_alive()?;
        if !self.dirty {
            return Ok(());
        }
        if let Err(e) = self.file.sync_data() {
            self.dead = true;
            return Err(Error::io("sync", &self.path, &e));
        }
        self.dirty = false;
        Ok(())
    }

    fn end(&self) -> u64 {
        self.end
    }

    fn is_dead(&self) -> bool {
        self.dead
    }

    fn abandon(&mut self) {
        self.dead = true;
    }
}

impl Drop for RealJournal {
    fn drop(&mut self) {
        debug_assert!(
            !self.dirty || self.dead || self.pid != std::process::id() || std::thread::panicking(),
            "`{}` was dropped with unsynced frames",
            self.path.display()
        );
    }
}
