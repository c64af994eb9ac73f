//! Settings have a protector: what an administrator sets or fixes, others can't change or hide.

#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};

use keyhasp::authority::Role;
use keyhasp::key::SettingNames;
use keyhasp::store::{ForbiddenReason, SettingsChange, SettingsOf};
use keyhasp::{Access, CreateKey, CreateOwner, DelegatedKeys, Error, UpdateKey, UpdateOwner};
use serde_json::{Value, json};

use crate::common::{World, owner};
use crate::each::{on_each, on_each_with};

fn set(settings: Value) -> UpdateKey {
    UpdateKey::new().settings(settings)
}

fn is_protected<T>(result: Result<T, Error>) -> bool {
    matches!(result, Err(Error::Forbidden(ForbiddenReason::ProtectedSetting)))
}

#[test]
fn what_an_administrator_set_on_a_key_stays() {
    on_each(|world| {
        let defaults = json!({"colour": "blue", "seats": 1});
        let request = CreateOwner::with_key(CreateKey::new(Access::Full)).defaults(defaults);
        let (keys, first) = world.owner_with("org", request);
        let id = first.key.id;
        keys.update(id, set(json!({"colour": "red", "note": 1}))).unwrap();
        let key = world.admin.update(id, set(json!({"seats": 5}))).unwrap();
        assert_eq!(key.protected_settings, SettingNames::new(["seats"]));
        let verified = world.verifier.verify(first.token.expose()).unwrap();
        let delegate = DelegatedKeys::new(world.store.clone(), &verified, "bot").unwrap();
        // Neither another value nor the owner's default in its place; nothing else goes along.
        for patch in [json!({"seats": 6}), json!({"seats": null}), json!({"colour": 1, "seats": 6})]
        {
            assert!(is_protected(keys.update(id, set(patch.clone()))));
            assert!(is_protected(delegate.update(id, set(patch))));
        }
        assert_eq!(world.admin.get(id).unwrap(), key);
        // A form that saves it as it is changes the rest.
        let green = keys.update(id, set(json!({"seats": 5, "colour": "green"}))).unwrap();
        assert_eq!(
            green.settings,
            *json!({"seats": 5, "colour": "green", "note": 1}).as_object().unwrap()
        );
        // Setting what is there already protects it.
        let pinned = world.admin.update(id, set(json!({"note": 1}))).unwrap();
        assert_eq!(pinned.protected_settings, SettingNames::new(["note", "seats"]));
        assert_eq!(pinned.version, green.version.next());
        assert!(is_protected(keys.update(id, set(json!({"note": 2})))));
        // Removed by an administrator, it is the owner's again.
        let lifted = world.admin.update(id, set(json!({"seats": null}))).unwrap();
        assert_eq!(
            (&lifted.settings["seats"], lifted.protected_settings),
            (&json!(1), SettingNames::new(["note"]))
        );
        assert_eq!(keys.update(id, set(json!({"seats": 9}))).unwrap().settings["seats"], 9);
    });
}

#[test]
fn a_fixed_default_is_neither_changed_nor_hidden() {
    on_each(|world| {
        let request = CreateOwner::with_key(CreateKey::new(Access::Full))
            .defaults(json!({"plan": "free", "colour": "blue"}))
            .fixed_defaults(["plan"]);
        let (keys, first) = world.owner_with("org", request);
        let id = first.key.id;
        assert_eq!(keys.owner().unwrap().fixed_defaults, SettingNames::new(["plan"]));
        let before = keys.get(id).unwrap();
        let richer = json!({"plan": "enterprise"});
        assert!(is_protected(keys.update(id, set(richer.clone()))));
        let create = |settings: &Value| CreateKey::new(Access::Full).settings(settings.clone());
        assert!(is_protected(keys.create(create(&richer))));
        assert!(is_protected(keys.revoke_all(Some(create(&richer)))));
        assert_eq!(keys.get(id).unwrap(), before);
        // The other defaults are there to be overridden. The plan as it is shown isn't kept.
        let red = keys.update(id, set(json!({"plan": "free", "colour": "red"}))).unwrap();
        assert_eq!(red.settings, *json!({"plan": "free", "colour": "red"}).as_object().unwrap());
        assert_eq!(red.own_settings.as_object(), json!({"colour": "red"}).as_object().unwrap());
        // An administrator raises it, for one key or for all.
        let raised = world.admin.update(id, set(richer)).unwrap();
        assert_eq!(raised.settings["plan"], "enterprise");
        assert!(is_protected(keys.update(id, set(json!({"plan": null})))));
        let team = UpdateOwner::new().defaults(json!({"plan": "team"}));
        world.admin.update_owner(&owner("org"), team).unwrap();
        let other = keys.create(CreateKey::new(Access::Full)).unwrap().key;
        assert_eq!(
            (&other.settings["plan"], &keys.get(id).unwrap().settings["plan"]),
            (&json!("team"), &json!("enterprise"))
        );
    });
}

