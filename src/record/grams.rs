//! Which three bytes stand in a row in some texts: tells that a text stands in none of them, in less time than to search.

/// Fewest and most bits that are kept of what stands in texts, as powers of two.
const LOG_MIN: u32 = 6;
const LOG_MAX: u32 = 18;

/// The runs of three bytes of a text, by their hash. About two bits for each byte of the text.
#[derive(Clone, Debug)]
pub struct Grams {
    bits: Box<[u64]>,
    shift: u32,
}

impl Grams {
    /// Those of a text.
    pub fn of(text: &str) -> Self {
        let log = (2 * text.len()).max(1).ilog2().clamp(LOG_MIN, LOG_MAX);
        let mut grams = Grams { bits: vec![0; 1 << (log - LOG_MIN)].into(), shift: 32 - log };
        for gram in text.as_bytes().windows(3) {
            let (word, bit) = grams.place(gram);
            grams.bits[word] |= bit;
        }
        grams
    }

    fn place(&self, gram: &[u8]) -> (usize, u64) {
        let number = gram.iter().fold(0, |all, b| all << 8 | u32::from(*b));
        let hash = number.wrapping_mul(0x9e37_79b1) >> self.shift;
        (hash as usize / 64, 1 << (hash % 64))
    }

    /// May this text stand in it? Of fewer than three bytes nothing is told.
    pub fn may_hold(&self, text: &str) -> bool {
        text.as_bytes().windows(3).all(|gram| {
            let (word, bit) = self.place(gram);
            self.bits[word] & bit != 0
        })
    }

    /// Bytes of memory.
    pub fn memory(&self) -> usize {
        self.bits.len() * 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_stands_in_a_text_may(text in "[a-dé ]{0,60}", from in 0usize..60, len in 0usize..12) {
            let part: String = text.chars().skip(from).take(len).collect();
            prop_assert!(Grams::of(&text).may_hold(&part));
        }
    }

    #[test]
    fn most_of_what_does_not_is_told() {
        let text: String = (0..500).map(|n| format!("{n} words of a text, ")).collect();
        let grams = Grams::of(&text);
        assert!(grams.may_hold("499 words"));
        let wrong = (0..1000).filter(|n| grams.may_hold(&format!("{n} deadlocks"))).count();
        assert!(wrong < 10, "{wrong}");
        assert!(grams.memory() <= 2 * text.len());
    }
}
