//! Files that are refused: with which error, and without a trace in them or beside them.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use keyhasp::backend::BackendErrorKind as Kind;
use keyhasp::backend::{Backend, BackendErrorKind};
use rusqlite::Connection;
use tempfile::{TempDir, tempdir};

use crate::sqlite::support::{
    commit, contents, create_owner, open, owner_id, quick, refused, shared,
};

/// Refuses in both modes, with this kind, and leaves everything as it was.
fn assert_refused(directory: &TempDir, name: &str, kind: BackendErrorKind) {
    let before = contents(directory.path());
    for options in [quick(), shared()] {
        let path = directory.path().join(name);
        let error = refused(&path, options);
        assert_eq!(error.kind(), kind, "{name}: {error}");
        assert_eq!(error.place(), Some(path.as_path()));
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
        assert_eq!(error.operation(), "open");
    }
    assert_eq!(contents(directory.path()), before, "{name}");
}

#[test]
fn what_is_no_file() {
    let directory = tempdir().unwrap();
    let path = directory.path();
    fs::create_dir(path.join("directory")).unwrap();
    symlink(path.join("nothing"), path.join("link")).unwrap();
    fs::write(path.join("file"), "text").unwrap();
    for name in ["directory", "link", "no/directory", "file/below", ".", "..", ""] {
        assert_refused(&directory, name, Kind::NotADatabase);
    }
    assert_eq!(refused("", quick()).kind(), Kind::NotADatabase);
    assert_eq!(refused("/dev/null", quick()).kind(), Kind::NotADatabase);
}

#[test]
fn what_is_no_database() {
    let directory = tempdir().unwrap();
    let mut looks_like_one = b"SQLite format 3\0".to_vec();
    looks_like_one.extend([0xff; 4096]);
    let files: [&[u8]; 5] =
        [b"x", b"a note of mine\n", &[0xa5; 100_000], b"SQLite format 3\0", &looks_like_one];
    for (number, bytes) in files.into_iter().enumerate() {
        let name = format!("file {number} #?%");
        fs::write(directory.path().join(&name), bytes).unwrap();
        assert_refused(&directory, &name, Kind::NotADatabase);
    }
    // A disk that lost what was written leaves zeros.
    fs::write(directory.path().join("zeros"), [0; 4096]).unwrap();
    assert_refused(&directory, "zeros", Kind::Corrupt);
}

fn foreign(path: &Path, setup: &str) -> Connection {
    let connection = Connection::open(path).unwrap();
    connection.execute_batch(setup).unwrap();
    connection
}

#[test]
fn databases_of_other_applications() {
    let directory = tempdir().unwrap();
    let table = "CREATE TABLE t (a); INSERT INTO t VALUES (1);";
    for (name, setup) in [
        ("without id", table.to_owned()),
        ("with id", format!("PRAGMA application_id = 7; {table}")),
        ("with version", format!("PRAGMA user_version = 5; {table}")),
        ("empty", "VACUUM".to_owned()),
        ("logging", format!("PRAGMA journal_mode = WAL; {table}")),
        ("small pages", format!("PRAGMA page_size = 512; {table}")),
    ] {
        foreign(&directory.path().join(name), &setup).close().unwrap();
        assert_refused(&directory, name, Kind::Foreign);
    }
}

#[test]
fn another_applications_crashed_database_keeps_its_log() {
    let directory = tempdir().unwrap();
    let live = tempdir().unwrap();
    let setup = "PRAGMA journal_mode = WAL; PRAGMA application_id = 7; CREATE TABLE t (a);
                 PRAGMA wal_checkpoint; INSERT INTO t VALUES (1);";
    let connection = foreign(&live.path().join("db"), setup);
    for name in ["db", "db-wal"] {
        fs::copy(live.path().join(name), directory.path().join(name)).unwrap();
    }
    drop(connection);
    assert_refused(&directory, "db", Kind::Foreign);
}

#[test]
fn newer_ones() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("keys.db");
    open(&path, quick()).close().unwrap();
    foreign(&path, "PRAGMA user_version = 6").close().unwrap();
    assert_refused(&directory, "keys.db", Kind::Newer);
}

