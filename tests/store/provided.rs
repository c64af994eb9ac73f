//! An owner that acts provided that a verified key still holds.

#![allow(clippy::unwrap_used, clippy::panic)] // It is a test.

use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use crate::common::{HOUR, World, owner};
use keyhasp::authority::Role;
use keyhasp::backend::{Backend, BackendError, BackendLayer, Memory};
use keyhasp::key::{KeyRecord, OwnerRecord, RejectReason};
use keyhasp::store::ForbiddenReason;
use keyhasp::{
    Access, CreateKey, CreateOwner, Error, EventKind, Expiry, Issued, KeyId, ListEvents, ListKeys,
    OwnerId, OwnerKeys, Rotate, SetLimits, UpdateKey, VerifiedKey,
};

fn denied<T>(result: Result<T, Error>) -> ForbiddenReason {
    match result {
        Err(Error::Forbidden(denied)) => denied,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("allowed"),
    }
}

fn verified(world: &World, issued: &Issued) -> VerifiedKey {
    world.verifier.verify(issued.token.expose()).unwrap()
}

/// Makes each call of an owner's handle that is judged; returns why each was refused.
fn all_refused(keys: &OwnerKeys, id: KeyId) -> Vec<ForbiddenReason> {
    let query = ListKeys::new();
    vec![
        denied(keys.get(id)),
        denied(keys.list(&query)),
        denied(keys.count(&query)),
        denied(keys.events(&ListEvents::new())),
        denied(keys.owner()),
        denied(keys.reveal_token(id)),
        denied(keys.reveal_tokens(&query)),
        denied(keys.create(CreateKey::new(Access::Full))),
        denied(keys.update(id, UpdateKey::new().name("x"))),
        denied(keys.extend_expiry(id, Expiry::Never)),
        denied(keys.deactivate(id)),
        denied(keys.activate(id)),
        denied(keys.revoke(id)),
        denied(keys.rotate(id, Rotate::new())),
        denied(keys.invalidate_previous_tokens(id)),
        denied(keys.revoke_all(None)),
    ]
}

/// Each way in which a key ends refuses every call, reads too. What ends it for a while ends the
/// refusals with it.
#[test]
fn each_call_judges_the_key_again() {
    let world = World::new();
    let (keys, first) = world.owner("org");
    let later = world.after(HOUR);
    let acting = keys.create(CreateKey::new(Access::ReadOnly).expires(Expiry::At(later))).unwrap();
    let id = acting.key.id;
    let provided = keys.provided(&verified(&world, &acting));
    // It reaches what the owner does, although its key may only read.
    provided.update(first.key.id, UpdateKey::new().name("first")).unwrap();
    provided.create(CreateKey::new(Access::Full)).unwrap();

    let refused = |reason: ForbiddenReason| {
        let all = all_refused(&provided, first.key.id);
        assert!(all.iter().all(|told| *told == reason), "{reason:?}: {all:?}");
    };
    let rejected = |reason| ForbiddenReason::ActingKeyRejected(Some(reason));
    keys.deactivate(id).unwrap();
    refused(rejected(RejectReason::Deactivated));
    keys.activate(id).unwrap();
    world.admin.block(id).unwrap();
    refused(rejected(RejectReason::Blocked));
    world.admin.unblock(id).unwrap();
    world.admin.suspend_owner(&owner("org")).unwrap();
    refused(rejected(RejectReason::Suspended));
    world.admin.resume_owner(&owner("org")).unwrap();
    keys.update(id, UpdateKey::new().limits(SetLimits::new().not_before(later))).unwrap();
    refused(ForbiddenReason::ActingKeyNotYet);
    keys.update(id, UpdateKey::new().limits(SetLimits::new().clear_not_before())).unwrap();
    assert!(provided.get(id).is_ok());
    world.clock.advance(HOUR);
    refused(rejected(RejectReason::Expired));
    keys.extend_expiry(id, Expiry::Never).unwrap();
    assert!(provided.get(id).is_ok());
    keys.revoke(id).unwrap();
    refused(rejected(RejectReason::Revoked));
    world.admin.purge(id).unwrap();
    refused(ForbiddenReason::ActingKeyRejected(None));
}

