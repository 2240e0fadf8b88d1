//! What the files of a queue say, read in one pass.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use batchwright_core::error::{ErrorKind, Result};
use batchwright_core::fs::Fs;
use batchwright_core::layout::{ChunkId, Layout};
use batchwright_core::process::Identity;
use batchwright_core::queue::{Exited, Record, Request, numbered, read_records};

/// What host processes did with a chunk.
#[derive(Clone, Debug, Default)]
pub(super) struct Trace {
    /// Pid and start ticks; ticks that no process has, where the machine was booted since.
    pub(super) launched: Option<(u32, u64)>,
    pub(super) exited: Option<Exited>,
}

/// By chunk, from the files of all host processes.
pub(super) type Traces = BTreeMap<ChunkId, Trace>;

const NO_PROCESS: u64 = u64::MAX;

pub(super) fn traces(fs: &dyn Fs, layout: &Layout, host: &str) -> Result<Traces> {
    let boot = Identity::of_this_process().boot_id;
    let mut traces = Traces::new();
    for (number, _) in numbered(fs, &layout.queue(host), "host")? {
        let mut same_boot = false;
        for record in read_if_there(fs, &layout.host(host, number as u32))? {
            match record {
                Record::Host(claim) => same_boot = claim.boot_id == boot,
                Record::Launched(launched) => {
                    let ticks = if same_boot { launched.start_ticks } else { NO_PROCESS };
                    trace(&mut traces, &launched.chunk).launched = Some((launched.pid, ticks));
                }
                Record::Exited(exited) => {
                    let chunk = exited.chunk.clone();
                    trace(&mut traces, &chunk).exited = Some(exited);
                }
                Record::Request(_) | Record::Left(_) => {}
            }
        }
    }
    Ok(traces)
}

/// A file that was swept since the look holds nothing of interest.
fn read_if_there(fs: &dyn Fs, path: &Path) -> Result<Vec<Record>> {
    match read_records(fs, path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        read => read,
    }
}

fn trace<'a>(traces: &'a mut Traces, chunk: &str) -> &'a mut Trace {
    // Hosts write only ids that they have checked; anything else names no chunk of interest.
    traces.entry(ChunkId::parse(chunk).unwrap_or(ChunkId(0))).or_default()
}

/// All requests in order, with their chunks; those without a valid id are left out.
pub(super) fn requests(
    fs: &dyn Fs,
    layout: &Layout,
    host: &str,
) -> Result<Vec<(ChunkId, Request)>> {
    let mut requests = Vec::new();
    for (epoch, number) in numbered(fs, &layout.queue(host), "requests")? {
        let records = read_if_there(fs, &layout.requests(host, epoch, number))?;
        requests.extend(records.into_iter().filter_map(valid_request));
    }
    Ok(requests)
}

pub(super) fn valid_request(record: Record) -> Option<(ChunkId, Request)> {
    match record {
        Record::Request(request) => Some((ChunkId::parse(&request.chunk)?, request)),
        _ => None,
    }
}

/// How much of the host the registry may use: what its newest request says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) cores: u32,
    /// 0 is no limit.
    pub(super) chunks: u32,
    at: i64,
}

impl Limits {
    pub(super) fn new(cores: u32) -> Self {
        Self { cores, chunks: 0, at: i64::MIN }
    }

    pub(super) fn learn(&mut self, request: &Request) {
        if request.at < self.at {
            return;
        }
        self.at = request.at;
        self.chunks = request.max_concurrent;
        if request.host_cores > 0 {
            self.cores = request.host_cores;
        }
    }
}

/// Which chunks have a claim or a void at run 0. Each folder is looked at once.
pub(super) struct Claims<'a> {
    fs: &'a dyn Fs,
    layout: &'a Layout,
    folders: HashMap<PathBuf, HashSet<ChunkId>>,
}

impl<'a> Claims<'a> {
    pub(super) fn new(fs: &'a dyn Fs, layout: &'a Layout) -> Self {
        Self { fs, layout, folders: HashMap::new() }
    }

    pub(super) fn has(&mut self, chunk: ChunkId) -> Result<bool> {
        let folder = self.layout.runs_of(chunk);
        if !self.folders.contains_key(&folder) {
            let names = self.fs.look(&folder)?;
            let found = names.iter().filter_map(|name| Layout::parse_run(name));
            let first = found.filter(|(id, _)| id.task == 0 && id.run == 0);
            self.folders.insert(folder.clone(), first.map(|(id, _)| id.chunk).collect());
        }
        Ok(self.folders.get(&folder).is_some_and(|claimed| claimed.contains(&chunk)))
    }
}
