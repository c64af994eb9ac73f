//! From where a key is accepted, and how often.

use std::time::Duration;

use axum::body::Body;
use http::{Method, Request};
use keyhasp::integrations::http::PeerAddress;
use serde_json::{Value, json};

use crate::taapit::example::users::PER_MINUTE;
use crate::taapit::world::{Answer, World, place};

fn uri(world: &World, token: &str) -> String {
    let own = world.ask_from("192.0.2.7", &Method::GET, "/v1/api-keys/validate", token).is_ok();
    format!("/v1/api-keys/{}", own["id"].as_str().unwrap())
}

/// Lifts the list: from anywhere.
const NO_LIMIT: &str = "{\"allowed_ips\": null}";

fn ips(list: &[&str]) -> String {
    json!({ "allowed_ips": list }).to_string()
}

#[test]
fn a_key_is_accepted_from_its_list_alone() {
    let (world, _) = World::new();
    let token = world.key_from("office", "full_access", &["192.0.2.0/24", "2001:db8::7"]).token;
    let from = |address| world.ask_from(address, &Method::GET, "/v1/links", token.expose());
    for address in ["192.0.2.7", "::ffff:192.0.2.7", "2001:db8::7"] {
        from(address).is_ok();
    }
    for address in ["192.0.3.7", "2001:db8::8", "::1"] {
        let refused = from(address);
        refused.is_refused(403, "address_not_allowed");
        let text = "This API key is not accepted from the address of this request.";
        assert_eq!(refused.json()["message"], text);
        assert!(!refused.headers.contains_key("www-authenticate"));
    }
    // Nor without a known address, whatever a header says.
    let spoofed = Request::get("/v1/links").header("x-forwarded-for", "192.0.2.7");
    let spoofed = spoofed.header("authorization", format!("Bearer {}", token.expose()));
    world.send(spoofed.body(Body::empty()).unwrap()).is_refused(403, "address_not_allowed");
    // A client without the secret learns nothing of it.
    let stranger = world.ask_from("192.0.3.7", &Method::GET, "/v1/links", "taapit_x");
    stranger.is_refused(401, "unauthorized");
}

#[test]
fn behind_a_proxy_it_is_the_proxys_word() {
    let behind_one = PeerAddress::forwarded_for(1).unwrap();
    let place = place();
    let (world, _) = World::behind(&place, behind_one);
    let token = world.key_from("office", "full_access", &["192.0.2.0/24"]).token;
    let through = |told: &str| {
        let request = Request::get("/v1/links").header("x-forwarded-for", told);
        let request = request.header("authorization", format!("Bearer {}", token.expose()));
        world.send(request.body(Body::empty()).unwrap())
    };
    through("10.0.0.1, 192.0.2.7").is_ok();
    through("192.0.2.7, 10.0.0.1").is_refused(403, "address_not_allowed");
    through("").is_refused(403, "address_not_allowed");
}

#[test]
fn the_list_is_changed_and_takes_effect_at_once() {
    let (world, tokens) = World::new();
    let full = tokens.full.expose();
    let token = world.key("office", "limited:links=read").token;
    let uri = uri(&world, token.expose());
    let read = |from| world.ask_from(from, &Method::GET, "/v1/links", token.expose());
    let changed = world.patch(&uri, full, ips(&["2001:db8::/32", "192.0.2.7"])).is_ok();
    assert_eq!(changed["allowed_ips"], json!(["192.0.2.7/32", "2001:db8::/32"]));
    read("192.0.2.7").is_ok();
    read("192.0.2.8").is_refused(403, "address_not_allowed");
    let listed = world.get("/v1/api-keys", full).is_ok();
    assert_eq!(listed["items"][0], changed);
    // Lifted again: from anywhere.
    let lifted = world.patch(&uri, full, NO_LIMIT).is_ok();
    assert_eq!(lifted["allowed_ips"], json!(null));
    read("192.0.2.8").is_ok();
}

