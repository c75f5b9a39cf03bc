//! Quantiles: exact up to a number of distinct values, and a sketch beyond.

use crate::exec::ExecError;
use crate::exec::limits::{Budget, map_bytes};
use crate::record::Number;
use rustc_hash::FxHashMap;

/// Distinct values of a group up to which quantiles are exact, about 40 bytes each. Durations in ms, sizes and codes
/// stay below; what does not is spread so far that half a percent shows nothing.
pub(crate) const QUANTILE_EXACT_VALUES_MAX: usize = 16_384;
/// Beyond, a quantile is wrong by at most this share of itself.
pub(crate) const QUANTILE_ERROR_MAX: f64 = 0.005;

/// The numbers of a group. Whether the answer is exact depends on how many distinct ones there are, so that it is the
/// same however they were spread over threads.
#[derive(Clone, Debug)]
pub(crate) enum Quantiles {
    Exact(Box<Counts>),
    Sketch(Box<Sketch>),
}

/// Distinct numbers, and how often each came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    /// Those that 64 bits hold: most, and quick to look up.
    integers: FxHashMap<i64, u64>,
    others: FxHashMap<(i128, i32), u64>,
    count: u64,
}

impl Counts {
    /// Counts a number.
    #[inline]
    fn add(&mut self, number: Number, times: u64, budget: &Budget) -> Result<(), ExecError> {
        self.count += times;
        if let Some(own) = number.as_i64().and_then(|n| self.integers.get_mut(&n)) {
            *own += times;
            return Ok(());
        }
        self.insert(number, times, budget)
    }

    /// Counts a number that may be new.
    #[inline(never)]
    fn insert(&mut self, number: Number, times: u64, budget: &Budget) -> Result<(), ExecError> {
        match number.as_i64() {
            Some(n) => {
                budget.reserve_in_map(&mut self.integers)?;
                *self.integers.entry(n).or_default() += times;
            }
            None => {
                budget.reserve_in_map(&mut self.others)?;
                *self.others.entry(number.parts()).or_default() += times;
            }
        }
        Ok(())
    }

    fn memory(&self) -> usize {
        size_of::<Self>() + map_bytes(&self.integers) + map_bytes(&self.others)
    }

    fn len(&self) -> usize {
        self.integers.len() + self.others.len()
    }

    fn iter(&self) -> impl Iterator<Item = (Number, u64)> {
        let integers = self.integers.iter().map(|(&n, &times)| (Number::from(n), times));
        integers.chain(self.others.iter().map(|(&parts, &times)| (Number::from_parts(parts), times)))
    }

    fn quantile(&self, phi: f64) -> Option<Number> {
        let mut rest = rank(phi, self.count)?;
        let mut sorted: Vec<(Number, u64)> = self.iter().collect();
        sorted.sort_unstable();
        for (number, times) in sorted {
            if rest < times {
                return Some(number);
            }
            rest -= times;
        }
        None
    }
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
    fn add(&mut self, number: Number, times: u64, budget: &Budget) -> Result<(), ExecError> {
        let value = number.to_f64();
        let bucket = |size: f64| (size.ln() / gamma_ln()).ceil().clamp(i32::MIN.into(), i32::MAX.into()) as i32;
        self.count += times;
        if value > 0.0 {
            budget.reserve_in_map(&mut self.positive)?;
            *self.positive.entry(bucket(value)).or_default() += times;
        } else if value < 0.0 {
            budget.reserve_in_map(&mut self.negative)?;
            *self.negative.entry(bucket(-value)).or_default() += times;
        } else {
            self.zero += times;
        }
        Ok(())
    }

    fn memory(&self) -> usize {
        size_of::<Self>() + map_bytes(&self.positive) + map_bytes(&self.negative)
    }

    fn merge(&mut self, other: &Sketch, budget: &Budget) -> Result<(), ExecError> {
        for (own, others) in [(&mut self.positive, &other.positive), (&mut self.negative, &other.negative)] {
            for (bucket, count) in others {
                budget.reserve_in_map(own)?;
                *own.entry(*bucket).or_default() += count;
            }
        }
        self.zero += other.zero;
        self.count += other.count;
        Ok(())
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
        Quantiles::Exact(Box::default())
    }
}

impl Quantiles {
    /// Takes in a number.
    #[inline]
    pub(crate) fn add(&mut self, number: Number, budget: &Budget) -> Result<(), ExecError> {
        match self {
            Quantiles::Exact(numbers) => {
                numbers.add(number, 1, budget)?;
                if numbers.len() > QUANTILE_EXACT_VALUES_MAX { self.bound(budget) } else { Ok(()) }
            }
            Quantiles::Sketch(sketch) => sketch.add(number, 1, budget),
        }
    }

