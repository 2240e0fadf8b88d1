//! Bytes of a framed file: a header with a random id, then frames whose checksums are salted
//! with that id, so that bytes of another file never pass for a frame of this one.
//!
//! ```text
//! file   magic 8 | version u32 | content u32 | id 16 | crc32c u32
//! frame  magic u32 | length u32 | kind u8 | flags u8 | 0 u16 | seq u32 | job u64 | crc32c u32
//!        payload | crc32c u32
//! ```
//! All numbers are little-endian. A frame that is short or wrong ends what can be read for now;
//! [`Scan`] tells a torn tail from damage between good frames.

use crate::fs::fill_random;

pub const FILE_MAGIC: [u8; 8] = *b"\x89BWF\r\n\x1a\n";
pub const VERSION: u32 = 1;
pub const FILE_HEADER: usize = 36;
pub const FRAME_HEADER: usize = 28;
pub const FRAME_TRAILER: usize = 4;
const FRAME_MAGIC: u32 = 0x5AFE_B17D;
/// Longer payloads are split by their writers.
pub const MAX_PAYLOAD: usize = 1 << 30;
/// A reader that does not know the kind of a frame with this flag must stop.
pub const MUST_UNDERSTAND: u8 = 1;

/// What a framed file holds, so that one is never read as another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Content {
    Owner = 1,
    Run = 2,
    Collection = 3,
    Queue = 4,
    Snapshot = 5,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderFault {
    /// Fewer bytes than a header: being written.
    Short,
    NotOurs,
    Newer(u32),
    OtherContent(u32),
    Damaged,
}

/// The salt of one file's checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId(pub [u8; 16]);

impl FileId {
    pub fn random() -> Self {
        let mut id = [0; 16];
        fill_random(&mut id);
        Self(id)
    }

    fn checksum(self, bytes: &[u8]) -> u32 {
        crc32c::crc32c_append(crc32c::crc32c(&self.0), bytes)
    }
}

pub fn file_header(content: Content, id: FileId) -> [u8; FILE_HEADER] {
    let mut header = [0; FILE_HEADER];
    header[..8].copy_from_slice(&FILE_MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    header[12..16].copy_from_slice(&(content as u32).to_le_bytes());
    header[16..32].copy_from_slice(&id.0);
    let crc = crc32c::crc32c(&header[..32]);
    header[32..].copy_from_slice(&crc.to_le_bytes());
    header
}

pub fn read_file_header(bytes: &[u8], content: Content) -> Result<FileId, HeaderFault> {
    let header = bytes.get(..FILE_HEADER).ok_or(HeaderFault::Short)?;
    if header[..8] != FILE_MAGIC {
        return Err(HeaderFault::NotOurs);
    }
    if u32_at(header, 32) != crc32c::crc32c(&header[..32]) {
        return Err(HeaderFault::Damaged);
    }
    match u32_at(header, 8) {
        VERSION => {}
        newer => return Err(HeaderFault::Newer(newer)),
    }
    match u32_at(header, 12) {
        found if found == content as u32 => {}
        other => return Err(HeaderFault::OtherContent(other)),
    }
    let mut id = [0; 16];
    id.copy_from_slice(&header[16..32]);
    Ok(FileId(id))
}

/// Appends frames to a buffer, counting their sequence numbers.
#[derive(Clone, Copy, Debug)]
pub struct FrameWriter {
    id: FileId,
    seq: u32,
}

impl FrameWriter {
    pub fn new(id: FileId) -> Self {
        Self { id, seq: 0 }
    }

    /// The frames of a file with other content begin where this writer's file ended.
    pub fn resume(id: FileId, seq: u32) -> Self {
        Self { id, seq }
    }

    pub fn seq(&self) -> u32 {
        self.seq
    }

    pub fn id(&self) -> FileId {
        self.id
    }

    /// Writes one frame whose payload is the concatenation of `parts`.
    pub fn frame(&mut self, out: &mut Vec<u8>, kind: u8, flags: u8, job: u64, parts: &[&[u8]]) {
        let length: usize = parts.iter().map(|p| p.len()).sum();
        assert!(length <= MAX_PAYLOAD, "payloads are split before they are framed");
        let start = out.len();
        out.reserve(FRAME_HEADER + length + FRAME_TRAILER);
        out.extend_from_slice(&FRAME_MAGIC.to_le_bytes());
        out.extend_from_slice(&(length as u32).to_le_bytes());
        out.extend_from_slice(&[kind, flags, 0, 0]);
        out.extend_from_slice(&self.seq.to_le_bytes());
        out.extend_from_slice(&job.to_le_bytes());
        let crc = self.id.checksum(&out[start..]);
        out.extend_from_slice(&crc.to_le_bytes());
        let payload = out.len();
        for part in parts {
            out.extend_from_slice(part);
        }
        let crc = self.id.checksum(&out[payload..]);
        out.extend_from_slice(&crc.to_le_bytes());
        self.seq += 1;
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    pub kind: u8,
    pub flags: u8,
    pub seq: u32,
    pub job: u64,
    pub payload: &'a [u8],
    /// Where the frame begins in its file.
    pub offset: u64,
}

impl Frame<'_> {
    pub fn end(&self) -> u64 {
        self.offset + (FRAME_HEADER + self.payload.len() + FRAME_TRAILER) as u64
    }

    pub fn must_understand(&self) -> bool {
        self.flags & MUST_UNDERSTAND != 0
    }
}

/// Where a reader of one file stands; enough to go on later from the bytes that follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    pub offset: u64,
    /// The sequence number of the next frame.
    pub seq: u32,
}

