//! An opened registry: its tables in memory, its journal on disk, and the right to write.
//!
//! Every change is a record that is written, synced and then applied to the tables, in that
//! order. A handle opened for reading applies what it finds in run files to its own tables only.

mod collecting;
#[cfg(feature = "arrow")]
mod defining;
#[cfg(feature = "arrow")]
mod experimenting;
mod giving_up;
#[cfg(feature = "arrow")]
pub mod job_table;
mod loading;
mod looking;
mod maintenance;
mod merging;
pub mod ownership;
mod requesting;
#[cfg(feature = "arrow")]
mod result_table;
mod silence;
#[cfg(feature = "arrow")]
mod submitting;
mod syncing;
mod telling;
mod writing;

pub use collecting::{Ended, LogReader, ResultReader};
#[cfg(feature = "arrow")]
pub use experimenting::{Added, Design, Given};
pub use giving_up::Patience;
pub use looking::{Listed, TaskId};
#[cfg(feature = "arrow")]
pub use submitting::{Plan, PlannedChunk};
pub use telling::RunTold;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Interrupted;
use crate::access::Access;
use crate::clock::{Clock, SystemClock};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{Fs, Published, RealFs, token};
use crate::journal::Adopt;
use crate::layout::Layout;
use crate::probe::{FileSystem, probe};
use crate::queue::RequestFile;
use crate::seal::{self, Seal};
use crate::tables::Tables;

use loading::Loaded;
use looking::Looks;
use ownership::{Lease, Owner, Standing};
use writing::Writer;

/// `registry.json`: written once, when the registry is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityFile {
    pub format: u32,
    pub version: String,
    pub uuid: String,
    pub kind: String,
    pub seed: i64,
    pub access: Access,
    /// Those made before there was a probe have none.
    #[serde(default)]
    pub file_system: Option<FileSystem>,
}

impl IdentityFile {
    /// Of a new registry.
    pub fn new(kind: &str, seed: i64, access: Access) -> Self {
        Self {
            format: FORMAT,
            version: crate::VERSION.to_owned(),
            uuid: token(),
            kind: kind.to_owned(),
            seed,
            access,
            file_system: None,
        }
    }
}

/// The version of the layout and of the files that hold no version of their own.
const FORMAT: u32 = 1;

pub struct Registry {
    fs: Arc<dyn Fs>,
    clock: Arc<dyn Clock>,
    layout: Layout,
    identity: IdentityFile,
    user: String,
    displaced: Option<Owner>,
    /// The process that opened it.
    pid: u32,
    inner: Mutex<Inner>,
    /// Requests files of this owner by host.
    requests: Mutex<HashMap<String, RequestFile>>,
    #[cfg(feature = "arrow")]
    segments: Mutex<HashMap<(u64, u32), Arc<crate::segments::Segment>>>,
    #[cfg(feature = "arrow")]
    designs: Mutex<HashMap<crate::experiments::DesignRef, Arc<Design>>>,
}

struct Inner {
    tables: Tables,
    looks: Looks,
    role: Role,
    place: loading::Place,
    epoch: u64,
    /// As a reader saw it last: epoch, segment, length.
    newest_journal: Option<(u64, u32, u64)>,
    /// Journal bytes since the newest snapshot, and that snapshot's size.
    since_snapshot: u64,
    snapshot: u64,
    /// More journal bytes to wait for after a snapshot failed.
    postponed: u64,
}

enum Role {
    Owner(Box<Writer>),
    Reader,
    /// Owned once; says why no more.
    Lost(String),
    Closed,
}

/// Handles of this process that own a registry, by folder: a second one follows the first.
static OWNED: Mutex<Vec<(PathBuf, Weak<Registry>)>> = Mutex::new(Vec::new());

fn owned() -> MutexGuard<'static, Vec<(PathBuf, Weak<Registry>)>> {
    OWNED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How a registry shall be opened.
#[derive(Clone, Copy, Debug)]
pub struct Opening<'a> {
    pub writeable: bool,
    pub break_lock: bool,
    pub lease: Lease,
    /// For the owner's file.
    pub user: &'a str,
}

