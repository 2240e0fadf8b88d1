//! Frames: a torn tail costs nothing that was whole, damage costs what it hit, and no bytes pass
//! for a frame that nobody wrote.
#![allow(clippy::print_stdout, reason = "figures of what was tried")]

#[path = "sim/mod.rs"]
mod sim;
#[path = "sim/reg.rs"]
mod simreg;

use std::path::PathBuf;
use std::sync::Arc;

use batchwright_core::error::ErrorKind;
use batchwright_core::frame::{
    self, Content, FILE_HEADER, FileId, Frame, FrameReader, FrameWriter, Position,
};
use batchwright_core::ids::IdSet;
use batchwright_core::journal::Record;
use sim::{Random, SimClock, SimFs, rounds};
use simreg::{create, watch};

const FRAMES: usize = 200;

/// What can happen to bytes.
#[derive(Clone, Copy, Debug)]
enum Harm {
    Cut,
    ZeroByte,
    ZeroRest,
    ZeroSector,
    Flip,
}

impl Harm {
    const ALL: [Self; 5] =
        [Self::Cut, Self::ZeroByte, Self::ZeroRest, Self::ZeroSector, Self::Flip];

    /// The harmed bytes and the first and last place that changed; none if nothing did.
    fn done(self, bytes: &[u8], at: usize) -> Option<(Vec<u8>, usize, usize)> {
        let mut harmed = bytes.to_vec();
        let end = match self {
            Self::Cut => {
                harmed.truncate(at);
                return Some((harmed, at, bytes.len() - 1));
            }
            Self::Flip => {
                harmed[at] ^= 1 << (at % 8);
                at + 1
            }
            Self::ZeroByte => at + 1,
            Self::ZeroRest => bytes.len(),
            Self::ZeroSector if at.is_multiple_of(512) => bytes.len().min(at + 512),
            Self::ZeroSector => return None,
        };
        if !matches!(self, Self::Flip) {
            harmed[at..end].fill(0);
        }
        let first = (at..end).find(|i| harmed[*i] != bytes[*i])?;
        let last = (at..end).rfind(|i| harmed[*i] != bytes[*i])?;
        Some((harmed, first, last))
    }
}

fn run_file() -> (FileId, Vec<u8>) {
    let id = FileId::random();
    let mut bytes = frame::file_header(Content::Run, id).to_vec();
    let mut writer = FrameWriter::new(id);
    let mut random = Random(7);
    for job in 0..FRAMES as u64 {
        let payload: Vec<u8> = (0..random.below(40)).map(|_| random.next() as u8).collect();
        writer.frame(&mut bytes, 4, 0, job, &[&payload]);
    }
    (id, bytes)
}

/// A run journal: every whole frame is found over any damage, which is reported, and nothing
/// else is.
#[test]
fn tail_every_byte_of_a_run_file() {
    let (id, bytes) = run_file();
    let body = |bytes: &[u8]| bytes.get(FILE_HEADER..).unwrap_or_default().to_vec();
    let clean = body(&bytes);
    let whole = frame::scan(id, &clean, Position::START);
    assert_eq!((whole.frames.len(), whole.damage.len()), (FRAMES, 0));
    let (mut positions, mut false_frames, mut missed, mut unreported) = (0u64, 0u64, 0u64, 0u64);
    for at in FILE_HEADER..bytes.len() {
        for harm in Harm::ALL {
            let Some((harmed, first, last)) = harm.done(&bytes, at) else { continue };
            positions += 1;
            let harmed = body(&harmed);
            let found = frame::scan(id, &harmed, Position::START);
            let is_hit = |f: &&Frame<'_>| f.offset <= last as u64 && f.end() > first as u64;
            let good: Vec<&Frame<'_>> = whole.frames.iter().filter(|f| !is_hit(f)).collect();
            let same = found
                .frames
                .iter()
                .filter(|f| {
                    good.binary_search_by_key(&f.offset, |g| g.offset).is_ok_and(|i| good[i] == *f)
                })
                .count();
            false_frames += (found.frames.len() - same) as u64;
            missed += (good.len() - same) as u64;
            let behind = good.iter().any(|f| f.offset > last as u64);
            unreported += u64::from(behind == found.damage.is_empty());
        }
    }
    println!(
        "positions {positions}; false frames {false_frames}; good frames missed {missed}; \
         damage told wrong {unreported}"
    );
    assert!(positions > 3 * bytes.len() as u64);
    assert_eq!((false_frames, missed, unreported), (0, 0, 0));
}

struct Owned {
    fs: SimFs,
    clock: Arc<SimClock>,
    root: PathBuf,
    journal: PathBuf,
    bytes: Vec<u8>,
    /// Ends of the frames, the first of which adopts.
    ends: Vec<usize>,
}

/// An owner's journal of 200 settings, each synced.
fn owner_file() -> Owned {
    let (fs, clock, root) = (SimFs::default(), SimClock::new(), simreg::root());
    let registry = create(&fs, &clock, &root).expect("made");
    for number in 1..FRAMES {
        registry.assign(&format!("{number}"), Some("v")).expect("written");
    }
    let journal = registry.layout().journal(1, 0);
    drop(registry);
    let bytes = fs.bytes(&journal);
    let id = frame::read_file_header(&bytes, Content::Owner).expect("a journal");
    let frames = FrameReader::new(id, &bytes[FILE_HEADER..], Position::START);
    let ends: Vec<usize> = frames.map(|f| usize::try_from(f.end()).expect("small")).collect();
    assert_eq!(ends.len(), FRAMES);
    Owned { fs, clock, root, journal, bytes, ends }
}

