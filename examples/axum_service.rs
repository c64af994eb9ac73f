//! The smallest useful service: routes that need a key, a route that issues keys, and a shutdown
//! that flushes.
//!
//! `cargo run --all-features --example axum_service -- --listen 127.0.0.1:3000 --db keys.db` prints
//! its URL. On a new database it also prints the token that `POST /admin/keys` needs. The body of
//! that request is such as `{"owner":"linden","access":["links:*"],"name":"website"}`.

use std::{io::Write, process::ExitCode, sync::Arc};

use axum::extract::{Json, State, rejection::JsonRejection};
use axum::routing::{get, post};
use axum::{Router, http::StatusCode};
use keyhasp::backend::Opened;
use keyhasp::backend::sqlite::{Sqlite, SqliteOptions};
use keyhasp::integrations::tokio::blocking;
use keyhasp::{Access, AdminKeys, AsyncKeys, Authenticated, Catalogue, CreateKey, CreateOwner};
use keyhasp::{Error, KeyLayer, KeyStore, OwnerId, Prefix, Store, Verifier};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{net::TcpListener, signal};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Opens the database. A real service also gives the store a pepper, and keeps it apart from the
/// database.
pub(crate) fn open(db: &str) -> Outcome<Arc<dyn KeyStore>> {
    let catalogue = Catalogue::builder().read("links:read").write("links:write");
    let catalogue = catalogue.write("keys:issue").build()?;
    let (database, opened) = Sqlite::open_or_create(db, SqliteOptions::exclusive())?;
    if opened == Opened::Created {
        let note = "is new: if there was a database before, see whether its volume is mounted";
        let _ = writeln!(std::io::stderr(), "{db} {note}");
    }
    let store = Store::builder(catalogue, [Prefix::new("acme")?]).on_health_change(|health| {
        for problem in health.problems() {
            let _ = writeln!(std::io::stderr(), "{problem}");
        }
    });
    Ok(Arc::new(store.open(database)?))
}

/// Creates the first administrator's key on a new database, and returns its token. Returns `None`
/// on an existing database.
pub(crate) fn first_token(store: &Arc<dyn KeyStore>) -> Outcome<Option<String>> {
    let admin = AdminKeys::new(Arc::clone(store), "axum_service")?;
    let key = CreateKey::new(Access::limited(["keys:issue"])?);
    match admin.create_owner(&OwnerId::new("service")?, CreateOwner::with_key(key)) {
        Ok(created) => Ok(created.first_key.map(|issued| issued.token.expose().to_owned())),
        Err(Error::OwnerExists) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Builds the routes. `/ping` needs no key. The routes above the layer need one, some of them with
/// a permission.
pub(crate) fn routes(store: Arc<dyn KeyStore>) -> Outcome<Router> {
    let keys = KeyLayer::new(Verifier::new(Arc::clone(&store)));
    let writing = post(links).layer(keys.require(["links:write"])?);
    let links = get(links).layer(keys.require(["links:read"])?).merge(writing);
    Ok(Router::new()
        .route("/v1/ping", get(ping))
        .route("/v1/links", links)
        .route("/admin/keys", post(issue_key).layer(keys.require(["keys:issue"])?))
        .layer(keys)
        .route("/ping", get(ping))
        .with_state(store))
}

async fn ping() -> &'static str {
    "pong"
}

async fn links(caller: Authenticated) -> Json<Value> {
    Json(json!({"owner": caller.owner(), "links": []}))
}

#[derive(Deserialize)]
struct NewKey {
    owner: String,
    access: Vec<String>,
    name: String,
}

/// Issues a key of another owner, which is created if it is new. The key never goes beyond
/// `links:*`.
async fn issue_key(
    State(store): State<Arc<dyn KeyStore>>,
    caller: Authenticated,
    body: Result<Json<NewKey>, JsonRejection>,
) -> Result<(StatusCode, Json<Value>), (StatusCode, String)> {
    // axum's message quotes the body, which may contain a token.
    let Json(new) = body.map_err(|fault| {
        (fault.status(), "the body must be JSON with owner, access and name".into())
    })?;
    let issue = async {
        let admin = AsyncKeys::from(AdminKeys::new(store, caller.owner().to_string())?);
        let owner = OwnerId::new(new.owner)?;
        let key = CreateKey::new(Access::limited(new.access)?).name(new.name);
        let request = CreateOwner::without_key().max_access(Access::limited(["links:*"])?);
        match admin.create_owner(&owner, request).await {
            Err(Error::OwnerExists) if owner == *caller.owner() => Err(Error::OwnerExists),
            Err(Error::OwnerExists) | Ok(_) => admin.create(&owner, key).await,
            Err(error) => Err(error),
        }
    };
    let issued = issue.await.map_err(|error| match error {
        Error::OwnerExists => {
            (StatusCode::FORBIDDEN, "the calling key may not issue keys of its own owner".into())
        }
        Error::Invalid(_) | Error::TooManyKeys { .. } => {
            (StatusCode::BAD_REQUEST, error.to_string())
        }
        _ => (
            StatusCode::SERVICE_UNAVAILABLE,
            "keys can't be issued at the moment; try again later".into(),
        ),
    })?;
    Ok((StatusCode::CREATED, Json(json!({"key": issued.key, "token": issued.token.expose()}))))
}

/// Waits for Ctrl-C, or on Unix also for a signal to terminate.
async fn stop_signal() {
    #[cfg(unix)]
    if let Ok(mut terminate) = signal::unix::signal(signal::unix::SignalKind::terminate()) {
        tokio::select! { _ = terminate.recv() => return, _ = signal::ctrl_c() => return }
    }
    let _ = signal::ctrl_c().await;
}

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Outcome<()> {
    let option = |name| std::env::args().skip_while(|arg| arg != name).nth(1);
    let directory = tempfile::tempdir()?;
    let temporary = directory.path().join("keys.db").display().to_string();
    let store = open(&option("--db").unwrap_or(temporary))?;
    let listener = TcpListener::bind(option("--listen").unwrap_or("127.0.0.1:0".into())).await?;
    let url = format!("http://{}", listener.local_addr()?);
    writeln!(std::io::stdout(), "{}", json!({"url": url, "token": first_token(&store)?}))?;
    let serving = axum::serve(listener, routes(Arc::clone(&store))?);
    serving.with_graceful_shutdown(stop_signal()).await?;
    // All requests are answered. Closing flushes, and returns what failed.
    Ok(blocking(move || store.close()).await?)
}
