//! A column of the job table: pieces of 65,536 rows, each one value for all or an array.
//!
//! A piece is shared with whoever copied the column and is copied itself when next written.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ids::IdSet;
use crate::pack;

pub const PIECE: usize = 1 << 16;

/// What a column can hold, and how it is packed.
pub trait Value: Copy + PartialEq {
    /// Packed as differences (times, offsets) or as runs (codes, indices).
    const DIFFERENCES: bool;
    fn to_u64(self) -> u64;
    fn from_u64(value: u64) -> Self;
}

macro_rules! value {
    ($type:ty, $differences:expr) => {
        impl Value for $type {
            const DIFFERENCES: bool = $differences;
            #[allow(clippy::cast_lossless, reason = "one body for widths of all kinds")]
            fn to_u64(self) -> u64 {
                self as u64
            }
            #[allow(clippy::cast_lossless, reason = "one body for widths of all kinds")]
            fn from_u64(value: u64) -> Self {
                value as Self
            }
        }
    };
}
value!(u8, false);
value!(u16, false);
value!(u32, false);
value!(u64, true);
value!(i64, true);

#[derive(Clone, Debug)]
enum Piece<T> {
    Same(T),
    /// May be shorter than the piece: rows behind its end hold the blank value.
    Many(Arc<Vec<T>>),
}

#[derive(Clone, Debug)]
pub struct Column<T> {
    pieces: Vec<Piece<T>>,
    length: usize,
    blank: T,
}

impl<T: Value> Column<T> {
    pub fn new(blank: T) -> Self {
        Self { pieces: Vec::new(), length: 0, blank }
    }

    pub fn len(&self) -> usize {
        self.length
    }

    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Adds rows that hold the blank value.
    pub fn grow(&mut self, length: usize) {
        self.length = self.length.max(length);
        let pieces = self.length.div_ceil(PIECE);
        self.pieces.resize(pieces.max(self.pieces.len()), Piece::Same(self.blank));
    }

    pub fn get(&self, row: usize) -> T {
        match self.pieces.get(row / PIECE) {
            Some(Piece::Same(value)) => *value,
            Some(Piece::Many(values)) => values.get(row % PIECE).copied().unwrap_or(self.blank),
            None => self.blank,
        }
    }

    pub fn set(&mut self, row: usize, value: T) {
        debug_assert!(row < self.length);
        let rows = PIECE.min(self.length - row / PIECE * PIECE);
        let blank = self.blank;
        let Some(piece) = self.pieces.get_mut(row / PIECE) else { return };
        if let Piece::Same(held) = piece {
            if *held == value {
                return;
            }
            *piece = Piece::Many(Arc::new(vec![*held; rows]));
        }
        if let Piece::Many(values) = piece {
            let values = Arc::make_mut(values);
            if values.len() < rows {
                values.resize(rows, blank);
            }
            values[row % PIECE] = value;
        }
    }

    /// One value for the rows from `first` to `last`, both included.
    pub fn fill(&mut self, first: usize, last: usize, value: T) {
        let mut row = first;
        while row <= last && row < self.length {
            let piece_end = (row / PIECE + 1) * PIECE - 1;
            let whole = row.is_multiple_of(PIECE) && last >= piece_end.min(self.length - 1);
            if whole && (piece_end < self.length || value == self.blank) {
                self.pieces[row / PIECE] = Piece::Same(value);
                row = piece_end + 1;
                continue;
            }
            let end = last.min(piece_end).min(self.length - 1);
            for row in row..=end {
                self.set(row, value);
            }
            row = end + 1;
        }
    }

    /// One value for all rows of a set of ids (rows are ids less one).
    pub fn fill_ids(&mut self, ids: &IdSet, value: T) {
        for (first, last) in ids.ranges() {
            self.fill(first as usize - 1, last as usize - 1, value);
        }
    }

