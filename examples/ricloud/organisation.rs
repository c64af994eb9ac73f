//! Organisations: their base permissions, and the configurations that their keys use unless a key
//! has its own.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use keyhasp::{Authenticated, CreateKey, CreateOwner, Invalid, KeyStore, OwnerKeys, UpdateOwner};
use serde_json::{Map, Value, json};

use super::faults::Fault;
use super::keys::for_organisation;
use super::permissions;
use super::resource::{date, number};

/// The settings of a key that its organisation has defaults for.
pub(crate) const WITH_DEFAULT: [&str; 2] = ["storage_config", "webhook_config"];

/// Requests an organisation with its first key.
pub(crate) fn with_key(first_key: CreateKey) -> Result<CreateOwner, Invalid> {
    Ok(CreateOwner::with_key(first_key).max_access(permissions::base()?))
}

/// Requests other default configurations, of storage and of webhooks. With null there is none.
pub(crate) fn set_defaults(configs: [Value; 2]) -> UpdateOwner {
    let defaults: Map<_, _> = WITH_DEFAULT.into_iter().map(str::to_owned).zip(configs).collect();
    UpdateOwner::new().defaults(defaults.into())
}

/// Answers `GET /organisation` with the members that concern keys.
pub(crate) async fn current(
    State(store): State<Arc<dyn KeyStore>>,
    caller: Authenticated,
) -> Result<Json<Value>, Fault> {
    let owner = for_organisation(&caller, Arc::clone(&store), OwnerKeys::owner).await?;
    let default = |name| owner.defaults.get(name).cloned();
    let scopes = permissions::of_access(&owner.max_access, store.catalogue());
    let scopes: Map<_, _> = scopes.into_iter().map(|name| (name.to_owned(), json!([]))).collect();
    Ok(Json(json!({
        "id": number(&owner.id),
        "resource": "organisation",
        "type": "standard",
        // The client knows the resource by its plural, and fails at the documentation's singular.
        "permissions": {"resource": "permissions", "scopes": scopes},
        "storage_config_default": default("storage_config"),
        "webhook_config_default": default("webhook_config"),
        "state": "active",
        "date_created": date(owner.created_at),
    })))
}

/// Answers `GET /sources`, which needs a permission that only trials give. There are no sources
/// here.
pub(crate) async fn sources() -> Json<Value> {
    Json(json!({
        "resource": "list",
        "data": [],
        "has_more": false,
        "total_count": 0,
        "url": "/sources",
    }))
}
