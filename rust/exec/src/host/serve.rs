//! `host serve`: the process that takes chunks from the queue and runs them.
//!
//! It reads the requests, launches what fits, reaps, and leaves when idle. It says that it has
//! left *before* it looks at the requests for the last time; owners append first and look for a
//! host afterwards. So whichever comes second sees the other, and no request waits for ever.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::Child;
use std::time::{Duration, Instant};

use batchwright_core::clock::{Clock as _, SystemClock};
use batchwright_core::error::{Error, Result};
use batchwright_core::fs::Fs as _;
use batchwright_core::layout::ChunkId;
use batchwright_core::process;
use batchwright_core::queue::{Exited, Launched, QueueTail, Record, numbered};

use super::history::{self, Claims, Limits};
use super::journal::{self, Journal};
use super::signals::{self, Signals};
use super::{Failure, Place, failed, launch};

/// How long an idle host waits for more: a burst of submits meets one process.
const LINGER: Duration = Duration::from_secs(2);
/// How soon a request is seen.
const TICK: Duration = Duration::from_millis(20);
/// Looking at many files takes at most one part in so many of a core, within reason.
const SHARE: u32 = 20;
const LONGEST_TICK: Duration = Duration::from_millis(500);
/// How long executors may take after this process was told to stop.
const STOPPING: Duration = Duration::from_secs(10);
/// Looks that may fail in a row before the host gives up.
const LOOKS: u32 = 500;

/// Serves until idle. Its first line on stdout is the identity of whoever serves the queue, or
/// what went wrong.
pub(super) fn command(place: &Place, cores: Option<u32>) -> std::result::Result<(), Failure> {
    signals::detach();
    let mut server = match claim(place, cores) {
        Ok(Some(server)) => server,
        Ok(None) => return announce(place),
        Err(failure) => {
            say(&failure.message);
            return Err(failure);
        }
    };
    keep_panics(place, server.journal.number());
    // Whoever started this may have gone by now.
    let _unheard = announce(place);
    let number = server.journal.number();
    server.serve().map_err(|error| {
        keep(place, number, &error.to_string());
        Failure::from(error)
    })
}

/// None where another process serves.
fn claim(place: &Place, cores: Option<u32>) -> std::result::Result<Option<Server>, Failure> {
    let Place { fs, layout, host } = place;
    // One look: a number found later might be the claim of a host that has come since.
    let (mut next, mut orderly) = (0, true);
    if let Some(number) = journal::newest_number(fs, layout, host)? {
        let newest = journal::read_newest(fs, layout, host, number)?;
        if newest.as_ref().is_some_and(|newest| newest.alive) {
            return Ok(None);
        }
        (next, orderly) = (number + 1, newest.is_some_and(|newest| newest.left));
    }
    let settings = Settings::from_environment(cores)?;
    let signals = Signals::install().map_err(|e| failed(format!("no signal handlers: {e}")))?;
    let Some(journal) = Journal::claim(place, next)? else { return Ok(None) };
    Ok(Some(Server::new(place, settings, signals, journal, orderly)))
}

fn announce(place: &Place) -> std::result::Result<(), Failure> {
    let newest = journal::newest(&place.fs, &place.layout, &place.host)?;
    say(&serde_json::to_string(&newest).map_err(|e| failed(e.to_string()))?);
    Ok(())
}

