//! Verification: which tokens are accepted or rejected, and which client learns what.

#![allow(clippy::unwrap_used, clippy::panic)] // It is a test.

use std::time::Duration;

use crate::common::{HOUR, World, builder, clock, owner, prefix};
use keyhasp::backend::Memory;
use keyhasp::key::RejectReason;
use keyhasp::store::{PepperProblem, Unavailable};
use keyhasp::{
    Access, CreateKey, CreateOwner, Error, Expiry, Kind, Peppers, Rotate, Timestamp, UpdateKey,
    UpdateOwner, VerifyError,
};
use proptest::prelude::*;

#[test]
fn a_grant_says_all_that_a_request_needs() {
    let world = World::new();
    let expiry = Expiry::At(world.after(HOUR));
    let access = Access::limited(["links:*"]).unwrap();
    let request = CreateKey::new(access).expires(expiry).prefix(prefix("acme_test"));
    let (_, issued) = world.owner_with("org", CreateOwner::with_key(request));
    let verified = world.verifier.verify(issued.token.expose()).unwrap();
    assert_eq!((verified.key_id(), *verified.owner_id()), (issued.key.id, owner("org")));
    assert_eq!(
        (verified.kind(), verified.generation().get(), verified.is_current()),
        (Kind::Standard, 1, true)
    );
    assert_eq!(verified.ends_at(), Some(world.after(HOUR)));
    assert_eq!(verified.prefix().as_str(), "acme_test");
    let allows = |name| verified.allows(world.verifier.permission(name).unwrap());
    assert!(allows("links:read") && allows("links:write") && !allows("domains:read"));
    assert!(issued.token.expose().starts_with("acme_test_"));
}

/// The first reason in the design's order is the one told, whatever else holds.
#[test]
fn reasons_in_their_order() {
    let world = World::new();
    let request = CreateKey::new(Access::Full).expires(Expiry::At(world.after(2 * HOUR)));
    let (keys, first) = world.owner_with("org", CreateOwner::with_key(request));
    let (id, old) = (first.key.id, first.token);
    keys.rotate(id, Rotate::with_grace(HOUR)).unwrap();
    let reason = || match world.verifier.verify(old.expose()) {
        Err(VerifyError::Rejected(rejected_for)) => Some(rejected_for),
        Ok(_) => None,
        other => panic!("{other:?}"),
    };
    assert_eq!(reason(), None);
    world.clock.advance(HOUR);
    assert_eq!(reason(), Some(RejectReason::Superseded));
    world.clock.advance(HOUR);
    assert_eq!(reason(), Some(RejectReason::Expired));
    // Changing the record would drop the digest that ran out: from here on, a token that lives.
    let (keys, first) = world.owner("other");
    let (id, token) = (first.key.id, first.token);
    let reason = || world.verifier.verify(token.expose()).err();
    keys.deactivate(id).unwrap();
    assert_eq!(reason(), Some(VerifyError::Rejected(RejectReason::Deactivated)));
    world.admin.block(id).unwrap();
    assert_eq!(reason(), Some(VerifyError::Rejected(RejectReason::Blocked)));
    keys.revoke(id).unwrap();
    assert_eq!(reason(), Some(VerifyError::Rejected(RejectReason::Revoked)));
    world.admin.suspend_owner(&owner("other")).unwrap();
    assert_eq!(reason(), Some(VerifyError::Rejected(RejectReason::Suspended)));
    world.admin.purge(id).unwrap();
    assert_eq!(reason(), Some(VerifyError::Unrecognized));
}

#[test]
fn so_long_after_its_creation_by_the_stores_clock() {
    let world = World::new();
    let (keys, _) = world.owner("org");
    let created = |time| keys.create(CreateKey::new(Access::Full).expires_in(time));
    assert_eq!(created(HOUR).unwrap().key.expires_at, Some(world.after(HOUR)));
    assert_eq!(created(Duration::MAX).unwrap().key.expires_at, Some(Timestamp::MAX));
    let refused = created(Duration::ZERO).unwrap_err();
    assert!(matches!(refused, Error::Invalid(invalid) if invalid.field() == "expiry"));
}

#[test]
fn lifting_a_suspension_changes_nothing_else() {
    let world = World::new();
    let (keys, first) = world.owner("org");
    let second = keys.create(CreateKey::new(Access::ReadOnly)).unwrap();
    keys.deactivate(second.key.id).unwrap();
    world.admin.suspend_owner(&owner("org")).unwrap();
    for token in [&first.token, &second.token] {
        let refused = world.verifier.verify(token.expose());
        assert_eq!(refused, Err(VerifyError::Rejected(RejectReason::Suspended)));
    }
    world.admin.resume_owner(&owner("org")).unwrap();
    assert!(world.verifier.verify(first.token.expose()).is_ok());
    let refused = world.verifier.verify(second.token.expose());
    assert_eq!(refused, Err(VerifyError::Rejected(RejectReason::Deactivated)));
}

