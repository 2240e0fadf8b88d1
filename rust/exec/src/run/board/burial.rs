//! Workers that end, or have to: which job is to blame, and what goes back to the queue.

use batchwright_core::run::{Cause, Failure};

use super::super::children::Exit;
use super::super::wire::Measured;
use super::super::worker::{Sentence, State, Worker};
use super::{Board, MOST_FRUITLESS, TIMEOUT_GRACE};

impl Board<'_> {
    pub(super) fn bury(&mut self, mut worker: Worker, exit: Exit) {
        let number = worker.number;
        let now = self.now();
        worker.read_output(&mut self.log);
        worker.read_answers(now);
        self.workers.push(worker);
        let at = self.workers.len() - 1;
        self.hear_answers(at);
        let Some(at) = self.workers.iter().position(|w| w.number == number) else { return };
        self.take_all_back(at);
        let mut worker = self.workers.remove(at);
        let early = worker.capture.early_text();
        worker.capture.finish(&mut self.log);
        match worker.hand.pop_front() {
            Some(row) => self.blame(row, &worker, exit),
            None if worker.state == State::Starting && worker.sentence.is_none() => {
                self.never_ready(&early, exit);
            }
            None if worker.state == State::Ready && worker.sentence.is_none() => {
                self.fruitless += 1;
                if self.fruitless >= MOST_FRUITLESS {
                    self.never_ready(&early, exit);
                }
            }
            None => {}
        }
        for row in worker.hand.drain(..).rev() {
            self.queue.push_front(row);
        }
    }

    pub(super) fn blame(&mut self, row: usize, worker: &Worker, exit: Exit) {
        let (cause, message) = match &worker.sentence {
            Some(Sentence { cause: None, .. }) => return self.queue.push_front(row),
            Some(Sentence { cause: Some(cause), message, .. }) => (*cause, message.clone()),
            None => self.judge(exit),
        };
        self.progress[row].tries += 1;
        let measured = Measured {
            started: worker.began_at,
            ended: self.tools.clock.now().max(worker.began_at),
            peak_kib: exit.peak_kib,
            cpu_us: 0,
        };
        self.failed(row, cause, measured, &failure(&message, ""));
        self.want_flush();
    }

    pub(super) fn judge(&mut self, exit: Exit) -> (Cause, String) {
        let message = how(exit);
        if exit.signal == Some(libc::SIGKILL) && self.oom.rose() {
            let why = "out of memory: its memory cgroup counted a kill";
            return (Cause::Oom, format!("{message} ({why})"));
        }
        (Cause::Crashed, message)
    }

    /// A worker ended before it could run a job.
    pub(super) fn never_ready(&mut self, said: &str, exit: Exit) {
        if self.stop.is_some() {
            return;
        }
        // A program that exits will do so again; one that was killed gets another chance.
        self.fruitless += 1;
        if exit.code.is_some() || self.fruitless >= MOST_FRUITLESS {
            let message = format!("the worker {} before it took a job", how(exit));
            self.setup_failed(&failure(&message, said));
        }
    }

    pub(super) fn take_all_back(&mut self, at: usize) {
        let mut buffer = std::mem::take(&mut self.request);
        let worker = &mut self.workers[at];
        let mut back = Vec::new();
        while let Some(job) = worker.take_back(&mut buffer) {
            if let Some(place) = worker.hand.iter().rposition(|&r| self.rows[r].job == job) {
                back.extend(worker.hand.remove(place));
                worker.capture.taken_back(job);
                worker.handed -= 1;
            }
        }
        self.request = buffer;
        for row in back.into_iter().rev() {
            self.queue.push_front(row);
        }
    }

    /// Kills a worker because of the job that it runs, unless that has just ended.
    pub(super) fn sentence(&mut self, at: usize, cause: Option<Cause>, message: &str) {
        let kill_at = self.now() + TIMEOUT_GRACE;
        self.take_all_back(at);
        let worker = &mut self.workers[at];
        worker.sentence = Some(Sentence { cause, message: message.to_owned(), kill_at });
        worker.signal(libc::SIGTERM);
    }

    pub(super) fn retire(&mut self, at: usize) {
        self.take_all_back(at);
        if self.workers[at].state == State::Ready {
            self.workers[at].say_goodbye(false);
        }
    }
}

pub(super) fn failure(message: &str, traceback: &str) -> Vec<u8> {
    let failure = Failure {
        type_name: String::new(),
        message: message.to_owned(),
        traceback: traceback.to_owned(),
    };
    serde_json::to_vec(&failure).expect("plain records always serialise")
}

/// How a process ended, in words.
fn how(exit: Exit) -> String {
    match (exit.signal, exit.code) {
        (Some(signal), _) => {
            let name = signal_hook::low_level::signal_name(signal);
            let name = name.map_or_else(|| format!("signal {signal}"), str::to_owned);
            format!("killed by {name}")
        }
        (None, Some(code)) => format!("exited with code {code}"),
        (None, None) => "ended".to_owned(),
    }
}
