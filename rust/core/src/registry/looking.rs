//! What can be seen of jobs: run files first, then the scheduler's listing, then absence.
//!
//! Only a won void decides that a task is given up; silence and absence merely ask for it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::PathBuf;

use crate::clock::{Clock, Micros};
use crate::error::{Error, ErrorKind, Result};
use crate::frame::{
    self, Content, FILE_HEADER, FileId, Frame, FrameReader, FrameWriter, HeaderFault, Position,
};
use crate::fs::{Fs, Published};
use crate::ids::IdSet;
use crate::journal::{EndRow, Ends, FileNews, GivenUp, News, Record, Returned};
use crate::layout::{ChunkId, Layout, RunId};
use crate::process::{self, Identity};
use crate::run::{self, Body, Cause, Claim, Failure, Void};
use crate::tables::{Chunk, Phase, Stage, Tables};

use super::ownership::{Lease, Owner};
use super::writing::Durability;
use super::{Inner, Interrupted, Registry, Role};

/// A task of a submission by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskId {
    pub chunk: ChunkId,
    pub task: u32,
    pub backend: String,
    /// Empty while unknown.
    pub batch_id: String,
}

/// What a listing says of one batch id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub batch_id: String,
    pub running: bool,
    pub reason: String,
}

/// What the newest looks at the scheduler showed of one task.
#[derive(Clone, Debug, Default, PartialEq)]
struct Look {
    listed: Option<bool>,
    reason: String,
    /// Complete looks in a row that did not show it.
    absent: u32,
    /// When the first of them was, if none ever showed it.
    unseen_since: Option<f64>,
}

/// Seen by this process only; never written.
#[derive(Debug, Default)]
pub(super) struct Looks {
    tasks: HashMap<u32, Look>,
    /// The backend whose word on its tasks is awaited or known; none where it lists nothing.
    witness: Option<String>,
    /// What its accounting says of tasks that were stopped; none where it keeps none.
    accounts: Option<HashMap<u32, Account>>,
    /// Tasks with a word from outside that waits.
    waiting: BTreeSet<u32>,
    signs: HashMap<u32, Sign>,
    /// Who claimed a task.
    claims: HashMap<u32, Claim>,
    /// Tasks that are over with expired jobs, whose late records still count, and how often they
    /// were read in vain.
    late: BTreeMap<u32, u32>,
    /// Run files that stopped at bytes that are no frame: where, and since when.
    stuck: HashMap<(u32, u32, u32), (u64, f64)>,
    /// Damage with good records behind it: file, offset, length.
    damage: BTreeSet<(PathBuf, u64, u64)>,
}

/// What a system's accounting says of a task that was stopped and is listed no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Account {
    Nothing,
    /// It is not gone: it may be requeued.
    OnItsWay,
    Stopped(Cause),
}

/// When this process saw the run files of a claimed task grow last, and when it looked last.
#[derive(Clone, Copy, Debug)]
struct Sign {
    grown: f64,
    looked: f64,
}

/// A task that is over is read so many times more,
const LATE_LOOKS: u32 = 40;
/// and so many times after another process made it so.
const LATE_LOOKS_AFTER_LOAD: u32 = 3;
/// So many looks that do not show a task outweigh accounting that takes it for running.
const LOOKS_ON_ITS_WAY: u32 = 5;
/// Without news for so long a run is silent (three beats of an executor and the delay of a
/// shared file system).
const SILENCE: f64 = 160.0;

impl Looks {
    /// Tables were loaded: what was seen stays where it speaks of the same chunks.
    pub(super) fn take_over(&mut self, before: &Tables, after: &Tables) {
        let same = before.chunks.len() <= after.chunks.len()
            && before.chunks.iter().zip(&after.chunks).all(|(b, a)| b.id == a.id);
        if !same {
            *self = Self::default();
        }
        if same && !before.chunks.is_empty() {
            return;
        }
        let expired = after.jobs.stage.ids_where(|stage| stage == Stage::Expired as u8);
        let chunks = expired.iter().filter_map(|job| after.chunk_of(job).map(|(index, _)| index));
        let closed = chunks.filter(|index| !after.open.contains(index));
        self.late.extend(closed.map(|index| (index, LATE_LOOKS - LATE_LOOKS_AFTER_LOAD)));
    }

    pub(super) fn is_queued(&self, chunk: u32) -> bool {
        self.tasks.get(&chunk).is_some_and(|look| look.listed == Some(false))
    }

