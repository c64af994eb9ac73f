//! Tokens found in public: whose they are, and how they are stopped.

#![allow(clippy::unwrap_used, clippy::panic)] // It is a test.

use crate::common::{HOUR, World};
use keyhasp::authority::{Authority, Role};
use keyhasp::key::{RejectReason, State};
use keyhasp::store::{ForbiddenReason, FoundToken, ListEvents};
use keyhasp::{Error, EventKind, Issued, Rotate, SetLimits, UpdateKey, UpdateOwner, VerifyError};

fn events(world: &World) -> usize {
    world.admin.events(&ListEvents::new().limit(1_000)).unwrap().items.len()
}

/// What is told of a token: its generation, whether it is current, whether it is accepted.
fn told(found: Option<FoundToken>) -> Option<(u32, bool, bool)> {
    found.map(|found| (found.generation.get(), found.is_current, found.is_accepted))
}

#[test]
fn each_generation_is_told_until_its_digest_is_gone() {
    let world = World::new();
    let (keys, first) = world.owner("org");
    let id = first.key.id;
    let second: Issued = keys.rotate(id, Rotate::new()).unwrap();
    let before = events(&world);
    let identify = |issued: &Issued| told(world.admin.identify(issued.token.expose()).unwrap());
    assert_eq!(identify(&first), Some((1, false, true)));
    assert_eq!(identify(&second), Some((2, true, true)));
    // Over, but not yet forgotten.
    world.clock.advance(7 * HOUR);
    assert_eq!(identify(&first), Some((1, false, false)));
    keys.deactivate(id).unwrap();
    assert_eq!(identify(&first), None);
    assert_eq!(identify(&second), Some((2, true, false)));
    keys.revoke(id).unwrap();
    assert_eq!(identify(&second), Some((2, true, false)));
    world.admin.purge(id).unwrap();
    assert_eq!(identify(&second), None);
    // Only what was done to the key left events.
    assert_eq!(events(&world), before + 3);
}

#[test]
fn a_key_that_has_not_begun_is_not_accepted() {
    for of_owner in [false, true] {
        let world = World::new();
        let (_, first) = world.owner("org");
        let limits = SetLimits::new().not_before(world.after(HOUR));
        if of_owner {
            let update = UpdateOwner::new().limits(limits);
            world.admin.update_owner(&first.key.owner, update).unwrap();
        } else {
            world.admin.update(first.key.id, UpdateKey::new().limits(limits)).unwrap();
        }
        let identify = || told(world.admin.identify(first.token.expose()).unwrap());
        assert_eq!(identify(), Some((1, true, false)));
        world.clock.advance(HOUR);
        assert_eq!(identify(), Some((1, true, true)));
    }
}

#[test]
fn what_is_no_token_of_the_store() {
    let world = World::new();
    let (_, first) = world.owner("org");
    let text = first.token.expose();
    let last = if text.ends_with('0') { "1" } else { "0" };
    let cut = &text[..text.len() - 1];
    for stranger in ["", "acme_", cut, &format!("{cut}{last}"), &format!("x{text}")] {
        assert_eq!(world.admin.identify(stranger).unwrap(), None, "{stranger:?}");
        assert_eq!(world.admin.block_leaked(stranger).unwrap(), None, "{stranger:?}");
    }
    assert!(world.verifier.verify(text).is_ok());
}

#[test]
fn a_leaked_key_is_blocked_once_and_the_event_says_why() {
    let world = World::new();
    let (keys, first) = world.owner("org");
    let second = keys.rotate(first.key.id, Rotate::new()).unwrap();
    let blocked = world.admin.block_leaked(first.token.expose()).unwrap().unwrap();
    assert_eq!((blocked.key.state, blocked.is_accepted), (State::Blocked, false));
    for issued in [&first, &second] {
        let verdict = world.verifier.verify(issued.token.expose());
        assert_eq!(verdict, Err(VerifyError::Rejected(RejectReason::Blocked)));
    }
    let after = events(&world);
    let log = world.admin.events(&ListEvents::new().limit(1_000)).unwrap().items;
    let last = log.last().unwrap();
    assert_eq!((last.kind, last.generation), (EventKind::KeyBlocked, Some(first.key.generation)));
    let reason = last.authority.reason.as_ref().map(ToString::to_string);
    assert_eq!(reason.as_deref(), Some("token of generation 1 found in public"));
    // Again, and for a revoked one: there is nothing left to do.
    let again = world.admin.block_leaked(second.token.expose()).unwrap().unwrap();
    assert_eq!(again.key.version, blocked.key.version);
    keys.revoke(first.key.id).unwrap();
    let revoked = world.admin.block_leaked(second.token.expose()).unwrap().unwrap();
    assert_eq!(revoked.key.state, State::Revoked);
    assert_eq!(events(&world), after + 1);
}

/// Publishing a token that was replaced stops no key.
#[test]
fn a_superseded_token_blocks_nothing() {
    let world = World::new();
    let (keys, first) = world.owner("org");
    let second = keys.rotate(first.key.id, Rotate::new()).unwrap();
    world.clock.advance(Rotate::DEFAULT_GRACE);
    let found = world.admin.block_leaked(first.token.expose()).unwrap().unwrap();
    assert_eq!((found.is_accepted, found.key.version), (false, second.key.version));
    assert!(world.verifier.verify(second.token.expose()).is_ok());
    // A switch may be turned back, so it hides no harm.
    keys.deactivate(first.key.id).unwrap();
    let found = world.admin.block_leaked(second.token.expose()).unwrap().unwrap();
    assert!(found.key.blocked.is_some());
}

#[test]
fn a_reason_that_is_given_stays() {
    let world = World::new();
    let (_, first) = world.owner("org");
    let admin = world.admin.with_reason("seen in a gist").unwrap();
    let found = admin.block_leaked(first.token.expose()).unwrap().unwrap();
    let reason = found.key.blocked.unwrap().reason;
    assert_eq!(reason.map(|reason| reason.to_string()).as_deref(), Some("seen in a gist"));
}

#[test]
fn only_administrators_may_ask() {
    let world = World::new();
    let (keys, first) = world.owner("org");
    let token = first.token.expose().as_bytes();
    let store = world.store.as_ref();
    let verified = world.verifier.verify(token).unwrap();
    let role = Role::Delegate {
        owner: *verified.owner_id(),
        key: verified.key_id(),
        generation: verified.generation(),
    };
    let actor = keys.authority().actor.clone();
    for by in [keys.authority().clone(), Authority::new(role, actor)] {
        for answer in [store.identify(&by, token), store.block_leaked(&by, token)] {
            assert!(
                matches!(answer, Err(Error::Forbidden(ForbiddenReason::AdministratorOnly))),
                "{answer:?}"
            );
        }
    }
    assert!(world.verifier.verify(token).is_ok());
}

#[test]
fn a_text_is_searched_for_tokens_of_the_store() {
    let world = World::new();
    let (_, issued) = world.owner("org");
    let token = issued.token.expose();
    let text = format!("KEY={token}\nOTHER=ghp_{}\nAGAIN='{token}'", &token[5..]);
    let found = world.admin.scan(&text).unwrap();
    let texts: Vec<&str> = found.iter().map(|found| &text[found.range.clone()]).collect();
    assert_eq!(texts, [token, token]);
    assert!(found.iter().all(|found| found.id == issued.key.id));
}
