//! The creation of a store: its first event, once, also for callers who come together.

use std::sync::{Arc, Barrier};

use keyhasp::backend::sqlite::{Sqlite, SqliteOptions};
use keyhasp::backend::{Backend, BackendErrorKind, EventFilter, EventQuery, Memory};
use keyhasp::{CreateOwner, Error, Event, EventKind, Store, StoreRules, Version};

use super::database;
use crate::common::keep_open::{KeepOpen, Point};
use crate::common::{World, builder, clock, owner};

fn events(backend: &dyn Backend) -> Vec<Event> {
    let filter = EventFilter::default();
    backend
        .events(&EventQuery { after: 0, before: None, filter, limit: 99, examine: 99 })
        .unwrap()
        .events
}

#[test]
fn the_first_event_says_so() {
    let (clock, database) = (clock(), database());
    let open = || drop(builder(&clock, 1).open_on(Arc::clone(&database)).unwrap());
    open();
    let [created] = &events(&*database)[..] else { panic!("not one event") };
    assert_eq!((created.sequence, created.kind), (1, EventKind::StoreCreated));
    assert_eq!((created.owner, created.key, created.version), (None, None, Version::FIRST));
    assert_eq!(created.at, keyhasp::Clock::now(&*clock));
    assert_eq!(created.authority.actor.as_str(), "keyhasp");
    open();
    assert_eq!(events(&*database).len(), 1, "opening it is no event");
}

/// Another process creates the store just before this one would.
#[test]
fn who_comes_second_opens_what_the_first_created() {
    let rules = StoreRules { unique_names: true, ..StoreRules::default() };
    for theirs in [StoreRules::default(), rules] {
        let (clock, database) = (clock(), Arc::new(KeepOpen::new(Memory::new())));
        let (beside, at) = (Arc::clone(&database), Arc::clone(&clock));
        database.plan(Point::BeforeCommit, move || {
            drop(builder(&at, 2).rules(theirs).open_on(beside).unwrap());
        });
        let opened = builder(&clock, 1).open_on(Arc::clone(&database) as _);
        assert_eq!(events(&*database).len(), 1, "one creation");
        match opened {
            Ok(_) => assert_eq!(theirs, StoreRules::default()),
            Err(error) => {
                assert!(matches!(error, Error::RulesDiffer(_)) && theirs == rules, "{error}");
            }
        }
    }
}

#[test]
fn of_many_creators_of_a_file_one_does_it() {
    const CREATORS: usize = 6;
    for _ in 0..5 {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys.db");
        let start = Barrier::new(CREATORS);
        let open = |seed| -> Store {
            start.wait();
            let options = SqliteOptions::shared(SqliteOptions::DEFAULT_STALENESS).unwrap();
            let (database, _) = Sqlite::open_or_create(&path, options).unwrap();
            builder(&clock(), seed).open(database).unwrap()
        };
        let stores: Vec<Store> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..CREATORS as u64).map(|seed| scope.spawn(move || open(seed))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        for store in stores {
            let world = World::of(Arc::new(store), clock());
            let found = world.admin.events(&keyhasp::ListEvents::new()).unwrap().items;
            let kinds: Vec<EventKind> = found.iter().map(|event| event.kind).collect();
            assert_eq!(kinds, [EventKind::StoreCreated]);
            world.store.close().unwrap();
        }
    }
}

/// A store's own record that is gone while it is open was lost or deleted; here without its trigger,
/// which would tell of a foreign writer.
#[test]
fn a_lost_record_of_the_store_is_damage() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.db");
    let database = Sqlite::create(&path, SqliteOptions::exclusive()).unwrap();
    let world = World::of(Arc::new(builder(&clock(), 1).open(database).unwrap()), clock());
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("DROP TRIGGER store_delete; DELETE FROM store").unwrap();
    let error = world.admin.create_owner(&owner("org"), CreateOwner::without_key()).unwrap_err();
    let Error::Backend(error) = error else { panic!("{error}") };
    assert_eq!(error.kind(), BackendErrorKind::Corrupt);
    assert!(error.to_string().contains("no store was created"), "{error}");
}
