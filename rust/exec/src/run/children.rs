//! Child processes and their groups: starting, signalling, reaping; and waiting for descriptors.
#![expect(unsafe_code, reason = "sockets of packets, process groups and poll have no safe form")]
#![allow(clippy::disallowed_methods, reason = "the kernel's own files are no registry files")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

/// How a child ended, and its peak memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exit {
    pub(crate) pid: i32,
    pub(crate) code: Option<i32>,
    pub(crate) signal: Option<i32>,
    pub(crate) peak_kib: u32,
}

/// Orphans of the children become children of this process, so that they can be found and ended.
pub(crate) fn adopt_orphans() {
    // SAFETY: changes an attribute of this process only; a refusal is harmless.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
}

/// Starts `command` in a session of its own, to be killed when this process ends. The
/// descriptors stay open in the child under their numbers.
pub(crate) fn start(command: &mut Command, inherited: &[BorrowedFd<'_>]) -> io::Result<i32> {
    let inherited: Vec<RawFd> = inherited.iter().map(AsRawFd::as_raw_fd).collect();
    let parent = std::process::id();
    let prepare = move || {
        for &descriptor in &inherited {
            // SAFETY: clears a flag of a descriptor that the parent holds open.
            if unsafe { libc::fcntl(descriptor, libc::F_SETFD, 0) } < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        // SAFETY: plain system calls on the calling process, which has one thread.
        unsafe {
            libc::setsid();
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0);
            if libc::getppid() as u32 != parent {
                return Err(io::Error::other("the executor has ended"));
            }
        }
        Ok(())
    };
    // SAFETY: `prepare` makes only system calls that are safe after a fork and allocates nothing
    // unless it fails.
    unsafe { command.pre_exec(prepare) };
    let child = command.spawn()?;
    i32::try_from(child.id()).map_err(io::Error::other)
}

/// Signals a process group; one that is gone is fine.
pub(crate) fn signal_group(leader: i32, signal: i32) {
    // SAFETY: `leader` is the pid of a child that is not reaped yet, and larger than 1.
    unsafe { libc::kill(-leader, signal) };
}

/// The next child that has ended, its group killed before its number can be used again.
pub(crate) fn reap() -> Option<Exit> {
    let pid = ended_child()?;
    signal_group(pid, libc::SIGKILL);
    let mut status = 0;
    // SAFETY: an all-zero rusage is valid; both outlive the call.
    let (found, usage) = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        (libc::wait4(pid, &raw mut status, libc::WNOHANG, &raw mut usage), usage)
    };
    (found == pid).then(|| Exit {
        pid,
        code: libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status)),
        signal: libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status)),
        peak_kib: u32::try_from(usage.ru_maxrss).unwrap_or(0),
    })
}

fn ended_child() -> Option<i32> {
    // SAFETY: an all-zero siginfo is valid and outlives the call; after success its pid is set.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        let found = libc::waitid(libc::P_ALL, 0, &raw mut info, options);
        let pid = info.si_pid();
        (found == 0 && pid > 1).then_some(pid)
    }
}

/// Kills and reaps every child, those that orphans became included.
pub(crate) fn end_all() {
    for _ in 0..200 {
        let children = children();
        for &child in &children {
            signal_group(child, libc::SIGKILL);
            // SAFETY: a child that is not reaped keeps its number.
            unsafe { libc::kill(child, libc::SIGKILL) };
        }
        while reap().is_some() {}
        if children.is_empty() {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn children() -> Vec<i32> {
    let pid = std::process::id();
    let path = format!("/proc/{pid}/task/{pid}/children");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().filter_map(|word| word.parse().ok()).filter(|&p| p > 1).collect()
}

/// Two connected sockets that keep the borders of messages.
pub(crate) fn packets() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut pair = [0; 2];
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
    // SAFETY: `pair` holds two descriptors and outlives the call.
    if unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, pair.as_mut_ptr()) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made both; nobody else owns them.
    Ok(unsafe { (OwnedFd::from_raw_fd(pair[0]), OwnedFd::from_raw_fd(pair[1])) })
}

/// Sends one message without waiting.
pub(crate) fn send(socket: &OwnedFd, message: &[u8]) -> io::Result<()> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the message is readable for the whole call.
    let sent =
        unsafe { libc::send(socket.as_raw_fd(), message.as_ptr().cast(), message.len(), flags) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Takes the next waiting message, if there is one; its length.
pub(crate) fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> Option<usize> {
    // SAFETY: the buffer is writable for the whole call.
    let received = unsafe {
        libc::recv(socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), libc::MSG_DONTWAIT)
    };
    usize::try_from(received).ok().filter(|&n| n > 0)
}

/// Makes reads return at once, and asks for room for `size` bytes.
pub(crate) fn prepare_pipe(pipe: &impl AsRawFd, size: i32) -> io::Result<()> {
    let descriptor = pipe.as_raw_fd();
    // SAFETY: changes flags of an open descriptor; a smaller pipe than asked for is fine.
    let done = unsafe {
        libc::fcntl(descriptor, libc::F_SETPIPE_SZ, size);
        let flags = libc::fcntl(descriptor, libc::F_GETFL);
        libc::fcntl(descriptor, libc::F_SETFL, flags | libc::O_NONBLOCK)
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Waits until one of the descriptors has something to read or `timeout` is over.
pub(crate) fn wait(descriptors: &[RawFd], timeout: Duration, ready: &mut Vec<bool>) {
    let mut polled: Vec<libc::pollfd> = descriptors
        .iter()
        .map(|&fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 })
        .collect();
    let milliseconds = i32::try_from(timeout.as_micros().div_ceil(1000)).unwrap_or(i32::MAX);
    // SAFETY: `polled` is valid for its length and outlives the call.
    unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, milliseconds) };
    ready.clear();
    ready.extend(polled.iter().map(|p| p.revents != 0));
}

/// Sends what this process says on stdout and stderr to `file`.
pub(crate) fn redirect_talk(file: &OwnedFd) -> io::Result<()> {
    for stream in [libc::STDOUT_FILENO, libc::STDERR_FILENO] {
        // SAFETY: both descriptors are open; the standard streams are not owned by anybody.
        if unsafe { libc::dup2(file.as_raw_fd(), stream) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// The user that this process acts as.
pub(crate) fn user() -> u32 {
    // SAFETY: cannot fail and touches no memory.
    unsafe { libc::geteuid() }
}
