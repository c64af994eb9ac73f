//! Acting with a key gives nothing that outlasts or outreaches the key.

#![allow(clippy::unwrap_used, clippy::panic)] // It is a test.

use std::fmt;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use keyhasp::backend::{Backend, BackendCall, BackendError, BackendLayer, Memory};
use keyhasp::{
    Access, CreateKey, CreateOwner, DelegatedKeys, Error, EventKind, Expiry, ForbiddenReason,
    Issued, Key, KeyId, KeyStore, ListEvents, ListKeys, OwnerKeys, Rotate, UpdateKey,
};

use crate::common::{HOUR, World, owner, prefix};

fn denied<T>(result: Result<T, Error>) -> ForbiddenReason {
    match result {
        Err(Error::Forbidden(denied)) => denied,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("allowed"),
    }
}

fn acting_with(world: &World, token: &str) -> DelegatedKeys {
    let verified = world.verifier.verify(token).unwrap();
    DelegatedKeys::new(Arc::clone(&world.store), &verified, "ci").unwrap()
}

/// Creates an owner without further keys, and an acting key that the owner made.
fn acting(world: &World, key: CreateKey) -> (OwnerKeys, Issued, DelegatedKeys) {
    world.admin.create_owner(&owner("org"), CreateOwner::without_key()).unwrap();
    let keys = OwnerKeys::new(Arc::clone(&world.store), owner("org"), "alice").unwrap();
    let issued = keys.create(key).unwrap();
    let delegate = acting_with(world, issued.token.expose());
    (keys, issued, delegate)
}

fn full() -> CreateKey {
    CreateKey::new(Access::Full)
}

/// The reasons against each call that gives a key something.
fn against_giving(delegate: &DelegatedKeys, key: KeyId) -> [ForbiddenReason; 7] {
    [
        denied(delegate.activate(key)),
        denied(delegate.extend_expiry(key, Expiry::Never)),
        denied(delegate.reveal_token(key)),
        denied(delegate.rotate(key, Rotate::new())),
        denied(delegate.rotate(key, Rotate::forced())),
        denied(delegate.update(key, UpdateKey::new())),
        denied(delegate.update(key, UpdateKey::new().name("mine"))),
    ]
}

fn last_event(world: &World) -> u64 {
    world.store.wait_for_event(0, Duration::ZERO).unwrap()
}

#[test]
fn nothing_outlasts_the_acting_key() {
    let world = World::new();
    let end = world.after(HOUR);
    let (keys, issued, delegate) = acting(&world, full().expires(Expiry::At(end)));
    let later = world.after(HOUR + Duration::from_millis(1));
    let eternal = keys.create(full()).unwrap().key;
    let longer = keys.create(full().expires(Expiry::At(later))).unwrap().key;
    let events = last_event(&world);

    for request in [
        full().expires(Expiry::Never),
        full().expires(Expiry::At(later)),
        full().expires_in(2 * HOUR),
    ] {
        assert_eq!(denied(delegate.create(request)), ForbiddenReason::OutlastsActingKey);
    }
    for key in [&eternal, &longer] {
        let reasons = against_giving(&delegate, key.id);
        assert_eq!(reasons, [ForbiddenReason::OutlastsActingKey; 7]);
        // Not even by shortening it: what it was before the call counts too.
        let short = delegate.update(key.id, UpdateKey::new().expires(Expiry::At(end)));
        assert_eq!(denied(short), ForbiddenReason::OutlastsActingKey);
    }
    // Its own key neither.
    for expiry in [Expiry::Never, Expiry::At(later)] {
        let own = issued.key.id;
        let reasons = [
            denied(delegate.extend_expiry(own, expiry)),
            denied(delegate.update(own, UpdateKey::new().expires(expiry))),
        ];
        assert_eq!(reasons, [ForbiddenReason::OutlastsActingKey; 2]);
    }
    assert_eq!(last_event(&world), events, "a refused call changed something");

    // A creation without an expiry takes the acting key's. Nothing else is shortened.
    let same = delegate.create(full()).unwrap().key;
    assert_eq!(same.expires_at, Some(end));
    let created = world.admin.events(&ListEvents::new().key(same.id)).unwrap().items;
    assert!(created[0].fields.names().any(|field| field == "expiry"));
    let shorter = delegate.create(full().expires_in(HOUR / 2)).unwrap().key;
    assert_eq!(shorter.expires_at, Some(world.after(HOUR / 2)));
    let moved = delegate.extend_expiry(shorter.id, Expiry::At(end)).unwrap();
    assert_eq!(moved.expires_at, Some(end));
    delegate.rotate(same.id, Rotate::new()).unwrap();
    delegate.rotate(issued.key.id, Rotate::new()).unwrap();
    // Ending is allowed with the new token.
    let token = keys.rotate(issued.key.id, Rotate::new()).unwrap().token;
    let delegate = acting_with(&world, token.expose());
    delegate.deactivate(eternal.id).unwrap();
    delegate.revoke(eternal.id).unwrap();
}