#[test]
fn who_changes_lists_and_whose() {
    let (world, tokens) = World::new();
    let (full, limited) = (tokens.full.expose(), tokens.limited.expose());
    let own = uri(&world, limited);
    let anywhere = NO_LIMIT;
    world.patch(&own, limited, anywhere).is_refused(403, "permission_denied");
    let reads = tokens.read_only.expose();
    world.patch(&own, reads, anywhere).is_refused(403, "read_only_key");
    let theirs = world.stranger();
    world.patch(&own, theirs.token.expose(), anywhere).is_refused(404, "not_found");
    for unknown in ["key_7", "1", "%ff"] {
        let uri = format!("/v1/api-keys/{unknown}");
        world.patch(&uri, full, anywhere).is_refused(404, "not_found");
    }
    let many = (0..65).map(|last| format!("192.0.2.{last}")).collect::<Vec<_>>();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    world.patch(&own, full, ips(&many)).is_refused(400, "invalid_parameter");
    // An empty list is no limit by mistake: it neither locks the key out nor lifts the limit.
    world.patch(&own, full, ips(&[])).is_refused(400, "invalid_parameter");
    for body in [
        "",
        "[]",
        "{}",
        "{\"allowed_ips\": false}",
        "{\"allowed_ips\": \"192.0.2.7\"}",
        "{\"allowed_ips\": [7]}",
        "{\"allowed_ips\": [\"\"]}",
        "{\"allowed_ips\": [\"192.0.2.0/33\"]}",
        "{\"allowed_ips\": [\"example.com\"]}",
    ] {
        world.patch(&own, full, body).is_refused(400, "invalid_body");
    }
    // Host bits: it is told the network that it may have meant.
    let slip = world.patch(&own, full, ips(&["192.0.2.7/24"]));
    slip.is_refused(400, "invalid_body");
    assert!(slip.json()["message"].as_str().unwrap().contains("192.0.2.0/24"));
    let unchanged = world.get("/v1/api-keys", full).is_ok();
    let lists = unchanged["items"].as_array().unwrap().iter().map(|key| &key["allowed_ips"]);
    assert!(lists.into_iter().all(|list| list == &json!(null)));
}

/// Limit, remaining and reset.
fn rate(answer: &Answer) -> [u32; 3] {
    ["limit", "remaining", "reset"].map(|name| {
        let value = &answer.headers[format!("x-ratelimit-{name}").as_str()];
        value.to_str().unwrap().parse().unwrap()
    })
}

#[test]
fn every_answer_to_a_key_says_what_is_left() {
    let (world, tokens) = World::new();
    let full = tokens.full.expose();
    let mut left = PER_MINUTE;
    let mut is_told = |answer: &Answer, status: u16| {
        left -= 1;
        assert_eq!(answer.status, status);
        // A tenth of a second for each, rounded up.
        let reset = (PER_MINUTE - left).div_ceil(10);
        assert_eq!(rate(answer), [PER_MINUTE, left, reset], "{answer:?}");
    };
    is_told(&world.get("/v1/api-keys", full), 200);
    is_told(&world.post("/v1/links", full, r#"{"name": "x"}"#), 201);
    is_told(&world.post("/v1/links", full, ""), 400);
    is_told(&world.get("/v1/nothing", full), 404);
    is_told(&world.ask(&Method::PUT, "/v1/links", full), 405);
    // A guard's refusal, of another key of the same user.
    is_told(&world.post("/v1/links", tokens.read_only.expose(), ""), 403);
    // Another user has no part in it, nor has a client that isn't let in.
    let theirs = world.stranger();
    for token in [theirs.token.expose(), "taapit_x"] {
        let answer = world.get("/v1/links", token);
        assert!(!answer.headers.contains_key("x-ratelimit-limit"), "{answer:?}");
    }
    world.clock.advance(Duration::from_secs(60));
    left = PER_MINUTE;
    let refilled = world.get("/v1/links", full);
    assert_eq!(rate(&refilled), [PER_MINUTE, left - 1, 1]);
}

#[test]
fn one_too_many_is_told_when_to_come_again() {
    let (world, tokens) = World::new();
    let full = tokens.full.expose();
    for _ in 0..PER_MINUTE {
        world.get("/v1/links", full).is_ok();
    }
    let refused = world.get("/v1/links", full);
    refused.is_refused(429, "rate_limited");
    assert!(refused.json()["message"].as_str().unwrap().contains("twice as long each time"));
    assert_eq!(
        (rate(&refused), &refused.headers["retry-after"]),
        ([PER_MINUTE, 0, 1], &"1".parse().unwrap())
    );
    assert!(!refused.headers.contains_key("www-authenticate"));
    // All keys of the user, and no other's.
    world.get("/v1/links", tokens.limited.expose()).is_refused(429, "rate_limited");
    assert_eq!(world.get("/v1/links", world.stranger().token.expose()).status, 200);
    // A client without the secret doesn't learn of it.
    let (whole, last) = full.split_at(full.len() - 1);
    let wrong = format!("{whole}{}", if last == "a" { 'b' } else { 'a' });
    world.get("/v1/links", &wrong).is_refused(401, "unauthorized");
    world.clock.advance(Duration::from_millis(99));
    world.get("/v1/links", full).is_refused(429, "rate_limited");
    world.clock.advance(Duration::from_millis(1));
    let again: Value = world.get("/v1/links", full).is_ok();
    assert_eq!(again["items"], json!([]));
    world.get("/v1/links", full).is_refused(429, "rate_limited");
}
