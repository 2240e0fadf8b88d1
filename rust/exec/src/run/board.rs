//! The loop that hands out jobs, hears of their ends, and keeps every deadline.

mod burial;
mod deadlines;
mod durable;
mod ends;
mod handing;
mod stopping;

use std::collections::VecDeque;
use std::time::Duration;

use batchwright_core::clock::Clock;
use batchwright_core::collection::{Limits, Row};
use batchwright_core::fs::Fs;
use batchwright_core::layout::Layout;
use batchwright_core::run::{Cause, Stored};

use super::children;
use super::oom::OomCounter;
use super::output::LogFile;
use super::pace::Pace;
use super::report::Report;
use super::signals::Signals;
use super::wire::Measured;
use super::worker::{Launch, Worker};

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
/// A job that runs so long is shown as running before it ends.
const SHOWN_AFTER: f64 = 0.1;

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
    /// Something of the user's runs before the first job, in the first worker.
    pub(crate) has_first_hook: bool,
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
                consider(worker.began + SHOWN_AFTER);
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
            let again = self.is_stopping();
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
}
