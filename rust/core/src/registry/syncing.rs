//! What run files say, merged into the tables: ends, claims, and jobs that a run gave back.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::PathBuf;

use crate::Interrupted;
use crate::clock::Micros;
use crate::error::{Error, ErrorKind, Result};
use crate::frame::{self, Content, FILE_HEADER, Frame, FrameReader, HeaderFault, Position};
use crate::journal::{EndRow, Ends, FileNews, News, Record, Returned};
use crate::layout::{Layout, RunId};
use crate::run::{self, Body, Cause, Claim, Failure};
use crate::tables::{Chunk, Stage, Tables};

use super::looking::{LATE_LOOKS, LATE_LOOKS_AFTER_LOAD, Looks, SILENCE, Sign, has_claim};
use super::writing::Durability;
use super::{Inner, Registry, Role};

impl Registry {
    /// Merges what run files say; true if anything changed. A reader does it in memory.
    pub fn sync(&self, interrupted: Interrupted<'_>) -> Result<bool> {
        let mut inner = self.lock();
        let mut looked_at: Vec<u32> = inner.tables.open.iter().copied().collect();
        looked_at.retain(|chunk| !inner.looks.is_queued(*chunk));
        looked_at.extend(inner.looks.late.keys());
        Ok(self.sync_tasks(&mut inner, &looked_at, false, interrupted)?.changed)
    }

    /// Damage in run files that this process has met: file, offset, length. What lay there is
    /// lost, the records behind it are not.
    pub fn damage(&self) -> Vec<(PathBuf, u64, u64)> {
        self.lock().looks.damage.iter().cloned().collect()
    }

    pub(super) fn sync_tasks(
        &self,
        inner: &mut Inner,
        chunks: &[u32],
        is_last_look: bool,
        interrupted: Interrupted<'_>,
    ) -> Result<Synced> {
        let mut reading = Reading::new(self, inner, is_last_look);
        let mut folders: BTreeMap<u8, Vec<u32>> = BTreeMap::new();
        for chunk in chunks {
            let prefix = inner.tables.chunks[*chunk as usize].chunk().prefix();
            folders.entry(prefix).or_default().push(*chunk);
        }
        let mut looked: HashSet<u32> = HashSet::new();
        for chunks in folders.values_mut() {
            if interrupted() {
                return Err(Error::new(ErrorKind::Interrupted, "interrupted"));
            }
            let any = inner.tables.chunks[chunks[0] as usize].chunk();
            match self.fs.look(&self.layout.runs_of(any)) {
                Ok(names) => {
                    chunks.sort_unstable();
                    reading.read_folder(&inner.tables, &names, chunks)?;
                    looked.extend(chunks.iter());
                }
                // A failed look says nothing about the jobs.
                Err(error) if error.is_failed_look() => {}
                Err(error) => return Err(error),
            }
        }
        let Reading { news, rows, messages, grown, claims, failed, waiting, .. } = reading;
        let (stuck, damage, mut returned) = (reading.stuck, reading.damage, reading.late);
        looked.retain(|chunk| !failed.contains(chunk));
        let news = finished_news(&inner.tables, news, rows, messages);
        let changed = news != News::default();
        returned.extend(news.returned.iter().map(|returned| returned.chunk));
        match inner.role {
            _ if !changed => {}
            Role::Owner(_) => {
                self.write(inner, &[Record::News(news)], Durability::Now)?;
                self.save_if_due(inner);
            }
            _ => inner.tables.apply(&Record::News(news)),
        }
        // Only what was taken in counts as seen.
        let now = self.clock.monotonic();
        let Inner { tables, looks, .. } = inner;
        for chunk in looked.iter().filter(|chunk| has_claim(tables, **chunk)) {
            let sign = looks.signs.entry(*chunk).or_insert(Sign { grown: now, looked: now });
            sign.looked = now;
            if grown.contains(chunk) {
                sign.grown = now;
            }
        }
        looks.signs.retain(|chunk, _| tables.open.contains(chunk));
        looks.claims.extend(claims);
        looks.claims.retain(|chunk, _| tables.open.contains(chunk));
        looks.waiting.retain(|chunk| !looked.contains(chunk) && tables.open.contains(chunk));
        looks.waiting.extend(waiting);
        looks.stuck.retain(|(chunk, ..), _| !looked.contains(chunk));
        looks.stuck.extend(stuck);
        looks.damage.extend(damage);
        looks.late.retain(|chunk, looks| {
            if looked.contains(chunk) {
                *looks = if grown.contains(chunk) { 0 } else { *looks + 1 };
            }
            *looks < LATE_LOOKS
        });
        for chunk in grown.iter().filter(|chunk| !tables.open.contains(chunk)) {
            if let Some(looked) = tables.chunks.get(*chunk as usize).and_then(|c| late(tables, c)) {
                looks.late.entry(*chunk).or_insert(looked);
            }
        }
        looks.late.extend(returned.into_iter().map(|chunk| (chunk, 0)));
        Ok(Synced { changed, grown, looked })
    }
}

