//! Making what has happened durable, and signs of life.

use batchwright_core::layout::RunId;
use batchwright_core::run::{Body, Cause, Record, Started};

use super::super::worker::Worker;
use super::super::{claim, say};
use super::burial::failure;
use super::{Board, Held, Stop};

impl Board<'_> {
    pub(super) fn want_flush(&mut self) {
        let at = self.now() + self.tools.limits.sync_interval.max(0.0);
        self.next_flush = Some(self.next_flush.map_or(at, |due| due.min(at)));
    }

    /// Makes everything so far durable: results in workers' files first, then what names them.
    pub(super) fn flush(&mut self) {
        self.next_flush = None;
        if !self.held.is_empty() {
            self.settle_held();
        }
        self.record_starts(|_| true);
        self.report.sync();
    }

    /// Says which of the running jobs that are `wanted` have started, if it is not yet said.
    pub(super) fn record_starts(&mut self, wanted: impl Fn(&Worker) -> bool) -> bool {
        let mut started = Vec::new();
        for worker in &mut self.workers {
            if worker.start_is_recorded || !wanted(worker) {
                continue;
            }
            if let Some(&row) = worker.hand.front() {
                worker.start_is_recorded = true;
                started.push(Started { job: self.rows[row].job, at: worker.began_at });
            }
        }
        if started.is_empty() {
            return false;
        }
        self.report.record(&Record::Started(started));
        true
    }

    pub(super) fn settle_held(&mut self) {
        let held = std::mem::take(&mut self.held);
        let mut files: Vec<u32> = held.iter().map(|h| h.stored.worker).collect();
        files.sort_unstable();
        files.dedup();
        let mut broken = Vec::new();
        for worker in files {
            let path = self.tools.layout.results(self.report.id(), worker);
            let synced = self.tools.fs.sync(&path).and_then(|()| {
                // The file's name has to last as well.
                path.parent().map_or(Ok(()), |folder| self.tools.fs.sync(folder))
            });
            if let Err(error) = synced {
                say(&format!("results are lost and made again: {error}"));
                broken.push((worker, failure(&error.to_string(), "")));
                self.retire_number(worker);
            }
        }
        for Held { row, measured, stored } in held {
            match broken.iter().find(|(worker, _)| *worker == stored.worker) {
                Some((_, why)) => self.not_stored(row, measured, &why.clone()),
                None => self.end(row, None, measured, Body::Stored(stored)),
            }
        }
    }

    pub(super) fn retire_number(&mut self, number: u32) {
        if let Some(at) = self.workers.iter().position(|w| w.number == number) {
            self.retire(at);
        }
    }

    /// A sign of life, and a look at whether the owner or a later run wants this one to end.
    pub(super) fn beat(&mut self, now: f64) {
        // Executors that began together shall not write together for ever.
        let jitter = 0.8 + 0.4 * f64::from(self.tools.clock.now() as u16) / 65536.0;
        self.next_beat = now + self.tools.beat * jitter;
        self.report.beat();
        self.log.sync();
        self.flush();
        if self.stop.is_none() {
            // A look that fails says nothing; the next beat looks again.
            let _again = self.look_for_successor();
        }
    }

    pub(super) fn look_for_successor(&mut self) -> batchwright_core::Result<()> {
        let id = self.report.id();
        let runs = claim::runs_of_task(self.tools.fs, self.tools.layout, id.chunk, id.task)?;
        let Some(&(run, _)) = runs.iter().find(|(run, _)| *run > id.run) else { return Ok(()) };
        let later = RunId { run, ..id };
        if let Some(void) = claim::void_at(self.tools.fs, self.tools.layout, later)? {
            let message = format!("taken back by {}: {}", void.by, void.reason);
            self.stop_jobs(Stop { running: None, closed: Some(Cause::Killed), message }, 0.0);
        } else {
            let message = "superseded".to_owned();
            self.stop = Some(Stop { running: None, closed: None, message });
            (0..self.workers.len()).for_each(|at| self.take_all_back(at));
        }
        Ok(())
    }
}
