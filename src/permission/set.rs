//! Compiled permissions.

use std::fmt;

use super::CatalogueTag;

/// A permission of a catalogue, resolved. Testing a verified key for it is one comparison and one
/// bit test.
///
/// It knows the catalogue that resolved it: no set of another catalogue contains it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Permission {
    catalogue: CatalogueTag,
    index: u8,
}

impl Permission {
    pub(super) fn new(catalogue: CatalogueTag, index: u8) -> Self {
        Self { catalogue, index }
    }

    /// Returns the tag of the catalogue that resolved it.
    #[must_use]
    #[inline]
    pub fn catalogue(self) -> CatalogueTag {
        self.catalogue
    }

    pub(super) fn index(self) -> usize {
        self.index.into()
    }
}

/// A set of permissions of one catalogue: 256 bits, and the catalogue's tag.
///
/// Bits of two catalogues are never compared: what is asked of sets of different catalogues is
/// denied. A set that was gathered from permissions of several catalogues belongs to none: it
/// contains nothing, and no set contains it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct PermissionSet {
    words: [u64; 4],
    catalogue: CatalogueTag,
}

impl PermissionSet {
    /// The empty set, which belongs to every catalogue.
    pub const EMPTY: Self = Self { words: [0; 4], catalogue: CatalogueTag::NONE };

    /// Tests whether the permission is in the set; false for one of another catalogue.
    #[must_use]
    #[inline]
    pub fn contains(&self, permission: Permission) -> bool {
        let Permission { catalogue, index } = permission;
        let has_bit = self.words[usize::from(index >> 6)] >> (index & 63) & 1 == 1;
        // `&`, since a branch would cost more than the bit test.
        has_bit & (self.catalogue == catalogue)
    }

    /// Tests whether every permission of `other` is in the set; false if they are of different
    /// catalogues, unless `other` is empty.
    #[must_use]
    #[inline]
    pub fn is_superset(&self, other: &Self) -> bool {
        let has_bits = self.words.iter().zip(other.words).all(|(mine, theirs)| theirs & !mine == 0);
        has_bits && other.belongs_to(self.catalogue)
    }

    /// Returns the permissions that are in both sets; none if they are of different catalogues.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        if self.catalogue != other.catalogue {
            return Self::EMPTY;
        }
        let words = std::array::from_fn(|i| self.words[i] & other.words[i]);
        Self { words, catalogue: self.catalogue }.normalized()
    }

    /// Returns whether its permissions are of the catalogue with this tag. The empty set belongs to
    /// every catalogue.
    #[must_use]
    #[inline]
    pub fn belongs_to(&self, catalogue: CatalogueTag) -> bool {
        (self.catalogue == catalogue && catalogue != CatalogueTag::MIXED) || self.is_empty()
    }

    /// Tests whether the set is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words == [0; 4]
    }

    /// Returns the number of permissions in the set.
    #[must_use]
    pub fn len(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Packs the set into words, the last of which are 0.
    pub(crate) fn words<const WORDS: usize>(&self) -> [u64; WORDS] {
        let all =
            [self.words[0], self.words[1], self.words[2], self.words[3], self.catalogue.word()];
        std::array::from_fn(|at| all.get(at).copied().unwrap_or_default())
    }

    /// Makes a set of the words of [`words`](Self::words). Words of two sets make one that is wrong.
    #[inline]
    pub(crate) fn from_words([a, b, c, d, catalogue]: [u64; 5]) -> Self {
        Self { words: [a, b, c, d], catalogue: CatalogueTag::of_word(catalogue) }
    }

    pub(super) fn insert(&mut self, permission: Permission) {
        let Permission { catalogue, index } = permission;
        self.catalogue = match self.catalogue {
            CatalogueTag::NONE => catalogue,
            tag if tag == catalogue => tag,
            _ => CatalogueTag::MIXED,
        };
        self.words[usize::from(index >> 6)] |= 1 << (index & 63);
    }

    /// Takes the tag from an empty set, so that all empty sets are equal.
    fn normalized(self) -> Self {
        if self.is_empty() { Self::EMPTY } else { self }
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
        let [a, b, c, d] = self.words;
        write!(f, "PermissionSet({d:016x}{c:016x}{b:016x}{a:016x})")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// Two catalogues.
    fn tags() -> [CatalogueTag; 2] {
        ["a", "b"].map(|name| CatalogueTag::of([(name, true)]))
    }

    fn compile(tag: CatalogueTag, set: &BTreeSet<u8>) -> PermissionSet {
        set.iter().map(|index| Permission::new(tag, *index)).collect()
    }

    fn indices() -> impl Strategy<Value = BTreeSet<u8>> {
        prop::collection::btree_set(any::<u8>(), 0..40)
    }

    proptest! {
        #[test]
        fn it_is_a_set(a in indices(), b in indices()) {
            let [tag, _] = tags();
            let (x, y) = (compile(tag, &a), compile(tag, &b));
            for i in 0..=255 {
                prop_assert_eq!(x.contains(Permission::new(tag, i)), a.contains(&i));
            }
            prop_assert_eq!(x.len(), a.len());
            prop_assert_eq!(x.is_empty(), a.is_empty());
            prop_assert_eq!(x.is_superset(&y), a.is_superset(&b));
            prop_assert_eq!(x.intersection(&y), compile(tag, &a.intersection(&b).copied().collect()));
        }

        /// The law of two catalogues: whatever the bits are, nothing is allowed across them.
        #[test]
        fn nothing_holds_across_catalogues(a in indices(), b in indices()) {
            let [one, other] = tags();
            let (x, y) = (compile(one, &a), compile(other, &b));
            for i in 0..=255 {
                prop_assert!(!x.contains(Permission::new(other, i)));
            }
            prop_assert_eq!(x.is_superset(&y), b.is_empty());
            prop_assert_eq!(y.is_superset(&x), a.is_empty());
            prop_assert_eq!(x.intersection(&y), PermissionSet::EMPTY);
            prop_assert_eq!(x.belongs_to(other), a.is_empty());
            // Gathered together they belong to none.
            if !a.is_empty() && !b.is_empty() {
                let both = a.iter().map(|i| Permission::new(one, *i));
                let both = both.chain(b.iter().map(|i| Permission::new(other, *i)));
                let both: PermissionSet = both.collect();
                let all = compile(one, &(0..=255).collect());
                prop_assert!(!all.is_superset(&both) && !both.is_superset(&x));
                prop_assert!((0..=255).all(|i| !both.contains(Permission::new(one, i))));
                prop_assert!(!both.belongs_to(one) && !both.belongs_to(other));
                prop_assert!(!both.is_superset(&both));
            }
        }
    }
}
