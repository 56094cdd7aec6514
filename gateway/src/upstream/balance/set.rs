//! A small set of endpoints by index, on the stack: those that are available, those that a call has tried.
//!
//! Not here: more than [`Set::MOST`] endpoints. Those beyond are never chosen; nobody needs that many of one service.

/// Indexes of endpoints, each below [`Set::MOST`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Set([u64; Set::WORDS]);

impl Set {
    const WORDS: usize = 4;

    /// The number of endpoints that can be told apart.
    pub const MOST: usize = Set::WORDS * 64;

    /// Nothing.
    pub const EMPTY: Set = Set([0; Set::WORDS]);

    /// Adds `index`; ignored from [`Set::MOST`] on.
    pub fn insert(&mut self, index: usize) {
        if let Some(word) = self.0.get_mut(index / 64) {
            *word |= 1 << (index % 64);
        }
    }

    /// Whether `index` is in it.
    #[must_use]
    pub fn contains(&self, index: usize) -> bool {
        self.0.get(index / 64).is_some_and(|word| word >> (index % 64) & 1 == 1)
    }

    /// How many are in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0 == Set::EMPTY.0
    }

    /// Those in both.
    #[must_use]
    pub fn and(&self, other: &Set) -> Set {
        Set(std::array::from_fn(|at| self.0[at] & other.0[at]))
    }

    /// Those that are not in `other`.
    #[must_use]
    pub fn without(&self, other: &Set) -> Set {
        Set(std::array::from_fn(|at| self.0[at] & !other.0[at]))
    }

    /// All, ascending.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().enumerate().flat_map(|(at, word)| bits(*word).map(move |bit| at * 64 + bit))
    }
}

/// The bits that are set, ascending.
fn bits(mut word: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = (word != 0).then_some(word.trailing_zeros() as usize)?;
        word &= word - 1;
        Some(bit)
    })
}

impl FromIterator<usize> for Set {
    fn from_iter<I: IntoIterator<Item = usize>>(indexes: I) -> Self {
        let mut set = Set::EMPTY;
        indexes.into_iter().for_each(|index| set.insert(index));
        set
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set(one: BTreeSet<u8>, two: BTreeSet<u8>) {
            let set = |of: &BTreeSet<u8>| of.iter().map(|index| usize::from(*index)).collect::<Set>();
            prop_assert!(set(&one).iter().eq(one.iter().map(|index| usize::from(*index))));
            prop_assert_eq!(set(&one).len(), one.len());
            prop_assert_eq!(set(&one).is_empty(), one.is_empty());
            prop_assert_eq!(set(&one).and(&set(&two)), set(&(&one & &two)));
            prop_assert_eq!(set(&one).without(&set(&two)), set(&(&one - &two)));
            prop_assert!((0..=255).all(|index| set(&one).contains(index.into()) == one.contains(&index)));
        }
    }

    #[test]
    fn an_index_beyond_the_end_is_left_out() {
        let set: Set = [Set::MOST - 1, Set::MOST, usize::MAX].into_iter().collect();
        assert_eq!(set.iter().collect::<Vec<_>>(), [Set::MOST - 1]);
        assert!(!set.contains(Set::MOST));
    }
}
