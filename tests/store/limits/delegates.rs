//! A delegate with a limited key doesn't get a key without those limits.

use std::sync::Arc;
use std::time::Duration;

use keyhasp::store::KeyAction;
use keyhasp::{
    Access, CreateKey, DelegatedKeys, ForbiddenReason, Issued, KeyId, OwnerKeys, Quota, Rate,
    Rotate, SetLimits, Timestamp, UpdateKey, UpdateOwner,
};

use crate::common::{HOUR, World, owner};
use crate::limits::{denied, networks, none, on_each, rate, update};

/// An owner and its acting key, which is limited only once the verified key is there.
fn acting(world: &World, limits: SetLimits) -> (OwnerKeys, Issued, DelegatedKeys) {
    let (keys, issued) = world.owner("org");
    let verified = world.verifier.verify(issued.token.expose()).unwrap();
    let delegate = DelegatedKeys::new(Arc::clone(&world.store), &verified, "ci").unwrap();
    keys.update(issued.key.id, update(limits)).unwrap();
    (keys, issued, delegate)
}

fn quota(uses: u64) -> Quota {
    Quota::one_time(uses).unwrap()
}

#[test]
fn what_it_makes_and_touches_is_limited_as_its_own_key() {
    let home = || SetLimits::new().networks(networks(&["192.0.2.0/24"]));
    let limits = [
        (
            home(),
            SetLimits::new().networks(networks(&["192.0.2.7"])),
            SetLimits::new().networks(networks(&["192.0.0.0/16"])),
        ),
        (
            SetLimits::new().rate(rate(10)),
            SetLimits::new().rate(rate(9)),
            SetLimits::new().rate(rate(11)),
        ),
        (
            SetLimits::new().quota(quota(10)),
            SetLimits::new().quota(quota(9)),
            SetLimits::new().quota(quota(11)),
        ),
    ];
    for (own, tighter, looser) in limits {
        on_each(|world| {
            let (keys, _, delegate) = acting(world, own.clone());
            let create =
                |limits: &SetLimits| CreateKey::new(Access::ReadOnly).limits(limits.clone());
            for limits in [&looser, &SetLimits::new()] {
                assert_eq!(
                    denied(delegate.create(create(limits))),
                    ForbiddenReason::BeyondActingKey
                );
            }
            let within = delegate.create(create(&tighter)).unwrap().key.id;
            delegate.create(create(&own)).unwrap();
            for limits in [&looser, &none()] {
                let refused = delegate.update(within, update(limits.clone()));
                assert_eq!(denied(refused), ForbiddenReason::BeyondActingKey);
            }
            delegate.update(within, UpdateKey::new().name("mine")).unwrap();
            delegate.rotate(within, Rotate::new()).unwrap();
            let free = keys.create(create(&SetLimits::new())).unwrap().key.id;
            assert_eq!(refusals(&delegate, free), [ForbiddenReason::BeyondActingKey; 5]);
            // Not even by limiting it: what it was before the call counts too.
            let refused = delegate.update(free, update(tighter.clone()));
            assert_eq!(denied(refused), ForbiddenReason::BeyondActingKey);
            // Ending is always allowed.
            delegate.deactivate(free).unwrap();
            delegate.revoke(free).unwrap();
        });
    }
}

fn refusals(delegate: &DelegatedKeys, key: KeyId) -> [ForbiddenReason; 5] {
    [
        denied(delegate.rotate(key, Rotate::new())),
        denied(delegate.update(key, UpdateKey::new().name("mine"))),
        denied(delegate.activate(key)),
        denied(delegate.extend_expiry(key, keyhasp::Expiry::Never)),
        denied(delegate.reveal_token(key)),
    ]
}

/// Also where an owner could, since it set them.
#[test]
fn it_does_not_loosen_lift_or_refill_its_own() {
    on_each(|world| {
        let all = SetLimits::new().rate(rate(10)).networks(networks(&["::/0"])).quota(quota(10));
        let (keys, issued, delegate) = acting(world, all);
        let id = issued.key.id;
        let before = keys.get(id).unwrap();
        for limits in [
            SetLimits::new().clear_rate(),
            SetLimits::new().clear_quota(),
            SetLimits::new().clear_networks(),
            SetLimits::new().rate(rate(11)),
            SetLimits::new().quota(quota(11)),
            SetLimits::new().networks(networks(&["0.0.0.0/0"])),
        ] {
            assert_eq!(
                denied(delegate.update(id, update(limits))),
                ForbiddenReason::BeyondActingKey
            );
        }
        assert_eq!(keys.get(id).unwrap(), before);
        // It may tighten them, which gives no use.
        let tightened = delegate.update(id, update(SetLimits::new().quota(quota(9)))).unwrap();
        let (was, is) = (before.limits.quota.unwrap(), tightened.limits.quota.unwrap());
        assert_eq!((is.by, is.value.quota.uses()), (was.by, 9));
        // A delegate gives none either.
        let by = delegate.authority();
        for action in [KeyAction::RefillQuota, KeyAction::AddToQuota(1)] {
            let refused = world.store.change_key(by, id, &action, None);
            assert_eq!(denied(refused), ForbiddenReason::BeyondActingKey);
        }
        assert_eq!(keys.get(id).unwrap(), tightened);
    });
}

/// A verified key may be older than the limit.
#[test]
fn it_does_not_act_before_its_key_is_accepted() {
    on_each(|world| {
        let later = world.after(HOUR);
        let (_, issued, delegate) = acting(world, SetLimits::new().not_before(later));
        assert_eq!(denied(delegate.get(issued.key.id)), ForbiddenReason::ActingKeyNotYet);
        assert_eq!(
            ForbiddenReason::ActingKeyNotYet.to_string(),
            "the acting key or its owner is not accepted yet; try again after its `not_before`"
        );
        world.clock.advance(HOUR - Duration::from_millis(1));
        assert_eq!(denied(delegate.get(issued.key.id)), ForbiddenReason::ActingKeyNotYet);
        world.clock.advance(Duration::from_millis(1));
        // From then on; when other keys begin is not its limit.
        delegate.create(CreateKey::new(Access::Full)).unwrap();
        let of_owner = |limits| {
            world.admin.update_owner(&owner("org"), UpdateOwner::new().limits(limits)).unwrap();
        };
        of_owner(SetLimits::new().not_before(world.after(HOUR)));
        assert_eq!(denied(delegate.get(issued.key.id)), ForbiddenReason::ActingKeyNotYet);
        of_owner(SetLimits::new().not_before(Timestamp::MIN));
        delegate.get(issued.key.id).unwrap();
        // An owner's limits bound all its keys together: they ask nothing of each.
        let slow = Rate::new(1, HOUR).unwrap();
        of_owner(SetLimits::new().rate(slow).quota(quota(1)).networks(networks(&["::1"])));
        delegate.create(CreateKey::new(Access::Full)).unwrap();
    });
}
