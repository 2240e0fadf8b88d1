//! What the jobs print: which bytes belong to which job, how much of them is kept, and the run's
//! log file.

use std::collections::VecDeque;

use batchwright_core::clock::Clock;
use batchwright_core::fs::{Fs, JournalFile, Published};
use batchwright_core::layout::{Layout, RunId};
use batchwright_core::run::{LogPiece, Record};
use batchwright_core::{Error, ErrorKind, Result};

use super::report::Report;

/// Output is appended at most this many bytes or this many seconds at a time.
const PIECE: usize = 1 << 16;
const INTERVAL: f64 = 1.0;
/// Output before the first job is known is kept up to this.
const MOST_EARLY: usize = 1 << 20;

/// The secret that a worker writes behind a job's output, followed by the job's id.
pub(crate) type Marker = [u8; 16];
const MARK: usize = 20;

/// Splits one worker's output among its jobs.
pub(crate) struct Capture {
    marker: Marker,
    limit: u64,
    /// Jobs in the worker's hands; the first one prints.
    order: VecDeque<u32>,
    last: Option<u32>,
    /// Bytes that may be the beginning of a marker.
    carry: Vec<u8>,
    early: Vec<u8>,
    job: JobOutput,
}

/// What the printing job's log holds so far: its head in the file, its tail here.
struct JobOutput {
    line: Vec<u8>,
    head_room: usize,
    tail_room: usize,
    tail: VecDeque<u8>,
    cut: u64,
}

impl JobOutput {
    fn new(limit: u64) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let head_room = limit / 2;
        Self {
            line: Vec::new(),
            head_room,
            tail_room: limit - head_room,
            tail: VecDeque::new(),
            cut: 0,
        }
    }

    /// Passes on whole lines and keeps the rest of the last one.
    fn print(&mut self, text: &[u8], out: &mut impl FnMut(&[u8])) {
        let whole = text.iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1);
        if whole > 0 {
            self.line.extend_from_slice(&text[..whole]);
            let lines = std::mem::take(&mut self.line);
            self.keep(&lines, out);
        }
        self.line.extend_from_slice(&text[whole..]);
        if self.line.len() > PIECE {
            let line = std::mem::take(&mut self.line);
            self.keep(&line, out);
        }
    }

    fn keep(&mut self, text: &[u8], out: &mut impl FnMut(&[u8])) {
        let (head, rest) = text.split_at(text.len().min(self.head_room));
        if !head.is_empty() {
            self.head_room -= head.len();
            out(head);
        }
        let dropped = rest.len().saturating_sub(self.tail_room);
        self.cut += dropped as u64;
        self.tail.extend(&rest[dropped..]);
        let over = self.tail.len().saturating_sub(self.tail_room);
        self.cut += over as u64;
        self.tail.drain(..over);
    }

    fn finish(&mut self, out: &mut impl FnMut(&[u8])) {
        let line = std::mem::take(&mut self.line);
        self.keep(&line, out);
        if self.cut > 0 {
            out(format!("\n[batchwright: {} bytes cut by log_limit]\n", self.cut).as_bytes());
        }
        let (front, back) = self.tail.as_slices();
        for part in [front, back] {
            if !part.is_empty() {
                out(part);
            }
        }
    }
}

impl Capture {
    pub(crate) fn new(marker: Marker, limit: u64) -> Self {
        Self {
            marker,
            limit,
            order: VecDeque::new(),
            last: None,
            carry: Vec::new(),
            early: Vec::new(),
            job: JobOutput::new(limit),
        }
    }

    pub(crate) fn handed(&mut self, job: u32, log: &mut LogFile<'_>) {
        self.order.push_back(job);
        if self.order.len() == 1 && !self.early.is_empty() {
            let early = std::mem::take(&mut self.early);
            self.print(&early, log);
        }
    }

    pub(crate) fn taken_back(&mut self, job: u32) {
        if let Some(at) = self.order.iter().rposition(|&j| j == job) {
            self.order.remove(at);
        }
    }

