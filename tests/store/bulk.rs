//! Many changes by one call: each has its own outcome, and others commit in between.

#![allow(clippy::unwrap_used, clippy::panic)] // It is a test.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use keyhasp::backend::{
    Backend, BackendError, BackendErrorKind, BackendLayer, Change, CommitOutcome, Memory,
};
use keyhasp::key::StoreRules;
use keyhasp::store::{ForbiddenReason, ListEvents, Resource, StateProblem};
use keyhasp::{
    Access, AdminKeys, CreateKey, CreateOwner, DelegatedKeys, Error, Issued, KeyId, KeyStore,
    ListKeys, State,
};
use proptest::prelude::*;

use crate::common::{World, builder, clock, owner};

/// The number of changes in one piece.
const PIECE: usize = 64;

/// A backend that notes how many changes each commit has, and does something before one.
#[derive(Debug, Default)]
struct Noted {
    memory: Memory,
    sizes: Mutex<Vec<usize>>,
    fails: Mutex<Option<BackendErrorKind>>,
    /// Whether a failing commit has happened all the same.
    writes: AtomicBool,
}

impl BackendLayer for Noted {
    fn inner(&self) -> &dyn Backend {
        &self.memory
    }

    fn commit(&self, batch: &[Change]) -> Result<CommitOutcome, BackendError> {
        self.sizes.lock().unwrap().push(batch.len());
        let Some(kind) = self.fails.lock().unwrap().take() else {
            return self.memory.commit(batch);
        };
        if self.writes.load(Ordering::SeqCst) {
            self.memory.commit(batch)?;
        }
        Err(BackendError::new(kind, "noted", "commit"))
    }
}

fn noted() -> (World, Arc<Noted>) {
    let (clock, backend) = (clock(), Arc::new(Noted::default()));
    let store = builder(&clock, 1).open_on(Arc::<Noted>::clone(&backend)).unwrap();
    (World::of(Arc::new(store) as Arc<dyn KeyStore>, clock), backend)
}

fn sizes(backend: &Noted) -> Vec<usize> {
    std::mem::take(&mut *backend.sizes.lock().unwrap())
}

fn full() -> CreateKey {
    CreateKey::new(Access::Full)
}

fn create(admin: &AdminKeys, count: usize) -> Vec<Issued> {
    let requests = (0..count).map(|_| (owner("org"), full()));
    admin.create_many(requests).collect::<Result<_, _>>().unwrap()
}

fn ids(issued: &[Issued]) -> Vec<KeyId> {
    issued.iter().map(|issued| issued.key.id).collect()
}

#[test]
fn pieces_are_one_write_each_and_made_when_they_are_asked_for() {
    let (world, backend) = noted();
    let (keys, _) = world.owner("org");
    sizes(&backend);
    let requests = (0..150).map(|_| (owner("org"), full()));
    let mut creations = world.admin.create_many(requests);
    assert!(sizes(&backend).is_empty());
    let first = creations.next().unwrap().unwrap();
    assert_eq!(sizes(&backend), [PIECE]);
    // Another caller commits between two pieces.
    keys.create(full()).unwrap();
    let mut issued = vec![first];
    issued.extend(creations.next_piece().unwrap().into_iter().map(Result::unwrap));
    assert_eq!(issued.len(), PIECE);
    issued.extend(creations.map(Result::unwrap));
    assert_eq!(sizes(&backend), [1, PIECE, 150 - 2 * PIECE]);
    assert_eq!(issued.len(), 150);
    assert!(issued.iter().all(|it| world.verifier.verify(it.token.expose()).is_ok()));

    let ids = ids(&issued);
    let revoked: Vec<_> = world.admin.revoke_many(ids.clone()).collect();
    assert!(revoked.iter().all(Result::is_ok));
    assert_eq!(sizes(&backend), [PIECE, PIECE, 150 - 2 * PIECE]);
    assert!(issued.iter().all(|it| world.verifier.verify(it.token.expose()).is_err()));
    let purged: Vec<_> = world.admin.purge_many(ids).collect();
    assert!(purged.len() == 150 && purged.iter().all(Result::is_ok));
    assert_eq!(sizes(&backend), [PIECE, PIECE, 150 - 2 * PIECE]);
    let left = world.admin.count(&ListKeys::new().states(State::ALL)).unwrap();
    assert_eq!(left, 2);
}

