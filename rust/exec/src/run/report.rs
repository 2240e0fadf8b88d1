//! The run's journal: records are kept in memory until a sync has made them durable, and are
//! written again to a next segment if one fails.

use batchwright_core::clock::Clock;
use batchwright_core::frame::{FrameReader, FrameWriter, Position};
use batchwright_core::fs::{Fs, JournalFile, Published};
use batchwright_core::layout::{Layout, RunId};
use batchwright_core::run::{Claim, End, Mark, Record};
use batchwright_core::{Error, ErrorKind, Result};

use super::claim::{self, Won};

/// With more than this not yet durable, no job is handed out before a sync.
pub(crate) const MOST_UNSYNCED: usize = 64 << 20;
/// Seconds between tries to open the next segment.
const FIRST_PAUSE: f64 = 1.0;
const LONGEST_PAUSE: f64 = 60.0;
/// Tries after which it gives up where space is not what is missing.
const MOST_TRIES: u32 = 6;
/// Seconds after which it gives up waiting for space, where no walltime ends it sooner.
const LONGEST_WAIT: f64 = 3600.0;

/// Why the journal cannot be written now.
struct Broken {
    error: Error,
    since: f64,
    next_try: f64,
    pause: f64,
    tries: u32,
}

pub(crate) struct Report<'a> {
    fs: &'a dyn Fs,
    clock: &'a dyn Clock,
    layout: &'a Layout,
    id: RunId,
    claim: Claim,
    next_segment: u32,
    file: Box<dyn JournalFile>,
    writer: FrameWriter,
    /// Frames that are not durable; they begin at `durable` in the file.
    frames: Vec<u8>,
    durable: Position,
    /// How many bytes of `frames` are in the file.
    written: usize,
    /// The next frame shall be a mark.
    mark_due: bool,
    broken: Option<Broken>,
    /// Ends that are not durable.
    ends: usize,
}

impl<'a> Report<'a> {
    pub(crate) fn open(
        fs: &'a dyn Fs,
        clock: &'a dyn Clock,
        layout: &'a Layout,
        won: Won,
    ) -> Result<Self> {
        let file = fs.append(&layout.run(won.id, 0), won.end)?;
        Ok(Self {
            fs,
            clock,
            layout,
            id: won.id,
            claim: won.claim,
            next_segment: 1,
            file,
            durable: Position { offset: won.end, seq: won.writer.seq() },
            writer: won.writer,
            frames: Vec::new(),
            written: 0,
            mark_due: true,
            broken: None,
            ends: 0,
        })
    }

    pub(crate) fn id(&self) -> RunId {
        self.id
    }

    pub(crate) fn record(&mut self, record: &Record<'_>) {
        self.mark();
        record.write(&mut self.writer, &mut self.frames);
    }

    pub(crate) fn end(&mut self, end: End<'_>) {
        self.record(&Record::End(end));
        self.ends += 1;
    }

    /// Says how far the file is durable, if that is not yet said; also a sign of life.
    pub(crate) fn beat(&mut self) {
        self.mark_due = true;
        self.mark();
    }

    fn mark(&mut self) {
        if self.mark_due {
            self.mark_due = false;
            let mark = Mark { synced_to: self.durable.offset, at: self.clock.now() };
            Record::Mark(mark).write(&mut self.writer, &mut self.frames);
        }
    }

    pub(crate) fn unsynced(&self) -> usize {
        self.frames.len()
    }

