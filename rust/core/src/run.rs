//! What one executor reports about the jobs of a task: the records of a run file.
//!
//! The executor (or the interactive backend) writes them, the owner reads them. A record of a
//! run stands alone: damage costs what it hit and nothing behind it.

use serde::{Deserialize, Serialize};

use crate::clock::Micros;
use crate::frame::{Frame, FrameWriter, MUST_UNDERSTAND};

/// How a job's attempt ended, or why it has no end of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Cause {
    /// The user's exception.
    Error = 1,
    /// A signal or an exit.
    Crashed = 2,
    Oom = 3,
    /// The job's own time limit.
    Timeout = 4,
    /// The scheduler's time limit.
    Walltime = 5,
    /// Signalled from outside.
    Stopped = 6,
    Killed = 7,
    Preempted = 8,
    Node = 9,
    /// No sign of it.
    Lost = 10,
    NotStarted = 11,
    /// Its records did not survive.
    Storage = 12,
    /// Version, import, folder, launch.
    Setup = 13,
}

impl Cause {
    pub const ALL: [Self; 13] = [
        Self::Error,
        Self::Crashed,
        Self::Oom,
        Self::Timeout,
        Self::Walltime,
        Self::Stopped,
        Self::Killed,
        Self::Preempted,
        Self::Node,
        Self::Lost,
        Self::NotStarted,
        Self::Storage,
        Self::Setup,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Crashed => "crashed",
            Self::Oom => "oom",
            Self::Timeout => "timeout",
            Self::Walltime => "walltime",
            Self::Stopped => "stopped",
            Self::Killed => "killed",
            Self::Preempted => "preempted",
            Self::Node => "node",
            Self::Lost => "lost",
            Self::NotStarted => "not_started",
            Self::Storage => "storage",
            Self::Setup => "setup",
        }
    }

    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| *cause as u8 == code)
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.name() == name)
    }
}

/// The claim: the first record of a run's first segment. Also answers "did it start, and where".
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    pub token: String,
    pub host: String,
    pub boot_id: String,
    /// The pid namespace: from outside a container its pids say nothing.
    #[serde(default)]
    pub namespace: String,
    pub pid: u32,
    /// Field 22 of `/proc/PID/stat`: tells a process from a later one with the same pid.
    pub start_ticks: u64,
    /// The node's clock.
    pub at: Micros,
    pub version: String,
    /// What the scheduler calls this task: `SLURM_JOB_ID` and the like, as the node saw them.
    pub scheduler: std::collections::BTreeMap<String, String>,
}

/// Published under a claim's own name: no executor shall run this.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Void {
    pub by: String,
    pub at: Micros,
    pub reason: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    pub job: u32,
    pub at: Micros,
}

/// A piece of a job's output in the run's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPiece {
    pub job: u32,
    pub offset: u64,
    pub length: u64,
}

/// Bytes below `synced_to` of this file were durable when the mark was written. Doubles as the
/// executor's beat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    pub synced_to: u64,
    pub at: Micros,
}

/// The last record of a run: what it did not run it gives back for this cause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closed {
    pub at: Micros,
    /// None: every job ended by its own doing.
    pub cause: Option<Cause>,
    pub message: String,
}

/// Where a result lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// The pickled result itself.
    Result(&'a [u8]),
    /// The result in a worker's own file.
    Stored(Stored),
    /// JSON of [`Failure`].
    Failure(&'a [u8]),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    pub worker: u32,
    pub offset: u64,
    pub length: u64,
    /// CRC-32 as in zlib, which every Python has.
    pub crc32: u32,
}

/// Why a job is an error. `type_name` is the exception's class, empty where none was raised.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    #[serde(rename = "type")]
    pub type_name: String,
    pub message: String,
    pub traceback: String,
}

/// How one job ended by its own doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End<'a> {
    pub job: u32,
    /// None: done.
    pub cause: Option<Cause>,
    /// How often it was tried within this run.
    pub tries: u16,
    pub started: Micros,
    pub ended: Micros,
    /// Peak memory in KiB; 0 where the kernel did not tell.
    pub peak_kib: u32,
    pub cpu_us: u64,
    pub body: Body<'a>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Record<'a> {
    Claim(Claim),
    Void(Void),
    Started(Vec<Started>),
    End(End<'a>),
    Log(Vec<LogPiece>),
    Mark(Mark),
    Closed(Closed),
}

/// Why a whole frame gives no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordFault {
    /// A kind of a later version that may be skipped.
    Skip,
    /// A kind of a later version that must be understood.
    Newer(u8),
    /// The checksum fits and the content does not.
    Malformed,
}

const CLAIM: u8 = 1;
const VOID: u8 = 2;
const STARTED: u8 = 3;
const END: u8 = 4;
const LOG: u8 = 5;
const MARK: u8 = 6;
const CLOSED: u8 = 7;

