//! One Python worker: its process, its pipes, and the jobs that it has in hand.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, PipeReader, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use batchwright_core::clock::Micros;
use batchwright_core::fs::fill_random;
use batchwright_core::layout::{Layout, RunId};
use batchwright_core::run::Cause;
use serde_json::json;

use super::output::{Capture, LogFile, Marker};
use super::{children, wire};

/// Room for answers and output that were not yet read.
const PIPE: i32 = 1 << 20;
const READ: usize = 1 << 16;

/// How workers are started.
pub(crate) struct Launch<'a> {
    /// Interpreter and options, behind a prefix.
    pub(crate) command: Vec<String>,
    /// The worker program: a folder with a `__main__.py`.
    pub(crate) node: PathBuf,
    pub(crate) environment: &'a BTreeMap<String, String>,
    /// The collection's file, and where in it the JSON of its header lies.
    pub(crate) collection: &'a Path,
    pub(crate) header: (usize, usize),
    pub(crate) layout: &'a Layout,
    pub(crate) id: RunId,
    pub(crate) log_limit: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Starting,
    Ready,
    /// Told to end once its hands are empty.
    Leaving,
}

/// Why a worker is being killed.
#[derive(Clone, Debug)]
pub(crate) struct Sentence {
    /// What its job then ends as; none: the job is given back.
    pub(crate) cause: Option<Cause>,
    pub(crate) message: String,
    /// Until then it was asked; then it is killed.
    pub(crate) kill_at: f64,
}

pub(crate) struct Worker {
    pub(crate) number: u32,
    pub(crate) pid: i32,
    pub(crate) state: State,
    requests: OwnedFd,
    /// The worker's own end: what it has not read can be taken back.
    waiting: OwnedFd,
    answers: Option<PipeReader>,
    /// When it closed its pipe to here, though it may still live.
    pub(crate) closed_at: Option<f64>,
    output: Option<PipeReader>,
    pub(crate) inbox: Vec<u8>,
    pub(crate) capture: Capture,
    /// Rows sent and not answered; the first one runs.
    pub(crate) hand: VecDeque<usize>,
    pub(crate) handed: u32,
    /// When the first row in hand began, and whether that is recorded.
    pub(crate) began: f64,
    pub(crate) began_at: Micros,
    pub(crate) start_is_recorded: bool,
    pub(crate) sentence: Option<Sentence>,
}

impl Worker {
    pub(crate) fn start(launch: &Launch<'_>, number: u32, is_first: bool) -> io::Result<Self> {
        let (requests, waiting) = children::packets()?;
        let (answers, answer_writer) = io::pipe()?;
        let (output, output_writer) = io::pipe()?;
        children::prepare_pipe(&answers, PIPE)?;
        children::prepare_pipe(&output, PIPE / 4)?;
        let mut marker: Marker = [0; 16];
        fill_random(&mut marker);
        let (program, options) = launch
            .command
            .split_first()
            .ok_or_else(|| io::Error::other("no command starts Python"))?;
        let mut command = Command::new(program);
        command
            .args(options)
            .arg(&launch.node)
            .args([waiting.as_raw_fd(), answer_writer.as_raw_fd()].map(|fd| fd.to_string()))
            .envs(launch.environment)
            .env("BATCHWRIGHT_CHUNK", launch.id.chunk.to_string())
            .env("BATCHWRIGHT_RUN", launch.id.run.to_string())
            .env("BATCHWRIGHT_WORKER", number.to_string())
            .stdin(Stdio::null())
            .stdout(output_writer.try_clone()?)
            .stderr(output_writer);
        let inherited = [waiting.as_fd(), answer_writer.as_fd()];
        let pid = children::start(&mut command, &inherited)?;
        let worker = Self {
            number,
            pid,
            state: State::Starting,
            requests,
            waiting,
            answers: Some(answers),
            closed_at: None,
            output: Some(output),
            inbox: Vec::new(),
            capture: Capture::new(marker, launch.log_limit),
            hand: VecDeque::new(),
            handed: 0,
            began: 0.0,
            began_at: 0,
            start_is_recorded: false,
            sentence: None,
        };
        worker.introduce(launch, marker, is_first)?;
        Ok(worker)
    }

    fn introduce(&self, launch: &Launch<'_>, marker: Marker, is_first: bool) -> io::Result<()> {
        let marker = format!("{:032x}", u128::from_be_bytes(marker));
        let init = json!({
            "collection": launch.collection,
            "header": launch.header,
            "root": launch.layout.root(),
            "results": launch.layout.results(launch.id, self.number),
            "marker": marker,
            "first": is_first,
        });
        children::send(&self.requests, &wire::init(init.to_string().as_bytes()))
    }

    /// Sends a row's request; false where the worker has to catch up first.
    pub(crate) fn send(&mut self, row: usize, request: &[u8]) -> io::Result<bool> {
        match children::send(&self.requests, request) {
            Ok(()) => {}
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock) => return Ok(false),
            Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => return Ok(false),
            Err(e) => return Err(e),
        }
        self.hand.push_back(row);
        self.handed += 1;
        Ok(true)
    }

    pub(crate) fn say_goodbye(&mut self, is_last: bool) {
        self.state = State::Leaving;
        // A worker that is gone already is met when it is reaped.
        let _sent = children::send(&self.requests, &wire::bye(is_last));
    }

    /// Takes one request back that the worker has not read; its job.
    pub(crate) fn take_back(&mut self, buffer: &mut Vec<u8>) -> Option<u32> {
        buffer.resize(wire::MAX_REQUEST, 0);
        let length = children::receive(&self.waiting, buffer)?;
        wire::job_of(&buffer[..length])
    }

    /// Descriptors to wait for: answers, and output unless it has ended.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = i32> {
        [
            self.answers.as_ref().map(AsRawFd::as_raw_fd),
            self.output.as_ref().map(AsRawFd::as_raw_fd),
        ]
        .into_iter()
        .flatten()
    }

    pub(crate) fn read_answers(&mut self, now: f64) {
        while let Some(pipe) = &mut self.answers {
            match read_some(pipe, &mut self.inbox) {
                Some(0) => {
                    self.answers = None;
                    self.closed_at = Some(now);
                }
                Some(READ) => {}
                _ => return,
            }
        }
    }

    pub(crate) fn read_output(&mut self, log: &mut LogFile<'_>) {
        let mut bytes = Vec::new();
        // A job that prints without end must not keep the others waiting.
        for _ in 0..16 {
            let Some(pipe) = &mut self.output else { return };
            bytes.clear();
            match read_some(pipe, &mut bytes) {
                Some(0) => self.output = None,
                Some(_) => self.capture.read(&bytes, log),
                None => return,
            }
        }
    }

    pub(crate) fn signal(&self, signal: i32) {
        children::signal_group(self.pid, signal);
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.state == State::Ready && self.hand.is_empty() && self.sentence.is_none()
    }

    pub(crate) fn takes_jobs(&self) -> bool {
        self.state == State::Ready && self.sentence.is_none()
    }
}

/// Reads once; none where nothing is there now, 0 at the end.
fn read_some(pipe: &mut PipeReader, bytes: &mut Vec<u8>) -> Option<usize> {
    let before = bytes.len();
    bytes.resize(before + READ, 0);
    let read = loop {
        match pipe.read(&mut bytes[before..]) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            other => break other.ok(),
        }
    };
    bytes.truncate(before + read.unwrap_or(0));
    read
}
