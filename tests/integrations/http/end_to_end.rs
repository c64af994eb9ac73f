//! Limits of real keys through the layer.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use http::StatusCode;
use http::header::{HeaderMap, RETRY_AFTER};
use keyhasp::integrations::http::PeerAddress;
use keyhasp::{
    Access, CreateKey, CreateOwner, KeyLayer, ManualClock, Period, Quota, Rate, SetLimits,
};

use crate::common::{HOUR, World, owner};
use crate::http::site::{Answer, fetch, routes, site, with_token};

/// The token of the one key that the owner `org` has.
fn key(world: &World, limits: SetLimits) -> String {
    let key = CreateKey::new(Access::ReadOnly).limits(limits);
    match world.admin.create_owner(&owner("org"), CreateOwner::with_key(key)) {
        Ok(created) => created.first_key.unwrap().token.expose().to_owned(),
        Err(error) => panic!("{error}"),
    }
}

/// So many a second, and as many at once.
fn rate(count: u32) -> SetLimits {
    SetLimits::new().rate(Rate::new(count, Duration::from_secs(1)).unwrap())
}

#[track_caller]
fn is_told(answer: &Answer, status: u16, policy: &str, left: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.headers["ratelimit-policy"], policy);
    assert_eq!(answer.headers["ratelimit"], left);
}

#[test]
fn a_rate_is_told_on_every_answer() {
    let world = World::new();
    let token = key(&world, rate(4));
    let site = site(&world, |layer| layer);
    let policy = "\"key\";q=4;w=1";
    let stranger = with_token(&site, "/", "letmein");
    is_told(&with_token(&site, "/", &token), 200, policy, "\"key\";r=3;t=1");
    // A handler's refusal, and what no route is for.
    is_told(&with_token(&site, "/write", &token), 403, policy, "\"key\";r=2;t=1");
    is_told(&with_token(&site, "/nowhere", &token), 404, policy, "\"key\";r=1;t=1");
    is_told(&with_token(&site, "/open", &token), 200, policy, "\"key\";r=0;t=1");
    let refused = with_token(&site, "/", &token);
    is_told(&refused, 429, policy, "\"key\";r=0;t=1");
    assert_eq!(refused.headers[RETRY_AFTER], "1");
    // Who lacks the secret isn't told, and takes nothing away.
    assert_eq!(with_token(&site, "/", "letmein"), stranger);
    assert!(stranger.headers.keys().all(|name| !name.as_str().contains("ratelimit")));
    let wrong = format!("{}{}", &token[..token.len() - 7], "0000000");
    world.clock.advance(Duration::from_millis(250));
    assert_eq!(with_token(&site, "/", &wrong), stranger);
    is_told(&with_token(&site, "/", &token), 200, policy, "\"key\";r=0;t=1");
    assert_eq!(with_token(&site, "/", &token).status, 429);
    world.clock.advance(Duration::from_millis(1_000));
    is_told(&with_token(&site, "/", &token), 200, policy, "\"key\";r=3;t=1");
}

/// The guard's refusal, before the handler, is an answer too.
#[test]
fn a_guards_refusal_tells_the_rate() {
    let world = World::new();
    let token = key(&world, rate(4));
    let layer = KeyLayer::new(world.verifier.clone());
    let guard = layer.require(["links:write"]).unwrap();
    let site = routes(&world).layer(guard).layer(layer);
    let policy = "\"key\";q=4;w=1";
    is_told(&with_token(&site, "/", &token), 403, policy, "\"key\";r=3;t=1");
}

#[test]
fn what_a_handler_says_of_rates_stays() {
    let world = World::new();
    let token = key(&world, rate(4));
    let own = async || {
        let mut headers = HeaderMap::new();
        headers.insert("ratelimit", "\"mine\";r=7".parse().unwrap());
        (headers, "said")
    };
    let site = Router::new().route("/", get(own)).layer(KeyLayer::new(world.verifier.clone()));
    let answer = with_token(&site, "/", &token);
    assert_eq!((answer.status, &*answer.body), (StatusCode::OK, "said"));
    assert_eq!(answer.headers["ratelimit"], "\"mine\";r=7");
    assert!(!answer.headers.contains_key("ratelimit-policy"));
}