/// A previous token acts only if the service allows it, and then for its grace.
#[test]
fn the_current_token_is_asked_for() {
    let world = World::new();
    let (keys, first) = world.owner("org");
    let id = first.key.id;
    let provided = keys.provided(&verified(&world, &first));
    let allowing = provided.allowing_previous_tokens();
    // A handle whose own call rotates the key has a previous token from then on.
    let second = provided.rotate(id, Rotate::with_grace(HOUR)).unwrap();
    let all = all_refused(&provided, id);
    assert!(all.iter().all(|told| *told == ForbiddenReason::PreviousToken), "{all:?}");
    allowing.get(id).unwrap();
    allowing.update(id, UpdateKey::new().name("ci")).unwrap();
    world.clock.advance(HOUR);
    let superseded = ForbiddenReason::ActingKeyRejected(Some(RejectReason::Superseded));
    assert_eq!(denied(allowing.get(id)), superseded);
    // A forced rotation ends all handles before it.
    let second = keys.provided(&verified(&world, &second)).allowing_previous_tokens();
    keys.rotate(id, Rotate::forced()).unwrap();
    assert_eq!(denied(second.get(id)), ForbiddenReason::ActingKeyRejected(None));
    assert_eq!(denied(allowing.get(id)), ForbiddenReason::ActingKeyRejected(None));
    // On a handle without a key it changes nothing.
    let plain = keys.allowing_previous_tokens();
    assert_eq!(plain.authority(), keys.authority());
}

#[test]
fn trial_keys_and_keys_of_other_owners_will_do() {
    let world = World::new();
    let (keys, first) = world.owner("org");
    let (others, other) = world.owner("other");
    let trial = CreateKey::trial(Access::ReadOnly, Expiry::At(world.after(HOUR)));
    let trial = world.admin.create(&owner("org"), trial).unwrap();
    let by_trial = keys.provided(&verified(&world, &trial));
    let by_other = keys.provided(&verified(&world, &other));
    for provided in [&by_trial, &by_other] {
        provided.update(first.key.id, UpdateKey::new().name("first")).unwrap();
        let own = provided.create(CreateKey::new(Access::Full)).unwrap();
        assert_eq!(own.key.owner, owner("org"));
        // It reaches its own owner alone, not the acting key's.
        assert!(provided.get(other.key.id).is_err());
    }
    world.clock.advance(HOUR);
    let expired = ForbiddenReason::ActingKeyRejected(Some(RejectReason::Expired));
    assert_eq!(denied(by_trial.get(first.key.id)), expired);
    // The other owner's suspension ends its keys.
    world.admin.suspend_owner(&owner("other")).unwrap();
    let suspended = ForbiddenReason::ActingKeyRejected(Some(RejectReason::Suspended));
    assert_eq!(denied(by_other.get(first.key.id)), suspended);
    world.admin.resume_owner(&owner("other")).unwrap();
    others.revoke(other.key.id).unwrap();
    let revoked = ForbiddenReason::ActingKeyRejected(Some(RejectReason::Revoked));
    assert_eq!(denied(by_other.revoke(first.key.id)), revoked);
}

#[test]
fn events_name_the_key() {
    let world = World::new();
    let (keys, first) = world.owner("org");
    let (id, generation) = (first.key.id, first.key.generation);
    let provided = keys.provided(&verified(&world, &first));
    for (handle, previous_tokens) in
        [(provided.clone(), false), (provided.allowing_previous_tokens(), true)]
    {
        let made = handle.create(CreateKey::new(Access::Full)).unwrap();
        let events = world.admin.events(&ListEvents::new().key(made.key.id)).unwrap();
        let role = Role::OwnerByKey { owner: owner("org"), key: id, generation, previous_tokens };
        assert_eq!(events.items[0].authority.role, role);
        assert_eq!(role.acting_token(), Some((id, generation)));
        let shown = serde_json::to_value(&events.items[0]).unwrap();
        assert_eq!(shown["authority"]["role"], "owner_by_key");
        assert_eq!(shown["authority"]["key"], id.to_string());
    }
}

/// What happens between two reads of a call.
type Meanwhile = Box<dyn Fn() + Send + Sync>;

/// A backend that does something else right after its `nth` read of a record.
struct Interrupted {
    inner: Memory,
    meanwhile: OnceLock<Meanwhile>,
    reads_left: Arc<std::sync::atomic::AtomicI64>,
}

impl std::fmt::Debug for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Interrupted")
    }
}

impl Interrupted {
    fn tick(&self) {
        use std::sync::atomic::Ordering;
        if self.reads_left.fetch_sub(1, Ordering::SeqCst) == 1
            && let Some(meanwhile) = self.meanwhile.get()
        {
            meanwhile();
        }
    }
}

impl BackendLayer for Interrupted {
    fn inner(&self) -> &dyn Backend {
        &self.inner
    }

    fn key(&self, id: KeyId) -> Result<Option<KeyRecord>, BackendError> {
        let read = self.inner.key(id);
        self.tick();
        read
    }

