//! Quads: per block, which words of four hex digits it has. Exact.

use crate::format::{DecodeError, Reader, put_u16};

const WORDS: usize = 1024;
const LIST: u8 = 0;
const BITS: u8 = 1;

/// A set of 16-bit numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quads(Box<[u64; WORDS]>);

impl Default for Quads {
    fn default() -> Self {
        Quads(Box::new([0; WORDS]))
    }
}

impl Quads {
    /// Puts a number in.
    #[inline]
    pub fn insert(&mut self, quad: u16) {
        self.0[usize::from(quad >> 6)] |= 1 << (quad & 63);
    }
    /// Is a number in?
    #[inline]
    pub fn contains(&self, quad: u16) -> bool {
        self.0[usize::from(quad >> 6)] >> (quad & 63) & 1 != 0
    }
    /// How many are in.
    pub fn len(&self) -> usize {
        self.0.iter().map(|w| w.count_ones() as usize).sum()
    }
    /// None?
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|&w| w == 0)
    }
    /// Takes all out.
    pub fn clear(&mut self) {
        self.0.fill(0);
    }
    /// Have the two sets a number in common?
    pub fn intersects(&self, other: &Quads) -> bool {
        self.0.iter().zip(other.0.iter()).any(|(a, b)| a & b != 0)
    }
    /// The numbers, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u16> {
        (0..=u16::MAX).filter(|&q| self.contains(q))
    }

    /// Appends the bytes: a list of the numbers, or from 4,096 numbers on, all bits.
    pub fn encode(&self, out: &mut Vec<u8>) {
        if self.len() < 4096 {
            out.push(LIST);
            self.iter().for_each(|q| put_u16(out, q));
        } else {
            out.push(BITS);
            self.0.iter().for_each(|w| out.extend_from_slice(&w.to_le_bytes()));
        }
    }

    /// Decodes what [`Quads::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Quads, DecodeError> {
        let mut r = Reader::new(bytes, "index quads");
        let mut quads = Quads::default();
        match r.u8()? {
            LIST => {
                let mut last = None;
                while r.remaining() > 0 {
                    let quad = r.u16()?;
                    if last.is_some_and(|l| l >= quad) {
                        return Err(r.error("numbers in order", quad));
                    }
                    last = Some(quad);
                    quads.insert(quad);
                }
            }
            BITS => {
                for word in quads.0.iter_mut() {
                    *word = r.u64()?;
                }
                r.end()?;
            }
            form => return Err(r.error("a form of quads", form)),
        }
        Ok(quads)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips() {
        for step in [1usize, 7, 16, 17, 1000, 65_535] {
            let mut quads = Quads::default();
            (0..=65_535u16).step_by(step).for_each(|q| quads.insert(q));
            let mut bytes = Vec::new();
            quads.encode(&mut bytes);
            assert_eq!(Quads::decode(&bytes).as_ref(), Ok(&quads));
            assert!(bytes.len() <= 8193);
        }
        assert!(Quads::decode(&[LIST, 2, 0, 1, 0]).is_err());
        assert!(Quads::decode(&[BITS; 100]).is_err());
    }
}