impl Position {
    pub const START: Self = Self { offset: FILE_HEADER as u64, seq: 0 };
}

/// Reads frames forward from `bytes`, which begin at `position.offset` of the file.
#[derive(Debug)]
pub struct FrameReader<'a> {
    id: FileId,
    bytes: &'a [u8],
    base: u64,
    position: Position,
}

impl<'a> FrameReader<'a> {
    pub fn new(id: FileId, bytes: &'a [u8], position: Position) -> Self {
        Self { id, bytes, base: position.offset, position }
    }

    /// Behind the last good frame.
    pub fn position(&self) -> Position {
        self.position
    }

    fn here(&self) -> usize {
        usize::try_from(self.position.offset - self.base).unwrap_or(usize::MAX)
    }

    /// The next frame if it is whole; `None` where it is short or wrong.
    pub fn next_frame(&mut self) -> Option<Frame<'a>> {
        let frame = parse(self.id, self.bytes, self.here(), self.base)?;
        if frame.seq != self.position.seq {
            return None;
        }
        self.position = Position { offset: frame.end(), seq: frame.seq + 1 };
        Some(frame)
    }

    /// Bytes that no frame was made of.
    pub fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.here()..).unwrap_or_default()
    }

    /// Goes on behind damage: to the next frame that is whole, whose sequence number is not yet
    /// used. Returns the frame; `None` leaves the position where it was.
    pub fn skip_damage(&mut self) -> Option<Frame<'a>> {
        let magic = FRAME_MAGIC.to_le_bytes();
        let mut at = self.here() + 1;
        while let Some(rest) = self.bytes.get(at..) {
            at += find(rest, magic)?;
            match parse(self.id, self.bytes, at, self.base) {
                Some(frame) if frame.seq >= self.position.seq => {
                    self.position = Position { offset: frame.end(), seq: frame.seq + 1 };
                    return Some(frame);
                }
                _ => at += 1,
            }
        }
        None
    }
}

impl<'a> Iterator for FrameReader<'a> {
    type Item = Frame<'a>;

    fn next(&mut self) -> Option<Frame<'a>> {
        self.next_frame()
    }
}

/// The frame that begins at `offset` of its file, if it lies whole in `bytes`, which begin at
/// `base`.
pub fn frame_at(id: FileId, bytes: &[u8], base: u64, offset: u64) -> Option<Frame<'_>> {
    parse(id, bytes, usize::try_from(offset.checked_sub(base)?).ok()?, base)
}

/// How long the frame that `header` begins is in all, by its own unchecked word.
pub fn frame_length(header: &[u8]) -> Option<usize> {
    let header = header.get(..FRAME_HEADER)?;
    Some(FRAME_HEADER + u32_at(header, 4) as usize + FRAME_TRAILER)
}

fn find(haystack: &[u8], needle: [u8; 4]) -> Option<usize> {
    haystack.windows(4).position(|window| window == needle)
}

fn parse(id: FileId, bytes: &[u8], at: usize, base: u64) -> Option<Frame<'_>> {
    let header = bytes.get(at..at + FRAME_HEADER)?;
    if u32_at(header, 0) != FRAME_MAGIC || u32_at(header, 24) != id.checksum(&header[..24]) {
        return None;
    }
    let length = u32_at(header, 4) as usize;
    let payload = at + FRAME_HEADER;
    let payload = bytes.get(payload..payload.checked_add(length)?)?;
    let trailer = bytes.get(at + FRAME_HEADER + length..)?.get(..FRAME_TRAILER)?;
    if u32_at(trailer, 0) != id.checksum(payload) {
        return None;
    }
    let mut job = [0; 8];
    job.copy_from_slice(&header[16..24]);
    Some(Frame {
        kind: header[8],
        flags: header[9],
        seq: u32_at(header, 12),
        job: u64::from_le_bytes(job),
        payload,
        offset: base + at as u64,
    })
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut four = [0; 4];
    four.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(four)
}

/// All good frames of a whole file, and the stretches between them that hold none.
#[derive(Debug, Default)]
pub struct Scan<'a> {
    pub frames: Vec<Frame<'a>>,
    /// Damage with good frames behind it: (offset, length).
    pub damage: Vec<(u64, u64)>,
    /// Behind the last good frame.
    pub end: u64,
}

/// Scans the frames in `bytes`, which begin at `position.offset`, over any damage.
pub fn scan(id: FileId, bytes: &[u8], position: Position) -> Scan<'_> {
    let mut reader = FrameReader::new(id, bytes, position);
    let mut found = Scan { end: position.offset, ..Scan::default() };
    loop {
        let stopped = reader.position().offset;
        let frame = match reader.next_frame() {
            Some(frame) => frame,
            None => match reader.skip_damage() {
                Some(frame) => {
                    if frame.offset > stopped {
                        found.damage.push((stopped, frame.offset - stopped));
                    }
                    frame
                }
                None => return found,
            },
        };
        found.end = frame.end();
        found.frames.push(frame);
    }
}