#[test]
fn debug_shows_no_outcome() {
    let (world, _) = noted();
    world.owner("org");
    let mut creations = world.admin.create_many((0..3).map(|_| (owner("org"), full())));
    assert!(creations.next().unwrap().is_ok());
    assert_eq!(format!("{creations:?}"), "Bulk { ready: 2, .. }");
}

#[test]
fn a_caller_that_drops_it_leaves_later_pieces_undone() {
    let (world, _) = noted();
    world.owner("org");
    let issued = create(&world.admin, 2 * PIECE);
    let mut revocations = world.admin.revoke_many(ids(&issued));
    assert!(revocations.next().unwrap().is_ok());
    drop(revocations);
    let is_good = |it: &&Issued| world.verifier.verify(it.token.expose()).is_ok();
    assert_eq!(issued.iter().filter(is_good).count(), PIECE);
    assert!(world.admin.revoke_many([]).next().is_none());
}

#[test]
fn each_has_its_own_outcome_and_changes_no_other() {
    let (world, _) = noted();
    let (keys, first) = world.owner("org");
    let (_, others) = world.owner("other");
    let issued = ids(&create(&world.admin, 3));
    let _ = world.admin.revoke(issued[1]).unwrap();
    world.admin.purge(issued[1]).unwrap();
    // One that is gone, one of another owner, one twice.
    let all = [issued[0], issued[1], others.key.id, issued[2], issued[2]];
    let outcomes: Vec<_> = keys.revoke_many(all).collect();
    let not_found =
        |outcome: &Result<_, Error>| matches!(outcome, Err(Error::NotFound(Resource::Key)));
    assert!(outcomes[0].is_ok() && outcomes[3].is_ok() && outcomes[4].is_ok());
    assert!(not_found(&outcomes[1]) && not_found(&outcomes[2]));
    let state = |id| world.admin.get(id).unwrap().state;
    assert_eq!([issued[0], issued[2]].map(state), [State::Revoked; 2]);
    assert_eq!([others.key.id, first.key.id].map(state), [State::Active; 2]);
    let live = world.admin.purge_many([first.key.id, issued[0]]).collect::<Vec<_>>();
    assert!(matches!(live[0], Err(Error::State(StateProblem::NotRevoked))));
    assert!(live[1].is_ok());
}

