//! Guards: permissions, and methods for those who may only read.

use axum::Router;
use axum::routing::{any, get, post};
use http::header::AUTHORIZATION;
use http::{Method, StatusCode};
use keyhasp::{Access, CreateKey, CreateOwner, KeyLayer, Token};
use serde_json::json;

use crate::common::World;
use crate::http::site::{Answer, fetch, request, routes, send, with_token};

fn token(world: &World, name: &str, access: Access) -> Token {
    world.owner_with(name, CreateOwner::with_key(CreateKey::new(access))).1.token
}

fn call(site: &Router, method: Method, uri: &str, token: &Token) -> Answer {
    let bearer = format!("Bearer {}", token.expose());
    send(site, request(method, uri, &[(AUTHORIZATION.as_str(), bearer.as_bytes())]))
}

fn insufficient(scope: &str) -> serde_json::Value {
    json!({"type": "about:blank", "title": "Forbidden", "status": 403, "scope": scope,
        "detail": "The API key lacks a permission that this needs.",
        "error": "insufficient_scope"})
}

#[test]
fn each_route_asks_for_its_own() {
    let world = World::new();
    let keys = KeyLayer::new(world.verifier.clone());
    let read = keys.require(["links:read"]).unwrap();
    let write = keys.require(["links:write", "domains:read"]).unwrap();
    let links = get(async || "read").layer(read).merge(post(async || "written").layer(write));
    let site = Router::new().route("/links", links).layer(keys);
    let reads = token(&world, "reads", Access::limited(["links:read"]).unwrap());
    let half = token(&world, "half", Access::limited(["links:*"]).unwrap());
    let both = token(&world, "both", Access::limited(["links:*", "domains:read"]).unwrap());
    for token in [&reads, &half, &both] {
        assert_eq!(call(&site, Method::GET, "/links", token).body, "read");
    }
    assert_eq!(call(&site, Method::POST, "/links", &both).body, "written");
    let scope = "links:write domains:read";
    let challenge =
        format!("Bearer realm=\"api\", error=\"insufficient_scope\", scope=\"{scope}\"");
    for token in [&reads, &half] {
        let answer = call(&site, Method::POST, "/links", token);
        answer.is_problem(&insufficient(scope), &[&challenge]);
    }
    let domains = token(&world, "domains", Access::limited(["domains:*"]).unwrap());
    assert_eq!(call(&site, Method::GET, "/links", &domains).status, StatusCode::FORBIDDEN);
    assert_eq!(fetch(&site, "/links", &[]).status, StatusCode::UNAUTHORIZED);
}

#[test]
fn a_handler_asks_too() {
    let world = World::new();
    let site = routes(&world).layer(KeyLayer::new(world.verifier.clone()));
    let full = token(&world, "full", Access::Full);
    let reads = token(&world, "reads", Access::ReadOnly);
    assert_eq!(call(&site, Method::POST, "/write", &full).body, "written");
    let challenge = "Bearer realm=\"api\", error=\"insufficient_scope\", scope=\"links:write\"";
    let answer = call(&site, Method::POST, "/write", &reads);
    answer.is_problem(&insufficient("links:write"), &[challenge]);
}

#[test]
fn who_may_only_read_is_held_to_it() {
    let world = World::new();
    let keys = KeyLayer::new(world.verifier.clone());
    let any = any(async || "done");
    let site = Router::new().route("/links", any).layer(keys.read_only_reads()).layer(keys);
    let read_only = token(&world, "read-only", Access::ReadOnly);
    let limited = token(&world, "limited", Access::limited(["links:read"]).unwrap());
    let writes = token(&world, "writes", Access::limited(["links:write"]).unwrap());
    let full = token(&world, "full", Access::Full);
    let own = Method::from_bytes(b"PURGE").unwrap();
    let expected = json!({"type": "about:blank", "title": "Forbidden", "status": 403,
        "detail": "The API key may only read.", "error": "insufficient_scope"});
    for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
        for token in [&read_only, &limited, &writes, &full] {
            assert_eq!(call(&site, method.clone(), "/links", token).status, StatusCode::OK);
        }
    }
    for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::TRACE, own] {
        for token in [&read_only, &limited] {
            let answer = call(&site, method.clone(), "/links", token);
            answer.is_problem(&expected, &["Bearer realm=\"api\", error=\"insufficient_scope\""]);
        }
        for token in [&writes, &full] {
            assert_eq!(call(&site, method.clone(), "/links", token).body, "done");
        }
    }
}

#[test]
fn a_permission_that_nobody_declared_is_an_error() {
    let world = World::new();
    let keys = KeyLayer::new(world.verifier.clone());
    let error = keys.require(["links:read", "links:delete"]).unwrap_err();
    assert_eq!(error.to_string(), "permission: `links:delete` is not known to this store");
    assert!(keys.require(["links:*"]).is_err());
}

/// A guard or an extractor without a layer before it lets no request pass.
#[test]
fn without_a_layer_nobody_passes() {
    let world = World::new();
    let keys = KeyLayer::new(world.verifier.clone());
    let full = token(&world, "full", Access::Full);
    let expected = json!({"type": "about:blank", "title": "Internal Server Error", "status": 500,
        "detail": "The service can't tell who is asking."});
    let bare = routes(&world);
    for uri in ["/", "/open", "/write"] {
        with_token(&bare, uri, full.expose()).is_problem(&expected, &[]);
    }
    let open = Router::new().route("/", get(async || "let in"));
    for guard in [keys.require(["links:read"]).unwrap(), keys.read_only_reads()] {
        // The layer stands behind its guard, where it comes too late.
        let site = open.clone().layer(keys.clone()).layer(guard);
        with_token(&site, "/", full.expose()).is_problem(&expected, &[]);
    }
}

