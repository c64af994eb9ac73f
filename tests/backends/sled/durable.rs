//! Acknowledged changes are there again; closing; waiting.

use std::time::Duration;

use keyhasp::backend::{
    Backend, BackendErrorKind, Change, EventFilter, EventQuery, KeyFilter, KeyPageQuery,
    OwnerPageQuery, StateSet, Write,
};
use keyhasp::event::EventKind;
use keyhasp::id::{KeyId, NumericId};

use crate::sled::fixture::{
    Fixture, at, commit, create_key, create_owner, event, key, metadata, owner_id,
};

/// As long as only a defect takes.
const LONG: Duration = Duration::from_secs(600);

#[test]
fn everything_is_there_after_a_reopen() {
    let fixture = Fixture::new();
    let store = fixture.store();
    commit(&store, create_owner("a")).unwrap();
    for id in 1..=40 {
        let mut key = key("a", id);
        key.numeric_id = Some(NumericId::new(id as u64 * 10).unwrap());
        commit(&store, create_key(key)).unwrap();
    }
    // Dropped, not closed: what was acknowledged doesn't wait for either.
    drop(store);

    let store = fixture.open().unwrap();
    assert_eq!(store.metadata().unwrap(), Some(metadata()));
    assert_eq!(store.last_event().unwrap(), 42);
    // A waiter knows at once what came before.
    assert_eq!(store.wait(0, Duration::ZERO).unwrap(), 42);
    assert!(store.owner(&owner_id("a")).unwrap().is_some());
    for id in 1..=40 {
        let by_id = store.key(KeyId::from_u128(id)).unwrap().unwrap();
        assert_eq!(by_id.current.digest.expose(), &[id as u8; 32]);
        let numeric_id = NumericId::new(id as u64 * 10).unwrap();
        assert_eq!(store.key_by_numeric_id(numeric_id).unwrap().unwrap().id, by_id.id);
    }
    // And goes on where it was.
    let applied = commit(&store, create_key(key("a", 41))).unwrap();
    assert_eq!(applied.first_event, 43);
}

/// Ends the process without warning: nothing is dropped, flushed or unlocked.
#[test]
fn what_was_acknowledged_before_an_abort_is_there() {
    const DIR: &str = "KEYHASP_TEST_ABORT";
    if let Some(dir) = std::env::var_os(DIR) {
        let store =
            keyhasp::backend::sled::Sled::open(dir, crate::sled::fixture::options()).unwrap();
        for id in 1..=20 {
            commit(&store, create_key(key("a", id))).unwrap();
        }
        println!("all acknowledged");
        std::process::abort();
    }
    let fixture = Fixture::with_owner();
    let test = "sled::durable::what_was_acknowledged_before_an_abort_is_there";
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(DIR, fixture.dir())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("all acknowledged") && !output.status.success(), "{said}");

    let store = fixture.open().unwrap();
    assert_eq!(store.last_event().unwrap(), 22);
    for id in 1..=20 {
        assert!(store.key(KeyId::from_u128(id)).unwrap().is_some(), "{id}");
    }
}

#[test]
fn closed_is_closed() {
    let fixture = Fixture::new();
    let store = fixture.store();
    commit(&store, create_owner("a")).unwrap();
    store.close().unwrap();
    store.close().unwrap();

    let filter = KeyFilter::new(StateSet::ALL, at(0));
    let keys =
        KeyPageQuery { filter: filter.clone(), before: None, after: None, limit: 9, examine: 9 };
    let owners = OwnerPageQuery::all(9);
    let events =
        EventQuery { after: 0, before: None, filter: EventFilter::default(), limit: 9, examine: 9 };
    let id = KeyId::from_u128(1);
    let answers = [
        store.metadata().map(drop),
        store.scan(&mut |_| ()).map(drop),
        store.scan_owner(&owner_id("a"), &mut |_| ()),
        store.owner(&owner_id("a")).map(drop),
        store.key(id).map(drop),
        store.key_by_numeric_id(NumericId::new(1).unwrap()).map(drop),
        store.commit(&[]).map(drop),
        store.commit(&[create_owner("b")]).map(drop),
        store.page_keys(&keys).map(drop),
        store.count_keys(&filter).map(drop),
        store.page_owners(&owners).map(drop),
        store.events(&events).map(drop),
        store.last_event().map(drop),
        store.prune_events(at(9), 5_000).map(drop),
        store.wait(0, Duration::ZERO).map(drop),
        store.recover(),
    ];
    for (number, answer) in answers.into_iter().enumerate() {
        assert_eq!(answer.unwrap_err().kind(), BackendErrorKind::Closed, "{number}");
    }
    // Closing let go of everything, also while the closed handle is still there.
    let again = fixture.open().unwrap();
    assert!(again.owner(&owner_id("a")).unwrap().is_some());
}

