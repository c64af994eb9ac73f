//! The API's view of a key.

use keyhasp::{Catalogue, Key, NumericId, Timestamp};
use serde::Serialize;
use serde_json::Value;

use super::tenant::{NAME, TenantId};
use super::{name, permissions};

/// The model `ApiKey`. It has no token, which only the answer to a creation contains.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ApiKey {
    pub(crate) id: NumericId,
    name: String,
    tenant_id: TenantId,
    tenant_name: String,
    expiration_date: Option<Timestamp>,
    pub(crate) created: Timestamp,
    permissions: Vec<String>,
}

impl ApiKey {
    /// Returns `None` for a key without a number or whose owner is no tenant. This API creates none
    /// of those.
    pub(crate) fn of(key: &Key, catalogue: &Catalogue) -> Option<Self> {
        let tenant_name = key.settings.get(NAME).and_then(Value::as_str).unwrap_or_default();
        Some(Self {
            id: key.numeric_id?,
            name: name::of(key),
            tenant_id: TenantId::of(&key.owner)?,
            tenant_name: tenant_name.to_owned(),
            expiration_date: key.expires_at,
            created: key.created_at,
            permissions: permissions::names(catalogue, &key.access.compile(catalogue)),
        })
    }
}