/// Another store's permissions have other meanings, so its callers aren't judged by them.
#[test]
fn a_guard_behind_another_stores_layer_lets_nobody_pass() {
    let (world, other) = (World::new(), World::new());
    let full = token(&world, "full", Access::Full);
    let theirs = KeyLayer::new(other.verifier.clone());
    for guard in [theirs.require([]).unwrap(), theirs.require(["links:read"]).unwrap()] {
        let site = Router::new().route("/", any(async || "in")).layer(guard);
        let site = site.layer(KeyLayer::new(world.verifier.clone()));
        let answer = call(&site, Method::POST, "/", &full);
        assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(answer.json()["detail"], "The service can't tell who is asking.");
    }
    // Nor does one that the other store's layer lets pass without a key.
    let site = Router::new().route("/", any(async || "in")).layer(theirs.read_only_reads());
    let site = site.layer(KeyLayer::new(world.verifier.clone()).allow_anonymous());
    assert_eq!(fetch(&site, "/", &[]).status, StatusCode::INTERNAL_SERVER_ERROR);
    // A layer and a guard may come from two verifiers of one store.
    let guard = KeyLayer::new(world.verifier.clone()).require(["links:write"]).unwrap();
    let site = Router::new().route("/", any(async || "in")).layer(guard);
    let site = site.layer(KeyLayer::new(keyhasp::Verifier::new(world.store.clone())));
    assert_eq!(call(&site, Method::POST, "/", &full).body, "in");
}

#[test]
fn one_permission_of_several_will_do() {
    let world = World::new();
    let keys = KeyLayer::new(world.verifier.clone());
    let any = keys.require_any(["links:write", "domains:read"]).unwrap();
    let site = Router::new().route("/", get(async || "in")).layer(any).layer(keys.clone());
    for (name, access, passes) in [
        ("writes", "links:write", true),
        ("domains", "domains:read", true),
        ("reads", "links:read", false),
    ] {
        let token = token(&world, name, Access::limited([access]).unwrap());
        let answer = call(&site, Method::GET, "/", &token);
        assert_eq!(answer.status == StatusCode::OK, passes, "{name}");
        if !passes {
            let detail = "The API key lacks a permission that this needs: one of several would do.";
            let expected = json!({"type": "about:blank", "title": "Forbidden", "status": 403,
                "detail": detail, "error": "insufficient_scope"});
            answer.is_problem(&expected, &["Bearer realm=\"api\", error=\"insufficient_scope\""]);
        }
    }
    assert_eq!(fetch(&site, "/", &[]).status, StatusCode::UNAUTHORIZED);
    // One of none would reject every caller: a slip of the service.
    assert_eq!(keys.require_any([]).unwrap_err().field(), "permission");
    assert!(keys.require_any(["links:read", "links:delete"]).is_err());
}

#[test]
fn a_rule_of_the_services_own() {
    let world = World::new();
    let keys = KeyLayer::new(world.verifier.clone()).allow_anonymous();
    let own = keys.require_by(|caller, request| {
        request.uri.path().strip_prefix("/of/") == Some(caller.owner().as_str())
    });
    let site = Router::new().route("/of/{owner}", get(async || "in")).layer(own).layer(keys);
    let linden = token(&world, "linden", Access::Full);
    assert_eq!(call(&site, Method::GET, "/of/linden", &linden).body, "in");
    let expected = json!({"type": "about:blank", "title": "Forbidden", "status": 403,
        "detail": "The caller may not do this."});
    call(&site, Method::GET, "/of/oak", &linden).is_problem(&expected, &[]);
    assert_eq!(fetch(&site, "/of/linden", &[]).status, StatusCode::UNAUTHORIZED);
}

#[test]
fn keys_alone_and_sessions_alone() {
    let world = World::new();
    let full = token(&world, "full", Access::Full);
    let reads = Access::ReadOnly.compile(world.verifier.catalogue());
    let keys = KeyLayer::new(world.verifier.clone()).session(move |parts| {
        let owner = keyhasp::OwnerId::new("full").unwrap();
        parts.headers.contains_key("cookie").then(|| keyhasp::Session::new(owner, reads))
    });
    let site = Router::new()
        .route("/keys", get(async || "key").layer(keys.keys_only()))
        .route("/sessions", get(async || "session").layer(keys.sessions_only()))
        .layer(keys);
    let cookie: [(&str, &[u8]); 1] = [("cookie", b"SID=1")];
    assert_eq!(call(&site, Method::GET, "/keys", &full).body, "key");
    assert_eq!(fetch(&site, "/sessions", &cookie).body, "session");
    let problem = |detail: &str| json!({"type": "about:blank", "title": "Forbidden", "status": 403, "detail": detail});
    let needs_key = problem("This needs an API key, not a session.");
    fetch(&site, "/keys", &cookie).is_problem(&needs_key, &[]);
    let needs_session = problem("This can't be done with an API key: log in.");
    call(&site, Method::GET, "/sessions", &full).is_problem(&needs_session, &[]);
    for uri in ["/keys", "/sessions"] {
        assert_eq!(fetch(&site, uri, &[]).status, StatusCode::UNAUTHORIZED);
    }
}
