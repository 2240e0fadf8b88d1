//! `host start`: returns once a host process serves the queue.

use std::io::{BufRead as _, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::journal::newest;
use super::{Failure, Place, failed, print};

/// The claim is there in milliseconds; longer is a hanging disk.
const PATIENCE: Duration = Duration::from_secs(5);

/// Prints the identity of the process that serves the queue, which it starts if need be.
pub(super) fn start(place: &Place, cores: Option<u32>) -> Result<(), Failure> {
    if let Some(alive) = newest(&place.fs, &place.layout, &place.host)?.filter(|host| host.alive) {
        return print(&[alive]);
    }
    let answer = spawn(place, cores)?;
    answer.set_read_timeout(Some(PATIENCE)).map_err(|e| failed(e.to_string()))?;
    let mut line = String::new();
    BufReader::new(answer)
        .read_line(&mut line)
        .map_err(|e| failed(format!("the host process does not answer: {e}")))?;
    match serde_json::from_str::<serde_json::Value>(&line) {
        Ok(identity) => print(&[identity]),
        Err(_) if line.is_empty() => Err(failed("the host process ended before it could serve")),
        Err(_) => Err(failed(line.trim())),
    }
}

/// Its process leaves this one's session itself and is nobody's child once this one has ended.
fn spawn(place: &Place, cores: Option<u32>) -> Result<UnixStream, Failure> {
    let cannot = |e: std::io::Error| failed(format!("cannot start the host process: {e}"));
    let (ours, theirs) = UnixStream::pair().map_err(cannot)?;
    let mut command = Command::new(std::env::current_exe().map_err(cannot)?);
    command.args(["host", "serve", "--registry"]).arg(place.layout.root());
    if let Some(cores) = cores {
        command.arg("--cores").arg(cores.to_string());
    }
    command.stdin(Stdio::null()).stdout(OwnedFd::from(theirs)).stderr(Stdio::null());
    command.current_dir("/").spawn().map_err(cannot)?;
    Ok(ours)
}