#[test]
fn closing_waits_for_sleds_own_threads() {
    let fixture = Fixture::with_owner();
    for id in 0..100 {
        let store = fixture.open().unwrap();
        commit(&store, create_key(key("a", id))).unwrap();
        store.close().unwrap();
    }
}

#[test]
fn who_waits_is_woken_by_a_commit() {
    let fixture = Fixture::new();
    let store = fixture.store();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| store.wait(1, LONG).unwrap());
        commit(&store, create_owner("a")).unwrap();
        assert_eq!(waiter.join().unwrap(), 2);
    });
    assert_eq!(store.wait(2, Duration::from_millis(1)).unwrap(), 2);
}

#[test]
fn who_waits_is_woken_by_closing() {
    let fixture = Fixture::new();
    let store = fixture.store();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| store.wait(1, LONG));
        store.close().unwrap();
        let error = waiter.join().unwrap().unwrap_err();
        assert_eq!(error.kind(), BackendErrorKind::Closed);
    });
}

#[test]
fn pruning_goes_on_through_many_chunks_and_keeps_the_newest() {
    let fixture = Fixture::new();
    let store = fixture.store();
    let (owner, key) = (owner_id("a"), KeyId::from_u128(7));
    let tick = |time: u64| {
        let mut draft = event(EventKind::TokenRevealed, Some(owner), Some(key));
        draft.at = at(time);
        Change::of(Write::Nothing, draft)
    };
    // With that of the creation, the number of an event is its time.
    let batch: Vec<Change> = (2..=1_500).map(tick).collect();
    store.commit(&batch).unwrap();

    let read = |filter: EventFilter| {
        let query = EventQuery { after: 0, before: None, filter, limit: 10_000, examine: 10_000 };
        let page = store.events(&query).unwrap();
        let numbers: Vec<u64> = page.events.iter().map(|event| event.sequence).collect();
        (numbers, page.pruned_through)
    };
    let by_all = || {
        [
            EventFilter::default(),
            EventFilter { key: Some(key), ..EventFilter::default() },
            EventFilter { owner: Some(owner), ..EventFilter::default() },
        ]
        .map(read)
    };
    assert_eq!(store.prune_events(at(1_201), 5_000).unwrap(), 1_200);
    let left: Vec<u64> = (1_201..=1_500).collect();
    assert_eq!(by_all(), [(left.clone(), 1_200), (left.clone(), 1_200), (left, 1_200)]);
    assert_eq!(store.prune_events(at(1_201), 5_000).unwrap(), 0);

    assert_eq!(store.prune_events(at(9_999), 5_000).unwrap(), 299);
    assert_eq!(by_all(), [(vec![1_500], 1_499), (vec![1_500], 1_499), (vec![1_500], 1_499)]);
    assert_eq!(store.prune_events(at(9_999), 5_000).unwrap(), 0);
    assert_eq!(commit(&store, tick(1)).unwrap().first_event, 1_501);
}

#[test]
fn commits_of_many_threads_come_one_after_the_other() {
    let fixture = Fixture::new();
    let store = fixture.store();
    commit(&store, create_owner("a")).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4_u128 {
            let store = &store;
            scope.spawn(move || {
                for id in 0..25 {
                    commit(store, create_key(key("a", thread << 64 | id))).unwrap();
                    let mut seen = 0;
                    store.scan(&mut |_| seen += 1).unwrap();
                    assert!(seen > 1);
                }
            });
        }
    });
    assert_eq!(store.last_event().unwrap(), 102);
    let filter = KeyFilter::new(StateSet::ALL, at(0));
    assert_eq!(store.count_keys(&filter).unwrap(), 100);
}
