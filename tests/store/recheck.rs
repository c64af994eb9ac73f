//! Verified keys that are judged again, without their tokens.

#![allow(clippy::unwrap_used)] // It is a test.

use std::net::IpAddr;
use std::sync::Arc;

use keyhasp::key::RejectReason;
use keyhasp::store::{StoreLayer, Unavailable};
use keyhasp::{
    Access, CreateKey, CreateOwner, Expiry, Issued, KeyStore, ListKeys, OwnerKeys, Quota, Rate,
    Rotate, SetLimits, Timestamp, UpdateKey, UpdateOwner, VerifiedKey, Verifier, VerifyError,
    VerifyRequest,
};

use crate::common::{HOUR, World, owner, prefix};
use crate::each::on_each;

const INSIDE: [u8; 4] = [192, 0, 2, 7];

fn inside() -> IpAddr {
    INSIDE.into()
}

/// Presents the token now, as if no rate and no quota were used up.
fn presented(world: &World, issued: &Issued, address: IpAddr) -> Result<VerifiedKey, VerifyError> {
    let request = VerifyRequest::new(issued.token.expose()).cost(0).address(address);
    world.verifier.verify_request(&request)
}

type Change = fn(&World, &OwnerKeys, &Issued);

/// Each change of a key, its owner or the store, and the reason for which its token is rejected then;
/// `Err` if it is unknown, and `None` if it is still good.
const CHANGES: &[(Change, Option<Result<RejectReason, ()>>)] = &[
    (|_, _, _| {}, None),
    (|_, keys, issued| drop(keys.deactivate(issued.key.id)), Some(Ok(RejectReason::Deactivated))),
    (|world, _, issued| drop(world.admin.block(issued.key.id)), Some(Ok(RejectReason::Blocked))),
    (|_, keys, issued| drop(keys.revoke(issued.key.id)), Some(Ok(RejectReason::Revoked))),
    (|_, keys, _| drop(keys.revoke_all(None)), Some(Ok(RejectReason::Revoked))),
    (|world, _, _| world.clock.advance(3 * HOUR), Some(Ok(RejectReason::Expired))),
    (
        |world, _, _| drop(world.admin.suspend_owner(&owner("org"))),
        Some(Ok(RejectReason::Suspended)),
    ),
    (|_, keys, issued| drop(keys.rotate(issued.key.id, Rotate::with_grace(HOUR)).unwrap()), None),
    (
        |world, keys, issued| {
            keys.rotate(issued.key.id, Rotate::with_grace(HOUR)).unwrap();
            world.clock.advance(HOUR);
        },
        Some(Ok(RejectReason::Superseded)),
    ),
    (|_, keys, issued| drop(keys.rotate(issued.key.id, Rotate::forced())), Some(Err(()))),
    (
        |_, keys, issued| {
            keys.rotate(issued.key.id, Rotate::new()).unwrap();
            keys.invalidate_previous_tokens(issued.key.id).unwrap();
        },
        Some(Err(())),
    ),
    (
        |world, _, _| {
            world.clock.advance(HOUR);
            world.admin.invalidate_tokens_issued_before(world.now()).unwrap();
        },
        Some(Ok(RejectReason::Superseded)),
    ),
    (
        |world, keys, issued| {
            let _ = keys.revoke(issued.key.id).unwrap();
            world.admin.purge(issued.key.id).unwrap();
        },
        Some(Err(())),
    ),
    (
        |world, _, _| {
            let _ = world.admin.suspend_owner(&owner("org")).unwrap();
            world.admin.purge_owner(&owner("org")).unwrap();
        },
        Some(Err(())),
    ),
    (
        |world, _, _| {
            let _ = world.admin.suspend_owner(&owner("org")).unwrap();
            world.admin.purge_owner(&owner("org")).unwrap();
            let _ = world.owner("org");
        },
        Some(Err(())),
    ),
    (
        |_, keys, issued| {
            let elsewhere = SetLimits::new().networks(["198.51.100.0/24".parse().unwrap()]);
            let _ = keys.update(issued.key.id, UpdateKey::new().limits(elsewhere)).unwrap();
        },
        Some(Ok(RejectReason::AddressRejected)),
    ),
    (
        |world, _, _| {
            let elsewhere = SetLimits::new().networks(["198.51.100.0/24".parse().unwrap()]);
            let update = UpdateOwner::new().limits(elsewhere);
            let _ = world.admin.update_owner(&owner("org"), update).unwrap();
        },
        Some(Ok(RejectReason::AddressRejected)),
    ),
    (
        |world, keys, issued| {
            let later = SetLimits::new().not_before(world.after(HOUR));
            let _ = keys.update(issued.key.id, UpdateKey::new().limits(later)).unwrap();
        },
        Some(Ok(RejectReason::NotYet(Timestamp::MIN))),
    ),
    (
        |world, _, _| {
            let narrow = UpdateOwner::new().max_access(Access::ReadOnly);
            let _ = world.admin.update_owner(&owner("org"), narrow).unwrap();
        },
        None,
    ),
    (
        |_, keys, issued| {
            let links = Access::limited(["links:read"]).unwrap();
            let _ = keys.update(issued.key.id, UpdateKey::new().access(links)).unwrap();
        },
        None,
    ),
    (
        |world, _, issued| {
            let never = world.admin.extend_expiry(issued.key.id, Expiry::Never);
            let _ = never.unwrap();
        },
        None,
    ),
];

