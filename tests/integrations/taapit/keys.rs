//! The key resource: listing, validating, deactivating.

use std::time::Duration;

use keyhasp::{Clock, Timestamp};
use serde_json::{Value, json};

use crate::taapit::example::keys::shown_time;
use crate::taapit::world::World;

const EVERYTHING: [&str; 5] = ["domains", "links", "projects", "workspaces", "analytics"];

fn all(level: &str) -> Value {
    EVERYTHING.iter().map(|resource| ((*resource).to_owned(), Value::from(level))).collect()
}

/// Returns what is shown of a key, except id and dates, which it must have in their forms.
#[track_caller]
fn without_id_and_dates(mut key: Value) -> Value {
    let members = key.as_object_mut().unwrap();
    let id = members.remove("id").unwrap();
    let digits = id.as_str().unwrap().strip_prefix("key_").unwrap();
    assert!(digits.len() == 32 && digits.bytes().all(|b| b"0123456789abcdef".contains(&b)));
    let is_date =
        |date: &str| date.len() == 20 && date.ends_with('Z') && date.parse::<Timestamp>().is_ok();
    let created = members.remove("created_at").unwrap();
    assert!(is_date(created.as_str().unwrap()), "{created}");
    let last_used = members.remove("last_used_at").unwrap();
    assert!(last_used.is_null() || is_date(last_used.as_str().unwrap()), "{last_used}");
    key
}

fn shown(name: &str, level: &str, permissions: &Value) -> Value {
    json!({"name": name, "prefix": "taapit_", "permission_level": level,
           "permissions": permissions, "allowed_ips": null, "is_active": true})
}

fn demonstrated() -> [Value; 3] {
    let limited = json!({"domains": "none", "links": "write", "projects": "none",
                         "workspaces": "none", "analytics": "read"});
    [
        shown("Demonstration, limited", "limited", &limited),
        shown("Demonstration, read only", "read_only", &all("read")),
        shown("Demonstration, full access", "full_access", &all("write")),
    ]
}

#[test]
fn listed_in_the_house_envelope() {
    let (world, tokens) = World::new();
    world.stranger();
    let answer = world.get("/v1/api-keys", tokens.full.expose());
    assert_eq!(answer.headers["content-type"], "application/json");
    let mut page = answer.is_ok();
    let items = page["items"].take();
    assert_eq!(
        page,
        json!({"items": null, "page": 1, "page_size": 10, "has_next": false,
                            "has_prev": false, "next_cursor": null, "prev_cursor": null})
    );
    let items = items.as_array().unwrap().iter().cloned().map(without_id_and_dates);
    assert_eq!(items.collect::<Vec<_>>(), demonstrated());
    for token in [&tokens.full, &tokens.read_only, &tokens.limited] {
        let token = token.expose();
        assert!(!answer.body.contains(token) && !answer.body.contains(&token[29..]));
    }
}

#[test]
fn every_key_may_validate_itself() {
    let (world, tokens) = World::new();
    let of_each_level = [&tokens.limited, &tokens.read_only, &tokens.full];
    for (token, mut expected) in of_each_level.into_iter().zip(demonstrated()) {
        expected["valid"] = true.into();
        let own = world.get("/v1/api-keys/validate", token.expose()).is_ok();
        assert_eq!(without_id_and_dates(own), expected);
    }
    world.get("/v1/api-keys/validate", "taapit_nothing").is_refused(401, "unauthorized");
}

#[test]
fn deactivated_keys_stay_listed_and_are_refused() {
    let (world, tokens) = World::new();
    let (full, limited) = (tokens.full.expose(), tokens.limited.expose());
    let id = world.get("/v1/api-keys/validate", limited).is_ok()["id"].clone();
    let uri = format!("/v1/api-keys/{}", id.as_str().unwrap());
    let off = world.delete(&uri, full).is_ok();
    assert_eq!((&off["id"], &off["is_active"]), (&id, &false.into()));
    // At once, and a second time changes nothing.
    world.get("/v1/api-keys/validate", limited).is_refused(401, "unauthorized");
    assert_eq!(world.delete(&uri, full).is_ok(), off);
    let listed = world.get("/v1/api-keys", full).is_ok()["items"].take();
    assert_eq!(listed[0], off);
    assert_eq!((&listed[1]["is_active"], &listed[2]["is_active"]), (&true.into(), &true.into()));
}

