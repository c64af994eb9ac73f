//! Callers that are judged again, long after the layer let them in.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::routing::get;
use keyhasp::integrations::http::PeerAddress;
use keyhasp::key::RejectReason;
use keyhasp::permission::PermissionSet;
use keyhasp::{Authenticated, KeyLayer, Session, SetLimits, UpdateKey, VerifyError};

use crate::common::{World, owner};
use crate::http::site::fetch;

/// Lets a request in, and returns its caller.
fn caller(layer: KeyLayer, headers: &[(&str, &[u8])]) -> Authenticated {
    let seen = Arc::new(Mutex::new(None));
    let keep = Arc::clone(&seen);
    let handler = async move |caller: Authenticated| *keep.lock().unwrap() = Some(caller);
    let site = Router::new().route("/", get(handler)).layer(layer);
    assert!(fetch(&site, "/", headers).status.is_success());
    let caller = seen.lock().unwrap().take();
    caller.unwrap()
}

fn fixed(address: [u8; 4]) -> PeerAddress {
    PeerAddress::by(move |_| Some(IpAddr::from(address)))
}

#[test]
fn a_caller_is_judged_again_from_its_address() {
    let world = World::new();
    let (keys, issued) = world.owner("org");
    let bearer = format!("Bearer {}", issued.token.expose());
    let headers: [(&str, &[u8]); 1] = [("authorization", bearer.as_bytes())];
    let layer = || KeyLayer::new(world.verifier.clone());
    let inside = caller(layer().peer_address(fixed([192, 0, 2, 7])), &headers);
    let outside = caller(layer().peer_address(fixed([198, 51, 100, 7])), &headers);
    let unknown = caller(layer(), &headers);
    for caller in [&inside, &outside, &unknown] {
        let again = caller.recheck().unwrap();
        assert_eq!(again.verified_key(), caller.verified_key());
    }
    let networks = SetLimits::new().networks(["192.0.2.0/24".parse().unwrap()]);
    let _ = keys.update(issued.key.id, UpdateKey::new().limits(networks)).unwrap();
    let heard = |caller: &Authenticated| caller.recheck().map(drop).unwrap_err();
    // An answer judges again as the caller did.
    assert!(inside.recheck().unwrap().recheck().is_ok());
    assert_eq!(heard(&outside), VerifyError::Rejected(RejectReason::AddressRejected));
    assert_eq!(heard(&unknown), VerifyError::Rejected(RejectReason::AddressMissing));
    let _ = world.admin.block(issued.key.id).unwrap();
    assert_eq!(heard(&inside), VerifyError::Rejected(RejectReason::Blocked));
}

#[test]
fn a_session_stays_as_it_is() {
    let world = World::new();
    let session = |_: &http::request::Parts| Some(Session::new(owner("org"), PermissionSet::EMPTY));
    let caller = caller(KeyLayer::new(world.verifier.clone()).session(session), &[]);
    assert_eq!(caller.recheck().unwrap().owner(), &owner("org"));
    assert!(caller.details().is_none());
}

#[test]
fn a_layer_accepts_no_prefix_that_its_verifier_lacks() {
    let world = World::new();
    let keys = KeyLayer::new(world.verifier.clone());
    let unknown = keys.prefixes([crate::common::prefix("acme_dev")]).unwrap_err();
    assert_eq!(unknown.field(), "prefix");
}
