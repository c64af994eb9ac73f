//! An API in the manner of taap.it's, with a key resource that is **a proposal of ours and not
//! theirs**. Their documentation names tokens `taapit_…`, three permission levels, five resources,
//! and calls to list, validate and deactivate keys. It gives no paths or bodies for these calls.
//!
//! ```text
//! cargo run --all-features --example taapit -- --listen 127.0.0.1:3000 --db taapit.db
//! cargo run --all-features --example taapit -- --db taapit.db --create NAME LEVEL --user user_2
//! ```
//!
//! The first command serves. It fills a new database with a demonstration, and prints one line of
//! JSON first. The second command creates a key, also while the first one runs, and prints it.
//! `-- --help` says the rest.
//!
//! | request | who | answer |
//! | --- | --- | --- |
//! | `GET /v1/api-keys` | full access | the user's keys in the envelope of all lists, newest first, without tokens |
//! | `GET /v1/api-keys/validate` | any key | the calling key, with `"valid": true` |
//! | `DELETE /v1/api-keys/{id}` | full access | the key, with `"is_active": false` |
//! | `POST /v1/api-keys/{id}/rotate` | full access | the key with a new token; the previous one stays valid for 6 hours, or ends at once with `{"force": true}` |
//! | `GET /v1/api-keys/alerts` | full access | alerts about the user's keys, newest first: unused for 30 days, a previous token still used, rejected often |
//! | `PATCH /v1/api-keys/{id}` | full access | the key, accepted from `{"allowed_ips": […]}` alone; from anywhere if that is null |
//! | `GET`, `POST /v1/links` and likewise `domains`, `projects`, `workspaces`, `analytics` | permission to read or write it | small lists, to show the effect of a level |
//!
//! A user's keys together may make 600 requests a minute. Each answer to one of them has
//! `X-RateLimit-Limit`, `-Remaining` and `-Reset`. A request above the limit is answered with 429
//! and `Retry-After`.
//!
//! The view of a key has its `last_used_at`, to the minute. It is null for a key that was never
//! used. Each user sees, changes and is alerted about its own keys alone. A key that may only read is
//! rejected for every method but `GET`.

pub(crate) mod alerts;
pub(crate) mod api;
pub(crate) mod keys;
pub(crate) mod level;
mod page;
pub(crate) mod problem;
mod resources;
#[path = "../shared/mod.rs"]
pub(crate) mod shared;
pub(crate) mod users;

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use keyhasp::backend::sqlite::SqliteOptions;
use keyhasp::integrations::http::PeerAddress;
use keyhasp::{Network, OwnerId};
use serde_json::{Value, json};
use shared::{Arguments, Door, Outcome, Place};

const HELP: &str = "\
Serves an API in the manner of taap.it's, whose key resource is a proposal of ours and not theirs.
The first line of output is JSON.

  --listen ADDRESS    where to listen; 127.0.0.1 and a free port if not given
  --db FILE           the database, with the pepper beside it; a temporary one if not given
  --proxies N         the number of proxies in front; the connection's address counts if not given
  --help              prints this, and ends

With --db FILE and these, it creates a key, also while the service runs, prints it, and ends:

  --create NAME LEVEL the key's name, and full_access, read_only, or such as
                      limited:links=write,analytics=read
  --user USER         the account that it belongs to; user_1 if not given
  --from NETWORKS     the networks from which alone it is accepted, such as 192.0.2.0/24,2001:db8::7
";

/// The time within which this process learns of keys that another process created. A key that this
/// process deactivates is rejected here at once.
const MAX_STALENESS: Duration = Duration::from_secs(4);

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
    let wanted = arguments.values("--create")?;
    let networks = arguments.option("--from")?;
    let user = arguments.option("--user")?;
    let proxies = arguments.option("--proxies")?;
    arguments.finish()?;
    if let Some([name, level]) = wanted {
        let database = database.ok_or("--create needs --db FILE")?;
        let user = OwnerId::new(user.as_deref().unwrap_or(users::USER))?;
        let place = Place::new(Some(database))?;
        let made = create(&place, user, &name, &level, networks.as_deref())?;
        return Ok(writeln!(std::io::stdout(), "{made}")?);
    }
    if user.is_some() {
        return Err("--user needs --create: it names the account of the new key".into());
    }
    if networks.is_some() {
        return Err("--from needs --create: it limits the new key to networks".into());
    }
    let peer = match proxies {
        Some(count) => {
            let number = count.parse().map_err(|_| "--proxies needs a number from 1 to 255")?;
            PeerAddress::forwarded_for(number)?
        }
        None => api::connection(),
    };
    let place = Place::new(database)?;
    let store = place.open_as(users::store()?, SqliteOptions::shared(MAX_STALENESS)?)?;
    let door = Door::open(&listen).await?;
    let shown = users::demonstrate(&store)?;
    let shown = shown.as_ref();
    let first_line = json!({
        "url": format!("{}/v1", door.url()),
        "token": shown.map(|shown| shown.full.expose()),
        "read_only_token": shown.map(|shown| shown.read_only.expose()),
        "limited_token": shown.map(|shown| shown.limited.expose()),
    });
    door.serve(api::routes(store.clone(), peer)?, store, first_line).await
}

/// Creates a key, and returns its view with the token, which is shown this once.
pub(crate) fn create(
    place: &Place,
    user: OwnerId,
    name: &str,
    level: &str,
    networks: Option<&str>,
) -> Outcome<Value> {
    let access = level::parse(level).ok_or_else(|| format!("LEVEL must be {}", level::FORM))?;
    let listed = |text: &str| text.split(',').map(str::parse).collect::<Result<Vec<Network>, _>>();
    let networks = networks.map(listed).transpose()?;
    let store = place.open_as(users::store()?, SqliteOptions::shared(MAX_STALENESS)?)?;
    let issued = users::create_on_demand(&store, user, name, access, networks)?;
    let mut made = keys::shown(&issued.key);
    made["token"] = issued.token.expose().into();
    Ok(made)
}