#[test]
fn it_answers_as_the_token_would_be_answered() {
    for (at, (change, expected)) in CHANGES.iter().enumerate() {
        on_each(|world| {
            let request = CreateKey::new(Access::Full)
                .expires(Expiry::At(world.after(2 * HOUR)))
                .limits(SetLimits::new().rate(Rate::new(100, HOUR).unwrap()));
            let (keys, issued) = world.owner_with("org", CreateOwner::with_key(request));
            let verified = presented(world, &issued, inside()).unwrap();
            change(world, &keys, &issued);
            let heard = world.verifier.recheck_from(&verified, inside());
            assert_eq!(heard, presented(world, &issued, inside()), "change {at}");
            let kind = |reason: &RejectReason| reason.kind();
            match (expected, &heard) {
                (None, Ok(now)) => assert_eq!(now.key_id(), issued.key.id),
                (Some(Ok(expected)), Err(VerifyError::Rejected(reason))) => {
                    assert_eq!(kind(reason), kind(expected), "change {at}");
                }
                (Some(Err(())), Err(VerifyError::Unrecognized)) => {}
                _ => panic!("change {at}: {heard:?}"),
            }
        });
    }
}

#[test]
fn what_changed_is_in_the_answer() {
    let world = World::new();
    let (keys, first) = world.owner("org");
    let verified = world.verifier.verify(first.token.expose()).unwrap();
    let second = keys.rotate(first.key.id, Rotate::with_grace(HOUR)).unwrap();
    let narrow = UpdateOwner::new().max_access(Access::ReadOnly);
    let _ = world.admin.update_owner(&owner("org"), narrow).unwrap();
    let now = world.verifier.recheck(&verified).unwrap();
    assert!(!now.is_current() && now.ends_at() == Some(world.after(HOUR)));
    assert_eq!(now.generation(), verified.generation());
    let write = world.verifier.permission("links:write").unwrap();
    assert!(verified.allows(write) && !now.allows(write));
    let newest = world.verifier.verify(second.token.expose()).unwrap();
    assert_eq!(world.verifier.recheck(&newest), Ok(newest));
    assert_eq!(world.verifier.recheck(&now), Ok(now));
}

/// A use that is refused for a rate or a quota is no reason to cut off a connection, and asking takes
/// nothing.
#[test]
fn it_takes_nothing_and_ignores_what_is_used_up() {
    let world = World::new();
    let limits = |uses| {
        let rate = Rate::new(uses, HOUR).unwrap();
        SetLimits::new().rate(rate).quota(Quota::one_time(u64::from(uses)).unwrap())
    };
    let key = CreateKey::new(Access::Full).limits(limits(2));
    let (_, issued) = world.owner_with("org", CreateOwner::with_key(key).limits(limits(5)));
    let token = issued.token.expose();
    let verified = world.verifier.verify(token).unwrap();
    let left = |verified: &VerifiedKey| verified.quota().unwrap().remaining;
    assert_eq!(left(&verified), 1);
    for _ in 0..10 {
        let now = world.verifier.recheck(&verified).unwrap();
        assert_eq!((now.rate().unwrap().remaining, left(&now)), (1, 1));
    }
    assert!(world.verifier.verify(token).is_ok());
    assert!(world.verifier.verify(token).is_err());
    let now = world.verifier.recheck(&verified).unwrap();
    assert_eq!((now.rate().unwrap().remaining, left(&now)), (0, 0));
}