/// A later result beats an error, and two runs of a task may end the same job. How often a task
/// whose jobs all ended counts as read in vain already; none if no result can come any more.
fn late(tables: &Tables, chunk: &Chunk) -> Option<u32> {
    let has_error = chunk.jobs.iter().any(|job| tables.jobs.stage_of(job) == Stage::Error);
    let mut files = chunk.files.iter().map(|number| &tables.files[*number as usize - 1]);
    let is_closed = files.any(|file| file.closed.is_some());
    has_error.then_some(if is_closed { LATE_LOOKS - LATE_LOOKS_AFTER_LOAD } else { 0 })
}

/// What one look at run files gave.
pub(super) struct Synced {
    pub(super) changed: bool,
    pub(super) grown: HashSet<u32>,
    /// Tasks whose files could all be read.
    pub(super) looked: HashSet<u32>,
}

/// One sync's way through run files.
struct Reading<'a> {
    registry: &'a Registry,
    looks: &'a Looks,
    news: News,
    rows: BTreeMap<u32, EndRow>,
    runs_of_rows: HashMap<u32, u32>,
    messages: Vec<String>,
    grown: HashSet<u32>,
    claims: HashMap<u32, Claim>,
    new_files: u32,
    known_files: u32,
    /// Tasks with a file that could not be read.
    failed: HashSet<u32>,
    /// Tasks with a word from outside that waits.
    waiting: BTreeSet<u32>,
    /// Why the file in hand was stopped, if accounting knows.
    accounted: Option<Cause>,
    stuck: HashMap<(u32, u32, u32), (u64, f64)>,
    damage: Vec<(PathBuf, u64, u64)>,
    is_last_look: bool,
    /// Tasks that may be over and have more to say: of jobs whose end records did not survive,
    /// or that were stopped from outside.
    late: Vec<u32>,
    /// Wall time and seconds of this look.
    at: Micros,
    now: f64,
}

impl<'a> Reading<'a> {
    fn new(registry: &'a Registry, inner: &'a Inner, is_last_look: bool) -> Self {
        Self {
            registry,
            looks: &inner.looks,
            news: News::default(),
            rows: BTreeMap::new(),
            runs_of_rows: HashMap::new(),
            messages: Vec::new(),
            grown: HashSet::new(),
            claims: HashMap::new(),
            new_files: 0,
            known_files: inner.tables.files.len() as u32,
            failed: HashSet::new(),
            waiting: BTreeSet::new(),
            accounted: None,
            stuck: HashMap::new(),
            damage: Vec::new(),
            is_last_look,
            late: Vec::new(),
            at: registry.clock.now(),
            now: registry.clock.monotonic(),
        }
    }

    /// `chunks` ascend; other files of the folder are not theirs.
    fn read_folder(&mut self, tables: &Tables, names: &[String], chunks: &[u32]) -> Result<()> {
        let mut found: Vec<(u32, u32, u32)> = names
            .iter()
            .filter_map(|name| Layout::parse_run(name))
            .filter_map(|(run, segment)| {
                let index = tables.chunk_index(run.chunk, run.task)?;
                chunks.binary_search(&index).ok()?;
                Some((index, run.run, segment))
            })
            .collect();
        found.sort_unstable();
        let newest = self.newest_runs(tables, &found);
        let mut touched = BTreeSet::new();
        for (chunk, run, segment) in found {
            let is_superseded = newest.get(&chunk).is_some_and(|newest| run < *newest);
            let word = if is_superseded {
                WordFromOutside::Waits
            } else {
                self.looks.word_from_outside(tables, chunk)
            };
            if self.read_file(tables, chunk, run, segment, word)? {
                touched.insert(chunk);
            }
        }
        for chunk in touched {
            self.return_jobs(tables, chunk);
        }
        Ok(())
    }

