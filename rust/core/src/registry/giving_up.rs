//! Giving tasks up: those that vanished, were killed, or were never accepted. Only a won void
//! decides it; silence and absence merely ask for it.

use std::collections::{BTreeMap, HashMap};

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
