//! Callers that aren't let in, and their answers.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::response::IntoResponse;
use http::{HeaderValue, Method, Request};
use keyhasp::store::{PepperProblem, Unavailable};
use keyhasp::{Error, ForbiddenReason, RejectReason};

use crate::taapit::example::problem::Problem;
use crate::taapit::example::shared::problems;
use crate::taapit::world::{Answer, World, place};

const TEXT: &str = "The API key is missing or not accepted. Check that it was copied whole, that it \
                    begins with its prefix taapit_, and that it has not been deactivated.";

fn with(world: &World, headers: &[(&str, &[u8])]) -> Answer {
    let mut request = Request::get("/v1/links");
    for (name, value) in headers {
        request = request.header(*name, HeaderValue::from_bytes(value).unwrap());
    }
    world.send(request.body(Body::empty()).unwrap())
}

/// Whatever is wrong with a key, the body is the same to the last byte.
#[test]
fn one_answer_for_every_key_that_is_not_accepted() {
    let (world, tokens) = World::new();
    let good = tokens.full.expose();
    let off = world.key("off", "full_access");
    let id = format!("/v1/api-keys/key_{:032x}", off.key.id.as_u128());
    assert_eq!(world.delete(&id, good).is_ok()["is_active"], false);
    let missing = with(&world, &[]);
    missing.is_refused(401, "unauthorized");
    assert_eq!(missing.json()["message"], TEXT);
    assert_eq!(missing.headers["www-authenticate"], "Bearer realm=\"api\"");
    for (name, value) in [
        ("authorization", format!("Basic {good}")),
        ("authorization", good.to_owned()),
        ("x-api-key", good.to_owned()),
    ] {
        assert_eq!(with(&world, &[(name, value.as_bytes())]), missing, "{name}");
    }
    let by_query = world
        .send(Request::get(format!("/v1/links?access_token={good}")).body(Body::empty()).unwrap());
    assert_eq!(by_query, missing);

    let refused = world.get("/v1/links", "");
    assert_eq!(refused.body, missing.body);
    assert_eq!(
        refused.headers["www-authenticate"],
        "Bearer realm=\"api\", error=\"invalid_token\""
    );
    let (last, long) = (good.len() - 1, "t".repeat(64 * 1024));
    let wrong = format!("{}{}", &good[..last], if good.ends_with('a') { 'b' } else { 'a' });
    let stranger = good.replace("taapit", "acme");
    for token in
        [off.token.expose(), &wrong, &good[..last], &good[7..], &stranger, &long, "taapit_x", "ü"]
    {
        let answer = with(&world, &[("authorization", format!("Bearer {token}").as_bytes())]);
        assert_eq!(answer, refused, "{token}");
    }
    assert_eq!(with(&world, &[("authorization", b"Bearer \xff\xfe")]), refused);
    // Unknown routes tell outsiders nothing either; outside the base there is nothing.
    assert_eq!(world.get("/v1/nothing", "taapit_x"), refused);
    // Not even which methods a route has.
    for (method, uri) in
        [(Method::PUT, "/v1/links"), (Method::PUT, "/v1/nothing"), (Method::GET, "/v1/")]
    {
        assert_eq!(world.ask(&method, uri, "taapit_x"), refused, "{method} {uri}");
    }
    for uri in ["/", "/v2/links", "/links"] {
        world.get(uri, good).is_refused(404, "not_found");
    }
}

#[test]
fn one_credential_at_a_time() {
    let (world, tokens) = World::new();
    let bearer = format!("Bearer {}", tokens.full.expose());
    let bearer = ("authorization", bearer.as_bytes());
    for other in [bearer, ("authorization", b"Bearer x"), ("authorization", b"Basic x")] {
        with(&world, &[bearer, other]).is_refused(400, "invalid_request");
    }
    // A scheme's case doesn't matter.
    let lower = format!("bearer {}", tokens.full.expose());
    assert_eq!(with(&world, &[("authorization", lower.as_bytes())]).status, 200);
}

#[test]
fn a_store_that_cannot_answer_lets_nobody_in() {
    let (world, tokens) = World::new();
    world.store.close().unwrap();
    for uri in ["/v1/links", "/v1/api-keys", "/v1/api-keys/validate"] {
        let answer = world.get(uri, tokens.full.expose());
        answer.is_refused(503, "unavailable");
        assert_eq!(answer.headers["retry-after"], "1");
    }
}

/// Clients hear that the service can't answer, its operator which file is missing and what to do.
#[test]
fn an_operator_hears_of_a_file_that_goes() {
    let place = place();
    let (world, tokens) = World::at(&place);
    std::fs::remove_file(place.path().join("taapit.db.lock")).unwrap();
    let began = Instant::now();
    let said = loop {
        let said = problems(&world.store.health()).join("\n");
        if said.contains("the lock file") {
            break said;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{said}");
        std::thread::yield_now();
    };
    assert!(said.contains("open it again"), "{said}");
    world.get("/v1/links", tokens.unwrap().full.expose()).is_refused(503, "unavailable");
}

/// A key that is switched off between the layer and the handler, and a service that fails there,
/// are answered as the layer would have.
#[test]
fn what_happens_behind_the_layer() {
    let (world, tokens) = World::new();
    let by_layer = world.get("/v1/api-keys", "taapit_x");
    let off = Error::Forbidden(ForbiddenReason::ActingKeyRejected(Some(RejectReason::Deactivated)));
    let later = Error::Forbidden(ForbiddenReason::ActingKeyNotYet);
    world.store.close().unwrap();
    let closed = world.get("/v1/api-keys", tokens.full.expose());
    let pepper = Error::Pepper { number: 1, problem: PepperProblem::Wrong };
    for (error, mut expected) in [
        (off, by_layer.clone()),
        (later, by_layer),
        (Unavailable::Closed.into(), closed.clone()),
        (pepper, closed),
    ] {
        // The router's to add.
        expected.headers.remove("content-length");
        let answer = Problem::from(error).into_response();
        assert_eq!((answer.status(), answer.headers()), (expected.status, &expected.headers));
        assert_eq!(world.read(answer).body, expected.body);
    }
}

#[test]
fn routes_and_methods_that_are_not_there() {
    let (world, tokens) = World::new();
    let full = tokens.full.expose();
    for uri in ["/v1/nothing", "/v1/links/1", "/v1/api-keys/x/y", "/v1/", "/v1"] {
        world.get(uri, full).is_refused(404, "not_found");
    }
    for (method, uri) in [
        (Method::PUT, "/v1/links"),
        (Method::POST, "/v1/api-keys"),
        (Method::DELETE, "/v1/api-keys/validate"),
        (Method::GET, "/v1/api-keys/key_1"),
    ] {
        world.ask(&method, uri, full).is_refused(405, "method_not_allowed");
    }
}
