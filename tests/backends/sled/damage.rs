//! What is stored is damaged, or a later version's: an error that says so, never a panic, and
//! nothing made up.

use std::fs;

use keyhasp::backend::sled::Sled;
use keyhasp::backend::{
    Backend, BackendError, BackendErrorKind, EventFilter, EventQuery, KeyFilter, KeyPageQuery,
    OwnerPageQuery, Rejection, Scanned, StateSet,
};
use keyhasp::id::KeyId;
use proptest::prelude::*;

use crate::common::records::longest_settings;
use crate::sled::fixture::{Fixture, at, commit, create_key, entries, key, options, owner_id};

/// A store, closed, with an owner and three keys, one of them in chunks.
fn stored() -> Fixture {
    let fixture = Fixture::with_owner();
    let store = fixture.open().unwrap();
    for id in 1..=3 {
        let mut key = key("a", id);
        if id == 3 {
            key.settings = longest_settings();
        }
        commit(&store, create_key(key)).unwrap();
    }
    store.close().unwrap();
    fixture
}

/// Every value of a tree, changed or (`None`) removed.
fn change(fixture: &Fixture, tree: &str, change: impl Fn(&[u8]) -> Option<Vec<u8>>) {
    fixture.raw(1, |db| {
        let tree = db.open_tree(tree).unwrap();
        for entry in &tree {
            let (key, value) = entry.unwrap();
            match change(&value) {
                Some(value) => tree.insert(key, value).unwrap(),
                None => tree.remove(key).unwrap(),
            };
        }
    });
}

/// Damage that is shown is an error here.
fn shown(is_whole: bool) -> Result<(), BackendError> {
    let damaged = BackendError::new(BackendErrorKind::Corrupt, "sled", "read");
    if is_whole { Ok(()) } else { Err(damaged.at(std::path::Path::new("shown"))) }
}

type Visit<'a> = &'a mut dyn FnMut(Scanned);

