//! A job collection: all that a node needs to run the jobs of one submission.
//!
//! The header is JSON, so that any tool can read it; rows follow in batches. A row holds a job's
//! parameters as the pickle of a tuple, in the order of its call's names.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::access::Access;
use crate::frame::{
    self, Content, FileId, Frame, FrameReader, FrameWriter, HeaderFault, MUST_UNDERSTAND, Position,
};

/// What all jobs of the collection share.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// 32 hex digits: the chunk's id.
    pub job_hash: String,
    pub job_name: String,
    /// Absolute, on the node.
    pub work_dir: String,
    pub access: Access,
    /// The registry's seed.
    pub seed: i64,
    /// 0, or the number of array tasks.
    pub tasks: u32,
    /// How often jobs of this collection were attempted before, per job where they differ.
    pub jobs: u32,
    /// Resources known to the executor; the rest is kept in `resources`.
    pub limits: Limits,
    /// All resources, as the user's job sees them.
    pub resources: serde_json::Value,
    /// What the Python side needs to call the functions; not read here (ARCHITECTURE.md,
    /// "Collections").
    pub python: serde_json::Value,
}

/// The resources that the executor itself obeys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// The command that starts Python: interpreter and options.
    pub python: Vec<String>,
    /// A prefix such as a container call.
    pub wrap: Vec<String>,
    /// Set before Python starts.
    pub env: BTreeMap<String, String>,
    /// Jobs at once.
    pub parallel: u32,
    /// Seconds per job.
    pub timeout: Option<f64>,
    /// Again in this run after an error, a crash or a timeout.
    pub retries: u16,
    /// A worker is replaced after so many jobs.
    pub jobs_per_worker: Option<u32>,
    /// Bytes of output kept per job.
    pub log_limit: u64,
    /// Seconds for the whole chunk.
    pub walltime: Option<f64>,
    /// Cores of one job.
    pub ncpus: u32,
    /// Results above this go to the worker's own file.
    pub inline_result: u32,
    /// Seconds between syncs of the journal; 0 syncs each result.
    pub sync_interval: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            python: vec!["python3".into()],
            wrap: Vec::new(),
            env: BTreeMap::new(),
            parallel: 1,
            timeout: None,
            retries: 0,
            jobs_per_worker: None,
            log_limit: 10_000_000,
            walltime: None,
            ncpus: 1,
            inline_result: 4096,
            sync_interval: 1.0,
        }
    }
}

/// One job: its id, the array task that runs it, its attempt, its call and its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row<'a> {
    pub job: u32,
    pub task: u32,
    pub attempt: u16,
    /// Index into the header's calls (`python.calls`).
    pub call: u16,
    /// Pickle of the tuple of parameters.
    pub parameters: &'a [u8],
}

const HEADER: u8 = 1;
const ROWS: u8 = 2;
const ROW_FIXED: usize = 16;
/// Rows are batched up to this many bytes a frame.
const BATCH: usize = 1 << 16;

/// Builds a collection file in memory.
#[derive(Debug)]
pub struct Builder {
    bytes: Vec<u8>,
    writer: FrameWriter,
    batch: Vec<u8>,
}

impl Builder {
    pub fn new(header: &Header) -> Self {
        let id = FileId::random();
        let mut writer = FrameWriter::new(id);
        let mut bytes = frame::file_header(Content::Collection, id).to_vec();
        let json = serde_json::to_vec(header).expect("a header is plain data");
        writer.frame(&mut bytes, HEADER, MUST_UNDERSTAND, 0, &[&json]);
        Self { bytes, writer, batch: Vec::new() }
    }

    pub fn row(&mut self, row: Row<'_>) {
        self.batch.extend_from_slice(&row.job.to_le_bytes());
        self.batch.extend_from_slice(&row.task.to_le_bytes());
        self.batch.extend_from_slice(&row.attempt.to_le_bytes());
        self.batch.extend_from_slice(&row.call.to_le_bytes());
        self.batch.extend_from_slice(&(row.parameters.len() as u32).to_le_bytes());
        self.batch.extend_from_slice(row.parameters);
        if self.batch.len() >= BATCH {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if !self.batch.is_empty() {
            self.writer.frame(&mut self.bytes, ROWS, MUST_UNDERSTAND, 0, &[&self.batch]);
            self.batch.clear();
        }
    }

    pub fn finish(mut self) -> Vec<u8> {
        self.flush();
        self.bytes
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CollectionFault {
    Header(HeaderFault),
    /// Damaged at this byte.
    Damaged(u64),
    /// Fewer rows than the header promises: still arriving, or cut.
    Short,
    Newer(u8),
}

/// A whole collection file, checked.
#[derive(Debug)]
pub struct Collection<'a> {
    pub header: Header,
    pub rows: Vec<Row<'a>>,
}

impl<'a> Collection<'a> {
    pub fn parse(bytes: &'a [u8]) -> Result<Self, CollectionFault> {
        let id =
            frame::read_file_header(bytes, Content::Collection).map_err(CollectionFault::Header)?;
        let mut reader = FrameReader::new(id, &bytes[frame::FILE_HEADER..], Position::START);
        let first = reader.next_frame().ok_or(CollectionFault::Damaged(Position::START.offset))?;
        let header: Header = match first.kind {
            HEADER => serde_json::from_slice(first.payload)
                .map_err(|_| CollectionFault::Damaged(first.offset))?,
            other => return Err(CollectionFault::Newer(other)),
        };
        // A header that promises too much allocates nothing.
        let most = bytes.len() / ROW_FIXED;
        let mut rows = Vec::with_capacity(most.min(header.jobs as usize));
        for frame in reader.by_ref() {
            match frame.kind {
                ROWS => {
                    read_rows(&frame, &mut rows).ok_or(CollectionFault::Damaged(frame.offset))?;
                }
                other if frame.must_understand() => return Err(CollectionFault::Newer(other)),
                _ => {}
            }
        }
        if !reader.rest().is_empty() {
            return Err(CollectionFault::Damaged(reader.position().offset));
        }
        if rows.len() != header.jobs as usize {
            return Err(CollectionFault::Short);
        }
        Ok(Self { header, rows })
    }
}

fn read_rows<'a>(frame: &Frame<'a>, rows: &mut Vec<Row<'a>>) -> Option<()> {
    let mut rest = frame.payload;
    while !rest.is_empty() {
        let (fixed, behind) = rest.split_at_checked(ROW_FIXED)?;
        let length = frame::u32_at(fixed, 12) as usize;
        let (parameters, behind) = behind.split_at_checked(length)?;
        rows.push(Row {
            job: frame::u32_at(fixed, 0),
            task: frame::u32_at(fixed, 4),
            attempt: u16::from_le_bytes([fixed[8], fixed[9]]),
            call: u16::from_le_bytes([fixed[10], fixed[11]]),
            parameters,
        });
        rest = behind;
    }
    Some(())
}
