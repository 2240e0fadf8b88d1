//! The owner's pen: appends records, syncs them, and knows whether they still count.

use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::frame::{self, Content, FILE_HEADER, FileId, FrameWriter};
use crate::fs::{Fs, JournalFile, Published};
use crate::journal::{Adopt, Continue, Record};
use crate::layout::Layout;

use super::loading::{self, Place};
use super::ownership::{self, Lease, Owner};
use super::{Inner, Registry, Role};

/// A journal outgrows a smaller snapshot than this only by so many bytes.
const SNAPSHOT_FLOOR: u64 = 16 << 20;

/// The journal of one epoch.
pub(super) struct Writer {
    fs: Arc<dyn Fs>,
    layout: Layout,
    epoch: u64,
    segment: u32,
    file: Box<dyn JournalFile>,
    frames: FrameWriter,
    /// Records that no sync has covered yet, for the next segment if this one fails.
    unsynced: Vec<Record>,
    synced_to: u64,
    /// The process that may write; a forked child may not.
    pid: u32,
    /// When the last beat that synced began, on a clock that counts suspend.
    beat: f64,
    lease: Lease,
    pub(super) next_definition: u32,
    pub(super) next_snapshot: u32,
}

impl Writer {
    pub(super) fn begin(
        registry: &Registry,
        epoch: u64,
        adopt: Adopt,
        beat: f64,
        lease: Lease,
    ) -> Result<Self> {
        let fs = registry.fs.clone();
        let layout = registry.layout.clone();
        let first = Record::Adopt(adopt);
        let (file, frames) = publish_segment(fs.as_ref(), &layout.journal(epoch, 0), &first)?;
        let synced_to = file.end();
        Ok(Self {
            fs,
            layout,
            epoch,
            segment: 0,
            file,
            frames,
            unsynced: Vec::new(),
            synced_to,
            pid: std::process::id(),
            beat,
            lease,
            next_definition: 0,
            next_snapshot: 0,
        })
    }

    /// If the write fails the file is dead and [`Self::sync`] moves the record on.
    fn append(&mut self, record: &Record) {
        self.unsynced.push(record.clone());
        if self.file.is_dead() {
            return;
        }
        let mut bytes = Vec::new();
        record.write(&mut self.frames, self.synced_to, &mut bytes);
        let _dead = self.file.append(&bytes);
    }

    pub(super) fn sync(&mut self) -> Result<()> {
        if self.pid != std::process::id() {
            return Err(forked());
        }
        if self.file.is_dead() || self.file.sync().is_err() {
            // What no sync covered is written again to the next file.
            self.next_segment()?;
        }
        self.unsynced.clear();
        self.synced_to = self.file.end();
        Ok(())
    }

    fn next_segment(&mut self) -> Result<()> {
        let first = Record::Continue(Continue { offset: self.synced_to });
        let path = self.layout.journal(self.epoch, self.segment + 1);
        let (file, frames) = publish_segment(self.fs.as_ref(), &path, &first)?;
        self.segment += 1;
        self.file = file;
        self.frames = frames;
        self.synced_to = self.file.end();
        let mut bytes = Vec::new();
        for record in &self.unsynced {
            record.write(&mut self.frames, self.synced_to, &mut bytes);
        }
        self.file.append(&bytes)?;
        self.file.sync()
    }

    fn place(&self) -> Place {
        Place { segment: self.segment, offset: self.file.end() }
    }
}

fn publish_segment(
    fs: &dyn Fs,
    path: &Path,
    first: &Record,
) -> Result<(Box<dyn JournalFile>, FrameWriter)> {
    let id = FileId::random();
    let mut frames = FrameWriter::new(id);
    let mut bytes = Vec::with_capacity(FILE_HEADER + 64);
    bytes.extend_from_slice(&frame::file_header(Content::Owner, id));
    first.write(&mut frames, 0, &mut bytes);
    if fs.publish(path, &bytes)? == Published::Lost {
        let what = format!("`{}` is there already", path.display());
        return Err(Error::new(ErrorKind::OwnershipLost, what).hint("load the registry again"));
    }
    Ok((fs.append(path, bytes.len() as u64)?, frames))
}

