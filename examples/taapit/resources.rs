//! The five resources, as far as a demonstration of the permission levels needs them: small lists
//! in memory, one of each kind for each user.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{MethodRouter, get, post};
use keyhasp::integrations::tower::Guard;
use keyhasp::{Authenticated, Clock, OwnerId, SystemClock, Timestamp};
use serde_json::{Value, json};

use super::api::Site;
use super::keys::shown_time;
use super::page::{Asked, PageQuery};
use super::problem::Problem;
use super::shared::JsonBody;

/// The greatest number of things of a kind that a user may have, and the greatest length of a name
/// in bytes.
const MAX_THINGS: usize = 1_000;
const MAX_NAME: usize = 255;

/// The things of all users, newest first.
#[derive(Debug, Default)]
pub(crate) struct Things {
    lists: Mutex<HashMap<(OwnerId, &'static str), Vec<Thing>>>,
}

#[derive(Clone, Debug)]
struct Thing {
    number: u128,
    name: String,
    created_at: Timestamp,
}

/// Routes `GET` and `POST` of a resource, each behind its guard.
pub(crate) fn routes(
    resource: &'static str,
    may_read: Guard,
    may_write: Guard,
) -> MethodRouter<Site> {
    let listing = async move |State(site): State<Site>, caller: Authenticated, asked: Asked| {
        list(resource, &site, &caller, asked)
    };
    let creating = async move |State(site): State<Site>, caller: Authenticated, body: JsonBody| {
        create(resource, &site, &caller, body)
    };
    get(listing).layer(may_read).merge(post(creating).layer(may_write))
}

fn list(
    resource: &'static str,
    site: &Site,
    caller: &Authenticated,
    asked: Asked,
) -> Result<Json<Value>, Problem> {
    let things = site.things.of(caller.owner(), resource);
    let shown = |thing: &Thing| thing.shown(resource);
    // This is the API's one list without an envelope.
    if resource == "workspaces" {
        return Ok(Json(things.iter().map(shown).collect()));
    }
    Ok(Json(PageQuery::parse(asked)?.envelope(&things, |thing| thing.number, shown)))
}

fn create(
    resource: &'static str,
    site: &Site,
    caller: &Authenticated,
    JsonBody(body): JsonBody,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let thing = site.things.add(caller.owner(), resource, name_in(&body?)?)?;
    Ok((StatusCode::CREATED, Json(thing.shown(resource))))
}

/// Reads `{"name": "…"}`. Ignores other members.
fn name_in(body: &Value) -> Result<&str, Problem> {
    let body = body.as_object().ok_or_else(|| Problem::body("The body must be a JSON object."))?;
    match body.get("name").and_then(Value::as_str) {
        Some(name) if (1..=MAX_NAME).contains(&name.len()) => Ok(name),
        _ => Err(Problem::body(format!("name must be a text of 1 to {MAX_NAME} bytes."))),
    }
}

impl Things {
    fn of(&self, user: &OwnerId, resource: &'static str) -> Vec<Thing> {
        let lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        lists.get(&(*user, resource)).cloned().unwrap_or_default()
    }

    fn add(&self, user: &OwnerId, resource: &'static str, name: &str) -> Result<Thing, Problem> {
        let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        let list = lists.entry((*user, resource)).or_default();
        if list.len() == MAX_THINGS {
            let message =
                format!("The user has {MAX_THINGS} {resource}, the most that are allowed.");
            return Err(Problem::new(StatusCode::CONFLICT, "limit_reached", message));
        }
        let number = list.first().map_or(1, |newest| newest.number + 1);
        let name = name.to_owned();
        let thing = Thing { number, name, created_at: SystemClock::new().now() };
        list.insert(0, thing.clone());
        Ok(thing)
    }
}

impl Thing {
    fn shown(&self, resource: &str) -> Value {
        let kind = match resource {
            "domains" => "domain",
            "links" => "link",
            "projects" => "project",
            "workspaces" => "ws",
            other => other,
        };
        let created_at = shown_time(self.created_at);
        json!({"id": format!("{kind}_{}", self.number), "name": self.name, "created_at": created_at})
    }
}
