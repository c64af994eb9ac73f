//! Every record comes back as it was written, whatever its fields hold.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use keyhasp::backend::{
    Backend, Change, EventFilter, EventQuery, Scanned, ScannedKey, ScannedOwner, Write,
};
use keyhasp::event::EventKind;
use keyhasp::id::Version;
use keyhasp::key::KeyRecord;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::common::records::{self, key_picture, owner_picture};
use crate::sled::fixture::{
    self, Fixture, commit, create_key, create_owner, create_store, replace_key,
};

fn cases(cases: u32) -> ProptestConfig {
    // Each opens several databases.
    ProptestConfig { cases, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(24))]

    #[test]
    fn keys(records in vec((records::keys(), records::keys()), 1..20)) {
        let fixture = Fixture::new();
        let store = fixture.store();
        let mut ids = BTreeSet::new();
        let mut numeric_ids = BTreeSet::new();
        let mut expected = Vec::new();
        for (record, next) in records {
            if !ids.insert(record.id) || !record.numeric_id.is_none_or(|id| numeric_ids.insert(id)) {
                continue;
            }
            if store.owner(&record.owner).unwrap().is_none() {
                commit(&store, create_owner(record.owner.as_str())).unwrap();
            }
            commit(&store, create_key(record.clone())).unwrap();
            prop_assert_eq!(key_picture(&store.key(record.id).unwrap().unwrap()), key_picture(&record));
            // What has the last version but one can't be replaced: the last is refused as damage.
            if record.version.next() == Version::new(u64::MAX) {
                expected.push(record);
                continue;
            }
            // What replaces it may be longer or shorter.
            let next = KeyRecord {
                id: record.id,
                owner: record.owner,
                version: record.version.next(),
                numeric_id: record.numeric_id,
                ..next
            };
            commit(&store, replace_key(next.clone())).unwrap();
            expected.push(next);
        }
        drop(store);

        let store = fixture.blank();
        expected.sort_by_key(|record| Reverse(record.id));
        let mut scanned = Vec::new();
        store.scan(&mut |one| if let Scanned::Key(key) = one { scanned.push(key) }).unwrap();
        prop_assert_eq!(scanned.len(), expected.len());
        for (record, scanned) in expected.iter().zip(&scanned) {
            prop_assert_eq!(key_picture(&store.key(record.id).unwrap().unwrap()), key_picture(record));
            if let Some(id) = record.numeric_id {
                let found = store.key_by_numeric_id(id).unwrap().unwrap();
                prop_assert_eq!(key_picture(&found), key_picture(record));
            }
            // The index is shown the same without the rest being decoded.
            let shown = |key: &ScannedKey| format!("{key:?} {:?}", key.current.digest.expose());
            prop_assert_eq!(shown(scanned), shown(&ScannedKey::from(record)));
        }
        drop(store);

        // No value is too long, and no part is left of what was replaced.
        let stored = fixture.stored(1);
        prop_assert!(stored.longest <= 4096);
        prop_assert_eq!(stored.chunks, stored.counted);
    }

    #[test]
    fn owners(records in vec(records::owners(), 1..20)) {
        let fixture = Fixture::new();
        let store = fixture.store();
        let records: BTreeMap<_, _> = records.into_iter().map(|record| (record.id, record)).collect();
        for record in records.values() {
            let draft = fixture::event(EventKind::OwnerCreated, Some(record.id), None);
            commit(&store, Change::of(Write::CreateOwner(Box::new(record.clone())), draft)).unwrap();
        }
        drop(store);
        let store = fixture.blank();
        for record in records.values() {
            let read = store.owner(&record.id).unwrap().unwrap();
            prop_assert_eq!(owner_picture(&read), owner_picture(record));
            let mut scanned = Vec::new();
            store.scan_owner(&record.id, &mut |one| scanned.push(one)).unwrap();
            let expected = Scanned::Owner(ScannedOwner::from(record));
            prop_assert_eq!(format!("{scanned:?}"), format!("{:?}", [expected]));
        }
    }

    #[test]
    fn headers(record in records::headers()) {
        let fixture = Fixture::new();
        let store = fixture.blank();
        commit(&store, create_store(record.clone())).unwrap();
        drop(store);
        prop_assert_eq!(fixture.open().unwrap().metadata().unwrap(), Some(record));
    }

    #[test]
    fn events(drafts in vec(records::events(), 1..30)) {
        let fixture = Fixture::new();
        let store = fixture.store();
        for draft in &drafts {
            commit(&store, Change::of(Write::Nothing, draft.clone())).unwrap();
        }
        drop(store);
        let store = fixture.blank();
        // After that of the store's creation.
        let query = EventQuery { after: 1, before: None, filter: EventFilter::default(), limit: 99, examine: 99 };
        let read: Vec<_> =
            store.events(&query).unwrap().events.into_iter().map(|event| event.draft).collect();
        prop_assert_eq!(read, drafts);
    }
}
