//! Writes plain values as Python pickles (protocol 5), so that a node needs nothing but the
//! standard library to read its parameters.
//!
//! Source of the format: `CPython`'s `pickletools`.

/// What a parameter can be without Python's help.
#[derive(Clone, Debug, PartialEq)]
pub enum Plain<'a> {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(&'a str),
    Bytes(&'a [u8]),
    /// Days since 1970-01-01.
    Date(i32),
    /// Microseconds since 1970-01-01, without a zone.
    DateTime(i64),
    /// Microseconds.
    TimeDelta(i64),
    List(Vec<Plain<'a>>),
    /// No parameter is one: rows of experiments are.
    Tuple(Vec<Plain<'a>>),
}

/// A date that Python's `datetime` cannot hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfRange(pub i64);

pub const START: [u8; 2] = [0x80, 5];
pub const STOP: u8 = b'.';
const MARK: u8 = b'(';

/// A tuple of `values`, as a whole pickle.
pub fn tuple<'a>(values: impl Iterator<Item = Plain<'a>>) -> Result<Vec<u8>, OutOfRange> {
    let mut out = Vec::with_capacity(64);
    out.extend_from_slice(&START);
    put(&mut out, &Plain::Tuple(values.collect()))?;
    out.push(STOP);
    Ok(out)
}

fn put(out: &mut Vec<u8>, value: &Plain<'_>) -> Result<(), OutOfRange> {
    match value {
        Plain::None => out.push(b'N'),
        Plain::Bool(true) => out.push(0x88),
        Plain::Bool(false) => out.push(0x89),
        Plain::Int(value) => put_int(out, *value),
        Plain::Float(value) => {
            out.push(b'G');
            out.extend_from_slice(&value.to_be_bytes());
        }
        Plain::Text(text) => put_sized(out, text.as_bytes(), [0x8c, b'X', 0x8d]),
        Plain::Bytes(bytes) => put_sized(out, bytes, [b'C', b'B', 0x8e]),
        Plain::Date(days) => put_date(out, i64::from(*days))?,
        Plain::DateTime(micros) => put_datetime(out, *micros)?,
        Plain::TimeDelta(micros) => put_timedelta(out, *micros),
        Plain::List(values) => {
            out.extend_from_slice(b"](");
            values.iter().try_for_each(|value| put(out, value))?;
            out.push(b'e');
        }
        Plain::Tuple(values) if values.is_empty() => out.push(b')'),
        Plain::Tuple(values) => {
            out.push(MARK);
            values.iter().try_for_each(|value| put(out, value))?;
            out.push(b't');
        }
    }
    Ok(())
}

fn put_int(out: &mut Vec<u8>, value: i64) {
    if let Ok(small) = u8::try_from(value) {
        out.extend_from_slice(&[b'K', small]);
    } else if let Ok(small) = u16::try_from(value) {
        out.push(b'M');
        out.extend_from_slice(&small.to_le_bytes());
    } else if let Ok(small) = i32::try_from(value) {
        out.push(b'J');
        out.extend_from_slice(&small.to_le_bytes());
    } else {
        // LONG1 takes two's complement of any length.
        out.extend_from_slice(&[0x8a, 8]);
        out.extend_from_slice(&value.to_le_bytes());
    }
}

/// `opcodes` for lengths of one, four and eight bytes.
fn put_sized(out: &mut Vec<u8>, bytes: &[u8], opcodes: [u8; 3]) {
    if let Ok(length) = u8::try_from(bytes.len()) {
        out.extend_from_slice(&[opcodes[0], length]);
    } else if let Ok(length) = u32::try_from(bytes.len()) {
        out.push(opcodes[1]);
        out.extend_from_slice(&length.to_le_bytes());
    } else {
        out.push(opcodes[2]);
        out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    }
    out.extend_from_slice(bytes);
}

fn put_class(out: &mut Vec<u8>, name: &str) {
    put_sized(out, b"datetime", [0x8c, b'X', 0x8d]);
    put_sized(out, name.as_bytes(), [0x8c, b'X', 0x8d]);
    out.push(0x93);
}

/// Calls the class with one bytes argument, as its own pickles do.
fn put_state(out: &mut Vec<u8>, class: &str, state: &[u8]) {
    put_class(out, class);
    put_sized(out, state, [b'C', b'B', 0x8e]);
    out.extend_from_slice(&[0x85, b'R']);
}

fn put_date(out: &mut Vec<u8>, days: i64) -> Result<(), OutOfRange> {
    let (year, month, day) = civil(days)?;
    put_state(out, "date", &[(year >> 8) as u8, year as u8, month, day]);
    Ok(())
}

const DAY: i64 = 86_400_000_000;

fn put_datetime(out: &mut Vec<u8>, micros: i64) -> Result<(), OutOfRange> {
    let (year, month, day) = civil(micros.div_euclid(DAY))?;
    let time = micros.rem_euclid(DAY);
    let (seconds, micro) = (time / 1_000_000, time % 1_000_000);
    let state = [
        (year >> 8) as u8,
        year as u8,
        month,
        day,
        (seconds / 3600) as u8,
        (seconds / 60 % 60) as u8,
        (seconds % 60) as u8,
        (micro >> 16) as u8,
        (micro >> 8) as u8,
        micro as u8,
    ];
    put_state(out, "datetime", &state);
    Ok(())
}

fn put_timedelta(out: &mut Vec<u8>, micros: i64) {
    let (days, rest) = (micros.div_euclid(DAY), micros.rem_euclid(DAY));
    put_class(out, "timedelta");
    put_int(out, days);
    put_int(out, rest / 1_000_000);
    put_int(out, rest % 1_000_000);
    out.extend_from_slice(&[0x87, b'R']);
}

/// Year, month and day of a day number, for the years 1 to 9999. The algorithm is Howard
/// Hinnant's `civil_from_days`.
fn civil(days: i64) -> Result<(u16, u8, u8), OutOfRange> {
    let shifted = days.checked_add(719_468).ok_or(OutOfRange(days))?;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    if !(1..=9999).contains(&year) {
        return Err(OutOfRange(days));
    }
    Ok((year as u16, month as u8, day as u8))
}
