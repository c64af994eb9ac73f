//! What an owner is shown of administrators: that they acted and when; why, if they say so for the
//! owner; never who.

#![allow(clippy::unwrap_used, clippy::panic)] // It is a test.

use std::sync::Arc;
use std::time::Duration;

use keyhasp::key::SetBy;
use keyhasp::{
    Access, AdminKeys, CreateKey, CreateOwner, DelegatedKeys, EventKind, KeyId, ListEvents,
    ListKeys, OwnerKeys, VerifyError,
};
use serde_json::{Value, json};

use crate::common::{World, owner};

const NAME: &str = "mallory.admin@service.example";
const WHY: &str = "fraud case 1742";
const WHY_FOR_OWNER: &str = "a token was found on a forum";
const CORRELATION: &str = "ticket-991";

/// A world whose administrator has a name to hide, and gives a reason.
fn world() -> (World, OwnerKeys, KeyId) {
    let mut world = World::new();
    let admin = AdminKeys::new(Arc::clone(&world.store), NAME).unwrap();
    world.admin = admin.with_reason(WHY).unwrap().with_correlation_id(CORRELATION).unwrap();
    let (keys, issued) = world.owner("org");
    (world, keys, issued.key.id)
}

fn json(of: &impl serde::Serialize) -> Value {
    serde_json::to_value(of).unwrap()
}

fn shows_nothing(shown: &str) {
    for secret in [NAME, "mallory", WHY, CORRELATION] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}

#[test]
fn a_block_is_shown_without_name_and_reason() {
    let (world, keys, id) = world();
    world.clock.advance(Duration::from_secs(5));
    let at = world.now();
    let blocked = world.admin.block(id).unwrap().whole().unwrap();
    assert_eq!(blocked.blocked.as_ref().unwrap().by.as_str(), NAME);
    assert_eq!(blocked.blocked.as_ref().unwrap().reason.as_ref().unwrap().as_str(), WHY);

    let key = keys.get(id).unwrap();
    let switch = key.blocked.clone().unwrap();
    assert_eq!((switch.at, switch.set_by), (at, SetBy::Administrator));
    assert_eq!((switch.by.as_str(), switch.reason), ("administrator", None));
    assert_eq!((key.created_by.as_str(), key.created_as), ("administrator", SetBy::Administrator));
    shows_nothing(&json(&key).to_string());
    shows_nothing(&json(&keys.list(&ListKeys::new()).unwrap()).to_string());
    // An owner's own change answers with the same eyes.
    shows_nothing(&json(&keys.deactivate(id).unwrap()).to_string());
    shows_nothing(&format!("{:?}", keys.activate(id).unwrap()));
    shows_nothing(&format!("{:?}", keys.revoke(id).unwrap()));
}

#[test]
fn a_reason_for_the_owner_is_shown() {
    let (world, keys, id) = world();
    let told = world.admin.with_reason_for_owner(WHY_FOR_OWNER).unwrap();
    let _ = told.block(id).unwrap();
    let switch = keys.get(id).unwrap().blocked.unwrap();
    assert_eq!(switch.reason.unwrap().as_str(), WHY_FOR_OWNER);
    assert_eq!(switch.by.as_str(), "administrator");
    let events = keys.events(&ListEvents::new().kind(EventKind::KeyBlocked)).unwrap();
    let by = &events.items[0].authority;
    assert_eq!(by.reason.as_ref().unwrap().as_str(), WHY_FOR_OWNER);
    assert_eq!((by.actor.as_str(), &by.correlation_id), ("administrator", &None));
    // The next reason isn't for the owner, unless it is marked too.
    let silent = told.with_reason(WHY).unwrap();
    let _ = silent.unblock(id).unwrap();
    let _ = silent.block(id).unwrap();
    shows_nothing(&json(&keys.get(id).unwrap()).to_string());
}