#[test]
fn without_an_address_a_key_of_some_networks_is_refused() {
    let world = World::new();
    let (keys, issued) = world.owner("org");
    let verified = world.verifier.verify(issued.token.expose()).unwrap();
    let networks = SetLimits::new().networks(["192.0.2.0/24".parse().unwrap()]);
    let _ = keys.update(issued.key.id, UpdateKey::new().limits(networks)).unwrap();
    let missing = Err(VerifyError::Rejected(RejectReason::AddressMissing));
    assert_eq!(world.verifier.recheck(&verified), missing);
    assert!(world.verifier.recheck_from(&verified, inside()).is_ok());
}

#[test]
fn it_is_no_use() {
    use keyhasp::UsageSettings;
    let world = World::with(
        |builder| builder.usage(UsageSettings::new().counts()),
        keyhasp::backend::Memory::new(),
    );
    let (keys, issued) = world.owner("org");
    let verified = world.verifier.verify(issued.token.expose()).unwrap();
    let _ = keys.deactivate(issued.key.id).unwrap();
    for _ in 0..3 {
        assert!(world.verifier.recheck(&verified).is_err());
    }
    let _ = keys.activate(issued.key.id).unwrap();
    for _ in 0..3 {
        assert!(world.verifier.recheck(&verified).is_ok());
    }
    let shown = keys.list(&ListKeys::new()).unwrap().items.remove(0).usage.unwrap();
    assert_eq!((shown.accepted, shown.rejected.total()), (Some(1), 0));
}

#[test]
fn another_store_and_a_closed_one_refuse() {
    let (world, other) = (World::new(), World::new());
    let (_, issued) = world.owner("org");
    let verified = world.verifier.verify(issued.token.expose()).unwrap();
    assert_eq!(other.verifier.recheck(&verified), Err(VerifyError::Unrecognized));
    world.store.close().unwrap();
    let closed = Err(VerifyError::Unavailable(Unavailable::Closed));
    assert_eq!(world.verifier.recheck(&verified), closed);
}

/// Rejects every key by a rule of its own.
#[derive(Debug)]
struct Stricter(Arc<dyn KeyStore>);

impl StoreLayer for Stricter {
    fn inner(&self) -> &dyn KeyStore {
        &*self.0
    }

    fn recheck_from(&self, _: &VerifiedKey, _: Option<IpAddr>) -> Result<VerifiedKey, VerifyError> {
        Err(VerifyError::Rejected(RejectReason::Blocked))
    }
}

#[test]
fn a_store_around_the_store_has_its_say() {
    let world = World::new();
    let (_, issued) = world.owner("org");
    let stricter = Verifier::new(Arc::new(Stricter(Arc::clone(&world.store))));
    let verified = stricter.verify(issued.token.expose()).unwrap();
    let blocked = Err(VerifyError::Rejected(RejectReason::Blocked));
    assert_eq!(stricter.recheck(&verified), blocked);
    assert_eq!(stricter.recheck_from(&verified, inside()), blocked);
}

/// A prefix that the store no longer accepts.
#[test]
fn a_prefix_that_is_gone_is_unknown() {
    let world = World::new();
    let key = CreateKey::new(Access::Full).prefix(prefix("acme_test"));
    let (_, issued) = world.owner_with("org", CreateOwner::with_key(key));
    let verified = world.verifier.verify(issued.token.expose()).unwrap();
    let _ = world.admin.revoke(issued.key.id).unwrap();
    assert!(matches!(world.verifier.recheck(&verified), Err(VerifyError::Rejected(_))));
    let only = keyhasp::ChangeRules::new().prefixes([prefix("acme")]);
    let _ = world.admin.change_rules(only).unwrap();
    assert_eq!(world.verifier.recheck(&verified), Err(VerifyError::Unrecognized));
}
