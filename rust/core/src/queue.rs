//! The queue of a host without a scheduler: what owners ask of it and what the host did.
//!
//! Owners append requests to files of their own; the one host process of a registry on a host
//! takes them in order and writes what became of them to its own file.

use serde::{Deserialize, Serialize};

use crate::clock::Micros;
use crate::frame::{Frame, FrameWriter, MUST_UNDERSTAND};
use crate::run::RecordFault;

/// A chunk that shall run on this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// 32 hex digits.
    pub chunk: String,
    /// Cores that it occupies.
    pub cores: u32,
    /// At most so many chunks of this registry at once on this host; 0 is no limit.
    pub max_concurrent: u32,
    /// Cores of the host that this registry may use.
    pub host_cores: u32,
    pub at: Micros,
}

/// The claim of a host process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    pub host: String,
    pub boot_id: String,
    pub pid: u32,
    pub start_ticks: u64,
    pub at: Micros,
    pub version: String,
}

/// The executor of a chunk, which leads its own process group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Launched {
    pub chunk: String,
    pub pid: u32,
    pub start_ticks: u64,
    pub at: Micros,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exited {
    pub chunk: String,
    pub code: Option<i32>,
    pub signal: Option<i32>,
    /// What the executor said on stderr, its end.
    pub message: String,
    pub at: Micros,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    Request(Request),
    Host(Host),
    Launched(Launched),
    Exited(Exited),
    /// The host has left; requests from now on need a new one.
    Left(Micros),
}

const REQUEST: u8 = 1;
const HOST: u8 = 2;
const LAUNCHED: u8 = 3;
const EXITED: u8 = 4;
const LEFT: u8 = 5;

impl Record {
    pub fn write(&self, writer: &mut FrameWriter, out: &mut Vec<u8>) {
        let (kind, json) = match self {
            Self::Request(r) => (REQUEST, serde_json::to_vec(r)),
            Self::Host(r) => (HOST, serde_json::to_vec(r)),
            Self::Launched(r) => (LAUNCHED, serde_json::to_vec(r)),
            Self::Exited(r) => (EXITED, serde_json::to_vec(r)),
            Self::Left(at) => (LEFT, serde_json::to_vec(at)),
        };
        let json = json.expect("plain records always serialise");
        writer.frame(out, kind, MUST_UNDERSTAND, 0, &[&json]);
    }

    pub fn read(frame: &Frame<'_>) -> Result<Self, RecordFault> {
        let payload = frame.payload;
        let record = match frame.kind {
            REQUEST => serde_json::from_slice(payload).ok().map(Self::Request),
            HOST => serde_json::from_slice(payload).ok().map(Self::Host),
            LAUNCHED => serde_json::from_slice(payload).ok().map(Self::Launched),
            EXITED => serde_json::from_slice(payload).ok().map(Self::Exited),
            LEFT => serde_json::from_slice(payload).ok().map(Self::Left),
            newer if frame.must_understand() => return Err(RecordFault::Newer(newer)),
            _ => return Err(RecordFault::Skip),
        };
        record.ok_or(RecordFault::Malformed)
    }
}
