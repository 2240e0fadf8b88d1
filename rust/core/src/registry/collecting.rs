//! Results, failures and logs, read back from run files in large pieces.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::Interrupted;
use crate::error::{Error, ErrorKind, Result};
use crate::frame::{self, FILE_HEADER, FRAME_HEADER, FileId};
use crate::ids::{IdSet, JobId};
use crate::layout::RunId;
use crate::run::{self, Body, Cause, Failure, LogPiece, Record, RecordFault, Stored};
use crate::tables::{Stage, Tables, row};

use super::Registry;

/// How much of a run file is read at once.
const WINDOW: usize = 4 << 20;
/// A batch ends behind so many bytes of results, or so many results: callers hear Ctrl-C between
/// batches.
const BATCH: usize = 8 << 20;
const MOST: usize = 1 << 14;
/// How many pieces of logs are taken between two questions whether to stop.
const PIECES: usize = 1 << 12;

/// Where a job's end frame lies.
#[derive(Clone, Debug)]
pub(super) struct EndPlace {
    job: JobId,
    pub(super) run: RunId,
    segment: u32,
    id: FileId,
    offset: u64,
}

pub(super) fn end_place(tables: &Tables, job: JobId) -> Option<EndPlace> {
    let number = tables.jobs.file.get(row(job)).checked_sub(1)?;
    let file = tables.files.get(number as usize)?;
    let chunk = tables.chunks.get(file.chunk as usize)?;
    Some(EndPlace {
        job,
        run: chunk.run(file.run),
        segment: file.segment,
        id: file.file_id(),
        offset: tables.jobs.offset.get(row(job)),
    })
}

/// A stretch of a run file in memory.
#[derive(Default)]
pub(super) struct Window {
    path: PathBuf,
    start: u64,
    bytes: Vec<u8>,
}

impl Window {
    /// The end frame at `place`, reading further where it is not in the window yet.
    pub(super) fn end<T>(
        &mut self,
        registry: &Registry,
        place: &EndPlace,
        take: impl FnOnce(&run::End<'_>) -> Result<T>,
    ) -> Result<T> {
        let path = registry.layout.run(place.run, place.segment);
        if self.path != path || !self.holds(place) {
            self.load(registry, path, place)?;
        }
        let frame = frame::frame_at(place.id, &self.bytes, self.start, place.offset)
            .ok_or_else(|| Error::corrupt(&self.path, place.offset, "an end record is damaged"))?;
        match Record::read(&frame) {
            Ok(Record::End(end)) if end.job == place.job => take(&end),
            _ => Err(Error::corrupt(&self.path, place.offset, "it is not the job's end record")),
        }
    }

    fn holds(&self, place: &EndPlace) -> bool {
        place.offset >= self.start
            && frame::frame_at(place.id, &self.bytes, self.start, place.offset).is_some()
    }

    fn load(&mut self, registry: &Registry, path: PathBuf, place: &EndPlace) -> Result<()> {
        let header = registry.fs.read(&path, place.offset, FRAME_HEADER)?;
        let length = frame::frame_length(&header).unwrap_or(FRAME_HEADER);
        self.bytes = registry.fs.read(&path, place.offset, WINDOW.max(length))?;
        self.start = place.offset;
        self.path = path;
        Ok(())
    }
}

/// Hands out pickled results in the order of the ids asked for.
pub struct ResultReader {
    registry: Arc<Registry>,
    places: std::vec::IntoIter<EndPlace>,
    window: Window,
}

impl ResultReader {
    /// The next results, some megabytes unless one alone is larger; none at the end.
    pub fn next_batch(&mut self) -> Result<Option<Vec<Vec<u8>>>> {
        let (mut batch, mut size) = (Vec::new(), 0);
        while size < BATCH
            && batch.len() < MOST
            && let Some(place) = self.places.next()
        {
            let registry = &self.registry;
            let bytes = self.window.end(registry, &place, |end| match end.body {
                Body::Result(bytes) => Ok(bytes.to_vec()),
                Body::Stored(at) => stored(registry, place.run, at),
                Body::Failure(_) => Err(not_done(place.job)),
            })?;
            size += bytes.len();
            batch.push(bytes);
        }
        Ok((!batch.is_empty()).then_some(batch))
    }
}

fn not_done(job: JobId) -> Error {
    Error::new(ErrorKind::UnknownJob, format!("job {job} has no result"))
}

pub(super) fn stored(registry: &Registry, run: RunId, at: Stored) -> Result<Vec<u8>> {
    let path = registry.layout.results(run, at.worker);
    let length = usize::try_from(at.length).unwrap_or(usize::MAX);
    let bytes = registry.fs.read(&path, at.offset, length)?;
    if bytes.len() != length {
        return Err(Error::corrupt(&path, at.offset, "a result is cut short"));
    }
    if crc32fast::hash(&bytes) != at.crc32 {
        return Err(Error::corrupt(&path, at.offset, "a result fails its checksum"));
    }
    Ok(bytes)
}

/// Why a job has no result.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    pub job: JobId,
    pub stage: Stage,
    pub cause: Option<Cause>,
    pub failure: Option<Failure>,
}

