//! The job table as Arrow columns, and the predicates and counts over it.

use std::sync::Arc;

use arrow_array::builder::{
    DurationMicrosecondBuilder, Float64Builder, Int32Builder, Int64Builder, ListBuilder,
    StringBuilder, TimestampMicrosecondBuilder,
};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema, TimeUnit};

use crate::error::{Error, ErrorKind, Result};
use crate::ids::{IdSet, JobId};
use crate::layout::Layout;
use crate::run::Cause;
use crate::tables::{Chunk, NEVER, Stage, Tables, row};

use super::{Inner, Registry};

/// Fewer jobs than this are not worth a thread.
const SERIAL: usize = 50_000;
/// How many jobs are taken between two questions whether to stop.
const PIECE: usize = 1 << 14;

/// What a job can be asked to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Predicate {
    Defined,
    Submitted,
    NotSubmitted,
    Started,
    NotStarted,
    Done,
    NotDone,
    Error,
    Expired,
    OnSystem,
    Running,
    Queued,
    Ended,
}

impl Predicate {
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "defined" => Self::Defined,
            "submitted" => Self::Submitted,
            "not_submitted" => Self::NotSubmitted,
            "started" => Self::Started,
            "not_started" => Self::NotStarted,
            "done" => Self::Done,
            "not_done" => Self::NotDone,
            "error" => Self::Error,
            "expired" => Self::Expired,
            "on_system" => Self::OnSystem,
            "running" => Self::Running,
            "queued" => Self::Queued,
            "ended" => Self::Ended,
            _ => return None,
        })
    }
}

/// How many jobs are in which state, as batchtools counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub defined: u64,
    pub submitted: u64,
    pub queued: u64,
    pub started: u64,
    pub running: u64,
    pub done: u64,
    pub error: u64,
    pub expired: u64,
    pub system: u64,
}

impl Registry {
    /// The ids that fit, among `ids` if given.
    pub fn ids_where(
        &self,
        predicate: Predicate,
        ids: Option<&IdSet>,
        cause: Option<Cause>,
    ) -> IdSet {
        let inner = self.lock();
        let mut found = all_where(&inner, predicate);
        if let Some(cause) = cause {
            let caused = inner.tables.jobs.cause.ids_where(|code| code == cause as u8);
            found = found.intersection(&caused);
        }
        ids.map_or(found.clone(), |ids| found.intersection(ids))
    }

    pub fn counts(&self, ids: Option<&IdSet>) -> Counts {
        let inner = self.lock();
        let count = |predicate| {
            let found = all_where(&inner, predicate);
            ids.map_or(found.len(), |ids| found.bitmap().intersection_len(ids.bitmap()))
        };
        Counts {
            defined: count(Predicate::Defined),
            submitted: count(Predicate::Submitted),
            queued: count(Predicate::Queued),
            started: count(Predicate::Started),
            running: count(Predicate::Running),
            done: count(Predicate::Done),
            error: count(Predicate::Error),
            expired: count(Predicate::Expired),
            system: count(Predicate::OnSystem),
        }
    }

    /// `job_id`, the status columns in the job table's order, `resources` and `tags`; in batches
    /// that all cores build side by side.
    pub fn job_table(
        &self,
        ids: Option<&IdSet>,
        interrupted: &(dyn Fn() -> bool + Sync),
    ) -> Result<Vec<RecordBatch>> {
        let inner = self.lock();
        let all = inner.tables.all_ids();
        let ids = ids.unwrap_or(&all);
        let queued = all_where(&inner, Predicate::Queued);
        let tables = &inner.tables;
        let parts = parts_of(ids);
        std::thread::scope(|scope| {
            let build = |part: &IdSet| batch_of(tables, part, &queued, interrupted);
            let (first, others) = parts.split_first().expect("there is one part at least");
            let others: Vec<_> = others.iter().map(|p| scope.spawn(move || build(p))).collect();
            let first = build(first);
            let others = others.into_iter().map(|thread| thread.join().expect("no panic in it"));
            std::iter::once(first).chain(others).collect()
        })
    }
}

/// Ids in as many parts of equal size as there are cores; small sets stay whole.
fn parts_of(ids: &IdSet) -> Vec<IdSet> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let count = ids.len() as usize;
    if count < SERIAL || cores == 1 {
        return vec![ids.clone()];
    }
    let size = count.div_ceil(cores) as u32;
    let bounds = (0..cores as u32).map(|core| (core * size, (core + 1) * size - 1));
    let part = |(first, last): (u32, u32)| {
        let first = ids.select(first)?;
        let last = ids.select(last).or(ids.max())?;
        Some(ids.intersection(&IdSet::range(first, last)))
    };
    bounds.filter_map(part).collect()
}

fn batch_of(
    tables: &Tables,
    ids: &IdSet,
    queued: &IdSet,
    interrupted: &(dyn Fn() -> bool + Sync),
) -> Result<RecordBatch> {
    let mut table = Builders::new();
    let mut of_chunk = ChunkTexts::default();
    for (number, job) in ids.iter().enumerate() {
        if number % PIECE == PIECE - 1 && interrupted() {
            return Err(Error::new(ErrorKind::Interrupted, "interrupted"));
        }
        table.push(tables, job, queued.contains(job), &mut of_chunk);
    }
    Ok(table.finish(tables, ids))
}

