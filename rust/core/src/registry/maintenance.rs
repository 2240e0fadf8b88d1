//! Small verbs over whole tables: settings, objects, exports, names, tags, reset, sweep, clear.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};
use crate::fs::{Published, hex};
use crate::ids::{IdSet, JobId};
use crate::journal::Record;
use crate::layout::ChunkId;
use crate::tables::{Tables, row};

use super::looking::Looks;
use super::writing::Durability;
use super::{Inner, Registry};

impl Registry {
    pub fn assign(&self, name: &str, value: Option<&str>) -> Result<()> {
        let value = value.map(str::to_owned);
        self.write_one(Record::Setting { name: name.to_owned(), value })
    }

    pub fn export(&self, put: BTreeMap<String, String>, remove: Vec<String>) -> Result<()> {
        self.write_one(Record::Exports { put: put.into_iter().collect(), remove })
    }

    /// The names of those of these jobs that have one, ascending.
    pub fn names(&self, ids: &IdSet) -> Vec<(JobId, String)> {
        self.read(|tables| {
            let named = tables.jobs.name.ids_where(|text| text != 0).intersection(ids);
            let name = |job: JobId| tables.texts.get(tables.jobs.name.get(row(job)));
            named.iter().filter_map(|job| Some((job, name(job)?.to_owned()))).collect()
        })
    }

    pub fn set_names(&self, ids: Vec<JobId>, names: Vec<Option<String>>) -> Result<()> {
        self.check_ids(&ids.iter().copied().collect())?;
        self.write_one(Record::Names { ids, names })
    }

    /// A record of unknown ids could not be applied, now or at any later load.
    fn check_ids(&self, ids: &IdSet) -> Result<()> {
        self.read(|tables| refuse_unknown(tables, ids))
    }

    pub fn tag(&self, ids: &IdSet, tags: &[String]) -> Result<()> {
        self.check_ids(ids)?;
        let tagged = |tag: &String| Record::Tagged { tag: tag.clone(), ids: ids.clone() };
        self.write_all(&tags.iter().map(tagged).collect::<Vec<_>>())
    }

    /// Returns the ids that lost a tag.
    pub fn untag(&self, ids: &IdSet, tags: &[String]) -> Result<IdSet> {
        let held = |tables: &Tables, tag: &String| {
            tables.tags.get(tag).map(|tagged| tagged.intersection(ids)).unwrap_or_default()
        };
        let lost: Vec<IdSet> = self.read(|tables| tags.iter().map(|t| held(tables, t)).collect());
        let records = tags.iter().zip(&lost).filter(|(_, ids)| !ids.is_empty());
        let untagged =
            records.map(|(tag, ids)| Record::Untagged { tag: tag.clone(), ids: ids.clone() });
        self.write_all(&untagged.collect::<Vec<_>>())?;
        Ok(lost.iter().fold(IdSet::default(), |all, ids| all.union(ids)))
    }

    /// As never submitted. The jobs must not be on the system.
    pub fn reset(&self, ids: &IdSet) -> Result<()> {
        let mut inner = self.lock_to_write()?;
        refuse_unknown(&inner.tables, ids)?;
        let jobs = &inner.tables.jobs;
        if let Some(job) = ids.iter().find(|job| jobs.stage_of(*job).is_unfinished()) {
            let what = format!("job {job} is on the system");
            return Err(Error::new(ErrorKind::JobsOnSystem, what).hint("kill_jobs first"));
        }
        self.write(&mut inner, &[Record::Reset(ids.clone())], Durability::Now)?;
        self.save_if_due(&mut inner);
        Ok(())
    }

    pub(super) fn write_one(&self, record: Record) -> Result<()> {
        self.write_all(&[record])
    }

    fn write_all(&self, records: &[Record]) -> Result<()> {
        let mut inner = self.lock_to_write()?;
        if records.is_empty() {
            return Ok(());
        }
        self.write(&mut inner, records, Durability::Now)?;
        self.save_if_due(&mut inner);
        Ok(())
    }

