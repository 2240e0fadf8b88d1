//! Runs the jobs of one collection and reports what becomes of them.
//!
//! Read top down: [`command`] finds out what to run ([`plan`]), claims the run ([`claim`]), and
//! works through the jobs ([`board`]) with Python workers ([`worker`]), whose output ([`output`])
//! and ends go to the run's files ([`report`]).

mod board;
mod children;
mod claim;
pub mod in_process;
mod oom;
mod output;
mod pace;
mod plan;
mod report;
mod signals;
mod wire;
mod worker;

use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use batchwright_core::access::Access;
use batchwright_core::clock::{Clock, SystemClock};
use batchwright_core::collection::{Collection, Row};
use batchwright_core::error::Error;
use batchwright_core::frame::{FILE_HEADER, FRAME_HEADER};
use batchwright_core::fs::{Fs, RealFs};
use batchwright_core::layout::{ChunkId, Layout};

use board::{Board, Finish, Tools};
use report::Report;
use signals::Signals;
use worker::Launch;

const DONE: i32 = 0;
const UNUSABLE_ARGUMENTS: i32 = 64;
const UNREADABLE_COLLECTION: i32 = 65;
const UNCLAIMED: i32 = 73;
const RESULTS_LOST: i32 = 74;

/// Seconds before the scheduler's time is up at which this ends by itself, or this part of it.
const MARGIN: f64 = 60.0;
const MARGIN_PART: f64 = 0.05;

#[derive(Clone, Debug)]
pub struct Options {
    /// The collection.
    pub file: PathBuf,
    /// The array task to run, where the environment does not say.
    pub task: Option<u32>,
    /// Where this process itself says what it has to say, instead of stderr.
    pub log: Option<PathBuf>,
    /// Seconds between signs of life.
    pub beat: f64,
}

impl Options {
    pub fn new(file: PathBuf) -> Self {
        Self { file, task: None, log: None, beat: 30.0 }
    }
}

/// Why nothing was run.
struct Refusal {
    code: i32,
    message: String,
}

impl Refusal {
    fn new(code: i32, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// The run's files cannot be written.
    fn unclaimed(error: &Error) -> Self {
        let mode = error.path().and_then(mode_of).unwrap_or_default();
        Self::new(UNCLAIMED, format!("{error} (as user {}{mode})", children::user()))
    }
}

/// Runs a collection; the exit code, as `--help` lists them.
pub fn command(options: &Options) -> i32 {
    match try_command(options) {
        Ok(code) => code,
        Err(refusal) => {
            say(&refusal.message);
            refusal.code
        }
    }
}

fn try_command(options: &Options) -> Result<i32, Refusal> {
    let clock = SystemClock;
    let started = clock.boottime();
    if let Some(path) = &options.log {
        redirect(path).map_err(|e| {
            Refusal::new(UNCLAIMED, format!("cannot open `{}`: {e}", path.display()))
        })?;
    }
    let path = std::path::absolute(&options.file)
        .map_err(|e| Refusal::new(UNREADABLE_COLLECTION, e.to_string()))?;
    let (layout, chunk) = Layout::of_collection(&path).ok_or_else(|| {
        let message = format!("`{}` is no collection of a registry", path.display());
        Refusal::new(UNREADABLE_COLLECTION, message)
    })?;
    let bytes = plan::read_collection(&RealFs::new(Access::Private), &clock, &path)
        .map_err(|message| Refusal::new(UNREADABLE_COLLECTION, message))?;
    let collection = Collection::parse(&bytes)
        .map_err(|fault| Refusal::new(UNREADABLE_COLLECTION, format!("{fault:?}")))?;
    let variable = |name: &str| std::env::var(name).ok();
    let task = plan::task_index(collection.header.tasks, options.task, variable)
        .map_err(|message| Refusal::new(UNUSABLE_ARGUMENTS, message))?;
    let files = Files { path: &path, bytes: &bytes, layout: &layout };
    run_task(options, &clock, started, &files, &collection, chunk, task)
}

/// Where the collection came from.
struct Files<'a> {
    path: &'a Path,
    bytes: &'a [u8],
    layout: &'a Layout,
}

