//! What identifies a row of a design: 128 bits of BLAKE3 over a name and the parameters by name,
//! in an encoding in which equal values are equal bytes.
//!
//! Numbers go by value (1 is 1.0, -0.0 is 0.0, NaN is NaN); True is no number, None is not NaN.
//! Python writes the same encoding for values that only it can read (`batchwright/keys.py`).

use crate::pickle::Plain;

/// Ends the name of the column that holds the keys of a pickled column's values.
pub const KEY_SUFFIX: &str = "\x1fkey";

/// The key of one encoded value.
pub fn of_bytes(bytes: &[u8]) -> [u8; 16] {
    let mut key = [0; 16];
    key.copy_from_slice(&blake3::hash(bytes).as_bytes()[..16]);
    key
}

/// The key of a plain value.
pub(crate) fn of_value(value: &Plain<'_>) -> [u8; 16] {
    let mut bytes = Vec::with_capacity(32);
    put(&mut bytes, value);
    of_bytes(&bytes)
}

fn put(out: &mut Vec<u8>, value: &Plain<'_>) {
    match value {
        Plain::None => out.push(b'N'),
        Plain::Bool(value) => out.extend_from_slice(&[b'B', u8::from(*value)]),
        Plain::Int(value) => put_int(out, *value),
        Plain::Float(value) => put_float(out, *value),
        Plain::Text(text) => put_sized(out, b'S', text.as_bytes()),
        Plain::Bytes(bytes) => put_sized(out, b'Y', bytes),
        Plain::Date(days) => put_number(out, b'D', i64::from(*days)),
        Plain::DateTime(micros) => put_number(out, b'T', *micros),
        Plain::TimeDelta(micros) => put_number(out, b'U', *micros),
        Plain::List(values) => put_all(out, b'L', values),
        Plain::Tuple(values) => put_all(out, b'(', values),
    }
}

fn put_number(out: &mut Vec<u8>, tag: u8, value: i64) {
    out.push(tag);
    out.extend_from_slice(&value.to_le_bytes());
}

fn put_int(out: &mut Vec<u8>, value: i64) {
    put_number(out, b'I', value);
}

/// Whole numbers as the integers they equal.
fn put_float(out: &mut Vec<u8>, value: f64) {
    const TOO_LARGE: f64 = 9_223_372_036_854_775_808.0;
    let is_whole = value.fract().abs().to_bits() == 0;
    if is_whole && (-TOO_LARGE..TOO_LARGE).contains(&value) {
        return put_int(out, value as i64);
    }
    let bits = if value.is_nan() { f64::NAN.to_bits() & !(1 << 63) } else { value.to_bits() };
    out.push(b'F');
    out.extend_from_slice(&bits.to_le_bytes());
}

fn put_sized(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn put_all(out: &mut Vec<u8>, tag: u8, values: &[Plain<'_>]) {
    out.push(tag);
    out.extend_from_slice(&(values.len() as u64).to_le_bytes());
    for value in values {
        put(out, value);
    }
}

/// The key of a row: its parameters sorted by name, each with the key of its value.
pub(crate) fn of_row<'a>(
    name: &str,
    parameters: impl Iterator<Item = (&'a str, [u8; 16])>,
) -> u128 {
    let mut bytes = Vec::with_capacity(64);
    put_sized(&mut bytes, b'R', name.as_bytes());
    for (name, key) in parameters {
        put_sized(&mut bytes, b'=', name.as_bytes());
        bytes.extend_from_slice(&key);
    }
    u128::from_le_bytes(of_bytes(&bytes))
}
