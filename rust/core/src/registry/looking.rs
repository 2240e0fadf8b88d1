//! What the backend's listings and accounting show of jobs, and for how long files were silent.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::PathBuf;

use crate::frame::{self, Content, FILE_HEADER};
use crate::ids::IdSet;
use crate::layout::{ChunkId, RunId};
use crate::run::{self, Cause, Claim};
use crate::tables::{Stage, Tables};

use super::syncing::{WordFromOutside, is_from_outside};
use super::{Inner, Registry};

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
pub(super) struct Look {
    pub(super) listed: Option<bool>,
    reason: String,
    /// Whether any look showed it.
    pub(super) was_listed: bool,
    /// Complete looks in a row that did not show it.
    pub(super) absent: u32,
    /// When the first of them was.
    pub(super) absent_since: Option<f64>,
}

/// Seen by this process only; never written.
#[derive(Debug, Default)]
pub(super) struct Looks {
    pub(super) tasks: HashMap<u32, Look>,
    /// The backend whose word on its tasks is awaited or known; none where it lists nothing.
    witness: Option<String>,
    /// What its accounting says of tasks that were stopped; none where it keeps none.
    accounts: Option<HashMap<u32, Account>>,
    /// Tasks with a word from outside that waits.
    pub(super) waiting: BTreeSet<u32>,
    pub(super) signs: HashMap<u32, Sign>,
    /// Who claimed a task.
    pub(super) claims: HashMap<u32, Claim>,
    /// Tasks that are over with expired jobs, whose late records still count, and how often they
    /// were read in vain.
    pub(super) late: BTreeMap<u32, u32>,
    /// Run files that stopped at bytes that are no frame: where, and since when.
    pub(super) stuck: HashMap<(u32, u32, u32), (u64, f64)>,
    /// Damage with good records behind it: file, offset, length.
    pub(super) damage: BTreeSet<(PathBuf, u64, u64)>,
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
pub(super) struct Sign {
    pub(super) grown: f64,
    pub(super) looked: f64,
}

/// A task that is over is read so many times more,
pub(super) const LATE_LOOKS: u32 = 40;
/// and so many times after another process made it so.
pub(super) const LATE_LOOKS_AFTER_LOAD: u32 = 3;
/// So many looks that do not show a task outweigh accounting that takes it for running.
const LOOKS_ON_ITS_WAY: u32 = 5;
/// Without news for so long a run is silent (three beats of an executor and the delay of a
/// shared file system).
pub(super) const SILENCE: f64 = 160.0;

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
    pub(super) fn word_from_outside(&self, tables: &Tables, index: u32) -> WordFromOutside {
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
                    was_listed: true,
                    ..Look::default()
                };
            } else {
                look.listed = None;
                look.absent += 1;
                look.absent_since.get_or_insert(now);
            }
        }
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

    /// The first record of a run.
    pub(super) fn first_record<T>(
        &self,
        id: RunId,
        take: impl FnOnce(run::Record<'_>) -> T,
    ) -> Option<T> {
        let bytes = self.fs.read(&self.layout.run(id, 0), 0, 1 << 16).ok()?;
        let file = frame::read_file_header(&bytes, Content::Run).ok()?;
        let frame = frame::frame_at(file, &bytes, 0, FILE_HEADER as u64)?;
        run::Record::read(&frame).ok().map(take)
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

pub(super) fn task_id(tables: &Tables, index: u32) -> Option<TaskId> {
    let chunk = tables.chunks.get(index as usize)?;
    Some(TaskId {
        chunk: chunk.chunk(),
        task: chunk.task,
        backend: tables.texts.get(chunk.backend).unwrap_or_default().to_owned(),
        batch_id: chunk.batch_id.clone().unwrap_or_default(),
    })
}

pub(super) fn has_claim(tables: &Tables, chunk: u32) -> bool {
    let files = &tables.chunks[chunk as usize].files;
    files.iter().any(|number| !tables.files[*number as usize - 1].void)
}

/// Whether a system may stop jobs for this cause, so that it explains a signal.
fn can_stop(cause: Cause) -> bool {
    cause == Cause::Node || is_from_outside(Some(cause))
}
