//! Owners that had one id, one after the other: nothing of the first reaches the second.

#![allow(clippy::unwrap_used, clippy::panic)] // It is a test.

use std::collections::BTreeSet;
use std::sync::Arc;

use keyhasp::backend::{Backend, Memory, UsageChange, UsageSubject};
use keyhasp::key::{LeaseRequest, RejectReason};
use keyhasp::store::{Resource, StoreBuilder};
use keyhasp::{
    Access, CreateKey, CreateOwner, DelegatedKeys, Error, Event, EventKind, ListEvents, Period,
    Quota, Refill, SetLimits, VerifyError,
};

use crate::common::{World, builder, clock, owner};

fn all(event: &[Event]) -> Vec<u64> {
    event.iter().map(|event| event.sequence).collect()
}

fn purge(world: &World, id: &str) {
    let _ = world.admin.suspend_owner(&owner(id)).unwrap();
    world.admin.purge_owner(&owner(id)).unwrap();
}

#[test]
fn an_owner_reads_no_event_of_another_one_that_had_its_id() {
    // The pieces of the purge would write events beside.
    let world = World::with(StoreBuilder::without_sweeps_for_tests, Memory::new());
    let (first, theirs) = world.owner("org");
    first.deactivate(theirs.key.id).unwrap();
    let before = all(&first.events(&ListEvents::new()).unwrap().items);
    assert_eq!(before, [2, 3, 4]);
    let old = world.admin.owner(&owner("org")).unwrap().incarnation;
    purge(&world, "org");
    // Without an owner there is nothing to read.
    let none = first.events(&ListEvents::new());
    assert!(matches!(none, Err(Error::NotFound(Resource::Owner))), "{none:?}");

    let (second, issued) = world.owner("org");
    let new = world.admin.owner(&owner("org")).unwrap().incarnation;
    assert_ne!(old, new);
    let verified = world.verifier.verify(issued.token.expose()).unwrap();
    let delegate = DelegatedKeys::new(Arc::clone(&world.store), &verified, "ci").unwrap();
    for queried in [ListEvents::new(), ListEvents::new().owner(owner("org"))] {
        for items in [second.events(&queried), delegate.events(&queried)] {
            let items = items.unwrap().items;
            assert_eq!(items[0].kind, EventKind::OwnerCreated);
            assert_eq!(all(&items), [7, 8], "after the purge");
            assert!(items.iter().all(|event| event.incarnation == Some(new)));
        }
    }
    let of_key = second.events(&ListEvents::new().key(theirs.key.id)).unwrap();
    assert_eq!((of_key.items.len(), of_key.next), (0, None));
    // An administrator sees both, and tells them apart.
    let admin = |query: ListEvents| all(&world.admin.events(&query).unwrap().items);
    let query = || ListEvents::new().owner(owner("org"));
    assert_eq!(admin(query()), (2..=8).collect::<Vec<_>>());
    assert_eq!(admin(query().incarnation(old)), (2..=6).collect::<Vec<_>>());
    assert_eq!(admin(query().incarnation(new)), [7, 8]);
    // The number of another one opens nothing.
    let asked = second.events(&ListEvents::new().incarnation(old));
    assert!(matches!(asked, Err(Error::NotFound(Resource::Owner))), "{asked:?}");
}

/// Counts the uses that a token has until it is rejected.
fn uses(world: &World, token: &str, most: u32) -> u32 {
    let accepted = |answer: Result<_, VerifyError>| match answer {
        Ok(_) => true,
        Err(VerifyError::Rejected(RejectReason::QuotaExhausted { .. })) => false,
        Err(error) => panic!("{error}"),
    };
    (0..most).take_while(|_| accepted(world.verifier.verify(token).map(drop))).count() as u32
}

/// A lease that comes back late, and one that a process still holds, are of the first owner's quota.
#[test]
fn no_lease_of_an_owner_serves_another_one_that_took_its_id() {
    const USES: u32 = 1_600;
    let clock = clock();
    let backend: Arc<dyn Backend> = Arc::new(Memory::new());
    let store = builder(&clock, 1).open_on(Arc::clone(&backend)).unwrap();
    let world = World::of(Arc::new(store), clock);
    let quota = Quota::one_time(USES.into()).unwrap();
    let quota = quota.with_refill(Refill::new(1, Period::Month).unwrap());
    let request = || {
        CreateOwner::with_key(CreateKey::new(Access::Full)).limits(SetLimits::new().quota(quota))
    };
    let (_, first) = world.owner_with("org", request());
    assert_eq!(uses(&world, first.token.expose(), 10), 10);
    let of = UsageSubject::Owner(owner("org"));
    let lease = |needed| {
        let at = world.now();
        let request = LeaseRequest { held: 0, needed, least: 1 };
        let leased = backend.record_usage(&[UsageChange::Lease { of, request, at }]);
        leased.unwrap().remove(0).unwrap()
    };
    let late = lease(300);
    assert!(late.units >= 100);
    purge(&world, "org");

    let (_, second) = world.owner_with("org", request());
    assert_eq!(uses(&world, second.token.expose(), 500), 500);
    assert_ne!(lease(1).quota_version, late.quota_version);
    let back = UsageChange::GiveBack { of, lease: late, at: world.now() };
    assert_eq!(backend.record_usage(&[back]).unwrap(), [None]);
    let rest = uses(&world, second.token.expose(), USES);
    // What this test leased for itself is missing; nothing was added.
    assert!(500 + rest < USES, "{} uses of {USES}", 500 + rest);
}

/// Each is drawn for itself, also with other owners beside it.
#[test]
fn incarnations_differ() {
    let world = World::new();
    let mut seen = BTreeSet::new();
    for round in 0..20 {
        for id in ["a", "b"] {
            let made = world.admin.create_owner(&owner(id), CreateOwner::without_key()).unwrap();
            assert!(seen.insert(made.owner.incarnation), "{round}");
        }
        purge(&world, "a");
        purge(&world, "b");
    }
}
