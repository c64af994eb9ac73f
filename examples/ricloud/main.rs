//! The `keys` resource of ricloud: an organisation reads, creates, changes and rotates its keys
//! over HTTP, and can read their tokens again.
//!
//! ```text
//! cargo run --all-features --example ricloud -- --listen 127.0.0.1:0 --db keys.db
//! cargo run --all-features --example ricloud -- --db keys.db admin block 3
//! ```
//!
//! The first command serves. The second is an administrator's, also while the first one runs;
//! `-- --help` lists them all.
//!
//! | here | in keyhasp |
//! | --- | --- |
//! | organisation | an owner; its number is the owner's id |
//! | its base permissions | its maximum access, which trials exceed |
//! | a key's `id` | its numeric id, numbered by the store (`Next`) |
//! | `storage_config`, `webhook_config`, `config` | settings over the organisation's; null goes back to those |
//! | `token` in every answer | recoverable tokens |
//! | `state`, `type` | state and kind, as they are |
//!
//! A new database is filled with two organisations; see `demonstration.rs`.

pub(crate) mod admin;
mod configs;
mod demonstration;
pub(crate) mod faults;
mod keys;
pub(crate) mod organisation;
mod parameters;
pub(crate) mod permissions;
mod resource;
#[path = "../shared/mod.rs"]
pub(crate) mod shared;

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::map_response;
use axum::routing::{get, post};
use keyhasp::backend::sqlite::SqliteOptions;
use keyhasp::integrations::http::Credentials;
use keyhasp::store::StoreBuilder;
use keyhasp::{Clock, Invalid, KeyLayer, KeyStore, Prefix, RecoveryKeys, Store, StoreRules};
use keyhasp::{SystemClock, Verifier};

use permissions::{ICLOUD_SOURCES, READ_CONFIGS, READ_KEYS, WRITE_KEYS};
use shared::{Arguments, Door, Outcome, Place};
use tower::Layer;

const HELP: &str = "\
Serves the keys of ricloud's organisations. The first line of output is JSON.

  --listen ADDRESS    where to listen; 127.0.0.1 and a free port if not given
  --db FILE           the database, with its secrets beside it; a temporary one if not given
  --help              prints this, and ends

With --db FILE and one of these, it does what an administrator asks, also while the service runs,
prints each key as a line of JSON, and ends. KEY is a key's id, ORGANISATION an organisation's.

  admin list [ORGANISATION]         lists keys, newest first, without tokens
  admin trial ORGANISATION DAYS     creates a trial key, and prints its token too
  admin block KEY [REASON]          blocks a key
  admin unblock KEY                 lifts a block
  admin deactivate KEY              switches a key off, as its organisation may
  admin activate KEY                switches it on again
  admin defaults ORGANISATION STORAGE WEBHOOK
                                    sets the configurations of keys without their own: ids, or none

The service hears of it within seconds.
";

/// The time within which the service learns of what an administrator did beside it.
const MAX_STALENESS: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> ExitCode {
    shared::exit(run(Arguments::of_this_process()).await)
}

pub(crate) async fn run(mut arguments: Arguments) -> Outcome<()> {
    if arguments.flag("--help") {
        return Ok(write!(std::io::stdout(), "{HELP}")?);
    }
    let address = arguments.option("--listen")?.unwrap_or("127.0.0.1:0".into());
    let place = Place::new(arguments.option("--db")?)?;
    let command = arguments.command("admin");
    arguments.finish()?;
    let options = SqliteOptions::shared(MAX_STALENESS)?;
    if let Some(words) = command {
        let command = admin::Command::read(&words)?;
        if place.is_new() {
            return Err("admin needs --db FILE of a database that the service has filled".into());
        }
        let clock = Arc::new(SystemClock::new());
        let store = place.open_as(store(&place, clock.clone())?, options)?;
        for line in command.execute(&store, clock.now())? {
            writeln!(std::io::stdout(), "{line}")?;
        }
        return Ok(store.close()?);
    }
    let door = Door::open(&address).await?;
    demonstration::fill(|clock| {
        place.open_as(store(&place, clock)?.refuse_clock_behind_log(), options)
    })?;
    let store = place.open_as(store(&place, Arc::new(SystemClock::new()))?, options)?;
    let mut first_line = demonstration::tokens(&store)?;
    first_line["url"] = door.url().into();
    door.serve(routes(Arc::clone(&store))?, store, first_line).await
}

/// Prepares the builder of every store of this service.
pub(crate) fn store(place: &Place, clock: Arc<dyn Clock>) -> Outcome<StoreBuilder> {
    let rules =
        StoreRules { keep_standard_key: true, recoverable_tokens: true, ..StoreRules::default() };
    Ok(Store::builder(permissions::catalogue()?, [Prefix::new("ricloud")?])
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
        .route_layer(layer.require([READ_KEYS])?);
    let writing = Router::new()
        .route("/keys", post(keys::create))
        .route("/keys/{id}", post(keys::update))
        .route("/keys/{id}/rotate", post(keys::rotate))
        .route_layer(layer.require([WRITE_KEYS])?);
    let configs = Router::new()
        .route("/configs/storage/{id}", get(configs::storage))
        .route("/configs/webhook/{id}", get(configs::webhook))
        .route("/organisation", get(organisation::current))
        .route_layer(layer.require([READ_CONFIGS])?);
    let sources = Router::new()
        .route("/sources", get(organisation::sources))
        .route_layer(layer.require([ICLOUD_SOURCES])?);
    let site = reading
        .merge(writing)
        .merge(configs)
        .merge(sources)
        .layer(map_response(shared::unstored))
        .fallback(faults::no_such_path)
        .method_not_allowed_fallback(faults::no_such_method)
        .with_state(store);
    Ok(Router::new().fallback_service(layer.layer(site)))
}
