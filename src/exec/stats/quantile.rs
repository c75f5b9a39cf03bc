//! Quantiles: exact up to a number of distinct values, and a sketch beyond.

use crate::record::Number;
use rustc_hash::FxHashMap;

/// Distinct values of a group up to which quantiles are exact, however many records have them: 64 bytes each.
/// Whole milliseconds up to 16 s are fewer.
pub(crate) const QUANTILE_EXACT_VALUES_MAX: usize = 16_384;
/// Beyond, a quantile is wrong by at most this share of itself.
pub(crate) const QUANTILE_ERROR_MAX: f64 = 0.005;

/// The numbers of a group. Whether the answer is exact depends on how many distinct ones there are, and so not on how
/// they were spread over threads.
#[derive(Clone, Debug)]
pub(crate) enum Quantiles {
    /// How often each number came.
    Exact(FxHashMap<Number, u64>),
    Sketch(Box<Sketch>),
}

/// Counts of values in buckets whose bounds grow by a constant factor, so that the middle of a bucket is near all of
/// its values. Source: Masson, Rim, Lee, "DDSketch", VLDB 2019.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sketch {
    positive: FxHashMap<i32, u64>,
    negative: FxHashMap<i32, u64>,
    zero: u64,
    count: u64,
}

fn gamma_ln() -> f64 {
    ((1.0 + QUANTILE_ERROR_MAX) / (1.0 - QUANTILE_ERROR_MAX)).ln()
}

impl Sketch {
    fn add(&mut self, number: Number, times: u64) {
        let value = number.to_f64();
        let bucket = |size: f64| (size.ln() / gamma_ln()).ceil().clamp(i32::MIN.into(), i32::MAX.into()) as i32;
        self.count += times;
        if value > 0.0 {
            *self.positive.entry(bucket(value)).or_default() += times;
        } else if value < 0.0 {
            *self.negative.entry(bucket(-value)).or_default() += times;
        } else {
            self.zero += times;
        }
    }

    fn merge(&mut self, other: &Sketch) {
        for (own, others) in [(&mut self.positive, &other.positive), (&mut self.negative, &other.negative)] {
            for (bucket, count) in others {
                *own.entry(*bucket).or_default() += count;
            }
        }
        self.zero += other.zero;
        self.count += other.count;
    }

    fn quantile(&self, phi: f64) -> Option<f64> {
        let mut rest = rank(phi, self.count)?;
        let gamma = gamma_ln().exp();
        let middle = |bucket: i32| 2.0 * gamma.powi(bucket) / (gamma + 1.0);
        let sorted = |buckets: &FxHashMap<i32, u64>| {
            let mut all: Vec<(i32, u64)> = buckets.iter().map(|(&b, &n)| (b, n)).collect();
            all.sort_unstable();
            all
        };
        let below = sorted(&self.negative).into_iter().rev().map(|(b, n)| (-middle(b), n));
        let above = sorted(&self.positive).into_iter().map(|(b, n)| (middle(b), n));
        for (value, count) in below.chain([(0.0, self.zero)]).chain(above) {
            if rest < count {
                return Some(value);
            }
            rest -= count;
        }
        None
    }
}

/// The place, from 0, of a quantile among sorted values: nearest rank.
fn rank(phi: f64, count: u64) -> Option<u64> {
    let last = count.checked_sub(1)?;
    let place = phi * count as f64;
    // 0.56 of 25 is 14, and a little more in binary: what is nearly whole is whole.
    let whole = place.round();
    let place = if (place - whole).abs() <= 1e-9 * whole.max(1.0) { whole } else { place.ceil() };
    Some((place as u64).saturating_sub(1).min(last))
}

impl Default for Quantiles {
    fn default() -> Self {
        Quantiles::Exact(FxHashMap::default())
    }
}

impl Quantiles {
    /// Takes in a number; tells the bytes that it takes.
    pub(crate) fn add(&mut self, number: Number) -> usize {
        match self {
            Quantiles::Exact(numbers) => {
                let before = numbers.capacity();
                *numbers.entry(number).or_default() += 1;
                let grown = numbers.capacity() - before;
                self.bound();
                grown * size_of::<(Number, u64)>()
            }
            Quantiles::Sketch(sketch) => {
                sketch.add(number, 1);
                0
            }
        }
    }

    fn bound(&mut self) {
        if let Quantiles::Exact(numbers) = self
            && numbers.len() > QUANTILE_EXACT_VALUES_MAX
        {
            let mut sketch = Sketch::default();
            numbers.iter().for_each(|(n, times)| sketch.add(*n, *times));
            *self = Quantiles::Sketch(Box::new(sketch));
        }
    }

