//! Whether the owner of an epoch still lives, by what its journal shows.

use crate::Interrupted;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::frame::{self, Content, FILE_HEADER, Position};
use crate::fs::Fs;
use crate::journal::Record;
use crate::layout::Layout;

use super::ownership::{self, Lease, Owner};

/// Whether an owner's last beat, or its claim where none is found, is older than a lease by the
/// wall clock of this machine. It may have been stopped before its first beat, or behind much that
/// it wrote. Clocks jump: this merely tells whether waiting for silence is worth while.
pub(super) fn is_silent(
    fs: &dyn Fs,
    layout: &Layout,
    clock: &dyn Clock,
    epoch: u64,
    owner: &Owner,
    lease: f64,
) -> bool {
    let Ok(beat) = last_beat(fs, layout, epoch) else { return false };
    let beat = beat.unwrap_or(owner.at);
    clock.now().saturating_sub(beat) as f64 > lease * 1e6
}

/// Number and length of the epoch's newest journal segment.
fn newest_sign(fs: &dyn Fs, layout: &Layout, epoch: u64) -> Result<Option<(u32, u64)>> {
    let names = fs.look(layout.root())?;
    let segments = names.iter().filter_map(|name| Layout::parse_numbered("journal", name));
    let Some(segment) = segments.filter(|(e, _)| *e == epoch).map(|(_, s)| s).max() else {
        return Ok(None);
    };
    Ok(Some((segment, fs.length(&layout.journal(epoch, segment))?)))
}

/// The last beat is looked for within so many bytes.
const SIGN: u64 = 1 << 16;

fn last_beat(fs: &dyn Fs, layout: &Layout, epoch: u64) -> Result<Option<i64>> {
    let Some((segment, length)) = newest_sign(fs, layout, epoch)? else { return Ok(None) };
    let path = layout.journal(epoch, segment);
    let header = fs.read(&path, 0, FILE_HEADER)?;
    let Ok(id) = frame::read_file_header(&header, Content::Owner) else { return Ok(None) };
    let offset = length.saturating_sub(SIGN).max(FILE_HEADER as u64);
    let bytes = fs.tail(&path, offset)?;
    let frames = frame::scan(id, &bytes, Position { offset, seq: 0 }).frames;
    let mut beats = frames.iter().rev().filter_map(|frame| match Record::read(frame) {
        Ok(Record::Beat(at)) => Some(at),
        _ => None,
    });
    Ok(beats.next())
}

/// Looks until the epoch was silent for a lease; an error as soon as it shows a sign of life.
pub(super) fn wait_for_silence(
    fs: &dyn Fs,
    layout: &Layout,
    clock: &dyn Clock,
    epoch: u64,
    owner: &Owner,
    lease: Lease,
    interrupted: Interrupted<'_>,
) -> Result<()> {
    let first = newest_sign(fs, layout, epoch)?;
    let mut since = clock.monotonic();
    let mut looked = since;
    loop {
        clock.sleep(0.05);
        if interrupted() {
            return Err(Error::new(ErrorKind::Interrupted, "interrupted"));
        }
        let now = clock.monotonic();
        if now - looked < lease.beat / 3.0 {
            continue;
        }
        // A failed look is no evidence.
        let Ok(sign) = newest_sign(fs, layout, epoch) else { continue };
        let Ok((highest, released)) = ownership::highest(fs, layout) else { continue };
        if highest != epoch || (sign != first && !released) {
            return Err(ownership::locked(owner));
        }
        if released {
            return Ok(());
        }
        // Nor is a gap between looks.
        if now - looked > 2.0 * lease.beat {
            since = now;
        }
        looked = now;
        // Silent from the first look to this one, whenever the next would be.
        if now - since >= lease.lease {
            return Ok(());
        }
    }
}