pub(super) fn forked() -> Error {
    Error::new(ErrorKind::ReadOnly, "this process was forked from the one that opened the registry")
        .hint("load the registry in this process, or use it in its parent only")
}

/// When records must be on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Durability {
    /// Before the call returns.
    Now,
    /// With the next record that must be, or the next flush.
    Later,
}

impl Registry {
    /// Writes the records of one verb, makes them durable and applies them to the tables. They
    /// share a frame: a power cut leaves all of them or none.
    pub(super) fn write(
        &self,
        inner: &mut Inner,
        records: &[Record],
        durability: Durability,
    ) -> Result<()> {
        self.ensure_owner(inner)?;
        self.ensure_lease(inner, |lease| lease.renew)?;
        let writer = inner.writer()?;
        let before = writer.file.end();
        let record = Record::of_verb(records);
        writer.append(&record);
        if writer.file.is_dead() || durability == Durability::Now {
            self.sync_or_lose(inner)?;
        }
        inner.place = inner.writer()?.place();
        inner.since_snapshot += inner.place.offset.saturating_sub(before);
        inner.tables.apply(&record);
        Ok(())
    }

    /// Whether appended records are durable and count is unknown after an error, so this process
    /// then writes no more: its tables would not be those that a reader sees.
    fn sync_or_lose(&self, inner: &mut Inner) -> Result<()> {
        let synced = inner.writer()?.sync().and_then(|()| self.ensure_counts(inner));
        synced.map_err(|error| {
            if !matches!(inner.role, Role::Owner(_)) {
                return error;
            }
            inner.lose(format!("its journal could not be written: {error}"));
            let hint = match error.kind() {
                ErrorKind::StorageFull => "free space or quota, then load the registry again",
                _ => "this process writes no more; load the registry again",
            };
            error.hint(hint)
        })
    }

    pub(super) fn ensure_owner(&self, inner: &mut Inner) -> Result<()> {
        match &inner.role {
            Role::Owner(writer) if writer.pid != std::process::id() => Err(forked()),
            Role::Owner(_) => Ok(()),
            Role::Reader => Err(Error::new(
                ErrorKind::ReadOnly,
                format!("the registry `{}` was opened for reading", self.layout.root().display()),
            )
            .hint("load it with writeable=True")),
            Role::Lost(why) => Err(lost(why)),
            Role::Closed => {
                Err(Error::new(ErrorKind::ReadOnly, "the registry was closed")
                    .hint("load it again"))
            }
        }
    }

    /// If the last beat is older than allowed, claims the next epoch anew or loses the registry.
    fn ensure_lease(&self, inner: &mut Inner, allowed: impl Fn(&Lease) -> f64) -> Result<()> {
        let writer = inner.writer()?;
        if self.clock.boottime() - writer.beat < allowed(&writer.lease) {
            return Ok(());
        }
        let began = self.clock.boottime();
        let (epoch, lease) = (writer.epoch, writer.lease);
        let owner = Owner::this_process(&self.user, self.clock.as_ref());
        if !ownership::claim(self.fs.as_ref(), &self.layout, epoch + 1, &owner)? {
            return Err(self.displaced_by(inner, epoch + 1));
        }
        // Nobody came between: what is durable of the own journal counts, the rest comes again.
        let old = inner.writer()?;
        let adopt = Adopt { epoch, segment: old.segment, offset: old.synced_to };
        let unsynced = std::mem::take(&mut old.unsynced);
        inner.lose("its next journal could not be begun".to_owned());
        let mut writer = Writer::begin(self, epoch + 1, adopt, began, lease)?;
        for record in &unsynced {
            writer.append(record);
        }
        inner.epoch = epoch + 1;
        inner.role = Role::Owner(Box::new(writer));
        Ok(())
    }

