//! Exact decimal numbers.
//!
//! A number is `mantissa * 10^exponent`, so that integers of 64 bits and decimals are compared as they were
//! written, never through `f64`. Up to 36 significant digits count; more are cut off.

use std::cmp::Ordering;

/// Significant digits kept; i128 holds 38.
const DIGITS_MAX: u32 = 36;
/// So many digits surely fit 64 bits, where arithmetic is fast.
const SMALL_DIGITS: u32 = 18;
/// Exponents are clamped here: beyond it values compare as equal to the bound.
const EXPONENT_MAX: i32 = 100_000;
/// Powers of ten that a float holds exactly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];
/// A float holds integers up to this exactly.
const FLOAT_EXACT_MAX: u64 = 1 << 53;
/// Below this, mantissas have at most 15 digits, of which a float loses none.
const FLOAT_DIGITS_BOUND: u64 = 1_000_000_000_000_000;

/// An exact decimal.
#[derive(Clone, Copy, Debug)]
pub struct Number {
    mantissa: i128,
    exponent: i32,
}

impl Number {
    /// Zero.
    pub const ZERO: Number = Number { mantissa: 0, exponent: 0 };

    fn new(mut mantissa: i128, mut exponent: i32) -> Self {
        if mantissa == 0 {
            return Self::ZERO;
        }
        // Integers keep exponent 0 where they can, so that most comparisons need no alignment.
        if let Ok(mut small) = i64::try_from(mantissa) {
            while exponent < 0 && small % 10 == 0 {
                (small, exponent) = (small / 10, exponent + 1);
            }
            return Number { mantissa: small.into(), exponent };
        }
        while exponent < 0 && mantissa % 10 == 0 {
            (mantissa, exponent) = (mantissa / 10, exponent + 1);
        }
        Number { mantissa, exponent }
    }

