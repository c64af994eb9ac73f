//! Creating a key together with its owner, if that isn't there.

#![allow(clippy::unwrap_used, clippy::panic)] // It is a test.

use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use keyhasp::backend::{Backend, BackendError, BackendLayer, Memory};
use keyhasp::id::OwnerId;
use keyhasp::key::{OwnerRecord, StoreRules};
use keyhasp::store::{ForbiddenReason, ListEvents, Resource};
use keyhasp::{
    Access, AdminKeys, CreateKey, CreateOwner, Error, EventKind, Expiry, IdempotencyKey, Invalid,
    KeyStore,
};

use crate::common::{World, builder, clock, owner};

fn request() -> CreateKey {
    CreateKey::new(Access::ReadOnly).or_create_owner(CreateOwner::without_key().max_keys(3))
}

fn kinds(admin: &AdminKeys) -> Vec<EventKind> {
    let events = admin.events(&ListEvents::new().limit(1_000)).unwrap().items;
    events.iter().map(|event| event.kind).collect()
}

fn field(error: &Error) -> &'static str {
    match error {
        Error::Invalid(invalid) => Invalid::field(invalid),
        other => panic!("{other}"),
    }
}

#[test]
fn one_change_creates_both_and_later_ones_the_key_alone() {
    let world = World::new();
    let before = kinds(&world.admin).len();
    let issued = world.admin.create(&owner("org"), request()).unwrap();
    assert_eq!(kinds(&world.admin)[before..], [EventKind::OwnerCreated, EventKind::KeyCreated]);
    let verified = world.verifier.verify(issued.token.expose()).unwrap();
    assert_eq!(*verified.owner_id(), owner("org"));
    assert_eq!(world.admin.owner(&owner("org")).unwrap().max_keys, 3);
    // The owner is as it is.
    let other = CreateOwner::without_key().max_keys(7);
    let second = CreateKey::new(Access::Full).or_create_owner(other);
    world.admin.create(&owner("org"), second).unwrap();
    assert_eq!(kinds(&world.admin)[before + 2..], [EventKind::KeyCreated]);
    assert_eq!(world.admin.owner(&owner("org")).unwrap().max_keys, 3);
    // Its rules hold for the key.
    world.admin.create(&owner("org"), request()).unwrap();
    let fourth = world.admin.create(&owner("org"), request()).unwrap_err();
    assert!(matches!(fourth, Error::TooManyKeys { limit: 3 }), "{fourth}");
}

#[test]
fn nothing_is_created_where_either_is_refused() {
    let world = World::new();
    let before = kinds(&world.admin).len();
    let create = |request| world.admin.create(&owner("org"), request).unwrap_err();
    let unknown = Access::limited(["no:such"]).unwrap();
    let bad_owner = CreateOwner::without_key().max_access(unknown.clone());
    let error = create(CreateKey::new(Access::Full).or_create_owner(bad_owner));
    assert_eq!(field(&error), "access");
    assert_eq!(
        field(&create(CreateKey::new(unknown).or_create_owner(CreateOwner::default()))),
        "access"
    );
    let no_room = CreateOwner::without_key().max_keys(0);
    let error = create(CreateKey::new(Access::Full).or_create_owner(no_room));
    assert!(matches!(error, Error::TooManyKeys { limit: 0 }), "{error}");
    let with_key = CreateOwner::with_key(CreateKey::new(Access::Full));
    let error = create(CreateKey::new(Access::Full).or_create_owner(with_key));
    assert_eq!(field(&error), "or_create_owner");
    let error = create(CreateKey::new(Access::Full));
    assert!(matches!(error, Error::NotFound(Resource::Owner)), "{error}");
    assert_eq!(kinds(&world.admin).len(), before);
}

#[test]
fn it_belongs_to_no_other_call_and_no_other_role() {
    let world = World::new();
    let (keys, _) = world.owner("org");
    let before = kinds(&world.admin).len();
    let first = CreateOwner::with_key(request());
    let error = world.admin.create_owner(&owner("other"), first).unwrap_err();
    assert_eq!(field(&error), "or_create_owner");
    let error = world.admin.revoke_all(&owner("org"), Some(request())).unwrap_err();
    assert_eq!(field(&error), "or_create_owner");
    let error = keys.create(request()).unwrap_err();
    let forbidden = ForbiddenReason::AdministratorOnly;
    assert!(matches!(error, Error::Forbidden(reason) if reason == forbidden), "{error}");
    assert_eq!(kinds(&world.admin).len(), before);
}

#[test]
fn every_owner_keeps_a_standard_key_also_here() {
    let rules = StoreRules { keep_standard_key: true, ..StoreRules::default() };
    let world = World::with(|builder| builder.rules(rules), Memory::new());
    let trial = CreateKey::trial(Access::Full, Expiry::Never);
    let trial = trial.or_create_owner(CreateOwner::without_key());
    let error = world.admin.create(&owner("org"), trial).unwrap_err();
    assert!(matches!(error, Error::LastStandardKey), "{error}");
    world.admin.create(&owner("org"), request()).unwrap();
}

