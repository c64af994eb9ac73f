//! `lifecycle/CALL/BACKEND`: one management call, durable where the backend is.

use std::sync::Arc;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion};
use keyhasp::backend::{Backend, Memory};
use keyhasp::{
    Access, AdminKeys, Catalogue, CreateKey, CreateOwner, KeyStore, ListKeys, OwnerId, Peppers,
    Prefix, Rotate, State, Store,
};

use crate::synthetic::{PEPPER, PREFIX};

/// Number of keys of the listed owner.
const LISTED: usize = 1_000;

pub fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("lifecycle");
    calls(&mut group, "memory", |_| Memory::new());
    calls(&mut group, "sqlite", |dir| {
        use keyhasp::backend::sqlite::{Sqlite, SqliteOptions};
        Sqlite::open_or_create(dir.join("keys.db"), SqliteOptions::exclusive()).unwrap().0
    });
    calls(&mut group, "sled", |dir| {
        use keyhasp::backend::sled::{Sled, SledOptions};
        Sled::open_or_create(dir.join("keys"), SledOptions::default()).unwrap().0
    });
}

fn calls<B: Backend>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    backend: impl Fn(&std::path::Path) -> B,
) {
    let with_store = |measure: &mut dyn FnMut(&AdminKeys, &OwnerId)| {
        let dir = tempfile::tempdir().unwrap();
        let store = open(backend(dir.path()));
        let admin = AdminKeys::new(Arc::clone(&store), "bench").unwrap();
        let owner = OwnerId::new("org").unwrap();
        admin.create_owner(&owner, CreateOwner::without_key().max_keys(u32::MAX)).unwrap();
        measure(&admin, &owner);
        store.close().unwrap();
    };
    group.bench_function(format!("create/{name}"), |b| {
        with_store(&mut |admin, owner| {
            b.iter(|| {
                let issued = admin.create(owner, CreateKey::new(Access::Full)).unwrap();
                assert_eq!(issued.key.state, State::Active);
            });
        });
    });
    group.bench_function(format!("rotate/{name}"), |b| {
        with_store(&mut |admin, owner| {
            let key = admin.create(owner, CreateKey::new(Access::Full)).unwrap().key;
            let mut generation = key.generation.get();
            b.iter(|| {
                // Otherwise the numbers run out, after 16 million.
                let issued = admin.rotate(key.id, Rotate::new()).unwrap();
                generation += 1;
                assert_eq!(issued.key.generation.get(), generation);
            });
        });
    });
    group.bench_function(format!("switch/{name}"), |b| {
        with_store(&mut |admin, owner| {
            let key = admin.create(owner, CreateKey::new(Access::Full)).unwrap().key;
            b.iter(|| {
                assert_eq!(admin.block(key.id).unwrap().whole().unwrap().state, State::Blocked);
                assert_eq!(admin.unblock(key.id).unwrap().state, State::Active);
            });
        });
    });
    group.bench_function(format!("page/{name}"), |b| {
        with_store(&mut |admin, owner| {
            for _ in 0..LISTED {
                admin.create(owner, CreateKey::new(Access::Full)).unwrap();
            }
            let query = ListKeys::new().owner(*owner).states([State::Active]).limit(100);
            b.iter(|| assert_eq!(admin.list(&query).unwrap().items.len(), 100));
        });
    });
}

fn open(backend: impl Backend) -> Arc<dyn KeyStore> {
    let catalogue = Catalogue::builder().read("links:read").write("links:write").build().unwrap();
    let builder = Store::builder(catalogue, [Prefix::new(PREFIX).unwrap()]);
    Arc::new(builder.peppers(Peppers::new(1, PEPPER).unwrap()).open(backend).unwrap())
}
