//! New tokens for keys.

use std::time::Duration;

use keyhasp::Timestamp;

use crate::taapit::world::{Answer, World};

const HOUR: Duration = Duration::from_secs(60 * 60);

fn uri(world: &World, token: &str) -> String {
    let own = world.get("/v1/api-keys/validate", token).is_ok();
    format!("/v1/api-keys/{}/rotate", own["id"].as_str().unwrap())
}

/// The new token that an answer shows.
#[track_caller]
fn token(answer: &Answer) -> String {
    assert_eq!(answer.headers["cache-control"], "no-store");
    answer.is_ok()["token"].as_str().unwrap().to_owned()
}

#[test]
fn both_tokens_are_valid_for_six_hours() {
    let (world, tokens) = World::new();
    let (full, old) = (tokens.full.expose(), tokens.limited.expose());
    let answer = world.post(&uri(&world, old), full, "");
    let new = token(&answer);
    let shown = answer.json();
    assert_eq!(
        (&shown["name"], &shown["is_active"]),
        (&"Demonstration, limited".into(), &true.into())
    );
    let end: Timestamp = shown["previous_token_until"].as_str().unwrap().parse().unwrap();
    let end = Duration::from_millis(end.as_millis());
    let now = Duration::from_millis(keyhasp::Clock::now(&*world.clock).as_millis());
    assert!((end + Duration::from_secs(1)).abs_diff(now + 6 * HOUR) <= Duration::from_secs(1));
    assert!(new.starts_with("taapit_") && new != old);
    for token in [old, &new] {
        assert_eq!(world.get("/v1/links", token).status, 200);
    }
    // It isn't shown again.
    assert!(!world.get("/v1/api-keys", full).body.contains(&new));
    world.clock.advance(6 * HOUR);
    world.get("/v1/links", old).is_refused(401, "unauthorized");
    assert_eq!(world.get("/v1/links", &new).status, 200);
}

#[test]
fn force_ends_the_previous_ones_at_once() {
    let (world, tokens) = World::new();
    let full = tokens.full.expose();
    let uri = uri(&world, full);
    let second = token(&world.post(&uri, full, "{}"));
    // A previous token may read, and change nothing.
    world.post(&uri, full, "").is_refused(403, "permission_denied");
    let answer = world.post(&uri, &second, r#"{"force": true}"#);
    let third = token(&answer);
    assert!(answer.json()["previous_token_until"].is_null());
    for old in [full, &second] {
        world.get("/v1/links", old).is_refused(401, "unauthorized");
    }
    assert_eq!(world.get("/v1/links", &third).status, 200);
}

#[test]
fn rotations_that_are_refused() {
    let (world, tokens) = World::new();
    let (full, limited) = (tokens.full.expose(), tokens.limited.expose());
    let uri = uri(&world, limited);
    for body in ["x", "[]", "null", r#"{"force": 1}"#, r#"{"force": null}"#, r#"{"force": true,}"#]
    {
        world.post(&uri, full, body).is_refused(400, "invalid_body");
    }
    // Full-access keys alone, and not even for themselves.
    world.post(&uri, limited, "").is_refused(403, "permission_denied");
    world.post(&uri, tokens.read_only.expose(), "").is_refused(403, "read_only_key");
    for id in ["key_1", "x", &format!("key_{:032x}", 7)] {
        world.post(&format!("/v1/api-keys/{id}/rotate"), full, "").is_refused(404, "not_found");
    }
    world.get(&uri, full).is_refused(405, "method_not_allowed");
    assert_eq!(world.get("/v1/links", limited).status, 200);
}