#[test]
fn a_key_without_an_expiry_gives_any() {
    let world = World::new();
    let (_, _, delegate) = acting(&world, full());
    assert_eq!(delegate.create(full()).unwrap().key.expires_at, None);
    let short = delegate.create(full().expires_in(HOUR)).unwrap().key;
    assert_eq!(delegate.extend_expiry(short.id, Expiry::Never).unwrap().expires_at, None);
}

/// A token in its grace reads, and ends its own key. Everything else needs the current token.
#[test]
fn a_previous_token_gives_nothing() {
    let world = World::new();
    let (keys, issued, delegate) = acting(&world, full());
    let own = issued.key.id;
    let sibling = keys.create(full()).unwrap().key.id;
    keys.rotate(own, Rotate::with_grace(HOUR)).unwrap();
    let events = last_event(&world);

    assert_eq!(denied(delegate.create(full())), ForbiddenReason::PreviousToken);
    for key in [own, sibling] {
        assert_eq!(against_giving(&delegate, key), [ForbiddenReason::PreviousToken; 7]);
        let ended = delegate.invalidate_previous_tokens(key);
        assert_eq!(denied(ended), ForbiddenReason::PreviousToken);
    }
    let revealed = delegate.reveal_tokens(&ListKeys::new());
    assert_eq!(denied(revealed), ForbiddenReason::PreviousToken);
    for refused in [delegate.deactivate(sibling).map(drop), delegate.revoke(sibling).map(drop)] {
        assert_eq!(denied(refused), ForbiddenReason::PreviousToken);
    }
    let everything = world.store.revoke_all(delegate.authority(), &owner("org"), None, None);
    assert_eq!(denied(everything), ForbiddenReason::PreviousToken);
    assert_eq!(last_event(&world), events, "a refused call changed something");

    assert_eq!(delegate.get(sibling).unwrap().id, sibling);
    assert_eq!(delegate.list(&ListKeys::new()).unwrap().items.len(), 2);
    assert_eq!(delegate.count(&ListKeys::new()).unwrap(), 2);
    assert!(!delegate.events(&ListEvents::new()).unwrap().items.is_empty());
    assert!(delegate.deactivate(own).unwrap().deactivated.is_some());
    keys.activate(own).unwrap();
    assert!(delegate.revoke(own).unwrap().whole().unwrap().revoked.is_some());
    assert_eq!(
        ForbiddenReason::PreviousToken.to_string(),
        "the acting token is a previous one, which may at most read, and deactivate or revoke \
         its own key; act with the key's current token"
    );
}

#[test]
fn a_delegate_stays_within_its_prefix() {
    let world = World::new();
    let (keys, _, delegate) = acting(&world, full().prefix(prefix("acme_test")));
    let live = keys.create(full()).unwrap().key;
    assert_eq!(live.prefix, prefix("acme"));
    let events = last_event(&world);
    let other = delegate.create(full().prefix(prefix("acme")));
    assert_eq!(denied(other), ForbiddenReason::OtherPrefix);
    assert_eq!(against_giving(&delegate, live.id), [ForbiddenReason::OtherPrefix; 7]);
    let unknown = delegate.create(full().prefix(prefix("other")));
    assert!(matches!(unknown, Err(Error::Invalid(invalid)) if invalid.field() == "prefix"));
    assert_eq!(last_event(&world), events, "a refused call changed something");

    for request in [full(), full().prefix(prefix("acme_test"))] {
        let made = delegate.create(request).unwrap();
        assert!(made.token.expose().starts_with("acme_test_"));
        let rotated = delegate.rotate(made.key.id, Rotate::new()).unwrap();
        assert_eq!(rotated.key.prefix, prefix("acme_test"));
    }
    delegate.revoke(live.id).unwrap();
}