    pub(crate) fn read(&mut self, bytes: &[u8], log: &mut LogFile<'_>) {
        let mut bytes = bytes;
        let joined;
        if !self.carry.is_empty() {
            let mut carry = std::mem::take(&mut self.carry);
            carry.extend_from_slice(bytes);
            joined = carry;
            bytes = &joined;
        }
        while let Some(at) = self.find_marker(bytes) {
            self.print(&bytes[..at], log);
            bytes = &bytes[at..];
            let Some(mark) = bytes.get(..MARK) else { break };
            let job = u32::from_le_bytes([mark[16], mark[17], mark[18], mark[19]]);
            self.job_ended(job, log);
            bytes = &bytes[MARK..];
        }
        if bytes.starts_with(&self.marker) {
            self.carry = bytes.to_vec();
            return;
        }
        let held = self.possible_marker(bytes);
        self.print(&bytes[..bytes.len() - held], log);
        self.carry = bytes[bytes.len() - held..].to_vec();
    }

    fn find_marker(&self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        loop {
            at += bytes[at..].iter().position(|&b| b == self.marker[0])?;
            let rest = &bytes[at..];
            if rest.len() < self.marker.len() {
                return None;
            }
            if rest.starts_with(&self.marker) {
                return Some(at);
            }
            at += 1;
        }
    }

    /// How many bytes at the end may be the beginning of a marker.
    fn possible_marker(&self, bytes: &[u8]) -> usize {
        let longest = bytes.len().min(self.marker.len() - 1);
        (1..=longest).rev().find(|&n| bytes[bytes.len() - n..] == self.marker[..n]).unwrap_or(0)
    }

    fn print(&mut self, text: &[u8], log: &mut LogFile<'_>) {
        if text.is_empty() {
            return;
        }
        match self.order.front() {
            Some(&job) => self.job.print(text, &mut |kept| log.add(job, kept)),
            None if self.early.len() < MOST_EARLY => self.early.extend_from_slice(text),
            None => {}
        }
    }

    fn job_ended(&mut self, job: u32, log: &mut LogFile<'_>) {
        if !self.order.contains(&job) {
            return;
        }
        self.job.finish(&mut |kept| log.add(job, kept));
        self.job = JobOutput::new(self.limit);
        self.last = Some(job);
        while self.order.pop_front().is_some_and(|ended| ended != job) {}
    }

    /// The worker is gone: what it printed last belongs to the job that it had in hand.
    pub(crate) fn finish(&mut self, log: &mut LogFile<'_>) {
        let carry = std::mem::take(&mut self.carry);
        self.print(&carry, log);
        if let Some(job) = self.order.front().copied() {
            self.job_ended(job, log);
        } else if let Some(job) = self.last {
            let early = std::mem::take(&mut self.early);
            self.job.keep(&early, &mut |kept| log.add(job, kept));
            self.job.finish(&mut |kept| log.add(job, kept));
        }
    }

    /// What was printed before any job was in hand: the end of it.
    pub(crate) fn early_text(&self) -> String {
        let from = self.early.len().saturating_sub(1 << 14);
        String::from_utf8_lossy(&self.early[from..]).trim_end().to_owned()
    }
}

/// The run's log, made when the first job prints. Its loss costs no job.
pub(crate) struct LogFile<'a> {
    fs: &'a dyn Fs,
    clock: &'a dyn Clock,
    layout: &'a Layout,
    id: RunId,
    file: Option<Box<dyn JournalFile>>,
    error: Option<Error>,
    buffer: Vec<u8>,
    /// Where the buffer's first byte goes.
    base: u64,
    pieces: Vec<LogPiece>,
    first_at: f64,
}

impl<'a> LogFile<'a> {
    pub(crate) fn new(fs: &'a dyn Fs, clock: &'a dyn Clock, layout: &'a Layout, id: RunId) -> Self {
        Self {
            fs,
            clock,
            layout,
            id,
            file: None,
            error: None,
            buffer: Vec::new(),
            base: 0,
            pieces: Vec::new(),
            first_at: 0.0,
        }
    }

    fn add(&mut self, job: u32, text: &[u8]) {
        if self.error.is_some() {
            return;
        }
        if self.buffer.is_empty() {
            self.first_at = self.clock.monotonic();
        }
        let offset = self.base + self.buffer.len() as u64;
        match self.pieces.last_mut() {
            Some(piece) if piece.job == job && piece.offset + piece.length == offset => {
                piece.length += text.len() as u64;
            }
            _ => {
                // Whoever reads the file itself finds each job's piece on a line of its own.
                let gap = u64::from(self.buffer.last().is_some_and(|&b| b != b'\n'));
                self.buffer.extend((0..gap).map(|_| b'\n'));
                let length = text.len() as u64;
                self.pieces.push(LogPiece { job, offset: offset + gap, length });
            }
        }
        self.buffer.extend_from_slice(text);
    }

