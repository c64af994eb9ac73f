//! The permission levels, and what each may do with each resource.

use http::{Method, StatusCode};
use serde_json::json;

use crate::taapit::example::level;
use crate::taapit::world::World;

const NAME: &str = r#"{"name": "new"}"#;

/// Asserts what a key may do with a resource, by the answers. A key that may only read anywhere has
/// `GET` alone.
#[track_caller]
fn may(world: &World, token: &str, resource: &str, gets_alone: bool) -> &'static str {
    let uri = format!("/v1/{resource}");
    let (read, write) = (world.get(&uri, token), world.post(&uri, token, NAME));
    let head = world.ask(&Method::HEAD, &uri, token);
    if gets_alone {
        head.is_refused(403, "read_only_key");
    } else {
        assert_eq!((head.status, &*head.body), (read.status, ""));
    }
    match (read.status.as_u16(), write.status.as_u16()) {
        (200, 201) => "write",
        (200, 403) => "read",
        (403, 403) => {
            read.is_refused(403, "permission_denied");
            let message =
                format!("This API key lacks {resource}:read. A full-access key would do.");
            assert_eq!(read.json()["message"], message);
            let challenge = format!(
                "Bearer realm=\"api\", error=\"insufficient_scope\", scope=\"{resource}:read\""
            );
            assert_eq!(read.headers["www-authenticate"], challenge);
            "none"
        }
        other => panic!("{resource}: {other:?}"),
    }
}

/// Every choice for every resource, two at a time; what the API shows is what it does.
#[test]
fn each_against_each() {
    let (world, tokens) = World::new();
    let mut keys = vec![
        ("full_access".to_owned(), tokens.full.expose().to_owned()),
        ("read_only".to_owned(), tokens.read_only.expose().to_owned()),
    ];
    for (at, resource) in level::RESOURCES.into_iter().enumerate() {
        let next = level::RESOURCES[(at + 1) % level::RESOURCES.len()];
        for (one, other) in [("read", "none"), ("write", "none"), ("read", "write")] {
            let chosen = format!("limited:{resource}={one},{next}={other}");
            let token = world.key(&chosen, &chosen).token.expose().to_owned();
            keys.push((chosen, token));
        }
    }
    for (chosen, token) in keys {
        let own = world.get("/v1/api-keys/validate", &token).is_ok();
        for resource in level::RESOURCES {
            let expected = match &*chosen {
                "full_access" => "write",
                "read_only" => "read",
                limited => {
                    let choices = limited["limited:".len()..].split(',');
                    let mut choices = choices.filter_map(|choice| choice.split_once('='));
                    choices.find(|(name, _)| *name == resource).map_or("none", |(_, level)| level)
                }
            };
            let gets_alone = chosen != "full_access" && !chosen.contains("=write");
            let allowed = may(&world, &token, resource, gets_alone);
            assert_eq!(allowed, expected, "{resource} by {chosen}");
            assert_eq!(own["permissions"][resource], expected, "{resource} by {chosen}");
        }
        let manages = chosen == "full_access";
        let listed = world.get("/v1/api-keys", &token);
        assert_eq!(listed.status, if manages { StatusCode::OK } else { StatusCode::FORBIDDEN });
        let unknown = format!("/v1/api-keys/key_{:032x}", 7);
        let deleted = world.delete(&unknown, &token);
        assert_eq!(deleted.status.as_u16(), if manages { 404 } else { 403 }, "{chosen}");
    }
}

#[test]
fn a_read_only_key_is_refused_every_other_method() {
    let (world, tokens) = World::new();
    let token = tokens.read_only.expose();
    let text = "This API key may only read: GET alone. A full-access key would do.";
    let verbs = ["POST", "PUT", "PATCH", "DELETE", "TRACE", "PURGE"];
    for method in verbs.map(|verb| Method::from_bytes(verb.as_bytes()).unwrap()) {
        for uri in
            ["/v1/links", "/v1/api-keys", "/v1/api-keys/validate", "/v1/nothing", "/v1/links/1"]
        {
            let answer = world.ask(&method, uri, token);
            answer.is_refused(403, "read_only_key");
            assert_eq!(answer.json()["message"], text);
            let challenge = "Bearer realm=\"api\", error=\"insufficient_scope\"";
            assert_eq!(answer.headers["www-authenticate"], challenge);
        }
    }
    let options = world.ask(&Method::OPTIONS, "/v1/links", token);
    options.is_refused(403, "read_only_key");
    assert_eq!(options.json()["message"], text);
    for (method, only_reads, limited) in
        [(Method::GET, 200, 200), (Method::HEAD, 403, 200), (Method::OPTIONS, 403, 405)]
    {
        let status = |token| world.ask(&method, "/v1/links", token).status.as_u16();
        assert_eq!((status(token), status(tokens.limited.expose())), (only_reads, limited));
    }
    let shown = world.get("/v1/links", tokens.full.expose()).is_ok();
    assert_eq!(shown["items"], json!([]));
}

#[test]
fn what_is_created_is_its_users() {
    let (world, tokens) = World::new();
    let (full, theirs) = (tokens.full.expose(), world.stranger());
    for (resource, id) in [
        ("domains", "domain_1"),
        ("links", "link_1"),
        ("projects", "project_1"),
        ("workspaces", "ws_1"),
        ("analytics", "analytics_1"),
    ] {
        let uri = format!("/v1/{resource}");
        let made = world.post(&uri, full, NAME);
        assert_eq!(made.status, StatusCode::CREATED);
        let made = made.json();
        assert_eq!((&made["id"], &made["name"]), (&json!(id), &json!("new")));
        assert_eq!(made["created_at"].as_str().unwrap().len(), 20);
        // The house's one list without an envelope.
        let items = |page: serde_json::Value| match resource {
            "workspaces" => page,
            _ => page["items"].clone(),
        };
        assert_eq!(items(world.get(&uri, full).is_ok()), json!([made]));
        assert_eq!(items(world.get(&uri, theirs.token.expose()).is_ok()), json!([]));
    }
}

#[test]
fn levels_as_they_are_written() {
    for text in
        ["full_access", "read_only", "limited:links=read", "limited:links=write,domains=none"]
    {
        assert!(level::parse(text).is_some(), "{text}");
    }
    for text in [
        "",
        "full",
        "FULL_ACCESS",
        "limited",
        "limited:",
        "limited:links",
        "limited:links=none",
        "limited:links=all",
        "limited:keys=read",
        "limited:api_keys=write",
        "limited:links=read,",
        "limited:links=read;domains=read",
        "limited: links=read",
        "limited:*=read",
    ] {
        assert!(level::parse(text).is_none(), "{text}");
    }
}
