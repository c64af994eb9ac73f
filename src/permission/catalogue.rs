//! The catalogue of permissions that a service declares.

use std::collections::{BTreeMap, HashMap};

use super::{CatalogueTag, Pattern, Permission, PermissionName, PermissionSet};
use crate::invalid::{Invalid, Problem};

/// The permissions of a service: at most 256 names, each marked as read-only or not.
///
/// ```
/// # use keyhasp::permission::Catalogue;
/// let catalogue = Catalogue::builder().read("links:read").write("links:write").build()?;
/// assert!(catalogue.permission("links:read").is_some());
/// # Ok::<(), keyhasp::Invalid>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    names: Vec<PermissionName>,
    by_name: HashMap<PermissionName, Permission>,
    read_only: PermissionSet,
    tag: CatalogueTag,
    /// Earlier names of permissions.
    aliases: BTreeMap<PermissionName, Permission>,
}

/// A builder of a [`Catalogue`].
#[derive(Clone, Debug, Default)]
pub struct CatalogueBuilder {
    names: Vec<(String, bool)>,
    aliases: Vec<(String, String)>,
}

impl Catalogue {
    /// The greatest number of permissions, and of earlier names.
    pub const MAX_LEN: usize = 256;

    /// Starts an empty catalogue.
    #[must_use]
    pub fn builder() -> CatalogueBuilder {
        CatalogueBuilder::default()
    }

    /// Resolves a name, or an earlier name. Returns `None` if it isn't declared.
    #[must_use]
    pub fn permission(&self, name: &str) -> Option<Permission> {
        let name = PermissionName::new(name).ok()?;
        self.by_name.get(&name).or_else(|| self.aliases.get(&name)).copied()
    }

    /// Returns the earlier names with the permissions that they stand for, ascending.
    pub fn aliases(&self) -> impl Iterator<Item = (&PermissionName, Permission)> {
        self.aliases.iter().map(|(name, permission)| (name, *permission))
    }

    /// Returns whether a pattern matches a name of a permission, or an earlier name.
    #[must_use]
    pub fn is_matched_by(&self, pattern: &Pattern) -> bool {
        self.names.iter().chain(self.aliases.keys()).any(|name| pattern.matches(name))
    }

    /// Returns the name of the permission that an earlier name stands for; `None` for any other text.
    pub(super) fn renamed(&self, earlier: &str) -> Option<&PermissionName> {
        let mut aliases = self.aliases.iter();
        let (_, permission) = aliases.find(|(name, _)| name.as_str() == earlier)?;
        self.name(*permission)
    }

    /// Returns the tag, which tells this catalogue from others.
    #[must_use]
    pub fn tag(&self) -> CatalogueTag {
        self.tag
    }

    /// Returns the name of a permission; `None` for one of another catalogue.
    #[must_use]
    pub fn name(&self, permission: Permission) -> Option<&PermissionName> {
        let is_own = permission.catalogue() == self.tag;
        self.names.get(permission.index()).filter(|_| is_own)
    }

    /// Returns all permissions with their names, in the order of declaration.
    pub fn iter(&self) -> impl Iterator<Item = (Permission, &PermissionName)> {
        (0..=u8::MAX).map(|index| Permission::new(self.tag, index)).zip(&self.names)
    }

    /// Returns all permissions.
    #[must_use]
    pub fn all(&self) -> PermissionSet {
        self.iter().map(|(permission, _)| permission).collect()
    }

    /// Returns the permissions that are marked as read-only.
    #[must_use]
    pub fn read_only(&self) -> PermissionSet {
        self.read_only
    }
}

impl CatalogueBuilder {
    /// Declares a permission that only reads.
    #[must_use]
    pub fn read(mut self, name: impl Into<String>) -> Self {
        self.names.push((name.into(), true));
        self
    }

    /// Declares a permission that does more than read.
    #[must_use]
    pub fn write(mut self, name: impl Into<String>) -> Self {
        self.names.push((name.into(), false));
        self
    }

    /// Declares that a permission was called otherwise before: keys that were given the earlier name, or a
    /// wildcard that matches it, have the permission. A new key that is given the earlier name gets the
    /// new one. A permission may have several earlier names.
    ///
    /// An alias only adds: leave it as long as keys, or owners in their maximum access, hold the earlier
    /// name. A store that is opened without it reports patterns that match nothing then
    /// ([`AdminKeys::list_unmatched`](crate::AdminKeys::list_unmatched) lists their keys). It reports
    /// neither owners, nor a wildcard that still matches another permission.
    ///
    /// ```
    /// # use keyhasp::{Access, Catalogue};
    /// let renamed = Catalogue::builder().read("urls:read").alias("links:read", "urls:read").build()?;
    /// let old = Access::limited(["links:read"])?;
    /// assert!(old.compile(&renamed).contains(renamed.permission("urls:read").unwrap()));
    /// # Ok::<(), keyhasp::Invalid>(())
    /// ```
    #[must_use]
    pub fn alias(mut self, earlier: impl Into<String>, name: impl Into<String>) -> Self {
        self.aliases.push((earlier.into(), name.into()));
        self
    }