    /// The newest run of each task that has more than one. Voids are none.
    fn newest_runs(&self, tables: &Tables, found: &[(u32, u32, u32)]) -> HashMap<u32, u32> {
        let is_void = |chunk: u32, run: u32| {
            if let Some(number) = tables.file_number(chunk, run, 0) {
                return tables.files[number as usize - 1].void;
            }
            let id = tables.chunks[chunk as usize].run(run);
            let is_void = |record: run::Record<'_>| matches!(record, run::Record::Void(_));
            self.registry.first_record(id, is_void).unwrap_or(false)
        };
        let later = found.iter().filter(|(_, run, segment)| *run > 0 && *segment == 0);
        let runs = later.filter(|(chunk, run, _)| !is_void(*chunk, *run));
        runs.map(|(chunk, run, _)| (*chunk, *run)).collect()
    }

    /// Reads what is new in one file; true if anything was.
    fn read_file(
        &mut self,
        tables: &Tables,
        chunk: u32,
        run: u32,
        segment: u32,
        word: WordFromOutside,
    ) -> Result<bool> {
        let task = &tables.chunks[chunk as usize];
        let number = tables.file_number(chunk, run, segment);
        let known = number.map(|number| &tables.files[number as usize - 1]);
        if known.is_some_and(|file| file.void) {
            return Ok(false);
        }
        let path = self.registry.layout.run(task.run(run), segment);
        let from = known.map_or(0, |file| file.offset);
        let bytes = match self.registry.fs.tail(&path, from) {
            Ok(bytes) => bytes,
            Err(error) if error.is_failed_look() || error.kind() == ErrorKind::NotFound => {
                self.failed.insert(chunk);
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        let (id, frames, position) = match known {
            Some(file) => (file.file_id(), bytes.as_slice(), file.position()),
            None => match frame::read_file_header(&bytes, Content::Run) {
                Ok(id) => (id, &bytes[FILE_HEADER..], Position::START),
                Err(HeaderFault::Newer(version)) => {
                    let what = format!("`{}` has format {version}", path.display());
                    return Err(Error::new(ErrorKind::Version, what).at(&path));
                }
                Err(_) => return Ok(false),
            },
        };
        let mut reader = FrameReader::new(id, frames, position);
        let mut file = FileNews {
            chunk,
            run,
            segment,
            id: id.0,
            offset: position.offset,
            seq: position.seq,
            host: known.and_then(|f| tables.texts.get(f.host)).unwrap_or_default().to_owned(),
            void: false,
            closed: known.and_then(|f| f.closed),
        };
        let file_number = number.unwrap_or(self.known_files + self.new_files + 1);
        let mut found: Vec<Frame<'_>> = reader.by_ref().collect();
        let mut position = reader.position();
        if !reader.rest().is_empty() {
            let behind = frame::scan(id, reader.rest(), position);
            if self.is_damage((chunk, run, segment), position.offset, &behind.frames) {
                let damage = behind.damage.iter();
                self.damage.extend(damage.map(|(at, length)| (path.clone(), *at, *length)));
                if let Some(last) = behind.frames.last() {
                    position = Position { offset: last.end(), seq: last.seq + 1 };
                }
                found.extend(behind.frames);
            }
        }
        let mut records = Vec::with_capacity(found.len());
        let mut held = None;
        for frame in &found {
            let here = Position { offset: frame.offset, seq: frame.seq };
            match run::Record::read(frame) {
                // Looked at again later: its result has not arrived.
                Ok(record) if !self.is_whole(task.run(run), &record) => {
                    position = here;
                    break;
                }
                Ok(record) if word == WordFromOutside::Waits && is_word_from_outside(&record) => {
                    held.get_or_insert(here);
                    self.waiting.insert(chunk);
                }
                // Behind what waits, only ends are news, and only once.
                Ok(record) if held.is_some() => {
                    if let run::Record::End(end) = &record
                        && self.is_news(tables, &file, file_number, frame.offset, end)
                    {
                        records.push((frame.offset, record));
                    }
                }
                Ok(record) => records.push((frame.offset, record)),
                Err(run::RecordFault::Newer(kind)) => {
                    let what = format!("`{}` has records of kind {kind}", path.display());
                    return Err(Error::new(ErrorKind::Version, what).at(&path));
                }
                Err(_) => {}
            }
        }
        let position = held.unwrap_or(position);
        if records.is_empty() && known.is_some_and(|f| f.offset == position.offset) {
            return Ok(false);
        }
        // What is accepted must be durable here too: the executor may share this host.
        match self.registry.fs.sync(&path) {
            Err(error) if error.is_failed_look() => {
                self.failed.insert(chunk);
                return Ok(false);
            }
            other => other?,
        }
        self.accounted = match word {
            WordFromOutside::Counts(cause) => cause,
            WordFromOutside::Waits => None,
        };
        for (offset, record) in records {
            self.take(tables, &mut file, file_number, offset, record);
        }
        file.offset = position.offset;
        file.seq = position.seq;
        self.new_files += u32::from(number.is_none());
        if !file.void {
            self.grown.insert(chunk);
        }
        self.news.files.push(file);
        Ok(true)
    }

    /// A job is done only if its result is: one in a worker's own file must be there in full
    /// length.
    fn is_whole(&self, run: RunId, record: &run::Record<'_>) -> bool {
        let run::Record::End(run::End { body: Body::Stored(stored), .. }) = record else {
            return true;
        };
        let path = self.registry.layout.results(run, stored.worker);
        let length = self.registry.fs.length(&path);
        length.is_ok_and(|length| length >= stored.offset.saturating_add(stored.length))
    }

    /// Whether bytes that are no frame stay so: a sync mark says that they were durable, or good
    /// frames stand behind them for so long that nothing is late any more.
    fn is_damage(&mut self, file: (u32, u32, u32), at: u64, behind: &[Frame<'_>]) -> bool {
        if behind.is_empty() {
            return false;
        }
        let says_so = |frame: &Frame<'_>| match run::Record::read(frame) {
            Ok(run::Record::Mark(mark)) => mark.synced_to > at,
            _ => false,
        };
        if self.is_last_look || behind.iter().any(says_so) {
            return true;
        }
        let since = match self.looks.stuck.get(&file) {
            Some((offset, since)) if *offset == at => *since,
            _ => self.now,
        };
        self.stuck.insert(file, (at, since));
        self.now - since > SILENCE
    }

    fn take(
        &mut self,
        tables: &Tables,
        file: &mut FileNews,
        number: u32,
        offset: u64,
        record: run::Record<'_>,
    ) {
        match record {
            run::Record::Claim(claim) => {
                file.host.clone_from(&claim.host);
                self.claims.insert(file.chunk, claim);
            }
            run::Record::Void(_) => file.void = true,
            run::Record::Started(jobs) => {
                let its = jobs.iter().filter(|s| is_its(tables, file.chunk, s.job));
                self.news.started.extend(its.map(|s| (s.job, s.at)));
            }
            run::Record::End(end) => self.take_end(tables, file, number, offset, &end),
            run::Record::Closed(closed) => {
                file.closed = Some(closed.cause.map_or(0, |cause| cause as u8));
            }
            run::Record::Log(_) | run::Record::Mark(_) => {}
        }
    }

    fn take_end(
        &mut self,
        tables: &Tables,
        file: &FileNews,
        number: u32,
        offset: u64,
        end: &run::End<'_>,
    ) {
        if !self.is_news(tables, file, number, offset, end) {
            return;
        }
        let mut cause = end.cause;
        if is_from_outside(cause) {
            // A scheduler that requeues lets another run do it.
            self.late.push(file.chunk);
            // The signal was all that the executor saw of it.
            cause = self.accounted.or(cause);
        }
        let message = match end.body {
            Body::Failure(json) => self.message(json),
            _ => 0,
        };
        self.runs_of_rows.insert(end.job, file.run);
        self.rows.insert(
            end.job,
            EndRow {
                job: end.job,
                cause: cause.map_or(0, |cause| cause as u8),
                started: end.started,
                ended: end.ended,
                peak_kib: end.peak_kib,
                file: number,
                offset,
                message,
            },
        );
    }

    /// Whether an end is the job's, counts, and was not taken in before.
    fn is_news(
        &self,
        tables: &Tables,
        file: &FileNews,
        number: u32,
        offset: u64,
        end: &run::End<'_>,
    ) -> bool {
        let is_known = || {
            let row = end.job as usize - 1;
            tables.jobs.file.get(row) == number && tables.jobs.offset.get(row) == offset
        };
        is_its(tables, file.chunk, end.job) && !is_known() && self.counts(tables, file, end)
    }

    /// Done over error; among done the first accepted, then the smallest run; among errors the
    /// largest run.
    fn counts(&self, tables: &Tables, file: &FileNews, end: &run::End<'_>) -> bool {
        let stage = tables.jobs.stage_of(end.job);
        let killed = stage == Stage::Defined
            || (stage == Stage::Expired && tables.cause_of(end.job) == Some(Cause::Killed));
        // A killed job is what the kill made it, unless it had ended by its own doing.
        if stage == Stage::Done || (killed && is_from_outside(end.cause)) {
            return false;
        }
        if let Some(row) = self.rows.get(&end.job) {
            let held_run = self.runs_of_rows.get(&end.job).copied().unwrap_or(0);
            return match (row.cause == 0, end.cause.is_none()) {
                (true, _) => false,
                (false, true) => true,
                (false, false) => file.run >= held_run,
            };
        }
        if stage != Stage::Error || end.cause.is_none() {
            return true;
        }
        let number = tables.jobs.file.get(end.job as usize - 1) as usize;
        let held = number.checked_sub(1).and_then(|index| tables.files.get(index));
        held.is_none_or(|held| file.run >= held.run)
    }

    /// The last line of a failure, which the job table shows.
    fn message(&mut self, json: &[u8]) -> u32 {
        let failure: Failure = serde_json::from_slice(json).unwrap_or_default();
        let line = match failure.type_name.as_str() {
            "" => failure.message,
            name => format!("{name}: {}", failure.message),
        };
        let mut short: String = line.chars().take(500).collect();
        if short.len() < line.len() {
            short.push('…');
        }
        if self.messages.last() != Some(&short) {
            self.messages.push(short);
        }
        self.messages.len() as u32
    }

    /// Jobs that the task's newest run gave back when it closed.
    fn return_jobs(&mut self, tables: &Tables, chunk: u32) {
        let task = &tables.chunks[chunk as usize];
        let old = task.files.iter().map(|n| &tables.files[*n as usize - 1]);
        let old = old.map(|f| (f.run, f.void, f.closed));
        let new = self.news.files.iter().filter(|f| f.chunk == chunk);
        let new = new.map(|f| (f.run, f.void, f.closed));
        let Some(newest) = old.chain(new).filter(|(_, void, _)| !void).map(|(run, ..)| run).max()
        else {
            return;
        };
        let of_newest = |f: &&FileNews| f.chunk == chunk && f.run == newest;
        let closed = self.news.files.iter().filter(of_newest).find_map(|f| f.closed);
        let Some(cause) = closed else { return };
        let unfinished = tables.unfinished_of(chunk);
        let rest = unfinished.iter().filter(|job| !self.rows.contains_key(job));
        let rest: Vec<u32> = rest.collect();
        if rest.is_empty() {
            return;
        }
        if cause != 0 {
            self.news.returned.push(Returned { chunk, cause });
            return;
        }
        // All ended, it says, so their records did not survive. Late ones still count.
        let lost = Failure {
            message: format!("run {newest} ended it and its record is not in the run's file"),
            ..Failure::default()
        };
        let message = self.message(&serde_json::to_vec(&lost).expect("plain data serialises"));
        for job in rest {
            let at = tables.jobs.started.get(job as usize - 1);
            let row = EndRow { job, cause: Cause::Storage as u8, message, ..EndRow::default() };
            self.rows.insert(job, EndRow { started: at, ended: self.at, ..row });
        }
        self.late.push(chunk);
    }
}

/// What a run says that was stopped from outside counts unless another run does the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WordFromOutside {
    /// With the cause that accounting knows.
    Counts(Option<Cause>),
    /// It is read again at every look, until this run is known to be the last.
    Waits,
}

fn is_word_from_outside(record: &run::Record<'_>) -> bool {
    match record {
        run::Record::End(end) => is_from_outside(end.cause),
        run::Record::Closed(closed) => closed.cause.is_some(),
        _ => false,
    }
}

pub(super) fn is_from_outside(cause: Option<Cause>) -> bool {
    matches!(cause, Some(Cause::Stopped | Cause::Killed | Cause::Walltime | Cause::Preempted))
}

/// Records of any but the job's newest task are not the job's.
fn is_its(tables: &Tables, chunk: u32, job: u32) -> bool {
    job >= 1 && job <= tables.n_jobs() && tables.jobs.chunk.get(job as usize - 1) == chunk + 1
}

fn finished_news(
    tables: &Tables,
    mut news: News,
    rows: BTreeMap<u32, EndRow>,
    messages: Vec<String>,
) -> News {
    let rows: Vec<EndRow> = rows.into_values().collect();
    news.started.retain(|(job, _)| tables.jobs.stage_of(*job) == Stage::Submitted);
    if !rows.is_empty() {
        news.ends = Ends::new(&rows, messages);
    }
    news
}