    /// When it is to be written at the latest.
    pub(crate) fn due(&self) -> Option<f64> {
        (!self.buffer.is_empty()).then_some(self.first_at + INTERVAL)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.buffer.len() >= PIECE
    }

    /// Appends what is waiting and records the pieces.
    pub(crate) fn write(&mut self, report: &mut Report<'_>) {
        if self.buffer.is_empty() {
            return;
        }
        match self.append() {
            Ok(()) => {
                self.base += self.buffer.len() as u64;
                report.record(&Record::Log(std::mem::take(&mut self.pieces)));
            }
            Err(error) => self.fail(error),
        }
        self.buffer.clear();
        self.pieces.clear();
    }

    /// Makes the log durable.
    pub(crate) fn sync(&mut self) {
        let synced = self.file.as_mut().map_or(Ok(()), |file| file.sync());
        if let Err(error) = synced {
            self.fail(error);
        }
    }

    fn append(&mut self) -> Result<()> {
        if self.file.is_none() {
            let path = self.layout.log(self.id);
            if self.fs.publish(&path, b"")? == Published::Lost {
                let what = format!("`{}` belongs to another run", path.display());
                return Err(Error::new(ErrorKind::Exists, what).at(&path));
            }
            self.file = Some(self.fs.append(&path, 0)?);
        }
        self.file.as_mut().map_or(Ok(()), |file| file.append(&self.buffer))
    }

    fn fail(&mut self, error: Error) {
        super::say(&format!("no more output is kept: {error}"));
        self.error = Some(error);
        self.file = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARKER: Marker = *b"0123456789abcdef";

    fn printed(chunks: &[&[u8]], limit: u64, jobs: &[u32]) -> Vec<(u32, String)> {
        let fs = batchwright_core::fs::RealFs::new(batchwright_core::access::Access::Private);
        let layout = Layout::new("/nowhere");
        let chunk = batchwright_core::layout::ChunkId(1);
        let id = RunId { chunk, task: 0, run: 0 };
        let mut log = LogFile::new(&fs, &batchwright_core::clock::SystemClock, &layout, id);
        let mut capture = Capture::new(MARKER, limit);
        for &job in jobs {
            capture.handed(job, &mut log);
        }
        for chunk in chunks {
            capture.read(chunk, &mut log);
        }
        capture.finish(&mut log);
        let text = |p: &LogPiece| {
            let (from, length) = (p.offset as usize, p.length as usize);
            String::from_utf8_lossy(&log.buffer[from..from + length]).into_owned()
        };
        log.pieces.iter().map(|p| (p.job, text(p))).collect()
    }

    fn mark(job: u32) -> Vec<u8> {
        [&MARKER[..], &job.to_le_bytes()].concat()
    }

    fn session() -> Vec<u8> {
        let mut bytes = b"setup\none 0123\npartial".to_vec();
        bytes.extend(mark(1));
        bytes.extend(mark(2));
        bytes.extend(b"three\n");
        bytes.extend(mark(3));
        bytes.extend(b"dying 0123456789");
        bytes
    }

    #[test]
    fn output_is_split_at_every_byte_alike() {
        let bytes = session();
        let expected = [
            (1, "setup\none 0123\npartial".to_owned()),
            (3, "three\n".to_owned()),
            (4, "dying 0123456789".to_owned()),
        ];
        for cut in 0..bytes.len() {
            let (first, second) = bytes.split_at(cut);
            assert_eq!(printed(&[first, second], 1000, &[1, 2, 3, 4]), expected, "cut at {cut}");
        }
    }

    #[test]
    fn head_and_tail_are_kept() {
        let lines: Vec<String> = (0..100).map(|i| format!("{i:03}\n")).collect();
        let text = lines.concat();
        let found = printed(&[text.as_bytes()], 16, &[1]);
        let kept = "000\n001\n\n[batchwright: 384 bytes cut by log_limit]\n098\n099\n";
        assert_eq!(found, [(1, kept.to_owned())]);
    }
}