    /// What a run's word counts that was stopped from outside: nothing while its task may get
    /// another run, for the backend showed it at the newest look, or has yet to speak.
    fn word_from_outside(&self, tables: &Tables, index: u32) -> WordFromOutside {
        let chunk = &tables.chunks[index as usize];
        let is_asked = self.witness.as_deref() == tables.texts.get(chunk.backend)
            && chunk.batch_id.is_some()
            && tables.open.contains(&index);
        if !is_asked {
            return WordFromOutside::Counts(None);
        }
        let Some(look) = self.tasks.get(&index) else { return WordFromOutside::Waits };
        let Some(accounts) = &self.accounts else {
            return match look.listed {
                Some(_) => WordFromOutside::Waits,
                None => WordFromOutside::Counts(None),
            };
        };
        match (look.listed, accounts.get(&index)) {
            (Some(_), _) | (None, None) => WordFromOutside::Waits,
            (None, Some(Account::OnItsWay)) if look.absent < LOOKS_ON_ITS_WAY => {
                WordFromOutside::Waits
            }
            (None, Some(Account::Stopped(cause))) => WordFromOutside::Counts(Some(*cause)),
            (None, Some(_)) => WordFromOutside::Counts(None),
        }
    }

    /// Tasks that were stopped and that the newest look does not show.
    fn stopped(&self) -> impl Iterator<Item = u32> {
        let is_gone = |index: &u32| self.tasks.get(index).is_some_and(|l| l.listed.is_none());
        self.waiting.iter().copied().filter(is_gone)
    }
}

impl Registry {
    /// Every unfinished task that was handed to a backend, or may have been.
    pub fn open_tasks(&self) -> Vec<TaskId> {
        self.read(|tables| tables.open.iter().filter_map(|c| task_id(tables, *c)).collect())
    }

    /// A look at a backend begins. Until it gives a listing, nothing says that a task whose run
    /// was stopped is over; if it keeps accounts, its word on the cause is waited for, too.
    pub fn ask(&self, backend: &str, has_accounts: bool) {
        let looks = &mut self.lock().looks;
        looks.witness = Some(backend.to_owned());
        if has_accounts != looks.accounts.is_some() {
            looks.accounts = has_accounts.then(HashMap::new);
        }
    }

    /// Tasks that were stopped and that the newest look does not show: accounting may know more.
    pub fn stopped(&self) -> Vec<TaskId> {
        let inner = self.lock();
        inner.looks.stopped().filter_map(|index| task_id(&inner.tables, index)).collect()
    }

    /// What accounting says of all that `stopped` gave, by batch id; none: it is not gone.
    pub fn account_for(&self, causes: &HashMap<String, Option<Cause>>) {
        let mut inner = self.lock();
        let Inner { tables, looks, .. } = &mut *inner;
        let said = |index: u32| {
            let batch_id = tables.chunks[index as usize].batch_id.as_ref();
            match batch_id.and_then(|batch_id| causes.get(batch_id)) {
                Some(None) => Account::OnItsWay,
                Some(Some(cause)) if can_stop(*cause) => Account::Stopped(*cause),
                _ => Account::Nothing,
            }
        };
        let accounts = looks.stopped().map(|index| (index, said(index))).collect();
        looks.accounts = Some(accounts);
    }

    /// One complete look at a backend; none where it cannot list.
    pub fn observe(&self, backend: &str, listing: Option<&[Listed]>) {
        let now = self.clock.monotonic();
        let mut inner = self.lock();
        let Inner { tables, looks, .. } = &mut *inner;
        looks.witness = listing.is_some().then(|| backend.to_owned());
        looks.tasks.retain(|chunk, _| tables.open.contains(chunk));
        let Some(listing) = listing else { return };
        let by_id: HashMap<&str, &Listed> =
            listing.iter().map(|listed| (listed.batch_id.as_str(), listed)).collect();
        for index in &tables.open {
            let chunk = &tables.chunks[*index as usize];
            // Another kind of backend is no witness for it.
            if tables.texts.get(chunk.backend) != Some(backend) {
                continue;
            }
            let Some(batch_id) = &chunk.batch_id else { continue };
            let look = looks.tasks.entry(*index).or_default();
            if let Some(listed) = by_id.get(batch_id.as_str()) {
                *look = Look {
                    listed: Some(listed.running),
                    reason: listed.reason.clone(),
                    ..Look::default()
                };
            } else {
                if look.absent == 0 && look.listed.is_none() {
                    look.unseen_since = Some(now);
                }
                look.listed = None;
                look.absent += 1;
            }
        }
    }

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

