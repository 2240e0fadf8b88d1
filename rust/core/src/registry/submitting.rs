//! Definitions, and the first half of a submission: collections, then the intent.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use serde_json::Value;

use crate::collection::{Builder, Header, Limits, Row};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::Published;
use crate::ids::{IdSet, JobId};
use crate::journal::{ChunkIntent, Definition, Intent, Record, Submitted};
use crate::layout::ChunkId;
use crate::segments::Segment;
use crate::tables::{Tables, row};

use super::writing::Durability;
use super::{Interrupted, Registry, experimenting, maintenance};

/// Collections are published in groups of so many bytes.
const GROUP: usize = 64 << 20;
/// One job's parameters in a collection.
const LONGEST: usize = 1 << 29;

/// One chunk of a plan: jobs in the order they run, and which resources they get.
#[derive(Clone, Copy, Debug)]
pub struct PlannedChunk<'a> {
    /// New and random.
    pub id: ChunkId,
    pub jobs: &'a [JobId],
    /// Index into the plan's resources and limits.
    pub resources: usize,
}

/// What shall be submitted.
#[derive(Clone, Debug)]
pub struct Plan<'a> {
    pub chunks: Vec<PlannedChunk<'a>>,
    /// The header without what is filled in per chunk.
    pub header: Value,
    /// Distinct JSON texts.
    pub resources: Vec<String>,
    pub limits: Vec<Limits>,
    pub backend: String,
    /// Each job is an array task of its own.
    pub array_tasks: bool,
}

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

    /// Publishes the collections of a plan and records the intent. The jobs are then submitted,
    /// in a new attempt.
    pub fn intend(&self, plan: &Plan<'_>, interrupted: Interrupted<'_>) -> Result<()> {
        let mut inner = self.lock_to_write()?;
        refuse_wrong(&inner.tables, plan)?;
        refuse_unfinished(&inner.tables, plan)?;
        let header: Header = filled_in(&plan.header)?;
        let mut group: Vec<(PathBuf, Vec<u8>)> = Vec::new();
        let mut folders = BTreeSet::new();
        let mut size = 0;
        for planned in &plan.chunks {
            if interrupted() {
                return Err(Error::new(ErrorKind::Interrupted, "interrupted"));
            }
            let bytes = self.collection(&inner.tables, plan, &header, planned)?;
            let path = self.layout.collection(planned.id);
            folders.extend(path.parent().map(PathBuf::from));
            size += bytes.len();
            group.push((path, bytes));
            if size > GROUP {
                self.publish_group(&mut group, &mut folders)?;
                size = 0;
            }
        }
        self.publish_group(&mut group, &mut folders)?;
        let intents = plan.chunks.iter().map(|planned| ChunkIntent {
            id: planned.id.0.to_be_bytes(),
            jobs: planned.jobs.iter().copied().collect(),
            resources: planned.resources as u32,
        });
        let intent = Intent {
            at: self.clock.now(),
            backend: plan.backend.clone(),
            resources: plan.resources.clone(),
            array_tasks: plan.array_tasks,
            chunks: intents.collect(),
        };
        self.write(&mut inner, &[Record::Intent(intent)], Durability::Now)?;
        self.save_if_due(&mut inner);
        Ok(())
    }

    fn publish_group(
        &self,
        group: &mut Vec<(PathBuf, Vec<u8>)>,
        folders: &mut BTreeSet<PathBuf>,
    ) -> Result<()> {
        std::mem::take(folders).iter().try_for_each(|folder| self.fs.make_folder(folder))?;
        self.fs.publish_all(&std::mem::take(group))
    }

    fn collection(
        &self,
        tables: &Tables,
        plan: &Plan<'_>,
        header: &Header,
        planned: &PlannedChunk<'_>,
    ) -> Result<Vec<u8>> {
        let hash = planned.id.to_string();
        let name =
            planned.jobs.first().and_then(|job| tables.texts.get(tables.jobs.name.get(row(*job))));
        let resources = plan.resources.get(planned.resources).map_or("{}", String::as_str);
        let header = Header {
            job_name: name.unwrap_or(&hash).to_owned(),
            job_hash: hash.clone(),
            tasks: if plan.array_tasks { planned.jobs.len() as u32 } else { 0 },
            jobs: planned.jobs.len() as u32,
            limits: plan.limits.get(planned.resources).cloned().unwrap_or_default(),
            resources: serde_json::from_str(resources).map_err(|e| {
                Error::new(ErrorKind::Invalid, format!("resources are not JSON: {e}"))
            })?,
            ..header.clone()
        };
        let mut jobs = planned.jobs.to_vec();
        if plan.array_tasks {
            // A job's array task is its place among the chunk's ids.
            jobs.sort_unstable();
        }
        let sources = self.sources(tables, &jobs)?;
        let calls = sources.iter().map(|source| self.call_at(tables, source.place));
        let mut header = header;
        if header.python.is_null() {
            header.python = Value::Object(serde_json::Map::new());
        }
        header.python["calls"] = Value::Array(calls.collect::<Result<_>>()?);
        let mut builder = Builder::new(&header);
        let mut call = 0;
        for (job, task) in jobs.iter().zip(1..) {
            if !sources[call].has(*job) {
                call = sources.iter().position(|source| source.has(*job)).unwrap_or_default();
            }
            let parameters = sources[call].pickle(*job)?;
            if parameters.len() > LONGEST {
                let what = format!("the parameters of job {job} take {} bytes", parameters.len());
                return Err(Error::new(ErrorKind::Invalid, what).hint("export what is large"));
            }
            builder.row(Row {
                job: *job,
                task: if plan.array_tasks { task } else { 0 },
                attempt: tables.jobs.attempt.get(row(*job)).saturating_add(1),
                call: call as u16,
                parameters: &parameters,
            });
        }
        Ok(builder.finish())
    }

    /// What defined these jobs, each once.
    fn sources(&self, tables: &Tables, jobs: &[JobId]) -> Result<Vec<Source>> {
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
    fn call_at(&self, tables: &Tables, place: usize) -> Result<Value> {
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

    /// What the scheduler calls a chunk, one id a task. Durable with the next flush.
    pub fn submitted(
        &self,
        chunk: ChunkId,
        batch_ids: &[String],
        log_file: Option<&str>,
    ) -> Result<()> {
        let mut inner = self.lock_to_write()?;
        let tasks = inner.tables.tasks_of(chunk);
        let Some(first) = tasks.first().copied() else {
            return Err(Error::new(ErrorKind::Invalid, format!("there is no chunk {chunk}")));
        };
        if batch_ids.len() > tasks.len() {
            let (given, what) = (batch_ids.len(), tasks.len());
            let what = format!("{given} batch ids for the {what} tasks of chunk {chunk}");
            return Err(Error::new(ErrorKind::Invalid, what));
        }
        let record = Record::Submitted(Submitted {
            chunk: first,
            batch_ids: batch_ids.to_vec(),
            log_file: log_file.map(str::to_owned),
        });
        self.write(&mut inner, &[record], Durability::Later)
    }
}

pub(super) fn too_many(rows: usize) -> Error {
    Error::new(ErrorKind::Invalid, format!("{rows} more jobs do not fit: ids end at 4294967295"))
}

fn no_job(job: JobId) -> Error {
    Error::new(ErrorKind::UnknownJob, format!("there is no job {job}"))
}

/// A definition or a block, and its jobs.
struct Source {
    place: usize,
    first: JobId,
    last: JobId,
    rows: Rows,
}

enum Rows {
    Plain(Arc<Segment>),
    Experiments(Box<experimenting::Rows>),
}

impl Source {
    fn has(&self, job: JobId) -> bool {
        (self.first..=self.last).contains(&job)
    }

    fn pickle(&self, job: JobId) -> Result<Vec<u8>> {
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

/// Each job once, each of them known, no chunk without one: what the tables rely on.
fn refuse_wrong(tables: &Tables, plan: &Plan<'_>) -> Result<()> {
    let wrong = |what: String| Err(Error::new(ErrorKind::Invalid, what));
    let mut all = IdSet::default();
    for chunk in &plan.chunks {
        if chunk.jobs.is_empty() {
            return wrong("a chunk without jobs cannot be submitted".to_owned());
        }
        for job in chunk.jobs {
            if !all.insert(*job) {
                return wrong(format!("job {job} stands twice among the jobs to submit"));
            }
        }
    }
    maintenance::refuse_unknown(tables, &all)
}

fn refuse_unfinished(tables: &Tables, plan: &Plan<'_>) -> Result<()> {
    let mut jobs = plan.chunks.iter().flat_map(|chunk| chunk.jobs);
    let unfinished = jobs.find(|job| tables.jobs.stage_of(**job).is_unfinished());
    let Some(job) = unfinished else { return Ok(()) };
    let all: IdSet = plan.chunks.iter().flat_map(|c| c.jobs.iter().copied()).collect();
    let many = all.iter().filter(|job| tables.jobs.stage_of(*job).is_unfinished()).count();
    let what = format!("{many} of the jobs are on the system already, the first is job {job}");
    Err(Error::new(ErrorKind::JobsOnSystem, what)
        .hint("wait for them or kill_jobs first; find_not_submitted gives jobs that are not"))
}

fn filled_in(given: &Value) -> Result<Header> {
    let mut header = serde_json::to_value(Header::default()).expect("plain data serialises");
    if let (Value::Object(fields), Value::Object(given)) = (&mut header, given) {
        fields.extend(given.clone());
    }
    serde_json::from_value(header)
        .map_err(|e| Error::new(ErrorKind::Invalid, format!("the header is wrong: {e}")))
}
