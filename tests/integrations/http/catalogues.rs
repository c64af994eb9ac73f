//! Permissions of another catalogue: denied, and a defect of the service where it shows.

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use http::StatusCode;
use keyhasp::backend::Memory;
use keyhasp::store::StoreLayer;
use keyhasp::{
    Access, Authenticated, Catalogue, KeyLayer, KeyStore, Permission, Rejection, Session, Verifier,
};
use serde_json::json;

use crate::common::{World, catalogue, owner};
use crate::http::site::{Answer, fetch, with_token};

/// Another service's catalogue, in which the bit of `links:read` is that of `users:delete`.
fn theirs() -> Catalogue {
    Catalogue::builder().write("users:delete").write("users:create").build().unwrap()
}

fn permission(catalogue: &Catalogue, name: &str) -> Permission {
    catalogue.permission(name).unwrap()
}

fn is_our_defect(answer: &Answer) {
    let expected = json!({"type": "about:blank", "title": "Internal Server Error", "status": 500,
        "detail": "The service can't tell what the caller may do."});
    answer.is_problem(&expected, &[]);
}

#[test]
fn a_verified_key_has_no_permission_of_another_catalogue() {
    let world = World::new();
    let (_, issued) = world.owner("org");
    let verified = world.verifier.verify(issued.token.expose()).unwrap();
    // The same declaration, made again, is the same catalogue.
    assert!(verified.allows(permission(&catalogue(), "links:read")));
    let delete = permission(&theirs(), "users:delete");
    assert!(!verified.allows(delete) && !verified.permissions().contains(delete));
    assert!(!verified.permissions().is_superset(&theirs().all()));
    // One that has grown is another, whatever the order.
    let grown = catalogue().iter().fold(Catalogue::builder(), |b, (_, name)| b.read(name.as_str()));
    let grown = grown.read("links:delete").build().unwrap();
    assert!(!verified.allows(permission(&grown, "links:read")));
    assert_eq!(grown.name(permission(&catalogue(), "links:read")), None);
    assert!(std::mem::size_of_val(&verified) <= 256, "{}", std::mem::size_of_val(&verified));
}

#[test]
fn a_handler_that_requires_one_answers_500() {
    let world = World::new();
    let (_, issued) = world.owner("org");
    let delete = permission(&theirs(), "users:delete");
    let write = permission(&catalogue(), "links:write");
    let require = move |permission| {
        get(async move |caller: Authenticated| -> Result<&str, Rejection> {
            assert_eq!(caller.allows(permission), permission == write);
            caller.require(permission).map(|()| "in")
        })
    };
    let site = Router::new().route("/delete", require(delete)).route("/write", require(write));
    let site = site.layer(KeyLayer::new(world.verifier.clone()));
    is_our_defect(&with_token(&site, "/delete", issued.token.expose()));
    assert_eq!(with_token(&site, "/write", issued.token.expose()).body, "in");
}

#[test]
fn a_session_with_permissions_of_another_catalogue_is_answered_500() {
    let world = World::new();
    let inside = |permissions| {
        let session = move |_: &_| Some(Session::new(owner("org"), permissions));
        let keys = KeyLayer::new(world.verifier.clone()).session(session);
        Router::new().route("/", get(async || "in")).layer(keys.read_only_reads()).layer(keys)
    };
    is_our_defect(&fetch(&inside(theirs().all()), "/", &[]));
    let (theirs, ours) = (theirs(), catalogue());
    let mixed = theirs.iter().chain(ours.iter()).map(|(permission, _)| permission);
    is_our_defect(&fetch(&inside(mixed.collect()), "/", &[]));
    assert_eq!(fetch(&inside(catalogue().all()), "/", &[]).body, "in");
    assert_eq!(fetch(&inside(Default::default()), "/", &[]).body, "in");
}

/// A store in front of another one, with a catalogue of its own.
#[derive(Debug)]
struct InFront(Arc<dyn KeyStore>, Catalogue);

impl StoreLayer for InFront {
    fn inner(&self) -> &dyn KeyStore {
        &*self.0
    }

    fn catalogue(&self) -> &Catalogue {
        &self.1
    }
}

#[test]
fn a_store_that_verifies_with_another_catalogue_is_answered_500() {
    let world = World::new();
    let (_, issued) = world.owner("org");
    let site = |catalogue| {
        let store = InFront(Arc::clone(&world.store), catalogue);
        let keys = KeyLayer::new(Verifier::new(Arc::new(store)));
        Router::new().route("/", get(async || "in")).layer(keys)
    };
    is_our_defect(&with_token(&site(theirs()), "/", issued.token.expose()));
    assert_eq!(with_token(&site(catalogue()), "/", issued.token.expose()).body, "in");
    // A rejected token is a rejected token.
    let answer = with_token(&site(theirs()), "/", "letmein");
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    // Two stores of one declaration: their verified keys mean the same permissions.
    let other = World::with(|builder| builder, Memory::new());
    assert_eq!(other.verifier.catalogue().tag(), world.verifier.catalogue().tag());
    assert!(Access::Full.compile(other.verifier.catalogue()).belongs_to(catalogue().tag()));
}
