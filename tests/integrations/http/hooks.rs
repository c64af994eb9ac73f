//! Hooks: the callers that the layer let in, and those that it rejected.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::routing::get;
use http::StatusCode;
use keyhasp::integrations::http::{AuthError, ErrorResponse};
use keyhasp::{Access, CreateKey, CreateOwner, KeyLayer, RejectReason, VerifyError};
use serde_json::json;

use crate::common::World;
use crate::http::site::{fetch, routes, with_token};

type Heard = Arc<Mutex<Vec<String>>>;

fn line(rejected: &ErrorResponse<'_>) -> String {
    let path = rejected.request().map(|parts| parts.uri.path().to_owned());
    let (key, owner) = (rejected.key_id(), rejected.owner_id());
    let status = rejected.status().as_u16();
    format!("{status} {path:?} {} {owner:?}", key.map_or("-".to_owned(), |key| key.to_string()))
}

fn listening(world: &World) -> (KeyLayer, Heard) {
    let heard = Heard::default();
    let (accepted, rejected) = (Arc::clone(&heard), Arc::clone(&heard));
    let keys = KeyLayer::new(world.verifier.clone())
        .on_verified(move |verified, parts| {
            let line = format!("in {} {}", verified.key_id(), parts.uri.path());
            accepted.lock().unwrap().push(line);
        })
        .on_rejected(move |answer| rejected.lock().unwrap().push(line(answer)));
    (keys, heard)
}

#[test]
fn the_service_hears_who_came_and_who_did_not() {
    let world = World::new();
    let (_, good) = world.owner("org");
    let reads = CreateOwner::with_key(CreateKey::new(Access::ReadOnly));
    let (_, reads) = world.owner_with("reads", reads);
    let (_, blocked) = world.owner("blocked");
    world.admin.block(blocked.key.id).unwrap();
    let (keys, heard) = listening(&world);
    let guard = keys.require(["links:write"]).unwrap();
    let guarded = Router::new().route("/guarded", get(async || "in")).layer(guard);
    let site = routes(&world).merge(guarded).layer(keys.allow_anonymous());
    let take = || std::mem::take(&mut *heard.lock().unwrap());
    let (good_id, reads_id) = (good.key.id, reads.key.id);

    with_token(&site, "/", good.token.expose());
    assert_eq!(take(), [format!("in {good_id} /")]);
    // The id of a wrong secret is a stranger's word, even if there is such a key.
    let mut guess = good.token.expose().to_owned();
    guess.replace_range(40..41, if &guess[40..41] == "a" { "b" } else { "a" });
    for strange in ["letmein", &guess] {
        with_token(&site, "/?q=1", strange);
        assert_eq!(take(), ["401 Some(\"/\") - None"]);
    }
    with_token(&site, "/", blocked.token.expose());
    assert_eq!(take(), [format!("401 Some(\"/\") {} None", blocked.key.id)]);
    // A guard, a handler and an extractor.
    with_token(&site, "/guarded", reads.token.expose());
    let owner = keyhasp::OwnerId::new("reads").unwrap();
    let guarded = format!("403 Some(\"/guarded\") {reads_id} {:?}", Some(owner));
    assert_eq!(take(), [format!("in {reads_id} /guarded"), guarded]);
    with_token(&site, "/write", reads.token.expose());
    assert_eq!(take()[1], format!("403 None {reads_id} {:?}", Some(owner)));
    fetch(&site, "/", &[]);
    assert_eq!(take(), ["401 Some(\"/\") - None"]);
}

/// An API's own shape may answer by the reason, the key and the request.
#[test]
fn a_shape_gets_request_and_key() {
    let world = World::new();
    let (_, issued) = world.owner("org");
    world.admin.block(issued.key.id).unwrap();
    let keys = KeyLayer::new(world.verifier.clone()).error_response(|answer| {
        let blocked = AuthError::Verify(VerifyError::Rejected(RejectReason::Blocked));
        answer.json(&json!({
            "blocked": answer.cause() == blocked,
            "method": answer.request().map(|parts| parts.method.as_str()),
            "key": answer.key_id(),
        }))
    });
    let answer = with_token(&routes(&world).layer(keys), "/", issued.token.expose());
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert_eq!(answer.json(), json!({"blocked": true, "method": "GET", "key": issued.key.id}));
}

/// Each hook that is added is called, in order.
#[test]
fn hooks_add_up() {
    let world = World::new();
    let (_, issued) = world.owner("org");
    let heard = Heard::default();
    let say = |word: &'static str| {
        let heard = Arc::clone(&heard);
        move || heard.lock().unwrap().push(word.to_owned())
    };
    let (first, second, third) = (say("first"), say("second"), say("third"));
    let keys = KeyLayer::new(world.verifier.clone())
        .on_verified(move |_, _| first())
        .on_verified(move |_, _| second())
        .on_rejected(move |_| third());
    let site = routes(&world).layer(keys);
    with_token(&site, "/", issued.token.expose());
    with_token(&site, "/", "letmein");
    assert_eq!(*heard.lock().unwrap(), ["first", "second", "third"]);
}
