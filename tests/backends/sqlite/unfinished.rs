//! Databases whose creation was cut short: an open creates them again, and returns no error.

use std::fs;

use keyhasp::backend::Backend;
use keyhasp::backend::BackendErrorKind as Kind;
use tempfile::tempdir;

use crate::sqlite::support::{
    commit, contents, create_owner, journal, open, owner_id, quick, refused, shared,
};

/// What may lie in the file: the first page whole, in part, or what was there on the disk.
fn first_pages() -> [Vec<u8>; 3] {
    let directory = tempdir().unwrap();
    let path = directory.path().join("keys.db");
    drop(open(&path, quick()));
    let whole = fs::read(&path).unwrap()[..4_096].to_vec();
    let torn = [vec![0; 512], whole[512..].to_vec()].concat();
    [whole, torn, vec![0x5a; 4_096]]
}

#[test]
fn what_was_never_whole_is_made_anew() {
    for page in first_pages() {
        for options in [quick(), shared()] {
            let directory = tempdir().unwrap();
            let path = directory.path().join("keys.db");
            fs::write(&path, &page).unwrap();
            fs::write(directory.path().join("keys.db-journal"), journal(0)).unwrap();
            let sqlite = open(&path, options);
            commit(&sqlite, create_owner("org"));
            drop(sqlite);
            assert!(open(&path, options).owner(&owner_id("org")).unwrap().is_some());
        }
    }
}

/// A journal that tells of pages before is no reason to touch what is no database.
#[test]
fn another_journal_excuses_nothing() {
    for journal in [journal(1), journal(0)[..16].to_vec(), vec![0; 512]] {
        let directory = tempdir().unwrap();
        let path = directory.path().join("keys.db");
        fs::write(&path, vec![0x5a; 4_096]).unwrap();
        fs::write(directory.path().join("keys.db-journal"), journal).unwrap();
        let before = contents(directory.path());
        assert_eq!(refused(&path, quick()).kind(), Kind::NotADatabase);
        assert_eq!(contents(directory.path()), before);
    }
}
