//! The queue of a host without a scheduler: what owners ask of it and what the host did.
//!
//! Owners append requests to files of their own; the one host process of a registry on a host
//! takes them in order and writes what became of them to its own file.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::clock::Micros;
use crate::error::{Error, ErrorKind, Result};
use crate::frame::{
    self, Content, FILE_HEADER, FileId, Frame, FrameReader, FrameWriter, HeaderFault,
    MUST_UNDERSTAND, Position,
};
use crate::fs::{Fs, JournalFile, Published};
use crate::layout::Layout;
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

    pub fn read(frame: &Frame<'_>) -> std::result::Result<Self, RecordFault> {
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

/// A queue file of this process: published with its first records, then appended to.
pub struct QueueFile {
    path: PathBuf,
    file: Box<dyn JournalFile>,
    writer: FrameWriter,
}

impl QueueFile {
    /// None where another process has published that name.
    pub fn publish(fs: &dyn Fs, path: &Path, records: &[Record]) -> Result<Option<Self>> {
        let id = FileId::random();
        let mut writer = FrameWriter::new(id);
        let mut bytes = frame::file_header(Content::Queue, id).to_vec();
        for record in records {
            record.write(&mut writer, &mut bytes);
        }
        if fs.publish(path, &bytes)? == Published::Lost {
            return Ok(None);
        }
        let file = fs.append(path, bytes.len() as u64)?;
        Ok(Some(Self { path: path.to_owned(), file, writer }))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Visible on this host at once, durable after [`Self::sync`].
    pub fn append(&mut self, records: &[Record]) -> Result<()> {
        let mut bytes = Vec::new();
        for record in records {
            record.write(&mut self.writer, &mut bytes);
        }
        self.file.append(&bytes)
    }

    pub fn sync(&mut self) -> Result<()> {
        self.file.sync()
    }

    /// After an error: nothing more can be written here.
    pub fn is_dead(&self) -> bool {
        self.file.is_dead()
    }
}

/// One owner's requests to one host.
///
/// No wake-up is lost if the owner appends first and calls `host start` afterwards.
pub struct RequestFile(QueueFile);

/// Publishes the next free request file of the owner with this epoch.
pub fn open_requests(fs: &dyn Fs, layout: &Layout, host: &str, epoch: u64) -> Result<RequestFile> {
    let folder = layout.queue(host);
    fs.make_folder(&folder)?;
    let taken = numbered(fs, &folder, "requests")?;
    let mine = taken.into_iter().filter(|(found, _)| *found == epoch);
    let mut number = mine.map(|(_, number)| number + 1).max().unwrap_or(0);
    loop {
        let path = layout.requests(host, epoch, number);
        if let Some(file) = QueueFile::publish(fs, &path, &[])? {
            return Ok(RequestFile(file));
        }
        number += 1;
    }
}

impl RequestFile {
    /// Durable when it returns. After an error the file is dead: whether the host saw the
    /// requests is open, and others go to a new file.
    pub fn append(&mut self, requests: &[Request]) -> Result<()> {
        let records: Vec<Record> = requests.iter().cloned().map(Record::Request).collect();
        self.0.append(&records)?;
        self.0.sync()
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn is_dead(&self) -> bool {
        self.0.is_dead()
    }
}

/// Both numbers of all files of a kind (`requests` or `host`) in a queue's folder, in order.
pub fn numbered(fs: &dyn Fs, folder: &Path, kind: &str) -> Result<Vec<(u64, u32)>> {
    let names = fs.look(folder)?;
    let mut found: Vec<_> =
        names.iter().filter_map(|name| Layout::parse_numbered(kind, name)).collect();
    found.sort_unstable();
    Ok(found)
}

/// All records of a queue file as it stands, over any damage.
pub fn read_records(fs: &dyn Fs, path: &Path) -> Result<Vec<Record>> {
    QueueTail { stuck: true, ..QueueTail::default() }.read(fs, path)
}

/// Reads a queue file forward, as it grows.
#[derive(Clone, Copy, Debug, Default)]
pub struct QueueTail {
    at: Option<(FileId, Position)>,
    /// The last look met bytes that are no frame and no frame before them: if they still are
    /// none, they are damage and no torn tail.
    stuck: bool,
}

impl QueueTail {
    /// The records that are new since the last call.
    pub fn read(&mut self, fs: &dyn Fs, path: &Path) -> Result<Vec<Record>> {
        let offset = self.at.map_or(0, |(_, position)| position.offset);
        let bytes = fs.tail(path, offset)?;
        let (id, start, bytes) = match self.at {
            Some((id, position)) => (id, position, &bytes[..]),
            None => match frame::read_file_header(&bytes, Content::Queue) {
                Ok(id) => (id, Position::START, &bytes[FILE_HEADER..]),
                Err(HeaderFault::Short) => return Ok(Vec::new()),
                Err(fault) => return Err(bad_header(path, fault)),
            },
        };
        let mut reader = FrameReader::new(id, bytes, start);
        let mut records = Vec::new();
        while let Some(frame) = self.next(&mut reader) {
            match Record::read(&frame) {
                Ok(record) => records.push(record),
                Err(RecordFault::Skip) => {}
                Err(RecordFault::Newer(kind)) => return Err(newer(path, kind)),
                Err(RecordFault::Malformed) => {
                    return Err(Error::corrupt(path, frame.offset, "a record of unknown form"));
                }
            }
        }
        self.stuck = !reader.rest().is_empty() && reader.position() == start;
        self.at = Some((id, reader.position()));
        Ok(records)
    }

    fn next<'a>(&self, reader: &mut FrameReader<'a>) -> Option<Frame<'a>> {
        reader.next_frame().or_else(|| if self.stuck { reader.skip_damage() } else { None })
    }
}

fn bad_header(path: &Path, fault: HeaderFault) -> Error {
    match fault {
        HeaderFault::Newer(version) => Error::new(
            ErrorKind::Version,
            format!("`{}` has format version {version}", path.display()),
        )
        .hint("a newer batchwright wrote it; use that one")
        .at(path),
        _ => Error::corrupt(path, 0, "it is no queue file"),
    }
}

fn newer(path: &Path, kind: u8) -> Error {
    Error::new(ErrorKind::Version, format!("`{}` holds records of kind {kind}", path.display()))
        .hint("a newer batchwright wrote it; use that one")
        .at(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Access;
    use crate::fs::RealFs;

    fn request(chunk: u32) -> Request {
        Request {
            chunk: format!("{chunk:032x}"),
            cores: 1,
            max_concurrent: 0,
            host_cores: 2,
            at: i64::from(chunk),
        }
    }

    fn chunks(records: &[Record]) -> Vec<i64> {
        let at = |record: &Record| match record {
            Record::Request(request) => request.at,
            _ => -1,
        };
        records.iter().map(at).collect()
    }

    #[test]
    fn a_reader_follows_the_requests_of_an_owner() {
        let folder = tempfile::tempdir().expect("a folder");
        let (fs, layout) = (RealFs::new(Access::Private), Layout::new(folder.path()));
        let mut first = open_requests(&fs, &layout, "h", 7).expect("the first file");
        let second = open_requests(&fs, &layout, "h", 7).expect("the second file");
        assert_eq!(first.path(), layout.requests("h", 7, 0));
        assert_eq!(second.path(), layout.requests("h", 7, 1));
        let mut tail = QueueTail::default();
        assert_eq!(tail.read(&fs, first.path()).expect("no record"), []);
        first.append(&[request(1), request(2)]).expect("appended");
        assert_eq!(chunks(&tail.read(&fs, first.path()).expect("two")), [1, 2]);
        first.append(&[request(3)]).expect("appended");
        assert_eq!(chunks(&tail.read(&fs, first.path()).expect("one")), [3]);
        assert_eq!(chunks(&read_records(&fs, first.path()).expect("all")), [1, 2, 3]);
    }

    #[test]
    fn damage_costs_what_it_hit_and_a_torn_tail_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let fs = RealFs::new(Access::Private);
        let id = FileId::random();
        let (mut writer, mut bytes) =
            (FrameWriter::new(id), frame::file_header(Content::Queue, id).to_vec());
        let mut ends = Vec::new();
        for chunk in 1..=3 {
            Record::Request(request(chunk)).write(&mut writer, &mut bytes);
            ends.push(bytes.len());
        }
        for cut in 0..bytes.len() {
            let path = folder.path().join(format!("cut{cut}"));
            fs.publish(&path, &bytes[..cut]).expect("published");
            let mut tail = QueueTail::default();
            let whole = ends.iter().filter(|end| **end <= cut).count();
            assert_eq!(tail.read(&fs, &path).expect("a torn tail is fine").len(), whole);
            assert_eq!(tail.read(&fs, &path).expect("looking again too"), []);
        }
        bytes[ends[0] + 40] ^= 1;
        let path = folder.path().join("damaged");
        fs.publish(&path, &bytes).expect("published");
        let mut tail = QueueTail::default();
        assert_eq!(chunks(&tail.read(&fs, &path).expect("before it")), [1]);
        assert_eq!(tail.read(&fs, &path).expect("perhaps being written"), []);
        assert_eq!(chunks(&tail.read(&fs, &path).expect("behind it")), [3]);
        assert_eq!(chunks(&read_records(&fs, &path).expect("all")), [1, 3]);
    }
}