    /// Reads `-12`, `+3.50`, `.5`, `1e-9`; nothing around it.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let (negative, mut i) = match bytes.first()? {
            b'-' => (true, 1),
            b'+' => (false, 1),
            _ => (false, 0),
        };
        let (mut small, mut exponent, mut digits, mut seen, mut point) = (0u64, 0i32, 0u32, false, false);
        while let Some(&b) = bytes.get(i) {
            match b {
                b'0'..=b'9' if digits < SMALL_DIGITS => {
                    seen = true;
                    small = small * 10 + u64::from(b - b'0');
                    digits += u32::from(small != 0);
                    exponent -= i32::from(point);
                }
                b'.' if !point => point = true,
                _ => break,
            }
            i += 1;
        }
        let mut mantissa = i128::from(small);
        while let Some(&b) = bytes.get(i) {
            match b {
                b'0'..=b'9' => {
                    seen = true;
                    if digits < DIGITS_MAX {
                        mantissa = mantissa * 10 + i128::from(b - b'0');
                        digits += u32::from(mantissa != 0);
                        exponent -= i32::from(point);
                    } else {
                        exponent = exponent.saturating_add(i32::from(!point));
                    }
                }
                b'.' if !point => point = true,
                _ => break,
            }
            i += 1;
        }
        if !seen {
            return None;
        }
        if matches!(bytes.get(i), Some(b'e' | b'E')) {
            i += 1;
            let down = match bytes.get(i) {
                Some(b'-') => true,
                Some(b'+') => false,
                _ => {
                    i -= 1;
                    false
                }
            };
            i += 1;
            let start = i;
            let mut e = 0i32;
            while let Some(b @ b'0'..=b'9') = bytes.get(i) {
                e = (e * 10 + i32::from(b - b'0')).min(EXPONENT_MAX);
                i += 1;
            }
            if i == start {
                return None;
            }
            exponent = exponent.saturating_add(if down { -e } else { e }).clamp(-EXPONENT_MAX, EXPONENT_MAX);
        }
        if i != bytes.len() {
            return None;
        }
        Some(Number::new(if negative { -mantissa } else { mantissa }, exponent))
    }

    /// Is the text a number as JSON has them (RFC 8259, section 6)?
    pub fn is_json(text: &str) -> bool {
        let b = text.as_bytes();
        let mut i = usize::from(b.first() == Some(&b'-'));
        let digits = |mut i: usize| {
            let from = i;
            while b.get(i).is_some_and(u8::is_ascii_digit) {
                i += 1;
            }
            (i > from).then_some(i)
        };
        let Some(end) = digits(i) else { return false };
        if b[i] == b'0' && end > i + 1 {
            return false;
        }
        i = end;
        if b.get(i) == Some(&b'.') {
            match digits(i + 1) {
                Some(end) => i = end,
                None => return false,
            }
        }
        if matches!(b.get(i), Some(b'e' | b'E')) {
            i += 1 + usize::from(matches!(b.get(i + 1), Some(b'+' | b'-')));
            match digits(i) {
                Some(end) => i = end,
                None => return false,
            }
        }
        i == b.len()
    }

    /// The number as an i64, where it is one.
    pub fn as_i64(self) -> Option<i64> {
        self.as_i128().and_then(|n| i64::try_from(n).ok())
    }

    /// The number as an i128, where it is one.
    pub fn as_i128(self) -> Option<i128> {
        match self.exponent {
            0 => Some(self.mantissa),
            1..=38 => 10i128.checked_pow(self.exponent as u32).and_then(|p| self.mantissa.checked_mul(p)),
            _ => None,
        }
    }

    /// The nearest f64, as good as the standard library's parser makes it.
    pub fn to_f64(self) -> f64 {
        if self.exponent == 0 {
            self.mantissa as f64
        } else if let Some(power) = self.power()
            && self.mantissa.unsigned_abs() <= FLOAT_EXACT_MAX.into()
        {
            // Of two exact floats the result is rounded once, as the parser would.
            let mantissa = self.mantissa as i64 as f64;
            if self.exponent < 0 { mantissa / power } else { mantissa * power }
        } else {
            format!("{}e{}", self.mantissa, self.exponent).parse().unwrap_or(f64::NAN)
        }
    }

    /// The power of ten that its exponent makes, or whose reciprocal it makes, where a float holds that.
    fn power(self) -> Option<f64> {
        POWERS.get(self.exponent.unsigned_abs() as usize).copied()
    }

    /// Has it so few digits that the nearest float's shortest text is that of the number?
    pub(crate) fn is_short(self) -> bool {
        self.mantissa.unsigned_abs() < FLOAT_DIGITS_BOUND.into() && self.power().is_some()
    }

    /// Floats with the number and its nearest floats between them, where they are found quickly.
    pub(crate) fn around(self) -> Option<(f64, f64)> {
        let power = self.power()?;
        let mantissa = self.mantissa as f64;
        let f = if self.exponent < 0 { mantissa / power } else { mantissa * power };
        // Both roundings and the next float are some 1e-16 of it.
        let by = f.abs() * 1e-14;
        Some((f - by, f + by))
    }

    /// The product with an integer and a power of ten; used for units.
    pub fn scaled(self, by: i128) -> Self {
        match self.mantissa.checked_mul(by) {
            Some(m) => Number::new(m, self.exponent),
            // Beyond 38 digits: cut some off.
            None => Number::new((self.mantissa / 1_000_000_000_000_000_000).saturating_mul(by), self.exponent + 18),
        }
    }

    /// A f64 as a number, by its shortest text; `None` where it is not finite.
    pub fn from_f64(f: f64) -> Option<Self> {
        if f.is_finite() { Number::parse(&format!("{f:e}")) } else { None }
    }

    /// Mantissa and exponent. Fractions have them in lowest terms, so that equal ones have equal parts.
    pub fn parts(self) -> (i128, i32) {
        (self.mantissa, self.exponent)
    }

    /// The number that has these [`Number::parts`].
    pub fn from_parts((mantissa, exponent): (i128, i32)) -> Self {
        Number::new(mantissa, exponent)
    }

    /// `digits / 10^places`.
    pub fn from_decimal(digits: i64, places: u8) -> Self {
        Number::new(digits.into(), -i32::from(places))
    }

    /// `self + other`, exact where 38 digits hold it, else through f64.
    pub fn plus(self, other: Self) -> Self {
        let exponent = self.exponent.min(other.exponent);
        let shift =
            |n: Self| 10i128.checked_pow((n.exponent - exponent) as u32).and_then(|p| n.mantissa.checked_mul(p));
        match (shift(self), shift(other)) {
            (Some(a), Some(b)) if a.checked_add(b).is_some() => Number::new(a + b, exponent),
            _ => Number::from_f64(self.to_f64() + other.to_f64()).unwrap_or(self),
        }
    }
}

impl From<i64> for Number {
    fn from(n: i64) -> Self {
        Number { mantissa: n.into(), exponent: 0 }
    }
}
impl From<i128> for Number {
    fn from(n: i128) -> Self {
        Number::new(n, 0)
    }
}

