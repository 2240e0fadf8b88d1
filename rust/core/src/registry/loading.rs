//! Reads a registry's tables: the newest snapshot that counts, then the journals behind it.
//!
//! Epochs form a chain: the first record of each says how far the journal before it counts.
//! What lies beyond is void for everyone, for ever.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::frame::{
    self, Content, FILE_HEADER, FileId, FrameReader, FrameWriter, HeaderFault, MUST_UNDERSTAND,
    Position,
};
use crate::fs::Fs;
use crate::journal::{Adopt, Record};
use crate::layout::Layout;
use crate::run::RecordFault;
use crate::tables::Tables;

/// A place in an epoch's journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Place {
    pub segment: u32,
    pub offset: u64,
}

/// Tables and how far they were read.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    pub tables: Tables,
    pub epoch: u64,
    pub place: Place,
    /// Journal bytes that were replayed, and the size of the snapshot before them.
    pub replayed: u64,
    pub snapshot: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct SnapshotHead {
    epoch: u64,
    place: Place,
    seq: u32,
    length: u64,
}

const SNAPSHOT_HEAD: u8 = 100;
const SNAPSHOT_PART: u8 = 101;
const PART: usize = 64 << 20;

/// What one journal segment gives.
struct Segment {
    records: Vec<Record>,
    end: u64,
}

/// Names in the registry's folder, sorted by epoch and number.
fn numbered(names: &[String], kind: &str) -> BTreeMap<u64, Vec<u32>> {
    let mut found: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
    for (epoch, number) in names.iter().filter_map(|name| Layout::parse_numbered(kind, name)) {
        found.entry(epoch).or_default().push(number);
    }
    for numbers in found.values_mut() {
        numbers.sort_unstable();
    }
    found
}