/// What happens, after how many reads of which sort.
struct Hook {
    operation: &'static str,
    after: usize,
    run: Box<dyn FnOnce() + Send>,
}

/// A backend that lets something happen after a read, before its answer is used.
#[derive(Clone)]
struct Between(Arc<(Memory, Mutex<Option<Hook>>)>);

impl Between {
    /// Lets something happen with the next read of this sort, or with a later one.
    fn with_read(
        &self,
        operation: &'static str,
        after: usize,
        run: impl FnOnce() + Send + 'static,
    ) {
        *self.0.1.lock().unwrap() = Some(Hook { operation, after, run: Box::new(run) });
    }
}

impl fmt::Debug for Between {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Between")
    }
}

impl BackendLayer for Between {
    fn inner(&self) -> &dyn Backend {
        &self.0.0
    }

    fn around<T>(
        &self,
        call: BackendCall,
        run: impl FnOnce() -> Result<T, BackendError>,
    ) -> Result<T, BackendError> {
        let answer = run();
        let mut armed = self.0.1.lock().unwrap();
        let mut due = None;
        if let Some(hook) = armed.as_mut().filter(|hook| hook.operation == call.operation) {
            hook.after -= 1;
            if hook.after == 0 {
                due = armed.take();
            }
        }
        drop(armed);
        if let Some(hook) = due {
            (hook.run)();
        }
        answer
    }
}

/// Whether the acting token is the current one is judged at the commit: a rotation between the
/// decision and the commit counts.
#[test]
fn a_rotation_before_the_commit_makes_the_token_a_previous_one() {
    let between = Between(Arc::new((Memory::new(), Mutex::default())));
    let world = World::with(|builder| builder, between.clone());
    let (keys, issued, delegate) = acting(&world, full());
    let own = issued.key.id;
    let sibling = keys.create(full()).unwrap().key.id;
    let store: Weak<dyn KeyStore> = Arc::downgrade(&world.store);
    let call = |name: &str, call: &dyn Fn() -> Result<Key, Error>| {
        let (store, by) = (Weak::clone(&store), keys.authority().clone());
        // After the call has loaded its acting key.
        between.with_read("read owner", 1, move || {
            let store = store.upgrade().unwrap();
            store.rotate_key(&by, own, &Rotate::with_grace(HOUR), None).unwrap();
        });
        let events = last_event(&world);
        assert_eq!(denied(call()), ForbiddenReason::PreviousToken, "{name}");
        let query = ListEvents::new().after(events);
        let events = world.admin.events(&query).unwrap().items;
        let kinds: Vec<EventKind> = events.iter().map(|event| event.kind).collect();
        assert_eq!(kinds, [EventKind::KeyRotated], "{name}");
    };
    let token = |keys: &OwnerKeys| keys.rotate(own, Rotate::new()).unwrap().token;
    let as_current = || acting_with(&world, token(&keys).expose());
    call("rotate", &|| delegate.rotate(own, Rotate::forced()).map(|issued| issued.key));
    let delegate = as_current();
    call("create", &|| delegate.create(full()).map(|issued| issued.key));
    let delegate = as_current();
    call("revoke another", &|| delegate.revoke(sibling).map(|key| key.whole().unwrap()));
    let delegate = as_current();
    call("update", &|| delegate.update(own, UpdateKey::new().name("mine")));
}

