//! Authority: which caller may do what, and what belongs to another owner.

#![allow(clippy::unwrap_used, clippy::panic)] // It is a test.

use std::sync::Arc;

use crate::common::{HOUR, World, owner};
use keyhasp::authority::{Actor, Authority, Role};
use keyhasp::invalid::Problem;
use keyhasp::key::RejectReason;
use keyhasp::store::{ForbiddenReason, Resource, SettingsChange, StateProblem};
use keyhasp::{
    Access, AdminKeys, ChangeRules, CreateKey, CreateOwner, DelegatedKeys, Error, Expiry, KeyId,
    ListEvents, ListKeys, NumericId, NumericIdChoice, OwnerKeys, Rotate, StoreRules, UpdateKey,
    UpdateOwner,
};
use serde_json::json;

fn is_not_found<T>(result: Result<T, Error>, what: Resource) -> bool {
    matches!(result, Err(Error::NotFound(found)) if found == what)
}

fn denied<T>(result: Result<T, Error>) -> ForbiddenReason {
    match result {
        Err(Error::Forbidden(denied)) => denied,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("allowed"),
    }
}

fn limited(patterns: &[&str]) -> Access {
    Access::limited(patterns).unwrap()
}

/// A caller named as the store would make events that look like the store's own. No handle has that
/// name, and no authority that was made without one acts.
#[test]
fn no_caller_is_named_as_the_store() {
    let world = World::new();
    let (_, issued) = world.owner("org");
    let verified = world.verifier.verify(issued.token.expose()).unwrap();
    let last = || world.admin.wait_for_event(0, std::time::Duration::ZERO).unwrap();
    let before = last();
    for name in ["keyhasp", "KeyHasp", " keyhasp "] {
        let store = || Arc::clone(&world.store);
        let handles = [
            AdminKeys::new(store(), name).map(drop),
            OwnerKeys::new(store(), owner("org"), name).map(drop),
            DelegatedKeys::new(store(), &verified, name).map(drop),
        ];
        for refused in handles {
            let error = refused.unwrap_err();
            assert_eq!(error.field(), "actor");
            assert_eq!(error.problem(), &Problem::Reserved { name: "keyhasp" });
        }
        let by = Authority::new(Role::Administrator, Actor::new(name).unwrap());
        let error = store().create_owner(&by, &owner("new"), &CreateOwner::without_key());
        assert!(matches!(error, Err(Error::Invalid(_))), "{error:?}");
        assert!(matches!(store().events(&by, &ListEvents::new()), Err(Error::Invalid(_))));
    }
    assert_eq!(last(), before, "a refused call leaves no event");
    // Events of the store itself are found by its name.
    assert!(world.admin.events(&ListEvents::new().actor("keyhasp")).is_ok());
    assert!(AdminKeys::new(Arc::clone(&world.store), "keyhasp-cli").is_ok());
}

/// Another owner's key answers exactly as one that doesn't exist.
#[test]
fn what_belongs_to_another_is_not_found() {
    let world = World::new();
    let request = CreateKey::new(Access::Full).numeric_id(NumericIdChoice::Next);
    let (_, theirs) = world.owner_with("them", CreateOwner::with_key(request));
    let (mine, _) = world.owner("me");
    let external = theirs.key.numeric_id.unwrap();
    for (id, external) in
        [(theirs.key.id, external), (KeyId::from_u128(7), NumericId::new(999).unwrap())]
    {
        assert!(is_not_found(mine.get(id), Resource::Key));
        assert!(is_not_found(mine.find(external), Resource::Key));
        assert!(is_not_found(mine.update(id, UpdateKey::new().name("x")), Resource::Key));
        assert!(is_not_found(mine.extend_expiry(id, Expiry::Never), Resource::Key));
        assert!(is_not_found(mine.rotate(id, Rotate::new()), Resource::Key));
        assert!(is_not_found(mine.invalidate_previous_tokens(id), Resource::Key));
        assert!(is_not_found(mine.deactivate(id), Resource::Key));
        assert!(is_not_found(mine.activate(id), Resource::Key));
        assert!(is_not_found(mine.revoke(id), Resource::Key));
        assert!(is_not_found(mine.reveal_token(id), Resource::Key));
    }
    let asked = ListKeys::new().owner(owner("them"));
    assert!(is_not_found(mine.list(&asked), Resource::Owner));
    assert!(is_not_found(mine.count(&asked), Resource::Owner));
    assert!(is_not_found(mine.events(&ListEvents::new().owner(owner("them"))), Resource::Owner));
    assert_eq!(mine.list(&ListKeys::new()).unwrap().items.len(), 1);
    let events = mine.events(&ListEvents::new()).unwrap().items;
    assert!(events.iter().all(|event| event.owner == Some(owner("me"))));
    let nobody = OwnerKeys::new(Arc::clone(&world.store), owner("nobody"), "x").unwrap();
    assert!(is_not_found(nobody.create(CreateKey::new(Access::Full)), Resource::Owner));
}

