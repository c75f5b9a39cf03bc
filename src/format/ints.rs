//! A run of integers: frame of reference or differences, packed by bits or split into byte planes.
//!
//! Layout: mode u8, count varint, base zig-zag, factor varint, width u8, body. An integer is
//! `base + factor * n`, where `n` is the unsigned number of the body, or, in the modes of differences, the running
//! sum of the zig-zag numbers of the body. Bit packing (least bits first, as Parquet's) suits numbers that fill
//! their width; byte planes (all lowest bytes, then all second ones, ..) are for the compressor around them.

use super::{DecodeError, Reader, put_varint, put_zigzag};
use crate::record::Codes;

/// Most integers in one run: a block has at most 65,536 rows.
pub const INTS_MAX: usize = 1 << 16;

const PACKED: u8 = 0;
const PLANES: u8 = 1;
const DELTA: u8 = 2;

/// Which body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// Bits, for no compressor.
    Packed,
    /// Bytes, for a compressor.
    Planes,
}

/// A run that was looked at, and can be written with either body.
#[derive(Debug)]
pub struct Run {
    base: i64,
    factor: u64,
    /// Multiples of the factor above the base, and their differences, zig-zag.
    plain: Vec<u64>,
    deltas: Vec<u64>,
    /// Bits of the largest of these, and of all together.
    plain_bits: (u32, u64),
    deltas_bits: (u32, u64),
}

impl Run {
    /// Looks at a run.
    pub fn new(values: &[i64]) -> Self {
        let base = values.iter().copied().min().unwrap_or(0);
        let above = |v: i64| v.wrapping_sub(base) as u64;
        let mut factor = 0u64;
        for &v in values {
            factor = gcd(factor, above(v));
            if factor == 1 {
                break;
            }
        }
        let factor = factor.max(1);
        let plain: Vec<u64> = match factor {
            // Division takes longer than all the rest.
            1 => values.iter().map(|&v| above(v)).collect(),
            factor => values.iter().map(|&v| above(v) / factor).collect(),
        };
        let mut before = 0u64;
        let zigzag = |&n: &u64| {
            let d = n.wrapping_sub(before) as i64;
            before = n;
            ((d << 1) ^ (d >> 63)) as u64
        };
        let deltas: Vec<u64> = plain.iter().map(zigzag).collect();
        let bits = |numbers: &[u64]| {
            let (any, sum) =
                numbers.iter().fold((0, 0), |(any, sum), &n| (any | n, sum + u64::from(64 - n.leading_zeros())));
            (64 - u64::leading_zeros(any), sum)
        };
        let (plain_bits, deltas_bits) = (bits(&plain), bits(&deltas));
        Run { base, factor, plain, deltas, plain_bits, deltas_bits }
    }

    /// Appends the run. Whether differences are taken is decided here; the caller tries both bodies where it matters.
    pub fn put(&self, body: Body, out: &mut Vec<u8>) {
        let count = self.plain.len();
        let cost = |(widest, sum): (u32, u64)| match body {
            Body::Packed => u64::from(widest) * count as u64,
            Body::Planes => sum,
        };
        // Differences lose what makes values equal, so they must save more than a little.
        let take_deltas = cost(self.deltas_bits) * 8 < cost(self.plain_bits) * 7;
        let (numbers, (width, _), mode) = match take_deltas {
            true => (&self.deltas, self.deltas_bits, DELTA),
            false => (&self.plain, self.plain_bits, 0),
        };
        match body {
            Body::Packed => {
                head(out, mode | PACKED, count, self.base, self.factor, width as u8);
                pack(numbers, width, out);
            }
            Body::Planes => {
                let planes = width.div_ceil(8);
                head(out, mode | PLANES, count, self.base, self.factor, planes as u8);
                for plane in 0..planes {
                    out.extend(numbers.iter().map(|n| (n >> (8 * plane)) as u8));
                }
            }
        }
    }

    /// Bytes of the packed body, without what stands before it.
    pub fn packed_len(&self) -> usize {
        let count = self.plain.len() as u64;
        let widest = |bits: (u32, u64)| u64::from(bits.0) * count;
        let (plain, deltas) = (widest(self.plain_bits), widest(self.deltas_bits));
        (if deltas * 8 < plain * 7 { deltas } else { plain }).div_ceil(8) as usize
    }
}

/// Appends a run.
pub fn encode(values: &[i64], body: Body, out: &mut Vec<u8>) {
    Run::new(values).put(body, out);
}

