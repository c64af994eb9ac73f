//! Bad headers, each by its status, headers and body.

use keyhasp::integrations::http::Credentials;
use serde_json::{Value, json};

use crate::common::World;
use crate::http::site::{fetch, site, with_token};

fn missing() -> Value {
    json!({"type": "about:blank", "title": "Unauthorized", "status": 401,
           "detail": "This needs an API key."})
}

fn invalid() -> Value {
    json!({"type": "about:blank", "title": "Unauthorized", "status": 401,
           "detail": "The API key is not accepted.", "error": "invalid_token"})
}

fn doubled() -> Value {
    json!({"type": "about:blank", "title": "Bad Request", "status": 400,
           "detail": "Send one credential, once.", "error": "invalid_request"})
}

const INVALID_TOKEN: &[&str] = &["Bearer realm=\"api\", error=\"invalid_token\""];
const INVALID_REQUEST: &[&str] = &["Bearer realm=\"api\", error=\"invalid_request\""];

#[test]
fn nothing_that_could_be_judged() {
    let world = World::new();
    let (_, issued) = world.owner("org");
    let site = site(&world, |layer| layer);
    let good = issued.token.expose();
    let basic = format!("Basic {good}");
    let proxy = format!("Bearer {good}");
    let naked = good.as_bytes();
    let table: [&[(&str, &[u8])]; 7] = [
        &[],
        &[("authorization", b"")],
        &[("authorization", basic.as_bytes())],
        &[("authorization", naked)],
        &[("x-api-key", naked)],
        &[("cookie", naked)],
        &[("proxy-authorization", proxy.as_bytes())],
    ];
    for headers in table {
        fetch(&site, "/", headers).is_problem(&missing(), &["Bearer realm=\"api\""]);
    }
}

/// A token in the query is no token, however it is called.
#[test]
fn a_query_is_never_looked_at() {
    let world = World::new();
    let (_, issued) = world.owner("org");
    let site = site(&world, |layer| layer);
    for name in ["access_token", "token", "api_key", "key", "Authorization"] {
        let uri = format!("/?{name}={}", issued.token.expose());
        fetch(&site, &uri, &[]).is_problem(&missing(), &["Bearer realm=\"api\""]);
    }
}

#[test]
fn malformed_tokens() {
    let world = World::new();
    let (_, issued) = world.owner("org");
    let site = site(&world, |layer| layer);
    let good = issued.token.expose();
    let long = vec![b'a'; 64 * 1024];
    let long_good = [good.as_bytes(), &long].concat();
    let values: [&[u8]; 9] = [
        b"",
        b"t",
        b"\xff\xfe\x80",
        "acme_schlüssel".as_bytes(),
        &long,
        &long_good,
        &good.as_bytes()[1..],
        &[good.as_bytes(), b", Bearer ", good.as_bytes()].concat(),
        &[b"\"", good.as_bytes(), b"\""].concat(),
    ];
    for value in values {
        let value = [b"Bearer ", value].concat();
        let answer = fetch(&site, "/", &[("authorization", &value)]);
        answer.is_problem(&invalid(), INVALID_TOKEN);
    }
    assert_eq!(with_token(&site, "/", good).body, "org");
}

#[test]
fn doubled_credentials() {
    let world = World::new();
    let (_, issued) = world.owner("org");
    let bearer = format!("Bearer {}", issued.token.expose());
    let twice = [("authorization", bearer.as_bytes()); 2];
    fetch(&site(&world, |layer| layer), "/", &twice).is_problem(&doubled(), INVALID_REQUEST);
    let both = Credentials::bearer().or_header("X-Api-Key").unwrap();
    let site = site(&world, |layer| layer.credentials(both));
    let named = ("x-api-key", issued.token.expose().as_bytes());
    let challenges = [
        "Bearer realm=\"api\", error=\"invalid_request\"",
        "ApiKey realm=\"api\", header=\"x-api-key\", error=\"invalid_request\"",
    ];
    for headers in [&[twice[0], named][..], &[named, named]] {
        fetch(&site, "/", headers).is_problem(&doubled(), &challenges);
    }
}

/// Each scheme is named in the challenge, and each is accepted.
#[test]
fn several_schemes_and_a_named_header() {
    let world = World::new();
    let (_, issued) = world.owner("org");
    let credentials = Credentials::scheme("Token").unwrap().or_scheme("Bearer").unwrap();
    let credentials = credentials.or_header("X-Api-Key").unwrap();
    let site = site(&world, |layer| layer.credentials(credentials));
    let good = issued.token.expose();
    for (name, value) in [
        ("authorization", format!("Token {good}")),
        ("authorization", format!("bearer {good}")),
        ("x-api-key", good.to_owned()),
    ] {
        assert_eq!(fetch(&site, "/", &[(name, value.as_bytes())]).body, "org");
    }
    let plain = [
        "Token realm=\"api\"",
        "Bearer realm=\"api\"",
        "ApiKey realm=\"api\", header=\"x-api-key\"",
    ];
    fetch(&site, "/", &[]).is_problem(&missing(), &plain);
    let with_error = [
        "Token realm=\"api\", error=\"invalid_token\"",
        "Bearer realm=\"api\", error=\"invalid_token\"",
        "ApiKey realm=\"api\", header=\"x-api-key\", error=\"invalid_token\"",
    ];
    // What the ricloud client sends where no token is configured.
    fetch(&site, "/", &[("authorization", b"Token ")]).is_problem(&invalid(), &with_error);
}