/// What a key made and did can be asked for, also after the key is gone.
#[test]
fn a_key_remembers_the_key_that_created_it() {
    let world = World::new();
    let (keys, issued, delegate) = acting(&world, full());
    let own = issued.key.id;
    assert_eq!(issued.key.created_by_key, None);
    let child = delegate.create(full()).unwrap();
    assert_eq!(child.key.created_by_key, Some(own));
    let by_child = acting_with(&world, child.token.expose());
    let grandchild = by_child.create(full()).unwrap().key;
    assert_eq!(grandchild.created_by_key, Some(child.key.id));
    let second = delegate.create(full()).unwrap().key;
    delegate.deactivate(second.id).unwrap();
    let ids = |query: ListKeys| -> Vec<KeyId> {
        world.admin.list(&query).unwrap().items.iter().map(|key| key.id).collect()
    };
    let by = |key| ListKeys::new().created_by_key(key);
    assert_eq!(ids(by(own)), [second.id, child.key.id]);
    assert_eq!(ids(by(child.key.id)), [grandchild.id]);
    assert_eq!(ids(by(grandchild.id)), []);
    assert_eq!(world.admin.count(&by(own)).unwrap(), 2);
    assert_eq!(keys.list(&by(own)).unwrap().items.len(), 2);
    world.admin.create_owner(&owner("other"), CreateOwner::without_key()).unwrap();
    assert_eq!(ids(by(own).owner(owner("other"))), []);
    // A cursor belongs to one creator.
    let first = world.admin.list(&by(own).limit(1)).unwrap().next.unwrap();
    let next = world.admin.list(&by(own).limit(1).cursor(&first)).unwrap().items;
    assert_eq!(next.iter().map(|key| key.id).collect::<Vec<_>>(), [child.key.id]);
    let another = world.admin.list(&by(child.key.id).limit(1).cursor(&first));
    assert!(matches!(another, Err(Error::Invalid(invalid)) if invalid.field() == "cursor"));

    let did = |handle: &OwnerKeys, key| -> Vec<(EventKind, Option<KeyId>)> {
        let events = handle.events(&ListEvents::new().acting_key(key)).unwrap().items;
        events.iter().map(|event| (event.kind, event.key)).collect()
    };
    let expected = [
        (EventKind::KeyCreated, Some(child.key.id)),
        (EventKind::KeyCreated, Some(second.id)),
        (EventKind::KeyDeactivated, Some(second.id)),
    ];
    assert_eq!(did(&keys, own), expected);
    assert_eq!(did(&keys, grandchild.id), []);
    let stranger = OwnerKeys::new(Arc::clone(&world.store), owner("other"), "eve").unwrap();
    assert_eq!(did(&stranger, own), []);

    keys.revoke(own).unwrap();
    world.admin.purge(own).unwrap();
    assert_eq!(ids(by(own)), [second.id, child.key.id]);
    assert_eq!(did(&keys, own), expected);
    assert_eq!(keys.get(second.id).unwrap().created_by_key, Some(own));
}

/// Keys that each created the next: the acting one, and as many more as asked.
fn chain(world: &World, delegate: &DelegatedKeys, more: usize) -> Vec<(KeyId, String)> {
    let mut made: Vec<(KeyId, String)> = Vec::new();
    for _ in 0..more {
        let issued = match made.last() {
            Some((_, token)) => acting_with(world, token).create(full()),
            None => delegate.create(full()),
        };
        let issued = issued.unwrap();
        made.push((issued.key.id, issued.token.expose().to_owned()));
    }
    made
}

#[test]
fn a_key_is_revoked_with_all_that_it_created() {
    let world = World::new();
    let (keys, issued, delegate) = acting(&world, full());
    let own = issued.key.id;
    let line = chain(&world, &delegate, 3);
    let side = delegate.create(full()).unwrap().key.id;
    let stranger = keys.create(full()).unwrap().key;
    // Also through one that is revoked already.
    keys.revoke(line[1].0).unwrap();
    let events = last_event(&world);
    let stale = keys.if_version(keyhasp::Version::new(7)).revoke_with_descendants(own);
    assert!(matches!(stale, Err(Error::Conflict { .. })));
    assert_eq!(last_event(&world), events);

    let tree = keys.revoke_with_descendants(own).unwrap();
    assert_eq!((tree.key.id, tree.revoked), (own, 4));
    assert!(tree.key.revoked.is_some());
    let query = ListEvents::new().after(events);
    let after = world.admin.events(&query).unwrap().items;
    let told: Vec<_> = after.iter().map(|event| (event.kind, event.key.unwrap())).collect();
    let revoked = [own, line[0].0, line[2].0, side].map(|key| (EventKind::KeyRevoked, key));
    assert_eq!(told, revoked);
    for (_, token) in &line {
        assert!(world.verifier.verify(token).is_err());
    }
    assert_eq!(keys.get(stranger.id).unwrap(), stranger);
    // Nothing is left to do: no event, and no conflict.
    let again = keys.if_version(keyhasp::Version::new(7)).revoke_with_descendants(own).unwrap();
    assert_eq!((again.revoked, last_event(&world)), (0, events + 4));
    // It isn't another owner's to do.
    world.admin.create_owner(&owner("other"), CreateOwner::without_key()).unwrap();
    let other = OwnerKeys::new(Arc::clone(&world.store), owner("other"), "eve").unwrap();
    assert!(matches!(other.revoke_with_descendants(own), Err(Error::NotFound(_))));
}