    pub(crate) fn unsynced_ends(&self) -> usize {
        self.ends
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    /// When the next try is due, while it cannot be written.
    pub(crate) fn next_try(&self) -> Option<f64> {
        self.broken.as_ref().map(|b| b.next_try)
    }

    /// The error for which to give up, if it has come to that.
    pub(crate) fn hopeless(&self) -> Option<&Error> {
        let broken = self.broken.as_ref()?;
        let is_over = match broken.error.kind() {
            ErrorKind::StorageFull => self.clock.monotonic() - broken.since > LONGEST_WAIT,
            _ => broken.tries >= MOST_TRIES,
        };
        is_over.then_some(&broken.error)
    }

    pub(crate) fn error(&self) -> Option<&Error> {
        self.broken.as_ref().map(|b| &b.error)
    }

    /// Hands new frames to the file, not yet durable.
    pub(crate) fn write(&mut self) {
        if self.broken.is_some() || self.written == self.frames.len() {
            return;
        }
        match self.file.append(&self.frames[self.written..]) {
            Ok(()) => self.written = self.frames.len(),
            Err(error) => self.fail(error),
        }
    }

    /// Makes all frames durable; where the file has failed, a next segment is tried when due.
    pub(crate) fn sync(&mut self) {
        if self.broken.is_some() {
            self.try_next_segment();
            return;
        }
        self.write();
        if self.broken.is_some() || self.frames.is_empty() {
            return;
        }
        match self.file.sync() {
            Ok(()) => self.settle(self.file.end()),
            Err(error) => self.fail(error),
        }
    }

    /// Tries the next segment now, before giving up; whether that helped.
    pub(crate) fn try_once_more(&mut self) -> bool {
        if let Some(broken) = &mut self.broken {
            broken.next_try = 0.0;
        }
        self.sync();
        self.broken.is_none()
    }

    fn settle(&mut self, end: u64) {
        self.durable = Position { offset: end, seq: self.writer.seq() };
        self.frames.clear();
        self.frames.shrink_to(MOST_UNSYNCED / 16);
        self.written = 0;
        self.mark_due = true;
        self.ends = 0;
    }

    fn fail(&mut self, error: Error) {
        let now = self.clock.monotonic();
        match &mut self.broken {
            Some(broken) => {
                broken.error = error;
                broken.tries += 1;
                broken.pause = (broken.pause * 2.0).min(LONGEST_PAUSE);
                broken.next_try = now + broken.pause;
            }
            None => {
                self.broken =
                    Some(Broken { error, since: now, next_try: now, pause: 0.5, tries: 0 });
            }
        }
    }

    fn try_next_segment(&mut self) {
        let due = self.next_try().is_some_and(|at| self.clock.monotonic() >= at);
        if !due {
            return;
        }
        let path = self.layout.run(self.id, self.next_segment);
        let (mut bytes, mut writer) = claim::first_bytes(&self.claim);
        self.frame_again(&mut writer, &mut bytes);
        let end = bytes.len() as u64;
        let opened = match self.fs.publish(&path, &bytes) {
            Ok(Published::Won) => self.fs.append(&path, end),
            Ok(Published::Lost) => {
                // An earlier try was told that it had failed, and had not.
                self.next_segment += 1;
                Err(Error::new(ErrorKind::Exists, "the segment is taken").at(&path))
            }
            Err(error) => Err(error),
        };
        match opened {
            Ok(file) => {
                self.next_segment += 1;
                self.file = file;
                self.writer = writer;
                self.broken = None;
                self.settle(end);
            }
            Err(error) => {
                self.fail(error);
                if let Some(broken) = &mut self.broken {
                    broken.pause = broken.pause.max(FIRST_PAUSE);
                }
            }
        }
    }

    /// Writes all frames that are not durable for another file, without the marks of this one.
    fn frame_again(&self, writer: &mut FrameWriter, out: &mut Vec<u8>) {
        let reader = FrameReader::new(self.writer.id(), &self.frames, self.durable);
        for frame in reader {
            if !matches!(Record::read(&frame), Ok(Record::Mark(_))) {
                writer.frame(out, frame.kind, frame.flags, frame.job, &[frame.payload]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use batchwright_core::access::Access;
    use batchwright_core::clock::SystemClock;
    use batchwright_core::frame::{self, Content};
    use batchwright_core::fs::RealFs;
    use batchwright_core::layout::ChunkId;
    use batchwright_core::run::Body;
    use claim::Outcome;

    fn end(job: u32) -> End<'static> {
        End {
            job,
            cause: None,
            tries: 1,
            started: 1,
            ended: 2,
            peak_kib: 3,
            cpu_us: 4,
            body: Body::Result(b"N."),
        }
    }

    fn ends_in(fs: &dyn Fs, path: &std::path::Path) -> Vec<u32> {
        let bytes = fs.tail(path, 0).unwrap();
        let id = frame::read_file_header(&bytes, Content::Run).unwrap();
        let scan = frame::scan(id, &bytes[frame::FILE_HEADER..], Position::START);
        assert!(scan.damage.is_empty());
        let records = scan.frames.iter().map(|f| Record::read(f).unwrap());
        records.filter_map(|r| if let Record::End(e) = r { Some(e.job) } else { None }).collect()
    }

    #[test]
    fn what_a_failed_segment_did_not_make_durable_is_in_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let fs = RealFs::new(Access::Private);
        let layout = Layout::new(folder.path());
        let chunk = ChunkId::random();
        fs.make_folder(&layout.runs_of(chunk)).unwrap();
        let claim = claim::describe_this_process(&SystemClock);
        let Ok(Outcome::Won(won)) = claim::claim(&fs, &layout, chunk, 0, claim) else {
            panic!("the run is free")
        };
        let mut report = Report::open(&fs, &SystemClock, &layout, won).unwrap();
        report.end(end(1));
        report.sync();
        report.end(end(2));
        report.write();
        report.end(end(3));
        report.file.sync().unwrap();
        report.fail(Error::new(ErrorKind::StorageFull, "full"));
        report.end(end(4));
        assert!(report.is_broken() && report.unsynced_ends() == 3);
        report.sync();
        assert!(!report.is_broken() && report.unsynced_ends() == 0);
        report.end(end(5));
        report.sync();
        assert_eq!(ends_in(&fs, &layout.run(report.id(), 1)), [2, 3, 4, 5]);
        assert_eq!(ends_in(&fs, &layout.run(report.id(), 0))[0], 1);
    }
}