/// Without the secret there is one answer, whatever the key's state and whether it exists.
#[test]
fn outsiders_learn_nothing() {
    let world = World::new();
    let (keys, active) = world.owner("org");
    let create = || keys.create(CreateKey::new(Access::Full)).unwrap();
    let (blocked, revoked, purged) = (create(), create(), create());
    world.admin.block(blocked.key.id).unwrap();
    for issued in [&revoked, &purged] {
        keys.revoke(issued.key.id).unwrap();
    }
    world.admin.purge(purged.key.id).unwrap();
    for issued in [active, blocked, revoked, purged] {
        let token = issued.token.expose();
        for at in 27..token.len() {
            let mut wrong = token.as_bytes().to_vec();
            wrong[at] = if wrong[at] == b'x' { b'y' } else { b'x' };
            assert_eq!(world.verifier.verify(&wrong), Err(VerifyError::Unrecognized));
        }
        // Right except for the prefix, which is an accepted one.
        let other = token.replacen("acme_", "acme_test_", 1);
        assert_eq!(world.verifier.verify(other), Err(VerifyError::Unrecognized));
    }
}

#[test]
fn bytes_of_any_kind_are_refused() {
    let world = World::new();
    let (_, issued) = world.owner("org");
    let token = issued.token.expose();
    let long = vec![b'a'; 10 << 20];
    let non_ascii = token.replace('a', "é");
    let padded = format!("{token} ");
    let texts: [&[u8]; 8] = [
        b"",
        b"_",
        &long,
        non_ascii.as_bytes(),
        padded.as_bytes(),
        &token.as_bytes()[1..],
        &token.as_bytes()[..token.len() - 1],
        &[0xff; 75],
    ];
    for text in texts {
        assert_eq!(world.verifier.verify(text), Err(VerifyError::Unrecognized));
    }
}

proptest! {
    #[test]
    fn nothing_made_up_is_accepted(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
        thread_local!(static WORLD: (World, String) = {
            let world = World::new();
            let token = world.owner("org").1.token.expose().to_owned();
            (world, token)
        });
        WORLD.with(|(world, token)| {
            assert_eq!(world.verifier.verify(&bytes), Err(VerifyError::Unrecognized));
            // A real head with a made-up tail.
            let mut spliced = token.as_bytes()[..27].to_vec();
            spliced.extend(&bytes);
            assert_eq!(world.verifier.verify(&spliced), Err(VerifyError::Unrecognized));
        });
    }
}

#[test]
fn a_ceiling_narrows_standard_keys_at_once_and_spares_trials() {
    let world = World::new();
    let (keys, full) = world.owner("org");
    let listed = CreateKey::new(Access::limited(["links:*", "domains:write"]).unwrap());
    let listed = keys.create(listed).unwrap();
    let trial = CreateKey::trial(Access::Full, Expiry::Never);
    let trial = world.admin.create(&owner("org"), trial).unwrap();
    let permissions =
        |token: &keyhasp::Token| world.verifier.verify(token.expose()).unwrap().permissions().len();
    assert_eq!([&full, &listed, &trial].map(|i| permissions(&i.token)), [4, 3, 4]);
    let max_access = Access::limited(["links:read", "domains:*"]).unwrap();
    world.admin.update_owner(&owner("org"), UpdateOwner::new().max_access(max_access)).unwrap();
    assert_eq!([&full, &listed, &trial].map(|i| permissions(&i.token)), [3, 2, 4]);
    world.admin.convert_trial(trial.key.id, Expiry::Never).unwrap();
    assert_eq!(permissions(&trial.token), 3);
    world.admin.update_owner(&owner("org"), UpdateOwner::new().max_access(Access::Full)).unwrap();
    assert_eq!([&full, &listed, &trial].map(|i| permissions(&i.token)), [4, 3, 4]);
}

#[test]
fn issue_marks_supersede_what_was_issued_before() {
    let world = World::new();
    let (keys, a) = world.owner("a");
    let (_, b) = world.owner("b");
    world.clock.advance(HOUR);
    let later = keys.create(CreateKey::new(Access::Full)).unwrap();
    let verify =
        |issued: &keyhasp::Issued| world.verifier.verify(issued.token.expose()).map(|_| ());
    world.admin.invalidate_owner_tokens_issued_before(&owner("a"), world.now()).unwrap();
    let superseded = Err(VerifyError::Rejected(RejectReason::Superseded));
    assert_eq!([&a, &b, &later].map(verify), [superseded, Ok(()), Ok(())]);
    // A clock that steps back doesn't make tokens that are dead at birth.
    world.clock.set(world.now().saturating_sub(2 * HOUR));
    let behind = keys.create(CreateKey::new(Access::Full)).unwrap();
    assert_eq!(verify(&behind), Ok(()));
    world.clock.advance(3 * HOUR);
    world.admin.invalidate_tokens_issued_before(world.now()).unwrap();
    assert_eq!([&a, &b, &later, &behind].map(verify), [superseded; 4]);
    let rotated = keys.rotate(later.key.id, Rotate::new()).unwrap();
    assert_eq!(verify(&rotated), Ok(()));
    let future = world.after(HOUR);
    assert!(matches!(world.admin.invalidate_tokens_issued_before(future), Err(Error::Invalid(_))));
}

