//! Numbers that a seed gives, the same ones everywhere.

/// A small generator (SplitMix64), so that a seed gives the same faults and the same crash on every machine.
#[derive(Clone, Debug, Default)]
pub struct SimRandom(pub u64);

impl SimRandom {
    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    /// A number below `n`; 0 where `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next_u64() % n.max(1)
    }
    /// True half of the time.
    pub fn coin(&mut self) -> bool {
        self.below(2) == 0
    }
    /// An index below `n`, which is not 0.
    pub(super) fn index(&mut self, n: usize) -> usize {
        self.below(n as u64) as usize
    }
}
