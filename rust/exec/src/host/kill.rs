//! Ends executors: first asked to write their records, then by force.

use std::collections::HashSet;
use std::thread;
use std::time::{Duration, Instant};

use batchwright_core::error::Result;
use batchwright_core::fs::Fs;
use batchwright_core::layout::{ChunkId, Layout};
use batchwright_core::process;
use serde::Serialize;

use super::listing::{State, listing};
use super::signals;

/// How long executors may take to write their records.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a process may take to go after SIGKILL; longer is a hanging disk.
const FORCED: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(10);

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Killed {
    pub chunk: String,
    /// It ran and is gone. Waiting chunks are taken back by a void, not here.
    pub killed: bool,
}

/// Kills the executors of these chunks, whether or not a host process lives.
pub fn kill(fs: &dyn Fs, layout: &Layout, host: &str, chunks: &[ChunkId]) -> Result<Vec<Killed>> {
    let wanted: HashSet<String> = chunks.iter().map(ToString::to_string).collect();
    let mut targets = Vec::new();
    for entry in listing(fs, layout, host)? {
        if let (State::Running, Some(pid), Some(ticks)) =
            (entry.state, entry.pid, entry.start_ticks)
            && wanted.contains(&entry.chunk)
            && signals::signal(pid, ticks, libc::SIGTERM)
        {
            targets.push((entry.chunk, pid, ticks));
        }
    }
    wait_for(&targets, PATIENCE);
    for (_, pid, ticks) in &targets {
        signals::signal_group(*pid, *ticks, libc::SIGKILL);
    }
    wait_for(&targets, FORCED);
    let gone: HashSet<&String> = targets
        .iter()
        .filter(|(_, pid, ticks)| !process::is_alive(*pid, *ticks))
        .map(|(chunk, ..)| chunk)
        .collect();
    let outcome = |chunk: String| Killed { killed: gone.contains(&chunk), chunk };
    Ok(chunks.iter().map(|chunk| outcome(chunk.to_string())).collect())
}

fn wait_for(targets: &[(String, u32, u64)], at_most: Duration) {
    let deadline = Instant::now() + at_most;
    while Instant::now() < deadline
        && targets.iter().any(|(_, pid, ticks)| process::is_alive(*pid, *ticks))
    {
        thread::sleep(LOOK_EVERY);
    }
}
