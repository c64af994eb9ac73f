//! Lifetimes: keys live no longer than their owner and the store allow.

#![allow(clippy::panic, clippy::unwrap_used)]

use std::time::Duration;

use keyhasp::event::Fields;
use keyhasp::key::{Expiry, Lifetime, StoreRules};
use keyhasp::store::ForbiddenReason;
use keyhasp::{
    Access, ChangeRules, CreateKey, CreateOwner, DelegatedKeys, Error, ListEvents, Timestamp,
    UpdateKey, UpdateOwner,
};

use crate::common::{HOUR, owner};
use crate::each::{on_each, on_each_with};

fn lifetime(max: Option<Duration>, default: Option<Duration>) -> Lifetime {
    Lifetime::new(max, default).unwrap()
}

fn full() -> CreateKey {
    CreateKey::new(Access::Full)
}

/// The latest expiry that the caller was told.
fn latest<T: std::fmt::Debug>(result: Result<T, Error>) -> Timestamp {
    match result.unwrap_err() {
        Error::Forbidden(ForbiddenReason::BeyondLifetime { latest }) => latest,
        other => panic!("{other}"),
    }
}

/// The way around a short key: another one without its end.
#[test]
fn an_owner_makes_no_key_that_lives_longer() {
    on_each(|world| {
        let bounded = CreateOwner::with_key(full()).lifetime(lifetime(Some(HOUR * 2), Some(HOUR)));
        let (keys, first) = world.owner_with("org", bounded);
        let (born, end) = (world.now(), world.after(HOUR * 2));
        // Without an expiry a key gets the default, an administrator's too.
        assert_eq!(first.key.expires_at, Some(world.after(HOUR)));
        let id = keys.create(full()).unwrap().key.id;
        assert_eq!(keys.get(id).unwrap().expires_at, Some(world.after(HOUR)));
        let too_late = Expiry::At(end.saturating_add(Duration::from_millis(1)));
        let before = (keys.list(&keyhasp::ListKeys::new()).unwrap(), keys.owner().unwrap());
        for expiry in [Expiry::Never, too_late] {
            assert_eq!(latest(keys.create(full().expires(expiry))), end);
            assert_eq!(latest(keys.extend_expiry(id, expiry)), end);
            assert_eq!(latest(keys.update(id, UpdateKey::new().expires(expiry))), end);
            assert_eq!(latest(keys.revoke_all(Some(full().expires(expiry)))), end);
        }
        let verified = world.verifier.verify(first.token.expose()).unwrap();
        let delegate = DelegatedKeys::new(world.store.clone(), &verified, "bot").unwrap();
        assert!(delegate.create(full().expires(Expiry::Never)).is_err());
        assert_eq!((keys.list(&keyhasp::ListKeys::new()).unwrap(), keys.owner().unwrap()), before);
        // Up to the end itself, counted from the creation, also later and once more.
        world.clock.set(world.after(HOUR / 2));
        assert_eq!(keys.extend_expiry(id, Expiry::At(end)).unwrap().expires_at, Some(end));
        assert_eq!(latest(keys.extend_expiry(id, Expiry::Never)), end);
        world.clock.set(end.saturating_add(HOUR));
        let revived = Expiry::At(world.after(HOUR));
        assert_eq!(latest(keys.update(id, UpdateKey::new().expires(revived))), end);
        assert_eq!(born.saturating_add(HOUR * 2), end);
        // An administrator exceeds it.
        let eternal = world.admin.extend_expiry(id, Expiry::Never).unwrap();
        assert_eq!(eternal.expires_at, None);
        let made = world.admin.create(&owner("org"), full().expires(Expiry::Never)).unwrap();
        assert_eq!(made.key.expires_at, None);
        // Narrowing is free, even to what is still beyond.
        let narrowed = Expiry::At(world.after(HOUR * 24));
        let key = world.admin.create(&owner("org"), full().expires(Expiry::Never)).unwrap().key;
        assert!(keys.update(key.id, UpdateKey::new().expires(narrowed)).is_ok());
    });
}

#[test]
fn the_tighter_of_owner_and_rules_holds() {
    let day = HOUR * 24;
    let rules = StoreRules { lifetime: lifetime(Some(day), None), ..StoreRules::default() };
    on_each_with(
        |builder| builder.rules(rules),
        |world| {
            let (keys, _) = world.owner("org");
            // The greatest is the default if there is no other.
            assert_eq!(keys.create(full()).unwrap().key.expires_at, Some(world.after(day)));
            assert_eq!(latest(keys.create(full().expires(Expiry::Never))), world.after(day));
            let set = |lifetime| UpdateOwner::new().lifetime(lifetime);
            for (of_owner, most, default) in [
                (lifetime(Some(HOUR), None), HOUR, HOUR),
                (lifetime(Some(day * 2), None), day, day),
                (lifetime(Some(day * 2), Some(day * 2)), day, day),
                (lifetime(None, Some(HOUR)), day, HOUR),
                (Lifetime::NONE, day, day),
            ] {
                let changed = world.admin.update_owner(&owner("org"), set(of_owner)).unwrap();
                assert_eq!(changed.lifetime, of_owner);
                let event = world.admin.events(&ListEvents::new().limit(1_000)).unwrap();
                assert_eq!(event.items.last().unwrap().fields, Fields::LIFETIME);
                assert_eq!(latest(keys.create(full().expires(Expiry::Never))), world.after(most));
                assert_eq!(keys.create(full()).unwrap().key.expires_at, Some(world.after(default)));
            }
            // A laxer rule holds from then on; keys that are there keep their expiry.
            let id = keys.create(full()).unwrap().key.id;
            let none = ChangeRules::new().rules(StoreRules::default());
            assert_eq!(world.admin.change_rules(none).unwrap().rules.lifetime, Lifetime::NONE);
            assert_eq!(keys.get(id).unwrap().expires_at, Some(world.after(day)));
            assert_eq!(keys.create(full()).unwrap().key.expires_at, None);
            let eternal = keys.extend_expiry(id, Expiry::Never).unwrap();
            let tight = StoreRules { lifetime: lifetime(Some(HOUR), None), ..rules };
            world.admin.change_rules(ChangeRules::new().rules(tight)).unwrap();
            assert_eq!(keys.get(id).unwrap(), eternal);
        },
    );
}
