//! Executors as processes: how they are started, found again, and what they leave behind.
#![allow(clippy::disallowed_methods, reason = "output of children and files of the kernel")]

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use batchwright_core::fs::Fs as _;
use batchwright_core::layout::ChunkId;
use batchwright_core::process;

use super::Place;

/// How much of an executor's output is kept as the message of its exit.
const MESSAGE: u64 = 2048;

/// The program that runs chunks: this one, unless the environment names another build.
pub(super) fn executor() -> io::Result<PathBuf> {
    match std::env::var_os("BATCHWRIGHT_EXEC") {
        Some(path) if !path.is_empty() => Ok(path.into()),
        _ => std::env::current_exe(),
    }
}

/// Starts the executor of a chunk as leader of its own process group.
pub(super) fn spawn(place: &Place, executor: &Path, chunk: ChunkId) -> Result<Child, String> {
    let output = open_output(place, chunk)?;
    let errors = output.try_clone().map_err(|e| e.to_string())?;
    Command::new(executor)
        .arg("run")
        .arg(place.layout.collection(chunk))
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .process_group(0)
        .spawn()
        .map_err(|e| format!("cannot start `{}`: {e}", executor.display()))
}

/// A file and no pipe: it outlives this process.
fn open_output(place: &Place, chunk: ChunkId) -> Result<File, String> {
    let path = place.layout.output(chunk);
    place.fs.make_folder(path.parent().unwrap_or(&path)).map_err(|e| e.to_string())?;
    let opened = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
        .open(&path)
        .and_then(|file| {
            let mode = place.fs.access.file_mode();
            file.set_permissions(fs::Permissions::from_mode(mode)).map(|()| file)
        });
    opened.map_err(|e| format!("cannot create `{}`: {e}", path.display()))
}

/// The end of what the executor said; its file goes if it said nothing.
pub(super) fn take_message(place: &Place, chunk: ChunkId) -> String {
    let path = place.layout.output(chunk);
    match place.fs.length(&path) {
        // A file that stays is only untidy.
        Ok(0) => place.fs.unlink(&path).map(|()| String::new()).unwrap_or_default(),
        Ok(length) => {
            let end = place.fs.read(&path, length.saturating_sub(MESSAGE), MESSAGE as usize);
            String::from_utf8_lossy(&end.unwrap_or_default()).trim().to_owned()
        }
        Err(_) => String::new(),
    }
}

/// Executors of this registry that run here, whoever started them.
pub(super) fn find_executors(place: &Place) -> Vec<(ChunkId, u32, u64)> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid: u32| {
        let chunk = chunk_run_by(place, pid)?;
        Some((chunk, pid, process::start_ticks(pid)?))
    })
    .collect()
}

fn chunk_run_by(place: &Place, pid: u32) -> Option<ChunkId> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let mut words = line.split(|byte| *byte == 0);
    words.by_ref().find(|word| *word == b"run")?;
    let path = Path::new(std::str::from_utf8(words.next()?).ok()?);
    let chunk = ChunkId::parse(path.file_stem()?.to_str()?)?;
    (path == place.layout.collection(chunk) && leads_group(pid)).then_some(chunk)
}

/// Field 5 of `/proc/PID/stat`: children of an executor show its words until they have theirs.
fn leads_group(pid: u32) -> bool {
    let stat = fs::read(format!("/proc/{pid}/stat")).unwrap_or_default();
    let stat = String::from_utf8_lossy(&stat);
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    fields.split_whitespace().nth(2).is_some_and(|group| group == pid.to_string())
}

/// Chunks are code: what anybody may write is not run.
pub(super) fn ensure_trusted(registry: &Path) -> Result<(), String> {
    let shown = registry.display();
    let found = fs::metadata(registry).map_err(|e| format!("cannot stat `{shown}`: {e}"))?;
    if found.mode() & 0o002 == 0 {
        return Ok(());
    }
    Err(format!("anybody may write to `{shown}`, so what lies there is not run; chmod o-w it"))
}

pub(super) fn cores_here() -> u32 {
    std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32)
}

pub(super) fn load_average() -> [f64; 3] {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let mut fields = text.split(' ').map(|field| field.parse().unwrap_or(0.0));
    std::array::from_fn(|_| fields.next().unwrap_or(0.0))
}
