//! Compact bytes of whole columns: runs of equal values, and differences of neighbours.

/// Appends an unsigned number in groups of seven bits.
pub(crate) fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Takes a number written by [`put`] off the front of `bytes`.
pub(crate) fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Values as (run length, value) pairs.
pub(crate) fn put_runs(out: &mut Vec<u8>, values: impl IntoIterator<Item = u64>) {
    let mut run: Option<(u64, u64)> = None;
    for value in values {
        match &mut run {
            Some((length, held)) if *held == value => *length += 1,
            _ => {
                if let Some((length, held)) = run.replace((1, value)) {
                    put(out, length);
                    put(out, held);
                }
            }
        }
    }
    if let Some((length, held)) = run {
        put(out, length);
        put(out, held);
    }
}

/// `count` values written by [`put_runs`]. A damaged run length allocates nothing.
pub(crate) fn take_runs(bytes: &mut &[u8], count: usize) -> Option<Vec<u64>> {
    let mut values = Vec::new();
    while values.len() < count {
        let length = usize::try_from(take(bytes)?).ok()?;
        let value = take(bytes)?;
        let end = values.len().checked_add(length).filter(|end| *end <= count && length > 0)?;
        values.resize(end, value);
    }
    Some(values)
}

/// Values as differences from their predecessors.
pub(crate) fn put_differences(out: &mut Vec<u8>, values: impl IntoIterator<Item = i64>) {
    let mut before = 0i64;
    for value in values {
        put(out, zigzag(value.wrapping_sub(before)));
        before = value;
    }
}

/// `count` values written by [`put_differences`].
pub(crate) fn take_differences(bytes: &mut &[u8], count: usize) -> Option<Vec<i64>> {
    if bytes.len() < count {
        return None;
    }
    let mut before = 0i64;
    (0..count)
        .map(|_| {
            before = before.wrapping_add(unzigzag(take(bytes)?));
            Some(before)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_come_back(values in prop::collection::vec(any::<u64>(), 0..50)) {
            let mut bytes = Vec::new();
            for value in &values {
                put(&mut bytes, *value);
            }
            let mut rest = bytes.as_slice();
            for value in values {
                prop_assert_eq!(take(&mut rest), Some(value));
            }
            prop_assert_eq!(take(&mut rest), None);
        }

        #[test]
        fn runs_come_back(values in prop::collection::vec(0u64..3, 0..200)) {
            let mut bytes = Vec::new();
            put_runs(&mut bytes, values.iter().copied());
            let rest = &mut bytes.as_slice();
            prop_assert_eq!(take_runs(rest, values.len()), Some(values));
            prop_assert!(rest.is_empty());
        }

        #[test]
        fn differences_come_back(values in prop::collection::vec(any::<i64>(), 0..200)) {
            let mut bytes = Vec::new();
            put_differences(&mut bytes, values.iter().copied());
            let rest = &mut bytes.as_slice();
            prop_assert_eq!(take_differences(rest, values.len()), Some(values));
            prop_assert!(rest.is_empty());
        }

        /// Any bytes give as many values as were asked for, or none.
        #[test]
        fn hostile_bytes_are_refused(
            bytes in prop::collection::vec(any::<u8>(), 0..80),
            count in 0usize..2000,
        ) {
            for values in [
                take_runs(&mut bytes.as_slice(), count).map(|v| v.len()),
                take_differences(&mut bytes.as_slice(), count).map(|v| v.len()),
            ] {
                prop_assert!(values.is_none_or(|length| length == count));
            }
        }
    }

    #[test]
    fn a_count_that_no_bytes_can_hold_allocates_nothing() {
        assert_eq!(take_differences(&mut [0; 9].as_slice(), usize::MAX), None);
        let mut run = Vec::new();
        put(&mut run, u64::MAX);
        put(&mut run, 1);
        assert_eq!(take_runs(&mut run.as_slice(), 1 << 16), None);
    }
}
