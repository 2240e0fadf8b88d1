//! The tables of a registry: jobs, chunks, run files, settings. They are the fold of the owner's
//! records and change by [`Tables::apply`] alone.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use crate::clock::Micros;
use crate::columns::Column;
use crate::experiments::Block;
use crate::frame::{FileId, Position};
use crate::ids::{IdSet, JobId};
use crate::journal::{Definition, FileNews, GivenUp, Intent, News, Record, Submitted};
use crate::layout::{ChunkId, RunId};
use crate::run::Cause;
use crate::texts::Texts;

/// A time that is not known.
pub const NEVER: Micros = i64::MIN;

/// What is stored of a job's state; queued and running follow from the newest look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u8)]
pub enum Stage {
    #[default]
    Defined = 0,
    Submitted = 1,
    Started = 2,
    Done = 3,
    Error = 4,
    Expired = 5,
}

impl Stage {
    pub fn from_code(code: u8) -> Self {
        match code {
            1 => Self::Submitted,
            2 => Self::Started,
            3 => Self::Done,
            4 => Self::Error,
            5 => Self::Expired,
            _ => Self::Defined,
        }
    }

    pub fn is_unfinished(self) -> bool {
        matches!(self, Self::Submitted | Self::Started)
    }
}

/// Columns of the job table; a job's row is its id less one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Jobs {
    pub stage: Column<u8>,
    pub cause: Column<u8>,
    pub attempt: Column<u16>,
    pub submitted: Column<i64>,
    pub started: Column<i64>,
    pub ended: Column<i64>,
    pub peak_kib: Column<u32>,
    /// Number of the newest attempt's task, from 1.
    pub chunk: Column<u32>,
    /// Number of the run file that holds the end, from 1.
    pub file: Column<u32>,
    pub offset: Column<u64>,
    pub message: Column<u32>,
    pub name: Column<u32>,
}

impl Default for Jobs {
    fn default() -> Self {
        Self {
            stage: Column::new(0),
            cause: Column::new(0),
            attempt: Column::new(0),
            submitted: Column::new(NEVER),
            started: Column::new(NEVER),
            ended: Column::new(NEVER),
            peak_kib: Column::new(0),
            chunk: Column::new(0),
            file: Column::new(0),
            offset: Column::new(0),
            message: Column::new(0),
            name: Column::new(0),
        }
    }
}

/// All of a job's row that a submission changes.
#[expect(clippy::struct_field_names, reason = "the columns' own names")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Attempt {
    stage: u8,
    cause: u8,
    attempt: u16,
    submitted: Micros,
    started: Micros,
    ended: Micros,
    peak_kib: u32,
    chunk: u32,
    file: u32,
    offset: u64,
    message: u32,
}

impl Jobs {
    fn grow(&mut self, length: usize) {
        self.stage.grow(length);
        self.cause.grow(length);
        self.attempt.grow(length);
        self.submitted.grow(length);
        self.started.grow(length);
        self.ended.grow(length);
        self.peak_kib.grow(length);
        self.chunk.grow(length);
        self.file.grow(length);
        self.offset.grow(length);
        self.message.grow(length);
        self.name.grow(length);
    }

    pub fn stage_of(&self, job: JobId) -> Stage {
        Stage::from_code(self.stage.get(row(job)))
    }

    fn attempt_of(&self, job: JobId) -> Attempt {
        let row = row(job);
        Attempt {
            stage: self.stage.get(row),
            cause: self.cause.get(row),
            attempt: self.attempt.get(row),
            submitted: self.submitted.get(row),
            started: self.started.get(row),
            ended: self.ended.get(row),
            peak_kib: self.peak_kib.get(row),
            chunk: self.chunk.get(row),
            file: self.file.get(row),
            offset: self.offset.get(row),
            message: self.message.get(row),
        }
    }

    fn restore(&mut self, job: JobId, attempt: &Attempt) {
        let row = row(job);
        self.stage.set(row, attempt.stage);
        self.cause.set(row, attempt.cause);
        self.attempt.set(row, attempt.attempt);
        self.submitted.set(row, attempt.submitted);
        self.started.set(row, attempt.started);
        self.ended.set(row, attempt.ended);
        self.peak_kib.set(row, attempt.peak_kib);
        self.chunk.set(row, attempt.chunk);
        self.file.set(row, attempt.file);
        self.offset.set(row, attempt.offset);
        self.message.set(row, attempt.message);
    }