#[test]
fn under_an_idempotency_key_it_takes_effect_once() {
    let world = World::new();
    let key = IdempotencyKey::new("signup-1").unwrap();
    let first = world.admin.create_once(&owner("org"), request(), &key).unwrap();
    let before = kinds(&world.admin).len();
    let again = world.admin.create_once(&owner("org"), request(), &key).unwrap();
    assert!(again.is_repeated && !first.is_repeated);
    assert_eq!(again.key.id, first.key.id);
    // Another owner is another request, and so is none.
    for other in [
        CreateKey::new(Access::ReadOnly).or_create_owner(CreateOwner::without_key().max_keys(4)),
        CreateKey::new(Access::ReadOnly),
    ] {
        let error = world.admin.create_once(&owner("org"), other, &key).unwrap_err();
        assert!(matches!(error, Error::IdempotencyKeyReused), "{error}");
    }
    assert_eq!(kinds(&world.admin).len(), before);
}

/// A backend that runs something once, after an owner was read.
#[derive(Debug)]
struct Between {
    memory: Memory,
    meet: Mutex<Option<Arc<Barrier>>>,
}

impl BackendLayer for Between {
    fn inner(&self) -> &dyn Backend {
        &self.memory
    }

    fn owner(&self, id: &OwnerId) -> Result<Option<OwnerRecord>, BackendError> {
        let found = self.memory.owner(id)?;
        let meet = self.meet.lock().unwrap().clone();
        if let Some(meet) = meet.filter(|_| found.is_none()) {
            meet.wait();
            // Those who decide again don't wait.
            self.meet.lock().unwrap().take();
        }
        Ok(found)
    }
}

/// Each of them has found that the owner isn't there before any of them creates it.
#[test]
fn callers_at_the_same_time_create_one_owner_and_each_its_key() {
    const CALLERS: usize = 6;
    for is_once in [false, true] {
        let clock = clock();
        let backend = Arc::new(Between { memory: Memory::new(), meet: Mutex::default() });
        let store = builder(&clock, 1).open_on(Arc::<Between>::clone(&backend)).unwrap();
        let world = World::of(Arc::new(store) as Arc<dyn KeyStore>, clock);
        let before = kinds(&world.admin).len();
        *backend.meet.lock().unwrap() = Some(Arc::new(Barrier::new(CALLERS)));
        let create = |number: usize| match is_once {
            true => {
                let key = IdempotencyKey::new(format!("caller-{number}")).unwrap();
                world.admin.create_once(&owner("org"), request(), &key).map(|it| it.key.id)
            }
            false => world.admin.create(&owner("org"), request()).map(|it| it.key.id),
        };
        let outcomes: Vec<_> = thread::scope(|scope| {
            let create = &create;
            let callers: Vec<_> =
                (0..CALLERS).map(|number| scope.spawn(move || create(number))).collect();
            callers.into_iter().map(|caller| caller.join().unwrap()).collect()
        });
        // The owner has room for three.
        let (created, refused): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
        assert_eq!(created.len(), 3);
        for error in refused.into_iter().filter_map(Result::err) {
            assert!(matches!(error, Error::TooManyKeys { limit: 3 }), "{error}");
        }
        let created = &kinds(&world.admin)[before..];
        let count = |kind| created.iter().filter(|it| **it == kind).count();
        assert_eq!(count(EventKind::OwnerCreated), 1);
        assert_eq!(count(EventKind::KeyCreated), 3);
    }
}

/// A backend in which another caller purges the owner, just after it was read once more.
#[derive(Debug)]
struct Purging {
    memory: Memory,
    admin: Mutex<Option<AdminKeys>>,
}

impl BackendLayer for Purging {
    fn inner(&self) -> &dyn Backend {
        &self.memory
    }

    fn owner(&self, id: &OwnerId) -> Result<Option<OwnerRecord>, BackendError> {
        let found = self.memory.owner(id)?;
        let admin = self.admin.lock().unwrap().take();
        if let Some(admin) = admin {
            let _ = admin.suspend_owner(id).unwrap();
            admin.purge_owner(id).unwrap();
        }
        Ok(found)
    }
}

#[test]
fn an_owner_that_goes_meanwhile_is_created() {
    let clock = clock();
    let backend = Arc::new(Purging { memory: Memory::new(), admin: Mutex::default() });
    let store = builder(&clock, 1).open_on(Arc::<Purging>::clone(&backend)).unwrap();
    let world = World::of(Arc::new(store) as Arc<dyn KeyStore>, clock);
    let (_, first) = world.owner("org");
    *backend.admin.lock().unwrap() = Some(world.admin.clone());
    let issued = world.admin.create(&owner("org"), request()).unwrap();
    assert!(world.verifier.verify(issued.token.expose()).is_ok());
    assert!(world.verifier.verify(first.token.expose()).is_err());
    assert_eq!(world.admin.owner(&owner("org")).unwrap().max_keys, 3);
}
