//! Tokens behind the layer: no `Debug` of a request shows one, whatever header it stood in.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::routing::get;
use http::HeaderMap;
use keyhasp::KeyLayer;
use keyhasp::integrations::http::Credentials;

use crate::common::World;
use crate::http::site::fetch;

/// A token in `Authorization` doesn't show either where the service reads another header, or where its
/// layer is missing.
#[test]
fn a_token_in_the_wrong_place_does_not_show() {
    let world = World::new();
    let (_, issued) = world.owner("org");
    let token = issued.token.expose();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&seen);
    let keys = KeyLayer::new(world.verifier.clone())
        .credentials(Credentials::header("X-Api-Key").unwrap())
        .on_rejected(move |rejected| {
            keep.lock().unwrap().push(format!("{:?}", rejected.request()));
        });
    let route = || Router::new().route("/", get(async || "in"));
    let guarded = route().layer(keys.require([]).unwrap());
    let bearer = format!("Bearer {token}");
    for site in [route().layer(keys), guarded] {
        assert!(!fetch(&site, "/", &[("authorization", bearer.as_bytes())]).status.is_success());
        let shown = seen.lock().unwrap().pop().unwrap();
        assert!(shown.contains("Sensitive") && !shown.contains(&token[5..]), "{shown}");
    }
}

#[test]
fn no_header_with_a_token_shows_it() {
    let world = World::new();
    let (_, issued) = world.owner("org");
    let token = issued.token.expose();
    let cookie = |line: &[u8]| -> Option<Vec<u8>> {
        let mut cookies = line.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        cookies.find_map(|cookie| cookie.strip_prefix(b"key=")).map(<[u8]>::to_vec)
    };
    let credentials = Credentials::bearer()
        .or_header("X-Api-Key")
        .unwrap()
        .or_within("cookie", move |line| cookie(line).map(Into::into))
        .unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&seen);
    let keys = KeyLayer::new(world.verifier.clone()).credentials(credentials).on_rejected(
        move |rejected| {
            keep.lock().unwrap().push(format!("{rejected:?} {:?}", rejected.request()));
        },
    );
    let show = async |headers: HeaderMap| format!("{headers:?}");
    let site = Router::new().route("/", get(show)).layer(keys);
    let (bearer, part) = (format!("Bearer {token}"), format!("key={token}"));
    for headers in [
        &[("authorization", bearer.as_bytes()), ("accept", b"text/plain")][..],
        &[("x-api-key", token.as_bytes()), ("accept", b"text/plain")],
        // HTTP/2 may split cookies into several lines.
        &[("cookie", b"theme=dark"), ("cookie", part.as_bytes()), ("accept", b"text/plain")],
    ] {
        let shown = fetch(&site, "/", headers).body;
        assert!(shown.contains("Sensitive") && shown.contains("text/plain"), "{shown}");
        assert!(!shown.contains(&token[5..]), "{shown}");
    }
    world.admin.block(issued.key.id).unwrap();
    let both = [("x-api-key", token.as_bytes()), ("x-api-key", token.as_bytes())];
    for headers in [&[("authorization", bearer.as_bytes())][..], &both] {
        assert!(fetch(&site, "/", headers).status.is_client_error());
        let shown = seen.lock().unwrap().pop().unwrap();
        assert!(shown.contains("Sensitive") && !shown.contains(&token[5..]), "{shown}");
    }
}
