//! Handing jobs to workers: how many, to whom, and whether they still fit.

use super::super::wire;
use super::super::worker::{State, Worker};
use super::burial::failure;
use super::stopping::walltime;
use super::{Board, MOST_FRUITLESS, START_PAUSE};

impl Board<'_> {
    pub(super) fn hand_out(&mut self) {
        if self.stop.is_some() || self.report.is_broken() {
            return;
        }
        if !self.queue.is_empty() && !self.fits(0.0) {
            if self.workers.iter().all(|w| w.hand.is_empty()) {
                self.stop = Some(walltime());
            }
            return;
        }
        self.start_workers();
        self.fill_hands(1);
        self.share();
        self.fill_hands(self.pace.depth());
    }

    /// Whether a job that begins in `wait` seconds will end in time, going by those that have
    /// ended.
    pub(super) fn fits(&self, wait: f64) -> bool {
        let left = self.tools.deadline.map(|at| at - self.tools.clock.boottime());
        left.is_none_or(|left| wait + self.pace.longest_likely() <= left)
    }

    /// Seconds until a worker has done what it has in hand.
    pub(super) fn busy_for(&self, worker: &Worker) -> f64 {
        let work = worker.hand.len() as f64 * self.pace.longest_likely();
        let done = if worker.hand.is_empty() { 0.0 } else { self.now() - worker.began };
        (work - done).max(0.0)
    }

    pub(super) fn start_workers(&mut self) {
        if let Some(failure) = &self.setup_failure {
            if !self.queue.is_empty() && !self.workers.iter().any(Worker::takes_jobs) {
                self.end_all_as_setup(&failure.clone());
            }
            return;
        }
        if self.next_start > self.now() {
            return;
        }
        let busy = self.workers.iter().filter(|w| !w.hand.is_empty()).count();
        let useful = self.queue.len() + busy;
        let mut wanted = useful.min(self.tools.limits.parallel.max(1) as usize);
        let awaits_hook = self.first_hook_is_to_come();
        if awaits_hook {
            wanted = wanted.min(1);
        }
        let here = |w: &&Worker| w.state != State::Leaving && w.sentence.is_none();
        while self.workers.iter().filter(here).count() < wanted {
            let number = self.next_worker;
            match Worker::start(&self.launch, number, awaits_hook) {
                Ok(worker) => self.workers.push(worker),
                Err(error) => return self.not_started(&error),
            }
            self.next_worker += 1;
        }
    }

    /// No job begins before the user's hook has run, and no second worker before it.
    fn first_hook_is_to_come(&self) -> bool {
        self.tools.has_first_hook
            && self.pace.ended() == 0
            && self.workers.iter().all(|w| w.state == State::Starting)
    }

    pub(super) fn not_started(&mut self, error: &std::io::Error) {
        // Want of processes or memory may pass; a missing interpreter does not.
        let may_pass = matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOMEM));
        self.fruitless += 1;
        if may_pass && self.fruitless < MOST_FRUITLESS {
            self.next_start = self.now() + START_PAUSE;
            return;
        }
        let command = self.launch.command.join(" ");
        let message = format!("cannot start `{command}`: {error}");
        self.setup_failed(&failure(&message, ""));
    }

    pub(super) fn fill_hands(&mut self, depth: usize) {
        let most = self.tools.limits.jobs_per_worker.unwrap_or(u32::MAX);
        for at in 0..self.workers.len() {
            loop {
                let worker = &self.workers[at];
                let has_room = worker.takes_jobs() && worker.hand.len() < depth;
                if !has_room || worker.handed >= most || !self.fits(self.busy_for(worker)) {
                    break;
                }
                let Some(row) = self.queue.pop_front() else { return };
                if !self.hand(at, row) {
                    self.queue.push_front(row);
                    break;
                }
            }
        }
    }

    pub(super) fn hand(&mut self, at: usize, row: usize) -> bool {
        let job = &self.rows[row];
        wire::job(job, self.tools.file, &mut self.request);
        let (now, wall) = (self.tools.clock.monotonic(), self.tools.clock.now());
        let worker = &mut self.workers[at];
        // A worker that is gone takes nothing; it is met when it is reaped.
        if !worker.send(row, &self.request).unwrap_or(false) {
            return false;
        }
        if worker.hand.len() == 1 {
            worker.began = now;
            worker.began_at = wall;
            worker.start_is_recorded = false;
        }
        worker.capture.handed(job.job, &mut self.log);
        true
    }

    /// Gives idle workers what busy ones have not begun.
    pub(super) fn share(&mut self) {
        if !self.queue.is_empty() {
            return;
        }
        while let Some(idle) = self.workers.iter().position(Worker::is_idle) {
            let busiest = (0..self.workers.len()).max_by_key(|&at| self.workers[at].hand.len());
            let Some(victim) = busiest.filter(|&at| self.workers[at].hand.len() > 1) else {
                return;
            };
            self.take_all_back(victim);
            if self.queue.is_empty() {
                return;
            }
            let kept = self.queue.len() / 2;
            let Some(row) = self.queue.pop_back() else { return };
            if !self.hand(idle, row) {
                return self.queue.push_back(row);
            }
            for _ in 0..kept {
                let Some(row) = self.queue.pop_front() else { break };
                if !self.hand(victim, row) {
                    return self.queue.push_front(row);
                }
            }
        }
    }
}
