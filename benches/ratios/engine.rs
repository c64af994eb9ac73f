//! The cost of the store over the engine below it, which does the same by hand.

use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Instant;

use keyhasp::backend::Backend;
use keyhasp::{
    Access, AdminKeys, CreateKey, CreateOwner, KeyStore, ListKeys, OwnerId, OwnerKeys, Verifier,
};

use crate::filled::{DEACTIVATED, KEYS, open};
use crate::measure::{figure, ratio, ratio_of, time};
use crate::synthetic::token;

/// Number of times that a large database is opened.
pub const OPENINGS: usize = 7;
/// Number of keys that one measurement of `create` creates.
const CREATED: u64 = 10;
/// The callers that create at once, and the keys that each of them creates.
const CALLERS: usize = 64;
const CREATED_BY_EACH: usize = 8;
/// Number of measurements of the callers.
const TURNS: usize = 15;

/// The owner whose keys are created.
pub fn owner() -> OwnerId {
    OwnerId::new("org-000000000001").unwrap()
}

/// Makes a database of one owner with two keys, the second of them created by the owner.
pub fn make_small(backend: impl Backend) {
    let store = open(backend);
    let admin = AdminKeys::new(Arc::clone(&store), "bench").unwrap();
    let request = CreateOwner::with_key(CreateKey::new(Access::Full)).max_keys(u32::MAX);
    admin.create_owner(&owner(), request).unwrap();
    create(&owner_keys(&store), 1);
    store.close().unwrap();
}

pub fn owner_keys(store: &Arc<dyn KeyStore>) -> OwnerKeys {
    OwnerKeys::new(Arc::clone(store), owner(), "bench").unwrap()
}

pub fn create(keys: &OwnerKeys, count: u64) {
    for _ in 0..count {
        let issued = keys.create(CreateKey::new(Access::Full)).unwrap();
        assert_eq!(issued.key.owner, owner());
    }
}

/// A durable create over one by hand. Both databases were made by [`make_small`]; `by_hand`
/// creates one key.
pub fn creations(name: &str, backend: impl Backend, mut by_hand: impl FnMut()) {
    let store = open(backend);
    let keys = owner_keys(&store);
    let mut created = 2;
    let value = ratio(
        || {
            create(&keys, CREATED);
            created += CREATED;
        },
        || (0..CREATED).for_each(|_| by_hand()),
    );
    figure(name, value, "x_engine");
    assert_eq!(keys.count(&ListKeys::new()).unwrap(), created);
    store.close().unwrap();
}

/// The rate of 64 callers at once over that of one, on a database of [`make_small`].
pub fn callers(name: &str, backend: impl Backend) {
    let store = open(backend);
    let keys = owner_keys(&store);
    let alone = || time(|| create(&keys, CALLERS as u64)) / CALLERS as f64;
    let together = || {
        let start = Barrier::new(CALLERS);
        // The clock runs from the moment at which the first of them begins.
        let started = thread::scope(|scope| {
            let call = || {
                start.wait();
                let started = Instant::now();
                create(&keys, CREATED_BY_EACH as u64);
                started
            };
            let callers: Vec<_> = (0..CALLERS).map(|_| scope.spawn(call)).collect();
            callers.into_iter().map(|caller| caller.join().unwrap()).min().unwrap()
        });
        started.elapsed().as_secs_f64() * 1e9 / (CALLERS * CREATED_BY_EACH) as f64
    };
    figure(name, ratio_of(TURNS, alone, together), "x_one_caller");
    let created = 2 + (TURNS + 1) * CALLERS * (1 + CREATED_BY_EACH);
    assert_eq!(keys.count(&ListKeys::new()).unwrap(), created as u64);
    store.close().unwrap();
}

/// Measures opening a store of [`KEYS`] keys, all of which it knows then.
pub fn opening<B: Backend>(backend: impl FnOnce() -> B) -> f64 {
    opening_of(KEYS, 0, backend)
}

/// Measures opening a store of so many keys by [`fill`](crate::filled::fill), and some more.
pub fn opening_of<B: Backend>(keys: u64, more: u64, backend: impl FnOnce() -> B) -> f64 {
    let started = Instant::now();
    let store = open(backend());
    let took = started.elapsed().as_secs_f64() * 1e9;
    let verifier = Verifier::new(Arc::clone(&store));
    for number in [0, 1, keys / 2, keys - 1] {
        let is_active = !number.is_multiple_of(DEACTIVATED);
        assert_eq!(verifier.verify(token(number, 1)).is_ok(), is_active);
    }
    assert_eq!(store.health().tokens as u64, keys + more);
    store.close().unwrap();
    took
}
