//! Bodies that can't be taken: each a 4xx with a body, and nothing made of it.

use std::time::Duration;

use serde_json::json;

use crate::taapit::world::World;

#[test]
fn bodies_that_are_refused() {
    let (world, tokens) = World::new();
    let full = tokens.full.expose();
    let deep = format!("{{\"name\": {}{}}}", "[".repeat(50_000 / 2), "]".repeat(50_000 / 2));
    let long = json!({"name": "x".repeat(256)}).to_string();
    for body in [
        "",
        " ",
        "name",
        "{",
        "{\"name\": }",
        "{\"name\": \"x\",}",
        "{\"name\": \"x\"} x",
        "null",
        "1",
        "[]",
        "[\"x\"]",
        "\"name\"",
        "{}",
        "{\"name\": null}",
        "{\"name\": 1}",
        "{\"name\": [\"x\"]}",
        "{\"name\": \"\"}",
        "{\"Name\": \"x\"}",
        "{\"name\": \"\\ud800\"}",
        &deep,
        &long,
    ] {
        let answer = world.post("/v1/links", full, body.to_owned());
        answer.is_refused(400, "invalid_body");
    }
    world.post("/v1/links", full, b"{\"name\": \"\xff\"}".to_vec()).is_refused(400, "invalid_body");
    let large = json!({"name": "x".repeat(64 * 1024)}).to_string();
    world.post("/v1/links", full, large).is_refused(413, "body_too_large");
    assert_eq!(world.get("/v1/links", full).is_ok()["items"], json!([]));
    // The guard comes first: who may not write isn't heard out.
    world.post("/v1/domains", tokens.limited.expose(), "").is_refused(403, "permission_denied");
}

#[test]
fn the_longest_name_and_members_that_nobody_knows() {
    let (world, tokens) = World::new();
    let name = "é".repeat(127) + "x";
    let body = json!({"name": name, "other": {"deep": [1]}}).to_string();
    let made = world.post("/v1/links", tokens.full.expose(), body);
    assert_eq!((made.status.as_u16(), &made.json()["name"]), (201, &json!(name)));
}

/// A user has at most a thousand things of a kind, so no user fills the memory.
#[test]
fn no_more_than_a_thousand() {
    let (world, tokens) = World::new();
    let full = tokens.full.expose();
    for _ in 0..1_000 {
        // Slower than its rate allows.
        world.clock.advance(Duration::from_secs(1));
        assert_eq!(world.post("/v1/projects", full, r#"{"name": "x"}"#).status, 201);
    }
    world.post("/v1/projects", full, r#"{"name": "x"}"#).is_refused(409, "limit_reached");
    assert_eq!(world.post("/v1/links", full, r#"{"name": "x"}"#).status, 201);
}
