//! Texts that repeat, each held once and named by a number; number 0 is "none".
//!
//! All lie in one buffer, so that a million of them are read, copied and freed as one.

use std::fmt;
use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Clone, Debug, Default)]
pub struct Texts {
    bytes: String,
    /// Where each text ends; the next one begins there.
    ends: Vec<usize>,
    /// Places in `ends` of the first texts; the rest is entered before the next search, so that
    /// tables that are only read never build it.
    entered: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl Texts {
    /// The text's number, a new one if need be.
    pub fn number(&mut self, text: &str) -> u32 {
        self.enter();
        let hash = self.hasher.hash_one(text);
        let (bytes, ends) = (&self.bytes, &self.ends);
        if let Some(place) = self.entered.find(hash, |place| at(bytes, ends, *place) == text) {
            return place + 1;
        }
        self.push(text);
        self.enter();
        self.ends.len() as u32
    }

    pub fn get(&self, number: u32) -> Option<&str> {
        let place = number.checked_sub(1)?;
        ((place as usize) < self.ends.len()).then(|| at(&self.bytes, &self.ends, place))
    }

    /// Makes room for so many more texts.
    pub fn reserve(&mut self, more: usize) {
        self.enter();
        self.ends.reserve(more);
        let Self { bytes, ends, entered, hasher } = self;
        entered.reserve(more, |place| hasher.hash_one(at(bytes, ends, *place)));
    }

    fn push(&mut self, text: &str) {
        self.bytes.push_str(text);
        self.ends.push(self.bytes.len());
    }

    fn enter(&mut self) {
        let Self { bytes, ends, entered, hasher } = self;
        let hash = |place: &u32| hasher.hash_one(at(bytes, ends, *place));
        for place in entered.len() as u32..ends.len() as u32 {
            entered.insert_unique(hash(&place), place, hash);
        }
    }
}

fn at<'a>(bytes: &'a str, ends: &[usize], place: u32) -> &'a str {
    let start = (place as usize).checked_sub(1).map_or(0, |before| ends[before]);
    &bytes[start..ends[place as usize]]
}

impl PartialEq for Texts {
    fn eq(&self, other: &Self) -> bool {
        self.ends == other.ends && self.bytes == other.bytes
    }
}

impl Serialize for Texts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let places = 0..self.ends.len() as u32;
        serializer.collect_seq(places.map(|place| at(&self.bytes, &self.ends, place)))
    }
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Texts;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("texts")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut texts: A) -> Result<Texts, A::Error> {
        let mut read = Texts::default();
        while let Some(text) = texts.next_element::<&str>()? {
            read.push(text);
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn each_text_has_one_number_before_and_after_reading(
            first in prop::collection::vec("[a-cé]{0,3}", 0..40),
            later in prop::collection::vec("[a-cé]{0,3}", 0..40),
        ) {
            let mut known: BTreeMap<String, u32> = BTreeMap::new();
            let mut texts = Texts::default();
            for text in &first {
                let next = known.len() as u32 + 1;
                prop_assert_eq!(texts.number(text), *known.entry(text.clone()).or_insert(next));
            }
            let bytes = postcard::to_stdvec(&texts).expect("packed");
            let mut read: Texts = postcard::from_bytes(&bytes).expect("read back");
            prop_assert_eq!(&read, &texts);
            read.reserve(later.len());
            for text in &later {
                let next = known.len() as u32 + 1;
                prop_assert_eq!(read.number(text), *known.entry(text.clone()).or_insert(next));
            }
            for (text, number) in &known {
                prop_assert_eq!(read.get(*number), Some(text.as_str()));
            }
            prop_assert_eq!(read.get(0), None);
            prop_assert_eq!(read.get(known.len() as u32 + 1), None);
        }

        #[test]
        fn they_are_packed_as_a_list_of_texts(texts in prop::collection::btree_set(".{0,9}", 0..9)) {
            let list: Vec<String> = texts.into_iter().collect();
            let mut held = Texts::default();
            for text in &list {
                held.number(text);
            }
            prop_assert_eq!(postcard::to_stdvec(&held), postcard::to_stdvec(&list));
        }
    }
}
