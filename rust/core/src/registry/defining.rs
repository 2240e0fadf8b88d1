//! Definitions: tables of parameters, and what each job gets from them.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};

use serde_json::Value;

use crate::error::{Error, ErrorKind, Result};
use crate::fs::Published;
use crate::ids::{JobId, too_many};
use crate::journal::{Definition, Record};
use crate::segments::Segment;
use crate::tables::Tables;

use super::writing::Durability;
use super::{Registry, experimenting};

impl Registry {
    /// Adds one job a row; returns the first and the last id.
    pub fn define(&self, segment: Segment, call: &str) -> Result<(JobId, JobId)> {
        let count = u32::try_from(segment.rows()).map_err(|_| too_many(segment.rows()))?;
        let bytes = segment.to_bytes()?;
        let mut inner = self.lock_to_write()?;
        let first = inner.tables.n_jobs() + 1;
        let last = first.checked_add(count).ok_or_else(|| too_many(segment.rows()))? - 1;
        if count == 0 {
            return Ok((first, last));
        }
        let epoch = inner.epoch;
        let writer = inner.writer()?;
        let number = writer.next_definition;
        writer.next_definition += 1;
        let path = self.layout.definition(epoch, number);
        if self.fs.publish(&path, &bytes)? == Published::Lost {
            let what = format!("`{}` is there already", path.display());
            return Err(Error::new(ErrorKind::OwnershipLost, what));
        }
        let definition = Definition { first, count, epoch, number, call: call.to_owned() };
        self.write(&mut inner, &[Record::Define(definition)], Durability::Now)?;
        let mut segments = self.segments.lock().unwrap_or_else(PoisonError::into_inner);
        segments.insert((epoch, number), Arc::new(segment));
        Ok((first, last))
    }

    /// The parameters of one definition, read once.
    pub fn segment(&self, index: usize) -> Result<Arc<Segment>> {
        let file = self.read(|tables| tables.definitions.get(index).map(|d| (d.epoch, d.number)));
        let (epoch, number) = file.ok_or_else(|| {
            Error::new(ErrorKind::Invalid, format!("there is no definition {index}"))
        })?;
        self.segment_in(epoch, number)
    }

    /// Of one file, read once. Taken inside the lock of the tables, never around it.
    fn segment_in(&self, epoch: u64, number: u32) -> Result<Arc<Segment>> {
        let mut segments = self.segments.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(segment) = segments.get(&(epoch, number)) {
            return Ok(segment.clone());
        }
        let path = self.layout.definition(epoch, number);
        let segment = Segment::from_bytes(self.fs.tail(&path, 0)?)
            .map_err(|error| Error::corrupt(&path, 0, error))?;
        let segment = Arc::new(segment);
        segments.insert((epoch, number), segment.clone());
        Ok(segment)
    }

    pub(super) fn forget_segments(&self) {
        self.segments.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.designs.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// (definition, pickled parameters) of each of these jobs.
    pub fn parameters_of(&self, jobs: &[JobId]) -> Result<Vec<(usize, Vec<u8>)>> {
        let inner = self.lock();
        let sources = self.sources(&inner.tables, jobs)?;
        let mut at = 0;
        let found = jobs.iter().map(|job| {
            if !sources[at].has(*job) {
                at = sources.iter().position(|s| s.has(*job)).ok_or_else(|| no_job(*job))?;
            }
            Ok((sources[at].place, sources[at].pickle(*job)?))
        });
        found.collect()
    }

    /// What defined these jobs, each once.
    pub(super) fn sources(&self, tables: &Tables, jobs: &[JobId]) -> Result<Vec<Source>> {
        let mut found: Vec<Source> = Vec::new();
        let mut places = BTreeSet::new();
        for job in jobs {
            if found.last().is_some_and(|source| source.has(*job)) {
                continue;
            }
            let (place, first, last) = place_of(tables, *job).ok_or_else(|| no_job(*job))?;
            if places.insert(place) {
                found.push(Source { place, first, last, rows: self.defined(tables, place)? });
            }
        }
        if found.len() > usize::from(u16::MAX) {
            let what = format!("the jobs of one chunk come from {} calls", found.len());
            return Err(Error::new(ErrorKind::Invalid, what).hint("make smaller chunks"));
        }
        Ok(found)
    }

    fn defined(&self, tables: &Tables, place: usize) -> Result<Rows> {
        match tables.definitions.get(place) {
            Some(definition) => {
                Ok(Rows::Plain(self.segment_in(definition.epoch, definition.number)?))
            }
            None => Ok(Rows::Experiments(Box::new(self.rows_of(tables, place)?))),
        }
    }

    /// What the node is told about a definition.
    pub(super) fn call_at(&self, tables: &Tables, place: usize) -> Result<Value> {
        let Some(definition) = tables.definitions.get(place) else {
            return self.call_of(tables, place);
        };
        serde_json::from_str(&definition.call)
            .map_err(|e| Error::new(ErrorKind::Invalid, format!("a call is not JSON: {e}")))
    }

    /// The call of a definition as nodes get it.
    pub fn call(&self, place: usize) -> Result<String> {
        Ok(self.call_at(&self.lock().tables, place)?.to_string())
    }
}

fn no_job(job: JobId) -> Error {
    Error::new(ErrorKind::UnknownJob, format!("there is no job {job}"))
}

/// A definition or a block, and its jobs.
pub(super) struct Source {
    pub(super) place: usize,
    first: JobId,
    last: JobId,
    rows: Rows,
}

enum Rows {
    Plain(Arc<Segment>),
    Experiments(Box<experimenting::Rows>),
}

impl Source {
    pub(super) fn has(&self, job: JobId) -> bool {
        (self.first..=self.last).contains(&job)
    }

    pub(super) fn pickle(&self, job: JobId) -> Result<Vec<u8>> {
        match &self.rows {
            Rows::Plain(segment) => segment.pickle_row((job - self.first) as usize),
            Rows::Experiments(rows) => rows.pickle(job),
        }
    }
}

/// Place, first and last id of what defined a job. A registry has definitions or blocks.
fn place_of(tables: &Tables, job: JobId) -> Option<(usize, JobId, JobId)> {
    let (place, first, last) = if tables.blocks.is_empty() {
        let place = tables.definitions.partition_point(|d| d.first <= job).checked_sub(1)?;
        let definition = &tables.definitions[place];
        (place, definition.first, definition.first + definition.count - 1)
    } else {
        let place = tables.blocks.partition_point(|b| b.first <= job).checked_sub(1)?;
        let block = &tables.blocks[place];
        (place, block.first, block.last())
    };
    (job <= last && !tables.removed.contains(job)).then_some((place, first, last))
}