impl Registry {
    /// Results of jobs that are all done.
    pub fn results(self: &Arc<Self>, ids: &[JobId]) -> Result<ResultReader> {
        let places = self.read(|tables| {
            let place = |job: &JobId| match tables.jobs.stage_of(*job) {
                Stage::Done => end_place(tables, *job).ok_or_else(|| not_done(*job)),
                _ => Err(not_done(*job)),
            };
            ids.iter().map(place).collect::<Result<Vec<_>>>()
        })?;
        Ok(ResultReader {
            registry: self.clone(),
            places: places.into_iter(),
            window: Window::default(),
        })
    }

    /// How each of these jobs stands, with the whole failure of those that are errors.
    pub fn endings(&self, ids: &IdSet) -> Result<Vec<Ended>> {
        let rows: Vec<(Ended, Option<EndPlace>)> = self.read(|tables| {
            let ended = |job| {
                let stage = tables.jobs.stage_of(job);
                let place = (stage == Stage::Error).then(|| end_place(tables, job)).flatten();
                (Ended { job, stage, cause: tables.cause_of(job), failure: None }, place)
            };
            ids.iter().map(ended).collect()
        });
        let mut window = Window::default();
        let whole = |(mut ended, place): (Ended, Option<EndPlace>)| {
            if let Some(place) = place {
                ended.failure = Some(window.end(self, &place, |end| Ok(failure(end)))?);
            }
            Ok(ended)
        };
        rows.into_iter().map(whole).collect()
    }

    /// What the job's newest attempt printed; none if there is no log.
    pub fn log(&self, job: JobId) -> Result<Option<Vec<u8>>> {
        let runs = self.read(|tables| runs_of(tables, &IdSet::range(job, job)));
        let mut printed: Option<Vec<u8>> = None;
        for (id, segments) in runs {
            let wanted = |piece: &LogPiece| piece.job == job;
            let log = self.run_log(id, &segments, wanted, &|| false)?;
            let Some(log) = log else { continue };
            let own = log.into_values().flatten();
            printed.get_or_insert_default().extend(own);
        }
        Ok(printed)
    }

    pub fn logs(self: &Arc<Self>, ids: &IdSet) -> LogReader {
        let runs = self.read(|tables| runs_of(tables, ids));
        LogReader { registry: self.clone(), ids: ids.clone(), runs: runs.into_iter() }
    }

