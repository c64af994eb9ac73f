//! The permissions: those of every key, and one that only trials give. The documentation of the API
//! calls them scopes.

use keyhasp::{Access, Catalogue, Invalid, Key, Kind, Owner};

pub(crate) const READ_KEYS: &str = "keys:read";
pub(crate) const WRITE_KEYS: &str = "keys:write";
pub(crate) const READ_CONFIGS: &str = "configs:read";
/// The permission that an organisation lacks: a standard key never has it, a trial key may.
pub(crate) const ICLOUD_SOURCES: &str = "source_type:icloud.account";

/// Returns the catalogue of the API's permissions.
pub(crate) fn catalogue() -> Result<Catalogue, Invalid> {
    let catalogue = Catalogue::builder().read(READ_KEYS).write(WRITE_KEYS).read(READ_CONFIGS);
    catalogue.read(ICLOUD_SOURCES).build()
}

/// Returns the base permissions of an organisation, which cut the access of its standard keys.
pub(crate) fn base() -> Result<Access, Invalid> {
    Access::limited([READ_KEYS, WRITE_KEYS, READ_CONFIGS])
}

/// Returns the names of the permissions that an access gives.
pub(crate) fn of_access<'a>(access: &Access, catalogue: &'a Catalogue) -> Vec<&'a str> {
    let held = access.compile(catalogue);
    let named = catalogue.iter().filter(|(permission, _)| held.contains(*permission));
    named.map(|(_, name)| name.as_str()).collect()
}

/// Returns the names of the permissions that a key has: its access, which the base permissions of
/// its organisation cut unless it is a trial.
pub(crate) fn of_key<'a>(key: &Key, owner: &Owner, catalogue: &'a Catalogue) -> Vec<&'a str> {
    let mut names = of_access(&key.access, catalogue);
    if key.kind == Kind::Standard {
        let base = of_access(&owner.max_access, catalogue);
        names.retain(|name| base.contains(name));
    }
    names
}
