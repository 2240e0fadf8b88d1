//! The messages between the executor and one worker; `_node/wire.py` is the other end.
//!
//! Requests are datagrams, one job each, so that a job that the worker has not yet taken can be
//! taken back. Answers are a stream of records with a fixed head.

use batchwright_core::clock::Micros;
use batchwright_core::collection::Row;
use batchwright_core::run::Stored;

/// Parameters above this are read by the worker from the collection file.
const INLINE_PARAMETERS: usize = 1 << 15;

const INIT: u8 = b'I';
const JOB: u8 = b'J';
const BYE: u8 = b'B';

const JOB_HEAD: usize = 12;
/// Longest request that is read back.
pub(crate) const MAX_REQUEST: usize = JOB_HEAD + INLINE_PARAMETERS;

const HEAD: usize = 40;
const READY: u8 = 1;
const SETUP_FAILED: u8 = 2;
const RESULT: u8 = 3;
const STORED: u8 = 4;
const FAILED: u8 = 5;
const STORAGE_FAILED: u8 = 6;

pub(crate) fn init(json: &[u8]) -> Vec<u8> {
    let mut message = vec![INIT];
    message.extend_from_slice(json);
    message
}

/// `last`: the worker runs what shall follow the whole collection.
pub(crate) fn bye(last: bool) -> [u8; 2] {
    [BYE, u8::from(last)]
}

/// Writes the request for one row; `file` is the collection that the row was read from.
pub(crate) fn job(row: &Row<'_>, file: &[u8], message: &mut Vec<u8>) {
    let inline = row.parameters.len() <= INLINE_PARAMETERS;
    message.clear();
    message.extend_from_slice(&[JOB, u8::from(inline)]);
    message.extend_from_slice(&row.attempt.to_le_bytes());
    message.extend_from_slice(&row.call.to_le_bytes());
    message.extend_from_slice(&[0, 0]);
    message.extend_from_slice(&row.job.to_le_bytes());
    if inline {
        message.extend_from_slice(row.parameters);
    } else {
        let offset = row.parameters.as_ptr().addr() - file.as_ptr().addr();
        message.extend_from_slice(&(offset as u64).to_le_bytes());
        message.extend_from_slice(&(row.parameters.len() as u64).to_le_bytes());
    }
}

/// The job of a request that was taken back.
pub(crate) fn job_of(message: &[u8]) -> Option<u32> {
    let head = message.get(..JOB_HEAD)?;
    (head[0] == JOB).then(|| u32::from_le_bytes(array(head, 8)))
}

/// What the worker measured of one job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Measured {
    pub(crate) started: Micros,
    pub(crate) ended: Micros,
    pub(crate) peak_kib: u32,
    pub(crate) cpu_us: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer<'a> {
    Ready,
    /// JSON of a `Failure`.
    SetupFailed(&'a [u8]),
    Ended {
        job: u32,
        measured: Measured,
        outcome: Outcome<'a>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome<'a> {
    Result(&'a [u8]),
    /// In the worker's own file.
    Stored(Stored),
    /// JSON of a `Failure`.
    Failed(&'a [u8]),
    /// The worker's own file could not be written: JSON of a `Failure`.
    StorageFailed(&'a [u8]),
}

/// A record that no worker of ours writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Garbled;

/// The first whole answer in `bytes`, and its length.
pub(crate) fn answer(bytes: &[u8], worker: u32) -> Result<Option<(Answer<'_>, usize)>, Garbled> {
    let Some(head) = bytes.get(..HEAD) else { return Ok(None) };
    let length = u32::from_le_bytes(array(head, 0)) as usize;
    let Some(body) = bytes.get(HEAD..HEAD + length) else { return Ok(None) };
    let job = u32::from_le_bytes(array(head, 8));
    let measured = Measured {
        peak_kib: u32::from_le_bytes(array(head, 12)),
        started: i64::from_le_bytes(array(head, 16)),
        ended: i64::from_le_bytes(array(head, 24)),
        cpu_us: u64::from_le_bytes(array(head, 32)),
    };
    let ended = |outcome| Answer::Ended { job, measured, outcome };
    let answer = match head[4] {
        READY => Answer::Ready,
        SETUP_FAILED => Answer::SetupFailed(body),
        RESULT => ended(Outcome::Result(body)),
        STORED if length == 20 => ended(Outcome::Stored(Stored {
            worker,
            offset: u64::from_le_bytes(array(body, 0)),
            length: u64::from_le_bytes(array(body, 8)),
            crc32: u32::from_le_bytes(array(body, 16)),
        })),
        FAILED => ended(Outcome::Failed(body)),
        STORAGE_FAILED => ended(Outcome::StorageFailed(body)),
        _ => return Err(Garbled),
    };
    Ok(Some((answer, HEAD + length)))
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}