fn head(out: &mut Vec<u8>, mode: u8, count: usize, base: i64, factor: u64, width: u8) {
    out.push(mode);
    put_varint(out, count as u64);
    put_zigzag(out, base);
    put_varint(out, factor);
    out.push(width);
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Appends the low `width` bits of each number.
fn pack(numbers: &[u64], width: u32, out: &mut Vec<u8>) {
    let (mut pending, mut filled) = (0u128, 0u32);
    for &n in numbers {
        pending |= u128::from(n) << filled;
        filled += width;
        while filled >= 8 {
            out.push(pending as u8);
            pending >>= 8;
            filled -= 8;
        }
    }
    if filled > 0 {
        out.push(pending as u8);
    }
}

/// Numbers that are decoded at a time: they stay in the nearest cache.
const STEP: usize = 256;

/// A run as it is stored.
struct Stored<'a> {
    is_packed: bool,
    has_deltas: bool,
    count: usize,
    base: i64,
    factor: u64,
    /// Bits of a packed number, or planes.
    width: u8,
    body: &'a [u8],
}

impl<'a> Stored<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes, "integers");
        let mode = r.u8()?;
        let count = r.varint()?;
        let base = r.zigzag()?;
        let factor = r.varint()?;
        let width = r.u8()?;
        if count > INTS_MAX as u64 {
            return Err(r.error(format!("at most {INTS_MAX} integers"), count));
        }
        let count = count as usize;
        let bytes = match mode & !DELTA {
            PACKED if width <= 64 => (count * usize::from(width)).div_ceil(8),
            PLANES if width <= 8 => count * usize::from(width),
            _ => return Err(r.error("a known mode and width", format!("mode {mode}, width {width}"))),
        };
        let body = r.take(bytes)?;
        r.end()?;
        let (is_packed, has_deltas) = (mode & !DELTA == PACKED, mode & DELTA != 0);
        Ok(Stored { is_packed, has_deltas, count, base, factor, width, body })
    }

    /// Gives the integers, as many at a time as fit.
    fn each(&self, mut take: impl FnMut(&[i64]) -> Result<(), DecodeError>) -> Result<(), DecodeError> {
        let mut numbers = [0u64; STEP];
        let mut values = [0i64; STEP];
        let mut sum = 0u64;
        for first in (0..self.count).step_by(STEP) {
            let len = STEP.min(self.count - first);
            let (numbers, values) = (&mut numbers[..len], &mut values[..len]);
            match self.is_packed {
                true => unpack(self.body, u32::from(self.width), first, numbers),
                false => {
                    numbers.fill(0);
                    for (plane, bytes) in self.body.chunks_exact(self.count).enumerate() {
                        let bytes = &bytes[first..first + len];
                        numbers.iter_mut().zip(bytes).for_each(|(n, &b)| *n |= u64::from(b) << (8 * plane));
                    }
                }
            }
            if self.has_deltas {
                for n in &mut *numbers {
                    sum = sum.wrapping_add(((*n >> 1) as i64 ^ -((*n & 1) as i64)) as u64);
                    *n = sum;
                }
            }
            let base = self.base;
            // A multiplication of 64 bits takes longer than all the rest.
            match self.factor {
                1 => values.iter_mut().zip(numbers).for_each(|(v, n)| *v = base.wrapping_add(*n as i64)),
                by => {
                    values.iter_mut().zip(numbers).for_each(|(v, n)| *v = base.wrapping_add(n.wrapping_mul(by) as i64))
                }
            }
            take(values)?;
        }
        Ok(())
    }
}

/// The numbers of this many bits from the one at `first` on.
fn unpack(body: &[u8], width: u32, first: usize, numbers: &mut [u64]) {
    if width == 0 {
        return numbers.fill(0);
    }
    let mask = if width == 64 { u64::MAX } else { (1 << width) - 1 };
    // Up to 56 bits lie within eight bytes from any bit of the first one.
    let mut at = first * width as usize;
    for number in numbers {
        let (byte, shift) = (at / 8, at % 8);
        let n = match body.get(byte..byte + 8) {
            Some(eight) if width <= 56 => {
                let mut word = [0; 8];
                word.copy_from_slice(eight);
                u64::from_le_bytes(word) >> shift
            }
            _ => {
                let mut word = [0; 16];
                let some = &body[byte.min(body.len())..(byte + 16).min(body.len())];
                word[..some.len()].copy_from_slice(some);
                (u128::from_le_bytes(word) >> shift) as u64
            }
        };
        *number = n & mask;
        at += width as usize;
    }
}

