//! Distinct byte strings, numbered in the order in which they came: compact, and with no allocation a string.

use crate::exec::limits::Budget;
use rustc_hash::FxBuildHasher;
use std::hash::BuildHasher;

/// Slots of the smallest table.
const SLOTS_MIN: usize = 16;

/// A hash table over strings that lie one after the other. A string takes its bytes, four for its end and about
/// sixteen for its slot.
#[derive(Debug, Default)]
pub(crate) struct KeyTable {
    /// Upper half: of the hash; lower half: the number plus one. Zero where free. A power of two in size.
    slots: Vec<u64>,
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

/// The hash of a string: the upper half finds its slot, the lower half is free to choose among tables.
#[inline]
pub(crate) fn hash(key: &[u8]) -> u64 {
    // Fx leaves some bits weaker than others; both halves are used by themselves here.
    let hash = FxBuildHasher.hash_one(key).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash ^ hash >> 29
}

impl KeyTable {
    /// How many strings.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The string with a number.
    #[inline]
    pub(crate) fn get(&self, number: u32) -> &[u8] {
        let i = number as usize;
        let start = if i == 0 { 0 } else { self.ends[i - 1] as usize };
        &self.bytes[start..self.ends[i] as usize]
    }

    /// The number of a string, and whether it is new; `None` where the budget has no room for it, or the table can hold
    /// no more (4 GiB of strings). What the table takes is accounted for before it grows.
    #[inline]
    pub(crate) fn insert(&mut self, hash: u64, key: &[u8], budget: &Budget<'_>) -> Option<(u32, bool)> {
        if (self.len() + 1) * 4 > self.slots.len() * 3 {
            self.grow(budget)?;
        }
        let mask = self.slots.len() - 1;
        let tag = hash >> 32;
        let mut at = tag as usize & mask;
        loop {
            let slot = self.slots[at];
            if slot == 0 {
                break;
            }
            let number = (slot as u32).wrapping_sub(1);
            if slot >> 32 == tag && self.get(number) == key {
                return Some((number, false));
            }
            at = (at + 1) & mask;
        }
        let end = u32::try_from(self.bytes.len() + key.len()).ok()?;
        let number = self.ends.len() as u32;
        budget.reserve(&mut self.bytes, key.len()).ok()?;
        budget.reserve(&mut self.ends, 1).ok()?;
        self.bytes.extend_from_slice(key);
        self.ends.push(end);
        self.slots[at] = tag << 32 | u64::from(number.checked_add(1)?);
        Some((number, true))
    }

    /// Where the search for a string will begin. Asking for many strings, before any of them is looked up, has the
    /// memory of all of them fetched at once and not one after the other.
    #[inline]
    pub(crate) fn touch(&self, hash: u64) -> u64 {
        let at = (hash >> 32) as usize & self.slots.len().wrapping_sub(1);
        self.slots.get(at).copied().unwrap_or_default()
    }

    #[cold]
    fn grow(&mut self, budget: &Budget<'_>) -> Option<()> {
        let before = self.slots.len();
        let size = (before * 2).max(SLOTS_MIN);
        budget.charge(size * 8).ok()?;
        let old = std::mem::replace(&mut self.slots, vec![0; size]);
        for slot in old.into_iter().filter(|slot| *slot != 0) {
            let mut at = (slot >> 32) as usize & (size - 1);
            while self.slots[at] != 0 {
                at = (at + 1) & (size - 1);
            }
            self.slots[at] = slot;
        }
        budget.release(before * 8);
        Some(())
    }

    /// Bytes of memory.
    pub(crate) fn memory(&self) -> usize {
        self.slots.len() * 8 + self.bytes.capacity() + self.ends.capacity() * 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::Limits;
    use proptest::prelude::*;
    use std::collections::HashMap;

    proptest! {
        #[test]
        fn it_is_a_map(keys in proptest::collection::vec("[ab]{0,4}", 0..300), same_hash: bool) {
            let (mut table, mut map) = (KeyTable::default(), HashMap::new());
            let budget = Budget::new(Limits::default(), None);
            for key in &keys {
                // Whatever the hash, bytes decide.
                let hash = if same_hash { 7 << 32 } else { hash(key.as_bytes()) };
                let next = map.len() as u32;
                let known = map.get(key).copied();
                let expect = (*map.entry(key.clone()).or_insert(next), known.is_none());
                prop_assert_eq!(table.insert(hash, key.as_bytes(), &budget), Some(expect));
                prop_assert_eq!(budget.charged(), table.memory() as u64);
            }
            prop_assert_eq!(table.len(), map.len());
            map.iter().for_each(|(key, number)| assert_eq!(table.get(*number), key.as_bytes()));
        }
    }
}