impl std::fmt::Display for Number {
    /// Plain decimal where that is at most 40 characters, scientific beyond.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Number { mantissa, exponent } = *self;
        match exponent {
            0 => write!(f, "{mantissa}"),
            1..=30 => write!(f, "{mantissa}{}", "0".repeat(exponent as usize)),
            -38..=-1 => {
                let places = exponent.unsigned_abs() as usize;
                let digits = format!("{:0>width$}", mantissa.unsigned_abs(), width = places + 1);
                let (whole, part) = digits.split_at(digits.len() - places);
                write!(f, "{}{whole}.{part}", if mantissa < 0 { "-" } else { "" })
            }
            _ => write!(f, "{mantissa}e{exponent}"),
        }
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Number {}
impl std::hash::Hash for Number {
    /// Equal numbers hash alike, whatever their exponents.
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        let (mut mantissa, mut exponent) = (self.mantissa, self.exponent);
        // Most fit 64 bits, where division is fast.
        if let Ok(mut small) = i64::try_from(mantissa) {
            while small != 0 && small % 10 == 0 {
                (small, exponent) = (small / 10, exponent + 1);
            }
            mantissa = small.into();
        }
        while mantissa != 0 && mantissa % 10 == 0 {
            (mantissa, exponent) = (mantissa / 10, exponent + 1);
        }
        (mantissa, exponent).hash(state);
    }
}
impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        if self.exponent == other.exponent {
            return self.mantissa.cmp(&other.mantissa);
        }
        let sign = self.mantissa.signum().cmp(&other.mantissa.signum());
        if sign != Ordering::Equal || self.mantissa == 0 {
            return sign;
        }
        // Same sign, neither zero: the greater power of ten of the first digit decides, then the digits.
        let magnitude = |n: &Number| n.mantissa.unsigned_abs().ilog10() as i64 + i64::from(n.exponent);
        let by_size = match magnitude(self).cmp(&magnitude(other)) {
            Ordering::Equal => {
                // The one with fewer digits gets as many as the other; what overflows is greater than any mantissa.
                let (a, b) = (self.mantissa.unsigned_abs(), other.mantissa.unsigned_abs());
                let digits = a.ilog10().max(b.ilog10());
                let pad = |m: u128| m.saturating_mul(10u128.pow(digits - m.ilog10()));
                pad(a).cmp(&pad(b))
            }
            unequal => unequal,
        };
        if self.mantissa < 0 { by_size.reverse() } else { by_size }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_exact() {
        let order = [
            "-1e300",
            "-18446744073709551616",
            "-9007199254740993",
            "-9007199254740992",
            "-5",
            "-4.5",
            "-1.5",
            "-0.1",
            "-1e-300",
            "0",
            "1e-300",
            "0.1",
            "0.10000000000000000001",
            "1",
            "1.5",
            "4.5",
            "5",
            "9007199254740992",
            "9007199254740993",
            "18446744073709551615",
            "18446744073709551616",
            "1e40",
            "1e300",
        ];
        for (i, a) in order.iter().enumerate() {
            for (j, b) in order.iter().enumerate() {
                let (x, y) = (Number::parse(a).unwrap(), Number::parse(b).unwrap());
                assert_eq!(x.cmp(&y), i.cmp(&j), "{a} {b}");
            }
        }
        let hash = |n: Option<Number>| std::hash::BuildHasher::hash_one(&rustc_hash::FxBuildHasher, n);
        for (a, b) in [("1.0", "1"), ("1e3", "1000"), ("-0", "0"), ("+5", "5"), ("0.50", ".5"), ("100e-2", "1")] {
            assert_eq!(Number::parse(a), Number::parse(b), "{a} {b}");
            assert_eq!(hash(Number::parse(a)), hash(Number::parse(b)), "{a} {b}");
        }
    }

    #[test]
    fn what_is_a_number() {
        for bad in ["", "-", ".", "e5", "1e", "1e+", "0x10", "1 ", " 1", "1.2.3", "NaN", "inf", "١"] {
            assert_eq!(Number::parse(bad), None, "{bad}");
        }
        for (text, json) in [
            ("0", true),
            ("-0", true),
            ("01", false),
            ("1.", false),
            (".5", false),
            ("1e5", true),
            ("1E+05", true),
            ("+1", false),
            ("", false),
            ("-", false),
            ("1x", false),
        ] {
            assert_eq!(Number::is_json(text), json, "{text}");
        }
    }

    #[test]
    fn floats_are_the_nearest_ones() {
        for mantissa in
            [1i128, -3, 7, 9_999, 123_456_789, 999_999_999_999_999, 9_007_199_254_740_993, 1 << 62, -(1 << 100)]
        {
            for exponent in -40..40 {
                let n = Number::new(mantissa, exponent);
                let f: f64 = format!("{mantissa}e{exponent}").parse().unwrap();
                assert_eq!(n.to_f64(), f, "{mantissa}e{exponent}");
                if n.is_short() {
                    assert_eq!(Number::from_f64(f), Some(n), "{mantissa}e{exponent}");
                }
                if let Some((low, high)) = n.around() {
                    assert!(low < f.next_down() && f.next_up() < high, "{mantissa}e{exponent}");
                    assert!(high - low < f.abs() / 1e13, "{mantissa}e{exponent}");
                }
            }
        }
    }

    #[test]
    fn text_and_back() {
        for text in ["0", "-12", "0.5", "-0.05", "1e40", "123456789012345678901234567890", "1000", "12.75"] {
            let n = Number::parse(text).unwrap();
            assert_eq!(Number::parse(&n.to_string()), Some(n), "{text}");
        }
    }
}
