//! The routes, and the layers in front of them.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::{Method, StatusCode};
use axum::middleware::map_response;
use axum::routing::{MethodRouter, delete, get, post};
use keyhasp::integrations::http::{PeerAddress, RateHeaders};
use keyhasp::integrations::tower::Guard;
use keyhasp::permission::PermissionSet;
use keyhasp::{Invalid, KeyLayer, KeyStore, Verifier};
use tower::Layer;

use super::level::{MANAGE_KEYS, RESOURCES, reading, writing};
use super::problem::{Problem, refused};
use super::resources::Things;
use super::shared::unstored;
use super::{alerts, keys, resources};

/// The state of the handlers.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    pub(crate) store: Arc<dyn KeyStore>,
    pub(crate) things: Arc<Things>,
}

/// Takes the peer address from the connection, for a service without a proxy in front.
pub(crate) fn connection() -> PeerAddress {
    PeerAddress::extension(|ConnectInfo(peer): &ConnectInfo<SocketAddr>| peer.ip())
}

/// Builds the routes. Everything under `/v1` needs a key. A read-only key is rejected for every
/// method but `GET`, before anything more is checked. The layer wraps a whole router. Inside
/// that router, axum would add the allowed methods to a rejection.
pub(crate) fn routes(store: Arc<dyn KeyStore>, peer: PeerAddress) -> Result<Router, Invalid> {
    let rate =
        RateHeaders::named("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")?;
    let layer = KeyLayer::new(Verifier::new(Arc::clone(&store)))
        .error_response(refused)
        .peer_address(peer)
        .rate_headers(rate);
    let gets_alone = gets_alone(&layer, store.catalogue().read_only());
    let manages = layer.require([MANAGE_KEYS])?;
    // The answer has a token.
    let rotating: MethodRouter<_> = post(keys::rotate).layer(map_response(unstored));
    let mut v1 = Router::new()
        .route("/api-keys", get(keys::list).layer(manages.clone()))
        .route("/api-keys/validate", get(keys::validate))
        .route("/api-keys/alerts", get(alerts::list).layer(manages.clone()))
        .route("/api-keys/{id}/rotate", rotating.layer(manages.clone()))
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
            let message = "This path does not have that method.";
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
        })
        .with_state(Site { store, things: Arc::default() });
    let v1 = layer.layer(layer.read_only_reads().layer(gets_alone.layer(v1)));
    Ok(Router::new().nest_service("/v1", v1).fallback(async || Problem::not_found()))
}

/// Makes a second guard of read-only keys: "GET operations only", as the documentation has it.
/// [`read_only_reads`](KeyLayer::read_only_reads) lets `HEAD` and `OPTIONS` pass too, which read as
/// well.
fn gets_alone(layer: &KeyLayer, reading: PermissionSet) -> Guard {
    layer.require_by(move |caller, request| {
        request.method == Method::GET || !reading.is_superset(caller.permissions())
    })
}