#[test]
fn events_show_that_and_when() {
    let (world, keys, id) = world();
    let verified = {
        let issued = keys.create(CreateKey::new(Access::Full)).unwrap();
        world.verifier.verify(issued.token.expose()).unwrap()
    };
    let _ = world.admin.block(id).unwrap();
    let _ = world.admin.suspend_owner(&owner("org")).unwrap();
    let _ = world.admin.resume_owner(&owner("org")).unwrap();
    let delegate = DelegatedKeys::new(Arc::clone(&world.store), &verified, "ci").unwrap();
    let all = world.admin.events(&ListEvents::new().owner(owner("org"))).unwrap().items;
    for seen in [keys.events(&ListEvents::new()), delegate.events(&ListEvents::new())] {
        let seen = seen.unwrap().items;
        shows_nothing(&json(&seen).to_string());
        shows_nothing(&format!("{seen:?}"));
        assert_eq!(seen.len(), all.len());
        for (seen, whole) in seen.iter().zip(&all) {
            assert_eq!((seen.sequence, seen.at, seen.kind), (whole.sequence, whole.at, whole.kind));
            assert_eq!(seen.authority.role, whole.authority.role);
            let is_own =
                whole.kind == EventKind::KeyCreated && whole.key == Some(verified.key_id());
            assert_eq!(seen == whole, is_own, "{whole:?}");
        }
    }
    let stored = json(&all[0]);
    let stored = &stored["authority"];
    assert_eq!(stored["actor"], json!(NAME), "an administrator sees all");
    assert_eq!((&stored["reason"], &stored["correlation_id"]), (&json!(WHY), &json!(CORRELATION)));
}

/// A question for a name, by which an owner could guess it.
#[test]
fn no_filter_tells_the_name() {
    let (world, keys, id) = world();
    let _ = world.admin.block(id).unwrap();
    let _ = keys.deactivate(id).unwrap();
    for limit in [1, 100] {
        let page = keys.events(&ListEvents::new().actor(NAME).limit(limit)).unwrap();
        assert_eq!((page.items.len(), page.next), (0, None));
    }
    let shown = keys.events(&ListEvents::new().actor("administrator")).unwrap();
    assert_eq!(shown.items.len(), 3);
    assert_eq!(keys.events(&ListEvents::new().actor("alice")).unwrap().items.len(), 1);
    assert_eq!(world.admin.events(&ListEvents::new().actor(NAME)).unwrap().items.len(), 3);
    assert_eq!(world.admin.events(&ListEvents::new().actor("administrator")).unwrap().items, []);
}

#[test]
fn an_owner_and_its_suspension_are_shown_alike() {
    let (world, keys, _) = world();
    let _ = world.admin.suspend_owner(&owner("org")).unwrap();
    let shown = keys.owner().unwrap();
    shows_nothing(&json(&shown).to_string());
    assert!(shown.suspended.is_some());
    let whole = world.admin.owner(&owner("org")).unwrap();
    assert_eq!(whole.suspended.unwrap().by.as_str(), NAME);
}

/// What an owner and its own callers do is no secret among them.
#[test]
fn an_owners_own_names_and_reasons_stay() {
    let world = World::new();
    let request = CreateOwner::with_key(CreateKey::new(Access::Full));
    let (keys, issued) = world.owner_with("org", request);
    let told = keys.with_reason("holidays").unwrap().with_correlation_id("r-1").unwrap();
    let switch = told.deactivate(issued.key.id).unwrap().deactivated.unwrap();
    assert_eq!((switch.by.as_str(), switch.set_by), ("alice", SetBy::Owner));
    assert_eq!(switch.reason.unwrap().as_str(), "holidays");
    let event = keys.events(&ListEvents::new().kind(EventKind::KeyDeactivated)).unwrap();
    assert_eq!(event.items[0].authority.correlation_id.as_ref().unwrap().as_str(), "r-1");
    let made = keys.create(CreateKey::new(Access::Full)).unwrap().key;
    assert_eq!((made.created_by.as_str(), made.created_as), ("alice", SetBy::Owner));
}

/// The reason for a rejection tells neither.
#[test]
fn a_rejection_tells_no_name() {
    let (world, keys, id) = world();
    let token = keys.create(CreateKey::new(Access::Full)).unwrap();
    let _ = world.admin.block(token.key.id).unwrap();
    let answer = world.verifier.verify(token.token.expose()).unwrap_err();
    assert!(matches!(answer, VerifyError::Rejected(_)));
    shows_nothing(&format!("{answer} {answer:?}"));
    let _ = world.admin.block(id).unwrap();
    let refused = keys.rotate(id, keyhasp::Rotate::new()).unwrap_err();
    shows_nothing(&format!("{refused} {refused:?}"));
}
