//! The first half of a submission: collections, then the intent.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::Value;

use crate::Interrupted;
use crate::collection::{Builder, Header, Limits, Row};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{IdSet, JobId};
use crate::journal::{ChunkIntent, Intent, Record, Submitted};
use crate::layout::ChunkId;
use crate::tables::{Tables, row};

use super::writing::Durability;
use super::{Registry, maintenance};

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