/// Reads a run that ends where the bytes end, and appends it.
pub fn decode_to(bytes: &[u8], out: &mut Vec<i64>) -> Result<(), DecodeError> {
    let stored = Stored::read(bytes)?;
    out.reserve(stored.count);
    stored.each(|values| {
        out.extend_from_slice(values);
        Ok(())
    })
}

/// Reads a run that ends where the bytes end.
pub fn decode(bytes: &[u8]) -> Result<Vec<i64>, DecodeError> {
    let mut out = Vec::new();
    decode_to(bytes, &mut out)?;
    Ok(out)
}

/// Reads a run of numbers below `count`, which are appended to others of at most as many.
pub fn decode_codes(bytes: &[u8], count: u32, out: &mut Codes) -> Result<(), DecodeError> {
    let stored = Stored::read(bytes)?;
    let check = |most: Option<u64>| match most {
        Some(most) if most >= u64::from(count) => {
            Err(DecodeError::new("codes", 0, format!("a number below {count}"), most as i64))
        }
        _ => Ok(()),
    };
    if let (Codes::U8(codes), false, false, 1, 0, 1) =
        (&mut *out, stored.is_packed, stored.has_deltas, stored.width, stored.base, stored.factor)
    {
        check(stored.body.iter().max().map(|&most| most.into()))?;
        codes.extend_from_slice(stored.body);
        return Ok(());
    }
    stored.each(|values| {
        // What is negative is a large number so.
        check(values.iter().map(|&value| value as u64).max())?;
        match out {
            Codes::U8(codes) => codes.extend(values.iter().map(|&value| value as u8)),
            Codes::U16(codes) => codes.extend(values.iter().map(|&value| value as u16)),
            Codes::U32(codes) => codes.extend(values.iter().map(|&value| value as u32)),
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips() {
        let ramp: Vec<i64> =
            (0..1000).map(|i| 1_700_000_000_000_000_000 + i * 1_000_000 + (i % 7) * 3_000_000).collect();
        for values in [
            vec![],
            vec![7],
            vec![i64::MIN, i64::MAX, 0, -1],
            vec![5; 100],
            ramp,
            (0..3000).map(|i: i64| i.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as i64)).collect(),
            (0..500).map(|i: i64| if i % 100 == 0 { i64::MAX - i } else { i }).collect(),
        ] {
            for body in [Body::Packed, Body::Planes] {
                let mut out = Vec::new();
                encode(&values, body, &mut out);
                assert_eq!(decode(&out).as_deref(), Ok(&*values), "{body:?}");
                for cut in 0..out.len().min(40) {
                    assert!(decode(&out[..cut]).is_err());
                }
            }
        }
    }

    #[test]
    fn codes_are_those_integers_in_less_room() {
        for count in [1, 2, 200, 256, 257, 1000, 65_536, 65_537, 1_000_000] {
            let mut random = 7u32;
            let mut next = |below: u32| {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (random >> 3) % below
            };
            let few = |n: u32| if n.is_multiple_of(9) { count - 1 } else { n % 2 % count };
            let runs: [Vec<u32>; 4] = [
                (0..1000).map(|_| next(count)).collect(),
                (0..1000).map(few).collect(),
                (0..700).map(|n| n / 3 % count).collect(),
                Vec::new(),
            ];
            for run in runs {
                let values: Vec<i64> = run.iter().map(|&n| n.into()).collect();
                for body in [Body::Packed, Body::Planes] {
                    let mut out = Vec::new();
                    encode(&values, body, &mut out);
                    let mut codes = Codes::below(count as usize, 0);
                    assert!(
                        decode_codes(&out, count, &mut codes)
                            .and_then(|()| decode_codes(&out, count, &mut codes))
                            .is_ok()
                    );
                    assert_eq!(codes.iter().collect::<Vec<_>>(), [&run[..], &run].concat(), "{body:?} below {count}");
                    let most = run.iter().max().copied().unwrap_or(0);
                    assert_eq!(decode_codes(&out, most, &mut codes).is_err(), !run.is_empty(), "{body:?} below {most}");
                }
            }
        }
        let mut out = Vec::new();
        encode(&[3, -1], Body::Planes, &mut out);
        assert!(decode_codes(&out, 4, &mut Codes::below(4, 0)).is_err(), "none is negative");
    }

    #[test]
    fn regular_times_take_little() {
        let times: Vec<i64> = (0..16_384).map(|i| 1_700_000_000_000_000_000 + i * 1_000_000).collect();
        let mut out = Vec::new();
        encode(&times, Body::Packed, &mut out);
        assert!(out.len() < 16_384 * 3 / 8, "{}", out.len());
    }
}
