//! The loop that hands out jobs, hears of their ends, and keeps every deadline.

use std::collections::VecDeque;
use std::time::Duration;

use batchwright_core::clock::Clock;
use batchwright_core::collection::{Limits, Row};
use batchwright_core::fs::Fs;
use batchwright_core::layout::Layout;
use batchwright_core::run::{Body, Cause, Closed, End, Failure, Record, Started, Stored};

use super::children::{self, Exit};
use super::claim;
use super::oom::OomCounter;
use super::output::LogFile;
use super::pace::Pace;
use super::report::{MOST_UNSYNCED, Report};
use super::signals::Signals;
use super::wire::{self, Answer, Measured, Outcome};
use super::worker::{Launch, Sentence, State, Worker};

/// Between being asked to end and being killed: a job over its time, and jobs of a stopped run.
const TIMEOUT_GRACE: f64 = 0.5;
const STOP_GRACE: f64 = 2.0;
/// How long workers without a job may take to end.
const LEAVE_GRACE: f64 = 5.0;
/// The same where one of them has a hook to run.
const HOOK_GRACE: f64 = 600.0;
/// Workers that ended in a row before any of their jobs did.
const MOST_FRUITLESS: u32 = 5;
/// Seconds after which another process is tried.
const START_PAUSE: f64 = 1.0;
/// A result that could not be stored is made once more, after so many seconds.
const STORAGE_PAUSE: f64 = 5.0;
/// A worker that has closed its pipe and lives on is killed.
const CLOSED_GRACE: f64 = 1.0;
/// With jobs shorter than this on average, answers are read in batches.
const SHORT_JOB: f64 = 1e-3;
/// So long they gather, a part of the work that is in hand then.
const NAP: Duration = Duration::from_millis(1);

/// What the loop works with.
pub(crate) struct Tools<'a> {
    pub(crate) fs: &'a dyn Fs,
    pub(crate) clock: &'a dyn Clock,
    pub(crate) layout: &'a Layout,
    pub(crate) signals: Signals,
    pub(crate) limits: &'a Limits,
    /// The bytes that the rows were read from.
    pub(crate) file: &'a [u8],
    /// Seconds between signs of life.
    pub(crate) beat: f64,
    /// Something of the user's runs after the last job.
    pub(crate) has_last_hook: bool,
    /// By `Clock::boottime`: no job runs longer.
    pub(crate) deadline: Option<f64>,
}

/// Why the run ends before its jobs have ended.
struct Stop {
    /// What becomes of jobs that run; none: it is left to the owner.
    running: Option<Cause>,
    /// What becomes of the run, and so of the jobs not begun.
    closed: Option<Cause>,
    message: String,
}

/// A job of this run.
#[derive(Clone, Copy, Default)]
struct Progress {
    tries: u16,
    storage_failures: u16,
}

/// A result in a worker's file that is not yet durable.
struct Held {
    row: usize,
    measured: Measured,
    stored: Stored,
}

pub(crate) struct Board<'a> {
    tools: Tools<'a>,
    launch: Launch<'a>,
    rows: &'a [Row<'a>],
    progress: Vec<Progress>,
    queue: VecDeque<usize>,
    /// Rows that wait, and until when.
    delayed: Vec<(usize, f64)>,
    held: Vec<Held>,
    workers: Vec<Worker>,
    next_worker: u32,
    fruitless: u32,
    next_start: f64,
    /// Why no more workers are started.
    setup_failure: Option<Vec<u8>>,
    report: Report<'a>,
    log: LogFile<'a>,
    oom: OomCounter,
    pace: Pace,
    stop: Option<Stop>,
    next_flush: Option<f64>,
    next_beat: f64,
    request: Vec<u8>,
}

/// How the loop ended.
pub(crate) enum Finish {
    /// Everything is reported.
    Reported,
    /// The journal could not be written; so many ends are lost.
    Lost { results: usize, error: String },
}

