//! The tag of a catalogue.

use std::fmt;

/// The tag of a catalogue: a hash of its names, their order and their marks. Permissions and sets
/// carry it, so that those of one catalogue mean nothing in another.
///
/// The same declaration has the same tag in every process. A declaration that differs, also one
/// that has grown, has another: resolve permissions in the catalogue of the store that verifies.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CatalogueTag(u64);

impl CatalogueTag {
    /// The tag of a set without permissions.
    pub(super) const NONE: Self = Self(0);
    /// The tag of a set with permissions of several catalogues.
    pub(super) const MIXED: Self = Self(u64::MAX);

    pub(super) fn word(self) -> u64 {
        self.0
    }

    #[inline]
    pub(super) fn of_word(word: u64) -> Self {
        Self(word)
    }

    /// Computes the tag of a declaration: names in their order, each with its mark.
    pub(super) fn of<'a>(declared: impl IntoIterator<Item = (&'a str, bool)>) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("keyhasp catalogue tag v1");
        for (name, is_read_only) in declared {
            // No name has either byte, so no two declarations run together.
            hasher.update(name.as_bytes()).update(if is_read_only { b"\0" } else { b"\x01" });
        }
        let mut bytes = [0; 8];
        hasher.finalize_xof().fill(&mut bytes);
        match Self(u64::from_le_bytes(bytes)) {
            Self::NONE | Self::MIXED => Self(1),
            tag => tag,
        }
    }
}

impl Default for CatalogueTag {
    /// Returns the tag of a set without permissions.
    fn default() -> Self {
        Self::NONE
    }
}

impl fmt::Debug for CatalogueTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CatalogueTag({:016x})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_declaration_has_its_own() {
        let declarations: [&[(&str, bool)]; 8] = [
            &[],
            &[("a", true)],
            &[("a", false)],
            &[("a", true), ("b", true)],
            &[("b", true), ("a", true)],
            &[("ab", true)],
            &[("a", true), ("b", false)],
            &[("a", true), ("b", true), ("c", true)],
        ];
        let tag = |declared: &[(&'static str, bool)]| CatalogueTag::of(declared.iter().copied());
        for (i, one) in declarations.iter().enumerate() {
            for (j, other) in declarations.iter().enumerate() {
                assert_eq!(tag(one) == tag(other), i == j, "{one:?} {other:?}");
            }
        }
        // The same in every process, and so in every version that hasn't changed the rule.
        assert_eq!(format!("{:?}", tag(declarations[1])).len(), "CatalogueTag()".len() + 16);
    }
}