fn all_where(inner: &Inner, predicate: Predicate) -> IdSet {
    let found = all_rows_where(inner, predicate);
    if inner.tables.removed.is_empty() {
        return found;
    }
    found.difference(&inner.tables.removed)
}

fn all_rows_where(inner: &Inner, predicate: Predicate) -> IdSet {
    let jobs = &inner.tables.jobs;
    let stage = |fits: fn(Stage) -> bool| jobs.stage.ids_where(|s| fits(Stage::from_code(s)));
    match predicate {
        Predicate::Defined => inner.tables.all_ids(),
        Predicate::Submitted => stage(|s| s != Stage::Defined),
        Predicate::NotSubmitted => stage(|s| s == Stage::Defined),
        Predicate::Started => jobs.started.ids_where(|at| at != NEVER),
        Predicate::NotStarted => jobs.started.ids_where(|at| at == NEVER),
        Predicate::Done => stage(|s| s == Stage::Done),
        Predicate::NotDone => stage(|s| s != Stage::Done),
        Predicate::Error => stage(|s| s == Stage::Error),
        Predicate::Expired => stage(|s| s == Stage::Expired),
        Predicate::OnSystem => stage(Stage::is_unfinished),
        Predicate::Running => stage(|s| s == Stage::Started).difference(&queued(inner)),
        Predicate::Ended => stage(|s| matches!(s, Stage::Done | Stage::Error | Stage::Expired)),
        Predicate::Queued => queued(inner),
    }
}

/// Unfinished jobs whose task the newest look showed waiting, be it for another run.
fn queued(inner: &Inner) -> IdSet {
    let waiting = inner.tables.open.iter().filter(|chunk| inner.looks.is_queued(**chunk));
    let jobs = waiting.map(|chunk| inner.tables.unfinished_of(*chunk));
    jobs.flat_map(|ids| ids.iter().collect::<Vec<_>>()).collect()
}

/// Texts that all jobs of a task share, made once a task.
#[derive(Default)]
struct ChunkTexts {
    index: Option<u32>,
    job_hash: String,
    log_file: Option<String>,
    host: u32,
}

impl ChunkTexts {
    fn of(&mut self, tables: &Tables, index: u32, chunk: &Chunk) {
        if self.index == Some(index) {
            return;
        }
        let claimed = chunk.files.iter().rev().map(|number| &tables.files[*number as usize - 1]);
        let newest = claimed.into_iter().find(|file| !file.void);
        self.index = Some(index);
        self.job_hash = chunk.chunk().to_string();
        self.host = newest.map_or(0, |file| file.host);
        self.log_file = newest
            .map(|file| Layout::log_name(chunk.run(file.run)))
            .or_else(|| chunk.log_file.clone());
    }
}

struct Builders {
    job_id: Int64Builder,
    submitted: TimestampMicrosecondBuilder,
    started: TimestampMicrosecondBuilder,
    done: TimestampMicrosecondBuilder,
    error: StringBuilder,
    mem_used: Float64Builder,
    batch_id: StringBuilder,
    log_file: StringBuilder,
    job_hash: StringBuilder,
    job_name: StringBuilder,
    time_queued: DurationMicrosecondBuilder,
    time_running: DurationMicrosecondBuilder,
    state: StringBuilder,
    attempt: Int32Builder,
    cause: StringBuilder,
    host: StringBuilder,
    resources: StringBuilder,
}

fn known(at: i64) -> Option<i64> {
    (at != NEVER).then_some(at)
}

impl Builders {
    fn new() -> Self {
        let time = || TimestampMicrosecondBuilder::new().with_timezone("UTC");
        Self {
            job_id: Int64Builder::new(),
            submitted: time(),
            started: time(),
            done: time(),
            error: StringBuilder::new(),
            mem_used: Float64Builder::new(),
            batch_id: StringBuilder::new(),
            log_file: StringBuilder::new(),
            job_hash: StringBuilder::new(),
            job_name: StringBuilder::new(),
            time_queued: DurationMicrosecondBuilder::new(),
            time_running: DurationMicrosecondBuilder::new(),
            state: StringBuilder::new(),
            attempt: Int32Builder::new(),
            cause: StringBuilder::new(),
            host: StringBuilder::new(),
            resources: StringBuilder::new(),
        }
    }

