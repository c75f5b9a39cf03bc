//! Filters: per block, which identifiers it has, by their hash, with one false yes in 256.
//!
//! A binary fuse filter with 8 bits a hash; of few hashes, the hashes themselves. Construction is seeded with a fixed
//! number, so that the bytes are a function of the hashes and their order.

use crate::format::{DecodeError, Reader, put_u32, put_u64};
use xorf::{BinaryFuse8, BinaryFuse8Ref, DmaSerializable, Filter as _, FilterRef};

/// Up to so many hashes are kept as they are: a fuse filter of them is no smaller.
pub const EXACT_HASHES_MAX: usize = 32;

const EXACT: u8 = 0;
const FUSE: u8 = 1;

/// Longest segment of a fuse filter, which its maker never passes.
const SEGMENT_LENGTH_MAX: u32 = 1 << 18;

const DESCRIPTOR_BYTES: usize = <BinaryFuse8 as DmaSerializable>::DESCRIPTOR_LEN;

/// Which hashes a block has.
#[derive(Clone, Debug)]
pub struct Filter(Form);

#[derive(Clone, Debug)]
enum Form {
    Exact(Vec<u64>),
    /// Seed (u64), segment length, that minus one, and length of the counted segments (u32 each); fingerprints.
    Fuse([u8; DESCRIPTOR_BYTES], Box<[u8]>),
}

impl Filter {
    /// Makes a filter. Hashes may repeat when `distinct` is false.
    pub fn build(hashes: &mut Vec<u64>, distinct: bool) -> Filter {
        if !distinct || hashes.len() <= EXACT_HASHES_MAX {
            hashes.sort_unstable();
            hashes.dedup();
        }
        if hashes.len() <= EXACT_HASHES_MAX {
            return Filter(Form::Exact(hashes.clone()));
        }
        match BinaryFuse8::try_from_iterator(hashes.iter().copied()) {
            Ok(fuse) => {
                let mut descriptor = [0; DESCRIPTOR_BYTES];
                fuse.dma_copy_descriptor_to(&mut descriptor);
                Filter(Form::Fuse(descriptor, fuse.fingerprints))
            }
            // One in more sets than there are atoms; the hashes themselves are always right.
            Err(_) => {
                hashes.sort_unstable();
                Filter(Form::Exact(hashes.clone()))
            }
        }
    }

    /// May the block have a term of this hash?
    #[inline]
    pub fn contains(&self, hash: u64) -> bool {
        match &self.0 {
            Form::Exact(hashes) => hashes.binary_search(&hash).is_ok(),
            Form::Fuse(descriptor, fingerprints) => BinaryFuse8Ref::from_dma(descriptor, fingerprints).contains(&hash),
        }
    }

    /// Appends the bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match &self.0 {
            Form::Exact(hashes) => {
                out.push(EXACT);
                put_u32(out, hashes.len() as u32);
                hashes.iter().for_each(|&h| put_u64(out, h));
            }
            Form::Fuse(descriptor, fingerprints) => {
                out.push(FUSE);
                out.extend_from_slice(descriptor);
                out.extend_from_slice(fingerprints);
            }
        }
    }

    /// Decodes what [`Filter::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Filter, DecodeError> {
        let mut r = Reader::new(bytes, "index filter");
        match r.u8()? {
            EXACT => {
                let count = r.u32()? as usize;
                if r.remaining() != count.saturating_mul(8) {
                    return Err(r.error(format!("{count} hashes"), format!("{} bytes", r.remaining())));
                }
                let hashes = (0..count).map(|_| r.u64()).collect::<Result<Vec<_>, _>>()?;
                if !hashes.is_sorted_by(|a, b| a < b) {
                    return Err(r.error("hashes in order", "others"));
                }
                Ok(Filter(Form::Exact(hashes)))
            }
            FUSE => {
                let mut descriptor = [0; DESCRIPTOR_BYTES];
                descriptor.copy_from_slice(r.clone().take(DESCRIPTOR_BYTES)?);
                let _seed = r.u64()?;
                let (segment, mask, counted) = (r.u32()?, r.u32()?, r.u32()?);
                if !segment.is_power_of_two() || segment > SEGMENT_LENGTH_MAX || mask != segment - 1 {
                    return Err(r.error("a power of two and its mask", format!("{segment}, {mask}")));
                }
                // A look-up reads in three neighbouring segments, of which the first is one of the counted ones.
                let expect = u64::from(counted) + 2 * u64::from(segment);
                if counted == 0
                    || counted % segment != 0
                    || expect > u64::from(u32::MAX)
                    || r.remaining() as u64 != expect
                {
                    return Err(r.error(format!("{expect} fingerprints"), r.remaining()));
                }
                Ok(Filter(Form::Fuse(descriptor, r.take(r.remaining())?.into())))
            }
            form => Err(r.error("a filter's form", form)),
        }
    }

    /// Bytes of memory, about.
    pub fn memory(&self) -> usize {
        match &self.0 {
            Form::Exact(hashes) => hashes.len() * 8,
            Form::Fuse(_, fingerprints) => fingerprints.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_what_was_put_in_and_little_else() {
        for n in [0u64, 1, 2, 31, 32, 33, 50, 1000, 40_000] {
            let mut hashes: Vec<u64> = (0..n).map(|i| super::super::terms::term_hash(&i.to_le_bytes())).collect();
            let filter = Filter::build(&mut hashes, true);
            let mut bytes = Vec::new();
            filter.encode(&mut bytes);
            let filter = Filter::decode(&bytes).unwrap();
            assert!(hashes.iter().all(|&h| filter.contains(h)), "{n}");
            let wrong =
                (n..n + 10_000).filter(|i| filter.contains(super::super::terms::term_hash(&i.to_le_bytes()))).count();
            assert!(wrong < 100, "{n}: {wrong}");
            let mut again = Vec::new();
            Filter::build(&mut hashes, true).encode(&mut again);
            assert_eq!(bytes, again);
            for cut in [0, 1, bytes.len() / 2, bytes.len() - 1] {
                assert!(Filter::decode(&bytes[..cut]).is_err());
            }
        }
        let mut repeated = vec![5; 100];
        assert!(Filter::build(&mut repeated, false).contains(5));
    }
}