    /// Calls `each(row, value)` for every row.
    pub fn for_each(&self, mut each: impl FnMut(usize, T)) {
        for row in 0..self.length {
            each(row, self.get(row));
        }
    }

    /// The ids whose value fits. A piece of one value is judged once.
    pub fn ids_where(&self, fits: impl Fn(T) -> bool) -> IdSet {
        let mut bitmap = roaring::RoaringBitmap::new();
        for (number, piece) in self.pieces.iter().enumerate() {
            let start = number * PIECE;
            let end = self.length.min(start + PIECE);
            match piece {
                Piece::Same(value) if fits(*value) => {
                    bitmap.insert_range(start as u32 + 1..=end as u32);
                }
                Piece::Same(_) => {}
                Piece::Many(values) => {
                    let rows = (start..end)
                        .filter(|row| fits(values.get(row - start).copied().unwrap_or(self.blank)));
                    bitmap.append(rows.map(|row| row as u32 + 1)).expect("pieces and rows ascend");
                }
            }
        }
        IdSet::from_bitmap(bitmap)
    }

    fn packed(&self) -> Vec<u8> {
        let mut out = Vec::new();
        pack::put(&mut out, self.length as u64);
        pack::put(&mut out, self.blank.to_u64());
        for piece in &self.pieces {
            match piece {
                Piece::Same(value) => {
                    out.push(0);
                    pack::put(&mut out, value.to_u64());
                }
                Piece::Many(values) => {
                    out.push(1);
                    pack::put(&mut out, values.len() as u64);
                    if T::DIFFERENCES {
                        pack::put_differences(&mut out, values.iter().map(|v| v.to_u64() as i64));
                    } else {
                        pack::put_runs(&mut out, values.iter().map(|v| v.to_u64()));
                    }
                }
            }
        }
        out
    }

    fn unpacked(mut bytes: &[u8]) -> Option<Self> {
        let bytes = &mut bytes;
        let length = usize::try_from(pack::take(bytes)?).ok()?;
        let blank = T::from_u64(pack::take(bytes)?);
        let count = length.div_ceil(PIECE);
        if count > bytes.len() {
            return None;
        }
        let mut pieces = Vec::with_capacity(count);
        for _ in 0..count {
            let (tag, rest) = bytes.split_first()?;
            *bytes = rest;
            pieces.push(match tag {
                0 => Piece::Same(T::from_u64(pack::take(bytes)?)),
                1 => Piece::Many(Arc::new(take_piece(bytes)?)),
                _ => return None,
            });
        }
        Some(Self { pieces, length, blank })
    }
}

fn take_piece<T: Value>(bytes: &mut &[u8]) -> Option<Vec<T>> {
    let count = usize::try_from(pack::take(bytes)?).ok().filter(|count| *count <= PIECE)?;
    if T::DIFFERENCES {
        let values = pack::take_differences(bytes, count)?;
        return Some(values.into_iter().map(|v| T::from_u64(v as u64)).collect());
    }
    Some(pack::take_runs(bytes, count)?.into_iter().map(T::from_u64).collect())
}

impl<T: Value> PartialEq for Column<T> {
    fn eq(&self, other: &Self) -> bool {
        self.length == other.length && (0..self.length).all(|row| self.get(row) == other.get(row))
    }
}

impl<T: Value> Serialize for Column<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.packed())
    }
}

