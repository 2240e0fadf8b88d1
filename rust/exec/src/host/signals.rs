//! Signals and the little of Unix that the standard library does not offer.

use std::io::{self, Read as _};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use batchwright_core::process;
use libc::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use signal_hook::{flag, low_level::pipe};

/// The signals of a host process.
pub(super) struct Signals {
    wake: UnixStream,
    stop: Arc<AtomicBool>,
}

impl Signals {
    pub(super) fn install() -> io::Result<Self> {
        let (wake, sender) = UnixStream::pair()?;
        let stop = Arc::new(AtomicBool::new(false));
        flag::register(SIGTERM, Arc::clone(&stop))?;
        flag::register(SIGINT, Arc::clone(&stop))?;
        // Not ignored but handled: executors are to get the default back.
        flag::register(SIGHUP, Arc::new(AtomicBool::new(false)))?;
        for signal in [SIGCHLD, SIGTERM, SIGINT] {
            pipe::register(signal, sender.try_clone()?)?;
        }
        Ok(Self { wake, stop })
    }

    /// Whether this process was asked to leave.
    pub(super) fn stop(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Until a signal arrives or the time is over.
    pub(super) fn wait(&mut self, at_most: Duration) {
        let at_most = at_most.max(Duration::from_millis(1));
        // A time-out and a signal are both reasons to go on.
        let _woken =
            self.wake.set_read_timeout(Some(at_most)).and_then(|()| self.wake.read(&mut [0; 64]));
    }
}

/// Signals the process if it still is the one that started at `ticks`.
pub(super) fn signal(pid: u32, ticks: u64, signal: i32) -> bool {
    process::is_alive(pid, ticks) && send(pid, signal, false)
}

/// Signals the process group that it leads, if it still is the one that started at `ticks`.
pub(super) fn signal_group(pid: u32, ticks: u64, signal: i32) -> bool {
    process::is_alive(pid, ticks) && send(pid, signal, true)
}

#[expect(unsafe_code, reason = "the standard library sends no signal but SIGKILL to a child")]
fn send(pid: u32, signal: i32, group: bool) -> bool {
    // 0 and 1 negated would be this group and everybody.
    let Some(pid) = i32::try_from(pid).ok().filter(|pid| *pid > 1) else { return false };
    // SAFETY: `kill` touches no memory of this process.
    unsafe { libc::kill(if group { -pid } else { pid }, signal) == 0 }
}

/// Leaves the caller's session and its terminal, and closes what was inherited from it beyond
/// the standard streams. Called first of all, before this process has opened anything.
#[expect(unsafe_code, reason = "the standard library has no setsid and no close_range")]
pub(super) fn detach() {
    // SAFETY: no memory is touched, and nothing in this process owns those descriptors. Where
    // `setsid` is refused the process leads its group already; a kernel without `close_range`
    // leaves inherited descriptors open, which costs nothing but them.
    unsafe {
        libc::setsid();
        libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0);
    }
}
