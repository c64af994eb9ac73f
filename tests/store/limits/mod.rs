//! Limits are kept: who sets, tightens and lifts them, and what is told of it.

#![allow(clippy::unwrap_used, clippy::panic)] // It is a test.

mod delegates;
mod law;

use std::time::Duration;

use crate::common::{HOUR, World, owner};
use keyhasp::key::{Limits, SetBy};
use keyhasp::{
    Access, AdminKeys, CreateKey, CreateOwner, Error, Event, EventKind, ForbiddenReason, Key,
    ListEvents, ListKeys, Network, Period, Quota, Rate, SetLimits, Timestamp, UpdateKey,
    UpdateOwner,
};
use serde_json::json;

/// The same on every backend that is here.
fn on_each(test: impl Fn(&World)) {
    test(&World::new());
    #[cfg(feature = "sqlite")]
    {
        let dir = tempfile::tempdir().unwrap();
        test(&World::with(|builder| builder, sqlite(&dir)));
    }
}

#[cfg(feature = "sqlite")]
fn sqlite(dir: &tempfile::TempDir) -> keyhasp::backend::sqlite::Sqlite {
    use keyhasp::backend::sqlite::{Sqlite, SqliteOptions};
    Sqlite::open_or_create(dir.path().join("keys.db"), SqliteOptions::exclusive()).unwrap().0
}

fn networks(text: &[&str]) -> Vec<Network> {
    text.iter().map(|text| text.parse().unwrap()).collect()
}

fn rate(count: u32) -> Rate {
    Rate::new(count, Duration::from_secs(1)).unwrap()
}

fn update(limits: SetLimits) -> UpdateKey {
    UpdateKey::new().limits(limits)
}

fn all(from: Timestamp) -> SetLimits {
    let quota = Quota::each(100, Period::Month).unwrap();
    SetLimits::new()
        .not_before(from)
        .networks(networks(&["192.0.2.0/24"]))
        .rate(rate(10))
        .quota(quota)
}

fn none() -> SetLimits {
    SetLimits::new().clear_not_before().clear_networks().clear_rate().clear_quota()
}

fn denied<T>(result: Result<T, Error>) -> ForbiddenReason {
    match result {
        Err(Error::Forbidden(denied)) => denied,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("allowed"),
    }
}

/// Every event so far.
fn events(admin: &AdminKeys) -> Vec<Event> {
    admin.events(&ListEvents::new().limit(1_000)).unwrap().items
}

fn fields(event: &Event) -> Vec<&'static str> {
    event.fields.names().collect()
}

fn by(limits: &Limits) -> [Option<SetBy>; 4] {
    [
        limits.not_before.map(|limit| limit.by),
        limits.networks.as_ref().map(|limit| limit.by),
        limits.rate.map(|limit| limit.by),
        limits.quota.map(|limit| limit.by),
    ]
}

#[test]
fn limits_set_at_creation_are_answered_and_named() {
    on_each(|world| {
        let from = world.after(HOUR);
        let request = CreateKey::new(Access::Full).limits(all(from));
        let created = CreateOwner::with_key(request.clone()).limits(all(from).clear_quota());
        let created = world.admin.create_owner(&owner("org"), created).unwrap();
        let (of_owner, first) = (created.owner.limits, created.first_key.unwrap().key);
        assert_eq!(by(&first.limits), [Some(SetBy::Administrator); 4]);
        assert_eq!(first.limits.quota.unwrap().value.quota_version, first.version);
        assert_eq!(Limits { quota: None, ..first.limits.clone() }, of_owner);
        let keys = keyhasp::OwnerKeys::new(world.store.clone(), owner("org"), "alice").unwrap();
        let own = keys.create(request).unwrap().key;
        assert_eq!(by(&own.limits), [Some(SetBy::Owner); 4]);
        // As read back, one by one and listed.
        assert_eq!(keys.get(own.id).unwrap().limits, own.limits);
        let listed = keys.list(&ListKeys::new()).unwrap().items;
        assert_eq!(
            listed.iter().map(|key| &key.limits).collect::<Vec<_>>(),
            [&own.limits, &first.limits]
        );
        assert_eq!(keys.owner().unwrap().limits, of_owner);
        for event in events(&world.admin).iter().filter(|event| event.kind == EventKind::KeyCreated)
        {
            let named = ["access", "token", "not_before", "networks", "rate", "quota"];
            assert_eq!(fields(event), named);
        }
        // And as JSON, in a service's answer.
        let shown = serde_json::to_value(&own).unwrap();
        let expected = json!({"value": {"count": 10, "per_ms": 1000, "burst": 10}, "by": "owner"});
        assert_eq!(shown["limits"]["rate"], expected);
        assert_eq!(shown["limits"]["quota"]["value"]["quota_version"], json!(1));
    });
}

