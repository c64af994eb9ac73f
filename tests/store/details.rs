//! The data of keys that a store keeps in memory.

#![allow(clippy::unwrap_used)] // It is a test.

use std::sync::Arc;

use keyhasp::backend::Memory;
use keyhasp::key::KeyName;
use keyhasp::store::StoreBuilder;
use keyhasp::{
    Access, CreateKey, CreateOwner, KeyId, KeyStore, NumericIdChoice, UpdateKey, UpdateOwner,
    VerifiedKey,
};
use serde_json::{Value, json};

use crate::common::keep_open::KeepOpen;
use crate::common::{World, builder, clock, owner, prefix};
use crate::each::on_each_with;

const KEPT: [&str; 2] = ["plan", "seats"];

fn keeping(builder: StoreBuilder) -> StoreBuilder {
    builder.key_details(KEPT)
}

/// The details are what the record says, as far as they are kept.
#[track_caller]
fn check(world: &World, verified: &VerifiedKey) -> Value {
    let details = world.verifier.details(verified).unwrap();
    let key = world.admin.get(verified.key_id()).unwrap();
    assert_eq!(details.name(), key.name.as_ref().map(KeyName::as_str));
    assert_eq!(details.numeric_id(), key.numeric_id);
    assert_eq!(details.tags(), &key.tags);
    let of = |name: &str| (name.to_owned(), key.settings.get(name).cloned());
    let shown: Value =
        KEPT.iter().map(|name| of(name)).filter_map(|(name, value)| Some((name, value?))).collect();
    let kept: Value =
        details.settings().map(|(name, value)| (name.to_owned(), value.clone())).collect();
    assert_eq!(kept, shown);
    for name in KEPT {
        assert_eq!(details.setting(name), key.settings.get(name));
    }
    assert_eq!(details.setting("colour"), None);
    shown
}

#[test]
fn they_follow_each_change_of_the_key_and_its_owner() {
    on_each_with(keeping, |world| {
        let request = CreateOwner::with_key(CreateKey::new(Access::Full))
            .defaults(json!({"plan": "free", "colour": "blue"}));
        let (keys, other) = world.owner_with("org", request);
        let other = world.verifier.verify(other.token.expose()).unwrap();
        let key = CreateKey::new(Access::Full)
            .name("build server")
            .tags(["ci"])
            .numeric_id(NumericIdChoice::Next)
            .settings(json!({"colour": "red", "seats": 3}));
        let issued = keys.create(key).unwrap();
        let id = issued.key.id;
        let verified = world.verifier.verify(issued.token.expose()).unwrap();
        assert_eq!(check(world, &verified), json!({"plan": "free", "seats": 3}));
        assert_eq!(check(world, &other), json!({"plan": "free"}));
        let set = |settings| UpdateKey::new().settings(settings);
        let _ = keys.update(id, UpdateKey::new().name("laptop")).unwrap();
        assert_eq!(check(world, &verified), json!({"plan": "free", "seats": 3}));
        let _ = keys.update(id, set(json!({"plan": "own", "seats": null}))).unwrap();
        assert_eq!(check(world, &verified), json!({"plan": "own"}));
        let owners = |update: UpdateOwner| {
            let _ = world.admin.update_owner(&owner("org"), update).unwrap();
        };
        owners(UpdateOwner::new().defaults(json!({"plan": "team", "seats": 5})));
        assert_eq!(check(world, &verified), json!({"plan": "own", "seats": 5}));
        assert_eq!(check(world, &other), json!({"plan": "team", "seats": 5}));
        owners(UpdateOwner::new().fixed_defaults(["plan"]));
        assert_eq!(check(world, &verified), json!({"plan": "team", "seats": 5}));
        let _ = world.admin.update(id, set(json!({"plan": "enterprise"}))).unwrap();
        assert_eq!(check(world, &verified), json!({"plan": "enterprise", "seats": 5}));
        owners(UpdateOwner::new().defaults(json!({"plan": null, "seats": null})));
        assert_eq!(check(world, &verified), json!({"plan": "enterprise"}));
        // What a key is kept for is no part of whether it is good.
        let _ = keys.revoke(id).unwrap();
        check(world, &verified);
        world.admin.purge(id).unwrap();
        assert_eq!(world.verifier.details(&verified), None);
        check(world, &other);
        let _ = keys.revoke_all(None).unwrap();
        check(world, &other);
        let _ = world.admin.suspend_owner(&owner("org")).unwrap();
        check(world, &other);
        world.admin.purge_owner(&owner("org")).unwrap();
        assert_eq!(world.verifier.details(&other), None);
        // Another owner of the id has none of the keys of before.
        let (_, again) = world.owner("org");
        let again = world.verifier.verify(again.token.expose()).unwrap();
        assert_eq!(world.verifier.details(&other), None);
        assert_eq!(check(world, &again), json!({}));
    });
}