impl Registry {
    /// Makes the folder, which must not exist, and owns it.
    pub fn create(
        path: &Path,
        kind: &str,
        seed: i64,
        access: Access,
        opening: Opening<'_>,
    ) -> Result<Arc<Self>> {
        refuse_existing(path)?;
        let fs = RealFs::new(access);
        fs.make_new_folder(path).map_err(|e| match e.kind() {
            ErrorKind::Exists => exists(path),
            _ => e,
        })?;
        let root = path.canonicalize().map_err(|e| Error::io("find", path, &e))?;
        let made = probe(&fs, &root).and_then(|found| {
            let hard_links = fs.has_hard_links(&root);
            let file_system = Some(FileSystem { hard_links, ..found });
            let identity = IdentityFile { file_system, ..IdentityFile::new(kind, seed, access) };
            Self::create_with(Arc::new(fs), Arc::new(SystemClock), &root, identity, opening)
        });
        if made.is_err() {
            let _gone = maintenance::remove_tree(path);
        }
        made
    }

    /// As [`Self::create`], on given files and clocks. `root` is there, empty and canonical.
    pub fn create_with(
        fs: Arc<dyn Fs>,
        clock: Arc<dyn Clock>,
        root: &Path,
        identity: IdentityFile,
        opening: Opening<'_>,
    ) -> Result<Arc<Self>> {
        let layout = Layout::new(root);
        layout.folders().iter().try_for_each(|folder| fs.make_folder(folder))?;
        let registry = Self::assemble(fs, clock, layout, identity, opening, None);
        registry.follow(1, opening.lease)?;
        // Last, so that a folder is a registry only when it is whole.
        let json = seal::json(&registry.identity).expect("plain data serialises");
        match registry.fs.publish(&registry.layout.identity(), &json)? {
            Published::Won => Ok(registry),
            Published::Lost => Err(exists(root)),
        }
    }

    /// Opens an existing registry. `interrupted` is asked while another owner is waited for.
    pub fn open(
        path: &Path,
        opening: Opening<'_>,
        interrupted: Interrupted<'_>,
    ) -> Result<Arc<Self>> {
        let root = path.canonicalize().map_err(|_| not_found(path))?;
        let reader = RealFs::new(Access::Private);
        let identity = read_identity(&reader, &Layout::new(&root))?;
        let fs = Arc::new(RealFs::new(identity.access));
        Self::open_with(fs, Arc::new(SystemClock), &root, opening, interrupted)
    }

    /// As [`Self::open`], on given files and clocks. `root` is canonical.
    pub fn open_with(
        fs: Arc<dyn Fs>,
        clock: Arc<dyn Clock>,
        root: &Path,
        opening: Opening<'_>,
        interrupted: Interrupted<'_>,
    ) -> Result<Arc<Self>> {
        let layout = Layout::new(root);
        let identity = read_identity(fs.as_ref(), &layout)?;
        if !opening.writeable {
            let registry = Self::assemble(fs, clock, layout, identity, opening, None);
            registry.refresh()?;
            return Ok(registry);
        }
        let (next, displaced) =
            wait_for_turn(fs.as_ref(), clock.as_ref(), &layout, opening, interrupted)?;
        let registry = Self::assemble(fs, clock, layout, identity, opening, displaced);
        registry.follow(next, opening.lease)?;
        Ok(registry)
    }

    fn assemble(
        fs: Arc<dyn Fs>,
        clock: Arc<dyn Clock>,
        layout: Layout,
        identity: IdentityFile,
        opening: Opening<'_>,
        displaced: Option<Owner>,
    ) -> Arc<Self> {
        Arc::new(Self {
            fs,
            clock,
            layout,
            identity,
            user: opening.user.to_owned(),
            displaced,
            pid: std::process::id(),
            requests: Mutex::new(HashMap::new()),
            inner: Mutex::new(Inner {
                tables: Tables::default(),
                looks: Looks::default(),
                role: Role::Reader,
                place: loading::Place::default(),
                epoch: 0,
                newest_journal: None,
                since_snapshot: 0,
                snapshot: 0,
                postponed: 0,
            }),
            #[cfg(feature = "arrow")]
            segments: Mutex::new(HashMap::new()),
            #[cfg(feature = "arrow")]
            designs: Mutex::new(HashMap::new()),
        })
    }