fn scanned(scan: &dyn Fn(Visit<'_>) -> Result<(), BackendError>) -> Result<(), BackendError> {
    let mut is_whole = true;
    scan(&mut |one| is_whole &= !matches!(one, Scanned::Damaged(_)))?;
    shown(is_whole)
}

/// All that reads, and what came of it.
fn read_everything(store: &dyn Backend) -> Vec<Result<(), BackendErrorKind>> {
    let filter = KeyFilter::new(StateSet::ALL, at(0));
    let of_owner = KeyFilter { owner: Some(owner_id("a")), ..filter.clone() };
    let page = |filter: &KeyFilter| {
        let filter = filter.clone();
        let query = KeyPageQuery { filter, before: None, after: None, limit: 9, examine: 9 };
        store.page_keys(&query).and_then(|page| shown(page.damaged.is_empty()))
    };
    let events = |filter| {
        let query = EventQuery { after: 0, before: None, filter, limit: 99, examine: 99 };
        store.events(&query).and_then(|page| shown(page.damaged.is_empty()))
    };
    let owners = OwnerPageQuery::all(9);
    let answers = [
        store.metadata().map(drop),
        scanned(&|visit| store.scan(visit).map(drop)),
        scanned(&|visit| store.scan_owner(&owner_id("a"), visit)),
        store.owner(&owner_id("a")).map(drop),
        store.key(KeyId::from_u128(1)).map(drop),
        store.key(KeyId::from_u128(3)).map(drop),
        page(&filter),
        page(&of_owner),
        store.count_keys(&filter).map(drop),
        store.count_keys(&of_owner).map(drop),
        store.page_owners(&owners).and_then(|page| shown(page.damaged.is_empty())),
        events(EventFilter::default()),
        events(EventFilter { owner: Some(owner_id("a")), ..EventFilter::default() }),
        events(EventFilter { key: Some(KeyId::from_u128(1)), ..EventFilter::default() }),
        store.prune_events(at(0), 9).map(drop),
        store
            .commit(&[create_key(key("a", 9))])
            .and_then(|outcome| shown(!matches!(outcome[..], [Err(Rejection::Damaged(_))]))),
    ];
    let kind = |error: BackendError| {
        assert!(error.place().is_some(), "{error}");
        error.kind()
    };
    answers.into_iter().map(|answer| answer.map_err(kind)).collect()
}

#[test]
fn what_a_later_version_wrote_inside() {
    let fixture = stored();
    fixture.raw(1, |db| {
        db.open_tree("metadata").unwrap().insert("format", &6_u32.to_be_bytes()).unwrap();
    });
    assert_eq!(fixture.refusal(), BackendErrorKind::Newer);
}

#[test]
fn a_database_without_its_beginning_or_its_end() {
    type Damage = fn(&Fixture);
    let damages: [(&str, Damage); 8] = [
        ("no format", |f| {
            f.raw(1, |db| db.open_tree("metadata").unwrap().remove("format").unwrap());
        }),
        ("a format that is no number", |f| {
            f.raw(1, |db| db.open_tree("metadata").unwrap().insert("format", "1").unwrap());
        }),
        ("no tree of keys", |f| {
            f.raw(1, |db| db.drop_tree("keys").unwrap());
        }),
        ("the last event is gone", |f| {
            let last = 5_u64.to_be_bytes();
            f.raw(1, |db| db.open_tree("events").unwrap().remove(last).unwrap());
        }),
        ("the data file is gone", |f| {
            fs::remove_file(f.generation(1).join("db")).unwrap();
        }),
        ("the generation is gone", |f| fs::remove_dir_all(f.generation(1)).unwrap()),
        ("sled's configuration is another", |f| {
            fs::write(f.generation(1).join("conf"), "nothing like it").unwrap();
        }),
        ("the marker is damaged", |f| f.set_marker("keyhasp sled store\nformat one\n")),
    ];
    for (what, damage) in damages {
        let fixture = stored();
        damage(&fixture);
        // And again, at once: what is refused is let go of.
        for _ in 0..2 {
            assert_eq!(fixture.refusal(), BackendErrorKind::Corrupt, "{what}");
        }
    }
}

#[test]
fn a_lost_metadata_is_not_begun_anew() {
    let fixture = stored();
    fixture.raw(1, |db| db.open_tree("metadata").unwrap().remove("store").unwrap());
    assert_eq!(fixture.refusal(), BackendErrorKind::EarlierState);
    for refused in [
        Sled::create(fixture.dir(), options()),
        Sled::open_or_create(fixture.dir(), options()).map(|(sled, _)| sled),
    ] {
        assert_eq!(refused.unwrap_err().kind(), BackendErrorKind::EarlierState);
    }
}

#[test]
fn an_emptied_data_file_is_not_begun_anew() {
    let fixture = stored();
    // Without its snapshot, sled has nothing to tell by that there was something.
    let generation = fixture.generation(1);
    for name in entries(&generation) {
        if name.starts_with("snap.") {
            fs::remove_file(generation.join(name)).unwrap();
        }
    }
    fs::write(generation.join("db"), "").unwrap();
    assert_eq!(fixture.refusal(), BackendErrorKind::Corrupt);
    assert_eq!(fs::metadata(generation.join("db")).unwrap().len(), 0);
    assert_eq!(entries(&generation), ["blobs", "conf", "db"]);
}

#[test]
fn damaged_values_are_errors_wherever_they_are_read() {
    // The reads that a tree's damage must show in, by their place in `read_everything`.
    let cases: [(&str, &[usize]); 6] = [
        ("metadata", &[0, 15]),
        ("owners", &[1, 2, 3, 10, 15]),
        ("keys", &[1, 2, 4, 5, 6, 7]),
        ("events", &[11, 12, 13]),
        ("key_counts", &[15]),
        ("chunks", &[1, 2, 5, 6, 7]),
    ];
    for (tree, shows) in cases {
        type Damage = fn(&[u8]) -> Option<Vec<u8>>;
        let damages: [(&str, Damage); 4] = [
            ("cut short", |value| Some(value[..value.len() / 2].to_vec())),
            ("longer", |value| Some([value, b"more"].concat())),
            ("other bytes", |value| Some(vec![0xff; value.len()])),
            ("gone", |_| None),
        ];
        for (what, damage) in damages {
            // Where all rows are gone, there is nothing to find damaged but from elsewhere.
            if what == "gone" && tree != "chunks" {
                continue;
            }
            let fixture = stored();
            if tree == "metadata" {
                fixture.raw(1, |db| {
                    let tree = db.open_tree(tree).unwrap();
                    let value = tree.get("store").unwrap().unwrap();
                    tree.insert("store", damage(&value).unwrap()).unwrap();
                });
            } else {
                change(&fixture, tree, damage);
            }
            let answers = read_everything(&fixture.open().unwrap());
            for (place, answer) in answers.into_iter().enumerate() {
                let is_error = matches!(answer, Err(BackendErrorKind::Corrupt));
                assert!(is_error || answer.is_ok(), "{tree} {what} {place}: {answer:?}");
                let must_show = shows.contains(&place);
                assert!(is_error || !must_show, "{tree} {what} {place}: {answer:?}");
            }
        }
    }
}

#[test]
fn an_index_that_leads_nowhere_is_damage() {
    let fixture = stored();
    // The creation of key 1. A first event would count as pruned.
    fixture.raw(1, |db| db.open_tree("events").unwrap().remove(3_u64.to_be_bytes()).unwrap());
    let answers = read_everything(&fixture.open().unwrap());
    for place in [12, 13] {
        assert_eq!(answers[place], Err(BackendErrorKind::Corrupt), "{place}");
    }
}

#[test]
fn a_lost_key_is_a_lost_part_of_the_log() {
    let fixture = stored();
    fixture.raw(1, |db| _ = db.open_tree("keys").unwrap().pop_min().unwrap());
    assert_eq!(fixture.refusal(), BackendErrorKind::EarlierState);
}

/// Whether everything is read, or damaged, or refused as what sled may have lost.
fn holds(fixture: &Fixture) -> bool {
    match fixture.open() {
        Ok(store) => read_everything(&store)
            .iter()
            .all(|answer| matches!(answer, Ok(()) | Err(BackendErrorKind::Corrupt))),
        Err(error) => error.kind() == BackendErrorKind::EarlierState,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Any bytes at all in place of a value: read or refused, and never a panic.
    #[test]
    fn arbitrary_values(
        tree in prop::sample::select(&["owners", "keys", "events", "key_counts", "chunks", "numeric_ids"][..]),
        value in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..300),
            prop::collection::vec(any::<u8>(), 0..300).prop_map(|rest| [&[1, 0, 0], &*rest].concat()),
        ],
    ) {
        let fixture = stored();
        change(&fixture, tree, |_| Some(value.clone()));
        prop_assert!(holds(&fixture));
    }

    /// A real value with some bytes changed.
    #[test]
    fn flipped_bytes(
        tree in prop::sample::select(&["owners", "keys", "events"][..]),
        flips in prop::collection::vec((any::<prop::sample::Index>(), 1_u8..), 1..4),
    ) {
        let fixture = stored();
        change(&fixture, tree, |value| {
            let mut value = value.to_vec();
            for (index, flip) in &flips {
                let at = index.index(value.len());
                value[at] ^= flip;
            }
            Some(value)
        });
        prop_assert!(holds(&fixture));
    }
}
