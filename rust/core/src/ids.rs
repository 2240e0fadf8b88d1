//! Sets of job ids: immutable to their users, held as compressed ranges and bitmaps.

use roaring::RoaringBitmap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[cfg(feature = "arrow")]
use crate::error::{Error, ErrorKind};

/// A job's number: from 1, never reused.
pub type JobId = u32;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct IdSet(RoaringBitmap);

impl IdSet {
    /// From `first` to `last`, both included; empty if `last < first`.
    pub fn range(first: JobId, last: JobId) -> Self {
        let mut bitmap = RoaringBitmap::new();
        if first <= last {
            bitmap.insert_range(first..=last);
        }
        Self(bitmap)
    }

    pub fn from_ascending(ids: impl IntoIterator<Item = JobId>) -> Self {
        let mut bitmap = RoaringBitmap::new();
        for id in ids {
            bitmap.insert(id);
        }
        Self(bitmap)
    }

    /// From ids in any order; ascending ones, as they mostly are, cost the least.
    pub fn from_any(ids: Vec<JobId>) -> Self {
        if ids.is_sorted_by(|a, b| a < b) {
            let sorted = RoaringBitmap::from_sorted_iter(ids.iter().copied());
            return Self(sorted.unwrap_or_else(|_| ids.iter().copied().collect()));
        }
        Self(ids.into_iter().collect())
    }

    pub fn from_bitmap(bitmap: RoaringBitmap) -> Self {
        Self(bitmap)
    }

    pub fn bitmap(&self) -> &RoaringBitmap {
        &self.0
    }

    pub fn len(&self) -> u64 {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn contains(&self, id: JobId) -> bool {
        self.0.contains(id)
    }

    pub fn insert(&mut self, id: JobId) -> bool {
        self.0.insert(id)
    }

    pub fn min(&self) -> Option<JobId> {
        self.0.min()
    }

    pub fn max(&self) -> Option<JobId> {
        self.0.max()
    }

    /// Adds all ids from `first` to `last`, both included.
    pub fn insert_range(&mut self, first: JobId, last: JobId) {
        self.0.insert_range(first..=last);
    }

    /// How many ids there are up to this one, it included.
    pub fn rank(&self, id: JobId) -> u32 {
        self.0.rank(id) as u32
    }

    /// Its ids from this one on.
    pub fn iter_from(&self, first: JobId) -> impl Iterator<Item = JobId> + '_ {
        self.0.range(first..)
    }

    pub fn iter(&self) -> impl Iterator<Item = JobId> + '_ {
        self.0.iter()
    }

    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self(&self.0 | &other.0)
    }

    /// Adds all of `other` in place.
    pub fn extend(&mut self, other: &Self) {
        self.0 |= &other.0;
    }

    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        Self(&self.0 & &other.0)
    }

    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        Self(&self.0 - &other.0)
    }

    #[must_use]
    pub fn symmetric_difference(&self, other: &Self) -> Self {
        Self(&self.0 ^ &other.0)
    }

    pub fn is_subset(&self, other: &Self) -> bool {
        self.0.is_subset(&other.0)
    }

    pub fn is_disjoint(&self, other: &Self) -> bool {
        self.0.is_disjoint(&other.0)
    }

    /// The id at a position in ascending order.
    pub fn select(&self, index: u32) -> Option<JobId> {
        self.0.select(index)
    }

    /// Runs of consecutive ids as (first, last).
    pub fn ranges(&self) -> impl Iterator<Item = (JobId, JobId)> + '_ {
        Ranges { ids: self.0.iter(), held: None }
    }

    /// The same of the ids from `first` to `last`, both included.
    pub fn ranges_within(
        &self,
        first: JobId,
        last: JobId,
    ) -> impl Iterator<Item = (JobId, JobId)> + '_ {
        let last = last.max(first);
        Ranges { ids: self.0.range(first..=last), held: None }
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        let mut compact = self.0.clone();
        compact.optimize();
        let mut bytes = Vec::with_capacity(compact.serialized_size());
        compact.serialize_into(&mut bytes).expect("a vector takes all bytes");
        bytes
    }

    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        RoaringBitmap::deserialize_from(bytes).ok().map(Self)
    }
}

struct Ranges<'a> {
    ids: roaring::bitmap::Iter<'a>,
    held: Option<(JobId, JobId)>,
}

impl Iterator for Ranges<'_> {
    type Item = (JobId, JobId);

    fn next(&mut self) -> Option<(JobId, JobId)> {
        // The bitmap's own runs end where its containers do.
        while let Some(run) = self.ids.next_range() {
            match &mut self.held {
                Some((_, last)) if *run.start() == last.wrapping_add(1) => *last = *run.end(),
                held => {
                    if let Some(whole) = held.replace((*run.start(), *run.end())) {
                        return Some(whole);
                    }
                }
            }
        }
        self.held.take()
    }
}

impl FromIterator<JobId> for IdSet {
    fn from_iter<T: IntoIterator<Item = JobId>>(ids: T) -> Self {
        Self(ids.into_iter().collect())
    }
}

impl Serialize for IdSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.to_bytes())
    }
}

impl<'de> Deserialize<'de> for IdSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = <&[u8]>::deserialize(deserializer)?;
        Self::from_bytes(bytes).ok_or_else(|| serde::de::Error::custom("not a set of ids"))
    }
}

/// More jobs than there are ids for.
#[cfg(feature = "arrow")]
pub(crate) fn too_many(rows: usize) -> Error {
    Error::new(ErrorKind::Invalid, format!("{rows} more jobs do not fit: ids end at 4294967295"))
}
