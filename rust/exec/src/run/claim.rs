//! The claim of a run: put-if-absent of its first file, and what earlier runs have left.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use batchwright_core::Result;
use batchwright_core::clock::Clock;
use batchwright_core::frame::{self, Content, FileId, FrameWriter, HeaderFault, Position};
use batchwright_core::fs::{Fs, Published, token};
use batchwright_core::layout::{ChunkId, Layout, RunId};
use batchwright_core::process::Identity;
use batchwright_core::run::{Cause, Claim, Record, Void};

use crate::VERSION;

/// What schedulers say about this task.
const SCHEDULER_VARIABLES: [&str; 16] = [
    "SLURM_JOB_ID",
    "SLURM_ARRAY_JOB_ID",
    "SLURM_ARRAY_TASK_ID",
    "SLURM_RESTART_COUNT",
    "SLURM_CLUSTER_NAME",
    "SLURM_JOB_NODELIST",
    "JOB_ID",
    "SGE_TASK_ID",
    "RESTARTED",
    "PBS_JOBID",
    "PBS_ARRAYID",
    "PBS_ARRAY_INDEX",
    "LSB_JOBID",
    "LSB_JOBINDEX",
    "LSB_BATCH_JID",
    "BATCHWRIGHT_BATCH_ID",
];

/// A file without hard links appears before its first bytes do; so long it is waited for.
const BEING_WRITTEN: Duration = Duration::from_secs(10);

/// A won run.
pub(crate) struct Won {
    pub(crate) id: RunId,
    pub(crate) claim: Claim,
    /// Goes on behind the claim, which is durable up to `end`.
    pub(crate) writer: FrameWriter,
    pub(crate) end: u64,
}

pub(crate) enum Outcome {
    Won(Won),
    /// The owner has taken the run back.
    Void(Void),
}

pub(crate) fn describe_this_process(clock: &dyn Clock) -> Claim {
    let identity = Identity::of_this_process();
    let mut scheduler = BTreeMap::new();
    for name in SCHEDULER_VARIABLES {
        if let Ok(value) = std::env::var(name) {
            scheduler.insert(name.to_owned(), value);
        }
    }
    Claim {
        token: token(),
        host: identity.host,
        boot_id: identity.boot_id,
        namespace: identity.namespace,
        pid: identity.pid,
        start_ticks: identity.start_ticks,
        at: clock.now(),
        version: VERSION.to_owned(),
        scheduler,
    }
}

/// The bytes of a run file that holds the claim alone, and the writer that goes on behind them.
pub(crate) fn first_bytes(claim: &Claim) -> (Vec<u8>, FrameWriter) {
    let id = FileId::random();
    let mut writer = FrameWriter::new(id);
    let mut bytes = frame::file_header(Content::Run, id).to_vec();
    Record::Claim(claim.clone()).write(&mut writer, &mut bytes);
    (bytes, writer)
}

/// Wins the smallest run that is free, unless a void stands there.
pub(crate) fn claim(
    fs: &dyn Fs,
    layout: &Layout,
    chunk: ChunkId,
    task: u32,
    claim: Claim,
) -> Result<Outcome> {
    let taken = runs_of_task(fs, layout, chunk, task)?;
    let mut id = RunId { chunk, task, run: 0 };
    loop {
        if taken.contains(&(id.run, 0)) {
            if let Some(void) = void_at(fs, layout, id)? {
                return Ok(Outcome::Void(void));
            }
            id.run += 1;
            continue;
        }
        let (bytes, writer) = first_bytes(&claim);
        let end = bytes.len() as u64;
        match fs.publish(&layout.run(id, 0), &bytes)? {
            Published::Won => return Ok(Outcome::Won(Won { id, claim, writer, end })),
            Published::Lost => {
                if let Some(void) = void_at(fs, layout, id)? {
                    return Ok(Outcome::Void(void));
                }
                id.run += 1;
            }
        }
    }
}

/// Runs and segments of one task, in order.
pub(crate) fn runs_of_task(
    fs: &dyn Fs,
    layout: &Layout,
    chunk: ChunkId,
    task: u32,
) -> Result<Vec<(u32, u32)>> {
    let names = fs.look(&layout.runs_of(chunk))?;
    let mut found: Vec<(u32, u32)> = names
        .iter()
        .filter_map(|name| Layout::parse_run(name))
        .filter(|(id, _)| id.chunk == chunk && id.task == task)
        .map(|(id, segment)| (id.run, segment))
        .collect();
    found.sort_unstable();
    Ok(found)
}

/// The void in the first file of a run, if that is what it holds.
pub(crate) fn void_at(fs: &dyn Fs, layout: &Layout, id: RunId) -> Result<Option<Void>> {
    let path = layout.run(id, 0);
    let mut waited = Duration::ZERO;
    loop {
        fs.look(&layout.runs_of(id.chunk))?;
        let bytes = fs.tail(&path, 0)?;
        match first_record(&bytes) {
            Ok(Some(Record::Void(void))) => return Ok(Some(void)),
            Ok(None) if waited < BEING_WRITTEN => {
                std::thread::sleep(Duration::from_millis(100));
                waited += Duration::from_millis(100);
            }
            // A claim; or whoever took the name died at once, and the run is taken all the same.
            _ => return Ok(None),
        }
    }
}

/// The first record of a run file; none while it is being written.
fn first_record(bytes: &[u8]) -> std::result::Result<Option<Record<'_>>, HeaderFault> {
    let id = match frame::read_file_header(bytes, Content::Run) {
        Err(HeaderFault::Short) => return Ok(None),
        other => other?,
    };
    let scan = frame::scan(id, &bytes[frame::FILE_HEADER..], Position::START);
    Ok(scan.frames.first().and_then(|first| Record::read(first).ok()))
}

/// Jobs that ended by their own doing in runs before this one.
pub(crate) fn ended_before(fs: &dyn Fs, layout: &Layout, id: RunId) -> Result<HashSet<u32>> {
    let mut ended = HashSet::new();
    for (run, segment) in runs_of_task(fs, layout, id.chunk, id.task)? {
        if run < id.run {
            let path = layout.run(RunId { run, ..id }, segment);
            collect_ended(&fs.tail(&path, 0)?, &mut ended);
        }
    }
    Ok(ended)
}

fn collect_ended(bytes: &[u8], ended: &mut HashSet<u32>) {
    let Ok(id) = frame::read_file_header(bytes, Content::Run) else { return };
    for frame in frame::scan(id, &bytes[frame::FILE_HEADER..], Position::START).frames {
        match Record::read(&frame) {
            Ok(Record::End(end)) if by_its_own_doing(end.cause) => {
                ended.insert(end.job);
            }
            _ => {}
        }
    }
}

fn by_its_own_doing(cause: Option<Cause>) -> bool {
    matches!(cause, None | Some(Cause::Error | Cause::Crashed | Cause::Oom | Cause::Timeout))
}