#[test]
fn they_are_read_at_the_opening_and_after_a_repair() {
    let backend = Arc::new(KeepOpen::new(Memory::new()));
    let clock = clock();
    let open = |seed| {
        let builder = keeping(builder(&clock, seed));
        Arc::new(builder.open_on(Arc::<KeepOpen<Memory>>::clone(&backend)).unwrap())
    };
    let store = open(1);
    let world = World::of(Arc::clone(&store) as Arc<dyn KeyStore>, Arc::clone(&clock));
    let key = CreateKey::new(Access::Full).settings(json!({"seats": 3})).name("first");
    let request = CreateOwner::with_key(key).defaults(json!({"plan": "free"}));
    let (_, issued) = world.owner_with("org", request);
    let ids: Vec<KeyId> = (0..2_000)
        .map(|n| {
            let _ = world.admin.create_owner(&owner(&format!("o{n}")), CreateOwner::without_key());
            let named = CreateKey::new(Access::Full).name(format!("n{n}"));
            world.admin.create(&owner(&format!("o{n}")), named).unwrap().key.id
        })
        .collect();
    let verified = world.verifier.verify(issued.token.expose()).unwrap();
    store.repair().unwrap();
    assert_eq!(check(&world, &verified), json!({"plan": "free", "seats": 3}));
    drop((world, store));
    let store = open(2);
    let world = World::of(Arc::clone(&store) as Arc<dyn KeyStore>, Arc::clone(&clock));
    assert_eq!(check(&world, &verified), json!({"plan": "free", "seats": 3}));
    // All pages of keys and of owners were read.
    for id in ids {
        let key = world.admin.get(id).unwrap();
        let token = keyhasp::OwnerKeys::new(Arc::clone(&world.store), key.owner, "alice").unwrap();
        let rotated = token.rotate(id, keyhasp::Rotate::new()).unwrap();
        let verified = world.verifier.verify(rotated.token.expose()).unwrap();
        assert_eq!(
            world.verifier.details(&verified).unwrap().name(),
            key.name.as_ref().map(KeyName::as_str)
        );
    }
}

#[test]
fn without_the_setting_there_are_none() {
    let world = World::new();
    let (_, issued) = world.owner("org");
    let verified = world.verifier.verify(issued.token.expose()).unwrap();
    assert_eq!(world.verifier.details(&verified), None);
    // With no settings named, there are name and number alone.
    let none: [&str; 0] = [];
    let world = World::with(|builder| builder.key_details(none), Memory::new());
    let key = CreateKey::new(Access::Full).name("n").settings(json!({"plan": 1}));
    let (_, issued) = world.owner_with("org", CreateOwner::with_key(key));
    let verified = world.verifier.verify(issued.token.expose()).unwrap();
    let details = world.verifier.details(&verified).unwrap();
    assert_eq!((details.name(), details.settings().count()), (Some("n"), 0));
}

#[test]
fn a_verifier_of_another_environment_shows_none() {
    let world = World::with(keeping, Memory::new());
    let (_, issued) = world.owner("org");
    let verified = world.verifier.verify(issued.token.expose()).unwrap();
    let sandbox = world.verifier.with_prefixes([prefix("acme_test")]).unwrap();
    assert!(world.verifier.details(&verified).is_some());
    assert_eq!(sandbox.details(&verified), None);
}