fn run_task(
    options: &Options,
    clock: &dyn Clock,
    started: f64,
    files: &Files<'_>,
    collection: &Collection<'_>,
    chunk: ChunkId,
    task: u32,
) -> Result<i32, Refusal> {
    let (header, layout) = (&collection.header, files.layout);
    let fs = RealFs::new(header.access);
    let unclaimed = |error: Error| Refusal::unclaimed(&error);
    let listening = Signals::listen().map_err(|e| Refusal::new(UNCLAIMED, e.to_string()))?;
    for file in [layout.runs_of(chunk), layout.output(chunk)] {
        let folder = if file == layout.runs_of(chunk) { Some(&*file) } else { file.parent() };
        folder.map_or(Ok(()), |folder| fs.make_folder(folder)).map_err(unclaimed)?;
    }
    let claim = claim::describe_this_process(clock);
    let won = match claim::claim(&fs, layout, chunk, task, claim).map_err(unclaimed)? {
        claim::Outcome::Won(won) => won,
        claim::Outcome::Void(void) => {
            say(&format!("taken back by {}: {}; nothing to run", void.by, void.reason));
            return Ok(DONE);
        }
    };
    let ended = claim::ended_before(&fs, layout, won.id).map_err(unclaimed)?;
    let is_ours = |row: &&Row<'_>| row.task == task && !ended.contains(&row.job);
    let rows: Vec<Row<'_>> = collection.rows.iter().filter(is_ours).copied().collect();
    children::adopt_orphans();
    let launch = Launch {
        command: [&header.limits.wrap[..], &header.limits.python[..]].concat(),
        node: node_folder().map_err(|message| Refusal::new(UNCLAIMED, message))?,
        environment: &header.limits.env,
        collection: files.path,
        header: header_of(files.bytes),
        layout,
        id: won.id,
        log_limit: header.limits.log_limit,
    };
    let tools = Tools {
        fs: &fs,
        clock,
        layout,
        signals: listening,
        limits: &header.limits,
        file: files.bytes,
        beat: options.beat.max(0.1),
        has_first_hook: header.python.pointer("/hooks/pre_do_collection").is_some(),
        has_last_hook: header.python.pointer("/hooks/post_do_collection").is_some(),
        deadline: header
            .limits
            .walltime
            .map(|seconds| started + seconds - MARGIN.min(seconds * MARGIN_PART)),
    };
    let report = Report::open(&fs, clock, layout, won).map_err(unclaimed)?;
    match Board::new(tools, launch, &rows, report).run() {
        Finish::Reported => Ok(DONE),
        Finish::Lost { results, error } => {
            Err(Refusal::new(RESULTS_LOST, format!("{results} results are lost: {error}")))
        }
    }
}

/// Offset and length of the header's JSON, the payload of the first frame of a checked file.
fn header_of(bytes: &[u8]) -> (usize, usize) {
    let length = bytes[FILE_HEADER + 4..FILE_HEADER + 8].try_into().map_or(0, u32::from_le_bytes);
    (FILE_HEADER + FRAME_HEADER, length as usize)
}

/// The worker program: beside the folder of this executable, in the package.
fn node_folder() -> Result<PathBuf, String> {
    if let Some(folder) = std::env::var_os("BATCHWRIGHT_NODE") {
        return Ok(folder.into());
    }
    let executable = std::env::current_exe()
        .map_err(|e| format!("cannot find out where this executable lies: {e}"))?;
    let package = executable.parent().and_then(Path::parent);
    package.map(|p| p.join("_node")).ok_or_else(|| "this executable lies in no package".into())
}

fn mode_of(path: &Path) -> Option<String> {
    use std::os::unix::fs::MetadataExt as _;
    #[expect(clippy::disallowed_methods, reason = "only to describe what refused")]
    let found = path.ancestors().find_map(|p| Some((p, std::fs::metadata(p).ok()?)));
    let (path, about) = found?;
    let mode = about.mode() & 0o7777;
    Some(format!("; `{}` has mode {mode:04o} and belongs to {}", path.display(), about.uid()))
}

#[expect(clippy::disallowed_methods, reason = "a file for talk is no registry file")]
fn redirect(path: &Path) -> std::io::Result<()> {
    let file = std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(libc::O_CLOEXEC)
        .open(path)?;
    children::redirect_talk(&OwnedFd::from(file))
}

/// One line on stderr, which the scheduler keeps.
fn say(message: &str) {
    // Whoever closed stderr does not want to know.
    let _closed = writeln!(std::io::stderr(), "batchwright-exec: {message}");
}