#[test]
fn a_revoked_key_takes_its_descendants_along_later() {
    let world = World::new();
    let (keys, issued, delegate) = acting(&world, full());
    let line = chain(&world, &delegate, 2);
    keys.revoke(issued.key.id).unwrap();
    assert!(world.verifier.verify(&line[1].1).is_ok());
    // A delegate does it too, and ends itself with it.
    let child = acting_with(&world, &line[1].1);
    let tree = child.revoke_with_descendants(issued.key.id).unwrap();
    assert_eq!((tree.revoked, tree.key.state), (2, keyhasp::State::Revoked));
    // A previous token doesn't, since it may revoke its own key alone.
    let (keys, issued) = world.owner("more");
    let delegate = acting_with(&world, issued.token.expose());
    keys.rotate(issued.key.id, Rotate::with_grace(HOUR)).unwrap();
    let refused = delegate.revoke_with_descendants(issued.key.id);
    assert_eq!(denied(refused), ForbiddenReason::PreviousToken);
}

/// All or none of them.
#[test]
fn the_last_standard_key_keeps_the_whole_tree() {
    let rules = keyhasp::StoreRules { keep_standard_key: true, ..keyhasp::StoreRules::default() };
    let world = World::with(|builder| builder.rules(rules), Memory::new());
    let (keys, issued) = world.owner("org");
    let line = chain(&world, &acting_with(&world, issued.token.expose()), 2);
    let events = last_event(&world);
    let refused = keys.revoke_with_descendants(issued.key.id);
    assert!(matches!(refused, Err(Error::LastStandardKey)));
    assert_eq!(last_event(&world), events);
    keys.create(full()).unwrap();
    assert_eq!(keys.revoke_with_descendants(issued.key.id).unwrap().revoked, 3);
    assert!(world.verifier.verify(&line[1].1).is_err());
}

/// A key that a descendant creates between the decision and the commit is revoked too.
#[test]
fn no_descendant_slips_past_the_revocation() {
    let between = Between(Arc::new((Memory::new(), Mutex::default())));
    let world = World::with(|builder| builder, between.clone());
    let (keys, issued, delegate) = acting(&world, full());
    let line = chain(&world, &delegate, 2);
    let child = acting_with(&world, &line[1].1);
    let late: Arc<Mutex<Option<KeyId>>> = Arc::default();
    let told = Arc::clone(&late);
    between.with_read("list keys", 3, move || {
        *told.lock().unwrap() = Some(child.create(full()).unwrap().key.id);
    });
    let tree = keys.revoke_with_descendants(issued.key.id).unwrap();
    let late = late.lock().unwrap().unwrap();
    assert!(keys.get(late).unwrap().revoked.is_some());
    assert_eq!(tree.revoked, 4);
}

/// A service may let a key act as another owner. Each caller revokes what it reaches of the tree.
#[test]
fn a_tree_over_two_owners_is_revoked_as_far_as_the_caller_reaches() {
    let world = World::new();
    let (keys, issued, delegate) = acting(&world, full());
    let (others, _) = world.owner("other");
    let verified = world.verifier.verify(issued.token.expose()).unwrap();
    let theirs = others.provided(&verified).create(full()).unwrap().key;
    assert_eq!(theirs.created_by_key, Some(issued.key.id));
    delegate.create(full()).unwrap();
    let own = keys.revoke_with_descendants(issued.key.id).unwrap();
    assert_eq!(own.revoked, 2);
    assert!(others.get(theirs.id).unwrap().revoked.is_none());
    let rest = world.admin.revoke_with_descendants(issued.key.id).unwrap();
    assert_eq!(rest.revoked, 1);
    assert!(others.get(theirs.id).unwrap().revoked.is_some());
}