    /// As never submitted, for a whole set.
    fn blank(&mut self, ids: &IdSet) {
        self.stage.fill_ids(ids, Stage::Defined as u8);
        self.cause.fill_ids(ids, 0);
        self.submitted.fill_ids(ids, NEVER);
        self.started.fill_ids(ids, NEVER);
        self.ended.fill_ids(ids, NEVER);
        self.peak_kib.fill_ids(ids, 0);
        self.file.fill_ids(ids, 0);
        self.offset.fill_ids(ids, 0);
        self.message.fill_ids(ids, 0);
    }
}

pub fn row(job: JobId) -> usize {
    job as usize - 1
}

fn put(named: &mut BTreeMap<String, String>, name: &str, value: Option<&String>) {
    match value {
        Some(value) => named.insert(name.to_owned(), value.clone()),
        None => named.remove(name),
    };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// The scheduler was about to be asked; its answer is not known.
    Intended,
    Submitted,
    /// Nothing more is expected: all ended, taken back or given up.
    Over,
}

/// One task: what the scheduler runs as one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Chunk {
    pub id: [u8; 16],
    /// Array index; 0 without an array.
    pub task: u32,
    pub jobs: IdSet,
    pub unfinished: u32,
    /// Number of the resources' JSON text.
    pub resources: u32,
    /// Number of the backend's name.
    pub backend: u32,
    pub phase: Phase,
    pub submitted: Micros,
    pub batch_id: Option<String>,
    pub log_file: Option<String>,
    /// Numbers of its run files, ascending by run and segment as found.
    pub files: Vec<u32>,
    /// Rows of its jobs before the intent, kept until the scheduler has accepted it.
    before: Vec<(JobId, Attempt)>,
}

impl Chunk {
    pub fn chunk(&self) -> ChunkId {
        ChunkId(u128::from_be_bytes(self.id))
    }

    pub fn run(&self, run: u32) -> RunId {
        RunId { chunk: self.chunk(), task: self.task, run }
    }
}

/// A run file and how far it was read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunFile {
    /// Index into the chunk table.
    pub chunk: u32,
    pub run: u32,
    pub segment: u32,
    pub id: [u8; 16],
    pub offset: u64,
    pub seq: u32,
    /// Number of the host's name.
    pub host: u32,
    pub void: bool,
    pub closed: Option<u8>,
}

impl RunFile {
    pub fn position(&self) -> Position {
        Position { offset: self.offset, seq: self.seq }
    }

