//! Reads pickles of plain results, a scalar or a dict of scalars, executing nothing.
//!
//! Anything else is left to Python. Source of the format: `pickletools` in the standard library.

/// A scalar of a plain result.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scalar<'a> {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(&'a str),
    Bytes(&'a [u8]),
}

#[derive(Clone, Copy, Debug)]
enum Item<'a> {
    Scalar(Scalar<'a>),
    Dict,
    Mark,
}

/// What a plain result is.
#[derive(Debug, PartialEq)]
pub enum Plain<'a, 'r> {
    Scalar(Scalar<'a>),
    /// Keys and values in order; a repeated key counts as its last.
    Dict(&'r [(&'a str, Scalar<'a>)]),
}

/// A machine for pickles, reused from one to the next.
#[derive(Debug, Default)]
pub struct Unpickler<'a> {
    stack: Vec<Item<'a>>,
    memo: Vec<Item<'a>>,
    pairs: Vec<(&'a str, Scalar<'a>)>,
}

impl<'a> Unpickler<'a> {
    /// The result in `bytes`; none if it is not plain.
    pub fn read(&mut self, bytes: &'a [u8]) -> Option<Plain<'a, '_>> {
        self.stack.clear();
        self.memo.clear();
        self.pairs.clear();
        let mut bytes = Reader(bytes);
        loop {
            match bytes.byte()? {
                0x80 => drop(bytes.take(1)?),
                0x95 => drop(bytes.take(8)?),
                b'.' => break,
                b'}' => self.stack.push(Item::Dict),
                b'(' => self.stack.push(Item::Mark),
                b's' => self.set_items(self.stack.len().checked_sub(2)?)?,
                b'u' => {
                    let mark = self.stack.iter().rposition(|item| matches!(item, Item::Mark))?;
                    self.set_items(mark + 1)?;
                    // The mark itself.
                    self.stack.pop()?;
                }
                0x94 => self.memo.push(*self.stack.last()?),
                b'q' => {
                    let index = usize::from(bytes.byte()?);
                    self.put(index)?;
                }
                b'r' => {
                    let index = bytes.u32()? as usize;
                    self.put(index)?;
                }
                b'h' => {
                    let index = usize::from(bytes.byte()?);
                    self.get(index)?;
                }
                b'j' => {
                    let index = bytes.u32()? as usize;
                    self.get(index)?;
                }
                opcode => self.stack.push(Item::Scalar(bytes.scalar(opcode)?)),
            }
        }
        match (self.stack.as_slice(), bytes.0) {
            ([Item::Scalar(scalar)], []) => Some(Plain::Scalar(*scalar)),
            ([Item::Dict], []) => Some(Plain::Dict(&self.pairs)),
            _ => None,
        }
    }

    /// Memo indices ascend in what Python writes.
    fn put(&mut self, index: usize) -> Option<()> {
        (index == self.memo.len()).then_some(())?;
        self.memo.push(*self.stack.last()?);
        Some(())
    }

    fn get(&mut self, index: usize) -> Option<()> {
        match self.memo.get(index)? {
            // A dict that appears twice is no dict of scalars.
            Item::Scalar(scalar) => self.stack.push(Item::Scalar(*scalar)),
            Item::Dict | Item::Mark => return None,
        }
        Some(())
    }