#[test]
fn a_key_may_deactivate_itself() {
    let (world, tokens) = World::new();
    let full = tokens.full.expose();
    let id = world.get("/v1/api-keys/validate", full).is_ok()["id"].take();
    let uri = format!("/v1/api-keys/{}", id.as_str().unwrap());
    assert_eq!(world.delete(&uri, full).is_ok()["is_active"], false);
    world.delete(&uri, full).is_refused(401, "unauthorized");
}

/// To the minute: a second use within one isn't told. A request that is refused is none, and
/// neither is what others do to the key.
#[test]
fn when_a_key_was_last_used() {
    const SECOND: Duration = Duration::from_secs(1);
    let (world, tokens) = World::new();
    let (full, limited) = (tokens.full.expose(), tokens.limited.expose());
    let now = || shown_time(world.clock.now());
    let last_uses = || {
        let items = world.get("/v1/api-keys", full).is_ok()["items"].take();
        [0, 1, 2].map(|at| items[at]["last_used_at"].clone())
    };
    // A minute's begin, so that the next 59 seconds are in the same one.
    let into_it = world.clock.now().as_millis() % 60_000;
    world.clock.advance(Duration::from_millis(60_000 - into_it));
    let begin = Value::from(now());
    assert_eq!(last_uses(), [Value::Null, Value::Null, begin.clone()]);
    world.get("/v1/links", &limited[..limited.len() - 1]).is_refused(401, "unauthorized");
    assert_eq!(last_uses(), [Value::Null, Value::Null, begin.clone()]);
    world.clock.advance(SECOND);
    let own = world.get("/v1/api-keys/validate", limited).is_ok();
    assert_eq!(own["last_used_at"], now());
    let first = own["last_used_at"].clone();
    world.clock.advance(58 * SECOND);
    assert_eq!(world.get("/v1/links", limited).status, 200);
    assert_eq!(last_uses(), [first.clone(), Value::Null, begin]);
    world.clock.advance(SECOND);
    assert_eq!(last_uses(), [first, Value::Null, now().into()]);
    assert_eq!(world.get("/v1/links", limited).status, 200);
    assert_eq!(last_uses(), [now().into(), Value::Null, now().into()]);
    let uri = format!("/v1/api-keys/{}", own["id"].as_str().unwrap());
    let last_use = now();
    world.clock.advance(60 * SECOND);
    assert_eq!(world.delete(&uri, full).is_ok()["last_used_at"], last_use);
    world.get("/v1/links", limited).is_refused(401, "unauthorized");
    assert_eq!(last_uses(), [last_use.into(), Value::Null, now().into()]);
}

/// Another user's key is answered like one that doesn't exist and like an id that can't be one.
#[test]
fn only_ones_own_are_found() {
    let (world, tokens) = World::new();
    let theirs = world.stranger();
    let token = theirs.token.expose();
    let id = world.get("/v1/api-keys/validate", token).is_ok()["id"].take();
    let id = id.as_str().unwrap().to_owned();
    let full = tokens.full.expose();
    let refused = world.delete(&format!("/v1/api-keys/{id}"), full);
    refused.is_refused(404, "not_found");
    let unknown = format!("key_{:032x}", 7);
    // Ways to write one's own id that aren't how it is written.
    let own = world.get("/v1/api-keys/validate", full).is_ok()["id"].take();
    let own = own.as_str().unwrap().to_owned();
    let (upper, bare) = (own.to_uppercase().replace("KEY", "key"), own.replace("key_", ""));
    let (plus, short) = (own.replace("key_0", "key_+"), own.replace("key_0", "key_"));
    assert!(plus != own && short != own);
    // Once in many thousand runs it has no letter, and so no other case.
    let upper = if upper == own { &unknown } else { &upper };
    let long = own.replace("key_", "key_0");
    for other in [&*unknown, upper, &bare, &plus, &short, &long, "1", "key_", "%ff", "%00", "x"] {
        // So that the answers are the same in what they say of the rate.
        world.clock.advance(Duration::from_secs(1));
        assert_eq!(world.delete(&format!("/v1/api-keys/{other}"), full), refused, "{other}");
    }
    let listed = world.get("/v1/api-keys", token).is_ok();
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    assert_eq!(listed["items"][0]["is_active"], true);
}