fn say(line: &str) {
    let mut stdout = std::io::stdout();
    let _unheard = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

/// Nobody reads the streams of this process; what it dies of goes to a file.
fn keep_panics(place: &Place, number: u32) {
    let place = place.clone();
    std::panic::set_hook(Box::new(move |panic| keep(&place, number, &panic.to_string())));
}

fn keep(place: &Place, number: u32, message: &str) {
    let path = place.layout.host_output(&place.host, number);
    let _untold = place.fs.publish(&path, format!("{message}\n").as_bytes());
}

struct Settings {
    executor: PathBuf,
    linger: Duration,
    /// Widens the race between leaving and a request, for tests of builds with assertions.
    delay: Duration,
    cores: u32,
}

impl Settings {
    fn from_environment(cores: Option<u32>) -> std::result::Result<Self, Failure> {
        let delay = milliseconds("BATCHWRIGHT_HOST_DELAY_MS").filter(|_| cfg!(debug_assertions));
        Ok(Self {
            executor: launch::executor().map_err(|e| failed(format!("no executor: {e}")))?,
            linger: milliseconds("BATCHWRIGHT_HOST_LINGER_MS").unwrap_or(LINGER),
            delay: delay.unwrap_or_default(),
            cores: cores.unwrap_or_else(launch::cores_here),
        })
    }
}

fn milliseconds(variable: &str) -> Option<Duration> {
    std::env::var(variable).ok()?.parse().ok().map(Duration::from_millis)
}

struct Waiting {
    chunk: ChunkId,
    cores: u32,
}

struct Running {
    chunk: ChunkId,
    cores: u32,
    pid: u32,
    ticks: u64,
    /// None for an executor that an earlier host process launched.
    child: Option<Child>,
}

impl Running {
    /// Code and signal of an executor that has ended; both none where only its parent knew.
    fn ended(&mut self) -> Option<(Option<i32>, Option<i32>)> {
        match &mut self.child {
            Some(child) => match child.try_wait() {
                Ok(Some(status)) => Some((status.code(), status.signal())),
                Ok(None) => None,
                Err(_) => Some((None, None)),
            },
            None => (!process::is_alive(self.pid, self.ticks)).then_some((None, None)),
        }
    }
}

struct Server {
    place: Place,
    settings: Settings,
    signals: Signals,
    journal: Journal,
    /// The host process before this one wrote down all that it did.
    orderly: bool,
    /// By epoch and number, which is the order of requests; none where a file is unreadable.
    tails: BTreeMap<(u64, u32), Option<QueueTail>>,
    limits: Limits,
    known: HashSet<ChunkId>,
    waiting: VecDeque<Waiting>,
    running: Vec<Running>,
}

/// Why the loop ends.
enum Leave {
    Idle,
    Stopped,
    /// Another process serves the queue.
    Superseded,
}

impl Server {
    fn new(
        place: &Place,
        settings: Settings,
        signals: Signals,
        journal: Journal,
        orderly: bool,
    ) -> Self {
        Self {
            place: place.clone(),
            limits: Limits::new(settings.cores),
            settings,
            signals,
            journal,
            orderly,
            tails: BTreeMap::new(),
            known: HashSet::new(),
            waiting: VecDeque::new(),
            running: Vec::new(),
        }
    }

    fn serve(&mut self) -> Result<()> {
        self.look_until_seen()?;
        self.adopt()?;
        loop {
            match self.work()? {
                Leave::Superseded => return self.journal.sync(),
                Leave::Stopped => {
                    self.stop_executors();
                    return self.say_left();
                }
                Leave::Idle => {
                    std::thread::sleep(self.settings.delay);
                    self.say_left()?;
                    self.look_until_seen()?;
                    if self.waiting.is_empty() || !self.claim_again()? {
                        return Ok(());
                    }
                }
            }
        }
    }

    fn work(&mut self) -> Result<Leave> {
        let mut idle_since = Instant::now();
        let mut failed = 0;
        loop {
            if self.signals.stop() {
                return Ok(Leave::Stopped);
            }
            let began = Instant::now();
            let looked = self.look();
            let tick = (began.elapsed() * SHARE).clamp(TICK, LONGEST_TICK);
            match looked {
                Ok(true) => return Ok(Leave::Superseded),
                Ok(false) => failed = 0,
                Err(error) => give_up_after(&mut failed, error)?,
            }
            self.reap();
            self.launch_what_fits();
            self.journal.tend();
            if !self.running.is_empty() || !self.waiting.is_empty() {
                idle_since = Instant::now();
            } else if idle_since.elapsed() >= self.settings.linger {
                return Ok(Leave::Idle);
            }
            self.signals.wait(tick);
        }
    }

    /// Reads what is new in the queue's folder. True if another process serves it.
    fn look(&mut self) -> Result<bool> {
        let Place { fs, layout, host } = &self.place;
        let folder = layout.queue(host);
        for key in numbered(fs, &folder, "requests")? {
            let entry = self.tails.entry(key).or_insert_with(|| Some(QueueTail::default()));
            let Some(tail) = entry else { continue };
            let records = match tail.read(fs, &layout.requests(host, key.0, key.1)) {
                Ok(records) => records,
                Err(error) if error.is_failed_look() => return Err(error),
                Err(error) => {
                    keep(&self.place, self.journal.number(), &error.to_string());
                    *entry = None;
                    continue;
                }
            };
            for (chunk, request) in records.into_iter().filter_map(history::valid_request) {
                self.limits.learn(&request);
                if self.known.insert(chunk) {
                    self.waiting.push_back(Waiting { chunk, cores: request.cores.max(1) });
                }
            }
        }
        let newest = journal::newest_number(fs, layout, host)?;
        Ok(newest.is_some_and(|number| number > self.journal.number()))
    }

    fn look_until_seen(&mut self) -> Result<()> {
        let mut failed = 0;
        while let Err(error) = self.look() {
            give_up_after(&mut failed, error)?;
            self.signals.wait(TICK);
        }
        Ok(())
    }

    /// Executors that earlier host processes launched occupy cores until they are gone, and
    /// what was launched once is not launched again.
    fn adopt(&mut self) -> Result<()> {
        let Place { fs, layout, host } = &self.place;
        let traces = history::traces(fs, layout, host)?;
        let mut found = BTreeMap::new();
        if !self.orderly {
            let executors = launch::find_executors(&self.place);
            found.extend(executors.into_iter().map(|(chunk, pid, ticks)| (chunk, (pid, ticks))));
        }
        for Waiting { chunk, cores } in std::mem::take(&mut self.waiting) {
            let trace = traces.get(&chunk);
            let launched = trace.and_then(|trace| trace.launched);
            if trace.is_some_and(|trace| trace.exited.is_some()) {
                continue;
            }
            let Some((pid, ticks)) = launched.or_else(|| found.get(&chunk).copied()) else {
                self.waiting.push_back(Waiting { chunk, cores });
                continue;
            };
            if launched.is_none() {
                self.journal.record(record_of_launch(chunk, pid, ticks));
            }
            self.running.push(Running { chunk, cores, pid, ticks, child: None });
        }
        Ok(())
    }

    fn reap(&mut self) {
        let mut ended = Vec::new();
        self.running.retain_mut(|running| match running.ended() {
            Some(status) => {
                ended.push((running.chunk, status));
                false
            }
            None => true,
        });
        for (chunk, (code, signal)) in ended {
            let message = launch::take_message(&self.place, chunk);
            self.record_exit(chunk, code, signal, message);
        }
    }

    fn launch_what_fits(&mut self) {
        while let Some(next) = self.waiting.pop_front() {
            if !self.fits(next.cores) {
                self.waiting.push_front(next);
                return;
            }
            match Claims::new(&self.place.fs, &self.place.layout).has(next.chunk) {
                Ok(true) => {}
                Err(error) if error.is_failed_look() => {
                    self.waiting.push_front(next);
                    return;
                }
                // An executor that meets the same error says so.
                Ok(false) | Err(_) => self.launch(&next),
            }
        }
    }

    fn fits(&self, cores: u32) -> bool {
        let chunks = self.running.len();
        let occupied: u32 = self.running.iter().map(|running| running.cores).sum();
        let throttled = self.limits.chunks > 0 && chunks >= self.limits.chunks as usize;
        // Wider than the host: alone.
        chunks == 0 || (!throttled && occupied.saturating_add(cores) <= self.limits.cores)
    }

    fn launch(&mut self, next: &Waiting) {
        let Waiting { chunk, cores } = *next;
        match launch::spawn(&self.place, &self.settings.executor, chunk) {
            Ok(child) => {
                let pid = child.id();
                // One that has ended already is not reaped yet and has no ticks any more.
                let ticks = process::start_ticks(pid).unwrap_or(0);
                self.journal.record(record_of_launch(chunk, pid, ticks));
                self.running.push(Running { chunk, cores, pid, ticks, child: Some(child) });
            }
            Err(message) => self.record_exit(chunk, Some(127), None, message),
        }
    }

    fn record_exit(
        &mut self,
        chunk: ChunkId,
        code: Option<i32>,
        signal: Option<i32>,
        message: String,
    ) {
        let (chunk, at) = (chunk.to_string(), SystemClock.now());
        self.journal.record(Record::Exited(Exited { chunk, code, signal, message, at }));
    }

    fn stop_executors(&mut self) {
        for running in &self.running {
            signals::signal(running.pid, running.ticks, libc::SIGTERM);
        }
        let deadline = Instant::now() + STOPPING;
        self.reap();
        while !self.running.is_empty() && Instant::now() < deadline {
            self.signals.wait(TICK);
            self.reap();
        }
    }

    fn say_left(&mut self) -> Result<()> {
        self.journal.record(Record::Left(SystemClock.now()));
        self.journal.sync()
    }

    /// After having left. False if another process was faster.
    fn claim_again(&mut self) -> Result<bool> {
        let next = self.journal.number() + 1;
        let Some(journal) = Journal::claim(&self.place, next)? else { return Ok(false) };
        self.journal = journal;
        Ok(true)
    }
}

fn record_of_launch(chunk: ChunkId, pid: u32, start_ticks: u64) -> Record {
    let (chunk, at) = (chunk.to_string(), SystemClock.now());
    Record::Launched(Launched { chunk, pid, start_ticks, at })
}

fn give_up_after(failed: &mut u32, error: Error) -> Result<()> {
    *failed += 1;
    if error.is_failed_look() && *failed < LOOKS { Ok(()) } else { Err(error) }
}
