//! On SQLite: `vN.sqlite.db`, as any SQLite tool opens it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use keyhasp::backend::sqlite::{Sqlite, SqliteOptions};
use keyhasp::backend::{Backend, BackendErrorKind};
use keyhasp::store::StoreBuilder;
use keyhasp::{KeyStore, Store};
use rusqlite::Connection;

use crate::old_files::{dir, formats, used, world};

const ENDING: &str = ".sqlite.db";

fn file(version: u32) -> PathBuf {
    dir().join(format!("v{version}{ENDING}"))
}

fn open(path: &Path, builder: StoreBuilder) -> Store {
    builder.open(Sqlite::open_or_create(path, SqliteOptions::exclusive()).unwrap().0).unwrap()
}

/// The version in a file's header.
fn version(path: &Path) -> u32 {
    let connection = Connection::open(path).unwrap();
    connection.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap()
}

/// The version that this keyhasp writes.
fn newest() -> u32 {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("keys.db");
    drop(Sqlite::create(&path, SqliteOptions::exclusive()).unwrap());
    version(&path)
}

#[test]
fn every_version_is_opened_and_used() {
    for number in formats(ENDING) {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("keys.db");
        fs::copy(file(number), &path).unwrap();
        assert_eq!(version(&path), number);
        used::check(number, &|builder| open(&path, builder));
    }
}

#[test]
fn an_older_one_is_not_taken_along_by_a_reader() {
    for number in formats(ENDING).into_iter().filter(|number| *number < newest()) {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("keys.db");
        fs::copy(file(number), &path).unwrap();
        let before = fs::read(&path).unwrap();
        let reader = Sqlite::open_read_only(&path, Duration::from_millis(50));
        let error = reader.and_then(|reader| reader.metadata()).unwrap_err();
        assert_eq!(error.kind(), BackendErrorKind::ReadOnly, "{error}");
        assert_eq!(fs::read(&path).unwrap(), before);
    }
}

#[test]
fn the_newest_is_what_is_written_now() {
    assert_eq!(formats(ENDING).last(), Some(&newest()), "the version is new: write its file");
}

#[test]
fn a_version_that_was_never_released_is_refused_and_left_as_it_is() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("keys.db");
    fs::copy(file(newest()), &path).unwrap();
    let connection = Connection::open(&path).unwrap();
    connection.pragma_update(None, "user_version", 1).unwrap();
    connection.close().unwrap();
    let before = fs::read(&path).unwrap();
    for options in
        [SqliteOptions::exclusive(), SqliteOptions::shared(Duration::from_millis(50)).unwrap()]
    {
        let error = Sqlite::open(&path, options).unwrap_err();
        assert_eq!(error.kind(), BackendErrorKind::Unreleased, "{error}");
        assert_eq!(fs::read(&path).unwrap(), before);
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1, "a file beside it");
    }
}

/// Writes the newest version's file, and what must be answered on it; never over one that is
/// there.
#[test]
#[ignore = "writes a file that is checked in: cargo test --all-features --test backends old_files -- --ignored"]
fn write_the_newest() {
    let newest = newest();
    if file(newest).exists() {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("keys.db");
    let tokens = world::write(&|builder| open(&path, builder));
    world::quarantine(&Sqlite::open(&path, SqliteOptions::exclusive()).unwrap());
    fs::copy(&path, file(newest)).unwrap();
    let expected = dir().join(format!("v{newest}.expected.json"));
    let store: Arc<dyn KeyStore> = Arc::new(open(&path, world::reader()));
    let facts = world::Facts::of(&store, &tokens).json();
    fs::write(expected, serde_json::to_string_pretty(&facts).unwrap() + "\n").unwrap();
}