const END_FIXED: usize = 40;
const STORED: usize = 24;

const BODY_RESULT: u8 = 0;
const BODY_STORED: u8 = 1;
const BODY_FAILURE: u8 = 2;

impl Record<'_> {
    pub fn write(&self, writer: &mut FrameWriter, out: &mut Vec<u8>) {
        match self {
            Self::Claim(claim) => writer.frame(out, CLAIM, MUST_UNDERSTAND, 0, &[&json(claim)]),
            Self::Void(void) => writer.frame(out, VOID, MUST_UNDERSTAND, 0, &[&json(void)]),
            Self::Started(jobs) => writer.frame(out, STARTED, 0, 0, &[&packed(jobs)]),
            Self::End(end) => write_end(end, writer, out),
            Self::Log(pieces) => writer.frame(out, LOG, 0, 0, &[&packed(pieces)]),
            Self::Mark(mark) => writer.frame(out, MARK, 0, 0, &[&packed(mark)]),
            Self::Closed(closed) => writer.frame(out, CLOSED, MUST_UNDERSTAND, 0, &[&json(closed)]),
        }
    }
}

impl<'a> Record<'a> {
    pub fn read(frame: &Frame<'a>) -> Result<Self, RecordFault> {
        let payload = frame.payload;
        let record = match frame.kind {
            CLAIM => serde_json::from_slice(payload).ok().map(Self::Claim),
            VOID => serde_json::from_slice(payload).ok().map(Self::Void),
            STARTED => postcard::from_bytes(payload).ok().map(Self::Started),
            END => read_end(frame).map(Self::End),
            LOG => postcard::from_bytes(payload).ok().map(Self::Log),
            MARK => postcard::from_bytes(payload).ok().map(Self::Mark),
            CLOSED => serde_json::from_slice(payload).ok().map(Self::Closed),
            newer if frame.must_understand() => return Err(RecordFault::Newer(newer)),
            _ => return Err(RecordFault::Skip),
        };
        record.ok_or(RecordFault::Malformed)
    }
}

fn json<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("plain records always serialise")
}

fn packed<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_stdvec(value).expect("plain records always serialise")
}

fn write_end(end: &End<'_>, writer: &mut FrameWriter, out: &mut Vec<u8>) {
    let mut fixed = [0u8; END_FIXED];
    fixed[0] = end.cause.map_or(0, |cause| cause as u8);
    fixed[2..4].copy_from_slice(&end.tries.to_le_bytes());
    fixed[4..8].copy_from_slice(&end.peak_kib.to_le_bytes());
    fixed[8..16].copy_from_slice(&end.started.to_le_bytes());
    fixed[16..24].copy_from_slice(&end.ended.to_le_bytes());
    fixed[24..32].copy_from_slice(&end.cpu_us.to_le_bytes());
    let mut stored = [0u8; STORED];
    let (kind, body): (u8, &[u8]) = match end.body {
        Body::Result(bytes) => (BODY_RESULT, bytes),
        Body::Failure(bytes) => (BODY_FAILURE, bytes),
        Body::Stored(at) => {
            stored[0..4].copy_from_slice(&at.worker.to_le_bytes());
            stored[4..12].copy_from_slice(&at.offset.to_le_bytes());
            stored[12..20].copy_from_slice(&at.length.to_le_bytes());
            stored[20..24].copy_from_slice(&at.crc32.to_le_bytes());
            (BODY_STORED, &stored)
        }
    };
    fixed[1] = kind;
    writer.frame(out, END, 0, u64::from(end.job), &[&fixed, body]);
}

fn read_end<'a>(frame: &Frame<'a>) -> Option<End<'a>> {
    let (fixed, body) = frame.payload.split_at_checked(END_FIXED)?;
    let cause = match fixed[0] {
        0 => None,
        code => Some(Cause::from_code(code)?),
    };
    let body = match fixed[1] {
        BODY_RESULT => Body::Result(body),
        BODY_FAILURE => Body::Failure(body),
        BODY_STORED if body.len() == STORED => Body::Stored(Stored {
            worker: u32::from_le_bytes(array(body, 0)),
            offset: u64::from_le_bytes(array(body, 4)),
            length: u64::from_le_bytes(array(body, 12)),
            crc32: u32::from_le_bytes(array(body, 20)),
        }),
        _ => return None,
    };
    Some(End {
        job: u32::try_from(frame.job).ok()?,
        cause,
        tries: u16::from_le_bytes(array(fixed, 2)),
        started: i64::from_le_bytes(array(fixed, 8)),
        ended: i64::from_le_bytes(array(fixed, 16)),
        peak_kib: u32::from_le_bytes(array(fixed, 4)),
        cpu_us: u64::from_le_bytes(array(fixed, 24)),
        body,
    })
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}
