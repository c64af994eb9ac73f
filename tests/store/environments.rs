//! Verifiers that are held to the prefixes of an environment.

#![allow(clippy::unwrap_used)] // It is a test.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use keyhasp::invalid::Problem;
use keyhasp::{
    Access, CreateKey, ListKeys, Prefix, Token, UsageSettings, VerifyError, VerifyRequest,
};

use crate::common::{World, prefix};

fn world() -> (World, Token, Token) {
    let world = World::with(
        |builder| builder.usage(UsageSettings::new().counts()),
        keyhasp::backend::Memory::new(),
    );
    let (keys, live) = world.owner("org");
    let test = keys.create(CreateKey::new(Access::Full).prefix(prefix("acme_test"))).unwrap();
    (world, live.token, test.token)
}

#[test]
fn a_token_of_another_environment_is_unknown() {
    let (world, live, test) = world();
    let sandbox = world.verifier.with_prefixes([prefix("acme_test")]).unwrap();
    let (live, test) = (live.expose(), test.expose());
    let unknown = VerifyError::Unrecognized;
    let verified = world.verifier.verify(live).unwrap();
    let request = VerifyRequest::new(live);
    assert_eq!(sandbox.verify(live), Err(unknown));
    assert_eq!(sandbox.verify_request(&request), Err(unknown));
    assert_eq!(sandbox.verify_reserving(&request).map(drop), Err(unknown));
    let mut context = Context::from_waker(Waker::noop());
    assert_eq!(pin!(sandbox.verify_async(&request)).poll(&mut context), Poll::Ready(Err(unknown)));
    assert_eq!(sandbox.recheck(&verified), Err(unknown));
    assert_eq!(sandbox.recheck_from(&verified, [192, 0, 2, 1].into()), Err(unknown));
    // A right token of its own is good, and both are for the handle that isn't held.
    let verified = sandbox.verify(test).unwrap();
    assert_eq!(sandbox.recheck(&verified), Ok(verified));
    assert!(world.verifier.verify(test).is_ok());
    for text in ["", "acme", "acme_test", "no token at all"] {
        assert_eq!(sandbox.verify(text), Err(unknown));
    }
    // What it refused was no use.
    let shown = world.admin.list(&ListKeys::new()).unwrap().items;
    let uses = |of: Prefix| {
        let key = shown.iter().find(|key| key.prefix == of).unwrap();
        let usage = key.usage.unwrap();
        (usage.accepted, usage.rejected.total())
    };
    assert_eq!((uses(prefix("acme")), uses(prefix("acme_test"))), ((Some(1), 0), (Some(2), 0)));
}

#[test]
fn it_is_held_to_prefixes_that_there_are_and_only_narrows() {
    let (world, live, _) = world();
    let refused = |prefixes: &[&str]| {
        let prefixes = prefixes.iter().map(|text| prefix(text));
        world.verifier.with_prefixes(prefixes).unwrap_err()
    };
    assert_eq!(refused(&[]).problem(), &Problem::Empty);
    for unknown in [refused(&["acme_dev"]), refused(&["acme", "acme_dev"])] {
        assert_eq!(unknown.field(), "prefix");
        assert_eq!(unknown.problem(), &Problem::Unknown { name: "acme_dev".into() });
    }
    let both = world.verifier.with_prefixes([prefix("acme"), prefix("acme_test")]).unwrap();
    assert!(both.verify(live.expose()).is_ok());
    let sandbox = both.with_prefixes([prefix("acme_test")]).unwrap();
    assert!(sandbox.with_prefixes([prefix("acme")]).is_err());
    assert!(sandbox.with_prefixes([prefix("acme_test")]).is_ok());
}

/// A service that opens a store with prefixes that hold others gets each one's own.
#[test]
fn one_prefix_in_another_is_another() {
    let (world, live, test) = world();
    let production = world.verifier.with_prefixes([prefix("acme")]).unwrap();
    assert!(production.verify(live.expose()).is_ok());
    assert_eq!(production.verify(test.expose()), Err(VerifyError::Unrecognized));
}