#[test]
fn what_an_administrator_set_is_narrowed_never_widened() {
    let world = World::new();
    let access = limited(&["links:*", "domains:read"]);
    let request = CreateKey::new(access).expires(Expiry::At(world.after(10 * HOUR)));
    let (keys, set) = world.owner_with("org", CreateOwner::with_key(request));
    let id = set.key.id;
    let update = |update| keys.update(id, update);
    let wider = denied(update(UpdateKey::new().access(Access::Full)));
    assert_eq!(wider, ForbiddenReason::SetByAdministrator { field: "access" });
    update(UpdateKey::new().access(limited(&["links:read"]))).unwrap();
    // Narrowed is not its own: it doesn't widen back.
    denied(update(UpdateKey::new().access(limited(&["links:*"]))));
    for expiry in [Expiry::At(world.after(11 * HOUR)), Expiry::Never] {
        let later = denied(update(UpdateKey::new().expires(expiry)));
        assert_eq!(later, ForbiddenReason::SetByAdministrator { field: "expiry" });
        denied(keys.extend_expiry(id, expiry));
    }
    update(UpdateKey::new().expires(Expiry::At(world.after(HOUR)))).unwrap();
    denied(update(UpdateKey::new().expires(Expiry::At(world.after(2 * HOUR)))));
    // What the owner has set itself is its own.
    let own = CreateKey::new(limited(&["links:read"])).expires(Expiry::At(world.after(HOUR)));
    let own = keys.create(own).unwrap().key.id;
    keys.update(own, UpdateKey::new().access(Access::Full).expires(Expiry::Never)).unwrap();
}

#[test]
fn trials_are_an_administrators() {
    let world = World::new();
    let (keys, _) = world.owner("org");
    let trial = || CreateKey::trial(Access::Full, Expiry::At(world.after(HOUR)));
    assert_eq!(denied(keys.create(trial())), ForbiddenReason::AdministratorOnly);
    let issued = world.admin.create(&owner("org"), trial()).unwrap();
    let id = issued.key.id;
    assert_eq!(denied(keys.extend_expiry(id, Expiry::Never)), ForbiddenReason::AdministratorOnly);
    keys.update(id, UpdateKey::new().expires(Expiry::At(world.after(HOUR / 2)))).unwrap();
    world.admin.extend_expiry(id, Expiry::At(world.after(2 * HOUR))).unwrap();
    let verified = world.verifier.verify(issued.token.expose()).unwrap();
    let delegate = DelegatedKeys::new(Arc::clone(&world.store), &verified, "ci").unwrap();
    assert_eq!(denied(delegate.get(id)), ForbiddenReason::TrialKey);
    world.admin.convert_trial(id, Expiry::Never).unwrap();
    assert!(delegate.get(id).is_ok());
    let again = world.admin.convert_trial(id, Expiry::Never);
    assert!(matches!(again, Err(Error::State(StateProblem::NotTrial))));
}

