//! A checksum inside a file that others may read, too: JSON, and Arrow files of parameters.
//!
//! It is text in a place that the file's format leaves to us, `crc32c=` and eight digits, over all
//! bytes of the file with zeros for the digits. So whoever knows nothing of it reads the file.

use crate::frame::FileId;

/// The name under which formats keep it.
pub const KEY: &str = "seal";
const MARK: &[u8] = b"crc32c=";
const DIGITS: usize = 8;
/// Other texts of a file may look like a seal, but hardly so many behind it.
const TRIED: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seal {
    Whole,
    Broken,
    /// Of an earlier version, or damaged in just that place.
    Missing,
}

/// What stands where the seal will be: drawn, so that no other text of the file is taken for it.
#[derive(Debug)]
pub struct Blank(String);

impl Blank {
    pub fn draw() -> Self {
        let [a, b, c, d, ..] = FileId::random().0;
        Self(format!("crc32c={:08x}", u32::from_le_bytes([a, b, c, d])))
    }

    pub fn text(&self) -> &str {
        &self.0
    }

    /// Puts the checksum in its place.
    pub fn fill(&self, bytes: &mut [u8]) {
        let blank = self.0.as_bytes();
        let Some(at) = bytes.windows(blank.len()).rposition(|window| window == blank) else {
            return;
        };
        let at = at + MARK.len();
        let digits = digits(bytes, at);
        bytes[at..at + DIGITS].copy_from_slice(digits.as_bytes());
    }
}

pub fn check(bytes: &[u8]) -> Seal {
    let mut found = Seal::Missing;
    let mut before = bytes;
    for _ in 0..TRIED {
        let Some(at) = before.windows(MARK.len()).rposition(|window| window == MARK) else { break };
        before = &bytes[..at + MARK.len() - 1];
        let at = at + MARK.len();
        let Some(said) = bytes.get(at..at + DIGITS) else { continue };
        if said == digits(bytes, at).as_bytes() {
            return Seal::Whole;
        }
        found = Seal::Broken;
    }
    found
}

/// A value as JSON with a seal.
pub fn json(value: &impl serde::Serialize) -> serde_json::Result<Vec<u8>> {
    let blank = Blank::draw();
    let mut fields = serde_json::to_value(value)?;
    if let Some(fields) = fields.as_object_mut() {
        fields.insert(KEY.to_owned(), blank.text().into());
    }
    let mut bytes = serde_json::to_vec_pretty(&fields)?;
    blank.fill(&mut bytes);
    Ok(bytes)
}

/// The checksum of a file, with zeros for the digits at a place.
fn digits(bytes: &[u8], at: usize) -> String {
    let crc = crc32c::crc32c(&bytes[..at]);
    let crc = crc32c::crc32c_append(crc, &[b'0'; DIGITS]);
    format!("{:08x}", crc32c::crc32c_append(crc, &bytes[at + DIGITS..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_shows() {
        let lookalike = "crc32c=12345678";
        let whole = json(&serde_json::json!({"a": lookalike, "z": lookalike})).expect("plain");
        assert_eq!(String::from_utf8_lossy(&whole).matches(lookalike).count(), 2);
        assert_eq!(check(&whole), Seal::Whole);
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(check(&flipped), Seal::Whole, "bit {bit}");
        }
    }

    #[test]
    fn files_without_one_are_told_from_broken_ones() {
        assert_eq!(check(b"{}"), Seal::Missing);
        assert_eq!(check(b"crc32c=0"), Seal::Missing);
        assert_eq!(check(b"crc32c=00000000"), Seal::Broken);
    }
}
