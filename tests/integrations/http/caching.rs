//! The fields of an answer that caches between the service and its clients read.

use axum::Router;
use axum::routing::get;
use http::StatusCode;
use http::header::{CACHE_CONTROL, VARY};
use keyhasp::KeyLayer;
use keyhasp::integrations::http::Credentials;

use crate::common::World;
use crate::http::site::{Answer, fetch, routes, with_token};

fn vary(answer: &Answer) -> Vec<&str> {
    answer.headers.get_all(VARY).iter().map(|value| value.to_str().unwrap()).collect()
}

/// A cache may keep an answer by its URL; it depends on the header of the key too.
#[test]
fn answers_vary_by_the_headers_of_keys() {
    let world = World::new();
    let (_, issued) = world.owner("org");
    let named = Credentials::bearer().or_header("X-Api-Key").unwrap();
    let named = named.or_within("Cookie", |_| None).unwrap();
    let keys = KeyLayer::new(world.verifier.clone()).credentials(named).allow_anonymous();
    let site = routes(&world)
        .route("/own", get(async || ([(VARY, "Accept, x-api-key")], "own")))
        .route("/any", get(async || ([(VARY, "*")], "any")))
        .layer(keys);
    let good: [(&str, &[u8]); 1] = [("x-api-key", issued.token.expose().as_bytes())];
    for headers in [&good[..], &[]] {
        let answer = fetch(&site, "/open", headers);
        let expected = vec!["x-api-key", "cookie", "authorization"];
        assert_eq!((answer.status, vary(&answer)), (StatusCode::OK, expected));
        assert!(!answer.headers.contains_key(CACHE_CONTROL), "that is the service's to say");
    }
    assert_eq!(
        vary(&fetch(&site, "/own", &good)),
        ["Accept, x-api-key", "cookie", "authorization"]
    );
    assert_eq!(vary(&fetch(&site, "/any", &good)), ["*"]);
    // A cache knows that of `Authorization` by itself, if no request passes without.
    let plain = routes(&world).layer(KeyLayer::new(world.verifier.clone()));
    assert!(vary(&with_token(&plain, "/", issued.token.expose())).is_empty());
}

/// No answer of the layer's own is stored, whatever shape it has.
#[test]
fn no_cache_stores_a_rejection() {
    let world = World::new();
    let keys = KeyLayer::new(world.verifier.clone());
    let bare = keys.clone().error_response(|answer| {
        let mut response = http::Response::new("no".to_owned());
        *response.status_mut() = answer.status();
        response
    });
    let own = keys.clone().error_response(|answer| {
        let mut response = answer.respond("text/plain", "no");
        response.headers_mut().insert(CACHE_CONTROL, "private".parse().unwrap());
        response
    });
    for (layer, expected) in [(keys, "no-store"), (bare, "no-store"), (own, "private")] {
        let refused = with_token(&routes(&world).layer(layer), "/", "letmein");
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
        assert_eq!(refused.headers[CACHE_CONTROL], expected);
    }
    let bare = Router::new().route("/", get(async || "in"));
    assert!(!fetch(&bare, "/", &[]).headers.contains_key(CACHE_CONTROL));
}