/// An own value that was there before hides the default no more, and returns with its freedom.
#[test]
fn fixing_a_default_takes_effect_on_keys_that_override_it() {
    on_each(|world| {
        let request =
            CreateOwner::with_key(CreateKey::new(Access::Full)).defaults(json!({"plan": "free"}));
        let (keys, first) = world.owner_with("org", request);
        let id = first.key.id;
        keys.update(id, set(json!({"plan": "enterprise"}))).unwrap();
        let fix = |names: &[&str]| UpdateOwner::new().fixed_defaults(names.iter().copied());
        let fixed = world.admin.update_owner(&owner("org"), fix(&["plan"])).unwrap();
        assert_eq!(fixed.version.get(), 2);
        assert_eq!(keys.get(id).unwrap().settings["plan"], "free");
        assert_eq!(keys.list(&keyhasp::ListKeys::new()).unwrap().items[0].settings["plan"], "free");
        assert_eq!(world.admin.update_owner(&owner("org"), fix(&["plan"])).unwrap(), fixed);
        // Its own hidden value may stay or go.
        keys.update(id, set(json!({"plan": "enterprise"}))).unwrap();
        world.admin.update_owner(&owner("org"), fix(&[])).unwrap();
        assert_eq!(keys.get(id).unwrap().settings["plan"], "enterprise");
        world.admin.update_owner(&owner("org"), fix(&["plan"])).unwrap();
        assert!(keys.update(id, set(json!({"plan": null}))).unwrap().own_settings.is_empty());
        // A default that is removed is no longer fixed.
        let gone = UpdateOwner::new().defaults(json!({"plan": null}));
        assert!(world.admin.update_owner(&owner("org"), gone).unwrap().fixed_defaults.is_empty());
        assert_eq!(keys.update(id, set(json!({"plan": 1}))).unwrap().settings["plan"], 1);
        // Only a default can be fixed.
        let before = keys.owner().unwrap();
        let unknown = world.admin.update_owner(&owner("org"), fix(&["plan"])).unwrap_err();
        assert!(
            matches!(&unknown, Error::Invalid(invalid) if invalid.field() == "fixed_defaults"),
            "{unknown}"
        );
        assert_eq!(keys.owner().unwrap(), before);
    });
}

/// The service's check is told who changes what: here a seat count that only an administrator raises.
#[test]
fn the_check_knows_the_role_and_both_values() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let check = {
        let seen = Arc::clone(&seen);
        move |change: &SettingsChange<'_>| {
            let seats =
                |settings: &keyhasp::key::Settings| settings.get("seats").and_then(Value::as_u64);
            let (old, new) = (seats(change.old), seats(change.new));
            seen.lock().unwrap().push((*change.role, change.of, old, new));
            match change.role {
                Role::Administrator => Ok(()),
                _ if new <= old => Ok(()),
                _ => Err("only an administrator raises seats".to_owned()),
            }
        }
    };
    on_each_with(
        |builder| builder.settings_check(check.clone()),
        |world: &World| {
            seen.lock().unwrap().clear();
            let request = CreateOwner::with_key(CreateKey::new(Access::Full));
            let (keys, first) = world.owner_with("org", request.defaults(json!({"seats": 3})));
            let id = first.key.id;
            let raised = keys.update(id, set(json!({"seats": 4}))).unwrap_err();
            assert!(matches!(&raised, Error::Invalid(invalid) if invalid.field() == "settings"));
            let verified = world.verifier.verify(first.token.expose()).unwrap();
            let delegate = DelegatedKeys::new(world.store.clone(), &verified, "bot").unwrap();
            assert!(delegate.update(id, set(json!({"seats": 4}))).is_err());
            let as_owner = Role::Owner { owner: owner("org") };
            let as_delegate =
                Role::Delegate { owner: owner("org"), key: id, generation: verified.generation() };
            assert_eq!(
                *seen.lock().unwrap(),
                [
                    (Role::Administrator, SettingsOf::Owner, None, Some(3)),
                    (Role::Administrator, SettingsOf::Key, None, None),
                    (as_owner, SettingsOf::Key, None, Some(4)),
                    (as_delegate, SettingsOf::Key, None, Some(4)),
                ]
            );
        },
    );
}