    fn push(&mut self, tables: &Tables, job: JobId, queued: bool, texts: &mut ChunkTexts) {
        let (jobs, at) = (&tables.jobs, row(job));
        let stage = jobs.stage_of(job);
        let submitted = known(jobs.submitted.get(at));
        let started = known(jobs.started.get(at));
        let ended = known(jobs.ended.get(at));
        self.job_id.append_value(i64::from(job));
        self.submitted.append_option(submitted);
        self.started.append_option(started);
        self.done.append_option(ended);
        self.error.append_option(tables.texts.get(jobs.message.get(at)));
        let peak = jobs.peak_kib.get(at);
        self.mem_used.append_option((peak > 0).then(|| f64::from(peak) * 1024.0 / 1e6));
        let chunk = tables.chunk_of(job).filter(|_| stage != Stage::Defined);
        if let Some((index, chunk)) = chunk {
            texts.of(tables, index, chunk);
            self.batch_id.append_option(chunk.batch_id.as_deref());
            self.log_file.append_option(texts.log_file.as_deref());
            self.job_hash.append_value(&texts.job_hash);
            self.host.append_option(tables.texts.get(texts.host));
            self.resources.append_option(tables.texts.get(chunk.resources));
        } else {
            self.batch_id.append_null();
            self.log_file.append_null();
            self.job_hash.append_null();
            self.host.append_null();
            self.resources.append_null();
        }
        self.job_name.append_option(tables.texts.get(jobs.name.get(at)));
        let between = |from: Option<i64>, to: Option<i64>| {
            // Clocks of two hosts may differ: a negative time is shown as none at all.
            Some((to? - from?).max(0))
        };
        self.time_queued.append_option(between(submitted, started));
        self.time_running.append_option(between(started, ended));
        self.state.append_value(state_name(stage, queued));
        self.attempt.append_value(i32::from(jobs.attempt.get(at)));
        self.cause.append_option(tables.cause_of(job).map(Cause::name));
    }

    fn finish(mut self, tables: &Tables, ids: &IdSet) -> RecordBatch {
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("job_id", Arc::new(self.job_id.finish())),
            ("submitted", Arc::new(self.submitted.finish())),
            ("started", Arc::new(self.started.finish())),
            ("done", Arc::new(self.done.finish())),
            ("error", Arc::new(self.error.finish())),
            ("mem_used", Arc::new(self.mem_used.finish())),
            ("batch_id", Arc::new(self.batch_id.finish())),
            ("log_file", Arc::new(self.log_file.finish())),
            ("job_hash", Arc::new(self.job_hash.finish())),
            ("job_name", Arc::new(self.job_name.finish())),
            ("time_queued", Arc::new(self.time_queued.finish())),
            ("time_running", Arc::new(self.time_running.finish())),
            ("state", Arc::new(self.state.finish())),
            ("attempt", Arc::new(self.attempt.finish())),
            ("cause", Arc::new(self.cause.finish())),
            ("host", Arc::new(self.host.finish())),
            ("resources", Arc::new(self.resources.finish())),
            ("tags", tags(tables, ids)),
        ];
        let fields: Vec<Field> = columns
            .iter()
            .map(|(name, array)| Field::new(*name, array.data_type().clone(), true))
            .collect();
        let arrays = columns.into_iter().map(|(_, array)| array).collect();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)
            .expect("all columns have one row a job")
    }
}

fn state_name(stage: Stage, queued: bool) -> &'static str {
    match stage {
        Stage::Defined => "defined",
        Stage::Submitted | Stage::Started if queued => "queued",
        Stage::Submitted => "submitted",
        Stage::Started => "running",
        Stage::Done => "done",
        Stage::Error => "error",
        Stage::Expired => "expired",
    }
}

/// Sorted tags of each job; an untagged job has an empty list.
fn tags(tables: &Tables, ids: &IdSet) -> ArrayRef {
    let item = Field::new("item", DataType::Utf8, true);
    let mut lists = ListBuilder::new(StringBuilder::new()).with_field(Arc::new(item));
    for job in ids.iter() {
        let held = tables.tags.iter().filter(|(_, tagged)| tagged.contains(job));
        held.for_each(|(tag, _)| lists.values().append_value(tag));
        lists.append(true);
    }
    Arc::new(lists.finish())
}

/// The type of all times in tables.
pub fn time_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// `job_id, terminated, error, message`: message whole, with its traceback.
pub fn failure_table(endings: &[super::collecting::Ended]) -> RecordBatch {
    let mut job_id = Int64Builder::new();
    let mut terminated = arrow_array::builder::BooleanBuilder::new();
    let mut error = arrow_array::builder::BooleanBuilder::new();
    let mut message = StringBuilder::new();
    for ended in endings {
        job_id.append_value(i64::from(ended.job));
        terminated.append_value(matches!(ended.stage, Stage::Done | Stage::Error));
        error.append_value(ended.stage == Stage::Error);
        let text = ended.failure.as_ref().map(|failure| match failure.traceback.as_str() {
            "" => failure.message.clone(),
            traceback => traceback.to_owned(),
        });
        message.append_option(text);
    }
    let fields = vec![
        Field::new("job_id", DataType::Int64, true),
        Field::new("terminated", DataType::Boolean, true),
        Field::new("error", DataType::Boolean, true),
        Field::new("message", DataType::Utf8, true),
    ];
    let columns: Vec<ArrayRef> = vec![
        Arc::new(job_id.finish()),
        Arc::new(terminated.finish()),
        Arc::new(error.finish()),
        Arc::new(message.finish()),
    ];
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
        .expect("all columns have one row a job")
}