    #[cold]
    fn bound(&mut self, budget: &Budget) -> Result<(), ExecError> {
        if let Quantiles::Exact(numbers) = self
            && numbers.len() > QUANTILE_EXACT_VALUES_MAX
        {
            let mut sketch = Sketch::default();
            budget.charge(sketch.memory())?;
            numbers.iter().try_for_each(|(n, times)| sketch.add(n, times, budget))?;
            budget.release(numbers.memory());
            *self = Quantiles::Sketch(Box::new(sketch));
        }
        Ok(())
    }

    /// Bytes of memory beside itself.
    pub(crate) fn memory(&self) -> usize {
        match self {
            Quantiles::Exact(numbers) => numbers.memory(),
            Quantiles::Sketch(sketch) => sketch.memory(),
        }
    }

    /// Takes in those of others, and gives back what these took.
    pub(crate) fn merge(&mut self, mut other: Quantiles, budget: &Budget) -> Result<(), ExecError> {
        if let (Quantiles::Exact(_), Quantiles::Sketch(_)) = (&*self, &other) {
            std::mem::swap(self, &mut other);
        }
        match (&mut *self, &other) {
            (Quantiles::Exact(own), Quantiles::Exact(others)) => {
                others.iter().try_for_each(|(n, times)| own.add(n, times, budget))?;
                self.bound(budget)?;
            }
            (Quantiles::Sketch(own), Quantiles::Sketch(other)) => own.merge(other, budget)?,
            (Quantiles::Sketch(own), Quantiles::Exact(others)) => {
                others.iter().try_for_each(|(n, times)| own.add(n, times, budget))?;
            }
            // They changed places above.
            (Quantiles::Exact(_), Quantiles::Sketch(_)) => {}
        }
        budget.release(other.memory());
        Ok(())
    }

    /// The value at a share `phi` of the sorted values.
    pub(crate) fn quantile(&self, phi: f64) -> Option<Number> {
        match self {
            Quantiles::Exact(numbers) => numbers.quantile(phi),
            Quantiles::Sketch(sketch) => sketch.quantile(phi).and_then(Number::from_f64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::Limits;

    fn budget() -> Budget<'static> {
        Budget::new(Limits::default(), None)
    }

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
                quantiles.add(Number::from(n), &budget()).unwrap();
            }
            assert_eq!(quantiles.quantile(phi), Some(Number::from(expect as i64)), "{phi}");
        }
        assert_eq!(Quantiles::default().quantile(0.5), None);
    }

    #[test]
    fn many_of_few_values_are_exact() {
        let (mut quantiles, budget) = (Quantiles::default(), budget());
        let values = ["1.5", "-2", "1e30", "1.50", "7", "100e-2", "1"];
        for i in 0..10 * QUANTILE_EXACT_VALUES_MAX {
            quantiles.add(Number::parse(values[i % values.len()]).unwrap(), &budget).unwrap();
        }
        for (phi, expect) in [(0.1, "-2"), (0.2, "1"), (0.5, "1.5"), (0.8, "7"), (1.0, "1e30")] {
            assert_eq!(quantiles.quantile(phi), Number::parse(expect), "{phi}");
        }
    }

    #[test]
    fn sketch_is_near_and_does_not_depend_on_order() {
        let n = 3 * QUANTILE_EXACT_VALUES_MAX as i64;
        let value = |i: i64| Number::from((i * 7919) % n - 100);
        let (mut whole, budget) = (Quantiles::default(), budget());
        // What they take with nothing in them is charged by who makes them.
        budget.charge(3 * whole.memory()).unwrap();
        let mut parts = [Quantiles::default(), Quantiles::default()];
        for i in 0..n {
            whole.add(value(i), &budget).unwrap();
            parts[usize::from(i % 5 == 0)].add(value(i), &budget).unwrap();
        }
        let [mut a, b] = parts;
        a.merge(b, &budget).unwrap();
        assert_eq!(budget.charged(), (whole.memory() + a.memory()) as u64);
        for phi in [0.001, 0.01, 0.5, 0.95, 0.999] {
            let exact = (phi * n as f64).ceil() - 1.0 - 100.0;
            let got = whole.quantile(phi).map_or(f64::NAN, Number::to_f64);
            assert!((got - exact).abs() <= QUANTILE_ERROR_MAX * exact.abs() + 1e-9, "{phi}: {got} for {exact}");
            assert_eq!(a.quantile(phi), whole.quantile(phi));
        }
    }
}