/// What one and then another sets, of one key: what is found in the end.
#[test]
fn corners() {
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Who {
        Admin,
        Owner,
    }
    use Who::{Admin, Owner};
    type Corner = (&'static str, Who, SetLimits, Who, SetLimits, Result<bool, &'static str>);
    let at = |millis| Timestamp::from_millis(millis).unwrap();
    let nets = |text: &[&str]| SetLimits::new().networks(networks(text));
    let quota = |uses| SetLimits::new().quota(Quota::one_time(uses).unwrap());
    let each = |uses, every| SetLimits::new().quota(Quota::each(uses, every).unwrap());
    let at_rate = |count| SetLimits::new().rate(rate(count));
    let from = |millis| SetLimits::new().not_before(at(millis));
    let corners: Vec<Corner> = vec![
        ("an owner adds", Owner, SetLimits::new(), Owner, at_rate(1), Ok(true)),
        ("an owner loosens its own", Owner, at_rate(1), Owner, at_rate(2), Ok(true)),
        ("an owner lifts its own", Owner, at_rate(1), Owner, none(), Ok(true)),
        ("nothing is lifted", Owner, SetLimits::new(), Owner, none(), Ok(false)),
        ("an administrator lifts", Owner, at_rate(1), Admin, none(), Ok(true)),
        ("an owner tightens", Admin, at_rate(5), Owner, at_rate(4), Ok(true)),
        ("an owner loosens", Admin, at_rate(5), Owner, at_rate(6), Err("rate")),
        (
            "an owner lifts a rate",
            Admin,
            at_rate(5),
            Owner,
            SetLimits::new().clear_rate(),
            Err("rate"),
        ),
        (
            "a greater burst loosens",
            Admin,
            at_rate(5),
            Owner,
            SetLimits::new().rate(rate(4).with_burst(6).unwrap()),
            Err("rate"),
        ),
        ("the same rate", Admin, at_rate(5), Owner, at_rate(5), Ok(false)),
        ("the same rate by its owner", Owner, at_rate(5), Owner, at_rate(5), Ok(false)),
        ("the same rate again by who set it", Admin, at_rate(5), Admin, at_rate(5), Ok(false)),
        (
            "what an administrator says is an administrator's",
            Owner,
            at_rate(5),
            Admin,
            at_rate(5),
            Ok(true),
        ),
        (
            "a network within",
            Admin,
            nets(&["192.0.2.0/24"]),
            Owner,
            nets(&["192.0.2.64/26"]),
            Ok(true),
        ),
        (
            "a network beside",
            Admin,
            nets(&["192.0.2.0/24"]),
            Owner,
            nets(&["192.0.2.64/26", "192.0.3.1"]),
            Err("networks"),
        ),
        (
            "any network",
            Admin,
            nets(&["192.0.2.0/24"]),
            Owner,
            SetLimits::new().clear_networks(),
            Err("networks"),
        ),
        (
            "any IPv4 isn't any IPv6",
            Admin,
            nets(&["0.0.0.0/0"]),
            Owner,
            nets(&["::/0"]),
            Err("networks"),
        ),
        (
            "the same networks in another order",
            Admin,
            nets(&["192.0.2.0/24", "::1"]),
            Owner,
            nets(&["::1", "::ffff:192.0.2.0/120", "::1"]),
            Ok(false),
        ),
        ("later", Admin, from(5), Owner, from(6), Ok(true)),
        ("sooner", Admin, from(5), Owner, from(4), Err("not_before")),
        ("at once", Admin, from(5), Owner, SetLimits::new().clear_not_before(), Err("not_before")),
        ("fewer uses", Admin, quota(5), Owner, quota(4), Ok(true)),
        ("more uses", Admin, quota(5), Owner, quota(6), Err("quota")),
        (
            "any number of uses",
            Admin,
            quota(5),
            Owner,
            SetLimits::new().clear_quota(),
            Err("quota"),
        ),
        ("uses that are refilled", Admin, quota(5), Owner, each(1, Period::Month), Err("quota")),
        ("uses that aren't", Admin, each(5, Period::Day), Owner, quota(5), Ok(true)),
        (
            "another period",
            Admin,
            each(5, Period::Day),
            Owner,
            each(5, Period::Month),
            Err("quota"),
        ),
        ("the same uses by an owner", Admin, quota(5), Owner, quota(5), Ok(false)),
        ("the same uses by their owner", Owner, quota(5), Owner, quota(5), Ok(false)),
        ("the same uses again by who set them", Admin, quota(5), Admin, quota(5), Ok(false)),
        (
            "one that loosens takes all with it",
            Admin,
            at_rate(5),
            Owner,
            at_rate(6).networks(networks(&["::1"])),
            Err("rate"),
        ),
    ];
    on_each(|world| {
        let (keys, _) = world.owner("org");
        for (name, first, before, second, after, expected) in &corners {
            let key = keys.create(CreateKey::new(Access::Full)).unwrap().key;
            let act = |who: Who, limits: &SetLimits| match who {
                Admin => world.admin.update(key.id, update(limits.clone())),
                Owner => keys.update(key.id, update(limits.clone())),
            };
            let before = act(*first, before).unwrap();
            let told = events(&world.admin).len();
            let heard = act(*second, after);
            let (found, now) = (keys.get(key.id).unwrap(), events(&world.admin).len());
            match expected {
                Ok(true) => {
                    assert_eq!(heard.unwrap(), found, "{name}");
                    assert_eq!((found.version, now), (before.version.next(), told + 1), "{name}");
                }
                Ok(false) => {
                    assert_eq!((heard.unwrap(), now), (found, told), "{name}");
                    assert_eq!(keys.get(key.id).unwrap(), before, "{name}");
                }
                Err(field) => {
                    assert_eq!(
                        denied(heard),
                        ForbiddenReason::SetByAdministrator { field },
                        "{name}"
                    );
                    assert_eq!((found, now), (before, told), "{name}");
                }
            }
        }
    });
}

