//! What an owner did: the records of its journal, and the bytes of them.
//!
//! The tables are the fold of these records, live and at every load, so nothing can be shown
//! that a later reader would not see.

use serde::{Deserialize, Serialize};

use crate::clock::Micros;
use crate::experiments::Block;
use crate::frame::{Frame, FrameWriter, MUST_UNDERSTAND};
use crate::ids::IdSet;
use crate::layout::ChunkId;
use crate::pack;
use crate::run::RecordFault;

/// The first record of an epoch: how far the journal before it counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adopt {
    /// 0: there was none.
    pub epoch: u64,
    pub segment: u32,
    pub offset: u64,
}

/// The first record of a later segment of one epoch: how far the segment before it counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Continue {
    pub offset: u64,
}

/// One definition call: jobs `first … first + count - 1`, rows of one parameter segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    pub first: u32,
    pub count: u32,
    /// The segment's file, `defs/<epoch>-<number>.arrow`.
    pub epoch: u64,
    pub number: u32,
    /// JSON of the caller, kept verbatim.
    pub call: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChunkIntent {
    pub id: [u8; 16],
    pub jobs: IdSet,
    /// Index into the intent's resources.
    pub resources: u32,
}

impl ChunkIntent {
    pub fn chunk(&self) -> ChunkId {
        ChunkId(u128::from_be_bytes(self.id))
    }
}

/// These chunks are about to be submitted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Intent {
    pub at: Micros,
    /// The kind of backend, which alone is a witness for them.
    pub backend: String,
    /// Distinct JSON texts.
    pub resources: Vec<String>,
    /// Each job is the array task of its place among the chunk's.
    pub array_tasks: bool,
    pub chunks: Vec<ChunkIntent>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submitted {
    /// Index of the chunk's first task in the chunk table.
    pub chunk: u32,
    /// One a task.
    pub batch_ids: Vec<String>,
    pub log_file: Option<String>,
}

/// Chunks that will do no more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GivenUp {
    pub chunks: Vec<u32>,
    /// Unfinished jobs that become defined again; other unfinished ones expire.
    pub taken_back: IdSet,
    pub cause: u8,
}

/// A run file that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileNews {
    /// Index into the chunk table.
    pub chunk: u32,
    pub run: u32,
    pub segment: u32,
    pub id: [u8; 16],
    pub offset: u64,
    pub seq: u32,
    /// Where it runs; empty for a void.
    pub host: String,
    pub void: bool,
    /// Code of the cause it closed with; 0: ended all its jobs; none: still open.
    pub closed: Option<u8>,
}

/// Jobs that ended, as columns in the order of `ids`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ends {
    pub ids: IdSet,
    columns: Vec<u8>,
    pub messages: Vec<String>,
}

/// One row of [`Ends`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndRow {
    pub job: u32,
    /// 0: done.
    pub cause: u8,
    pub started: Micros,
    pub ended: Micros,
    pub peak_kib: u32,
    /// Number of the run file, from 1, in the table of files.
    pub file: u32,
    /// Where the end frame begins.
    pub offset: u64,
    /// Number of the message among `messages`, from 1; 0 without one.
    pub message: u32,
}

impl Ends {
    /// `rows` ascend by job.
    pub fn new(rows: &[EndRow], messages: Vec<String>) -> Self {
        let mut columns = Vec::new();
        pack::put_runs(&mut columns, rows.iter().map(|r| u64::from(r.cause)));
        pack::put_runs(&mut columns, rows.iter().map(|r| u64::from(r.file)));
        pack::put_runs(&mut columns, rows.iter().map(|r| u64::from(r.message)));
        pack::put_differences(&mut columns, rows.iter().map(|r| r.started));
        pack::put_differences(&mut columns, rows.iter().map(|r| r.ended.wrapping_sub(r.started)));
        pack::put_differences(&mut columns, rows.iter().map(|r| i64::from(r.peak_kib)));
        pack::put_differences(&mut columns, rows.iter().map(|r| r.offset as i64));
        Self { ids: IdSet::from_ascending(rows.iter().map(|r| r.job)), columns, messages }
    }