    fn set_items(&mut self, from: usize) -> Option<()> {
        let dict = from.checked_sub(1)?;
        let below = match self.stack.get(dict)? {
            Item::Mark => self.stack.get(dict.checked_sub(1)?)?,
            item => item,
        };
        matches!(below, Item::Dict).then_some(())?;
        for pair in self.stack.get(from..)?.chunks(2) {
            let [Item::Scalar(Scalar::Text(key)), Item::Scalar(value)] = pair else {
                return None;
            };
            self.pairs.retain(|(known, _)| known != key);
            self.pairs.push((key, *value));
        }
        self.stack.truncate(from);
        Some(())
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn byte(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn sized(&mut self, length: u64) -> Option<&'a [u8]> {
        self.take(usize::try_from(length).ok()?)
    }

    fn text(bytes: &'a [u8]) -> Option<Scalar<'a>> {
        std::str::from_utf8(bytes).ok().map(Scalar::Text)
    }

    fn scalar(&mut self, opcode: u8) -> Option<Scalar<'a>> {
        Some(match opcode {
            b'N' => Scalar::None,
            0x88 => Scalar::Bool(true),
            0x89 => Scalar::Bool(false),
            b'K' => Scalar::Int(i64::from(self.byte()?)),
            b'M' => Scalar::Int(i64::from(u16::from_le_bytes(self.array()?))),
            b'J' => Scalar::Int(i64::from(i32::from_le_bytes(self.array()?))),
            0x8a => Scalar::Int(self.long()?),
            b'G' => Scalar::Float(f64::from_be_bytes(self.array()?)),
            0x8c => {
                let length = u64::from(self.byte()?);
                Self::text(self.sized(length)?)?
            }
            b'X' => {
                let length = u64::from(self.u32()?);
                Self::text(self.sized(length)?)?
            }
            0x8d => {
                let length = u64::from_le_bytes(self.array()?);
                Self::text(self.sized(length)?)?
            }
            b'C' => {
                let length = u64::from(self.byte()?);
                Scalar::Bytes(self.sized(length)?)
            }
            b'B' => {
                let length = u64::from(self.u32()?);
                Scalar::Bytes(self.sized(length)?)
            }
            0x8e => {
                let length = u64::from_le_bytes(self.array()?);
                Scalar::Bytes(self.sized(length)?)
            }
            _ => return None,
        })
    }

    /// Two's complement of up to eight bytes; larger ones are no plain integers here.
    fn long(&mut self) -> Option<i64> {
        let length = usize::from(self.byte()?);
        let bytes = self.take(length)?;
        let fill = if bytes.last().is_some_and(|top| top & 0x80 != 0) { 0xff } else { 0 };
        let mut full = [fill; 8];
        full.get_mut(..length)?.copy_from_slice(bytes);
        Some(i64::from_le_bytes(full))
    }
}

#[cfg(test)]
mod tests {
    use super::{Plain, Scalar, Unpickler};

    #[test]
    fn a_dict_of_scalars_as_python_writes_it() {
        // pickle.dumps({"x": 2, "y": -1.5, "z": "x"}, protocol=5)
        let bytes = b"\x80\x05\x95\x1a\x00\x00\x00\x00\x00\x00\x00}\x94(\x8c\x01x\x94K\x02\
            \x8c\x01y\x94G\xbf\xf8\x00\x00\x00\x00\x00\x00\x8c\x01z\x94h\x01u.";
        let mut unpickler = Unpickler::default();
        let expected =
            [("x", Scalar::Int(2)), ("y", Scalar::Float(-1.5)), ("z", Scalar::Text("x"))];
        assert_eq!(unpickler.read(bytes), Some(Plain::Dict(&expected)));
    }

    #[test]
    fn integers_of_any_length() {
        let mut unpickler = Unpickler::default();
        let wide = unpickler.read(b"\x80\x05\x8a\x06\x00\x00\x00\x00\x00\x80.");
        assert_eq!(wide, Some(Plain::Scalar(Scalar::Int(-(1 << 47)))));
        let too_wide = unpickler.read(b"\x80\x05\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x00\x01.");
        assert_eq!(too_wide, None);
    }

    #[test]
    fn whatever_calls_code_is_left_to_python() {
        let mut unpickler = Unpickler::default();
        assert_eq!(unpickler.read(b"\x80\x04cos\nsystem\n\x8c\x02ls\x85R."), None);
        assert_eq!(unpickler.read(b"\x80\x05]\x94."), None);
        assert_eq!(unpickler.read(b""), None);
    }
}
