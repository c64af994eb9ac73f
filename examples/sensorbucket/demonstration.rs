//! The contents of a new database.

use std::sync::Arc;

use keyhasp::{Access, AdminKeys, CreateKey, CreateOwner, Error, KeyStore, NumericIdChoice, Token};
use serde_json::json;

use super::shared::Outcome;
use super::tenant::{MANAGES, NAME, TenantId};

pub(crate) const TENANT: TenantId = TenantId(1);
pub(crate) const OTHER_TENANT: TenantId = TenantId(2);
pub(crate) const ARCHIVED_TENANT: TenantId = TenantId(3);
pub(crate) const FOREIGN_TENANT: TenantId = TenantId(4);

/// Creates four tenants, one of them archived. Returns the token of an administrator of the first
/// two, or `None` if that key exists already, since a token is shown once.
///
/// The administrator comes last, so that the next start completes a fill that ended halfway.
pub(crate) fn fill(store: &Arc<dyn KeyStore>) -> Outcome<Option<Token>> {
    let keys = AdminKeys::new(Arc::clone(store), "demonstration")?;
    let station = Access::limited(["READ_DEVICES", "WRITE_MEASUREMENTS"])?;
    let station = || Some(CreateKey::new(station.clone()).name("weather station"));
    let administrator = CreateKey::new(Access::Full)
        .name("administrator")
        .settings(json!({ MANAGES: [TENANT, OTHER_TENANT] }));

    tenant(&keys, OTHER_TENANT, "Polder Board", None)?;
    tenant(&keys, ARCHIVED_TENANT, "Old Mill", station())?;
    keys.suspend_owner(&ARCHIVED_TENANT.owner()?)?;
    tenant(&keys, FOREIGN_TENANT, "Coast Guard", station())?;
    tenant(&keys, TENANT, "SensorBucket", Some(administrator))
}

/// Creates a tenant with its first key, and returns that key's token. Returns `None` if the tenant
/// exists.
fn tenant(
    keys: &AdminKeys,
    tenant: TenantId,
    name: &str,
    first_key: Option<CreateKey>,
) -> Outcome<Option<Token>> {
    let request = first_key.map_or_else(CreateOwner::without_key, |key| {
        CreateOwner::with_key(key.numeric_id(NumericIdChoice::Next))
    });
    // SensorBucket doesn't limit the number of keys.
    let request = request.defaults(json!({ NAME: name })).max_keys(u32::MAX);
    match keys.create_owner(&tenant.owner()?, request) {
        Ok(created) => Ok(created.first_key.map(|issued| issued.token)),
        Err(Error::OwnerExists) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