/// A quota's version is that in which it was last set to another value, refilled or added to.
#[test]
fn a_quota_has_the_version_of_its_last_change() {
    on_each(|world| {
        let (keys, issued) = world.owner("org");
        let id = issued.key.id;
        let set = |uses| update(SetLimits::new().quota(Quota::one_time(uses).unwrap()));
        let moved = |key: Key| key.limits.quota.unwrap().value.quota_version == key.version;
        assert!(moved(keys.update(id, set(100)).unwrap()));
        assert!(moved(keys.update(id, set(90)).unwrap()), "an owner sets its own");
        let kept = keys.update(id, update(SetLimits::new().rate(rate(1)))).unwrap();
        assert!(!moved(kept), "another limit");
        assert!(!moved(world.admin.update(id, set(90)).unwrap()), "an administrator's");
        let before = world.admin.get(id).unwrap();
        assert_eq!(world.admin.update(id, set(90)).unwrap(), before, "the same once more");
        let tightened = keys.update(id, set(80)).unwrap();
        assert!(moved(tightened.clone()));
        assert_eq!(tightened.limits.quota.unwrap().by, SetBy::Administrator);
        denied(keys.update(id, set(90)));
        assert!(moved(world.admin.refill_quota(id).unwrap()));
        assert!(moved(world.admin.add_to_quota(id, 1).unwrap()));
    });
}