    fn sync_tasks(
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

    /// Tasks that were absent in `looks` looks in a row and are silent, and whether an executor
    /// had claimed them: what accounting may be asked about before they are given up.
    pub fn vanished(&self, looks: u32) -> Vec<(TaskId, bool)> {
        let inner = self.lock();
        let tables = &inner.tables;
        let gone = tables.open.iter().copied().filter(|c| self.is_vanished(&inner, *c, looks));
        gone.filter_map(|c| Some((task_id(tables, c)?, has_claim(tables, c)))).collect()
    }

    /// The newest tasks of these batch ids, and where the scheduler puts what it says of them if
    /// that is not the usual place.
    pub fn outputs_of(&self, batch_ids: &HashSet<String>) -> Vec<(TaskId, Option<String>)> {
        self.read(|tables| {
            let named = tables.chunks.iter().zip(0..).filter(|(chunk, _)| {
                chunk.batch_id.as_ref().is_some_and(|batch_id| batch_ids.contains(batch_id))
            });
            let found = named.filter_map(|(chunk, index)| {
                Some((task_id(tables, index)?, chunk.log_file.clone()))
            });
            found.collect()
        })
    }

    /// What the scheduler told the first executor that claimed a task of the chunk.
    pub fn claimed_by(&self, chunk: ChunkId) -> Option<BTreeMap<String, String>> {
        let runs: Vec<RunId> = self.read(|tables| {
            let tasks = tables.tasks_of(chunk).into_iter();
            let tasks = tasks.map(|index| &tables.chunks[index as usize]);
            let files = tasks.flat_map(|task| task.files.iter().map(move |n| (task, *n)));
            let files = files.map(|(task, n)| (task, &tables.files[n as usize - 1]));
            files.filter(|(_, file)| !file.void).map(|(task, f)| task.run(f.run)).collect()
        });
        let claim = |record: run::Record<'_>| match record {
            run::Record::Claim(claim) => Some(claim.scheduler),
            _ => None,
        };
        runs.into_iter().find_map(|id| self.first_record(id, claim).flatten())
    }

    /// Gives up tasks that were absent in `looks` looks in a row and are silent, where the void
    /// is won. Returns the jobs that expired. `causes` says by batch id what accounting knows;
    /// none: the task is still on its way, so it is not given up. A task that no look and no
    /// executor ever showed may be listed late: it is given `patience` seconds, unless accounting
    /// knows its end.
    pub fn expire(
        &self,
        looks: u32,
        causes: &HashMap<String, Option<Cause>>,
        patience: f64,
    ) -> Result<IdSet> {
        let mut inner = self.lock();
        if !matches!(inner.role, Role::Owner(_)) {
            return Ok(IdSet::default());
        }
        self.ensure_owner(&mut inner)?;
        let known = |inner: &Inner, chunk: u32| {
            let batch_id = inner.tables.chunks.get(chunk as usize)?.batch_id.as_ref()?;
            causes.get(batch_id).copied()
        };
        let now = self.clock.monotonic();
        let may_be_late = |inner: &Inner, chunk: u32| {
            let unseen = inner.looks.tasks.get(&chunk).and_then(|look| look.unseen_since);
            unseen.is_some_and(|since| now - since < patience)
                && known(inner, chunk).is_none()
                && !has_claim(&inner.tables, chunk)
        };
        let candidates: Vec<u32> = inner
            .tables
            .open
            .iter()
            .copied()
            .filter(|chunk| known(&inner, *chunk) != Some(None))
            .filter(|chunk| self.is_vanished(&inner, *chunk, looks))
            .filter(|chunk| !may_be_late(&inner, *chunk))
            .collect();
        if candidates.is_empty() {
            return Ok(IdSet::default());
        }
        self.ensure_sole(&mut inner)?;
        let voided = self.void_tasks(&inner.tables, &candidates, "it vanished")?;
        // Whoever was claimed meanwhile lives; the others' records are all there now.
        let synced = self.sync_tasks(&mut inner, &candidates, true, &|| false)?;
        let mut expired = IdSet::default();
        let mut given_up: BTreeMap<u8, Vec<u32>> = BTreeMap::new();
        for (chunk, _) in voided.into_iter().filter(|(_, won)| *won) {
            if !inner.tables.open.contains(&chunk) {
                continue;
            }
            let claimed = has_claim(&inner.tables, chunk);
            // A run that still reports, or could not be read, is not lost.
            if claimed && (synced.grown.contains(&chunk) || !synced.looked.contains(&chunk)) {
                continue;
            }
            expired.extend(&inner.tables.unfinished_of(chunk));
            let unknown = if claimed { Cause::Lost } else { Cause::NotStarted };
            let cause = known(&inner, chunk).flatten().unwrap_or(unknown);
            given_up.entry(cause as u8).or_default().push(chunk);
        }
        if given_up.is_empty() {
            return Ok(expired);
        }
        let late: Vec<(u32, u32)> = given_up.values().flatten().map(|chunk| (*chunk, 0)).collect();
        let records = given_up.into_iter().map(|(cause, chunks)| {
            Record::GivenUp(GivenUp { chunks, taken_back: IdSet::default(), cause })
        });
        self.write(&mut inner, &records.collect::<Vec<_>>(), Durability::Now)?;
        inner.looks.late.extend(late);
        Ok(expired)
    }

