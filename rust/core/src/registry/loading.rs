//! Reads a registry's tables: the newest snapshot that counts, then the journals behind it.
//!
//! Epochs form a chain: the first record of each says how far the journal before it counts.
//! What lies beyond is void for everyone, for ever.

use std::collections::BTreeMap;

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
    found.values_mut().for_each(|numbers| numbers.sort_unstable());
    found
}

/// Loads what counts of all epochs below `before`.
pub(super) fn load(fs: &dyn Fs, layout: &Layout, before: u64) -> Result<Loaded> {
    let names = fs.look(layout.root())?;
    let journals = numbered(&names, "journal");
    let snapshots = numbered(&names, "snapshot");
    let Some(newest) = newest_adopted(fs, layout, &journals, before)? else {
        return Ok(Loaded::default());
    };
    // From the newest epoch back to a snapshot or to the beginning.
    let mut chain = vec![(newest, None)];
    let mut start = None;
    loop {
        let (epoch, limit) = chain[chain.len() - 1];
        if let Some(found) = newest_snapshot(fs, layout, &snapshots, epoch, limit) {
            start = Some(found);
            break;
        }
        let adopt = adoption(fs, layout, epoch)?.ok_or_else(|| missing(layout, epoch))?;
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
        replay_epoch(fs, layout, &mut loaded, epoch, limit, from.take())?;
    }
    Ok(loaded)
}

fn missing(layout: &Layout, epoch: u64) -> Error {
    let path = layout.journal(epoch, 0);
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
    let path = layout.journal(epoch, 0);
    let bytes = match fs.read(&path, 0, 4096) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let Ok(id) = frame::read_file_header(&bytes, Content::Owner) else { return Ok(None) };
    let mut reader = FrameReader::new(id, &bytes[FILE_HEADER..], Position::START);
    let first = reader.next_frame().and_then(|frame| Record::read(&frame).ok());
    Ok(match first {
        Some(Record::Adopt(adopt)) => Some(adopt),
        _ => None,
    })
}

/// Replays one epoch from its beginning or from a snapshot's place, up to `limit`.
fn replay_epoch(
    fs: &dyn Fs,
    layout: &Layout,
    loaded: &mut Loaded,
    epoch: u64,
    limit: Option<Place>,
    from: Option<SnapshotHead>,
) -> Result<()> {
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
            return Ok(());
        }
        segment += 1;
        position = Position::START;
    }
}

/// Where the segment before `segment` ends, if `segment` exists.
fn continuation(fs: &dyn Fs, layout: &Layout, epoch: u64, segment: u32) -> Result<Option<u64>> {
    let bytes = match fs.read(&layout.journal(epoch, segment), 0, 4096) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let Ok(id) = frame::read_file_header(&bytes, Content::Owner) else { return Ok(None) };
    let mut reader = FrameReader::new(id, &bytes[FILE_HEADER..], Position::START);
    Ok(match reader.next_frame().and_then(|frame| Record::read(&frame).ok()) {
        Some(Record::Continue(place)) => Some(place.offset),
        _ => None,
    })
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
    let id = frame::read_file_header(&header, Content::Owner).map_err(|fault| match fault {
        HeaderFault::Newer(version) => newer(&path, format!("its format is {version}")),
        other => Error::corrupt(&path, 0, format!("its header is wrong ({other:?})")),
    })?;
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
                return Err(newer(&path, format!("it holds a record of kind {kind}")));
            }
            Err(RecordFault::Malformed) => {
                return Err(Error::corrupt(&path, frame.offset, "a record does not parse"));
            }
        }
    }
    let end = reader.position().offset;
    let good = frame::scan(id, reader.rest(), reader.position()).frames.len();
    if good > 0 || limit.is_some_and(|limit| end < limit) {
        let what = format!("{good} good records follow; batchwright doctor reports what to do");
        return Err(Error::corrupt(&path, end, what));
    }
    Ok(Segment { records, end })
}

fn newer(path: &std::path::Path, what: String) -> Error {
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
) -> Option<(SnapshotHead, Tables, u64)> {
    let numbers = snapshots.get(&epoch)?;
    numbers.iter().rev().find_map(|number| {
        let bytes = fs.tail(&layout.snapshot(epoch, *number), 0).ok()?;
        let (head, tables) = read_snapshot(&bytes)?;
        let counts = head.epoch == epoch && limit.is_none_or(|limit| head.place <= limit);
        counts.then(|| (head, tables, bytes.len() as u64))
    })
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
