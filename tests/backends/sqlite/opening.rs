//! Opening and creating: what is there is opened, what isn't is created, and never the other way
//! round by mistake.

use std::fs;
use std::path::Path;

use keyhasp::backend::sqlite::{Sqlite, SqliteOptions};
use keyhasp::backend::{Backend, BackendError, BackendErrorKind as Kind, Opened};
use tempfile::{TempDir, tempdir};

use crate::sqlite::support::{
    commit, contents, create_owner, create_store, journal, metadata, open, owner_id, quick, shared,
};

type Call = fn(&Path, SqliteOptions) -> Result<Sqlite, BackendError>;

/// A place where no database is.
type Make = fn(&Path);

/// The three calls, by name.
fn calls() -> [(&'static str, Call); 3] {
    [
        ("create", |path, options| Sqlite::create(path, options)),
        ("open", |path, options| Sqlite::open(path, options)),
        ("open or create", |path, options| {
            Sqlite::open_or_create(path, options).map(|(sqlite, _)| sqlite)
        }),
    ]
}

/// The places where no database is, each made by a function.
fn nothing() -> [(&'static str, Make); 4] {
    [
        ("no file", |_| {}),
        ("an empty file", |path| fs::write(path, "").unwrap()),
        ("a creation that was cut short", |path| {
            fs::write(path, vec![0x5a; 4_096]).unwrap();
            fs::write(path.with_file_name("keys.db-journal"), journal(0)).unwrap();
        }),
        ("a database on which no store was created", |path| {
            Sqlite::create(path, quick()).unwrap().close().unwrap();
            fs::remove_file(path.with_file_name("keys.db.lock")).unwrap();
        }),
    ]
}

fn place() -> (TempDir, std::path::PathBuf) {
    let directory = tempdir().unwrap();
    let path = directory.path().join("keys.db");
    (directory, path)
}

#[test]
fn what_is_not_there_is_not_opened() {
    for (what, make) in nothing() {
        for options in [quick(), shared()] {
            let (directory, path) = place();
            make(&path);
            let mut before = contents(directory.path());
            let error = Sqlite::open(&path, options).unwrap_err();
            assert_eq!((error.kind(), error.operation()), (Kind::Missing, "open"), "{what}");
            let text = error.to_string();
            for part in ["may not be mounted", "call `create`", "keys.db"] {
                assert!(text.contains(part), "{what}: {text}");
            }
            let mut after = contents(directory.path());
            // Of a database without a store, SQLite itself has to tell, under lock.
            for name in ["keys.db.lock", "keys.db-shm", "keys.db-wal"] {
                before.remove(name);
                after.remove(name);
            }
            assert_eq!(after, before, "{what}");
        }
    }
}

#[test]
fn what_is_not_there_is_not_looked_at() {
    for (what, make) in nothing() {
        let (directory, path) = place();
        make(&path);
        let mut before = contents(directory.path());
        let error = Sqlite::open_read_only(&path, SqliteOptions::MIN_STALENESS).unwrap_err();
        assert_eq!(error.kind(), Kind::Missing, "{what}: {error}");
        let mut after = contents(directory.path());
        for name in ["keys.db-shm", "keys.db-wal"] {
            before.remove(name);
            after.remove(name);
        }
        assert_eq!(after, before, "{what}");
    }
}

#[test]
fn what_is_not_there_is_created_once() {
    for (what, make) in nothing() {
        for (options, is_shared) in [(quick(), false), (shared(), true)] {
            let (_directory, path) = place();
            make(&path);
            let sqlite = Sqlite::create(&path, options).expect(what);
            commit(&sqlite, create_store(metadata()));
            commit(&sqlite, create_owner("acme"));
            if is_shared {
                // Also while another has it open.
                let error = Sqlite::create(&path, options).unwrap_err();
                assert_eq!(error.kind(), Kind::AlreadyExists, "{what}");
            }
            drop(sqlite);
            let error = Sqlite::create(&path, options).unwrap_err();
            let found = (error.kind(), error.operation());
            assert_eq!(found, (Kind::AlreadyExists, "create"), "{what}");
            assert!(error.to_string().contains("open it with `open`"), "{error}");
            let again = Sqlite::open(&path, options).unwrap();
            assert!(again.owner(&owner_id("acme")).unwrap().is_some(), "{what}");
        }
    }
}

#[test]
fn open_or_create_says_which() {
    for (what, make) in nothing() {
        let (_directory, path) = place();
        make(&path);
        // A database without a store is still to be created.
        for _ in 0..2 {
            let (_, opened) = Sqlite::open_or_create(&path, quick()).unwrap();
            assert_eq!(opened, Opened::Created, "{what}");
        }
        let (sqlite, _) = Sqlite::open_or_create(&path, quick()).unwrap();
        commit(&sqlite, create_store(metadata()));
        drop(sqlite);
        let (_, opened) = Sqlite::open_or_create(&path, quick()).unwrap();
        assert_eq!(opened, Opened::Existing, "{what}");
    }
}

/// The log may be the only copy of the data.
#[test]
fn a_log_without_its_file_is_refused_and_kept() {
    for (what, make) in nothing().into_iter().take(3) {
        for options in [quick(), shared()] {
            let (directory, path) = place();
            let sqlite = open(&path, options);
            commit(&sqlite, create_owner("acme"));
            let (file, log) = (fs::read(&path).unwrap(), path.with_file_name("keys.db-wal"));
            let bytes = fs::read(&log).unwrap();
            drop(sqlite);
            fs::remove_file(&path).unwrap();
            make(&path);
            fs::write(&log, &bytes).unwrap();
            let before = contents(directory.path());
            for (name, call) in calls() {
                let error = call(&path, options).unwrap_err();
                let found = (error.kind(), error.operation());
                assert_eq!(found, (Kind::OrphanedLog, name), "{what}");
                let text = error.to_string();
                assert!(
                    text.contains("put the file back") && text.contains("move the `-wal` away")
                );
                assert_eq!(contents(directory.path()), before, "{what}: {name}");
            }
            // Both ways out.
            let other = tempdir().unwrap();
            let rescued = other.path().join("keys.db");
            fs::write(&rescued, file).unwrap();
            fs::copy(&log, other.path().join("keys.db-wal")).unwrap();
            let rescued = Sqlite::open(&rescued, options).unwrap();
            assert!(rescued.owner(&owner_id("acme")).unwrap().is_some());
            fs::remove_file(&log).unwrap();
            Sqlite::create(&path, options).unwrap();
        }
    }
}
