//! The smallest useful service: routes that need a key, a route that issues keys, and a shutdown
//! that flushes.
//!
//! `cargo run --all-features --example axum_service -- --listen 127.0.0.1:3000 --db keys.db` prints
//! its URL. On a new database it also prints the token that `POST /admin/keys` needs, and keeps it
//! in `keys.db.admin-token`. The body of that request is such as
//! `{"owner":"linden","access":["links:*"],"name":"website"}`. `-- --help` says the rest.

#[path = "shared/mod.rs"]
pub(crate) mod shared;

use std::{io::Write, process::ExitCode, sync::Arc};

use axum::extract::{Json, State, rejection::JsonRejection};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Router, http::StatusCode};
use keyhasp::integrations::http::ManagementError;
use keyhasp::{Access, AdminKeys, AsyncKeys, Authenticated, Catalogue, CreateKey, CreateOwner};
use keyhasp::{Error, KeyLayer, KeyStore, OwnerId, Prefix, Store, Verifier};
use serde::Deserialize;
use serde_json::{Value, json};
use shared::{Arguments, Door, Outcome, Place, unstored};

const HELP: &str = "\
Serves routes that need an API key, and one that issues keys. The first line of output is JSON.

  --listen ADDRESS    where to listen; 127.0.0.1 and a free port if not given
  --db FILE           the database, with the pepper beside it in FILE.pepper; a temporary one if not given
  --new-admin-token   makes a new token for POST /admin/keys in place of those before, prints it,
                      keeps it in FILE.admin-token, and ends; the service must not run
  --help              prints this, and ends

A signal to stop ends it within 10 seconds.
";
/// The owner of the administrator's keys.
const SERVICE: &str = "service";
/// The file beside the database that keeps the administrator's token.
const ADMIN_TOKEN: &str = "admin-token";

/// Opens the database, with a pepper of its own.
pub(crate) fn open(place: &Place) -> Outcome<Arc<dyn KeyStore>> {
    let catalogue = Catalogue::builder().read("links:read").write("links:write");
    let catalogue = catalogue.write("keys:issue").build()?;
    place.open(Store::builder(catalogue, [Prefix::new("acme")?]))
}

/// Creates the first administrator's key on a new database, and returns its token. Returns `None`
/// on an existing database.
pub(crate) fn first_token(store: &Arc<dyn KeyStore>) -> Outcome<Option<String>> {
    let admin = AdminKeys::new(Arc::clone(store), "axum_service")?;
    match admin.create_owner(&OwnerId::new(SERVICE)?, CreateOwner::with_key(issuing()?)) {
        Ok(created) => Ok(created.first_key.map(|issued| issued.token.expose().to_owned())),
        Err(Error::OwnerExists) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Creates a new administrator's key, for one that is lost, and revokes those before.
pub(crate) fn new_token(store: &Arc<dyn KeyStore>) -> Outcome<String> {
    if let Some(token) = first_token(store)? {
        return Ok(token);
    }
    let admin = AdminKeys::new(Arc::clone(store), "axum_service")?;
    let owner = OwnerId::new(SERVICE)?;
    let revoked = admin.revoke_all(&owner, Some(issuing()?))?;
    let issued = revoked.replacement.ok_or("the store made no new key")?;
    Ok(issued.token.expose().to_owned())
}

fn issuing() -> Outcome<CreateKey> {
    Ok(CreateKey::new(Access::limited(["keys:issue"])?))
}

/// Builds the routes. `/ping` needs no key. The routes above the layer need one, some of them with
/// a permission.
pub(crate) fn routes(store: Arc<dyn KeyStore>) -> Outcome<Router> {
    let keys = KeyLayer::new(Verifier::new(Arc::clone(&store)));
    let writing = post(links).layer(keys.require(["links:write"])?);
    let links = get(links).layer(keys.require(["links:read"])?).merge(writing);
    let issuing: MethodRouter<_> = post(issue_key).layer(map_response(unstored));
    Ok(Router::new()
        .route("/v1/ping", get(ping))
        .route("/v1/links", links)
        .route("/admin/keys", issuing.layer(keys.require(["keys:issue"])?))
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
) -> Result<(StatusCode, Json<Value>), Response> {
    // axum's message quotes the body, which may contain a token.
    let Json(new) = body.map_err(|fault| {
        (fault.status(), "the body must be JSON with owner, access and name").into_response()
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
            (StatusCode::FORBIDDEN, "the calling key may not issue keys of its own owner")
                .into_response()
        }
        _ => ManagementError::new(&error).problem().into_response(),
    })?;
    Ok((StatusCode::CREATED, Json(json!({"key": issued.key, "token": issued.token.expose()}))))
}

#[tokio::main]
async fn main() -> ExitCode {
    shared::exit(run(Arguments::of_this_process()).await)
}

pub(crate) async fn run(mut arguments: Arguments) -> Outcome<()> {
    if arguments.flag("--help") {
        return Ok(write!(std::io::stdout(), "{HELP}")?);
    }
    let listen = arguments.option("--listen")?.unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let database = arguments.option("--db")?;
    let wants_token = arguments.flag("--new-admin-token");
    arguments.finish()?;
    if wants_token && database.is_none() {
        return Err("--new-admin-token needs --db FILE".into());
    }
    let place = Place::new(database)?;
    let store = open(&place)?;
    if wants_token {
        let token = new_token(&store)?;
        let file = place.keep(ADMIN_TOKEN, &token)?;
        store.close()?;
        return Ok(writeln!(std::io::stdout(), "{}", json!({"token": token, "kept_in": file}))?);
    }
    let door = Door::open(&listen).await?;
    let token = first_token(&store)?;
    // Before it is printed: who loses the line still has the file.
    let file = token.as_ref().map(|token| place.keep(ADMIN_TOKEN, token)).transpose()?;
    let first_line = json!({"url": door.url(), "token": token, "kept_in": file});
    door.serve(routes(Arc::clone(&store))?, store, first_line).await
}