#[test]
fn limits_of_owners_are_an_administrators() {
    on_each(|world| {
        let (keys, _) = world.owner("org");
        let id = owner("org");
        let set =
            |limits| world.admin.update_owner(&id, UpdateOwner::new().limits(limits)).unwrap();
        let before = keys.owner().unwrap();
        let limited = set(all(world.now()));
        assert_eq!(by(&limited.limits), [Some(SetBy::Administrator); 4]);
        let count_of = |owner: &keyhasp::Owner| owner.incarnation.quota_version(owner.version);
        assert_eq!(limited.limits.quota.unwrap().value.quota_version, count_of(&limited));
        assert_eq!(world.admin.owner(&id).unwrap(), limited);
        assert_eq!(keys.owner().unwrap().limits, limited.limits);
        let last = || events(&world.admin).pop().unwrap();
        assert_eq!(last().kind, EventKind::OwnerUpdated);
        assert_eq!(fields(&last()), ["not_before", "networks", "rate", "quota"]);
        let told = events(&world.admin).len();
        assert_eq!(set(SetLimits::new().rate(rate(10))), limited, "what is there already");
        assert_eq!(events(&world.admin).len(), told);
        let quota = Quota::each(100, Period::Month).unwrap();
        assert_eq!(set(SetLimits::new().quota(quota)), limited, "the same quota");
        let again = world.admin.refill_owner_quota(&id).unwrap();
        assert_eq!(again.limits.quota.unwrap().value.quota_version, count_of(&again));
        assert_eq!((last().kind, fields(&last())), (EventKind::OwnerQuotaRefilled, vec!["quota"]));
        let again = world.admin.add_to_owner_quota(&id, 7).unwrap();
        assert_eq!(again.limits.quota.unwrap().value.quota_version, count_of(&again));
        assert_eq!((last().kind, fields(&last())), (EventKind::OwnerQuotaAdded, vec!["quota"]));
        assert_eq!(set(none()).limits, before.limits);
        // The owner's own handle has no call for it; nor does the store take it from one.
        let by = keyhasp::authority::Role::Owner { owner: id };
        let by = keyhasp::authority::Authority::new(by, keyhasp::Actor::new("alice").unwrap());
        let update = UpdateOwner::new().limits(SetLimits::new().rate(rate(1)));
        let action = keyhasp::store::OwnerAction::Update(update);
        let refused = world.store.change_owner(&by, &id, &action, None);
        assert_eq!(denied(refused), ForbiddenReason::AdministratorOnly);
    });
}

#[test]
fn bad_input_is_typed_and_changes_nothing() {
    on_each(|world| {
        let (keys, issued) = world.owner("org");
        let many = |n: u8| (0..n).map(|n| Network::new([10, 0, 0, n].into(), 32).unwrap());
        let before =
            (keys.get(issued.key.id).unwrap(), keys.owner().unwrap(), events(&world.admin));
        let id = issued.key.id;
        // No networks at all would be a limit that lets no address in, or lifts the limit.
        for (given, problem) in [(65, "65 given, at most 64 allowed"), (0, "must not be empty")] {
            let bad = || SetLimits::new().rate(rate(1)).networks(many(given));
            let of_owner = UpdateOwner::new().limits(bad());
            let new_owner = CreateOwner::without_key().limits(bad());
            let refused = [
                keys.update(id, update(bad())).unwrap_err(),
                world.admin.update(id, update(bad())).unwrap_err(),
                keys.create(CreateKey::new(Access::Full).limits(bad())).unwrap_err(),
                world.admin.update_owner(&owner("org"), of_owner).unwrap_err(),
                world.admin.create_owner(&owner("new"), new_owner).unwrap_err(),
            ];
            for error in refused {
                let Error::Invalid(invalid) = error else { panic!("{error}") };
                assert_eq!(invalid.field(), "networks");
                assert_eq!(invalid.to_string(), format!("networks: {problem}"));
            }
        }
        let after = (keys.get(id).unwrap(), keys.owner().unwrap(), events(&world.admin));
        assert_eq!(after, before);
        let most = keys.update(id, update(SetLimits::new().networks(many(64)))).unwrap();
        assert_eq!(most.limits.networks.unwrap().value.as_slice().len(), 64);
        // Another version than the one expected is a conflict, unless nothing would change.
        let stale = keys.if_version(before.0.version);
        assert!(matches!(stale.update(id, update(all(world.now()))), Err(Error::Conflict { .. })));
        stale.update(id, update(SetLimits::new().clear_rate())).unwrap();
    });
}

/// A store that is opened again finds them, in records and for its index.
#[cfg(feature = "sqlite")]
#[test]
fn limits_outlive_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::with(|builder| builder, sqlite(&dir));
    let (keys, issued) = world.owner("org");
    let _ = keys.update(issued.key.id, update(all(world.after(HOUR)))).unwrap();
    let limits = UpdateOwner::new().limits(all(world.now()));
    let org = world.admin.update_owner(&owner("org"), limits).unwrap();
    let key = world.admin.get(issued.key.id).unwrap();
    world.store.close().unwrap();
    let store = crate::common::builder(&world.clock, 2).open(sqlite(&dir)).unwrap();
    let again = World::of(std::sync::Arc::new(store), world.clock.clone());
    assert_eq!(again.admin.get(key.id).unwrap(), key);
    assert_eq!(again.admin.owner(&owner("org")).unwrap(), org);
}
