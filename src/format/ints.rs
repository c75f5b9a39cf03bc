//! A run of integers: frame of reference or differences, packed by bits or split into byte planes.
//!
//! Layout: mode u8, count varint, base zig-zag, factor varint, width u8, body. An integer is
//! `base + factor * n`, where `n` is the unsigned number of the body, or, in the modes of differences, the running
//! sum of the zig-zag numbers of the body. Bit packing (least bits first, as Parquet's) suits numbers that fill
//! their width; byte planes (all lowest bytes, then all second ones, ..) are for the compressor around them.

use super::{DecodeError, Reader, put_varint, put_zigzag};

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

fn unpack(body: &[u8], width: u32, count: usize) -> Vec<u64> {
    if width == 0 {
        return vec![0; count];
    }
    let mask = if width == 64 { u64::MAX } else { (1 << width) - 1 };
    let mut numbers = Vec::with_capacity(count);
    // Up to 56 bits lie within eight bytes from any bit of the first one.
    let mut at = 0usize;
    for _ in 0..count {
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
        numbers.push(n & mask);
        at += width as usize;
    }
    numbers
}

/// Reads a run that ends where the bytes end.
pub fn decode(bytes: &[u8]) -> Result<Vec<i64>, DecodeError> {
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
    let numbers = match mode & !DELTA {
        PACKED if width <= 64 => {
            let body = r.take((count * usize::from(width)).div_ceil(8))?;
            unpack(body, width.into(), count)
        }
        PLANES if width <= 8 => {
            let mut numbers = vec![0u64; count];
            for plane in 0..width {
                for (n, &b) in numbers.iter_mut().zip(r.take(count)?) {
                    *n |= u64::from(b) << (8 * plane);
                }
            }
            numbers
        }
        _ => return Err(r.error("a known mode and width", format!("mode {mode}, width {width}"))),
    };
    r.end()?;
    let value = |n: u64| base.wrapping_add(n.wrapping_mul(factor) as i64);
    Ok(if mode & DELTA == 0 {
        numbers.into_iter().map(value).collect()
    } else {
        let mut sum = 0u64;
        numbers
            .into_iter()
            .map(|n| {
                sum = sum.wrapping_add(((n >> 1) as i64 ^ -((n & 1) as i64)) as u64);
                value(sum)
            })
            .collect()
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
    fn regular_times_take_little() {
        let times: Vec<i64> = (0..16_384).map(|i| 1_700_000_000_000_000_000 + i * 1_000_000).collect();
        let mut out = Vec::new();
        encode(&times, Body::Packed, &mut out);
        assert!(out.len() < 16_384 * 3 / 8, "{}", out.len());
    }
}
