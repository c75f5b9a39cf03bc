//! Sums: exact for integers and for decimals of up to 38 digits.

use crate::record::Number;

/// A sum and how many numbers are in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sum {
    integers: i128,
    others: Number,
    pub(crate) count: u64,
}

impl Default for Sum {
    fn default() -> Self {
        Sum { integers: 0, others: Number::ZERO, count: 0 }
    }
}

impl Sum {
    pub(crate) fn add(&mut self, number: Number) {
        self.count += 1;
        match number.as_i128().and_then(|n| self.integers.checked_add(n)) {
            Some(sum) => self.integers = sum,
            None => self.others = self.others.plus(number),
        }
    }

    /// Takes in so many integers, as their sum.
    pub(crate) fn add_integers(&mut self, sum: i128, count: u64) {
        self.merge(Sum { integers: sum, others: Number::ZERO, count });
    }

    pub(crate) fn merge(&mut self, other: Sum) {
        self.count += other.count;
        match self.integers.checked_add(other.integers) {
            Some(sum) => self.integers = sum,
            None => self.others = self.others.plus(Number::from(other.integers)),
        }
        self.others = self.others.plus(other.others);
    }

    /// The sum; `None` of no numbers.
    pub(crate) fn total(&self) -> Option<Number> {
        (self.count > 0).then(|| Number::from(self.integers).plus(self.others))
    }

    /// The mean: exact where it is an integer, else the nearest float.
    pub(crate) fn mean(&self) -> Option<Number> {
        let total = self.total()?;
        match total.as_i128() {
            Some(n) if n % i128::from(self.count) == 0 => Some(Number::from(n / i128::from(self.count))),
            _ => Number::from_f64(total.to_f64() / self.count as f64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact() {
        let mut sum = Sum::default();
        assert_eq!((sum.total(), sum.mean()), (None, None));
        for text in ["9223372036854775807", "9223372036854775807", "0.1", "0.2"] {
            sum.add(Number::parse(text).expect("a number"));
        }
        assert_eq!(sum.total().map(|n| n.to_string()).as_deref(), Some("18446744073709551614.3"));
        let mut mean = Sum::default();
        mean.add(Number::from(1i64));
        mean.add(Number::from(2i64));
        assert_eq!(mean.mean().map(|n| n.to_string()).as_deref(), Some("1.5"));
    }
}
