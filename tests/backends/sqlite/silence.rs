//! No error shows SQL or stored values, in none of the ways in which an error is shown.

use std::error::Error;

use keyhasp::backend::BackendError;
use rusqlite::Connection;
use tempfile::tempdir;

use crate::sqlite::support::{
    commit, create_key, create_owner, every_call, key, open, quick, refused,
};

/// Display and Debug of an error and of all its sources.
fn shown(error: &BackendError) -> String {
    let mut text = format!("{error} {error:?} {error:#?}");
    let mut source = error.source();
    while let Some(error) = source {
        text += &format!(" {error} {error:?} {error:#?}");
        source = error.source();
    }
    text
}

fn assert_silent(error: &BackendError) {
    let text = shown(error);
    for word in
        ["SELECT", "INSERT", "UPDATE", "DELETE", "PRAGMA", "BEGIN", "FROM", "canary", "0707"]
    {
        assert!(!text.contains(word), "{word} in {text}");
    }
}

#[test]
fn errors_of_damaged_tables() {
    let mut errors = 0;
    for damage in [
        "DROP TABLE keys",
        "DROP TABLE events",
        "DROP INDEX keys_by_owner",
        "DROP TABLE store",
        "ALTER TABLE owners RENAME COLUMN max_access TO canary",
        "UPDATE owners SET max_access = 'canary'",
        "UPDATE keys SET access = 'canary'",
    ] {
        let directory = tempdir().unwrap();
        let path = directory.path().join("keys.db");
        let sqlite = open(&path, quick());
        commit(&sqlite, create_owner("acme"));
        commit(&sqlite, create_key(key(1, "acme")));
        Connection::open(&path).unwrap().execute_batch(damage).unwrap();
        let found: Vec<BackendError> =
            every_call(&sqlite).into_iter().filter_map(|(_, result)| result.err()).collect();
        assert!(!found.is_empty(), "{damage}");
        found.iter().for_each(assert_silent);
        errors += found.len();
    }
    assert!(errors > 20, "{errors}");
}

/// keyhasp's own connections switch triggers off.
#[test]
fn a_trigger_that_somebody_left_does_not_run() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("keys.db");
    let sqlite = open(&path, quick());
    let trigger =
        "CREATE TRIGGER canary BEFORE INSERT ON owners BEGIN SELECT raise(ABORT, 'canary'); END";
    Connection::open(&path).unwrap().execute_batch(trigger).unwrap();
    commit(&sqlite, create_owner("acme"));
}

#[test]
fn errors_of_opening() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("note.db");
    std::fs::write(&path, "canary").unwrap();
    assert_silent(&refused(&path, quick()));
    let path = directory.path().join("keys.db");
    let first = open(&path, quick());
    assert_silent(&refused(&path, quick()));
    assert!(format!("{first:?}").starts_with("Sqlite {"));
}
