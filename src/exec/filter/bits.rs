//! Rows of a block, or places of a column, as one bit each.

use crate::record::{Codes, each_width};

/// Values whose bits are made at a time.
const LANES: usize = 8;
/// So many bits of a byte each, times this, leave them side by side in the upper byte.
const GATHER: u64 = 0x0102_0408_1020_4080;

/// A bit for each of some values.
/// No bit is set behind the last value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bits {
    bytes: Vec<u8>,
}

impl Bits {
    /// None of so many.
    pub(crate) fn none(len: usize) -> Self {
        Bits { bytes: vec![0; len.div_ceil(8)] }
    }

    /// All of so many.
    pub(crate) fn all(len: usize) -> Self {
        let mut bits = Bits { bytes: vec![0xff; len.div_ceil(8)] };
        if let (Some(last), 1..) = (bits.bytes.last_mut(), len % 8) {
            *last = (1 << (len % 8)) - 1;
        }
        bits
    }

    /// Those of a range, of so many.
    pub(crate) fn range(len: usize, range: std::ops::Range<u32>) -> Self {
        let mut bits = Bits::none(len);
        range.take_while(|&row| (row as usize) < len).for_each(|row| bits.set(row as usize));
        bits
    }

    /// These, of so many; what is beyond is left out.
    pub(crate) fn of_rows(len: usize, rows: impl Iterator<Item = u32>) -> Self {
        let mut bits = Bits::none(len);
        rows.filter(|&row| (row as usize) < len).for_each(|row| bits.set(row as usize));
        bits
    }

    /// Those of which a test holds, by their places.
    pub(crate) fn from_fn(len: usize, mut holds: impl FnMut(usize) -> bool) -> Self {
        let mut bits = Bits::none(len);
        for (byte, first) in bits.bytes.iter_mut().zip((0..len).step_by(8)) {
            let n = (len - first).min(8);
            *byte = (0..n).fold(0, |b, i| b | u8::from(holds(first + i)) << i);
        }
        bits
    }

    /// Those of which a test holds, by their values: several at a time.
    #[inline]
    pub(crate) fn of_values<T: Copy>(values: &[T], holds: impl Fn(T) -> bool) -> Self {
        let (whole, rest) = values.as_chunks::<LANES>();
        let mut bytes = Vec::with_capacity(values.len().div_ceil(8));
        bytes.extend(whole.iter().map(|values| {
            let mut lanes = [0; LANES];
            lanes.iter_mut().zip(values).for_each(|(lane, &value)| *lane = u8::from(holds(value)));
            (u64::from_le_bytes(lanes).wrapping_mul(GATHER) >> 56) as u8
        }));
        if !rest.is_empty() {
            bytes.push(rest.iter().enumerate().fold(0, |b, (i, &value)| b | u8::from(holds(value)) << i));
        }
        Bits { bytes }
    }

    /// Those that have one of these codes. None is compared with more bytes than it has.
    pub(crate) fn of_codes(codes: &Codes, chosen: &[u32]) -> Self {
        fn among<T: Copy + PartialEq + TryFrom<u32>>(codes: &[T], chosen: &[u32]) -> Bits
        where
            usize: TryFrom<T>,
        {
            // What has no such number is none of them.
            let narrow: Vec<T> = chosen.iter().filter_map(|&code| T::try_from(code).ok()).collect();
            // Compared many at a time, which a table is not.
            match *narrow {
                [] => Bits::none(codes.len()),
                [a] => Bits::of_values(codes, |code| code == a),
                [a, b] => Bits::of_values(codes, |code| (code == a) | (code == b)),
                [a, b, c] => Bits::of_values(codes, |code| (code == a) | (code == b) | (code == c)),
                _ => {
                    let mut table = vec![false; chosen.iter().max().map_or(0, |&most| most as usize + 1)];
                    chosen.iter().for_each(|&code| table[code as usize] = true);
                    let is_chosen = |code| usize::try_from(code).is_ok_and(|code| table.get(code) == Some(&true));
                    Bits::of_values(codes, is_chosen)
                }
            }
        }
        each_width!(codes, codes => among(codes, chosen))
    }

