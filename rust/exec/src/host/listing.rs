//! What runs, waits and has ended in a queue, seen from outside.

use std::collections::HashSet;

use batchwright_core::clock::Micros;
use batchwright_core::error::Result;
use batchwright_core::fs::Fs;
use batchwright_core::layout::{ChunkId, Layout};
use batchwright_core::process;
use batchwright_core::queue::Request;
use serde::Serialize;

use super::history::{self, Claims, Limits, Trace};
use super::journal::{self, Newest};
use super::launch;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Queued,
    Running,
    Exited,
}

/// A chunk that a host process knows of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// 32 hex digits.
    pub chunk: String,
    pub state: State,
    /// The executor's; null before it is launched.
    pub pid: Option<u32>,
    pub cores: u32,
    /// Both null for an executor whose end no host process saw.
    pub code: Option<i32>,
    pub signal: Option<i32>,
    /// The end of what an executor that has exited said.
    pub message: Option<String>,
    /// When it exited, as the host process saw it.
    pub at: Option<Micros>,
    /// Tells the executor from a later process with the same pid.
    #[serde(skip)]
    pub start_ticks: Option<u64>,
}

/// All chunks of the queue in order of request: waiting, running, and exited ones as long as
/// their host's file is there. Chunks that were taken back before they ran are left out.
pub fn listing(fs: &dyn Fs, layout: &Layout, host: &str) -> Result<Vec<Entry>> {
    let newest = journal::newest(fs, layout, host)?;
    entries(fs, layout, host, newest.as_ref(), &history::requests(fs, layout, host)?)
}

/// `newest` was looked at before: a host that was gone then has written all it ever will.
fn entries(
    fs: &dyn Fs,
    layout: &Layout,
    host: &str,
    newest: Option<&Newest>,
    requests: &[(ChunkId, Request)],
) -> Result<Vec<Entry>> {
    let traces = history::traces(fs, layout, host)?;
    let mut claims = Claims::new(fs, layout);
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    for (chunk, request) in requests {
        if !seen.insert(*chunk) {
            continue;
        }
        match traces.get(chunk) {
            Some(trace) => found.push(entry_of(request, trace, newest)),
            None if claims.has(*chunk)? => {}
            None => found.push(Entry::new(request, State::Queued)),
        }
    }
    Ok(found)
}

impl Entry {
    fn new(request: &Request, state: State) -> Self {
        Self {
            chunk: request.chunk.clone(),
            state,
            pid: None,
            cores: request.cores,
            code: None,
            signal: None,
            message: None,
            at: None,
            start_ticks: None,
        }
    }
}

fn entry_of(request: &Request, trace: &Trace, newest: Option<&Newest>) -> Entry {
    let mut entry = Entry::new(request, State::Exited);
    if let Some((pid, ticks)) = trace.launched {
        (entry.pid, entry.start_ticks) = (Some(pid), Some(ticks));
        // A host that lives is about to say how it ended.
        let watched = newest.is_some_and(|newest| newest.alive);
        if trace.exited.is_none() && (watched || process::is_alive(pid, ticks)) {
            entry.state = State::Running;
        }
    }
    if let Some(exited) = &trace.exited {
        (entry.code, entry.signal) = (exited.code, exited.signal);
        (entry.message, entry.at) = (Some(exited.message.clone()), Some(exited.at));
    }
    entry
}

/// A queue in numbers.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Status {
    pub alive: bool,
    /// The host process's; null where none lives.
    pub pid: Option<u32>,
    /// What the registry may use of this host, by its newest request.
    pub cores: u32,
    /// What its running chunks occupy.
    pub occupied: u32,
    pub queued: usize,
    pub running: usize,
    /// Of the machine, over 1, 5 and 15 minutes.
    pub load_average: [f64; 3],
}

pub fn status(fs: &dyn Fs, layout: &Layout, host: &str) -> Result<Status> {
    let newest = journal::newest(fs, layout, host)?;
    let requests = history::requests(fs, layout, host)?;
    let entries = entries(fs, layout, host, newest.as_ref(), &requests)?;
    let mut limits = Limits::new(launch::cores_here());
    for (_, request) in &requests {
        limits.learn(request);
    }
    let alive = newest.filter(|newest| newest.alive);
    let running = || entries.iter().filter(|entry| entry.state == State::Running);
    Ok(Status {
        alive: alive.is_some(),
        pid: alive.map(|newest| newest.host.pid),
        cores: limits.cores,
        occupied: running().map(|entry| entry.cores.max(1)).sum(),
        queued: entries.iter().filter(|entry| entry.state == State::Queued).count(),
        running: running().count(),
        load_average: launch::load_average(),
    })
}
