//! The catalogue of permissions that a service declares.

use std::collections::HashMap;

use super::{CatalogueTag, Permission, PermissionName, PermissionSet};
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
}

/// A builder of a [`Catalogue`].
#[derive(Clone, Debug, Default)]
pub struct CatalogueBuilder {
    names: Vec<(String, bool)>,
}

impl Catalogue {
    /// The greatest number of permissions.
    pub const MAX_LEN: usize = 256;

    /// Starts an empty catalogue.
    #[must_use]
    pub fn builder() -> CatalogueBuilder {
        CatalogueBuilder::default()
    }

    /// Resolves a name. Returns `None` if it isn't declared.
    #[must_use]
    pub fn permission(&self, name: &str) -> Option<Permission> {
        let name = PermissionName::new(name).ok()?;
        self.by_name.get(&name).copied()
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

    /// Builds the catalogue.
    ///
    /// # Errors
    /// [`Invalid`] for a malformed name, a name declared twice, or more than 256 names.
    pub fn build(self) -> Result<Catalogue, Invalid> {
        let field = "catalogue";
        if self.names.len() > Catalogue::MAX_LEN {
            let (given, limit) = (self.names.len(), Catalogue::MAX_LEN);
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
}