    /// Claims epoch `next`, loads what counts before it and begins an own journal.
    fn follow(self: &Arc<Self>, next: u64, lease: Lease) -> Result<()> {
        // A later handle of this process waits here until this one is made, then displaces it.
        let mut inner = self.lock();
        for other in self.enter() {
            // Before the journal is read: what the other acknowledges must lie in it.
            other.lose("it was opened again in this process");
        }
        let owner = Owner::this_process(&self.user, self.clock.as_ref());
        let began = self.clock.boottime();
        if !ownership::claim(self.fs.as_ref(), &self.layout, next, &owner)? {
            let found = ownership::read_owner(self.fs.as_ref(), &self.layout, next)?;
            return Err(ownership::locked(&found));
        }
        if let Err(error) = self.begin(&mut inner, next, began, lease) {
            // Nobody shall wait for an owner that never was.
            let _released = self.fs.publish(&self.layout.released(next), b"");
            return Err(error);
        }
        writing::start_beating(self, lease);
        Ok(())
    }

    fn begin(&self, inner: &mut Inner, next: u64, began: f64, lease: Lease) -> Result<()> {
        let loaded = loading::load(self.fs.as_ref(), &self.layout, next)?;
        let adopt = Adopt {
            epoch: loaded.epoch,
            segment: loaded.place.segment,
            offset: loaded.place.offset,
        };
        let writer = Writer::begin(self, next, adopt, began, lease)?;
        inner.take_over(loaded);
        inner.epoch = next;
        inner.role = Role::Owner(Box::new(writer));
        Ok(())
    }

    /// Takes the folder's place among the handles of this process; returns who stood there.
    fn enter(self: &Arc<Self>) -> Vec<Arc<Self>> {
        let mut owned = owned();
        let others = owned.extract_if(.., |(root, _)| root == self.layout.root());
        let others: Vec<_> = others.filter_map(|(_, other)| other.upgrade()).collect();
        owned.retain(|(_, other)| other.strong_count() > 0);
        owned.push((self.layout.root().to_owned(), Arc::downgrade(self)));
        drop(owned);
        // Handles that a fork copied are their parent's.
        others.into_iter().filter(|other| other.pid == self.pid).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        if self.pid != std::process::id() {
            return self.lock_in_child();
        }
        // A panic in between leaves tables that a reload puts right; the journal is never torn.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// In a forked child the lock may be held for ever, by a thread that only its parent has.
    fn lock_in_child(&self) -> MutexGuard<'_, Inner> {
        for _ in 0..200 {
            match self.inner.try_lock() {
                Ok(inner) => return inner,
                Err(TryLockError::Poisoned(poisoned)) => return poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(10)),
            }
        }
        panic!("this process was forked while the registry was in use: load it again here");
    }

    /// For verbs that write: refused before the lock, which a forked child may never get.
    fn lock_to_write(&self) -> Result<MutexGuard<'_, Inner>> {
        if self.pid != std::process::id() {
            return Err(writing::forked());
        }
        let mut inner = self.lock();
        self.ensure_owner(&mut inner)?;
        Ok(inner)
    }

    fn lose(&self, why: &str) {
        let mut inner = self.lock();
        if let Role::Owner(writer) = &mut inner.role {
            let _synced = writer.sync();
            inner.lose(why.to_owned());
        }
    }

    /// Takes over what owners have written since; true if anything was. Owners know it all.
    pub fn refresh(&self) -> Result<bool> {
        {
            let inner = self.lock();
            if matches!(inner.role, Role::Owner(_)) {
                return Ok(false);
            }
        }
        // Seen before it is read: what comes in between is found the next time.
        let newest = loading::newest_journal(self.fs.as_ref(), &self.layout)?;
        if newest.is_some() && newest == self.lock().newest_journal {
            return Ok(false);
        }
        let loaded = loading::load(self.fs.as_ref(), &self.layout, u64::MAX)?;
        let mut inner = self.lock();
        inner.newest_journal = newest;
        let before = (inner.epoch, inner.place);
        let after = (loaded.epoch, loaded.place);
        if before == after {
            return Ok(false);
        }
        inner.epoch = loaded.epoch;
        inner.take_over(loaded);
        Ok(true)
    }

    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    pub fn identity(&self) -> &IdentityFile {
        &self.identity
    }

    pub fn fs(&self) -> &Arc<dyn Fs> {
        &self.fs
    }

    pub fn displaced(&self) -> Option<String> {
        self.displaced.as_ref().map(Owner::describe)
    }

    pub fn is_writeable(&self) -> bool {
        matches!(self.lock().role, Role::Owner(_))
    }

    pub fn epoch(&self) -> u64 {
        self.lock().epoch
    }

    /// Reads the tables. Keep it short: verbs of other threads wait.
    pub fn read<T>(&self, read: impl FnOnce(&Tables) -> T) -> T {
        read(&self.lock().tables)
    }
}

