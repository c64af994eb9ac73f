//! Arbitrary records come back as they went in, by every way in which they come back.

use keyhasp::backend::{
    Backend, Change, EventFilter, EventQuery, KeyFilter, KeyPageQuery, Operation, OwnerPageQuery,
    Scanned, ScannedKey, ScannedOwner, StateSet, Write, WriteKey,
};
use keyhasp::event::EventKind;
use keyhasp::id::Version;
use proptest::prelude::*;
use tempfile::tempdir;

use crate::common::records::{events, headers, key_picture, keys, owner_picture, owners};
use crate::sqlite::support::{at, commit, create_store, event, open, quick};

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn keys_and_owners(
        first in keys(),
        second in keys(),
        owner in owners(),
        other in owners(),
        drafts in [events(), events()],
    ) {
        prop_assume!(owner.id != other.id);
        // Each is given a key.
        prop_assume!(owner.max_keys > 0 && other.max_keys > 0);
        let directory = tempdir().unwrap();
        let path = directory.path().join("keys.db");
        let sqlite = open(&path, quick());
        let check = |key: &keyhasp::key::KeyRecord, owner: &keyhasp::key::OwnerRecord| {
            let pictured = key_picture(key);
            let found = sqlite.key(key.id).unwrap().unwrap();
            prop_assert_eq!(key_picture(&found), &pictured[..]);
            let found = sqlite.owner(&owner.id).unwrap().unwrap();
            prop_assert_eq!(owner_picture(&found), owner_picture(owner));
            if let Some(id) = key.numeric_id {
                let found = sqlite.key_by_numeric_id(id).unwrap().unwrap();
                prop_assert_eq!(key_picture(&found), &pictured[..]);
            }
            for by_owner in [None, Some(owner.id)] {
                let filter =
                    KeyFilter { owner: by_owner, ..KeyFilter::new(StateSet::ALL, at(1)) };
                let query = KeyPageQuery { filter, before: None, after: None, limit: 9, examine: 9 };
                let page = sqlite.page_keys(&query).unwrap();
                prop_assert_eq!(page.keys.len(), 1);
                prop_assert_eq!(key_picture(&page.keys[0]), &pictured[..]);
            }
            let query = OwnerPageQuery::all(9);
            let page = sqlite.page_owners(&query).unwrap();
            prop_assert!(page.owners.iter().any(|o| owner_picture(o) == owner_picture(owner)));
            let expected = [
                Scanned::Owner(ScannedOwner::from(owner)),
                Scanned::Key(ScannedKey::from(key)),
            ];
            let mut scanned = Vec::new();
            sqlite.scan_owner(&owner.id, &mut |found| scanned.push(picture(&found))).unwrap();
            prop_assert_eq!(&scanned, &expected.each_ref().map(picture));
            let mut all = Vec::new();
            sqlite.scan(&mut |found| all.push(picture(&found))).unwrap();
            prop_assert!(scanned.iter().all(|found| all.contains(found)));
            Ok(())
        };

        // Created.
        let mut first = first;
        first.owner = owner.id;
        let create = WriteKey { record: first.clone(), next_numeric_id: false };
        let [for_owner, for_key] = drafts.clone();
        let change = Change {
            preconditions: Vec::new(),
            lapse_expired_by: None,
            operations: vec![
                Operation { write: Write::CreateOwner(Box::new(owner.clone())), event: for_owner },
                Operation { write: Write::CreateKey(Box::new(create)), event: for_key },
            ],
            ..Change::default()
        };
        sqlite.commit(&[change]).unwrap().remove(0).unwrap();
        check(&first, &owner)?;

        // Replaced by all that another record holds, also by another owner's.
        let mut second = second;
        (second.id, second.owner) = (first.id, other.id);
        second.version = Version::new(first.version.get() + 1);
        let change = Change::of(
            Write::CreateOwner(Box::new(other.clone())),
            event(EventKind::OwnerCreated),
        )
        .and(Write::ReplaceKey(Box::new(second.clone())), event(EventKind::KeyUpdated));
        sqlite.commit(&[change]).unwrap().remove(0).unwrap();
        check(&second, &other)?;
        let mut replaced = other.clone();
        (replaced.id, replaced.version) = (owner.id, Version::new(owner.version.get() + 1));
        replaced.incarnation = owner.incarnation;
        let change = Change::of(
            Write::ReplaceOwner(Box::new(replaced.clone())),
            event(EventKind::OwnerUpdated),
        );
        sqlite.commit(&[change]).unwrap().remove(0).unwrap();
        let found = sqlite.owner(&owner.id).unwrap().unwrap();
        prop_assert_eq!(owner_picture(&found), owner_picture(&replaced));

        // The events, too.
        let query = EventQuery { after: 0, before: None, filter: EventFilter::default(), limit: 9, examine: 9 };
        let page = sqlite.events(&query).unwrap();
        // After that of the store's creation.
        for (sequence, draft) in (2..).zip(drafts) {
            let found = &page.events[sequence - 1];
            prop_assert_eq!((found.sequence, &found.draft), (sequence as u64, &draft));
        }
        prop_assert_eq!(page.events.len(), 6);

        // And all of it after another open.
        drop(sqlite);
        let sqlite = open(&path, quick());
        let found = sqlite.key(second.id).unwrap().unwrap();
        prop_assert_eq!(key_picture(&found), key_picture(&second));
    }

    #[test]
    fn the_stores_own_record(first in headers(), second in headers()) {
        let directory = tempdir().unwrap();
        let path = directory.path().join("keys.db");
        let sqlite = keyhasp::backend::sqlite::Sqlite::open_or_create(&path, quick()).unwrap().0;
        commit(&sqlite, create_store(first.clone()));
        prop_assert_eq!(sqlite.metadata().unwrap(), Some(first.clone()));
        let mut second = second;
        second.version = first.version.next();
        // Without owners, every rule fits the data.
        let write = Write::ReplaceMetadata(Box::new(second.clone()));
        let change = Change::of(write, event(EventKind::StoreRulesChanged));
        sqlite.commit(&[change]).unwrap().remove(0).unwrap();
        prop_assert_eq!(sqlite.metadata().unwrap(), Some(second));
    }
}

fn picture(scanned: &Scanned) -> String {
    let digests: Vec<[u8; 32]> = match scanned {
        Scanned::Owner(_) | Scanned::Damaged(_) => Vec::new(),
        Scanned::Key(key) => {
            let previous = key.previous.iter().map(|previous| &previous.token);
            previous.chain([&key.current]).map(|token| *token.digest.expose()).collect()
        }
    };
    format!("{scanned:?} {digests:?}")
}