    /// Stores bytes under their own hash; the same bytes are stored once.
    pub fn put_object(&self, bytes: &[u8]) -> Result<String> {
        drop(self.lock_to_write()?);
        let hash = object_hash(bytes);
        let path = self.layout.object(&hash);
        if let Some(folder) = path.parent() {
            self.fs.make_folder(folder)?;
            let name = format!("{hash}.pkl");
            if self.fs.look(folder)?.contains(&name) {
                return Ok(hash);
            }
        }
        match self.fs.publish(&path, bytes)? {
            Published::Won | Published::Lost => Ok(hash),
        }
    }

    pub fn get_object(&self, hash: &str) -> Result<Vec<u8>> {
        if hash.len() != 32 || !hash.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(Error::new(ErrorKind::Invalid, format!("`{hash}` names no object")));
        }
        let path = self.layout.object(hash);
        let bytes = self.fs.tail(&path, 0)?;
        if object_hash(&bytes) != hash {
            return Err(Error::corrupt(&path, 0, "its content does not fit its name"));
        }
        Ok(bytes)
    }

    /// Removes run files, logs and collections that no job's newest attempt needs. Returns how
    /// many files went.
    pub fn sweep(&self) -> Result<usize> {
        let mut inner = self.lock_to_write()?;
        self.sweep_locked(&mut inner)
    }

    fn sweep_locked(&self, inner: &mut Inner) -> Result<usize> {
        let tables = &inner.tables;
        let mut kept: BTreeSet<ChunkId> = BTreeSet::new();
        tables.jobs.chunk.for_each(|_, number| {
            let chunk = number.checked_sub(1).and_then(|i| tables.chunks.get(i as usize));
            kept.extend(chunk.map(crate::tables::Chunk::chunk));
        });
        let mut unneeded = Vec::new();
        for folder in [self.layout.collections(), self.layout.runs(), self.layout.logs()] {
            self.list_unneeded(&folder, &kept, &mut unneeded)?;
        }
        self.ensure_sole(inner)?;
        unneeded.iter().try_for_each(|path| self.fs.unlink(path))?;
        Ok(unneeded.len())
    }

    fn list_unneeded(
        &self,
        folder: &Path,
        kept: &BTreeSet<ChunkId>,
        unneeded: &mut Vec<PathBuf>,
    ) -> Result<()> {
        for inner in self.fs.look(folder)? {
            let inner = folder.join(inner);
            for name in self.fs.look(&inner)? {
                let chunk = name.split('.').next().and_then(ChunkId::parse);
                if chunk.is_some_and(|chunk| !kept.contains(&chunk)) {
                    unneeded.push(inner.join(name));
                }
            }
        }
        Ok(())
    }

    /// As new: no jobs, ids start at 1. Nothing may be on the system.
    pub fn clear(&self) -> Result<()> {
        let mut inner = self.lock_to_write()?;
        let open = inner.tables.open.len();
        if open > 0 {
            let what = format!("{open} chunks are on the system");
            return Err(Error::new(ErrorKind::JobsOnSystem, what).hint("kill_jobs first"));
        }
        let definitions = self.fs.look(&self.layout.definitions())?;
        self.write(&mut inner, &[Record::Cleared], Durability::Now)?;
        // Chunks are counted from the start again.
        inner.looks = Looks::default();
        #[cfg(feature = "arrow")]
        self.forget_segments();
        self.sweep_locked(&mut inner)?;
        for name in definitions {
            self.fs.unlink(&self.layout.definitions().join(name))?;
        }
        Ok(())
    }
}

pub(super) fn refuse_unknown(tables: &Tables, ids: &IdSet) -> Result<()> {
    match ids.difference(&tables.all_ids()).min() {
        None => Ok(()),
        Some(id) => Err(Error::new(ErrorKind::UnknownJob, format!("there is no job {id}"))),
    }
}

/// 128 bits of BLAKE3 as hex.
pub(super) fn object_hash(bytes: &[u8]) -> String {
    let hash = blake3::hash(bytes);
    hex(&hash.as_bytes()[..16])
}

/// Removes a folder that was only half made.
#[allow(clippy::disallowed_methods, reason = "a folder that this call has made itself")]
pub(super) fn remove_tree(path: &Path) -> std::io::Result<()> {
    std::fs::remove_dir_all(path)
}
