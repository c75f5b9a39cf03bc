//! All words of a dictionary side by side, for parts of words: a search of their bytes at once is far faster than a walk
//! through the dictionary word by word.

use super::pattern::Pattern;
use memchr::memmem;

/// A dictionary whose words take more is walked through each time.
const VOCABULARY_BYTES_MAX: usize = 8 << 20;
/// Stands between words, and in none.
const BETWEEN: u8 = b' ';

/// The words in the order of the dictionary.
pub(super) struct Vocabulary {
    /// Each with [`BETWEEN`] before and behind it.
    text: Vec<u8>,
    /// Where the one behind each word stands.
    ends: Vec<u32>,
}

impl Default for Vocabulary {
    fn default() -> Self {
        Vocabulary { text: vec![BETWEEN], ends: Vec::new() }
    }
}

impl Vocabulary {
    /// Appends the next word; tells whether it still fits.
    pub fn push(&mut self, word: &[u8]) -> bool {
        if self.text.len() + word.len() >= VOCABULARY_BYTES_MAX || word.contains(&BETWEEN) {
            return false;
        }
        self.ends.push((self.text.len() + word.len()) as u32);
        self.text.extend_from_slice(word);
        self.text.push(BETWEEN);
        true
    }

    /// Bytes of memory.
    pub fn memory(&self) -> usize {
        self.text.capacity() + self.ends.capacity() * 4
    }

    /// The words that fit a part, rising; `None` where the pattern is no part.
    pub fn matching<'v>(&'v self, pattern: &Pattern<'_>) -> Option<impl Iterator<Item = &'v [u8]> + use<'v>> {
        let Pattern::Part { text, open_left, open_right } = pattern else { return None };
        let mut needle = Vec::with_capacity(text.len() + 2);
        needle.extend((!open_left).then_some(BETWEEN));
        needle.extend_from_slice(text);
        needle.extend((!open_right).then_some(BETWEEN));
        let finder = memmem::Finder::new(&needle).into_owned();
        let skip = usize::from(!open_left);
        let mut from = 0;
        Some(std::iter::from_fn(move || {
            let at = from + finder.find(self.text.get(from..)?)?;
            let number = self.ends.partition_point(|&end| (end as usize) < at + skip);
            // On with the next word, whose byte before it is the one behind this.
            from = *self.ends.get(number)? as usize;
            let before = number.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
            self.text.get(before + 1..from)
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn finds_the_words_that_fit(
            words in proptest::collection::btree_set("[abé]{1,6}", 0..40), part in "[abé]{1,3}",
            open_left: bool, open_right: bool,
        ) {
            let mut vocabulary = Vocabulary::default();
            prop_assert!(words.iter().all(|word| vocabulary.push(word.as_bytes())));
            let pattern = Pattern::Part { text: part.as_bytes(), open_left, open_right };
            let fits = |word: &&String| pattern.matches(word.as_bytes());
            let expect: Vec<&[u8]> = words.iter().filter(fits).map(|word| word.as_bytes()).collect();
            prop_assert_eq!(vocabulary.matching(&pattern).map(Iterator::collect::<Vec<_>>), Some(expect));
        }
    }

    #[test]
    fn it_is_bounded() {
        let mut vocabulary = Vocabulary::default();
        let word = [b'a'; 1 << 20];
        assert_eq!((0..9).filter(|_| vocabulary.push(&word)).count(), 7);
        assert!(!vocabulary.push(b"a b"));
    }
}
