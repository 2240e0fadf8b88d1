//! Signals that end the run early, and those that tell of ended children.

use std::io::{self, Read};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;

use signal_hook::consts::{SIGCHLD, SIGINT, SIGTERM, SIGUSR1, SIGXCPU};
use signal_hook::low_level::pipe;

const STOPPING: [(i32, &str); 4] =
    [(SIGTERM, "SIGTERM"), (SIGUSR1, "SIGUSR1"), (SIGINT, "SIGINT"), (SIGXCPU, "SIGXCPU")];

/// One stream per signal: a byte in it is one arrival.
pub(crate) struct Signals {
    stopping: Vec<(&'static str, UnixStream)>,
    children: UnixStream,
}

impl Signals {
    pub(crate) fn listen() -> io::Result<Self> {
        let mut stopping = Vec::new();
        for (signal, name) in STOPPING {
            stopping.push((name, stream_of(signal)?));
        }
        Ok(Self { stopping, children: stream_of(SIGCHLD)? })
    }

    /// What to wait for.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        let streams = self.stopping.iter().map(|(_, stream)| stream);
        streams.chain([&self.children]).map(AsRawFd::as_raw_fd)
    }

    /// The name of a signal that asks for an end, once per arrival.
    pub(crate) fn stop(&self) -> Option<&'static str> {
        self.stopping.iter().find(|(_, stream)| arrived(stream)).map(|(name, _)| *name)
    }

    /// Whether a child may have ended since the last call.
    pub(crate) fn child(&self) -> bool {
        arrived(&self.children)
    }
}

fn stream_of(signal: i32) -> io::Result<UnixStream> {
    let (reader, writer) = UnixStream::pair()?;
    reader.set_nonblocking(true)?;
    pipe::register(signal, writer)?;
    Ok(reader)
}

fn arrived(mut stream: &UnixStream) -> bool {
    let mut bytes = [0; 64];
    stream.read(&mut bytes).is_ok_and(|n| n > 0)
}
