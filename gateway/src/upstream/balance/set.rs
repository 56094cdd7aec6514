//! A small set of endpoints by index, on the stack: those that are available, those that a call has tried.
//!
//! Not here: more than [`Set::MOST`] endpoints. Those beyond are never chosen; nobody needs that many of one service.

/// Indexes of endpoints, each below [`Set::MOST`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Set(u128);

impl Set {
    /// The number of endpoints that can be told apart.
    pub const MOST: usize = u128::BITS as usize;

    /// Nothing.
    pub const EMPTY: Set = Set(0);

    /// Adds `index`; ignored from [`Set::MOST`] on.
    pub fn insert(&mut self, index: usize) {
        if index < Set::MOST {
            self.0 |= 1 << index;
        }
    }

    /// Whether `index` is in it.
    #[must_use]
    pub fn contains(&self, index: usize) -> bool {
        index < Set::MOST && self.0 >> index & 1 == 1
    }

    /// How many are in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0 == 0
    }

    /// Whether at least two are in it. Quicker than counting them.
    #[must_use]
    pub fn has_choice(&self) -> bool {
        self.0 & self.0.wrapping_sub(1) != 0
    }

    /// Those in both.
    #[must_use]
    pub fn and(&self, other: &Set) -> Set {
        Set(self.0 & other.0)
    }

    /// Those that are not in `other`.
    #[must_use]
    pub fn without(&self, other: &Set) -> Set {
        Set(self.0 & !other.0)
    }

    /// All, ascending.
    pub fn iter(&self) -> impl Iterator<Item = usize> + Clone {
        let mut left = self.0;
        std::iter::from_fn(move || {
            let first = (left != 0).then_some(left.trailing_zeros() as usize)?;
            left &= left - 1;
            Some(first)
        })
    }
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

    fn some() -> impl Strategy<Value = BTreeSet<u8>> {
        prop::collection::btree_set(0..128_u8, 0..10)
    }

    proptest! {
        #[test]
        fn it_is_a_set(one in some(), two in some()) {
            let set = |of: &BTreeSet<u8>| of.iter().map(|index| usize::from(*index)).collect::<Set>();
            prop_assert!(set(&one).iter().eq(one.iter().map(|index| usize::from(*index))));
            prop_assert_eq!(set(&one).len(), one.len());
            prop_assert_eq!(set(&one).is_empty(), one.is_empty());
            prop_assert_eq!(set(&one).has_choice(), one.len() > 1);
            prop_assert_eq!(set(&one).and(&set(&two)), set(&(&one & &two)));
            prop_assert_eq!(set(&one).without(&set(&two)), set(&(&one - &two)));
            prop_assert!((0..=255_u8).all(|index| set(&one).contains(index.into()) == one.contains(&index)));
        }
    }

    #[test]
    fn an_index_beyond_the_end_is_left_out() {
        let set: Set = [Set::MOST - 1, Set::MOST, usize::MAX].into_iter().collect();
        assert_eq!(set.iter().collect::<Vec<_>>(), [Set::MOST - 1]);
        assert!(!set.contains(Set::MOST));
    }
}
