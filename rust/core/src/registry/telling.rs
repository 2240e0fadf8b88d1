//! What the runs of one job's task say of themselves: where, and how they ended.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::error::Result;
use crate::frame::{self, Content, FILE_HEADER, Position};
use crate::ids::JobId;
use crate::layout::{Layout, RunId};
use crate::run::{Claim, Closed, Record, Void};

use super::Registry;

/// First and last records lie within so many bytes.
const PART: usize = 1 << 16;

/// One run of a task, as its own files tell it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RunTold {
    pub run: u32,
    pub claim: Option<Claim>,
    /// An owner's word that nothing shall run here.
    pub void: Option<Void>,
    pub closed: Option<Closed>,
}

impl Registry {
    /// The runs of the newest attempt of a job, in order.
    pub fn runs_of(&self, job: JobId) -> Result<Vec<RunTold>> {
        let task = self.read(|tables| tables.chunk_of(job).map(|(_, chunk)| chunk.run(0)));
        let Some(task) = task else { return Ok(Vec::new()) };
        let names = self.fs.look(&self.layout.runs_of(task.chunk))?;
        let mut runs: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
        for (id, segment) in names.iter().filter_map(|name| Layout::parse_run(name)) {
            if (id.chunk, id.task) == (task.chunk, task.task) {
                runs.entry(id.run).or_default().insert(segment);
            }
        }
        let told = runs.into_iter().map(|(run, segments)| {
            let last = segments.last().copied().unwrap_or_default();
            self.run_told(RunId { run, ..task }, last)
        });
        told.collect()
    }

    fn run_told(&self, id: RunId, last: u32) -> Result<RunTold> {
        let mut told = RunTold { run: id.run, ..RunTold::default() };
        let first = self.fs.read(&self.layout.run(id, 0), 0, PART)?;
        for_each_record(&first, &first, 0, |record| match record {
            Record::Claim(claim) => told.claim = Some(claim),
            Record::Void(void) => told.void = Some(void),
            _ => {}
        });
        let path = self.layout.run(id, last);
        let start = self.fs.length(&path)?.saturating_sub(PART as u64).max(FILE_HEADER as u64);
        let header = self.fs.read(&path, 0, FILE_HEADER)?;
        let end = self.fs.tail(&path, start)?;
        for_each_record(&header, &end, start, |record| {
            if let Record::Closed(closed) = record {
                told.closed = Some(closed);
            }
        });
        Ok(told)
    }
}

/// The whole records in a part of a file that begins at `offset`; none if it is no run file.
fn for_each_record(header: &[u8], part: &[u8], offset: u64, mut take: impl FnMut(Record<'_>)) {
    let Ok(id) = frame::read_file_header(header, Content::Run) else { return };
    let (part, offset) = match offset {
        0 => (part.get(FILE_HEADER..).unwrap_or_default(), FILE_HEADER as u64),
        _ => (part, offset),
    };
    for frame in frame::scan(id, part, Position { offset, seq: 0 }).frames {
        if let Ok(record) = Record::read(&frame) {
            take(record);
        }
    }
}