    pub fn file_id(&self) -> FileId {
        FileId(self.id)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tables {
    pub jobs: Jobs,
    pub definitions: Vec<Definition>,
    /// JSON by name.
    pub problems: BTreeMap<String, String>,
    pub algorithms: BTreeMap<String, String>,
    pub blocks: Vec<Block>,
    pub removed: IdSet,
    pub chunks: Vec<Chunk>,
    pub files: Vec<RunFile>,
    /// Indices of chunks that are not over.
    pub open: BTreeSet<u32>,
    pub settings: BTreeMap<String, String>,
    pub exports: BTreeMap<String, String>,
    pub tags: BTreeMap<String, IdSet>,
    /// Resources, backends, hosts, messages and names.
    pub texts: Texts,
    #[serde(skip)]
    by_task: HashMap<([u8; 16], u32), u32>,
}

impl Tables {
    /// The highest id ever given.
    pub fn n_jobs(&self) -> u32 {
        self.jobs.stage.len() as u32
    }

    pub fn all_ids(&self) -> IdSet {
        IdSet::range(1, self.n_jobs()).difference(&self.removed)
    }

    /// After deserialisation: what is derived from the rest.
    pub fn index(&mut self) {
        let tasks = self.chunks.iter().zip(0..);
        self.by_task = tasks.map(|(chunk, index)| ((chunk.id, chunk.task), index)).collect();
    }

    pub fn chunk_index(&self, chunk: ChunkId, task: u32) -> Option<u32> {
        self.by_task.get(&(chunk.0.to_be_bytes(), task)).copied()
    }

    /// All tasks of a submission.
    pub fn tasks_of(&self, chunk: ChunkId) -> Vec<u32> {
        let plain = self.chunk_index(chunk, 0);
        if plain.is_some() {
            return plain.into_iter().collect();
        }
        (1..).map_while(|task| self.chunk_index(chunk, task)).collect()
    }

    pub fn chunk_of(&self, job: JobId) -> Option<(u32, &Chunk)> {
        let index = self.jobs.chunk.get(row(job)).checked_sub(1)?;
        self.chunks.get(index as usize).map(|chunk| (index, chunk))
    }

    pub fn apply(&mut self, record: &Record) {
        match record {
            Record::Adopt(_) | Record::Continue(_) | Record::Beat(_) => {}
            Record::Setting { name, value: Some(value) } => {
                self.settings.insert(name.clone(), value.clone());
            }
            Record::Setting { name, value: None } => {
                self.settings.remove(name);
            }
            Record::Exports { put, remove } => {
                for name in remove {
                    self.exports.remove(name);
                }
                self.exports.extend(put.iter().cloned());
            }
            Record::Define(definition) => {
                self.jobs.grow((definition.first + definition.count - 1) as usize);
                self.definitions.push(definition.clone());
            }
            Record::Intent(intent) => self.intend(intent),
            Record::Submitted(submitted) => self.submitted(submitted),
            Record::TakenBack(chunks) => chunks.iter().for_each(|c| self.take_back(*c)),
            Record::GivenUp(given_up) => self.give_up(given_up),
            Record::News(news) => self.merge(news),
            Record::Reset(ids) => self.reset(ids),
            Record::Names { ids, names } => {
                self.texts.reserve(names.len());
                for (id, name) in ids.iter().zip(names) {
                    let number = name.as_ref().map_or(0, |name| self.texts.number(name));
                    self.jobs.name.set(row(*id), number);
                }
            }
            Record::Tagged { tag, ids } => {
                let tagged = self.tags.entry(tag.clone()).or_default();
                *tagged = tagged.union(ids);
            }
            Record::Untagged { tag, ids } => self.untag(tag, ids),
            Record::Cleared => self.clear(),
            Record::Problem { name, spec } => put(&mut self.problems, name, spec.as_ref()),
            Record::Algorithm { name, spec } => put(&mut self.algorithms, name, spec.as_ref()),
            Record::Experiments(blocks) => {
                if let Some(block) = blocks.last() {
                    self.jobs.grow(block.last() as usize);
                }
                self.blocks.extend(blocks.iter().cloned());
            }
            Record::Removed(ids) => self.remove(ids),
            Record::Together(together) => together.records().for_each(|r| self.apply(&r)),
        }
    }

    /// What is left of a removed job is its id.
    fn remove(&mut self, ids: &IdSet) {
        self.reset(ids);
        self.jobs.attempt.fill_ids(ids, 0);
        self.jobs.name.fill_ids(ids, 0);
        let tags: Vec<String> = self.tags.keys().cloned().collect();
        for tag in &tags {
            self.untag(tag, ids);
        }
        self.removed = self.removed.union(ids);
    }

    fn intend(&mut self, intent: &Intent) {
        let backend = self.texts.number(&intent.backend);
        let resources: Vec<u32> = intent.resources.iter().map(|r| self.texts.number(r)).collect();
        for chunk in &intent.chunks {
            let resources = resources.get(chunk.resources as usize).copied().unwrap_or(0);
            let tasks: Vec<(u32, IdSet)> = if intent.array_tasks {
                chunk.jobs.iter().zip(1..).map(|(j, t)| (t, IdSet::range(j, j))).collect()
            } else {
                vec![(0, chunk.jobs.clone())]
            };
            for (task, jobs) in tasks {
                let index = self.chunks.len() as u32;
                let before = self.leave_chunks(&jobs);
                self.start_attempt(&jobs, index + 1, intent.at);
                self.by_task.insert((chunk.id, task), index);
                self.open.insert(index);
                self.chunks.push(Chunk {
                    id: chunk.id,
                    task,
                    unfinished: jobs.len() as u32,
                    jobs,
                    resources,
                    backend,
                    phase: Phase::Intended,
                    submitted: intent.at,
                    batch_id: None,
                    log_file: None,
                    files: Vec::new(),
                    before,
                });
            }
        }
    }

    /// The rows that a new attempt replaces, of jobs that had one.
    fn leave_chunks(&self, jobs: &IdSet) -> Vec<(JobId, Attempt)> {
        let had_one = |job: &JobId| self.jobs.chunk.get(row(*job)) != 0;
        jobs.iter().filter(had_one).map(|job| (job, self.jobs.attempt_of(job))).collect()
    }

    fn start_attempt(&mut self, jobs: &IdSet, chunk: u32, at: Micros) {
        self.jobs.blank(jobs);
        self.jobs.stage.fill_ids(jobs, Stage::Submitted as u8);
        self.jobs.submitted.fill_ids(jobs, at);
        self.jobs.chunk.fill_ids(jobs, chunk);
        for (first, last) in jobs.ranges() {
            self.count_attempt(row(first), row(last));
        }
    }

    /// Jobs of a range mostly have the same number of attempts.
    fn count_attempt(&mut self, first: usize, last: usize) {
        let mut start = first;
        while start <= last {
            let attempt = self.jobs.attempt.get(start);
            let mut end = start;
            while end < last && self.jobs.attempt.get(end + 1) == attempt {
                end += 1;
            }
            self.jobs.attempt.fill(start, end, attempt.saturating_add(1));
            start = end + 1;
        }
    }

    fn submitted(&mut self, submitted: &Submitted) {
        for (index, batch_id) in (submitted.chunk..).zip(&submitted.batch_ids) {
            let Some(chunk) = self.chunks.get_mut(index as usize) else { return };
            chunk.batch_id = Some(batch_id.clone());
            chunk.log_file.clone_from(&submitted.log_file);
            chunk.before = Vec::new();
            if chunk.phase == Phase::Intended {
                chunk.phase = Phase::Submitted;
            }
        }
    }

    fn take_back(&mut self, index: u32) {
        let Some(chunk) = self.chunks.get_mut(index as usize) else { return };
        let before = std::mem::take(&mut chunk.before);
        let jobs = chunk.jobs.clone();
        self.close(index);
        let still_its: IdSet =
            jobs.iter().filter(|j| self.jobs.chunk.get(row(*j)) == index + 1).collect();
        self.jobs.blank(&still_its);
        self.jobs.chunk.fill_ids(&still_its, 0);
        for (first, last) in still_its.ranges() {
            for row in row(first)..=row(last) {
                let attempt = self.jobs.attempt.get(row);
                self.jobs.attempt.set(row, attempt.saturating_sub(1));
            }
        }
        for (job, attempt) in before {
            if still_its.contains(job) {
                self.jobs.restore(job, &attempt);
            }
        }
    }

    fn close(&mut self, index: u32) {
        self.open.remove(&index);
        if let Some(chunk) = self.chunks.get_mut(index as usize) {
            chunk.phase = Phase::Over;
            chunk.before = Vec::new();
        }
    }

    /// Unfinished jobs whose newest attempt is this task.
    pub fn unfinished_of(&self, index: u32) -> IdSet {
        let Some(chunk) = self.chunks.get(index as usize) else { return IdSet::default() };
        if chunk.unfinished == 0 {
            return IdSet::default();
        }
        let is_its = |job: &JobId| {
            self.jobs.chunk.get(row(*job)) == index + 1 && self.jobs.stage_of(*job).is_unfinished()
        };
        chunk.jobs.iter().filter(is_its).collect()
    }

    fn give_up(&mut self, given_up: &GivenUp) {
        for index in &given_up.chunks {
            let unfinished = self.unfinished_of(*index);
            let back = unfinished.intersection(&given_up.taken_back);
            let expired = unfinished.difference(&back);
            self.jobs.blank(&back);
            self.jobs.stage.fill_ids(&expired, Stage::Expired as u8);
            self.jobs.cause.fill_ids(&expired, given_up.cause);
            if let Some(chunk) = self.chunks.get_mut(*index as usize) {
                chunk.unfinished = 0;
            }
            self.close(*index);
        }
    }

    fn merge(&mut self, news: &News) {
        for file in &news.files {
            self.merge_file(file);
        }
        for (job, at) in &news.started {
            if self.jobs.stage_of(*job) == Stage::Submitted {
                self.jobs.stage.set(row(*job), Stage::Started as u8);
                self.jobs.started.set(row(*job), *at);
            }
        }
        let numbers: Vec<u32> = news.ends.messages.iter().map(|m| self.texts.number(m)).collect();
        for end in news.ends.rows().unwrap_or_default() {
            let at = row(end.job);
            let was_unfinished = self.jobs.stage_of(end.job).is_unfinished();
            let stage = if end.cause == 0 { Stage::Done } else { Stage::Error };
            self.jobs.stage.set(at, stage as u8);
            self.jobs.cause.set(at, end.cause);
            self.jobs.started.set(at, end.started);
            self.jobs.ended.set(at, end.ended);
            self.jobs.peak_kib.set(at, end.peak_kib);
            self.jobs.file.set(at, end.file);
            self.jobs.offset.set(at, end.offset);
            let message = (end.message as usize).checked_sub(1).and_then(|i| numbers.get(i));
            self.jobs.message.set(at, message.copied().unwrap_or(0));
            if was_unfinished {
                self.one_less(end.job);
            }
        }
        for returned in &news.returned {
            let unfinished = self.unfinished_of(returned.chunk);
            self.jobs.stage.fill_ids(&unfinished, Stage::Expired as u8);
            self.jobs.cause.fill_ids(&unfinished, returned.cause);
            if let Some(chunk) = self.chunks.get_mut(returned.chunk as usize) {
                chunk.unfinished = 0;
            }
            self.close(returned.chunk);
        }
    }

    fn one_less(&mut self, job: JobId) {
        let Some(index) = self.jobs.chunk.get(row(job)).checked_sub(1) else { return };
        let Some(chunk) = self.chunks.get_mut(index as usize) else { return };
        chunk.unfinished = chunk.unfinished.saturating_sub(1);
        if chunk.unfinished == 0 {
            self.close(index);
        }
    }

    fn merge_file(&mut self, news: &FileNews) {
        let host = if news.host.is_empty() { 0 } else { self.texts.number(&news.host) };
        let file = RunFile {
            chunk: news.chunk,
            run: news.run,
            segment: news.segment,
            id: news.id,
            offset: news.offset,
            seq: news.seq,
            host,
            void: news.void,
            closed: news.closed,
        };
        let Some(chunk) = self.chunks.get_mut(news.chunk as usize) else { return };
        // A claim answers whether the scheduler accepted the chunk.
        if !news.void && chunk.phase == Phase::Intended {
            chunk.before = Vec::new();
            chunk.phase = Phase::Submitted;
        }
        let same = |number: &&u32| {
            let known = &self.files[**number as usize - 1];
            known.run == news.run && known.segment == news.segment
        };
        if let Some(number) = chunk.files.iter().find(same) {
            self.files[*number as usize - 1] = file;
        } else {
            self.files.push(file);
            chunk.files.push(self.files.len() as u32);
        }
    }

    /// The number that a run file has, or would get as the next new one.
    pub fn file_number(&self, chunk: u32, run: u32, segment: u32) -> Option<u32> {
        let chunk = self.chunks.get(chunk as usize)?;
        chunk.files.iter().copied().find(|number| {
            let known = &self.files[*number as usize - 1];
            known.run == run && known.segment == segment
        })
    }

    fn reset(&mut self, ids: &IdSet) {
        for job in ids.iter() {
            if self.jobs.stage_of(job).is_unfinished() {
                self.one_less(job);
            }
        }
        self.jobs.blank(ids);
        self.jobs.chunk.fill_ids(ids, 0);
    }

    fn untag(&mut self, tag: &str, ids: &IdSet) {
        let Some(tagged) = self.tags.get_mut(tag) else { return };
        *tagged = tagged.difference(ids);
        if tagged.is_empty() {
            self.tags.remove(tag);
        }
    }

    fn clear(&mut self) {
        *self = Self {
            settings: std::mem::take(&mut self.settings),
            exports: std::mem::take(&mut self.exports),
            problems: std::mem::take(&mut self.problems),
            algorithms: std::mem::take(&mut self.algorithms),
            ..Self::default()
        };
    }

    pub fn cause_of(&self, job: JobId) -> Option<Cause> {
        Cause::from_code(self.jobs.cause.get(row(job)))
    }
}