    fn owner(&self, id: &OwnerId) -> Result<Option<OwnerRecord>, BackendError> {
        let read = self.inner.owner(id);
        self.tick();
        read
    }
}

/// The acting key is revoked between any two reads of a call: the call then has no effect, or its
/// effect is before the revocation in the log. So it is with a suspension and a forced rotation.
#[test]
fn nothing_commits_after_the_key_has_ended() {
    type End = fn(&OwnerKeys, &keyhasp::AdminKeys, KeyId);
    let ends: [(End, EventKind); 3] = [
        (|keys, _, id| drop(keys.revoke(id).unwrap()), EventKind::KeyRevoked),
        (|keys, _, id| drop(keys.rotate(id, Rotate::forced()).unwrap()), EventKind::KeyRotated),
        (
            |_, admin, _| drop(admin.suspend_owner(&owner("org")).unwrap()),
            EventKind::OwnerSuspended,
        ),
    ];
    type Act = fn(&OwnerKeys, KeyId) -> Result<(), Error>;
    let acts: [Act; 4] = [
        |keys, _| keys.create(CreateKey::new(Access::Full)).map(drop),
        |keys, id| keys.rotate(id, Rotate::forced()).map(drop),
        |keys, id| keys.update(id, UpdateKey::new().name("x")).map(drop),
        |keys, _| keys.revoke_all(Some(CreateKey::new(Access::Full))).map(drop),
    ];
    for (end, ending) in ends {
        for act in acts {
            let mut refused = 0;
            for nth in 1..20_i64 {
                let reads_left = Arc::new(std::sync::atomic::AtomicI64::new(0));
                let backend = Arc::new(Interrupted {
                    inner: Memory::new(),
                    meanwhile: OnceLock::new(),
                    reads_left: Arc::clone(&reads_left),
                });
                let clock = crate::common::clock();
                let store = crate::common::builder(&clock, nth.unsigned_abs());
                // The pieces of a revocation would read beside the call.
                let store = store.without_sweeps_for_tests();
                let store = store.open_on(Arc::clone(&backend) as _).unwrap();
                let world = World::of(Arc::new(store), clock);
                let (keys, acting) = world.owner("org");
                let target = keys.create(CreateKey::new(Access::Full)).unwrap().key.id;
                let provided = keys.provided(&verified(&world, &acting));
                let provided = provided.with_correlation_id("late").unwrap();
                let (ender, admin, id) = (keys.clone(), world.admin.clone(), acting.key.id);
                let meanwhile: Meanwhile = Box::new(move || {
                    // Another thread, as another request would be.
                    thread::scope(|scope| scope.spawn(|| end(&ender, &admin, id)).join().unwrap());
                });
                backend.meanwhile.set(meanwhile).ok().unwrap();
                reads_left.store(nth, std::sync::atomic::Ordering::SeqCst);
                let answer = act(&provided, target);
                let was_interrupted = reads_left.load(std::sync::atomic::Ordering::SeqCst) < 1;
                reads_left.store(0, std::sync::atomic::Ordering::SeqCst);
                let events = world.admin.events(&ListEvents::new()).unwrap().items;
                let ended = events.iter().position(|event| {
                    event.kind == ending && event.authority.correlation_id.is_none()
                });
                let acted =
                    events.iter().position(|event| event.authority.correlation_id.is_some());
                assert_eq!(answer.is_ok(), acted.is_some());
                if let (Some(ended), Some(acted)) = (ended, acted) {
                    assert!(acted < ended, "{ending:?} at read {nth}: {events:?}");
                }
                if answer.is_err() {
                    assert!(matches!(denied(answer), ForbiddenReason::ActingKeyRejected(_)));
                    refused += 1;
                }
                if !was_interrupted {
                    break;
                }
            }
            assert!(refused > 1, "{ending:?}: the key ended inside of {refused} calls");
        }
    }
}

/// The condition looks at the key, and is no use of it.
#[test]
fn a_key_of_limited_uses_is_not_used_up_by_acting() {
    let world = World::new();
    let rate = keyhasp::Rate::new(1, Duration::from_secs(60)).unwrap();
    let request = CreateKey::new(Access::Full).limits(SetLimits::new().rate(rate));
    let (keys, first) = world.owner_with("org", CreateOwner::with_key(request));
    let provided = keys.provided(&verified(&world, &first));
    for _ in 0..5 {
        provided.get(first.key.id).unwrap();
    }
    assert!(world.verifier.verify(first.token.expose()).is_err());
}