#[test]
fn a_block_is_not_the_owners_to_lift() {
    let world = World::new();
    let (keys, issued) = world.owner("org");
    let id = issued.key.id;
    keys.deactivate(id).unwrap();
    let blocked = world.admin.with_reason("leaked").unwrap().block(id).unwrap().whole().unwrap();
    let switch = blocked.blocked.clone().unwrap();
    assert_eq!((switch.by.as_str(), switch.reason.unwrap().as_str()), ("root", "leaked"));
    let active = keys.activate(id).unwrap();
    assert_eq!(active.state, keyhasp::State::Blocked);
    keys.deactivate(id).unwrap();
    // Lifting it gives back the owner's own setting.
    assert_eq!(world.admin.unblock(id).unwrap().state, keyhasp::State::Deactivated);
    // Setting a switch to what it is changes nothing and never conflicts.
    let version = world.admin.get(id).unwrap().version;
    let stale = world.admin.if_version(issued.key.version);
    assert_eq!(stale.unblock(id).unwrap().version, version);
    assert!(matches!(stale.block(id), Err(Error::Conflict { .. })));
}

/// A verified key acts for as long as it would verify, and within what it may do.
#[test]
fn a_delegate_stays_within_the_acting_key() {
    let world = World::new();
    let acting = CreateKey::new(limited(&["links:*"]));
    let (keys, acting) = world.owner_with("org", CreateOwner::with_key(acting));
    let verified = world.verifier.verify(acting.token.expose()).unwrap();
    let delegate = DelegatedKeys::new(Arc::clone(&world.store), &verified, "ci").unwrap();

    let within = delegate.create(CreateKey::new(limited(&["links:read"]))).unwrap().key.id;
    for access in [Access::Full, Access::ReadOnly, limited(&["domains:read"])] {
        let beyond = delegate.create(CreateKey::new(access.clone()));
        assert_eq!(denied(beyond), ForbiddenReason::BeyondActingKey);
        assert_eq!(
            denied(delegate.update(within, UpdateKey::new().access(access))),
            ForbiddenReason::BeyondActingKey
        );
    }
    let wide = keys.create(CreateKey::new(Access::Full)).unwrap().key.id;
    let beyond = [
        denied(delegate.rotate(wide, Rotate::new())),
        denied(delegate.update(wide, UpdateKey::new().access(limited(&["links:read"])))),
        denied(delegate.activate(wide)),
        denied(delegate.extend_expiry(wide, Expiry::Never)),
        denied(delegate.reveal_token(wide)),
    ];
    assert_eq!(beyond, [ForbiddenReason::BeyondActingKey; 5]);
    // Ending is always allowed.
    delegate.deactivate(wide).unwrap();
    delegate.revoke(wide).unwrap();

    // The owner's maximum access bounds it too.
    let max_access = UpdateOwner::new().max_access(limited(&["domains:*"]));
    world.admin.update_owner(&owner("org"), max_access).unwrap();
    assert_eq!(denied(delegate.rotate(within, Rotate::new())), ForbiddenReason::BeyondActingKey);
    world.admin.update_owner(&owner("org"), UpdateOwner::new().max_access(Access::Full)).unwrap();

    // Each call looks again at the acting key: switch, generation, owner.
    let rejected_for = |rejected_for| ForbiddenReason::ActingKeyRejected(rejected_for);
    world.admin.suspend_owner(&owner("org")).unwrap();
    assert_eq!(denied(delegate.get(within)), rejected_for(Some(RejectReason::Suspended)));
    world.admin.resume_owner(&owner("org")).unwrap();
    keys.deactivate(acting.key.id).unwrap();
    assert_eq!(denied(delegate.get(within)), rejected_for(Some(RejectReason::Deactivated)));
    keys.activate(acting.key.id).unwrap();
    keys.rotate(acting.key.id, Rotate::with_grace(HOUR)).unwrap();
    assert!(delegate.get(within).is_ok());
    world.clock.advance(HOUR);
    assert_eq!(denied(delegate.get(within)), rejected_for(Some(RejectReason::Superseded)));
    // The next change of the record drops what ran out.
    keys.update(acting.key.id, UpdateKey::new().name("acting")).unwrap();
    assert_eq!(denied(delegate.get(within)), rejected_for(None));
}