    /// Before files are removed: a paused owner must not remove what its successor needs. Names
    /// that were listed before this are older than any successor.
    pub(super) fn ensure_sole(&self, inner: &mut Inner) -> Result<()> {
        self.ensure_owner(inner)?;
        self.ensure_lease(inner, |lease| lease.renew)?;
        self.ensure_newest(inner)
    }

    /// Raises unless this process owns the registry at this moment.
    pub fn require_owner(&self) -> Result<()> {
        self.ensure_sole(&mut *self.lock_to_write()?)
    }

    /// After a sync: whether what it covered counts. Whoever claims later than this looks reads
    /// it, and who claimed before shows. Where looks may be stale the lease still holds, except
    /// against `break_lock`.
    fn ensure_counts(&self, inner: &mut Inner) -> Result<()> {
        self.ensure_lease(inner, |lease| lease.lease - lease.margin)?;
        self.ensure_newest(inner)
    }

    fn ensure_newest(&self, inner: &mut Inner) -> Result<()> {
        let (highest, _) = ownership::highest(self.fs.as_ref(), &self.layout)?;
        if highest <= inner.epoch { Ok(()) } else { Err(self.displaced_by(inner, highest)) }
    }

    fn displaced_by(&self, inner: &mut Inner, epoch: u64) -> Error {
        let by = ownership::read_owner(self.fs.as_ref(), &self.layout, epoch);
        let by = by.map_or_else(|_| "another process".to_owned(), |owner| owner.describe());
        let why = format!("{by} took it over");
        inner.lose(why.clone());
        lost(&why)
    }

    /// Makes everything written so far durable.
    pub fn flush(&self) -> Result<()> {
        let mut inner = self.lock();
        if !matches!(inner.role, Role::Owner(_)) {
            return Ok(());
        }
        self.sync_or_lose(&mut inner)
    }

    /// A snapshot, if the journal outgrew the newest one (`force`: by a tenth). False if read-only.
    pub fn save(&self, force: bool) -> Result<bool> {
        let mut inner = self.lock();
        if !matches!(inner.role, Role::Owner(_)) {
            return Ok(false);
        }
        self.sync_or_lose(&mut inner)?;
        let floor = if force { inner.snapshot / 10 } else { inner.snapshot.max(SNAPSHOT_FLOOR) };
        if inner.since_snapshot > floor {
            self.write_snapshot(&mut inner)?;
        }
        Ok(true)
    }

    /// After a verb: the same as `save`, when it is due. The verb is done, so that an error here
    /// is none of it: the journal goes on, and grows once more before the next attempt.
    pub(super) fn save_if_due(&self, inner: &mut Inner) {
        if inner.since_snapshot <= inner.snapshot.max(SNAPSHOT_FLOOR) + inner.postponed {
            return;
        }
        let saved = self.sync_or_lose(inner).and_then(|()| self.write_snapshot(inner));
        inner.postponed = if saved.is_ok() { 0 } else { inner.since_snapshot };
    }

    fn write_snapshot(&self, inner: &mut Inner) -> Result<()> {
        self.ensure_lease(inner, |lease| lease.renew)?;
        let writer = inner.writer()?;
        let (epoch, place, seq) = (writer.epoch, writer.place(), writer.frames.seq());
        let number = writer.next_snapshot;
        writer.next_snapshot += 1;
        let bytes = loading::snapshot_bytes(&inner.tables, epoch, place, seq);
        let path = self.layout.snapshot(epoch, number);
        self.fs.publish(&path, &bytes)?;
        inner.since_snapshot = 0;
        inner.snapshot = bytes.len() as u64;
        // Only a sure owner removes what the snapshot supersedes.
        self.ensure_sole(inner)?;
        self.remove_superseded(epoch, place.segment, number)
    }