impl<'a> Board<'a> {
    pub(crate) fn new(
        tools: Tools<'a>,
        launch: Launch<'a>,
        rows: &'a [Row<'a>],
        report: Report<'a>,
    ) -> Self {
        let log = LogFile::new(tools.fs, tools.clock, tools.layout, report.id());
        let next_beat = tools.clock.monotonic() + tools.beat;
        Self {
            tools,
            launch,
            rows,
            progress: vec![Progress::default(); rows.len()],
            queue: (0..rows.len()).collect(),
            delayed: Vec::new(),
            held: Vec::new(),
            workers: Vec::new(),
            next_worker: 0,
            fruitless: 0,
            next_start: 0.0,
            setup_failure: None,
            report,
            log,
            oom: OomCounter::of_this_process(),
            pace: Pace::default(),
            stop: None,
            next_flush: None,
            next_beat,
            request: Vec::new(),
        }
    }

    fn now(&self) -> f64 {
        self.tools.clock.monotonic()
    }

    pub(crate) fn run(mut self) -> Finish {
        let mut ready = Vec::new();
        loop {
            self.keep_deadlines();
            self.hand_out();
            if self.is_over() {
                break;
            }
            self.report.write();
            if let Some(lost) = self.give_up() {
                return lost;
            }
            self.listen(&mut ready);
        }
        self.finish()
    }

    /// Running jobs have been asked to end; a superseded run lets them go on.
    fn is_stopping(&self) -> bool {
        self.stop.as_ref().is_some_and(|stop| stop.closed.is_some())
    }

    fn is_past_deadline(&self) -> bool {
        self.tools.deadline.is_some_and(|at| self.tools.clock.boottime() >= at)
    }

    fn is_over(&self) -> bool {
        let hands_empty = self.workers.iter().all(|w| w.hand.is_empty());
        let nothing_to_come = self.queue.is_empty() && self.delayed.is_empty();
        hands_empty && self.held.is_empty() && (nothing_to_come || self.stop.is_some())
    }

    // Waiting and hearing.

    fn listen(&mut self, ready: &mut Vec<bool>) {
        let mut descriptors: Vec<i32> = self.tools.signals.descriptors().collect();
        let signals = descriptors.len();
        for worker in &self.workers {
            descriptors.extend(worker.descriptors());
        }
        children::wait(&descriptors, self.patience(), ready);
        if ready[..signals].contains(&true) {
            self.hear_signals();
        }
        if ready[signals..].contains(&true) {
            let ended_before = self.pace.ended();
            self.hear_workers();
            if self.pace.ended() > ended_before && self.pace.recent() < SHORT_JOB {
                std::thread::sleep(NAP);
            }
        }
    }

    /// Until the next deadline.
    fn patience(&self) -> Duration {
        let now = self.now();
        let mut next = self.next_beat;
        let mut consider = |at: f64| next = next.min(at);
        let times = [self.next_flush, self.log.due(), self.report.next_try()];
        times.into_iter().flatten().for_each(&mut consider);
        self.delayed.iter().for_each(|&(_, at)| consider(at));
        for worker in &self.workers {
            if let Some(sentence) = &worker.sentence {
                consider(sentence.kill_at);
            }
            if let (Some(at), None) = (worker.closed_at, &worker.sentence) {
                consider(at + CLOSED_GRACE);
            }
            if worker.hand.is_empty() {
                continue;
            }
            if !worker.start_is_recorded {
                consider(worker.began + self.tools.limits.sync_interval.max(0.01));
            }
            if let (Some(limit), None) = (self.tools.limits.timeout, &worker.sentence) {
                consider(worker.began + limit);
            }
        }
        if let (Some(deadline), false) = (self.tools.deadline, self.is_stopping()) {
            consider(now + (deadline - self.tools.clock.boottime()));
        }
        if self.next_start > now {
            consider(self.next_start);
        }
        Duration::from_secs_f64((next - now).clamp(0.0, 60.0))
    }

    fn hear_signals(&mut self) {
        if let Some(name) = self.tools.signals.stop() {
            let again = self.stop.is_some();
            self.stop_jobs(
                Stop {
                    running: Some(Cause::Stopped),
                    closed: Some(Cause::NotStarted),
                    message: format!("stopped by {name}"),
                },
                if again { 0.0 } else { STOP_GRACE },
            );
        }
        if self.tools.signals.child() {
            while let Some(exit) = children::reap() {
                if let Some(at) = self.workers.iter().position(|w| w.pid == exit.pid) {
                    let worker = self.workers.remove(at);
                    self.bury(worker, exit);
                }
            }
        }
    }

    fn hear_workers(&mut self) {
        for at in 0..self.workers.len() {
            self.workers[at].read_output(&mut self.log);
            let now = self.now();
            self.workers[at].read_answers(now);
            self.hear_answers(at);
        }
    }

    /// Takes in what a worker has answered. An answer may end the whole run's set-up, so the
    /// worker is looked up afresh each time.
    fn hear_answers(&mut self, at: usize) {
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

    fn hear_end(&mut self, at: usize, job: u32, measured: Measured, outcome: Outcome<'_>) {
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

    // Ends of jobs.

    fn end(&mut self, row: usize, cause: Option<Cause>, measured: Measured, body: Body<'_>) {
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
    fn failed(&mut self, row: usize, cause: Cause, measured: Measured, failure: &[u8]) {
        let is_retried = matches!(cause, Cause::Error | Cause::Crashed | Cause::Timeout)
            && self.progress[row].tries <= self.tools.limits.retries
            && self.stop.is_none();
        if is_retried {
            self.queue.push_back(row);
        } else {
            self.end(row, Some(cause), measured, Body::Failure(failure));
        }
    }

    fn not_stored(&mut self, row: usize, measured: Measured, failure: &[u8]) {
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
    fn setup_failed(&mut self, failure: &[u8]) {
        self.setup_failure = Some(failure.to_vec());
        if !self.workers.iter().any(Worker::takes_jobs) {
            self.end_all_as_setup(failure);
        }
    }

    fn end_all_as_setup(&mut self, failure: &[u8]) {
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

    // Ends of workers.

    fn bury(&mut self, mut worker: Worker, exit: Exit) {
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

    fn blame(&mut self, row: usize, worker: &Worker, exit: Exit) {
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

    fn judge(&mut self, exit: Exit) -> (Cause, String) {
        let message = how(exit);
        if exit.signal == Some(libc::SIGKILL) && self.oom.rose() {
            let why = "out of memory: its memory cgroup counted a kill";
            return (Cause::Oom, format!("{message} ({why})"));
        }
        (Cause::Crashed, message)
    }

    /// A worker ended before it could run a job.
    fn never_ready(&mut self, said: &str, exit: Exit) {
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

    fn take_all_back(&mut self, at: usize) {
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
    fn sentence(&mut self, at: usize, cause: Option<Cause>, message: &str) {
        let kill_at = self.now() + TIMEOUT_GRACE;
        self.take_all_back(at);
        let worker = &mut self.workers[at];
        worker.sentence = Some(Sentence { cause, message: message.to_owned(), kill_at });
        worker.signal(libc::SIGTERM);
    }

    fn retire(&mut self, at: usize) {
        self.take_all_back(at);
        if self.workers[at].state == State::Ready {
            self.workers[at].say_goodbye(false);
        }
    }

    // Deadlines.

    fn keep_deadlines(&mut self) {
        let now = self.now();
        self.keep_workers_deadlines(now);
        if !self.is_stopping() && self.is_past_deadline() {
            self.stop_jobs(walltime(), STOP_GRACE);
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
        let is_idle = self.queue.is_empty() && self.workers.iter().all(|w| w.hand.is_empty());
        let is_due = self.next_flush.is_some_and(|at| now >= at)
            || self.report.next_try().is_some_and(|at| now >= at)
            || (is_idle && !self.held.is_empty())
            || self.report.unsynced() > MOST_UNSYNCED
            || self.has_unrecorded_start(now);
        if is_due {
            self.flush();
        }
    }

    fn keep_workers_deadlines(&mut self, now: f64) {
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

    fn out_of_time(&mut self, at: usize, limit: f64) {
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

    fn has_unrecorded_start(&self, now: f64) -> bool {
        let interval = self.tools.limits.sync_interval.max(0.01);
        self.workers.iter().any(|worker| {
            !worker.hand.is_empty() && !worker.start_is_recorded && now >= worker.began + interval
        })
    }

    fn want_flush(&mut self) {
        let at = self.now() + self.tools.limits.sync_interval.max(0.0);
        self.next_flush = Some(self.next_flush.map_or(at, |due| due.min(at)));
    }

    /// Makes everything so far durable: results in workers' files first, then what names them.
    fn flush(&mut self) {
        self.next_flush = None;
        if !self.held.is_empty() {
            self.settle_held();
        }
        let mut started = Vec::new();
        for worker in &mut self.workers {
            if let (Some(&row), false) = (worker.hand.front(), worker.start_is_recorded) {
                worker.start_is_recorded = true;
                started.push(Started { job: self.rows[row].job, at: worker.began_at });
            }
        }
        if !started.is_empty() {
            self.report.record(&Record::Started(started));
        }
        self.report.sync();
    }

    fn settle_held(&mut self) {
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
                super::say(&format!("results are lost and made again: {error}"));
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

    fn retire_number(&mut self, number: u32) {
        if let Some(at) = self.workers.iter().position(|w| w.number == number) {
            self.retire(at);
        }
    }

    /// A sign of life, and a look at whether the owner or a later run wants this one to end.
    fn beat(&mut self, now: f64) {
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

    fn look_for_successor(&mut self) -> batchwright_core::Result<()> {
        let id = self.report.id();
        let runs = claim::runs_of_task(self.tools.fs, self.tools.layout, id.chunk, id.task)?;
        let Some(&(run, _)) = runs.iter().find(|(run, _)| *run > id.run) else { return Ok(()) };
        let later = batchwright_core::layout::RunId { run, ..id };
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

    /// Ends the running jobs after `grace` seconds and begins no other.
    fn stop_jobs(&mut self, stop: Stop, grace: f64) {
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
        self.stop.get_or_insert(stop);
    }

    fn give_up(&mut self) -> Option<Finish> {
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

    fn lost(&self) -> Finish {
        let error = self.report.error().map(ToString::to_string).unwrap_or_default();
        Finish::Lost { results: self.report.unsynced_ends() + self.held.len(), error }
    }

    // Handing out.

    fn hand_out(&mut self) {
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
    fn fits(&self, wait: f64) -> bool {
        let left = self.tools.deadline.map(|at| at - self.tools.clock.boottime());
        left.is_none_or(|left| wait + self.pace.longest_likely() <= left)
    }

    /// Seconds until a worker has done what it has in hand.
    fn busy_for(&self, worker: &Worker) -> f64 {
        let work = worker.hand.len() as f64 * self.pace.longest_likely();
        let done = if worker.hand.is_empty() { 0.0 } else { self.now() - worker.began };
        (work - done).max(0.0)
    }

    fn start_workers(&mut self) {
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
        let wanted = useful.min(self.tools.limits.parallel.max(1) as usize);
        let here = |w: &&Worker| w.state != State::Leaving && w.sentence.is_none();
        while self.workers.iter().filter(here).count() < wanted {
            let number = self.next_worker;
            match Worker::start(&self.launch, number, number == 0) {
                Ok(worker) => self.workers.push(worker),
                Err(error) => return self.not_started(&error),
            }
            self.next_worker += 1;
        }
    }

    fn not_started(&mut self, error: &std::io::Error) {
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

    fn fill_hands(&mut self, depth: usize) {
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

    fn hand(&mut self, at: usize, row: usize) -> bool {
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
    fn share(&mut self) {
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

    // The end.

    fn finish(mut self) -> Finish {
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

    fn closed(&self) -> Closed {
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
    fn dismiss_workers(&mut self) {
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

fn walltime() -> Stop {
    Stop {
        running: Some(Cause::Walltime),
        closed: Some(Cause::NotStarted),
        message: "the walltime is used up".into(),
    }
}

fn failure(message: &str, traceback: &str) -> Vec<u8> {
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
