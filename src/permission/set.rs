//! Compiled permissions.

use std::fmt;

/// A permission of a catalogue, resolved. Testing a verified key for it is one bit test.
///
/// It is only meaningful with the catalogue that resolved it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Permission(u8);

impl Permission {
    pub(super) fn new(index: u8) -> Self {
        Self(index)
    }

    pub(super) fn index(self) -> usize {
        self.0.into()
    }
}

/// A set of permissions of one catalogue: 256 bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct PermissionSet([u64; 4]);

impl PermissionSet {
    /// The empty set.
    pub const EMPTY: Self = Self([0; 4]);

    /// Tests whether the permission is in the set.
    #[must_use]
    #[inline]
    pub fn contains(&self, permission: Permission) -> bool {
        self.0[usize::from(permission.0 >> 6)] >> (permission.0 & 63) & 1 == 1
    }

    /// Tests whether every permission of `other` is in the set.
    #[must_use]
    #[inline]
    pub fn is_superset(&self, other: &Self) -> bool {
        self.0.iter().zip(other.0).all(|(mine, theirs)| theirs & !mine == 0)
    }

    /// Returns the permissions that are in both sets.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] & other.0[i]))
    }

    /// Tests whether the set is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::EMPTY
    }

    /// Returns the number of permissions in the set.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    pub(super) fn insert(&mut self, permission: Permission) {
        self.0[usize::from(permission.0 >> 6)] |= 1 << (permission.0 & 63);
    }
}

impl FromIterator<Permission> for PermissionSet {
    fn from_iter<I: IntoIterator<Item = Permission>>(permissions: I) -> Self {
        let mut set = Self::EMPTY;
        for permission in permissions {
            set.insert(permission);
        }
        set
    }
}

impl fmt::Debug for PermissionSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d] = self.0;
        write!(f, "PermissionSet({d:016x}{c:016x}{b:016x}{a:016x})")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set(a in prop::collection::btree_set(any::<u8>(), 0..40), b in prop::collection::btree_set(any::<u8>(), 0..40)) {
            let compile = |s: &BTreeSet<u8>| s.iter().copied().map(Permission).collect::<PermissionSet>();
            let (x, y) = (compile(&a), compile(&b));
            for i in 0..=255 {
                prop_assert_eq!(x.contains(Permission(i)), a.contains(&i));
            }
            prop_assert_eq!(x.len(), a.len());
            prop_assert_eq!(x.is_empty(), a.is_empty());
            prop_assert_eq!(x.is_superset(&y), a.is_superset(&b));
            prop_assert_eq!(x.intersection(&y), compile(&a.intersection(&b).copied().collect()));
        }
    }
}