    pub fn rows(&self) -> Option<Vec<EndRow>> {
        let count = usize::try_from(self.ids.len()).ok()?;
        // Four columns take at least a byte a row: a damaged set of ids allocates nothing.
        if self.columns.len() / 4 < count {
            return None;
        }
        let bytes = &mut self.columns.as_slice();
        let causes = pack::take_runs(bytes, count)?;
        let files = pack::take_runs(bytes, count)?;
        let messages = pack::take_runs(bytes, count)?;
        let started = pack::take_differences(bytes, count)?;
        let durations = pack::take_differences(bytes, count)?;
        let peaks = pack::take_differences(bytes, count)?;
        let offsets = pack::take_differences(bytes, count)?;
        let row = |(i, job): (usize, u32)| EndRow {
            job,
            cause: causes[i] as u8,
            started: started[i],
            ended: started[i].wrapping_add(durations[i]),
            peak_kib: peaks[i] as u32,
            file: files[i] as u32,
            offset: offsets[i] as u64,
            message: messages[i] as u32,
        };
        Some(self.ids.iter().enumerate().map(row).collect())
    }
}

/// Unfinished jobs of a chunk that its run gave back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Returned {
    pub chunk: u32,
    pub cause: u8,
}

/// What one sync found in run files, with the cursors behind it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct News {
    pub files: Vec<FileNews>,
    /// (job, time) of jobs seen alive.
    pub started: Vec<(u32, Micros)>,
    pub ends: Ends,
    pub returned: Vec<Returned>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Record {
    Adopt(Adopt),
    Continue(Continue),
    Beat(Micros),
    Setting {
        name: String,
        value: Option<String>,
    },
    Exports {
        put: Vec<(String, String)>,
        remove: Vec<String>,
    },
    Define(Definition),
    Intent(Intent),
    Submitted(Submitted),
    /// Chunks that were never accepted: their jobs are as before the intent.
    TakenBack(Vec<u32>),
    GivenUp(GivenUp),
    News(News),
    Reset(IdSet),
    Names {
        ids: Vec<u32>,
        names: Vec<Option<String>>,
    },
    Tagged {
        tag: String,
        ids: IdSet,
    },
    Untagged {
        tag: String,
        ids: IdSet,
    },
    Cleared,
    /// A problem and its JSON, kept verbatim; none takes it away.
    Problem {
        name: String,
        spec: Option<String>,
    },
    Algorithm {
        name: String,
        spec: Option<String>,
    },
    /// All blocks of one call: none of them counts without the others.
    Experiments(Vec<Block>),
    /// Jobs that are gone; their ids are never given again.
    Removed(IdSet),
    /// Records of one verb: none of them counts without the others.
    Together(Together),
}

/// Records in one frame, each as its own bytes: what is read of a damaged file cannot nest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Together(Vec<Vec<u8>>);

impl Together {
    fn new(records: &[Record]) -> Self {
        let bytes = |record| postcard::to_stdvec(record).expect("plain records always serialise");
        Self(records.iter().map(bytes).collect())
    }

    pub fn records(&self) -> impl Iterator<Item = Record> {
        self.0.iter().filter_map(|bytes| Self::record(bytes))
    }

    fn record(bytes: &[u8]) -> Option<Record> {
        postcard::from_bytes(bytes).ok().filter(|record| !matches!(record, Record::Together(_)))
    }

    fn is_whole(&self) -> bool {
        self.0.iter().all(|bytes| Self::record(bytes).is_some())
    }
}

impl Record {
    /// What `inspect` calls it; its place is its kind in the frame.
    pub const KINDS: [&str; 21] = [
        "adopt",
        "continue",
        "beat",
        "setting",
        "exports",
        "define",
        "intent",
        "submitted",
        "taken_back",
        "given_up",
        "news",
        "reset",
        "names",
        "tagged",
        "untagged",
        "cleared",
        "problem",
        "algorithm",
        "experiments",
        "removed",
        "together",
    ];

    /// What one verb writes, as one record.
    pub fn of_verb(records: &[Self]) -> Self {
        match records {
            [record] => record.clone(),
            _ => Self::Together(Together::new(records)),
        }
    }

    /// `synced_to`: bytes of the file below it were durable before this frame was written, so
    /// that damage there is no torn tail. It stands where run files name the job.
    pub fn write(&self, writer: &mut FrameWriter, synced_to: u64, out: &mut Vec<u8>) {
        let payload = postcard::to_stdvec(self).expect("plain records always serialise");
        // The first byte is the variant's number, which also makes the frame's kind.
        writer.frame(out, payload[0] + 1, MUST_UNDERSTAND, synced_to, &[&payload]);
    }

    pub fn read(frame: &Frame<'_>) -> Result<Self, RecordFault> {
        if usize::from(frame.kind) > Self::KINDS.len() {
            let is_vital = frame.must_understand();
            return Err(if is_vital { RecordFault::Newer(frame.kind) } else { RecordFault::Skip });
        }
        match postcard::from_bytes(frame.payload) {
            Ok(Self::Together(together)) if !together.is_whole() => Err(RecordFault::Malformed),
            read => read.map_err(|_| RecordFault::Malformed),
        }
    }
}