impl<'de, T: Value> Deserialize<'de> for Column<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = <&[u8]>::deserialize(deserializer)?;
        Self::unpacked(bytes).ok_or_else(|| serde::de::Error::custom("not a packed column"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Change {
        Grow(usize),
        Set(usize, i64),
        Fill(usize, usize, i64),
        FillIds(Vec<(u32, u32)>, i64),
        Reload,
    }

    /// Rows near the ends of pieces, where mistakes live.
    fn near() -> impl Strategy<Value = usize> {
        (0usize..4, 0usize..6).prop_map(|(piece, off)| (piece * PIECE + off).saturating_sub(3))
    }

    fn change() -> impl Strategy<Value = Change> {
        let value = prop_oneof![Just(-1i64), 0i64..3, any::<i64>()];
        prop_oneof![
            near().prop_map(Change::Grow),
            (near(), value.clone()).prop_map(|(row, value)| Change::Set(row, value)),
            (near(), near(), value.clone()).prop_map(|(a, b, v)| Change::Fill(a, b, v)),
            (prop::collection::vec((near(), 0u32..9), 1..4), value).prop_map(|(ids, value)| {
                let ids = ids.into_iter().map(|(id, more)| (id as u32 + 1, id as u32 + 1 + more));
                Change::FillIds(ids.collect(), value)
            }),
            Just(Change::Reload),
        ]
    }

    fn reloaded(column: &Column<i64>) -> Column<i64> {
        let bytes = postcard::to_stdvec(column).expect("packed");
        postcard::from_bytes(&bytes).expect("read back")
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn a_column_is_a_vector(changes in prop::collection::vec(change(), 1..12)) {
            let mut column = Column::<i64>::new(-1);
            let mut model: Vec<i64> = Vec::new();
            for change in changes {
                // A copy shares the pieces and keeps its own values.
                let (copy, copied) = (column.clone(), model.clone());
                match change {
                    Change::Grow(length) => {
                        column.grow(length);
                        model.resize(model.len().max(length), -1);
                    }
                    Change::Set(row, value) if row < model.len() => {
                        column.set(row, value);
                        model[row] = value;
                    }
                    Change::Set(..) => {}
                    Change::Fill(first, last, value) => {
                        column.fill(first, last, value);
                        let end = model.len().min(last + 1);
                        if first < end {
                            model[first..end].fill(value);
                        }
                    }
                    Change::FillIds(ranges, value) => {
                        let mut ids = IdSet::default();
                        for (first, last) in ranges {
                            ids.extend(&IdSet::range(first, last));
                        }
                        column.fill_ids(&ids, value);
                        for id in ids.iter() {
                            if let Some(held) = model.get_mut(id as usize - 1) {
                                *held = value;
                            }
                        }
                    }
                    Change::Reload => column = reloaded(&column),
                }
                prop_assert_eq!(column.len(), model.len());
                prop_assert!(model.iter().enumerate().all(|(row, v)| column.get(row) == *v));
                prop_assert_eq!(copy.len(), copied.len());
                prop_assert!(copied.iter().enumerate().all(|(row, v)| copy.get(row) == *v));
            }
            let wanted = |v: i64| v == 1 || v == -1;
            let ids: Vec<u32> = column.ids_where(wanted).iter().collect();
            let rows = model.iter().zip(1u32..).filter(|(v, _)| wanted(**v));
            prop_assert_eq!(ids, rows.map(|(_, id)| id).collect::<Vec<u32>>());
            prop_assert_eq!(&reloaded(&column), &column);
        }

        #[test]
        fn hostile_bytes_are_no_column(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Some(column) = Column::<u8>::unpacked(&bytes) {
                prop_assert!(column.len() <= (bytes.len() + 1) * PIECE);
                let _value = column.get(column.len());
            }
        }

        #[test]
        fn damaged_bytes_do_not_panic(at in 0usize..300, bit in 0u8..8) {
            let mut column = Column::<i64>::new(0);
            column.grow(PIECE + 200);
            (0..90).for_each(|row| column.set(PIECE + row, row as i64 * 1_000_003));
            let mut bytes = column.packed();
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << bit;
            }
            if let Some(mut column) = Column::<i64>::unpacked(&bytes) {
                let length = column.len();
                if length > 0 {
                    column.set(length - 1, 5);
                    column.fill(0, length - 1, 6);
                }
                let _ids = column.ids_where(|v| v == 6);
            }
        }
    }
}
