//! What the clock asks for: ends of jobs over their time, of waiting, and of the run.

use batchwright_core::run::Cause;

use super::super::report::MOST_UNSYNCED;
use super::{Board, CLOSED_GRACE, SHOWN_AFTER, STOP_GRACE, TIMEOUT_GRACE, stopping};

impl Board<'_> {
    pub(super) fn keep_deadlines(&mut self) {
        let now = self.now();
        self.keep_workers_deadlines(now);
        if !self.is_stopping() && self.is_past_deadline() {
            self.stop_jobs(stopping::walltime(), STOP_GRACE);
        }
        let (due, later) = self.delayed.iter().partition::<Vec<_>, _>(|&&(_, at)| at <= now);
        self.delayed = later;
        self.queue.extend(due.into_iter().map(|(row, _)| row));
        if self.log.is_full() || self.log.due().is_some_and(|at| now >= at) {
            self.log.write(&mut self.report);
            self.want_flush();
        }
        if now >= self.next_beat {
            self.beat(now);
        }
        if self.record_starts(|worker| now >= worker.began + SHOWN_AFTER) {
            self.want_flush();
        }
        let is_idle = self.queue.is_empty() && self.workers.iter().all(|w| w.hand.is_empty());
        let is_due = self.next_flush.is_some_and(|at| now >= at)
            || self.report.next_try().is_some_and(|at| now >= at)
            || (is_idle && !self.held.is_empty())
            || self.report.unsynced() > MOST_UNSYNCED;
        if is_due {
            self.flush();
        }
    }

    pub(super) fn keep_workers_deadlines(&mut self, now: f64) {
        for at in 0..self.workers.len() {
            let worker = &self.workers[at];
            if let Some(sentence) = &worker.sentence {
                if now >= sentence.kill_at {
                    worker.signal(libc::SIGKILL);
                    let again = now + TIMEOUT_GRACE;
                    self.workers[at].sentence.iter_mut().for_each(|s| s.kill_at = again);
                }
                continue;
            }
            if worker.closed_at.is_some_and(|closed| now >= closed + CLOSED_GRACE) {
                self.sentence(at, Some(Cause::Crashed), "it closed its pipe to the executor");
                continue;
            }
            let limit = self.tools.limits.timeout.unwrap_or(f64::INFINITY);
            if !worker.hand.is_empty() && now >= worker.began + limit {
                self.out_of_time(at, limit);
            }
        }
    }

    pub(super) fn out_of_time(&mut self, at: usize, limit: f64) {
        let late = self.workers[at].hand.front().copied();
        self.take_all_back(at);
        let now = self.now();
        self.workers[at].read_answers(now);
        self.hear_answers(at);
        // A job that has ended by now, or was never begun, is not late.
        let is_late = self.workers.get(at).is_some_and(|w| w.hand.front().copied() == late);
        if is_late && late.is_some() {
            let message = format!("it ran longer than its timeout of {limit} s");
            self.sentence(at, Some(Cause::Timeout), &message);
        }
    }
}