#[test]
fn a_dear_request_costs_more() {
    let world = World::new();
    let token = key(&world, rate(4));
    let by_path = |parts: &http::request::Parts| match parts.uri.path() {
        "/open" => 3,
        "/write" => 5,
        _ => 1,
    };
    let site = site(&world, |layer| layer.cost_by(by_path));
    let policy = "\"key\";q=4;w=1";
    let too_dear = with_token(&site, "/write", &token);
    is_told(&too_dear, 403, policy, "\"key\";r=4;t=0");
    assert!(!too_dear.headers.contains_key(RETRY_AFTER), "{too_dear:?}");
    is_told(&with_token(&site, "/open", &token), 200, policy, "\"key\";r=1;t=1");
    assert_eq!(with_token(&site, "/open", &token).status, 429);
    is_told(&with_token(&site, "/", &token), 200, policy, "\"key\";r=0;t=1");
}

/// Used up, it is refilled at the next midnight, and the client is told how long that is.
#[test]
fn a_quota_until_it_is_refilled() {
    let world = World::new();
    let token = key(&world, SetLimits::new().quota(Quota::each(2, Period::Day).unwrap()));
    let site = site(&world, |layer| layer.clock(Arc::<ManualClock>::clone(&world.clock)));
    // The world begins at midnight.
    world.clock.advance(3 * HOUR);
    for _ in 0..2 {
        assert_eq!(with_token(&site, "/", &token).status, StatusCode::OK);
    }
    for (wait, retry_after) in [(HOUR, "75600"), (20 * HOUR, "72000")] {
        let refused = with_token(&site, "/", &token);
        assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(refused.headers[RETRY_AFTER], retry_after);
        assert_eq!(refused.json()["detail"], "The quota of this API key is used up.");
        world.clock.advance(wait);
    }
    for _ in 0..2 {
        assert_eq!(with_token(&site, "/", &token).status, StatusCode::OK);
    }
    assert_eq!(with_token(&site, "/", &token).headers[RETRY_AFTER], "86400");
}

#[test]
fn a_key_of_a_network_behind_a_proxy() {
    let world = World::new();
    let token = key(&world, SetLimits::new().networks(["192.0.2.0/24".parse().unwrap()]));
    let undeclared = site(&world, |layer| layer);
    let behind_one = PeerAddress::forwarded_for(1).unwrap();
    let declared = site(&world, |layer| layer.peer_address(behind_one).disclose_reason());
    let bearer = format!("Bearer {token}");
    let ask = |site: &Router, told: &str| {
        let headers = [("authorization", bearer.as_bytes()), ("x-forwarded-for", told.as_bytes())];
        fetch(site, "/", &headers)
    };
    assert_eq!(ask(&declared, "10.0.0.1, 192.0.2.7").body, "org");
    assert_eq!(ask(&declared, "10.0.0.1, ::ffff:192.0.2.7").body, "org");
    let elsewhere = ask(&declared, "192.0.2.7, 10.0.0.1");
    let detail = elsewhere.json()["detail"].as_str().unwrap().to_owned();
    assert_eq!((elsewhere.status.as_u16(), detail.ends_with("from this address.")), (403, true));
    let unknown = ask(&declared, "192.0.2.7, unknown");
    let detail = unknown.json()["detail"].as_str().unwrap().to_owned();
    assert_eq!((unknown.status.as_u16(), detail.ends_with("is not known.")), (403, true));
    let none = ask(&undeclared, "192.0.2.7");
    assert_eq!(none.json()["detail"], "The API key is not accepted.");
    assert_eq!(none.status, StatusCode::FORBIDDEN);
}

/// The layer rejects it like any token that isn't accepted, until its time has come.
#[test]
fn a_key_that_begins_later() {
    let world = World::new();
    let token = key(&world, SetLimits::new().not_before(world.after(HOUR)));
    let site = site(&world, |layer| layer);
    assert_eq!(with_token(&site, "/", &token), with_token(&site, "/", "letmein"));
    world.clock.advance(HOUR);
    assert_eq!(with_token(&site, "/", &token).body, "org");
}
