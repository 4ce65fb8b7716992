//! A set of row numbers.

/// A fixed-size set of row numbers, one bit each.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct BitSet {
    words: Vec<u64>,
    len: usize,
}

impl BitSet {
    /// A set over `len` rows with none in it.
    pub fn none(len: usize) -> Self {
        Self { words: vec![0; len.div_ceil(64)], len }
    }

    /// A set over `len` rows with every one in it.
    pub fn all(len: usize) -> Self {
        let mut words = vec![u64::MAX; len.div_ceil(64)];
        if !len.is_multiple_of(64)
            && let Some(last) = words.last_mut()
        {
            *last = (1 << (len % 64)) - 1;
        }
        Self { words, len }
    }

    /// How many rows the set is over, in it or not.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the set is over no rows at all.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether `row` is in the set.
    #[inline]
    pub fn contains(&self, row: usize) -> bool {
        self.words.get(row / 64).is_some_and(|word| word >> (row % 64) & 1 == 1)
    }

    /// Puts `row` into the set. Rows beyond [`BitSet::len`] are a bug of the caller and panic.
    #[inline]
    pub fn insert(&mut self, row: usize) {
        self.words[row / 64] |= 1 << (row % 64);
    }

    /// Puts `row` into the set if `is_in`, without a branch. As [`BitSet::insert`] otherwise.
    #[inline]
    pub fn insert_if(&mut self, row: usize, is_in: bool) {
        self.words[row / 64] |= u64::from(is_in) << (row % 64);
    }

    /// Takes `row` out of the set.
    #[inline]
    pub fn remove(&mut self, row: usize) {
        self.words[row / 64] &= !(1 << (row % 64));
    }

    /// How many rows are in the set.
    pub fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Keeps the rows that are in both sets.
    pub fn intersect(&mut self, other: &Self) {
        for (word, theirs) in self.words.iter_mut().zip(&other.words) {
            *word &= theirs;
        }
    }

    /// Puts in every row that is in `other`.
    pub fn unite(&mut self, other: &Self) {
        for (word, theirs) in self.words.iter_mut().zip(&other.words) {
            *word |= theirs;
        }
    }

    /// Takes out every row that is in `other`.
    pub fn subtract(&mut self, other: &Self) {
        for (word, theirs) in self.words.iter_mut().zip(&other.words) {
            *word &= !theirs;
        }
    }

    /// The rows of this set for which `keep` says yes; asked in ascending order.
    #[must_use]
    pub fn filter(&self, mut keep: impl FnMut(usize) -> bool) -> Self {
        let mut words = Vec::with_capacity(self.words.len());
        for (index, &word) in self.words.iter().enumerate() {
            let base = index * 64;
            let mut kept = 0;
            if word == u64::MAX {
                for bit in 0..64 {
                    kept |= u64::from(keep(base + bit)) << bit;
                }
            } else {
                let mut rest = word;
                while rest != 0 {
                    let bit = rest.trailing_zeros() as usize;
                    rest &= rest - 1;
                    kept |= u64::from(keep(base + bit)) << bit;
                }
            }
            words.push(kept);
        }
        Self { words, len: self.len }
    }

    /// The rows in the set, ascending.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.words.iter().enumerate().flat_map(|(index, &word)| {
            let mut rest = word;
            std::iter::from_fn(move || {
                if rest == 0 {
                    return None;
                }
                let bit = rest.trailing_zeros() as usize;
                rest &= rest - 1;
                Some(index * 64 + bit)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_out_as_they_went_in() {
        let mut set = BitSet::none(130);
        for row in [0, 63, 64, 129] {
            set.insert(row);
        }
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 63, 64, 129]);
        set.remove(64);
        assert_eq!(set.count(), 3);
        assert_eq!(BitSet::all(130).count(), 130);
        assert_eq!(BitSet::all(128).count(), 128);
        let mut all = BitSet::all(130);
        all.subtract(&set);
        assert_eq!(all.count(), 127);
        all.unite(&set);
        assert_eq!(all.count(), 130);
        assert!(!all.contains(500));
        assert_eq!(all.filter(|row| set.contains(row)), set);
        assert_eq!(set.filter(|row| row > 62).iter().collect::<Vec<_>>(), [63, 129]);
    }
}
