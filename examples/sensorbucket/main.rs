//! The API keys of SensorBucket, on keyhasp.
//!
//! `cargo run --all-features --example sensorbucket -- --listen 127.0.0.1:3000 --db keys.db` prints
//! one line of JSON, then serves until a signal stops it. On a new database the line contains the
//! token of an administrator of tenants 1 and 2. Links to further pages are relative, or begin with
//! `--public-url`; `-- --help` lists all options. The administrator may call:
//!
//! ```text
//! POST   /api/api-keys                 {"name":"…","tenant_id":1,"permissions":["READ_DEVICES"]}
//! GET    /api/api-keys?tenant_id=1     page by page; links.next has the cursor
//! GET    /api/api-keys/{id}
//! DELETE /api/api-keys/{id}
//! any    /api/api-keys/authenticate    the owner of a key, for a gateway in front of other services
//! ```
//!
//! | SensorBucket | keyhasp |
//! | --- | --- |
//! | tenant | owner; its name is a default setting |
//! | archived tenant | suspended owner |
//! | API key, its number | key, its numeric id |
//! | name, unique in a tenant | name, and the rule `unique_names` |
//! | the tenants whose keys a key may manage | a setting of the key; its own tenant without it |
//! | 15 permissions | the catalogue, under the same names |
//! | revoking, which removes | revoking, which keeps the record for the audit but hides it |
//!
//! Sessions aren't stored here. As in SensorBucket, they belong to the service that logs people in.

mod api_key;
mod authenticate;
mod caller;
mod create;
pub(crate) mod demonstration;
mod keys;
mod list;
mod name;
mod permissions;
mod problem;
pub(crate) mod public_url;
pub(crate) mod routes;
pub(crate) mod service;
pub(crate) mod sessions;
#[path = "../shared/mod.rs"]
pub(crate) mod shared;
pub(crate) mod tenant;

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use keyhasp::clock::SystemClock;
use serde_json::json;

use service::Service;
use sessions::Sessions;
use shared::{Arguments, Door, Outcome, Place};

const HELP: &str = "\
Serves the API keys of SensorBucket's tenants. The first line of output is JSON.

  --listen ADDRESS    where to listen; 127.0.0.1 and a free port if not given
  --db FILE           the database, with its secrets beside it; a temporary one if not given
  --public-url URL    the address of the API for its clients, such as https://sensorbucket.nl/api:
                      links to further pages begin with it; without it they are relative
  --help              prints this, and ends

A signal to stop ends it within 10 seconds.
";

#[tokio::main]
async fn main() -> ExitCode {
    shared::exit(run(Arguments::of_this_process()).await)
}

pub(crate) async fn run(mut arguments: Arguments) -> Outcome<()> {
    if arguments.flag("--help") {
        return Ok(write!(std::io::stdout(), "{HELP}")?);
    }
    let address = arguments.option("--listen")?.unwrap_or("127.0.0.1:0".into());
    let database = arguments.option("--db")?;
    let link_base = public_url::link_base(arguments.option("--public-url")?)?;
    arguments.finish()?;
    let place = Place::new(database)?;

    let clock = Arc::new(SystemClock::new());
    let secret = place.secret("session")?;
    let store = place.open(service::store(clock.clone())?)?;
    let token = demonstration::fill(&store)?;
    let manages = [demonstration::TENANT, demonstration::OTHER_TENANT];
    let permissions = store.catalogue().all();
    let (sessions, session) = Sessions::of_one(&secret, &manages, permissions)?;
    let door = Door::open(&address).await?;
    let url = format!("{}{}", door.url(), routes::BASE);
    let service = Service::new(Arc::clone(&store), sessions, clock, link_base)?;
    let first_line = json!({
        "url": url,
        "token": token.as_ref().map(keyhasp::Token::expose),
        "session": session,
        "tenant": demonstration::TENANT,
        "other_tenant": demonstration::OTHER_TENANT,
        "archived_tenant": demonstration::ARCHIVED_TENANT,
        "foreign_tenant": demonstration::FOREIGN_TENANT,
    });
    door.serve(routes::site(service)?, store, first_line).await
}
