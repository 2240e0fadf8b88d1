//! What workers answer: ends of jobs, and set-ups that fail.

use batchwright_core::run::{Body, Cause, End};

use super::super::wire::{self, Answer, Measured, Outcome};
use super::super::worker::{State, Worker};
use super::{Board, Held, STORAGE_PAUSE};

impl Board<'_> {
    /// Takes in what a worker has answered. An answer may end the whole run's set-up, so the
    /// worker is looked up afresh each time.
    pub(super) fn hear_answers(&mut self, at: usize) {
        let mut inbox = std::mem::take(&mut self.workers[at].inbox);
        let mut read = 0;
        let mut setup_failure = None;
        loop {
            match wire::answer(&inbox[read..], self.workers[at].number) {
                Ok(Some((answer, length))) => {
                    read += length;
                    match answer {
                        Answer::Ready => self.workers[at].state = State::Ready,
                        Answer::SetupFailed(failure) => setup_failure = Some(failure.to_vec()),
                        Answer::Ended { job, measured, outcome } => {
                            self.hear_end(at, job, measured, outcome);
                        }
                    }
                }
                Ok(None) => break,
                Err(wire::Garbled) => {
                    self.sentence(at, Some(Cause::Crashed), "it wrote into the executor's pipe");
                    read = inbox.len();
                    break;
                }
            }
        }
        inbox.drain(..read);
        self.workers[at].inbox = inbox;
        if let Some(failure) = setup_failure {
            self.workers[at].state = State::Leaving;
            self.setup_failed(&failure);
        }
    }

    pub(super) fn hear_end(
        &mut self,
        at: usize,
        job: u32,
        measured: Measured,
        outcome: Outcome<'_>,
    ) {
        let now = self.now();
        let worker = &mut self.workers[at];
        let Some(&row) = worker.hand.front().filter(|&&row| self.rows[row].job == job) else {
            return self.sentence(at, Some(Cause::Crashed), "it answered for another job");
        };
        worker.hand.pop_front();
        worker.began = now;
        worker.began_at = measured.ended;
        worker.start_is_recorded = false;
        self.fruitless = 0;
        self.pace.ended_after(measured.ended - measured.started);
        self.progress[row].tries += 1;
        self.want_flush();
        match outcome {
            Outcome::Result(bytes) => self.end(row, None, measured, Body::Result(bytes)),
            Outcome::Stored(stored) => self.held.push(Held { row, measured, stored }),
            Outcome::Failed(failure) => {
                self.failed(row, Cause::Error, measured, failure);
            }
            Outcome::StorageFailed(failure) => {
                self.not_stored(row, measured, failure);
                self.retire(at);
            }
        }
        let limit = self.tools.limits.jobs_per_worker;
        let worker = &mut self.workers[at];
        let is_worn = limit.is_some_and(|limit| worker.handed >= limit);
        if is_worn && worker.hand.is_empty() && worker.state == State::Ready {
            worker.say_goodbye(false);
        }
    }

    pub(super) fn end(
        &mut self,
        row: usize,
        cause: Option<Cause>,
        measured: Measured,
        body: Body<'_>,
    ) {
        self.report.end(End {
            job: self.rows[row].job,
            cause,
            tries: self.progress[row].tries,
            started: measured.started,
            ended: measured.ended,
            peak_kib: measured.peak_kib,
            cpu_us: measured.cpu_us,
            body,
        });
    }

    /// An attempt went wrong: again, if the job has tries left.
    pub(super) fn failed(&mut self, row: usize, cause: Cause, measured: Measured, failure: &[u8]) {
        let is_retried = matches!(cause, Cause::Error | Cause::Crashed | Cause::Timeout)
            && self.progress[row].tries <= self.tools.limits.retries
            && self.stop.is_none();
        if is_retried {
            self.queue.push_back(row);
        } else {
            self.end(row, Some(cause), measured, Body::Failure(failure));
        }
    }

    pub(super) fn not_stored(&mut self, row: usize, measured: Measured, failure: &[u8]) {
        self.progress[row].storage_failures += 1;
        if self.progress[row].storage_failures > 1 {
            self.end(row, Some(Cause::Storage), measured, Body::Failure(failure));
        } else {
            self.progress[row].tries -= 1;
            self.delayed.push((row, self.now() + STORAGE_PAUSE));
        }
    }

    /// A worker could not be set up: those that could go on alone, and without any, whatever
    /// did not end ends as that.
    pub(super) fn setup_failed(&mut self, failure: &[u8]) {
        self.setup_failure = Some(failure.to_vec());
        if !self.workers.iter().any(Worker::takes_jobs) {
            self.end_all_as_setup(failure);
        }
    }

    pub(super) fn end_all_as_setup(&mut self, failure: &[u8]) {
        let mut left: Vec<usize> = self.queue.drain(..).collect();
        left.extend(self.delayed.drain(..).map(|(row, _)| row));
        let mut workers = std::mem::take(&mut self.workers);
        for worker in &mut workers {
            left.extend(worker.hand.drain(..));
            worker.signal(libc::SIGKILL);
        }
        self.workers = workers;
        left.sort_unstable();
        let at = self.tools.clock.now();
        let measured = Measured { started: at, ended: at, ..Measured::default() };
        for row in left {
            self.end(row, Some(Cause::Setup), measured, Body::Failure(failure));
        }
        self.want_flush();
    }
}