    #[inline]
    pub(crate) fn set(&mut self, i: usize) {
        self.bytes[i / 8] |= 1 << (i % 8);
    }

    #[inline]
    pub(crate) fn get(&self, i: usize) -> bool {
        self.bytes[i / 8] & (1 << (i % 8)) != 0
    }

    /// How many are set.
    pub(crate) fn count(&self) -> usize {
        let (words, rest) = self.bytes.as_chunks::<8>();
        let words: u32 = words.iter().map(|w| u64::from_le_bytes(*w).count_ones()).sum();
        let rest: u32 = rest.iter().map(|b| b.count_ones()).sum();
        words as usize + rest as usize
    }

    /// Is none set?
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.iter().all(|b| *b == 0)
    }

    /// The places of those that are set, rising.
    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> {
        let words = self.bytes.chunks(8).enumerate().map(|(i, bytes)| {
            let mut word = [0; 8];
            word[..bytes.len()].copy_from_slice(bytes);
            (i * 64, u64::from_le_bytes(word))
        });
        words.flat_map(|(first, mut word)| {
            std::iter::from_fn(move || {
                let bit = word.trailing_zeros() as usize;
                word = (word != 0).then(|| word & (word - 1))?;
                Some(first + bit)
            })
        })
    }

    /// Takes out those that others, of as many values, lack.
    pub(crate) fn and(&mut self, others: &Bits) {
        self.bytes.iter_mut().zip(&others.bytes).for_each(|(own, other)| *own &= other);
    }

    /// Adds others, of as many values.
    pub(crate) fn or(&mut self, others: &Bits) {
        self.bytes.iter_mut().zip(&others.bytes).for_each(|(own, other)| *own |= other);
    }

    /// Takes others out, of as many values.
    pub(crate) fn minus(&mut self, others: &Bits) {
        self.bytes.iter_mut().zip(&others.bytes).for_each(|(own, other)| *own &= !other);
    }

    /// The same as rows.
    pub(crate) fn rows(&self) -> impl Iterator<Item = u32> {
        self.iter().map(|row| row as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn they_are_those_that_hold(values in proptest::collection::vec(0u32..3, 0..200)) {
            for holds in [&(|v: u32| v == 1) as &dyn Fn(u32) -> bool, &|_| true, &|_| false] {
                let bits = Bits::of_values(&values, holds);
                let expect: Vec<usize> = (0..values.len()).filter(|&i| holds(values[i])).collect();
                prop_assert_eq!(bits.iter().collect::<Vec<_>>(), expect.clone());
                prop_assert_eq!(bits.count(), expect.len());
                prop_assert_eq!(bits.is_empty(), expect.is_empty());
                prop_assert!((0..values.len()).all(|i| bits.get(i) == holds(values[i])));
                prop_assert_eq!(&Bits::from_fn(values.len(), |i| holds(values[i])).bytes, &bits.bytes);
                prop_assert_eq!(Bits::of_rows(values.len(), bits.rows()), bits);
            }
            let len = values.len();
            prop_assert_eq!(Bits::all(len).iter().count(), len);
            prop_assert!(Bits::none(len).is_empty());
            prop_assert_eq!(Bits::range(len, 0..1000), Bits::all(len));
            let (ones, zeros) = (Bits::of_values(&values, |v| v == 1), Bits::of_values(&values, |v| v == 0));
            let of = |change: &dyn Fn(&mut Bits)| {
                let mut bits = ones.clone();
                change(&mut bits);
                bits
            };
            prop_assert_eq!(of(&|b| b.or(&zeros)), Bits::of_values(&values, |v| v < 2));
            prop_assert_eq!(of(&|b| b.and(&Bits::all(len))), ones.clone());
            prop_assert_eq!(of(&|b| b.and(&zeros)), Bits::none(len));
            prop_assert_eq!(of(&|b| b.minus(&ones)), Bits::none(len));
            prop_assert_eq!(of(&|b| b.minus(&zeros)), ones.clone());
        }
    }
}
