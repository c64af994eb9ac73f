//! The routes, and what stands before each.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::StatusCode;
use axum::routing::{delete, get};
use keyhasp::integrations::http::{PeerAddress, RateHeaders};
use keyhasp::{Invalid, KeyLayer, KeyStore, Verifier};
use tower::Layer;

use super::level::{MANAGE_KEYS, RESOURCES, reading, writing};
use super::problem::{Problem, refused};
use super::resources::Things;
use super::{keys, resources};

/// What the handlers work on.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    pub(crate) store: Arc<dyn KeyStore>,
    pub(crate) things: Arc<Things>,
}

/// From which address a request comes where no proxy stands before the service.
pub(crate) fn connection() -> PeerAddress {
    PeerAddress::extension(|ConnectInfo(peer): &ConnectInfo<SocketAddr>| peer.ip())
}

/// Everything under `/v1` needs a key. One that may only read is refused what changes things, before
/// anything else is looked at. The layer stands around a whole router: within, axum would add to a
/// refusal which methods there are.
pub(crate) fn routes(store: Arc<dyn KeyStore>, peer: PeerAddress) -> Result<Router, Invalid> {
    let rate =
        RateHeaders::named("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")?;
    let layer = KeyLayer::new(Verifier::new(Arc::clone(&store)))
        .error_response(refused)
        .peer_address(peer)
        .rate_headers(rate);
    let manages = layer.require([MANAGE_KEYS])?;
    let mut v1 = Router::new()
        .route("/api-keys", get(keys::list).layer(manages.clone()))
        .route("/api-keys/validate", get(keys::validate))
        .route("/api-keys/{id}", delete(keys::deactivate).patch(keys::update).layer(manages));
    for resource in RESOURCES {
        let may_read = layer.require([&*reading(resource)])?;
        let may_write = layer.require([&*writing(resource)])?;
        let routes = resources::routes(resource, may_read, may_write);
        v1 = v1.route(&format!("/{resource}"), routes);
    }
    let v1 = v1
        .fallback(async || Problem::not_found())
        .method_not_allowed_fallback(async || {
            let message = "This can't be done here.";
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
        })
        .with_state(Site { store, things: Arc::default() });
    let v1 = layer.layer(layer.read_only_reads().layer(v1));
    Ok(Router::new().nest_service("/v1", v1).fallback(async || Problem::not_found()))
}