    /// Builds the catalogue.
    ///
    /// # Errors
    /// [`Invalid`] for a malformed name, a name declared twice or also an alias, an alias of a name that
    /// isn't declared, or more than 256 names or aliases.
    pub fn build(self) -> Result<Catalogue, Invalid> {
        let field = "catalogue";
        let given = self.names.len().max(self.aliases.len());
        if given > Catalogue::MAX_LEN {
            let limit = Catalogue::MAX_LEN;
            return Err(Invalid::new(field, Problem::TooMany { given, limit }));
        }
        let tag = self.names.iter().map(|(name, is_read_only)| (name.as_str(), *is_read_only));
        let mut catalogue = Catalogue { tag: CatalogueTag::of(tag), ..Catalogue::default() };
        for ((name, read_only), index) in self.names.into_iter().zip(0..=u8::MAX) {
            let name = PermissionName::new(name)?;
            let permission = Permission::new(catalogue.tag, index);
            if catalogue.by_name.insert(name.clone(), permission).is_some() {
                return Err(Invalid::new(field, Problem::Duplicate { name: name.to_string() }));
            }
            if read_only {
                catalogue.read_only.insert(permission);
            }
            catalogue.names.push(name);
        }
        for (earlier, name) in self.aliases {
            let earlier = PermissionName::new(earlier)?;
            let unknown = || Invalid::new(field, Problem::Unknown { name: name.clone() });
            let declared = catalogue.by_name.get(&PermissionName::new(&name)?);
            let permission = *declared.ok_or_else(unknown)?;
            let is_taken = catalogue.by_name.contains_key(&earlier)
                || catalogue.aliases.insert(earlier.clone(), permission).is_some();
            if is_taken {
                return Err(Invalid::new(field, Problem::Duplicate { name: earlier.to_string() }));
            }
        }
        Ok(catalogue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corners() {
        assert!(Catalogue::builder().build().unwrap().all().is_empty());
        let twice = Catalogue::builder().read("a").write("a").build().unwrap_err();
        assert_eq!(twice.problem(), &Problem::Duplicate { name: "a".into() });
        let many =
            |n: usize| (0..n).fold(Catalogue::builder(), |b, i| b.read(format!("p{i}"))).build();
        let full = many(256).unwrap();
        assert_eq!(full.all().len(), 256);
        assert_eq!(full.name(full.permission("p255").unwrap()).unwrap().as_str(), "p255");
        assert!(matches!(
            many(257).unwrap_err().problem(),
            Problem::TooMany { given: 257, limit: 256 }
        ));
    }

    #[test]
    fn an_earlier_name_stands_for_a_declared_one_alone() {
        let builder = || Catalogue::builder().read("urls:read").write("urls:write");
        let catalogue = builder()
            .alias("links:read", "urls:read")
            .alias("shortlinks:read", "urls:read")
            .build()
            .unwrap();
        let read = catalogue.permission("urls:read");
        assert!(read.is_some());
        for earlier in ["links:read", "shortlinks:read"] {
            assert_eq!(catalogue.permission(earlier), read);
            assert_eq!(catalogue.renamed(earlier).unwrap().as_str(), "urls:read");
        }
        assert_eq!((catalogue.all().len(), catalogue.iter().count()), (2, 2));
        // Which bit is whose doesn't depend on earlier names.
        assert_eq!(catalogue.tag(), builder().build().unwrap().tag());
        let refused = |builder: CatalogueBuilder| builder.build().unwrap_err().problem().clone();
        let twice = Problem::Duplicate { name: "a".into() };
        let unknown = Problem::Unknown { name: "links:read".into() };
        let aliased = builder().alias("a", "urls:read");
        assert_eq!(refused(aliased.clone().alias("a", "urls:write")), twice);
        assert_eq!(refused(aliased.clone().read("a")), twice);
        assert_eq!(refused(aliased.clone().alias("b", "links:read")), unknown);
        // An alias of an alias is none.
        assert!(matches!(refused(aliased.clone().alias("b", "a")), Problem::Unknown { .. }));
        assert!(matches!(refused(aliased.alias("b:", "urls:read")), Problem::Character { .. }));
        let many = (0..257).fold(builder(), |b, i| b.alias(format!("p{i}"), "urls:read"));
        assert_eq!(refused(many), Problem::TooMany { given: 257, limit: 256 });
    }
}
