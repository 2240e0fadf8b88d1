//! Registries on simulated files.
#![allow(dead_code, reason = "each test takes what it needs")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use batchwright_core::Result;
use batchwright_core::access::Access;
use batchwright_core::collection::Limits;
use batchwright_core::frame::{self, Content, FileId, FrameWriter};
use batchwright_core::ids::JobId;
use batchwright_core::layout::{ChunkId, RunId};
use batchwright_core::registry::ownership::Lease;
use batchwright_core::registry::{IdentityFile, Opening, Plan, PlannedChunk, Registry};
use batchwright_core::run::{self, Body, Cause, End};
use batchwright_core::segments::Segment;
use batchwright_core::tables::Tables;

use crate::sim::{BEGIN, SimClock, SimFs};

/// A folder that no other test of this process uses.
pub(crate) fn root() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    PathBuf::from(format!("/sim/{}", NEXT.fetch_add(1, Ordering::Relaxed)))
}

/// No thread beats: a test does.
pub(crate) fn quiet() -> Lease {
    Lease { beat: 1e9, ..Lease::default() }
}

pub(crate) fn opening() -> Opening<'static> {
    Opening { writeable: true, break_lock: false, lease: quiet(), user: "tester" }
}

pub(crate) fn create(fs: &SimFs, clock: &Arc<SimClock>, root: &Path) -> Result<Arc<Registry>> {
    let identity = IdentityFile::new("registry", 1, Access::Private);
    Registry::create_with(Arc::new(fs.clone()), clock.clone(), root, identity, opening())
}

pub(crate) fn open(fs: &SimFs, clock: &Arc<SimClock>, root: &Path) -> Result<Arc<Registry>> {
    Registry::open_with(Arc::new(fs.clone()), clock.clone(), root, opening(), &|| false)
}

pub(crate) fn watch(fs: &SimFs, clock: &Arc<SimClock>, root: &Path) -> Result<Arc<Registry>> {
    let opening = Opening { writeable: false, ..opening() };
    Registry::open_with(Arc::new(fs.clone()), clock.clone(), root, opening, &|| false)
}

pub(crate) fn segment(rows: u32) -> Segment {
    let column: ArrayRef = Arc::new(Int64Array::from_iter_values(0..i64::from(rows)));
    let batch = RecordBatch::try_from_iter([("x", column)]).expect("one column");
    Segment::new(batch.schema(), vec![batch]).expect("integers are supported")
}

pub(crate) fn intend(
    registry: &Registry,
    chunks: &[&[JobId]],
    array_tasks: bool,
) -> Result<Vec<ChunkId>> {
    let plan = Plan {
        chunks: chunks
            .iter()
            .map(|jobs| PlannedChunk { id: ChunkId::random(), jobs, resources: 0 })
            .collect(),
        header: serde_json::json!({}),
        resources: vec!["{}".to_owned()],
        limits: vec![Limits::default()],
        backend: "sim".to_owned(),
        array_tasks,
    };
    registry.intend(&plan, &|| false)?;
    Ok(plan.chunks.iter().map(|chunk| chunk.id).collect())
}

/// The tables without what is random, the names of chunks and files, and without an index.
pub(crate) fn digest(tables: &Tables) -> Tables {
    let mut tables = tables.clone();
    for chunk in &mut tables.chunks {
        chunk.id = [0; 16];
    }
    for file in &mut tables.files {
        file.id = [0; 16];
    }
    let bytes = postcard::to_stdvec(&tables).expect("tables are plain data");
    postcard::from_bytes(&bytes).expect("tables can be read back")
}

/// The pen of one run, as the executor has it.
pub(crate) struct Pen {
    pub(crate) path: PathBuf,
    pub(crate) bytes: Vec<u8>,
    pub(crate) writer: FrameWriter,
}

impl Pen {
    pub(crate) fn new(registry: &Registry, chunk: ChunkId, task: u32, run: u32) -> Self {
        Self::segment(registry, RunId { chunk, task, run }, 0)
    }

    pub(crate) fn segment(registry: &Registry, id: RunId, segment: u32) -> Self {
        let file = FileId::random();
        Self {
            path: registry.layout().run(id, segment),
            bytes: frame::file_header(Content::Run, file).to_vec(),
            writer: FrameWriter::new(file),
        }
    }

    pub(crate) fn write(mut self, record: &run::Record<'_>) -> Self {
        record.write(&mut self.writer, &mut self.bytes);
        self
    }

    pub(crate) fn claim(self) -> Self {
        self.claim_by(run::Claim {
            host: "node1".to_owned(),
            boot_id: "another".to_owned(),
            ..run::Claim::default()
        })
    }

    pub(crate) fn claim_by(self, process: run::Claim) -> Self {
        self.write(&run::Record::Claim(run::Claim { at: BEGIN, ..process }))
    }

    pub(crate) fn started(self, job: JobId) -> Self {
        self.write(&run::Record::Started(vec![run::Started { job, at: BEGIN }]))
    }

    pub(crate) fn done(self, job: JobId) -> Self {
        self.write(&run::Record::End(end(job, None)))
    }

    pub(crate) fn failed(self, job: JobId) -> Self {
        self.write(&run::Record::End(end(job, Some(Cause::Error))))
    }

    pub(crate) fn stopped(self, job: JobId) -> Self {
        self.write(&run::Record::End(end(job, Some(Cause::Stopped))))
    }

    pub(crate) fn mark(self) -> Self {
        let synced_to = self.bytes.len() as u64;
        self.write(&run::Record::Mark(run::Mark { synced_to, at: BEGIN }))
    }

    pub(crate) fn closed(self, cause: Option<Cause>) -> Self {
        let closed = run::Closed { at: BEGIN, cause, message: String::new() };
        self.write(&run::Record::Closed(closed))
    }

    /// Shows what was written so far.
    pub(crate) fn show(self, fs: &SimFs) -> Self {
        if fs.paths().contains(&self.path) {
            fs.replace(&self.path, self.bytes.clone());
        } else {
            fs.plant(&self.path, &self.bytes);
        }
        self
    }
}

pub(crate) fn end(job: JobId, cause: Option<Cause>) -> End<'static> {
    End {
        job,
        cause,
        tries: 1,
        started: BEGIN,
        ended: BEGIN + 1,
        peak_kib: 7,
        cpu_us: 3,
        body: match cause {
            None => Body::Result(b"N."),
            Some(_) => Body::Failure(br#"{"type":"ValueError","message":"no","traceback":""}"#),
        },
    }
}