    pub(crate) fn merge(&mut self, other: Quantiles) {
        match (&mut *self, other) {
            (Quantiles::Exact(own), Quantiles::Exact(others)) => {
                others.into_iter().for_each(|(n, times)| *own.entry(n).or_default() += times);
                self.bound();
            }
            (Quantiles::Sketch(own), Quantiles::Sketch(other)) => own.merge(&other),
            (Quantiles::Sketch(own), Quantiles::Exact(others)) => {
                others.into_iter().for_each(|(n, times)| own.add(n, times));
            }
            (Quantiles::Exact(own), Quantiles::Sketch(mut other)) => {
                own.iter().for_each(|(n, times)| other.add(*n, *times));
                *self = Quantiles::Sketch(other);
            }
        }
    }

    /// The value at a share `phi` of the sorted values.
    pub(crate) fn quantile(&self, phi: f64) -> Option<Number> {
        match self {
            Quantiles::Exact(numbers) => {
                let mut rest = rank(phi, numbers.values().sum())?;
                let mut sorted: Vec<(Number, u64)> = numbers.iter().map(|(n, times)| (*n, *times)).collect();
                sorted.sort_unstable();
                sorted.into_iter().find_map(|(n, times)| match rest.checked_sub(times) {
                    Some(left) => {
                        rest = left;
                        None
                    }
                    None => Some(n),
                })
            }
            Quantiles::Sketch(sketch) => sketch.quantile(phi).and_then(Number::from_f64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_do_not_slip_in_binary() {
        for percent in 1..100u64 {
            for count in 1..2_000u64 {
                let exact = (percent * count).div_ceil(100).max(1) - 1;
                assert_eq!(rank(percent as f64 / 100.0, count), Some(exact), "{percent} % of {count}");
            }
        }
    }

    #[test]
    fn nearest_rank() {
        for (phi, expect) in [(0.0, 15), (0.05, 15), (0.3, 20), (0.4, 20), (0.5, 35), (0.95, 50), (1.0, 50)] {
            let mut quantiles = Quantiles::default();
            for n in [50i64, 15, 40, 20, 35] {
                quantiles.add(Number::from(n));
            }
            assert_eq!(quantiles.quantile(phi), Some(Number::from(expect as i64)), "{phi}");
        }
        assert_eq!(Quantiles::default().quantile(0.5), None);
    }

    /// Ten values for each that is kept: the number of values alone makes no sketch, and equal numbers are one.
    #[test]
    fn many_records_of_few_values_are_exact() {
        let mut quantiles = [Quantiles::default(), Quantiles::default()];
        for i in 0..10 * QUANTILE_EXACT_VALUES_MAX as i64 {
            let text = if i % 2 == 0 { format!("{}", i % 1000) } else { format!("{}.0e0", i % 1000) };
            quantiles[usize::from(i % 7 == 0)].add(Number::parse(&text).expect("a number"));
        }
        let [mut a, b] = quantiles;
        a.merge(b);
        for (phi, expect) in [(0.0, 0), (0.5, 499), (0.95, 949), (0.999, 998), (1.0, 999)] {
            let got = a.quantile(phi).map(|n| n.to_string());
            let near = [expect - 1, expect, expect + 1].map(|n: i64| n.to_string());
            assert!(got.as_ref().is_some_and(|n| near.contains(n)), "{phi}: {got:?}");
        }
        assert!(matches!(&a, Quantiles::Exact(numbers) if numbers.len() == 1000));
    }

    #[test]
    fn sketch_is_near_and_does_not_depend_on_order() {
        let n = 3 * QUANTILE_EXACT_VALUES_MAX as i64;
        let value = |i: i64| Number::from((i * 7919) % n - 100);
        let mut whole = Quantiles::default();
        let mut parts = [Quantiles::default(), Quantiles::default()];
        for i in 0..n {
            whole.add(value(i));
            parts[usize::from(i % 5 == 0)].add(value(i));
        }
        let [mut a, b] = parts;
        a.merge(b);
        for phi in [0.001, 0.01, 0.5, 0.95, 0.999] {
            let exact = (phi * n as f64).ceil() - 1.0 - 100.0;
            let got = whole.quantile(phi).map_or(f64::NAN, Number::to_f64);
            assert!((got - exact).abs() <= QUANTILE_ERROR_MAX * exact.abs() + 1e-9, "{phi}: {got} for {exact}");
            assert_eq!(a.quantile(phi), whole.quantile(phi));
        }
    }
}