#[test]
fn tokens_of_several_peppers() {
    let clock = clock();
    let backend: std::sync::Arc<dyn keyhasp::backend::Backend> = std::sync::Arc::new(Memory::new());
    let open = |peppers| {
        let store = builder(&clock, 7).peppers(peppers).open_on(backend.clone())?;
        Ok::<_, Error>(World::of(std::sync::Arc::new(store), clock.clone()))
    };
    let world = open(Peppers::new(1, [1; 32]).unwrap()).unwrap();
    let (_, first) = world.owner("org");
    let ids: Vec<_> = (0..3).map(|i| world.owner(&format!("o{i}")).1).collect();
    std::mem::forget(world.store.clone()); // The backend is used on: nothing closes it.

    let both = || Peppers::new(2, [2; 32]).unwrap().and(1, [1; 32]).unwrap();
    let world = open(both()).unwrap();
    std::mem::forget(world.store.clone());
    assert!(world.verifier.verify(first.token.expose()).is_ok());
    // One key under two peppers: the token before, and the new one.
    let rotated = world.admin.rotate(first.key.id, Rotate::new()).unwrap();
    for token in [&first.token, &rotated.token] {
        assert!(world.verifier.verify(token.expose()).is_ok());
    }
    assert!(ids.iter().all(|issued| world.verifier.verify(issued.token.expose()).is_ok()));

    // The same pepper under a new number: alone, and beside a new one.
    let beside = Peppers::new(3, [3; 32]).unwrap().and(4, [1; 32]).unwrap();
    for (number, again) in [(3, Peppers::new(3, [1; 32]).unwrap()), (4, beside)] {
        match open(again).map(drop).unwrap_err() {
            Error::Pepper { number: told, problem } => {
                assert_eq!((told, problem), (number, PepperProblem::KnownAs(1)));
            }
            error => panic!("{error}"),
        }
    }

    // What is revoked needs no pepper any more.
    let kept = world.admin.list(&keyhasp::ListKeys::new()).unwrap().items;
    let missing = open(Peppers::new(2, [2; 32]).unwrap());
    assert!(matches!(missing, Err(Error::Pepper { number: 1, problem: PepperProblem::Missing })));
    let wrong = open(Peppers::new(2, [2; 32]).unwrap().and(1, [9; 32]).unwrap());
    assert!(matches!(wrong, Err(Error::Pepper { number: 1, problem: PepperProblem::Wrong })));
    let none = open(Peppers::public());
    assert!(matches!(none, Err(Error::Pepper { problem: PepperProblem::Missing, .. })));
    for key in kept.iter().filter(|key| key.generation.get() == 1) {
        world.admin.revoke(key.id).unwrap();
    }
    world.admin.invalidate_previous_tokens(first.key.id).unwrap();
    let world = open(Peppers::new(2, [2; 32]).unwrap()).unwrap();
    assert!(world.verifier.verify(rotated.token.expose()).is_ok());
}

#[test]
fn a_token_that_was_over_without_its_pepper_stays_so_when_the_clock_steps_back() {
    let clock = clock();
    let backend: std::sync::Arc<dyn keyhasp::backend::Backend> = std::sync::Arc::new(Memory::new());
    let open = |seed, peppers| {
        let store = builder(&clock, seed).peppers(peppers).open_on(backend.clone()).unwrap();
        World::of(std::sync::Arc::new(store), clock.clone())
    };
    let world = open(7, Peppers::new(1, [1; 32]).unwrap());
    let (_, first) = world.owner("org");
    std::mem::forget(world.store.clone()); // The backend is used on: nothing closes it.
    let both = Peppers::new(2, [2; 32]).unwrap().and(1, [1; 32]).unwrap();
    let world = open(8, both);
    std::mem::forget(world.store.clone());
    let rotated = world.admin.rotate(first.key.id, Rotate::with_grace(HOUR)).unwrap();
    clock.advance(HOUR * 2);
    let world = open(9, Peppers::new(2, [2; 32]).unwrap());
    clock.set(world.now().saturating_sub(HOUR + HOUR / 2));
    world.admin.update(first.key.id, UpdateKey::new().name("other")).unwrap();
    assert_eq!(world.verifier.verify(first.token.expose()), Err(VerifyError::Unrecognized));
    assert!(world.verifier.verify(rotated.token.expose()).is_ok());
}

#[test]
fn a_closed_store_answers_nothing_and_lets_nobody_in() {
    let world = World::new();
    let (keys, issued) = world.owner("org");
    world.store.close().unwrap();
    world.store.close().unwrap();
    let refused = world.verifier.verify(issued.token.expose());
    assert_eq!(refused, Err(VerifyError::Unavailable(Unavailable::Closed)));
    let closed = keys.revoke(issued.key.id);
    assert!(matches!(closed, Err(Error::Unavailable(Unavailable::Closed))));
    assert_eq!(world.store.health().unavailable, Some(Unavailable::Closed));
}
