//! Numbers of distinct values, one for each value of a column, in no more bytes than the largest of them needs.

/// Does something with the numbers, whatever their width.
macro_rules! each_width {
    ($codes:expr, $numbers:ident => $do:expr) => {
        match $codes {
            $crate::record::Codes::U8($numbers) => $do,
            $crate::record::Codes::U16($numbers) => $do,
            $crate::record::Codes::U32($numbers) => $do,
        }
    };
}
pub(crate) use each_width;

/// For each value the number of what it is one of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Codes {
    /// All below 256.
    U8(Vec<u8>),
    /// All below 65,536.
    U16(Vec<u16>),
    /// Any.
    U32(Vec<u32>),
}

impl Default for Codes {
    fn default() -> Self {
        Codes::U8(Vec::new())
    }
}

impl Codes {
    /// None yet, with room for so many below `count`.
    pub fn below(count: usize, room: usize) -> Self {
        match count {
            0..=0x100 => Codes::U8(Vec::with_capacity(room)),
            0x101..=0x1_0000 => Codes::U16(Vec::with_capacity(room)),
            _ => Codes::U32(Vec::with_capacity(room)),
        }
    }

    /// These, which are below `count`.
    pub fn of(codes: impl IntoIterator<Item = u32>, count: usize) -> Self {
        let codes = codes.into_iter();
        match Codes::below(count, 0) {
            Codes::U8(_) => Codes::U8(codes.map(|code| code as u8).collect()),
            Codes::U16(_) => Codes::U16(codes.map(|code| code as u16).collect()),
            Codes::U32(_) => Codes::U32(codes.collect()),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        each_width!(self, codes => codes.len())
    }
    /// None?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The number of a value.
    #[inline]
    pub fn get(&self, place: usize) -> Option<u32> {
        each_width!(self, codes => codes.get(place).map(|&code| wide(code)))
    }
    /// The number of a value that is there.
    ///
    /// # Panics
    /// Where it is not.
    #[inline]
    pub fn at(&self, place: usize) -> u32 {
        each_width!(self, codes => wide(codes[place]))
    }
    /// How many values of a range have a number.
    ///
    /// # Panics
    /// Where the range is not of these.
    pub fn count_of(&self, code: u32, range: std::ops::Range<usize>) -> u32 {
        // Counted many at a time.
        each_width!(self, codes => codes[range].iter().map(|&own| u32::from(wide(own) == code)).sum())
    }
    /// All of them.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = u32> {
        (0..self.len()).map(|place| self.at(place))
    }
    /// Bytes of memory.
    pub fn memory(&self) -> usize {
        each_width!(self, codes => size_of_val(&**codes))
    }
    /// How many values have each number below `count`.
    pub fn counts(&self, count: usize) -> Vec<u32> {
        let mut counts = vec![0; count];
        each_width!(self, codes => codes.iter().for_each(|&code| counts[wide(code) as usize] += 1));
        counts
    }
}

fn wide(code: impl Into<u32>) -> u32 {
    code.into()
}