#[test]
fn newer_ones_whose_version_is_only_in_the_log() {
    let directory = tempdir().unwrap();
    let live = tempdir().unwrap();
    let path = live.path().join("keys.db");
    open(&path, quick()).close().unwrap();
    let connection = foreign(&path, "PRAGMA user_version = 6");
    for name in ["keys.db", "keys.db-wal"] {
        fs::copy(live.path().join(name), directory.path().join(name)).unwrap();
    }
    drop(connection);
    let before = contents(directory.path());
    assert_eq!(refused(directory.path().join("keys.db"), quick()).kind(), Kind::Newer);
    // The log could only be read under lock, with its index; itself and the file are untouched.
    let mut after = contents(directory.path());
    after.remove("keys.db.lock");
    after.remove("keys.db-shm");
    assert_eq!(after, before);
}

#[test]
fn what_is_marked_as_read_only() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("keys.db");
    open(&path, quick()).close().unwrap();
    let mark = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    mark(&path, 0o444);
    assert_refused(&directory, "keys.db", Kind::ReadOnly);
    mark(&path, 0o644);
    mark(directory.path(), 0o555);
    assert_refused(&directory, "keys.db", Kind::ReadOnly);
    assert_refused(&directory, "another.db", Kind::ReadOnly);
    mark(directory.path(), 0o755);
    open(&path, quick());
}

#[test]
fn a_damaged_file_is_an_error() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("keys.db");
    let sqlite = open(&path, quick());
    for n in 0..200 {
        commit(&sqlite, create_owner(&format!("owner {n}")));
    }
    sqlite.close().unwrap();
    let whole = fs::read(&path).unwrap();
    // Cut off in the middle of a page, after some pages, and with a page overwritten.
    let mut overwritten = whole.clone();
    overwritten[12_288..16_384].fill(0xee);
    for bytes in [&whole[..whole.len() / 2 + 100], &whole[..4096], &overwritten] {
        fs::write(&path, bytes).unwrap();
        let found = keyhasp::backend::sqlite::Sqlite::open(&path, quick())
            .and_then(|sqlite| sqlite.metadata().and(sqlite.scan(&mut drop)).map(drop));
        assert_eq!(found.unwrap_err().kind(), Kind::Corrupt);
    }
    fs::write(&path, &whole).unwrap();
    let sqlite = open(&path, quick());
    assert!(sqlite.owner(&owner_id("owner 199")).unwrap().is_some());
}

#[test]
fn an_empty_file_and_an_interrupted_creation_are_completed() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("empty.db");
    fs::write(&path, "").unwrap();
    commit(&open(&path, quick()), create_owner("acme"));

    // Said to be ours, and then no more.
    let path = directory.path().join("begun.db");
    foreign(&path, "PRAGMA application_id = 0x4b687370").close().unwrap();
    commit(&open(&path, quick()), create_owner("acme"));
}

/// The process ended while the file was said to be ours: SQLite takes that back, and the file is
/// empty again after it was not.
#[test]
fn a_creation_that_is_rolled_back_is_begun_anew() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("keys.db");
    foreign(&path, "PRAGMA application_id = 0x4b687370").close().unwrap();
    // A journal that was synced: no page to restore, and none in the file before.
    let mut journal = vec![0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
    for number in [0_u32, 7, 0, 512, 4096] {
        journal.extend(number.to_be_bytes());
    }
    journal.resize(512, 0);
    fs::write(directory.path().join("keys.db-journal"), journal).unwrap();
    let sqlite = open(&path, quick());
    commit(&sqlite, create_owner("acme"));
    drop(sqlite);
    assert!(open(&path, quick()).owner(&owner_id("acme")).unwrap().is_some());
    assert!(!directory.path().join("keys.db-journal").exists());
}

#[test]
fn odd_names_of_files() {
    let directory = tempdir().unwrap();
    for name in [":memory:", "file:x?mode=memory", "a b#c%41.db", "ключи.db"] {
        let path = directory.path().join(name);
        commit(&open(&path, quick()), create_owner("acme"));
        let sqlite = open(&path, quick());
        assert!(sqlite.owner(&owner_id("acme")).unwrap().is_some(), "{name}");
        assert!(path.is_file(), "{name}");
    }
}
