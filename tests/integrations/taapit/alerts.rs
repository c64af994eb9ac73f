//! Alerts about the keys of a user, which the store writes as events.

use std::time::Duration;

use serde_json::{Value, json};

use crate::taapit::world::{World, user};

const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The alerts that a user sees: kind and key of each, newest first.
#[track_caller]
fn alerts(world: &World, token: &str) -> Vec<(String, String)> {
    let page = world.get("/v1/api-keys/alerts", token).is_ok();
    let text = |alert: &Value, name: &str| alert[name].as_str().unwrap().to_owned();
    let items = page["items"].as_array().unwrap();
    for alert in items {
        assert!(text(alert, "id").starts_with("alert_") && !text(alert, "message").is_empty());
        assert_eq!(text(alert, "created_at").len(), 20);
        assert_eq!(alert.as_object().unwrap().len(), 5);
    }
    items.iter().map(|alert| (text(alert, "kind"), text(alert, "key_id"))).collect()
}

fn id(key: &keyhasp::Key) -> String {
    format!("key_{:032x}", key.id.as_u128())
}

#[test]
fn a_previous_token_that_is_still_used_at_the_end() {
    let (world, tokens, store) = World::watched();
    let full = tokens.full.expose();
    let website = world.key("website", "limited:links=read");
    let old = website.token.expose();
    world.post(&format!("/v1/api-keys/{}/rotate", id(&website.key)), full, "").is_ok();
    world.get("/v1/links", old).is_ok();
    assert_eq!(store.run_alerts().unwrap(), 0, "a rotation takes its time");
    world.clock.advance(5 * HOUR);
    world.get("/v1/links", old).is_ok();
    assert_eq!(store.run_alerts().unwrap(), 1);
    let told = ("previous_token_used".to_owned(), id(&website.key));
    assert_eq!(alerts(&world, full), [told]);
}

#[test]
fn a_key_that_is_rejected_although_its_token_is_right() {
    let (world, tokens, store) = World::watched();
    let (full, website) = (tokens.full.expose(), world.key("website", "full_access"));
    world.delete(&format!("/v1/api-keys/{}", id(&website.key)), full).is_ok();
    let knock = |times| {
        for _ in 0..times {
            world.get("/v1/links", website.token.expose()).is_refused(401, "unauthorized");
        }
        store.run_alerts().unwrap()
    };
    assert_eq!((knock(10), knock(1)), (0, 1));
    assert_eq!(alerts(&world, full), [("key_rejected".to_owned(), id(&website.key))]);
}

#[test]
fn keys_that_nobody_uses_newest_alert_first_and_page_by_page() {
    let (world, tokens, store) = World::watched();
    let full = tokens.full.expose();
    let keys = ["one", "two", "three"].map(|name| {
        let key = world.key(name, "read_only").key;
        // The demonstration's two others are as old as the first.
        world.clock.advance(DAY);
        id(&key)
    });
    for (days, key) in [(27, &keys[0]), (1, &keys[1]), (1, &keys[2])] {
        world.clock.advance(days * DAY);
        world.get("/v1/links", full).is_ok();
        store.run_alerts().unwrap();
        let told = alerts(&world, full);
        assert!(told.iter().all(|(kind, _)| kind == "key_unused"), "{told:?}");
        assert!(told.iter().any(|(_, known)| known == key), "{told:?}");
    }
    // With the demonstration's two.
    let told = alerts(&world, full);
    assert_eq!(told.len(), 5);
    assert_eq!((&told[0].1, &told[1].1), (&keys[2], &keys[1]));
    let page = world.get("/v1/api-keys/alerts?page_size=2", full).is_ok();
    assert_eq!((&page["items"][1]["key_id"], &page["has_next"]), (&json!(keys[1]), &json!(true)));
    let cursor = page["next_cursor"].as_str().unwrap();
    let next = world.get(&format!("/v1/api-keys/alerts?page_size=5&cursor={cursor}"), full).is_ok();
    assert_eq!(next["items"].as_array().unwrap().len(), 3);
}

#[test]
fn each_user_is_told_of_its_own_alone() {
    let (world, tokens, store) = World::watched();
    let theirs = world.key_of(user(2), "theirs", "full_access");
    let full = tokens.full.expose();
    for token in [full, tokens.limited.expose(), tokens.read_only.expose()] {
        world.get("/v1/api-keys/validate", token).is_ok();
    }
    world.key_of(user(2), "idle", "read_only");
    world.clock.advance(30 * DAY);
    for token in [full, tokens.limited.expose(), tokens.read_only.expose(), theirs.token.expose()] {
        world.get("/v1/api-keys/validate", token).is_ok();
    }
    assert_eq!(store.run_alerts().unwrap(), 1);
    assert_eq!(alerts(&world, full), []);
    assert_eq!(alerts(&world, theirs.token.expose()).len(), 1);
    world.get("/v1/api-keys/alerts", tokens.limited.expose()).is_refused(403, "permission_denied");
    world
        .get("/v1/api-keys/alerts", tokens.read_only.expose())
        .is_refused(403, "permission_denied");
}
