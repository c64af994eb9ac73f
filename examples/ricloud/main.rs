//! The `keys` resource of ricloud: an organisation reads, creates, changes and rotates its keys
//! over HTTP, and can read their tokens again.
//!
//! `cargo run --all-features --example ricloud -- --listen 127.0.0.1:0 --db keys.db`
//!
//! | here | in keyhasp |
//! | --- | --- |
//! | organisation | an owner; its number is the owner's id |
//! | a key's `id` | its numeric id, numbered by the store (`Next`) |
//! | `storage_config`, `webhook_config`, `config` | settings over the organisation's; null goes back to those |
//! | `token` in every answer | recoverable tokens |
//! | `state`, `type` | state and kind, as they are |
//!
//! A new database is filled with two organisations; see `demonstration.rs`.

mod configs;
mod demonstration;
pub(crate) mod faults;
mod keys;
mod parameters;
mod resource;
#[path = "../shared/mod.rs"]
pub(crate) mod shared;

use std::process::ExitCode;
use std::sync::Arc;

use axum::Router;
use axum::middleware::map_response;
use axum::routing::{get, post};
use keyhasp::integrations::http::Credentials;
use keyhasp::store::StoreBuilder;
use keyhasp::{Catalogue, Clock, KeyLayer, KeyStore, Prefix, RecoveryKeys, Store, StoreRules};
use keyhasp::{Invalid, SystemClock, Verifier};

use shared::{Arguments, Door, Outcome, Place};
use tower::Layer;

#[tokio::main]
async fn main() -> ExitCode {
    shared::exit(run(Arguments::of_this_process()).await)
}

pub(crate) async fn run(mut arguments: Arguments) -> Outcome<()> {
    let address = arguments.option("--listen")?.unwrap_or("127.0.0.1:0".into());
    let place = Place::new(arguments.option("--db")?)?;
    arguments.finish()?;
    let door = Door::open(&address).await?;
    demonstration::fill(|clock| place.open(store(&place, clock)?.refuse_clock_behind_log()))?;
    let store = place.open(store(&place, Arc::new(SystemClock::new()))?)?;
    let mut first_line = demonstration::tokens(&store)?;
    first_line["url"] = door.url().into();
    door.serve(routes(Arc::clone(&store))?, store, first_line).await
}

/// Prepares the builder of every store of this service.
pub(crate) fn store(place: &Place, clock: Arc<dyn Clock>) -> Outcome<StoreBuilder> {
    let catalogue = Catalogue::builder().read("keys:read").write("keys:write");
    let catalogue = catalogue.read("configs:read").build()?;
    let rules =
        StoreRules { keep_standard_key: true, recoverable_tokens: true, ..StoreRules::default() };
    Ok(Store::builder(catalogue, [Prefix::new("ricloud")?])
        .rules(rules)
        .recovery_keys(RecoveryKeys::new(1, place.secret("sealing")?)?)
        .clock(clock))
}

/// Builds the routes. A client without a key gets no answer but a rejection, not even that a path
/// doesn't exist. So the layer wraps the whole router. Inside the router, axum would add the
/// allowed methods to a rejection.
pub(crate) fn routes(store: Arc<dyn KeyStore>) -> Result<Router, Invalid> {
    let layer = KeyLayer::new(Verifier::new(Arc::clone(&store)))
        .credentials(Credentials::scheme("Token")?)
        .error_response(faults::refused);
    let reading = Router::new()
        .route("/key", get(keys::current))
        .route("/keys", get(keys::list))
        .route("/keys/{id}", get(keys::retrieve))
        .route_layer(layer.require(["keys:read"])?);
    let writing = Router::new()
        .route("/keys", post(keys::create))
        .route("/keys/{id}", post(keys::update))
        .route("/keys/{id}/rotate", post(keys::rotate))
        .route_layer(layer.require(["keys:write"])?);
    let configs = Router::new()
        .route("/configs/storage/{id}", get(configs::storage))
        .route("/configs/webhook/{id}", get(configs::webhook))
        .route_layer(layer.require(["configs:read"])?);
    let site = reading
        .merge(writing)
        .merge(configs)
        .layer(map_response(shared::unstored))
        .fallback(faults::no_such_path)
        .method_not_allowed_fallback(faults::no_such_method)
        .with_state(store);
    Ok(Router::new().fallback_service(layer.layer(site)))
}
