//! A database that is opened to look at it: beside every other process, and where nothing can be
//! written.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;
use std::{env, fs, io};

use keyhasp::backend::sqlite::{Sqlite, SqliteOptions};
use keyhasp::backend::{Backend, BackendErrorKind as Kind};
use tempfile::{TempDir, tempdir};

use crate::another_user::{run_again, set_mode};
use crate::sqlite::support::{
    commit, contents, create_owner, every_call, open, owner_id, quick, refused as refused_for_good,
    shared,
};

const STALENESS: Duration = SqliteOptions::MIN_STALENESS;

fn look(path: &Path) -> Sqlite {
    Sqlite::open_read_only(path, STALENESS).unwrap()
}

/// A database with one owner; closed.
fn closed() -> TempDir {
    let directory = tempdir().unwrap();
    let sqlite = open(&directory.path().join("keys.db"), quick());
    commit(&sqlite, create_owner("acme"));
    directory
}

/// The same, with the owner in a log that a process left behind.
fn left_behind() -> TempDir {
    let (live, directory) = (tempdir().unwrap(), tempdir().unwrap());
    let sqlite = open(&live.path().join("keys.db"), quick());
    commit(&sqlite, create_owner("acme"));
    for name in ["keys.db", "keys.db-wal"] {
        fs::copy(live.path().join(name), directory.path().join(name)).unwrap();
    }
    assert!(fs::metadata(directory.path().join("keys.db-wal")).unwrap().len() > 0);
    directory
}

#[test]
fn a_closed_database_is_read_and_nothing_is_made_beside_it() {
    let directory = closed();
    let before = contents(directory.path());
    let sqlite = look(&directory.path().join("keys.db"));
    assert!(sqlite.is_read_only() && sqlite.owner(&owner_id("acme")).unwrap().is_some());
    for (call, answer) in every_call(&sqlite) {
        let is_write = matches!(call, "commit" | "prune_events");
        assert_eq!(
            answer.map_err(|error| error.kind()).err(),
            is_write.then_some(Kind::ReadOnly),
            "{call}"
        );
    }
    sqlite.close().unwrap();
    for (call, answer) in every_call(&sqlite) {
        assert_eq!(answer.unwrap_err().kind(), Kind::Closed, "{call}");
    }
    assert!(contents(directory.path()) == before);
}

#[test]
fn what_others_commit_is_seen_and_none_is_held_up() {
    for options in [quick(), shared()] {
        let directory = closed();
        let path = directory.path().join("keys.db");
        let tool = look(&path);
        let sqlite = open(&path, options);
        commit(&sqlite, create_owner("other"));
        assert_eq!(tool.wait(2, Duration::ZERO).unwrap(), 3);
        assert!(tool.owner(&owner_id("other")).unwrap().is_some());
        // It keeps no connection, so the log is copied and removed at the end.
        sqlite.close().unwrap();
        assert!(!directory.path().join("keys.db-wal").exists());
        assert_eq!(tool.last_event().unwrap(), 3);
        commit(&open(&path, quick()), create_owner("third"));
        assert_eq!(tool.last_event().unwrap(), 4);
    }
}

#[test]
fn a_log_that_was_left_behind_is_read_and_stays() {
    let directory = left_behind();
    let mut before = contents(directory.path());
    let sqlite = look(&directory.path().join("keys.db"));
    assert!(sqlite.owner(&owner_id("acme")).unwrap().is_some());
    drop(sqlite);
    let mut after = contents(directory.path());
    after.remove("keys.db-shm");
    before.remove("keys.db-shm");
    assert!(after == before);
}

#[test]
fn what_is_no_database_is_refused_and_not_made() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("keys.db");
    let refused = |path: &Path, staleness| {
        Sqlite::open_read_only(path, staleness).map(|_| "opened").unwrap_err()
    };
    assert_eq!(refused(&path, STALENESS).kind(), Kind::Missing);
    fs::write(&path, "").unwrap();
    assert_eq!(refused(&path, STALENESS).kind(), Kind::Missing);
    fs::write(&path, [7; 4096]).unwrap();
    assert_eq!(refused(&path, STALENESS).kind(), Kind::NotADatabase);
    fs::remove_file(&path).unwrap();
    rusqlite::Connection::open(&path).unwrap().execute_batch("CREATE TABLE t(a)").unwrap();
    assert_eq!(refused(&path, STALENESS).kind(), Kind::Foreign);
    assert_eq!(contents(directory.path()).len(), 1);

    let directory = closed();
    let path = directory.path().join("keys.db");
    let short = refused(&path, STALENESS - Duration::from_millis(1));
    assert_eq!(short.kind(), Kind::Invalid);
    assert!(short.to_string().contains("max_staleness"), "{short}");
    // It needs no more than to read: what an opening for good refuses is fine.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
    assert_eq!(refused_for_good(&path, quick()).kind(), Kind::ReadOnly);
    assert_eq!(look(&path).last_event().unwrap(), 2);
}

const INSIDE: &str = "KEYHASP_TEST_READ_ONLY_DIRECTORY";
/// Runs this test again as a user who may not write to the directory, in which `then` holds.
fn as_another_user(directory: &Path, then: &str) {
    for entry in fs::read_dir(directory).unwrap() {
        set_mode(&entry.unwrap().path(), 0o444);
    }
    set_mode(directory, 0o555);
    let test = "sqlite::read_only::a_directory_in_which_nothing_can_be_written";
    let said = run_again(test, (INSIDE, format!("{then}:{}", directory.display())));
    set_mode(directory, 0o755);
    assert!(said.contains("looked"), "it did not run");
}

#[test]
fn a_directory_in_which_nothing_can_be_written() {
    if let Ok(inside) = env::var(INSIDE) {
        let (then, directory) = inside.split_once(':').unwrap();
        let directory = Path::new(directory);
        assert!(fs::File::create(directory.join("x")).is_err());
        let opened = Sqlite::open_read_only(directory.join("keys.db"), STALENESS);
        match then {
            "read" => {
                assert!(opened.unwrap().owner(&owner_id("acme")).unwrap().is_some());
            }
            _ => {
                let error = opened.unwrap_err();
                assert_eq!(error.kind(), Kind::ReadOnly, "{error}");
                assert!(error.to_string().contains("copy FILE and FILE-wal"), "{error}");
            }
        }
        writeln!(io::stdout(), "looked").unwrap();
        return;
    }
    as_another_user(closed().path(), "read");
    let directory = closed();
    let sqlite = open(&directory.path().join("keys.db"), quick());
    commit(&sqlite, create_owner("other"));
    as_another_user(directory.path(), "read");
    drop(sqlite);
    let directory = left_behind();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    as_another_user(directory.path(), "refuse");
    // With the index of another reader it can be read.
    drop(look(&directory.path().join("keys.db")));
    assert!(directory.path().join("keys.db-shm").exists());
    as_another_user(directory.path(), "read");
}
