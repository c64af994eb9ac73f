//! New tokens for old: which live on, for how long, and who may ask.

#![allow(clippy::unwrap_used, clippy::panic)] // It is a test.

use std::time::Duration;

use crate::common::{HOUR, World, owner};
use keyhasp::key::RejectReason;
use keyhasp::store::{ForbiddenReason, StateProblem};
use keyhasp::{Access, CreateKey, CreateOwner, Error, Expiry, Issued, Rotate, Token, VerifyError};

fn accepted(world: &World, token: &Token) -> bool {
    world.verifier.verify(token.expose()).is_ok()
}

#[test]
fn the_token_before_lives_for_its_grace() {
    let world = World::new();
    let (keys, first) = world.owner("org");
    let second = keys.rotate(first.key.id, Rotate::new()).unwrap();
    assert_eq!(second.key.previous_tokens[0].ends_at, world.after(Rotate::DEFAULT_GRACE));
    let verified = world.verifier.verify(first.token.expose()).unwrap();
    assert!(!verified.is_current() && verified.ends_at() == Some(world.after(6 * HOUR)));
    world.clock.advance(6 * HOUR - Duration::from_millis(1));
    assert!(accepted(&world, &first.token) && accepted(&world, &second.token));
    world.clock.advance(Duration::from_millis(1));
    let over = world.verifier.verify(first.token.expose());
    assert_eq!(over, Err(VerifyError::Rejected(RejectReason::Superseded)));
    assert!(accepted(&world, &second.token));
    // Everything but the token stays.
    let (before, after) = (first.key, second.key);
    assert_eq!(
        (before.id, before.access, before.created_at),
        (after.id, after.access, after.created_at)
    );
}

#[test]
fn expiry_ends_a_grace_early_and_no_grace_ends_it_at_once() {
    let world = World::new();
    let request = CreateKey::new(Access::Full).expires(Expiry::At(world.after(HOUR)));
    let (keys, first) = world.owner_with("org", CreateOwner::with_key(request));
    keys.rotate(first.key.id, Rotate::new()).unwrap();
    let verified = world.verifier.verify(first.token.expose()).unwrap();
    assert_eq!(verified.ends_at(), Some(world.after(HOUR)));
    let (keys, first) = world.owner("none");
    keys.rotate(first.key.id, Rotate::with_grace(Duration::ZERO)).unwrap();
    assert!(!accepted(&world, &first.token));
}

#[test]
fn force_and_end_earlier_end_every_previous_token() {
    let world = World::new();
    let (keys, first) = world.owner("org");
    let id = first.key.id;
    let rotate = |request| keys.rotate(id, request).unwrap();
    let (second, third) = (rotate(Rotate::new()), rotate(Rotate::new()));
    let forced = rotate(Rotate::forced());
    for issued in [&first, &second, &third] {
        assert_eq!(world.verifier.verify(issued.token.expose()), Err(VerifyError::Unrecognized));
    }
    let last = rotate(Rotate::new());
    assert!(accepted(&world, &forced.token));
    let ended = keys.invalidate_previous_tokens(id).unwrap();
    assert!(!accepted(&world, &forced.token) && accepted(&world, &last.token));
    // Nothing is left to end: nothing changes, and an old version doesn't matter.
    let again = keys.if_version(first.key.version).invalidate_previous_tokens(id).unwrap();
    assert_eq!(again.version, ended.version);
}

#[test]
fn five_previous_tokens_live_and_the_oldest_is_dropped() {
    let world = World::new();
    let (keys, first) = world.owner("org");
    let mut tokens = vec![first.token];
    for n in 2..=8_u32 {
        let issued: Issued = keys.rotate(first.key.id, Rotate::new()).unwrap();
        let dropped = issued.dropped.map(keyhasp::Generation::get);
        assert_eq!(dropped, (n > 6).then(|| n - 6));
        tokens.push(issued.token);
    }
    let live: Vec<bool> = tokens.iter().map(|token| accepted(&world, token)).collect();
    assert_eq!(live, [false, false, true, true, true, true, true, true]);
}

