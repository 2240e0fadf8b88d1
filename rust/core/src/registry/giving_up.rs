//! Giving tasks up: those that vanished, were killed, or were never accepted. Only a won void
//! decides it; silence and absence merely ask for it.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::error::Result;
use crate::frame::{self, Content, FileId, FrameWriter};
use crate::fs::Published;
use crate::ids::IdSet;
use crate::journal::{GivenUp, Record};
use crate::layout::{ChunkId, RunId};
use crate::process::{self, Identity};
use crate::run::{self, Cause, Claim, Void};
use crate::tables::{Phase, Tables};

use super::looking::{SILENCE, TaskId, has_claim, task_id};
use super::writing::Durability;
use super::{Inner, Registry, Role};

/// For how many seconds a backend may keep silent about a task before that means anything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Patience {
    /// Until it lists a task that no look and no executor ever showed.
    pub listing: f64,
    /// Until its accounting knows a task that it lists no more.
    pub accounting: f64,
}

/// So many voids are published together.
const VOIDS: usize = 1024;

impl Registry {
    /// Tasks that were absent in `looks` looks in a row and are silent, and whether an executor
    /// had claimed them: what accounting may be asked about before they are given up.
    pub fn vanished(&self, looks: u32) -> Vec<(TaskId, bool)> {
        let inner = self.lock();
        let tables = &inner.tables;
        let gone = tables.open.iter().copied().filter(|c| self.is_vanished(&inner, *c, looks));
        gone.filter_map(|c| Some((task_id(tables, c)?, has_claim(tables, c)))).collect()
    }

    /// Gives up tasks that were absent in `looks` looks in a row and are silent, where the void
    /// is won. Returns the jobs that expired. `causes` says by batch id what accounting knows;
    /// none: the task is still on its way, so it is not given up.
    pub fn expire(
        &self,
        looks: u32,
        causes: &HashMap<String, Option<Cause>>,
        patience: Patience,
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
        let is_over = |inner: &Inner, chunk: u32| match known(inner, chunk) {
            Some(None) => false,
            Some(Some(_)) => self.is_vanished(inner, chunk, looks),
            None => self.is_vanished(inner, chunk, looks) && !self.may_show(inner, chunk, patience),
        };
        let open = inner.tables.open.iter().copied();
        let candidates: Vec<u32> = open.filter(|chunk| is_over(&inner, *chunk)).collect();
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

    /// Whether a task of which accounting says nothing may still be listed or accounted for.
    fn may_show(&self, inner: &Inner, chunk: u32, patience: Patience) -> bool {
        let Some(look) = inner.looks.tasks.get(&chunk) else { return false };
        let Some(since) = look.absent_since else { return false };
        let absent = self.clock.monotonic() - since;
        let was_seen = look.was_listed || has_claim(&inner.tables, chunk);
        absent < patience.accounting || (!was_seen && absent < patience.listing)
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

    /// Tells executors of these tasks to stop or not to start. True for each void that was won
    /// as the first of its run: nothing can start there any more. Only for a sure owner: voids
    /// of one that was displaced would stop its successor's runs.
    fn void_tasks(
        &self,
        tables: &Tables,
        chunks: &[u32],
        reason: &str,
    ) -> Result<Vec<(u32, bool)>> {
        let mut won: BTreeMap<u32, bool> = BTreeMap::new();
        let mut missing = Vec::new();
        for index in chunks {
            let chunk = &tables.chunks[*index as usize];
            let runs = chunk.files.iter().map(|n| &tables.files[*n as usize - 1]);
            let claimed = runs.clone().filter(|f| !f.void).map(|f| f.run + 1).max().unwrap_or(0);
            let voided = runs.filter(|f| f.void).any(|f| f.run >= claimed);
            won.insert(*index, voided);
            if !voided {
                missing.push((*index, chunk.run(claimed)));
            }
        }
        for some in missing.chunks(VOIDS) {
            won.extend(self.publish_voids(some, reason)?);
        }
        Ok(chunks.iter().map(|index| (*index, won[index])).collect())
    }

    fn publish_voids(&self, runs: &[(u32, RunId)], reason: &str) -> Result<Vec<(u32, bool)>> {
        let void = Void { by: self.user.clone(), at: self.clock.now(), reason: reason.to_owned() };
        let mut files = Vec::with_capacity(runs.len());
        for (_, id) in runs {
            let file = FileId::random();
            let mut bytes = frame::file_header(Content::Run, file).to_vec();
            run::Record::Void(void.clone()).write(&mut FrameWriter::new(file), &mut bytes);
            self.fs.make_folder(&self.layout.runs_of(id.chunk))?;
            files.push((self.layout.run(*id, 0), bytes));
        }
        let is_void = |record: run::Record<'_>| matches!(record, run::Record::Void(_));
        // Where ours lost, perhaps an owner has voided it before and died.
        let is_won = |id: RunId, published: Published| {
            published == Published::Won || self.first_record(id, is_void).unwrap_or(false)
        };
        let published = self.fs.publish_each(&files)?;
        Ok(runs.iter().zip(published).map(|((index, id), p)| (*index, is_won(*id, p))).collect())
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

    /// Takes back the jobs of chunks that were never handed over, so that nobody knows of them.
    pub fn withdraw(&self, chunks: &[ChunkId]) -> Result<()> {
        let mut inner = self.lock_to_write()?;
        let tasks = all_tasks(&inner.tables, chunks);
        if tasks.is_empty() {
            return Ok(());
        }
        self.write(&mut inner, &[Record::TakenBack(tasks)], Durability::Now)
    }

    /// Voids submissions that were never accepted and takes their jobs back. Returns those that
    /// an executor had claimed after all, which stay submitted.
    pub fn take_back(&self, chunks: &[ChunkId]) -> Result<Vec<ChunkId>> {
        let mut inner = self.lock_to_write()?;
        self.ensure_sole(&mut inner)?;
        let mut tasks = all_tasks(&inner.tables, chunks);
        tasks.retain(|task| inner.tables.open.contains(task));
        // A void behind a claim stops a run; it does not undo what the run has done.
        let (mut ran, free): (Vec<u32>, Vec<u32>) =
            tasks.into_iter().partition(|task| has_claim(&inner.tables, *task));
        let voided = self.void_tasks(&inner.tables, &free, "it was not accepted")?;
        let (back, lost): (Vec<_>, Vec<_>) = voided.into_iter().partition(|(_, won)| *won);
        ran.extend(lost.into_iter().map(|(task, _)| task));
        let ran: HashSet<ChunkId> =
            ran.into_iter().map(|task| inner.tables.chunks[task as usize].chunk()).collect();
        if !back.is_empty() {
            let back = back.into_iter().map(|(task, _)| task).collect();
            self.write(&mut inner, &[Record::TakenBack(back)], Durability::Now)?;
        }
        Ok(chunks.iter().copied().filter(|chunk| ran.contains(chunk)).collect())
    }
}

fn all_tasks(tables: &Tables, chunks: &[ChunkId]) -> Vec<u32> {
    chunks.iter().flat_map(|chunk| tables.tasks_of(*chunk)).collect()
}

/// Whether the claim's process ran on this machine, in our pid namespace, and is gone.
fn died_here(claim: &Claim) -> bool {
    let here = Identity::of_this_process();
    here.boot_id == claim.boot_id
        && here.namespace == claim.namespace
        && here.host == claim.host
        && !process::is_alive(claim.pid, claim.start_ticks)
}