    /// The log of one run by job; none if the run has printed nothing.
    pub(super) fn run_log(
        &self,
        id: RunId,
        segments: &[(u32, FileId)],
        wanted: impl Fn(&LogPiece) -> bool,
        interrupted: Interrupted<'_>,
    ) -> Result<Option<BTreeMap<JobId, Vec<u8>>>> {
        let mut pieces = Vec::new();
        for (segment, file) in segments {
            pieces.extend(self.log_pieces(id, *segment, *file, interrupted)?);
        }
        // A log that exists is shown, even where this job printed nothing.
        let text = match self.fs.tail(&self.layout.log(id), 0) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let mut by_job: BTreeMap<JobId, Vec<u8>> = BTreeMap::new();
        for (number, piece) in pieces.iter().filter(|piece| wanted(piece)).enumerate() {
            go_on(number, interrupted)?;
            let start = usize::try_from(piece.offset).unwrap_or(usize::MAX);
            let end = start.saturating_add(usize::try_from(piece.length).unwrap_or(usize::MAX));
            let bytes = text.get(start.min(text.len())..end.min(text.len())).unwrap_or_default();
            by_job.entry(piece.job).or_default().extend_from_slice(bytes);
        }
        Ok(Some(by_job))
    }

    fn log_pieces(
        &self,
        id: RunId,
        segment: u32,
        file: FileId,
        interrupted: Interrupted<'_>,
    ) -> Result<Vec<LogPiece>> {
        let path = self.layout.run(id, segment);
        let bytes = match self.fs.tail(&path, FILE_HEADER as u64) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut pieces = Vec::new();
        let frames = frame::scan(file, &bytes, frame::Position::START).frames;
        for (number, frame) in frames.iter().enumerate() {
            go_on(number, interrupted)?;
            match Record::read(frame) {
                Ok(Record::Log(more)) => pieces.extend(more),
                Err(RecordFault::Newer(kind)) => {
                    let what = format!("`{}` has records of kind {kind}", path.display());
                    return Err(Error::new(ErrorKind::Version, what).at(&path));
                }
                _ => {}
            }
        }
        Ok(pieces)
    }
}

pub(super) fn go_on(number: usize, interrupted: Interrupted<'_>) -> Result<()> {
    if number % PIECES == PIECES - 1 && interrupted() {
        return Err(Error::new(ErrorKind::Interrupted, "interrupted"));
    }
    Ok(())
}

fn failure(end: &run::End<'_>) -> Failure {
    match end.body {
        Body::Failure(json) => serde_json::from_slice(json).unwrap_or_default(),
        _ => Failure::default(),
    }
}

pub(super) type RunSegments = (RunId, Vec<(u32, FileId)>);

/// The runs of the jobs' newest attempts with their segments, in order.
pub(super) fn runs_of(tables: &Tables, ids: &IdSet) -> Vec<RunSegments> {
    let mut runs: BTreeMap<(u32, u32), Vec<(u32, FileId)>> = BTreeMap::new();
    let mut last = u32::MAX;
    for job in ids.iter() {
        let Some((index, chunk)) = tables.chunk_of(job) else { continue };
        if index == last {
            continue;
        }
        last = index;
        for number in &chunk.files {
            let file = &tables.files[*number as usize - 1];
            let segments = runs.entry((index, file.run)).or_default();
            let segment = (file.segment, file.file_id());
            if !file.void && !segments.contains(&segment) {
                segments.push(segment);
            }
        }
    }
    let named = runs
        .into_iter()
        .map(|((index, run), segments)| (tables.chunks[index as usize].run(run), segments));
    named.filter(|(_, segments)| !segments.is_empty()).collect()
}

/// Jobs and what they printed.
type Logs = Vec<(JobId, Vec<u8>)>;

/// Hands out logs run by run.
pub struct LogReader {
    registry: Arc<Registry>,
    ids: IdSet,
    runs: std::vec::IntoIter<RunSegments>,
}

impl LogReader {
    /// The logs of the next run's jobs, ascending; none at the end.
    pub fn next_batch(&mut self, interrupted: Interrupted<'_>) -> Result<Option<Logs>> {
        let Some((id, segments)) = self.runs.next() else { return Ok(None) };
        let ids = &self.ids;
        let wanted = |piece: &LogPiece| ids.contains(piece.job);
        let log = self.registry.run_log(id, &segments, wanted, interrupted)?;
        Ok(Some(log.unwrap_or_default().into_iter().collect()))
    }
}