/// Epoch, segment and length of the newest journal file.
pub(super) fn newest_journal(fs: &dyn Fs, layout: &Layout) -> Result<Option<(u64, u32, u64)>> {
    let names = fs.look(layout.root())?;
    let newest = names.iter().filter_map(|name| Layout::parse_numbered("journal", name)).max();
    let Some((epoch, segment)) = newest else { return Ok(None) };
    match fs.length(&layout.journal(epoch, segment)) {
        Ok(length) => Ok(Some((epoch, segment, length))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Loads what counts of all epochs below `before`.
pub(super) fn load(fs: &dyn Fs, layout: &Layout, before: u64) -> Result<Loaded> {
    let look = || {
        let mut names = fs.look(layout.root())?;
        names.sort_unstable();
        Ok(names)
    };
    let mut names: Vec<String> = look()?;
    loop {
        match load_from(fs, layout, before, &names) {
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::Corrupt) => {
                // An owner may have removed what a new snapshot supersedes.
                let again = look()?;
                if again == names {
                    return Err(e);
                }
                names = again;
            }
            other => return other,
        }
    }
}

fn load_from(fs: &dyn Fs, layout: &Layout, before: u64, names: &[String]) -> Result<Loaded> {
    let journals = numbered(names, "journal");
    let snapshots = numbered(names, "snapshot");
    let Some(newest) = newest_adopted(fs, layout, &journals, before)? else {
        return Ok(Loaded::default());
    };
    // From the newest epoch back to a snapshot or to the beginning.
    let mut chain = vec![(newest, None)];
    let mut start = None;
    loop {
        let (epoch, limit) = chain[chain.len() - 1];
        if let Some(found) = newest_snapshot(fs, layout, &snapshots, epoch, limit)? {
            start = Some(found);
            break;
        }
        let adopt = adoption(fs, layout, epoch)?.ok_or_else(|| missing(layout, epoch, 0))?;
        if adopt.epoch == 0 {
            break;
        }
        chain.push((adopt.epoch, Some(Place { segment: adopt.segment, offset: adopt.offset })));
    }
    let mut loaded = Loaded::default();
    let mut from = None;
    if let Some((head, tables, size)) = start {
        loaded.tables = tables;
        loaded.tables.index();
        loaded.snapshot = size;
        from = Some(head);
    }
    for (epoch, limit) in chain.into_iter().rev() {
        let newest = journals.get(&epoch).and_then(|segments| segments.last().copied());
        let place = replay_epoch(fs, layout, &mut loaded, epoch, limit, from.take())?;
        let expected = limit.map_or(newest.map(|s| s.saturating_sub(1)), |l| Some(l.segment));
        // The newest segment may have been about to appear when its writer died.
        if expected.is_some_and(|expected| place.segment < expected) {
            return Err(missing(layout, epoch, place.segment + 1));
        }
    }
    Ok(loaded)
}

fn missing(layout: &Layout, epoch: u64, segment: u32) -> Error {
    let path = layout.journal(epoch, segment);
    Error::corrupt(&path, 0, "it is missing or holds no first record")
}

/// The newest epoch below `before` whose owner wrote its first record.
fn newest_adopted(
    fs: &dyn Fs,
    layout: &Layout,
    journals: &BTreeMap<u64, Vec<u32>>,
    before: u64,
) -> Result<Option<u64>> {
    for epoch in journals.range(..before).map(|(epoch, _)| *epoch).rev() {
        if adoption(fs, layout, epoch)?.is_some() {
            return Ok(Some(epoch));
        }
    }
    Ok(None)
}

fn adoption(fs: &dyn Fs, layout: &Layout, epoch: u64) -> Result<Option<Adopt>> {
    match first_record(fs, layout, epoch, 0)? {
        Some(Record::Adopt(adopt)) => Ok(Some(adopt)),
        Some(_) => Err(no_beginning(layout, epoch, 0)),
        None => Ok(None),
    }
}

/// The first record of a segment; none where the segment is absent or only half made, which
/// happens where names appear before their bytes.
fn first_record(fs: &dyn Fs, layout: &Layout, epoch: u64, segment: u32) -> Result<Option<Record>> {
    let path = layout.journal(epoch, segment);
    let bytes = match fs.read(&path, 0, FIRST) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let id = match frame::read_file_header(&bytes, Content::Owner) {
        Ok(id) => id,
        Err(HeaderFault::Short) => return Ok(None),
        Err(_) if bytes.iter().all(|byte| *byte == 0) => return Ok(None),
        Err(fault) => return Err(bad_header(&path, fault)),
    };
    if let Some(frame) = frame::frame_at(id, &bytes, 0, FILE_HEADER as u64) {
        return match Record::read(&frame) {
            Ok(record) => Ok(Some(record)),
            Err(RecordFault::Newer(kind)) => {
                Err(newer(&path, &format!("it holds a record of kind {kind}")))
            }
            Err(_) => Err(no_beginning(layout, epoch, segment)),
        };
    }
    let whole = fs.tail(&path, FILE_HEADER as u64)?;
    match frame::scan(id, &whole, Position::START).frames.len() {
        0 => Ok(None),
        good => Err(damaged(&path, FILE_HEADER as u64, good)),
    }
}

/// The first record of a segment lies within so many bytes.
const FIRST: usize = 4096;

fn no_beginning(layout: &Layout, epoch: u64, segment: u32) -> Error {
    let path = layout.journal(epoch, segment);
    Error::corrupt(&path, FILE_HEADER as u64, "its first record does not begin a journal")
}

fn damaged(path: &Path, offset: u64, good: usize) -> Error {
    let what = format!("{good} good records follow; batchwright doctor reports what to do");
    Error::corrupt(path, offset, what)
}

fn bad_header(path: &Path, fault: HeaderFault) -> Error {
    match fault {
        HeaderFault::Newer(version) => newer(path, &format!("its format is {version}")),
        other => Error::corrupt(path, 0, format!("its header is wrong ({other:?})")),
    }
}

/// Replays one epoch from its beginning or from a snapshot's place, up to `limit`.
fn replay_epoch(
    fs: &dyn Fs,
    layout: &Layout,
    loaded: &mut Loaded,
    epoch: u64,
    limit: Option<Place>,
    from: Option<SnapshotHead>,
) -> Result<Place> {
    let (mut segment, mut position) = match from {
        Some(head) if head.epoch == epoch => {
            (head.place.segment, Position { offset: head.place.offset, seq: head.seq })
        }
        _ => (0, Position::START),
    };
    loop {
        // How far this segment counts: an adoption says it, or the segment behind it.
        let last = limit.is_some_and(|limit| limit.segment == segment);
        let next = if last { None } else { continuation(fs, layout, epoch, segment + 1)? };
        let end = if last { limit.map(|limit| limit.offset) } else { next };
        let read = read_segment(fs, layout, epoch, segment, position, end)?;
        loaded.replayed += read.end.saturating_sub(position.offset);
        read.records.iter().for_each(|record| loaded.tables.apply(record));
        loaded.epoch = epoch;
        loaded.place = Place { segment, offset: read.end };
        if next.is_none() {
            return Ok(loaded.place);
        }
        segment += 1;
        position = Position::START;
    }
}

/// Where the segment before `segment` ends, if `segment` exists.
fn continuation(fs: &dyn Fs, layout: &Layout, epoch: u64, segment: u32) -> Result<Option<u64>> {
    match first_record(fs, layout, epoch, segment)? {
        Some(Record::Continue(place)) => Ok(Some(place.offset)),
        Some(_) => Err(no_beginning(layout, epoch, segment)),
        None => Ok(None),
    }
}

fn read_segment(
    fs: &dyn Fs,
    layout: &Layout,
    epoch: u64,
    segment: u32,
    position: Position,
    limit: Option<u64>,
) -> Result<Segment> {
    let path = layout.journal(epoch, segment);
    let header = fs.read(&path, 0, FILE_HEADER)?;
    let id = frame::read_file_header(&header, Content::Owner)
        .map_err(|fault| bad_header(&path, fault))?;
    let mut bytes = fs.tail(&path, position.offset)?;
    if let Some(limit) = limit {
        let counted = usize::try_from(limit.saturating_sub(position.offset)).unwrap_or(usize::MAX);
        if bytes.len() < counted {
            let found = position.offset + bytes.len() as u64;
            return Err(Error::corrupt(&path, found, format!("{limit} bytes of it count")));
        }
        bytes.truncate(counted);
    }
    let mut reader = FrameReader::new(id, &bytes, position);
    let mut records = Vec::new();
    while let Some(frame) = reader.next_frame() {
        match Record::read(&frame) {
            Ok(record) => records.push(record),
            Err(RecordFault::Skip) => {}
            Err(RecordFault::Newer(kind)) => {
                return Err(newer(&path, &format!("it holds a record of kind {kind}")));
            }
            Err(RecordFault::Malformed) => {
                return Err(Error::corrupt(&path, frame.offset, "a record does not parse"));
            }
        }
    }
    let end = reader.position().offset;
    let behind = frame::scan(id, reader.rest(), reader.position()).frames;
    // Frames that no sync had covered may arrive in any order: those behind a gap never counted.
    let was_durable = behind.iter().any(|frame| frame.job > end);
    if was_durable || limit.is_some_and(|limit| end < limit) {
        return Err(damaged(&path, end, behind.len()));
    }
    Ok(Segment { records, end })
}

fn newer(path: &Path, what: &str) -> Error {
    let text = format!("`{}` was written by a newer batchwright: {what}", path.display());
    Error::new(ErrorKind::Version, text).at(path).hint("install that version to open it")
}

/// The newest whole snapshot of `epoch` that was taken within what counts of its journal.
fn newest_snapshot(
    fs: &dyn Fs,
    layout: &Layout,
    snapshots: &BTreeMap<u64, Vec<u32>>,
    epoch: u64,
    limit: Option<Place>,
) -> Result<Option<(SnapshotHead, Tables, u64)>> {
    for number in snapshots.get(&epoch).into_iter().flatten().rev() {
        let path = layout.snapshot(epoch, *number);
        let bytes = match fs.tail(&path, 0) {
            Err(e) if e.kind() == ErrorKind::NotFound => continue,
            other => other?,
        };
        if let Err(fault @ HeaderFault::Newer(_)) =
            frame::read_file_header(&bytes, Content::Snapshot)
        {
            return Err(bad_header(&path, fault));
        }
        let Some((head, tables)) = read_snapshot(&bytes) else { continue };
        if head.epoch == epoch && limit.is_none_or(|limit| head.place <= limit) {
            return Ok(Some((head, tables, bytes.len() as u64)));
        }
    }
    Ok(None)
}

fn read_snapshot(bytes: &[u8]) -> Option<(SnapshotHead, Tables)> {
    let id = frame::read_file_header(bytes, Content::Snapshot).ok()?;
    let mut reader = FrameReader::new(id, &bytes[FILE_HEADER..], Position::START);
    let first = reader.next_frame().filter(|frame| frame.kind == SNAPSHOT_HEAD)?;
    let head: SnapshotHead = postcard::from_bytes(first.payload).ok()?;
    let mut packed: Vec<u8> = Vec::new();
    for part in reader.by_ref().filter(|frame| frame.kind == SNAPSHOT_PART) {
        packed.extend_from_slice(part.payload);
    }
    if packed.len() as u64 != head.length || !reader.rest().is_empty() {
        return None;
    }
    Some((head, postcard::from_bytes(&packed).ok()?))
}

/// The bytes of a snapshot of `tables` as of `place`, whose next frame has number `seq`.
pub(super) fn snapshot_bytes(tables: &Tables, epoch: u64, place: Place, seq: u32) -> Vec<u8> {
    let packed = postcard::to_stdvec(tables).expect("tables are plain data");
    let head = SnapshotHead { epoch, place, seq, length: packed.len() as u64 };
    let head = postcard::to_stdvec(&head).expect("a head is plain data");
    let id = FileId::random();
    let mut writer = FrameWriter::new(id);
    let mut bytes = frame::file_header(Content::Snapshot, id).to_vec();
    writer.frame(&mut bytes, SNAPSHOT_HEAD, MUST_UNDERSTAND, 0, &[&head]);
    for part in packed.chunks(PART) {
        writer.frame(&mut bytes, SNAPSHOT_PART, MUST_UNDERSTAND, 0, &[part]);
    }
    bytes
}
