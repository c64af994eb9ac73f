//! On SQLite: `vN.sqlite.db`, as any SQLite tool opens it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use keyhasp::backend::sqlite::{Sqlite, SqliteOptions};
use keyhasp::store::StoreBuilder;
use keyhasp::{KeyStore, Store};
use rusqlite::Connection;

use crate::old_files::{dir, used, world};

/// The version of the tables that this keyhasp writes; a greater one needs a file of its own here.
const NEWEST: u32 = 1;

fn file(version: u32) -> PathBuf {
    dir().join(format!("v{version}.sqlite.db"))
}

fn open(path: &Path, builder: StoreBuilder) -> Store {
    builder.open(Sqlite::open(path, SqliteOptions::exclusive()).unwrap()).unwrap()
}

#[test]
fn every_version_is_opened_and_used() {
    for version in 1..=NEWEST {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("keys.db");
        fs::copy(file(version), &path).unwrap();
        let found = Connection::open(&path).unwrap();
        let found: u32 = found.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
        assert_eq!(found, version);
        used::check(version, &|builder| open(&path, builder));
    }
}

#[test]
fn the_newest_is_what_is_written_now() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("keys.db");
    drop(Sqlite::open(&path, SqliteOptions::exclusive()).unwrap());
    let found = Connection::open(&path).unwrap();
    let found: u32 = found.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
    assert_eq!(found, NEWEST, "the format has a new version: write its file, and raise NEWEST");
    assert!(!file(NEWEST + 1).exists(), "there is a file of a version that no test opens");
}

/// Writes the newest version's file, and what must be answered on it; never over one that is
/// there.
#[test]
#[ignore = "writes a file that is checked in: cargo test --all-features --test old_files -- --ignored"]
fn write_the_newest() {
    if file(NEWEST).exists() {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("keys.db");
    let tokens = world::write(&|builder| open(&path, builder));
    fs::copy(&path, file(NEWEST)).unwrap();
    let expected = dir().join(format!("v{NEWEST}.expected.json"));
    let store: Arc<dyn KeyStore> = Arc::new(open(&path, world::reader()));
    let facts = world::Facts::of(&store, &tokens).json();
    fs::write(expected, serde_json::to_string_pretty(&facts).unwrap() + "\n").unwrap();
}