#[test]
fn a_delegates_events_name_the_acting_key() {
    let world = World::new();
    let (_, acting) = world.owner("org");
    let verified = world.verifier.verify(acting.token.expose()).unwrap();
    let delegate = DelegatedKeys::new(Arc::clone(&world.store), &verified, "ci").unwrap();
    let delegate = delegate.with_reason("nightly").unwrap().with_correlation_id("run-7").unwrap();
    delegate.create(CreateKey::new(Access::Full).name("job")).unwrap();
    let events = world.admin.events(&ListEvents::new().actor("ci")).unwrap().items;
    let shown = serde_json::to_value(&events[0]).unwrap();
    assert_eq!(shown["kind"], "key_created");
    assert_eq!(shown["authority"]["role"], "delegate");
    assert_eq!(shown["authority"]["key"], acting.key.id.to_string());
    assert_eq!(shown["authority"]["reason"], "nightly");
    assert_eq!(shown["authority"]["correlation_id"], "run-7");
    assert!(!shown.to_string().contains("job"), "events don't show names");
}

#[test]
fn numbers_of_keys_and_last_keys_are_guarded() {
    let rules = StoreRules { unique_names: true, keep_standard_key: true, ..StoreRules::default() };
    let world = World::with(|builder| builder.rules(rules), keyhasp::backend::Memory::new());
    let first = CreateKey::new(Access::Full).name("ci");
    let (keys, first) = world.owner_with("org", CreateOwner::with_key(first).max_keys(2));
    let id = first.key.id;
    assert!(matches!(keys.revoke(id), Err(Error::LastStandardKey)));
    let same = keys.create(CreateKey::new(Access::Full).name("ci"));
    assert!(matches!(same, Err(Error::NameTaken(taken)) if taken == id));
    let second = keys.create(CreateKey::new(Access::Full).name("cd")).unwrap();
    let third = keys.create(CreateKey::new(Access::Full));
    assert!(matches!(third, Err(Error::TooManyKeys { limit: 2 })));
    keys.revoke(id).unwrap();
    // Revoked keys free their name and their place.
    keys.update(second.key.id, UpdateKey::new().name("ci")).unwrap();
    assert!(matches!(keys.revoke_all(None), Err(Error::LastStandardKey)));
    let all = keys.revoke_all(Some(CreateKey::new(Access::Full).name("ci"))).unwrap();
    assert_eq!(all.revoked, 1);
    assert!(world.verifier.verify(all.replacement.unwrap().token.expose()).is_ok());
    let without = world.admin.create_owner(&owner("none"), CreateOwner::without_key());
    assert!(matches!(without, Err(Error::LastStandardKey)));
    world.admin.suspend_owner(&owner("org")).unwrap();
    world.admin.purge_owner(&owner("org")).unwrap();
    assert!(is_not_found(world.admin.owner(&owner("org")), Resource::Owner));
    let relaxed = StoreRules { keep_standard_key: false, ..rules };
    world.admin.change_rules(ChangeRules::new().rules(relaxed)).unwrap();
    world.admin.create_owner(&owner("none"), CreateOwner::without_key()).unwrap();
    let back = world.admin.change_rules(ChangeRules::new().rules(rules));
    assert!(matches!(back, Err(Error::DataForbid { rule: "keep_standard_key" })));
}

#[test]
fn the_service_checks_settings_itself() {
    let check = |change: &SettingsChange<'_>| match change.new.get("colour") {
        Some(colour) if !colour.is_string() => Err("colour must be a string".to_owned()),
        _ => Ok(()),
    };
    let world =
        World::with(|builder| builder.settings_check(check), keyhasp::backend::Memory::new());
    let owner_request = CreateOwner::with_key(CreateKey::new(Access::Full));
    let (keys, first) = world.owner_with("org", owner_request.defaults(json!({"colour": "blue"})));
    assert_eq!(first.key.settings["colour"], "blue");
    let id = first.key.id;
    let bad = keys.update(id, UpdateKey::new().settings(json!({"colour": 1})));
    assert!(matches!(bad, Err(Error::Invalid(invalid)) if invalid.field() == "settings"));
    let red = keys.update(id, UpdateKey::new().settings(json!({"colour": "red"}))).unwrap();
    assert_eq!(red.settings["colour"], "red");
    let back = keys.update(id, UpdateKey::new().settings(json!({"colour": null}))).unwrap();
    assert_eq!(back.settings["colour"], "blue");
    assert!(back.own_settings.is_empty());
}
