//! The routes, and the permissions that they need.

use std::sync::Arc;

use axum::Router;
use axum::middleware::map_response;
use axum::routing::{any, delete, get, post};
use keyhasp::Invalid;
use tower::Layer;

use super::authenticate::authenticate_api_key;
use super::create::create_api_key;
use super::keys::{get_api_key, revoke_api_key};
use super::list::list_api_keys;
use super::permissions::{READ_API_KEYS, WRITE_API_KEYS};
use super::problem::Problem;
use super::service::Service;
use super::shared::unstored;

/// The start of every path.
pub(crate) const BASE: &str = "/api";
pub(crate) const API_KEYS: &str = "/api-keys";

/// Builds the site. Only a gateway calls `authenticate`; every other path needs a key or a session.
/// The layer wraps a router of its own. Inside that router, axum would add the allowed methods to a
/// rejection.
pub(crate) fn site(service: Arc<Service>) -> Result<Router, Invalid> {
    let layer = service.layer();
    let reads = layer.require([READ_API_KEYS])?;
    let writes = layer.require([WRITE_API_KEYS])?;
    let keys = get(list_api_keys).layer(reads.clone());
    let key = get(get_api_key).layer(reads);
    let site = Router::new()
        .route(&format!("{BASE}{API_KEYS}"), keys.merge(post(create_api_key).layer(writes.clone())))
        .route(&format!("{BASE}{API_KEYS}/{{id}}"), key.merge(delete(revoke_api_key).layer(writes)))
        .layer(map_response(unstored))
        .method_not_allowed_fallback(async || Problem::NO_SUCH_METHOD)
        .fallback(async || Problem::NO_SUCH_PATH)
        .with_state(Arc::clone(&service));
    Ok(Router::new()
        .route(&format!("{BASE}{API_KEYS}/authenticate"), any(authenticate_api_key))
        .with_state(service)
        .fallback_service(layer.layer(site)))
}