impl Inner {
    fn take_over(&mut self, loaded: Loaded) {
        self.looks.take_over(&self.tables, &loaded.tables);
        self.tables = loaded.tables;
        self.place = loaded.place;
        self.since_snapshot = loaded.replayed;
        self.snapshot = loaded.snapshot;
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _released = self.close();
    }
}

fn exists(path: &Path) -> Error {
    Error::new(ErrorKind::Exists, format!("`{}` exists already", path.display()))
        .hint("load_registry opens it if it is a registry; otherwise name another folder")
        .at(path)
}

fn not_found(path: &Path) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no registry at `{}`", path.display()))
        .hint("make_registry makes one")
        .at(path)
}

#[allow(clippy::disallowed_methods, reason = "asks about the folder that is yet to be made")]
fn refuse_existing(path: &Path) -> Result<()> {
    if path.symlink_metadata().is_ok() {
        return Err(exists(path));
    }
    let absolute = std::path::absolute(path).map_err(|e| Error::io("find", path, &e))?;
    let inside = absolute.ancestors().skip(1).find(|above| above.join("registry.json").exists());
    match inside {
        None => Ok(()),
        Some(outer) => {
            let what = format!("`{}` lies in the registry `{}`", path.display(), outer.display());
            Err(Error::new(ErrorKind::Exists, what).hint("name a folder outside it").at(path))
        }
    }
}

/// What every version of an identity begins with.
#[derive(Deserialize)]
struct Format {
    format: u32,
}

fn read_identity(fs: &dyn Fs, layout: &Layout) -> Result<IdentityFile> {
    let path = layout.identity();
    let bytes = fs.tail(&path, 0).map_err(|e| match e.kind() {
        ErrorKind::NotFound => not_found(layout.root()),
        _ => e,
    })?;
    let damaged = |e: serde_json::Error| Error::corrupt(&path, 0, format!("no identity: {e}"));
    let format: Format = serde_json::from_slice(&bytes).map_err(damaged)?;
    if format.format > FORMAT {
        let what = format!("`{}` has format {}", layout.root().display(), format.format);
        return Err(Error::new(ErrorKind::Version, what).hint(format!(
            "batchwright {} reads up to {FORMAT}; install a newer",
            crate::VERSION
        )));
    }
    refuse_broken(&path, &bytes)?;
    serde_json::from_slice(&bytes).map_err(damaged)
}

/// Refuses a file whose seal does not fit it; one without is of an earlier version.
fn refuse_broken(path: &Path, bytes: &[u8]) -> Result<()> {
    match seal::check(bytes) {
        Seal::Broken => Err(Error::corrupt(path, 0, "it does not match its checksum")),
        Seal::Whole | Seal::Missing => Ok(()),
    }
}

/// The epoch to claim, and whom that displaces.
fn wait_for_turn(
    fs: &dyn Fs,
    clock: &dyn Clock,
    layout: &Layout,
    opening: Opening<'_>,
    interrupted: Interrupted<'_>,
) -> Result<(u64, Option<Owner>)> {
    let (epoch, owner, local) = match ownership::standing(fs, layout)? {
        Standing::Free { next } => return Ok((next, None)),
        Standing::Own { epoch } => return Ok((epoch + 1, None)),
        Standing::Alive { epoch, owner } => (epoch, owner, true),
        Standing::Elsewhere { epoch, owner } => (epoch, owner, false),
    };
    if opening.break_lock {
        return Ok((epoch + 1, Some(owner)));
    }
    // A stopped process of this machine shows by its last beat; wall clocks jump, so only the
    // wait below decides.
    if local && !silence::is_silent(fs, layout, clock, epoch, &owner, opening.lease.lease) {
        return Err(ownership::locked(&owner));
    }
    silence::wait_for_silence(fs, layout, clock, epoch, &owner, opening.lease, interrupted)?;
    Ok((epoch + 1, Some(owner)))
}
