//! The end of a run, before its time or in it.

use std::time::Duration;

use batchwright_core::run::{Cause, Closed, Record};

use super::super::children;
use super::super::worker::{Sentence, State};
use super::{Board, Finish, HOOK_GRACE, LEAVE_GRACE, Stop};

impl Board<'_> {
    /// Ends the running jobs after `grace` seconds and begins no other.
    pub(super) fn stop_jobs(&mut self, stop: Stop, grace: f64) {
        let kill_at = self.now() + grace;
        for at in 0..self.workers.len() {
            self.take_all_back(at);
            let worker = &mut self.workers[at];
            if worker.sentence.is_none() {
                worker.signal(libc::SIGTERM);
                let (cause, message) = (stop.running, stop.message.clone());
                worker.sentence = Some(Sentence { cause, message, kill_at });
            } else if let Some(sentence) = &mut worker.sentence {
                sentence.kill_at = sentence.kill_at.min(kill_at);
            }
        }
        if !self.is_stopping() {
            self.stop = Some(stop);
        }
    }

    pub(super) fn give_up(&mut self) -> Option<Finish> {
        if !self.report.is_broken() {
            return None;
        }
        let is_stopped = self.stop.is_some() && self.workers.iter().all(|w| w.hand.is_empty());
        let hopeless = self.report.hopeless().is_some();
        if !(self.is_past_deadline() || is_stopped || hopeless) || self.report.try_once_more() {
            return None;
        }
        children::end_all();
        self.log.sync();
        Some(self.lost())
    }

    pub(super) fn lost(&self) -> Finish {
        let error = self.report.error().map(ToString::to_string).unwrap_or_default();
        Finish::Lost { results: self.report.unsynced_ends() + self.held.len(), error }
    }

    pub(super) fn finish(mut self) -> Finish {
        self.log.write(&mut self.report);
        self.flush();
        self.dismiss_workers();
        self.log.write(&mut self.report);
        self.log.sync();
        children::end_all();
        let closed = self.closed();
        self.report.record(&Record::Closed(closed));
        self.report.sync();
        while self.report.is_broken() {
            let is_last = self.is_past_deadline() || self.stop.is_some();
            if (is_last || self.report.hopeless().is_some()) && !self.report.try_once_more() {
                return self.lost();
            }
            std::thread::sleep(Duration::from_millis(200));
            if let Some(name) = self.tools.signals.stop() {
                let message = format!("stopped by {name}");
                self.stop = Some(Stop { running: None, closed: None, message });
            }
            self.report.sync();
        }
        Finish::Reported
    }

    pub(super) fn closed(&self) -> Closed {
        let at = self.tools.clock.now();
        let is_whole = self.queue.is_empty() && self.delayed.is_empty();
        match &self.stop {
            Some(stop) if !is_whole || stop.closed.is_none() => {
                Closed { at, cause: stop.closed, message: stop.message.clone() }
            }
            _ => Closed { at, cause: None, message: String::new() },
        }
    }

    /// Lets idle workers end by themselves, for a while.
    pub(super) fn dismiss_workers(&mut self) {
        let mut is_last = self.stop.is_none();
        for worker in &mut self.workers {
            if worker.state == State::Ready && worker.sentence.is_none() {
                worker.say_goodbye(is_last);
                is_last = false;
            } else {
                worker.signal(libc::SIGKILL);
            }
        }
        let until = self.now() + if self.tools.has_last_hook { HOOK_GRACE } else { LEAVE_GRACE };
        let mut ready = Vec::new();
        while !self.workers.is_empty() && self.now() < until && !self.is_past_deadline() {
            let mut descriptors: Vec<i32> = self.tools.signals.descriptors().collect();
            for worker in &self.workers {
                descriptors.extend(worker.descriptors());
            }
            let left = Duration::from_secs_f64((until - self.now()).clamp(0.0, 1.0));
            children::wait(&descriptors, left, &mut ready);
            self.hear_signals();
            self.hear_workers();
        }
        for worker in &mut self.workers {
            worker.signal(libc::SIGKILL);
            worker.read_output(&mut self.log);
            worker.capture.finish(&mut self.log);
        }
    }
}

pub(super) fn walltime() -> Stop {
    Stop {
        running: Some(Cause::Walltime),
        closed: Some(Cause::NotStarted),
        message: "the walltime is used up".into(),
    }
}