#[test]
fn what_one_rests_on_may_be_created_before_it() {
    let (world, _) = noted();
    let with_owner = full().or_create_owner(CreateOwner::without_key());
    let requests = [
        (owner("a"), full()),
        (owner("a"), with_owner.clone()),
        (owner("a"), full()),
        (owner("b"), with_owner.clone()),
        (owner("b"), with_owner),
    ];
    let outcomes: Vec<_> = world.admin.create_many(requests).collect();
    assert!(matches!(outcomes[0], Err(Error::NotFound(Resource::Owner))));
    assert!(outcomes[1..].iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!(world.admin.list_owners(&keyhasp::ListOwners::new()).unwrap().items.len(), 2);
}

#[test]
fn owners_create_and_revoke_many_of_their_own() {
    let (world, _) = noted();
    let (keys, _) = world.owner("org");
    let mut requests: Vec<_> = (0..3).map(|_| full()).collect();
    requests.push(CreateKey::trial(Access::Full, keyhasp::Expiry::Never));
    let outcomes: Vec<_> = keys.create_many(requests).collect();
    assert!(outcomes[..3].iter().all(Result::is_ok));
    let forbidden = ForbiddenReason::AdministratorOnly;
    assert!(matches!(&outcomes[3], Err(Error::Forbidden(reason)) if *reason == forbidden));
    let created: Vec<KeyId> = outcomes.into_iter().flatten().map(|it| it.key.id).collect();
    assert!(keys.revoke_many(created).all(|outcome| outcome.is_ok()));
}

/// A key that acts gives no more than it has, whether it gives one or many, and ends none of another
/// owner's.
#[test]
fn an_acting_key_creates_and_revokes_many_within_what_it_may() {
    let (world, _) = noted();
    let (keys, _) = world.owner("org");
    let (_, others) = world.owner("other");
    let acting = keys.create(CreateKey::new(Access::ReadOnly)).unwrap();
    let verified = world.verifier.verify(acting.token.expose()).unwrap();
    let script = DelegatedKeys::new(Arc::clone(&world.store), &verified, "a script").unwrap();
    let read_only = || CreateKey::new(Access::ReadOnly);
    let outcomes: Vec<_> = script.create_many([read_only(), full(), read_only()]).collect();
    let beyond = ForbiddenReason::BeyondActingKey;
    assert!(matches!(&outcomes[1], Err(Error::Forbidden(reason)) if *reason == beyond));
    assert!(outcomes[0].is_ok() && outcomes[2].is_ok());
    let [one, last] = [0, 2].map(|at: usize| outcomes[at].as_ref().unwrap().key.id);
    let ended: Vec<_> = script.revoke_many([one, others.key.id, acting.key.id, last]).collect();
    assert!(ended[0].is_ok() && ended[2].is_ok());
    assert!(matches!(ended[1], Err(Error::NotFound(Resource::Key))));
    // By then the acting key is revoked.
    assert!(matches!(ended[3], Err(Error::Forbidden(ForbiddenReason::ActingKeyRejected(_)))));
    assert!(world.verifier.verify(others.token.expose()).is_ok());
}

#[test]
fn an_expected_version_holds_for_each() {
    let (world, _) = noted();
    world.owner("org");
    let issued = create(&world.admin, 2);
    let [one, other] = [issued[0].key.id, issued[1].key.id];
    let _ = world.admin.deactivate(other).unwrap();
    let handle = world.admin.if_version(issued[0].key.version);
    let outcomes: Vec<_> = handle.revoke_many([one, other]).collect();
    assert!(outcomes[0].is_ok());
    assert!(matches!(outcomes[1], Err(Error::Conflict { .. })), "{:?}", outcomes[1]);
}

#[test]
fn a_piece_that_fails_is_said_of_each_of_it_and_the_next_goes_on() {
    for (kind, writes) in [
        (BackendErrorKind::Io, false),
        (BackendErrorKind::OutcomeUnknown, false),
        (BackendErrorKind::OutcomeUnknown, true),
    ] {
        let (world, backend) = noted();
        world.owner("org");
        backend.writes.store(writes, Ordering::SeqCst);
        *backend.fails.lock().unwrap() = Some(kind);
        let requests = (0..PIECE + 3).map(|_| (owner("org"), full()));
        let outcomes: Vec<_> = world.admin.create_many(requests).collect();
        let (failed, went_on) = outcomes.split_at(PIECE);
        let is_unknown = kind == BackendErrorKind::OutcomeUnknown;
        let is_said = |outcome: &Result<Issued, Error>| match outcome {
            Err(Error::OutcomeUnknown(error)) => is_unknown && error.kind() == kind,
            Err(Error::Backend(error)) => !is_unknown && error.kind() == kind,
            _ => false,
        };
        assert!(failed.iter().all(is_said), "{kind:?}");
        assert!(went_on.len() == 3 && went_on.iter().all(Result::is_ok), "{kind:?}");
        let there = world.admin.count(&ListKeys::new()).unwrap();
        assert_eq!(there, if writes { 4 + PIECE as u64 } else { 4 });
    }
}

/// Damage of one key fails neither its piece nor the others: it is ended all the same.
#[cfg(feature = "testing")]
#[test]
fn a_damaged_key_is_revoked_among_others() {
    use keyhasp::backend::DamagedRecord;
    use keyhasp::testing::Failing;
    let (clock, backend) = (clock(), Arc::new(Failing::new(Memory::new())));
    let store = builder(&clock, 1).open_on(Arc::<Failing<Memory>>::clone(&backend)).unwrap();
    let world = World::of(Arc::new(store) as Arc<dyn KeyStore>, clock);
    world.owner("org");
    let issued = create(&world.admin, 3);
    let damaged = issued[1].key.id;
    backend.damage(DamagedRecord::Key(damaged));
    let outcomes: Vec<_> = world.admin.revoke_many(ids(&issued)).collect();
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert!(outcomes[1].as_ref().unwrap().clone().whole().is_none());
    assert!(issued.iter().all(|it| world.verifier.verify(it.token.expose()).is_err()));
}

/// One of several calls.
#[derive(Clone, Debug)]
enum Many {
    /// Each key's name and owner.
    Create(Vec<(u8, u8)>),
    Revoke(Vec<usize>),
    Purge(Vec<usize>),
}

fn many() -> impl Strategy<Value = Many> {
    let places = || prop::collection::vec(0..12_usize, 0..6);
    prop_oneof![
        2 => prop::collection::vec((0..5_u8, 0..3_u8), 0..6).prop_map(Many::Create),
        1 => places().prop_map(Many::Revoke),
        1 => places().prop_map(Many::Purge),
    ]
}

/// The outcome in words that are the same for every store.
fn said<T>(outcome: &Result<T, Error>) -> String {
    match outcome {
        Ok(_) => "done".into(),
        Err(Error::NameTaken(_)) => "name taken".into(),
        Err(error) => error.to_string(),
    }
}

proptest! {
    /// The outcomes, and the keys after them, are those of one call after the other.
    #[test]
    fn outcomes_are_those_of_one_call_after_the_other(
        calls in prop::collection::vec(many(), 1..8),
        keep_standard_key: bool,
    ) {
        let rules = StoreRules { unique_names: true, keep_standard_key, ..StoreRules::default() };
        let world = || {
            let world = World::with(|builder| builder.rules(rules), Memory::new());
            // The third owner isn't there.
            for (id, max_keys) in [("o0", 4), ("o1", 1_000)] {
                world.owner_with(id, CreateOwner::with_key(full()).max_keys(max_keys));
            }
            world
        };
        let (one, together) = (world(), world());
        let all = |world: &World| {
            let all = ListKeys::new().states(State::ALL).limit(1_000);
            let mut keys = world.admin.list(&all).unwrap().items;
            keys.reverse();
            keys
        };
        for call in calls {
            let pick = |world: &World, places: &[usize]| -> Vec<KeyId> {
                let keys = all(world);
                let missing = KeyId::from_u128(1);
                places.iter().map(|at| keys.get(*at).map_or(missing, |key| key.id)).collect()
            };
            let (expected, found): (Vec<_>, Vec<_>) = match &call {
                Many::Create(requests) => {
                    let requests = requests.iter().map(|(name, of)| {
                        (owner(&format!("o{of}")), full().name(format!("key {name}")))
                    });
                    let requests: Vec<_> = requests.collect();
                    let single = requests.iter().cloned().map(|(of, it)| one.admin.create(&of, it));
                    let expected = single.map(|it| said(&it)).collect();
                    let found = together.admin.create_many(requests).map(|it| said(&it)).collect();
                    (expected, found)
                }
                Many::Revoke(places) => (
                    pick(&one, places).into_iter().map(|id| said(&one.admin.revoke(id))).collect(),
                    together.admin.revoke_many(pick(&together, places)).map(|it| said(&it)).collect(),
                ),
                Many::Purge(places) => (
                    pick(&one, places).into_iter().map(|id| said(&one.admin.purge(id))).collect(),
                    together.admin.purge_many(pick(&together, places)).map(|it| said(&it)).collect(),
                ),
            };
            prop_assert_eq!(&found, &expected, "{:?}", call);
            let shown = |world: &World| -> Vec<_> {
                let keys = all(world).into_iter();
                keys.map(|key| (key.owner, key.name.clone(), key.state, key.version)).collect()
            };
            prop_assert_eq!(shown(&together), shown(&one));
            let events = |world: &World| world.admin.events(&ListEvents::new().limit(1_000)).unwrap();
            prop_assert_eq!(events(&together).items.len(), events(&one).items.len());
        }
    }
}
