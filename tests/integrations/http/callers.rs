//! Callers without a token: anonymous ones, and sessions of the service's own.

use axum::Router;
use axum::body::Body;
use axum::extract::Extension;
use axum::routing::{get, post};
use http::{Method, StatusCode, request::Parts};
use keyhasp::store::ForbiddenReason;
use keyhasp::{
    Access, Authenticated, CreateKey, DelegatedKeys, Error, KeyLayer, ListKeys, ManagerKeys,
    Session, Verifier,
};

use crate::common::{World, owner};
use crate::http::site::{fetch, request, send, site, with_token};

#[test]
fn nobody_passes_where_that_is_allowed() {
    let world = World::new();
    let (_, issued) = world.owner("org");
    let strict = site(&world, |layer| layer);
    let open = site(&world, KeyLayer::allow_anonymous);
    assert_eq!(fetch(&open, "/open", &[]).body, "anonymous");
    assert_eq!(with_token(&open, "/open", issued.token.expose()).body, "org");
    // Where a route needs a caller, the rejection is the layer's own.
    for uri in ["/", "/write"] {
        assert_eq!(fetch(&open, uri, &[]), fetch(&strict, uri, &[]));
        assert_eq!(fetch(&open, uri, &[]).status, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(fetch(&strict, "/open", &[]).status, StatusCode::UNAUTHORIZED);
}

/// A slip doesn't make a caller anonymous.
#[test]
fn whoever_tries_to_be_somebody_is_not_nobody() {
    let world = World::new();
    let open = site(&world, KeyLayer::allow_anonymous);
    for (value, challenge) in [
        ("", "Bearer realm=\"api\""),
        ("Basic dDp0", "Bearer realm=\"api\""),
        ("Bearer", "Bearer realm=\"api\", error=\"invalid_token\""),
        ("Bearer letmein", "Bearer realm=\"api\", error=\"invalid_token\""),
    ] {
        let answer = fetch(&open, "/open", &[("authorization", value.as_bytes())]);
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{value}");
        assert_eq!(answer.challenges(), [challenge]);
    }
    let twice: [(&str, &[u8]); 2] = [("authorization", b"Bearer t"); 2];
    assert_eq!(fetch(&open, "/open", &twice).status, StatusCode::BAD_REQUEST);
}

#[test]
fn a_guard_asks_nobody_who_it_is() {
    let world = World::new();
    let keys = KeyLayer::new(world.verifier.clone()).allow_anonymous();
    let (_, issued) = world.owner("org");
    for guard in [keys.require([]).unwrap(), keys.require(["links:read"]).unwrap()] {
        let site = Router::new().route("/", get(async || "in")).layer(guard).layer(keys.clone());
        let answer = fetch(&site, "/", &[]);
        assert_eq!(
            (answer.status, answer.challenges()),
            (StatusCode::UNAUTHORIZED, vec!["Bearer realm=\"api\""])
        );
        assert_eq!(with_token(&site, "/", issued.token.expose()).body, "in");
    }
}

#[test]
fn nobody_may_read_where_readers_may() {
    let world = World::new();
    let keys = KeyLayer::new(world.verifier.clone()).allow_anonymous();
    let site = Router::new().route("/", axum::routing::any(async || "in"));
    let site = site.layer(keys.read_only_reads()).layer(keys);
    let (_, issued) = world.owner("org");
    for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
        assert_eq!(send(&site, request(method, "/", &[])).status, StatusCode::OK);
    }
    let answer = send(&site, request(Method::POST, "/", &[]));
    assert_eq!(
        (answer.status, answer.challenges()),
        (StatusCode::UNAUTHORIZED, vec!["Bearer realm=\"api\""])
    );
    let bearer = format!("Bearer {}", issued.token.expose());
    let post = request(Method::POST, "/", &[("authorization", bearer.as_bytes())]);
    assert_eq!(send(&site, post).body, "in");
}

/// A caller that one layer let in is anonymous to the layer behind it.
#[test]
fn a_layer_believes_itself_alone() {
    let (world, other) = (World::new(), World::new());
    let (_, issued) = world.owner("org");
    let named = keyhasp::integrations::http::Credentials::header("X-Api-Key").unwrap();
    let inner = KeyLayer::new(other.verifier).allow_anonymous().credentials(named);
    let site = site(&world, |layer| layer);
    assert_eq!(with_token(&site, "/open", issued.token.expose()).body, "org");
    let site =
        crate::http::site::routes(&world).layer(inner).layer(KeyLayer::new(world.verifier.clone()));
    assert_eq!(with_token(&site, "/open", issued.token.expose()).body, "anonymous");
}

#[derive(Clone)]
struct User(&'static str);

/// A cookie `SID` of one user, who may only read.
fn session(verifier: &Verifier) -> impl Fn(&Parts) -> Option<Session> + Send + Sync + 'static {
    let reads = Access::ReadOnly.compile(verifier.catalogue());
    move |parts| {
        let cookie = parts.headers.get("cookie")?.to_str().ok()?;
        (cookie == "SID=lena").then(|| Session::new(owner("org-of-lena"), reads).with(User("lena")))
    }
}

#[test]
fn a_session_stands_in_for_a_token() {
    let world = World::new();
    let (_, issued) = world.owner("org");
    let site = site(&world, |layer| layer.session(session(&world.verifier)));
    let lena: (&str, &[u8]) = ("cookie", b"SID=lena");
    assert_eq!(fetch(&site, "/", &[lena]).body, "org-of-lena");
    assert_eq!(fetch(&site, "/write", &[lena]).status, StatusCode::FORBIDDEN);
    let stranger = fetch(&site, "/", &[("cookie", b"SID=eve")]);
    assert_eq!(
        (stranger.status, stranger.challenges()),
        (StatusCode::UNAUTHORIZED, vec!["Bearer realm=\"api\""])
    );
    // A token wins, also one that isn't accepted; another scheme is no token.
    let bearer = format!("Bearer {}", issued.token.expose());
    assert_eq!(fetch(&site, "/", &[lena, ("authorization", bearer.as_bytes())]).body, "org");
    for bad in ["Bearer letmein", "Bearer "] {
        let answer = fetch(&site, "/", &[lena, ("authorization", bad.as_bytes())]);
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{bad}");
    }
    let basic = fetch(&site, "/", &[lena, ("authorization", b"Basic dDp0")]);
    assert_eq!(basic.body, "org-of-lena");
    let twice = fetch(&site, "/", &[lena, ("authorization", b""), ("authorization", b"")]);
    assert_eq!(twice.status, StatusCode::BAD_REQUEST);
}

#[test]
fn a_session_brings_what_the_service_knows_of_it() {
    let world = World::new();
    let (_, issued) = world.owner("org");
    let keys = KeyLayer::new(world.verifier.clone()).session(session(&world.verifier));
    let who = async |caller: Authenticated, user: Option<Extension<User>>| {
        let key = caller.verified_key().map(keyhasp::VerifiedKey::key_id);
        format!("{:?} {:?}", key.is_some(), user.map(|Extension(User(name))| name))
    };
    let site = Router::new()
        .route("/", get(who))
        .route("/", post(async || "written"))
        .layer(keys.read_only_reads())
        .layer(keys);
    let lena: (&str, &[u8]) = ("cookie", b"SID=lena");
    assert_eq!(fetch(&site, "/", &[lena]).body, "false Some(\"lena\")");
    assert_eq!(with_token(&site, "/", issued.token.expose()).body, "true None");
    let written = send(&site, request(Method::POST, "/", &[lena]));
    assert_eq!(written.status, StatusCode::FORBIDDEN);
}

/// A handler manages keys for whoever calls, and each caller within what it may.
#[test]
fn a_caller_manages_the_keys_of_its_owner() {
    let world = World::new();
    let (keys, _) = world.owner("org");
    let _ = world.owner("org-of-lena");
    let reader = keys.create(CreateKey::new(Access::ReadOnly)).unwrap();
    let layer = KeyLayer::new(world.verifier.clone()).session(session(&world.verifier));
    let create = async |caller: Authenticated, body: String| {
        let access: Access = body.parse().unwrap();
        let keys = caller.manager("the page").unwrap();
        match keys.create(CreateKey::new(access)) {
            Ok(issued) => format!("{} {}", issued.key.owner, issued.key.created_by.as_str()),
            Err(error) => error.to_string(),
        }
    };
    let site = Router::new().route("/", post(create)).layer(layer);
    let asked = |headers: &[(&str, &[u8])], access: &'static str| {
        send(&site, request(Method::POST, "/", headers).map(|_| Body::from(access))).body
    };
    let bearer = format!("Bearer {}", reader.token.expose());
    let by_key: [(&str, &[u8]); 1] = [("authorization", bearer.as_bytes())];
    assert_eq!(asked(&by_key, "read_only"), "org the page");
    let beyond = Error::Forbidden(ForbiddenReason::BeyondActingKey).to_string();
    assert_eq!(asked(&by_key, "full"), beyond);
    assert_eq!(asked(&[("cookie", b"SID=lena")], "full"), "org-of-lena the page");
    // Once the key is over, a request that has begun does nothing more.
    let verified = world.verifier.verify(reader.token.expose()).unwrap();
    let _ = keys.revoke(reader.key.id).unwrap();
    let late = DelegatedKeys::new(world.store.clone(), &verified, "the page").unwrap();
    assert!(ManagerKeys::from(late).list(&ListKeys::new()).is_err());
}