/// An owner's journal: a cut gives fewer records; damage with durable records behind it is told
/// with the file, the place and their number; no record is made up and none silently missed.
#[test]
fn tail_every_byte_of_an_owner_file() {
    let Owned { fs, clock, root, journal, bytes, ends } = owner_file();
    let soak = std::env::var("BATCHWRIGHT_SOAK").is_ok();
    let (mut positions, mut torn, mut refused, mut wrong) = (0u64, 0u64, 0u64, 0u64);
    for at in 0..bytes.len() {
        for harm in Harm::ALL {
            // Whatever zeroes a byte flips some of its bits too.
            let is_rare = matches!(harm, Harm::ZeroByte | Harm::ZeroRest);
            if !soak && is_rare && at % 16 != 0 {
                continue;
            }
            let Some((harmed, first, last)) = harm.done(&bytes, at) else { continue };
            positions += 1;
            fs.replace(&journal, harmed);
            let before = ends.iter().take_while(|end| **end <= first).count();
            let behind = ends.iter().filter(|end| **end > last + 1).count();
            // The frame that the last place lies in is hit too.
            let start_behind = ends.iter().filter(|end| **end <= last).count() + 1;
            let behind = behind.min(FRAMES.saturating_sub(start_behind));
            let is_fine = match watch(&fs, &clock, &root) {
                Ok(registry) => {
                    torn += 1;
                    let settings = registry.read(|t| t.settings.len());
                    behind == 0 && settings == before.saturating_sub(1)
                }
                Err(error) => {
                    refused += 1;
                    let (text, head) = (error.to_string(), first < FILE_HEADER);
                    let place = if head || before == 0 { FILE_HEADER } else { ends[before - 1] };
                    let place = if head { 0 } else { place };
                    let tells = text.contains(&format!("at byte {place}:"))
                        && (head || text.contains(&format!("{behind} good records")));
                    error.kind() == ErrorKind::Corrupt
                        && error.path() == Some(journal.as_path())
                        && (tells || before == 0)
                        && (behind > 0 || head)
                }
            };
            if !is_fine {
                wrong += 1;
                if wrong < 10 {
                    println!("{harm:?} at {at}: {before} before, {behind} behind");
                }
            }
        }
    }
    println!("positions {positions}; torn {torn}; refused {refused}; wrong {wrong}");
    assert!(torn > 0 && refused > 0);
    assert_eq!(wrong, 0);
}

/// Bytes of one file never pass for frames of another, wherever they lie.
#[test]
fn frames_of_another_file_are_none() {
    let (id, bytes) = run_file();
    let other = FileId::random();
    assert_eq!(frame::scan(other, &bytes[FILE_HEADER..], Position::START).frames, []);
    // Nor do frames of this file that an end record carries as its result.
    let mut outer = frame::file_header(Content::Run, id).to_vec();
    let mut writer = FrameWriter::new(id);
    writer.frame(&mut outer, 4, 0, 1, &[b"first"]);
    let copy = outer[FILE_HEADER..].to_vec();
    let start = outer.len();
    writer.frame(&mut outer, 4, 0, 2, &[&copy]);
    writer.frame(&mut outer, 4, 0, 3, &[b"last"]);
    outer[start + 8] ^= 1;
    let jobs: Vec<u64> = frame::scan(id, &outer[FILE_HEADER..], Position::START)
        .frames
        .iter()
        .map(|frame| frame.job)
        .collect();
    assert_eq!(jobs, [1, 3]);
}

/// Any bytes at all: no panic, and no frame that does not lie in them.
#[test]
fn hostile_bytes_make_no_frames() {
    let (id, bytes) = run_file();
    let mut tried = 0;
    for round in rounds(300) {
        let mut random = Random(round);
        let mut hostile = bytes.clone();
        for _ in 0..=random.below(30) {
            let at = FILE_HEADER + random.below(hostile.len() - FILE_HEADER);
            match random.below(3) {
                0 => hostile[at] = random.next() as u8,
                1 => hostile.truncate(at.max(FILE_HEADER + 1)),
                _ => {
                    let from = FILE_HEADER + random.below(hostile.len() - FILE_HEADER);
                    let piece: Vec<u8> = hostile[from..].iter().take(200).copied().collect();
                    hostile.splice(at..at, piece);
                }
            }
        }
        let found = frame::scan(id, &hostile[FILE_HEADER..], Position::START);
        assert!(found.frames.is_sorted_by(|a, b| a.seq < b.seq && a.end() <= b.offset));
        assert!(found.end <= hostile.len() as u64);
        tried += 1;
    }
    println!("executions {tried}; panics 0");
}

#[test]
fn records_of_one_verb_are_one_frame_and_hold_no_such_frame() {
    let tagged = |tag: &str| Record::Tagged { tag: tag.into(), ids: IdSet::range(1, 3) };
    let two = Record::of_verb(&[tagged("t"), tagged("u")]);
    let Record::Together(together) = &two else { panic!("two records are one") };
    assert_eq!(together.records().collect::<Vec<_>>(), [tagged("t"), tagged("u")]);
    assert_eq!(Record::of_verb(&[tagged("t")]), tagged("t"));
    let id = FileId::random();
    let mut bytes = Vec::new();
    let mut writer = FrameWriter::new(id);
    two.write(&mut writer, 0, &mut bytes);
    Record::of_verb(&[two.clone(), tagged("v")]).write(&mut writer, 0, &mut bytes);
    let frames: Vec<_> = FrameReader::new(id, &bytes, Position::START).collect();
    let read: Vec<_> = frames.iter().map(|frame| Record::read(frame).ok()).collect();
    assert_eq!(read, [Some(two), None]);
}