#[test]
fn grace_has_a_limit() {
    let world = World::new();
    let (keys, first) = world.owner("org");
    let day = 24 * HOUR;
    assert!(keys.rotate(first.key.id, Rotate::with_grace(366 * day)).is_ok());
    let too_long = Rotate::with_grace(366 * day + Duration::from_secs(1));
    match keys.rotate(first.key.id, too_long) {
        Err(Error::Invalid(invalid)) => assert_eq!(invalid.field(), "grace"),
        other => panic!("{other:?}"),
    }
}

/// A leaked key is blocked first, and never let in again on its way to a new token.
#[test]
fn a_blocked_key_is_rotated_by_an_administrator_with_force() {
    let world = World::new();
    let (keys, leaked) = world.owner("org");
    let id = leaked.key.id;
    world.admin.block(id).unwrap();
    let owners = keys.rotate(id, Rotate::forced());
    assert!(matches!(owners, Err(Error::Forbidden(ForbiddenReason::AdministratorOnly))));
    let gentle = world.admin.rotate(id, Rotate::new());
    assert!(matches!(gentle, Err(Error::State(StateProblem::Blocked))));
    let still_blocked = world.admin.rotate(id, Rotate::forced()).unwrap();
    let refused = world.verifier.verify(still_blocked.token.expose());
    assert_eq!(refused, Err(VerifyError::Rejected(RejectReason::Blocked)));
    let unblocked = world.admin.rotate(id, Rotate::forced().unblock()).unwrap();
    assert!(accepted(&world, &unblocked.token) && !accepted(&world, &leaked.token));
    let denied = keys.rotate(id, Rotate::new().unblock());
    assert!(matches!(denied, Err(Error::Forbidden(ForbiddenReason::AdministratorOnly))));
}

#[test]
fn the_dead_do_not_rotate() {
    let world = World::new();
    let request = CreateKey::new(Access::Full).expires(Expiry::At(world.after(HOUR)));
    let (keys, key) = world.owner_with("org", CreateOwner::with_key(request));
    let id = key.key.id;
    world.clock.advance(HOUR);
    assert!(matches!(keys.rotate(id, Rotate::new()), Err(Error::State(StateProblem::Expired))));
    // Prolonging revives.
    world.admin.extend_expiry(id, Expiry::Never).unwrap();
    assert!(keys.rotate(id, Rotate::new()).is_ok());
    keys.revoke(id).unwrap();
    assert!(matches!(keys.rotate(id, Rotate::new()), Err(Error::State(StateProblem::Revoked))));
}

#[test]
fn of_two_rotations_that_expect_one_version_one_wins() {
    let world = World::new();
    let (keys, first) = world.owner("org");
    let expecting = keys.if_version(first.key.version);
    let won = std::thread::scope(|scope| {
        let racers: Vec<_> = (0..2)
            .map(|_| scope.spawn(|| expecting.rotate(first.key.id, Rotate::forced())))
            .collect();
        let outcomes: Vec<_> = racers.into_iter().map(|racer| racer.join().unwrap()).collect();
        assert!(outcomes.iter().any(|o| matches!(o, Err(Error::Conflict { .. }))));
        outcomes.into_iter().find_map(Result::ok).unwrap()
    });
    assert!(accepted(&world, &won.token) && !accepted(&world, &first.token));
    assert_eq!(won.key.generation.get(), 2);
}

/// An acknowledged change holds for the very next verification, whatever other threads rotate.
#[test]
fn a_revocation_bites_at_once_among_racing_callers() {
    let world = World::new();
    let (keys, _) = world.owner("org");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let (keys, world) = (keys.clone(), &world);
            scope.spawn(move || {
                for _ in 0..50 {
                    let issued = keys.create(CreateKey::new(Access::Full)).unwrap();
                    assert!(accepted(world, &issued.token));
                    let rotated = keys.rotate(issued.key.id, Rotate::forced()).unwrap();
                    assert!(accepted(world, &rotated.token) && !accepted(world, &issued.token));
                    keys.revoke(issued.key.id).unwrap();
                    let refused = world.verifier.verify(rotated.token.expose());
                    assert_eq!(refused, Err(VerifyError::Rejected(RejectReason::Revoked)));
                }
            });
        }
    });
    let owner = world.admin.owner(&owner("org")).unwrap();
    assert_eq!(owner.version.get(), 1);
    assert_eq!(world.store.health().tokens, 201);
}
