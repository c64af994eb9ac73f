//! Tokens that aren't accepted, and a store that can't answer.

use std::sync::Arc;

use http::StatusCode;
use http::header::RETRY_AFTER;
use keyhasp::{Rotate, Token};
use proptest::prelude::*;
use serde_json::json;

use crate::common::{HOUR, World, owner};
use crate::http::site::{Answer, fetch, site, with_token};

/// A token in each state in which it isn't accepted although its secret is right, with what its
/// holder may be told.
fn rejected_for(world: &World) -> Vec<(Token, &'static str)> {
    let mut tokens = Vec::new();
    let mut add = |name: &str, detail, spoil: &dyn Fn(&keyhasp::OwnerKeys, keyhasp::KeyId)| {
        let (keys, issued) = world.owner(name);
        spoil(&keys, issued.key.id);
        tokens.push((issued.token, detail));
    };
    add("deactivated", "The API key is deactivated.", &|keys, id| {
        keys.deactivate(id).unwrap();
    });
    add("blocked", "The API key is blocked.", &|_, id| {
        world.admin.block(id).unwrap();
    });
    add("revoked", "The API key is revoked.", &|keys, id| {
        keys.revoke(id).unwrap();
    });
    add("suspended", "The owner of the API key is suspended.", &|_, _| {
        world.admin.suspend_owner(&owner("suspended")).unwrap();
    });
    add("expired", "The API key has expired.", &|keys, id| {
        let expiry = keyhasp::Expiry::At(world.after(HOUR));
        keys.update(id, keyhasp::UpdateKey::new().expires(expiry)).unwrap();
        world.clock.advance(HOUR);
    });
    let rotated = "The API key was rotated: a newer token stands in its place.";
    add("superseded", rotated, &|keys, id| {
        keys.rotate(id, Rotate::with_grace(HOUR)).unwrap();
        world.clock.advance(HOUR);
    });
    tokens
}

proptest! {
    /// The layer rejects any bytes, in one of three ways, and lets no request pass.
    #[test]
    fn any_bytes_are_refused(
        scheme in prop_oneof![Just("Bearer "), Just("bearer"), Just("Basic "), Just("")],
        rest in prop::collection::vec(prop_oneof![b' '..=b'~', 0x80..=0xff_u8], 0..120),
        times in 1..3_usize,
    ) {
        let world = World::new();
        let site = site(&world, keyhasp::KeyLayer::allow_anonymous);
        let value = [scheme.as_bytes(), &rest].concat();
        let headers = vec![("authorization", &value[..]); times];
        let answer = fetch(&site, "/open", &headers);
        let expected = match (times, answer.json()["error"].as_str()) {
            (2, Some("invalid_request")) => StatusCode::BAD_REQUEST,
            (1, Some("invalid_token") | None) => StatusCode::UNAUTHORIZED,
            other => panic!("{other:?}"),
        };
        prop_assert_eq!(answer.status, expected);
        prop_assert_eq!(answer.challenges().len(), 1);
    }
}

/// A holder of the right secret learns no more than a stranger, unless the service allows it.
#[test]
fn one_answer_for_all() {
    let world = World::new();
    let (_, good) = world.owner("org");
    let rejected_for = rejected_for(&world);
    let site = site(&world, |layer| layer);
    let stranger = with_token(&site, "/", "letmein");
    let expected = json!({"type": "about:blank", "title": "Unauthorized", "status": 401,
        "detail": "The API key is not accepted.", "error": "invalid_token"});
    stranger.is_problem(&expected, &["Bearer realm=\"api\", error=\"invalid_token\""]);
    for (token, detail) in &rejected_for {
        assert_eq!(with_token(&site, "/", token.expose()), stranger, "{detail}");
    }
    let mut guess = good.token.expose().to_owned();
    guess.replace_range(40..41, if &guess[40..41] == "a" { "b" } else { "a" });
    assert_eq!(with_token(&site, "/", &guess), stranger);
    assert_eq!(with_token(&site, "/", good.token.expose()).body, "org");
}

#[test]
fn holders_are_told_where_the_service_says_so() {
    let world = World::new();
    let rejected_for = rejected_for(&world);
    let site = site(&world, keyhasp::KeyLayer::disclose_reason);
    for (token, detail) in &rejected_for {
        let expected = json!({"type": "about:blank", "title": "Unauthorized", "status": 401,
            "detail": detail, "error": "invalid_token"});
        let answer = with_token(&site, "/", token.expose());
        answer.is_problem(&expected, &["Bearer realm=\"api\", error=\"invalid_token\""]);
    }
    let stranger = with_token(&site, "/", "letmein");
    assert_eq!(stranger.json()["detail"], "The API key is not accepted.");
}

fn unavailable(status: u16, title: &str) -> serde_json::Value {
    json!({"type": "about:blank", "title": title, "status": status,
        "detail": "API keys can't be checked at the moment. Try again later."})
}

fn closed(change: impl FnOnce(keyhasp::KeyLayer) -> keyhasp::KeyLayer) -> Answer {
    let world = World::new();
    let (_, issued) = world.owner("org");
    let site = site(&world, change);
    assert_eq!(with_token(&site, "/", issued.token.expose()).status, StatusCode::OK);
    Arc::clone(&world.store).close().unwrap();
    with_token(&site, "/", issued.token.expose())
}

/// A store that can't answer lets no request pass, and says nothing of the token.
#[test]
fn unavailable_is_503() {
    let answer = closed(|layer| layer);
    answer.is_problem(&unavailable(503, "Service Unavailable"), &[]);
    assert_eq!(answer.headers[RETRY_AFTER], "1");
    // Not even where anonymous requests may pass.
    let answer = closed(keyhasp::KeyLayer::allow_anonymous);
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[test]
fn unavailable_is_500_where_the_service_says_so() {
    let answer = closed(keyhasp::KeyLayer::unavailable_is_500);
    answer.is_problem(&unavailable(500, "Internal Server Error"), &[]);
    assert!(!answer.headers.contains_key(RETRY_AFTER));
}

/// Nothing of what was sent comes back, in no header and in no body.
#[test]
fn no_answer_echoes_what_was_sent() {
    let world = World::new();
    let (_, issued) = world.owner("org");
    let site = site(&world, |layer| layer.allow_anonymous().disclose_reason());
    let canary = "canary-3f9d";
    let bearer = format!("Bearer {canary}");
    let good = format!("Bearer {}", issued.token.expose());
    world.admin.block(issued.key.id).unwrap();
    for headers in [
        &[("authorization", bearer.as_bytes())][..],
        &[("authorization", canary.as_bytes())],
        &[("authorization", bearer.as_bytes()), ("authorization", canary.as_bytes())],
        &[("authorization", good.as_bytes())],
    ] {
        let answer = fetch(&site, &format!("/?q={canary}"), headers);
        assert!(answer.status.is_client_error());
        let shown = format!("{answer:?}");
        assert!(!shown.contains(canary) && !shown.contains(&issued.token.expose()[5..]));
    }
}