    fn is_vanished(&self, inner: &Inner, chunk: u32, looks: u32) -> bool {
        let Some(task) = inner.tables.chunks.get(chunk as usize) else { return false };
        let Some(look) = inner.looks.tasks.get(&chunk) else { return false };
        if task.phase != Phase::Submitted || look.listed.is_some() || look.absent < looks.max(1) {
            return false;
        }
        if !has_claim(&inner.tables, chunk) {
            return true;
        }
        let claim = inner.looks.claims.get(&chunk).cloned().or_else(|| {
            let task = &inner.tables.chunks[chunk as usize];
            let number = task.files.last()?;
            let file = &inner.tables.files[*number as usize - 1];
            self.first_record(task.run(file.run), |record| match record {
                run::Record::Claim(claim) => Some(claim),
                _ => None,
            })?
        });
        if claim.is_some_and(|claim| died_here(&claim)) {
            return true;
        }
        // Only between two looks of this process: a failed look and a restart prove nothing.
        inner.looks.signs.get(&chunk).is_some_and(|sign| sign.looked - sign.grown > SILENCE)
    }

    /// The first record of a run.
    fn first_record<T>(&self, id: RunId, take: impl FnOnce(run::Record<'_>) -> T) -> Option<T> {
        let bytes = self.fs.read(&self.layout.run(id, 0), 0, 1 << 16).ok()?;
        let file = frame::read_file_header(&bytes, Content::Run).ok()?;
        let frame = frame::frame_at(file, &bytes, 0, FILE_HEADER as u64)?;
        run::Record::read(&frame).ok().map(take)
    }

    /// Tells executors of these tasks to stop or not to start. True for each void that was won
    /// as the first of its run: nothing can start there any more. Only for a sure owner: voids
    /// of one that was displaced would stop its successor's runs.
    fn void_tasks(
        &self,
        tables: &Tables,
        chunks: &[u32],
        reason: &str,
    ) -> Result<Vec<(u32, bool)>> {
        let mut won = Vec::with_capacity(chunks.len());
        for index in chunks {
            let chunk = &tables.chunks[*index as usize];
            let runs = chunk.files.iter().map(|n| &tables.files[*n as usize - 1]);
            let claimed = runs.clone().filter(|f| !f.void).map(|f| f.run + 1).max().unwrap_or(0);
            let voided = runs.filter(|f| f.void).any(|f| f.run >= claimed);
            won.push((*index, voided || self.publish_void(chunk.run(claimed), reason)?));
        }
        Ok(won)
    }

    fn publish_void(&self, id: RunId, reason: &str) -> Result<bool> {
        let file = FileId::random();
        let mut bytes = frame::file_header(Content::Run, file).to_vec();
        let void = Void { by: self.user.clone(), at: self.clock.now(), reason: reason.to_owned() };
        run::Record::Void(void).write(&mut FrameWriter::new(file), &mut bytes);
        self.fs.make_folder(&self.layout.runs_of(id.chunk))?;
        if self.fs.publish(&self.layout.run(id, 0), &bytes)? == Published::Won {
            return Ok(true);
        }
        // Perhaps an owner has voided it before and died.
        let is_void = |record: run::Record<'_>| matches!(record, run::Record::Void(_));
        Ok(self.first_record(id, is_void).unwrap_or(false))
    }

    /// Before a kill: voids for all tasks of these chunks.
    pub fn void(&self, chunks: &[ChunkId]) -> Result<()> {
        let mut inner = self.lock_to_write()?;
        self.ensure_sole(&mut inner)?;
        let tasks = all_tasks(&inner.tables, chunks);
        self.void_tasks(&inner.tables, &tasks, "killed").map(drop)
    }

    /// After a kill: unfinished jobs among `requested` become defined, siblings expire.
    pub fn give_up(&self, chunks: &[ChunkId], requested: &IdSet, cause: Cause) -> Result<()> {
        let mut inner = self.lock_to_write()?;
        let tasks: Vec<u32> = all_tasks(&inner.tables, chunks)
            .into_iter()
            .filter(|task| inner.tables.open.contains(task))
            .collect();
        let record = Record::GivenUp(GivenUp {
            chunks: tasks.clone(),
            taken_back: requested.clone(),
            cause: cause as u8,
        });
        self.write(&mut inner, &[record], Durability::Now)?;
        inner.looks.late.extend(tasks.into_iter().map(|task| (task, 0)));
        Ok(())
    }

    /// Voids submissions that were never accepted and takes their jobs back. Returns those that
    /// an executor had claimed after all, which stay submitted.
    pub fn take_back(&self, chunks: &[ChunkId]) -> Result<Vec<ChunkId>> {
        let mut inner = self.lock_to_write()?;
        self.ensure_sole(&mut inner)?;
        let (mut back, mut claimed) = (Vec::new(), Vec::new());
        for chunk in chunks {
            let mut tasks = inner.tables.tasks_of(*chunk);
            tasks.retain(|task| inner.tables.open.contains(task));
            // A void behind a claim stops a run; it does not undo what the run has done.
            let (ran, free): (Vec<u32>, Vec<u32>) =
                tasks.into_iter().partition(|task| has_claim(&inner.tables, *task));
            let voided = self.void_tasks(&inner.tables, &free, "it was not accepted")?;
            if !ran.is_empty() || voided.iter().any(|(_, won)| !won) {
                claimed.push(*chunk);
            }
            back.extend(voided.into_iter().filter(|(_, won)| *won).map(|(task, _)| task));
        }
        if !back.is_empty() {
            self.write(&mut inner, &[Record::TakenBack(back)], Durability::Now)?;
        }
        Ok(claimed)
    }

    /// Tasks of the jobs' newest attempts that are unfinished, each with its unfinished jobs.
    pub fn tasks_of_jobs(&self, ids: &IdSet) -> Vec<(TaskId, IdSet)> {
        self.read(|tables| {
            let is_open = |job: &u32| tables.jobs.stage_of(*job).is_unfinished();
            let tasks: BTreeSet<u32> = ids
                .iter()
                .filter(is_open)
                .filter_map(|job| tables.chunk_of(job).map(|(index, _)| index))
                .collect();
            let named = tasks
                .into_iter()
                .filter_map(|index| Some((task_id(tables, index)?, tables.unfinished_of(index))));
            named.collect()
        })
    }

    pub fn task_of(&self, job: u32) -> Option<TaskId> {
        self.read(|tables| task_id(tables, tables.chunk_of(job)?.0))
    }
}

fn task_id(tables: &Tables, index: u32) -> Option<TaskId> {
    let chunk = tables.chunks.get(index as usize)?;
    Some(TaskId {
        chunk: chunk.chunk(),
        task: chunk.task,
        backend: tables.texts.get(chunk.backend).unwrap_or_default().to_owned(),
        batch_id: chunk.batch_id.clone().unwrap_or_default(),
    })
}

fn all_tasks(tables: &Tables, chunks: &[ChunkId]) -> Vec<u32> {
    chunks.iter().flat_map(|chunk| tables.tasks_of(*chunk)).collect()
}

fn has_claim(tables: &Tables, chunk: u32) -> bool {
    let files = &tables.chunks[chunk as usize].files;
    files.iter().any(|number| !tables.files[*number as usize - 1].void)
}

/// Whether the claim's process ran on this machine, in our pid namespace, and is gone.
fn died_here(claim: &Claim) -> bool {
    let here = Identity::of_this_process();
    here.boot_id == claim.boot_id
        && here.namespace == claim.namespace
        && here.host == claim.host
        && !process::is_alive(claim.pid, claim.start_ticks)
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
struct Synced {
    changed: bool,
    grown: HashSet<u32>,
    /// Tasks whose files could all be read.
    looked: HashSet<u32>,
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
enum WordFromOutside {
    /// With the cause that accounting knows.
    Counts(Option<Cause>),
    /// It is read again at every look, until this run is known to be the last.
    Waits,
}

/// Whether a system may stop jobs for this cause, so that it explains a signal.
fn can_stop(cause: Cause) -> bool {
    cause == Cause::Node || is_from_outside(Some(cause))
}

fn is_word_from_outside(record: &run::Record<'_>) -> bool {
    match record {
        run::Record::End(end) => is_from_outside(end.cause),
        run::Record::Closed(closed) => closed.cause.is_some(),
        _ => false,
    }
}

fn is_from_outside(cause: Option<Cause>) -> bool {
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

/// Whether an owner's last beat is older than a lease, by the wall clock of this machine. Clocks
/// jump: it merely tells whether waiting for silence is worth while.
pub(super) fn is_silent(
    fs: &dyn Fs,
    layout: &Layout,
    clock: &dyn Clock,
    epoch: u64,
    lease: f64,
) -> bool {
    let Ok(Some(beat)) = last_beat(fs, layout, epoch) else { return false };
    clock.now().saturating_sub(beat) as f64 > lease * 1e6
}

/// Number and length of the epoch's newest journal segment.
fn newest_sign(fs: &dyn Fs, layout: &Layout, epoch: u64) -> Result<Option<(u32, u64)>> {
    let names = fs.look(layout.root())?;
    let segments = names.iter().filter_map(|name| Layout::parse_numbered("journal", name));
    let Some(segment) = segments.filter(|(e, _)| *e == epoch).map(|(_, s)| s).max() else {
        return Ok(None);
    };
    Ok(Some((segment, fs.length(&layout.journal(epoch, segment))?)))
}

/// The last beat lies within so many bytes, or the owner has just written much.
const SIGN: u64 = 1 << 16;

fn last_beat(fs: &dyn Fs, layout: &Layout, epoch: u64) -> Result<Option<i64>> {
    let Some((segment, length)) = newest_sign(fs, layout, epoch)? else { return Ok(None) };
    let path = layout.journal(epoch, segment);
    let header = fs.read(&path, 0, FILE_HEADER)?;
    let Ok(id) = frame::read_file_header(&header, Content::Owner) else { return Ok(None) };
    let offset = length.saturating_sub(SIGN).max(FILE_HEADER as u64);
    let bytes = fs.tail(&path, offset)?;
    let frames = frame::scan(id, &bytes, Position { offset, seq: 0 }).frames;
    let mut beats = frames.iter().rev().filter_map(|frame| match Record::read(frame) {
        Ok(Record::Beat(at)) => Some(at),
        _ => None,
    });
    Ok(beats.next())
}

/// Looks until the epoch was silent for a lease; an error as soon as it shows a sign of life.
pub(super) fn wait_for_silence(
    fs: &dyn Fs,
    layout: &Layout,
    clock: &dyn Clock,
    epoch: u64,
    owner: &Owner,
    lease: Lease,
    interrupted: Interrupted<'_>,
) -> Result<()> {
    let first = newest_sign(fs, layout, epoch)?;
    let mut since = clock.monotonic();
    let mut looked = since;
    loop {
        clock.sleep(0.05);
        if interrupted() {
            return Err(Error::new(ErrorKind::Interrupted, "interrupted"));
        }
        let now = clock.monotonic();
        if now - looked < lease.beat / 3.0 {
            continue;
        }
        // A failed look is no evidence.
        let Ok(sign) = newest_sign(fs, layout, epoch) else { continue };
        let Ok((highest, released)) = super::ownership::highest(fs, layout) else { continue };
        if highest != epoch || (sign != first && !released) {
            return Err(super::ownership::locked(owner));
        }
        if released {
            return Ok(());
        }
        // Nor is a gap between looks.
        if now - looked > 2.0 * lease.beat {
            since = now;
        }
        looked = now;
        // Silent from the first look to this one, whenever the next would be.
        if now - since >= lease.lease {
            return Ok(());
        }
    }
}
