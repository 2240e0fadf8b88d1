//! A run whose jobs the owner's own process executes: the same claim, journal and log as those
//! of an executor, without workers.

use std::path::Path;

use batchwright_core::Interrupted;
use batchwright_core::access::Access;
use batchwright_core::clock::SystemClock;
use batchwright_core::collection::Collection;
use batchwright_core::error::{Error, ErrorKind, Result};
use batchwright_core::frame::FrameWriter;
use batchwright_core::fs::{Fs, JournalFile, Published, RealFs};
use batchwright_core::ids::IdSet;
use batchwright_core::layout::{Layout, RunId};
use batchwright_core::registry::Registry;
use batchwright_core::run::{Body, Closed, End, LogPiece, Record, Started, Stored};

use super::claim;

/// Records are appended and synced in groups of so many bytes.
const GROUP: usize = 8 << 20;

/// A claimed run.
pub struct Run {
    fs: RealFs,
    layout: Layout,
    id: RunId,
    journal: Box<dyn JournalFile>,
    writer: FrameWriter,
    log: Option<Box<dyn JournalFile>>,
    results: Option<Box<dyn JournalFile>>,
    inline_result: usize,
}

impl Run {
    /// Claims the smallest free run of a collection's only task; none where a void stands.
    pub fn claim(path: &Path) -> Result<Option<Self>> {
        let path = std::path::absolute(path).map_err(|e| Error::io("find", path, &e))?;
        let (layout, chunk) = Layout::of_collection(&path).ok_or_else(|| {
            let what = format!("`{}` is no collection of a registry", path.display());
            Error::new(ErrorKind::Invalid, what)
        })?;
        let bytes = RealFs::new(Access::Private).tail(&path, 0)?;
        let header = Collection::parse(&bytes)
            .map_err(|fault| Error::corrupt(&path, 0, format!("{fault:?}")))?
            .header;
        let fs = RealFs::new(header.access);
        fs.make_folder(&layout.runs_of(chunk))?;
        let described = claim::describe_this_process(&SystemClock);
        let won = match claim::claim(&fs, &layout, chunk, 0, described)? {
            claim::Outcome::Won(won) => won,
            claim::Outcome::Void(_) => return Ok(None),
        };
        let journal = fs.append(&layout.run(won.id, 0), won.end)?;
        Ok(Some(Self {
            fs,
            id: won.id,
            journal,
            writer: won.writer,
            log: None,
            results: None,
            inline_result: header.limits.inline_result as usize,
            layout,
        }))
    }

    /// Relative to the registry.
    pub fn log_name(&self) -> String {
        Layout::log_name(self.id)
    }

    fn write(&mut self, record: &Record<'_>) -> Result<()> {
        let mut bytes = Vec::new();
        record.write(&mut self.writer, &mut bytes);
        self.journal.append(&bytes)
    }

    pub fn started(&mut self, started: Started) -> Result<()> {
        self.write(&Record::Started(vec![started]))?;
        self.journal.sync()
    }

    /// Records a job's end; a large result goes to a file of its own first.
    pub fn end(&mut self, end: End<'_>) -> Result<()> {
        let body = self.placed(end.body)?;
        if let Some(results) = &mut self.results {
            results.sync()?;
        }
        self.write(&Record::End(End { body, ..end }))?;
        self.journal.sync()
    }

    /// Puts a large result into a file of its own.
    fn placed<'a>(&mut self, body: Body<'a>) -> Result<Body<'a>> {
        let bytes = match body {
            Body::Result(bytes) if bytes.len() > self.inline_result => bytes,
            body => return Ok(body),
        };
        let path = self.layout.results(self.id, 0);
        let file = open_own(self.fs, &path, &mut self.results)?;
        let offset = file.end();
        file.append(bytes)?;
        let crc32 = crc32fast::hash(bytes);
        Ok(Body::Stored(Stored { worker: 0, offset, length: bytes.len() as u64, crc32 }))
    }

    /// Appends what a job printed to the run's log.
    pub fn log(&mut self, job: u32, output: &[u8]) -> Result<()> {
        let Some(piece) = self.append_log(job, output)? else { return Ok(()) };
        if let Some(log) = &mut self.log {
            log.sync()?;
        }
        self.write(&Record::Log(vec![piece]))
    }

    fn append_log(&mut self, job: u32, output: &[u8]) -> Result<Option<LogPiece>> {
        if output.is_empty() {
            return Ok(None);
        }
        if self.log.is_none()
            && let Some(folder) = self.layout.log(self.id).parent()
        {
            self.fs.make_folder(folder)?;
        }
        let file = open_own(self.fs, &self.layout.log(self.id), &mut self.log)?;
        let piece = LogPiece { job, offset: file.end(), length: output.len() as u64 };
        file.append(output)?;
        Ok(Some(piece))
    }

    /// Takes over how jobs ended in another registry, with what they printed. What a record
    /// speaks of is durable before it is.
    pub fn take_over(
        &mut self,
        source: &Registry,
        ids: &IdSet,
        interrupted: Interrupted<'_>,
    ) -> Result<()> {
        let mut records = Vec::new();
        source.tell(ids, interrupted, |end, log| {
            if let Some(piece) = self.append_log(end.job, log)? {
                Record::Log(vec![piece]).write(&mut self.writer, &mut records);
            }
            let body = self.placed(end.body)?;
            Record::End(End { body, ..*end }).write(&mut self.writer, &mut records);
            if records.len() > GROUP {
                self.append_records(&mut records)?;
            }
            Ok(())
        })?;
        self.append_records(&mut records)
    }

    fn append_records(&mut self, records: &mut Vec<u8>) -> Result<()> {
        for file in [&mut self.results, &mut self.log].into_iter().flatten() {
            file.sync()?;
        }
        self.journal.append(records)?;
        records.clear();
        self.journal.sync()
    }

    /// The last record: what was not run is given back.
    pub fn close(&mut self, closed: Closed) -> Result<()> {
        self.write(&Record::Closed(closed))?;
        self.journal.sync()
    }
}

/// The file under `path`, which this run makes when it first needs it.
fn open_own<'a>(
    fs: RealFs,
    path: &Path,
    file: &'a mut Option<Box<dyn JournalFile>>,
) -> Result<&'a mut Box<dyn JournalFile>> {
    if file.is_none() {
        if fs.publish(path, b"")? == Published::Lost {
            let what = format!("`{}` belongs to another run", path.display());
            return Err(Error::new(ErrorKind::Exists, what).at(path));
        }
        *file = Some(fs.append(path, 0)?);
    }
    file.as_mut().ok_or_else(|| Error::new(ErrorKind::Io, "the file was not opened"))
}