    fn remove_superseded(&self, epoch: u64, segment: u32, snapshot: u32) -> Result<()> {
        for name in self.fs.look(self.layout.root())? {
            let journal = Layout::parse_numbered("journal", &name);
            let older = Layout::parse_numbered("snapshot", &name);
            // The epoch's first segment says what it adopted.
            let old_journal =
                journal.is_some_and(|(e, s)| e < epoch || (e == epoch && s < segment && s > 0));
            let old_snapshot = older.is_some_and(|found| found < (epoch, snapshot));
            if old_journal || old_snapshot {
                self.fs.unlink(&self.layout.root().join(name))?;
            }
        }
        Ok(())
    }

    /// Syncs and releases ownership. Idempotent.
    pub fn close(&self) -> Result<()> {
        // A forked child neither writes nor waits for a lock that a thread of its parent held.
        if self.pid != std::process::id() {
            return Ok(());
        }
        let mut inner = self.lock();
        let Role::Owner(writer) = &mut inner.role else {
            if !matches!(inner.role, Role::Lost(_)) {
                inner.role = Role::Closed;
            }
            return Ok(());
        };
        // What was promised for later must count from now on.
        let is_promised = writer.unsynced.iter().any(|r| !matches!(r, Record::Beat(_)));
        let synced = writer.sync();
        let checked = match synced {
            Ok(()) if is_promised => self.ensure_counts(&mut inner),
            other => other,
        };
        let epoch = inner.epoch;
        inner.lose(String::new());
        inner.role = Role::Closed;
        checked?;
        self.fs.publish(&self.layout.released(epoch), b"").map(drop)
    }

    /// A sign of life in the journal; false once the registry is not owned any more. A thread
    /// calls it at every beat of the lease.
    pub fn beat(&self) -> bool {
        if self.pid != std::process::id() {
            return false;
        }
        let mut inner = self.lock();
        let Role::Owner(writer) = &mut inner.role else { return false };
        let began = self.clock.boottime();
        let beat = Record::Beat(self.clock.now());
        let lease = writer.lease;
        // The next write claims anew; a beat must not hide that the lease ran out.
        if began - writer.beat <= lease.renew {
            writer.unsynced.retain(|record| !matches!(record, Record::Beat(_)));
            writer.append(&beat);
            if writer.sync().is_ok() {
                writer.beat = began;
            }
            let place = writer.place();
            inner.place = place;
        }
        // A failed look is no evidence; each write looks again.
        let newest = self.ensure_newest(&mut inner);
        newest.is_ok() || matches!(inner.role, Role::Owner(_))
    }
}

impl Inner {
    pub(super) fn writer(&mut self) -> Result<&mut Writer> {
        match &mut self.role {
            Role::Owner(writer) => Ok(writer),
            _ => Err(lost("it is not owned")),
        }
    }

    /// Writes no more, whatever is not synced.
    pub(super) fn lose(&mut self, why: String) {
        if let Role::Owner(writer) = &mut self.role {
            writer.file.abandon();
        }
        self.role = Role::Lost(why);
    }
}

fn lost(why: &str) -> Error {
    Error::new(ErrorKind::OwnershipLost, format!("this process does not own the registry: {why}"))
        .hint("whether the last call took effect is unknown; load the registry again")
}

/// A thread that beats until the registry is closed, lost or dropped.
pub(super) fn start_beating(registry: &Arc<Registry>, lease: Lease) {
    let registry = Arc::downgrade(registry);
    let beat = move || {
        while sleep_while_alive(&registry, lease.beat) {
            let Some(alive) = registry.upgrade() else { return };
            if !alive.beat() {
                return;
            }
        }
    };
    // Without the thread the lease runs out and the next write claims anew: slower, still right.
    let _running = std::thread::Builder::new().name("batchwright-beat".into()).spawn(beat);
}

/// Sleeps in steps, so that a thread ends soon after its registry.
fn sleep_while_alive(registry: &Weak<Registry>, seconds: f64) -> bool {
    let step = Duration::from_millis(200);
    let steps = (seconds / step.as_secs_f64()).ceil() as u32;
    (0..steps.max(1)).all(|_| {
        std::thread::sleep(step);
        registry.strong_count() > 0
    })
}
