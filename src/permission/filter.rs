//! A permission by which keys are found.

use super::{Access, Catalogue, PermissionName};
use crate::invalid::{Invalid, Problem};

/// A permission of a catalogue, by which keys are found. It needs no catalogue beside it, so a
/// backend can ask it of each access that it reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PermissionFilter {
    name: PermissionName,
    /// The other names that the permission has or had.
    other_names: Vec<PermissionName>,
    is_read_only: bool,
}

impl PermissionFilter {
    /// Takes the name of a permission of a catalogue, or an earlier name.
    ///
    /// # Errors
    /// [`Invalid`] when the name is malformed, or the catalogue lacks it.
    pub fn new(name: impl AsRef<str>, catalogue: &Catalogue) -> Result<Self, Invalid> {
        let name = PermissionName::new(name)?;
        let Some(permission) = catalogue.permission(name.as_str()) else {
            return Err(Invalid::new("permission", Problem::Unknown { name: name.to_string() }));
        };
        let earlier = catalogue.aliases().filter(|(_, of)| *of == permission).map(|(name, _)| name);
        let all = earlier.chain(catalogue.name(permission));
        let other_names = all.filter(|other| **other != name).cloned().collect();
        let is_read_only = catalogue.read_only().contains(permission);
        Ok(Self { name, other_names, is_read_only })
    }

    /// Returns the name that was taken.
    #[must_use]
    pub fn name(&self) -> &PermissionName {
        &self.name
    }

    /// Tests whether an access grants the permission in the catalogue, under any of its names.
    #[must_use]
    pub fn is_granted_by(&self, access: &Access) -> bool {
        match access {
            Access::Full => true,
            Access::ReadOnly => self.is_read_only,
            Access::Limited(limited) => {
                let mut names = self.other_names.iter().chain([&self.name]);
                names.any(|name| limited.patterns().iter().any(|pattern| pattern.matches(name)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::subsequence;

    use super::*;

    const NAMES: [&str; 5] = ["links:read", "links:write", "users:read", "users", "a:b:c"];
    /// Earlier names of the first and the last.
    const EARLIER: [&str; 3] = ["urls:read", "old:links", "a:old:c"];
    const PATTERNS: [&str; 12] = [
        "links:read",
        "links:*",
        "*:read",
        "*:*",
        "*",
        "a:*:c",
        "a:b:*",
        "users:write",
        "urls:*",
        "old:links",
        "old:*",
        "a:old:*",
    ];

    fn catalogue() -> Catalogue {
        NAMES
            .into_iter()
            .fold(Catalogue::builder(), |some, name| match name.ends_with("read") {
                true => some.read(name),
                false => some.write(name),
            })
            .alias("urls:read", "links:read")
            .alias("old:links", "links:read")
            .alias("a:old:c", "a:b:c")
            .build()
            .unwrap()
    }

    fn accesses() -> impl Strategy<Value = Access> {
        prop_oneof![
            Just(Access::Full),
            Just(Access::ReadOnly),
            subsequence(PATTERNS.to_vec(), 1..=PATTERNS.len())
                .prop_map(|patterns| Access::limited(patterns).unwrap()),
        ]
    }

    proptest! {
        /// Keys are found by what verification would allow them.
        #[test]
        fn finds_the_accesses_whose_sets_have_it(access in accesses()) {
            let catalogue = catalogue();
            for name in NAMES.into_iter().chain(EARLIER) {
                let has = access.compile(&catalogue).contains(catalogue.permission(name).unwrap());
                let filter = PermissionFilter::new(name, &catalogue).unwrap();
                prop_assert_eq!(filter.is_granted_by(&access), has, "{}", name);
            }
        }
    }

    #[test]
    fn only_names_of_the_catalogue() {
        let refused = |name: &str| PermissionFilter::new(name, &catalogue()).unwrap_err();
        let unknown = Problem::Unknown { name: "links:delete".into() };
        assert_eq!(refused("links:delete").problem(), &unknown);
        assert_eq!(refused("links:delete").field(), "permission");
        for malformed in ["", "links:*", "a b", ":"] {
            assert_eq!(refused(malformed).field(), "permission", "{malformed:?}");
        }
        assert_eq!(PermissionFilter::new("users", &catalogue()).unwrap().name().as_str(), "users");
    }
}
