//! The contents of the file, and that they are found again.

use std::fs;

use keyhasp::backend::Backend;
use keyhasp::backend::sqlite::{Sqlite, SqliteOptions};
use keyhasp::id::KeyId;
use rusqlite::Connection;
use tempfile::tempdir;

use crate::sqlite::support::{
    commit, contents, create_key, create_owner, key, metadata, open, owner_id, quick,
};

#[test]
fn what_was_committed_is_found_again() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("keys.db");
    {
        let sqlite = open(&path, SqliteOptions::exclusive());
        commit(&sqlite, create_owner("acme"));
        commit(&sqlite, create_key(key(1, "acme")));
        sqlite.close().unwrap();
    }
    // Closed, it is one file, and the lock.
    let names: Vec<String> = contents(directory.path()).into_keys().collect();
    assert_eq!(names, ["keys.db", "keys.db.lock"]);
    let sqlite = Sqlite::open(&path, SqliteOptions::exclusive()).unwrap();
    assert_eq!(sqlite.metadata().unwrap(), Some(metadata()));
    assert!(sqlite.key(KeyId::from_u128(1)).unwrap().is_some());
    assert_eq!(sqlite.last_event().unwrap(), 3);
}

#[test]
fn what_was_committed_is_found_after_a_crash() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("keys.db");
    let sqlite = open(&path, SqliteOptions::exclusive());
    commit(&sqlite, create_owner("acme"));
    commit(&sqlite, create_key(key(1, "acme")));
    // The files as they are at this moment, the shared memory left out: so a crash leaves them.
    let crashed = tempdir().unwrap();
    for name in ["keys.db", "keys.db-wal"] {
        fs::copy(directory.path().join(name), crashed.path().join(name)).unwrap();
    }
    let found = open(&crashed.path().join("keys.db"), SqliteOptions::exclusive());
    assert!(found.key(KeyId::from_u128(1)).unwrap().is_some());
    assert_eq!(found.last_event().unwrap(), 3);
}

/// The log is copied into the file page by page, the first page first.
#[test]
fn what_was_committed_is_found_after_a_crash_while_the_log_was_copied() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("keys.db");
    let sqlite = open(&path, SqliteOptions::exclusive());
    sqlite.recover().unwrap();
    let before = fs::read(&path).unwrap();
    for n in 0..200 {
        commit(&sqlite, create_owner(&format!("an owner of some length {n}")));
    }
    let log = fs::read(directory.path().join("keys.db-wal")).unwrap();
    sqlite.close().unwrap();
    let after = fs::read(&path).unwrap();
    assert!(after.len() > before.len());
    let crashed = tempdir().unwrap();
    let path = crashed.path().join("keys.db");
    fs::write(&path, [&after[..4096], &before[4096..]].concat()).unwrap();
    fs::write(crashed.path().join("keys.db-wal"), log).unwrap();
    let found = open(&path, SqliteOptions::exclusive());
    assert!(found.owner(&owner_id("an owner of some length 199")).unwrap().is_some());
    let text = "PRAGMA integrity_check";
    let raw = Connection::open(&path).unwrap();
    assert_eq!(raw.query_row(text, [], |row| row.get::<_, String>(0)).unwrap(), "ok");
}

/// The file has the columns of the schema, and the description its indexes.
#[test]
fn every_column_is_described() {
    let description = include_str!("../../../docs/storage-format.md");
    let schema = include_str!("../../../src/backend/sqlite/schema.sql");
    let directory = tempdir().unwrap();
    let path = directory.path().join("keys.db");
    let sqlite = open(&path, quick());
    let raw = Connection::open(&path).unwrap();
    let sql = "SELECT t.name, c.name FROM sqlite_schema t JOIN pragma_table_info(t.name) c
               WHERE t.type = 'table' UNION SELECT tbl_name, name FROM sqlite_schema
               WHERE type = 'index' AND sql IS NOT NULL";
    let mut statement = raw.prepare(sql).unwrap();
    let names = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let names: Vec<(String, String)> = names.collect::<Result<_, _>>().unwrap();
    assert!(names.len() > 80);
    for (table, name) in names {
        let of_table = schema.split(&format!("CREATE TABLE {table} (")).nth(1).unwrap();
        let of_table = of_table.split("\n) ").next().unwrap();
        let is_column = of_table.contains(&format!("\n  {name} "));
        assert!(is_column || description.contains(&format!("`{name}`")), "{table}.{name}");
    }
    // The queries that it shows can be asked.
    let queries = description.split("```sql").nth(1).unwrap().split("```").next().unwrap();
    for query in queries.split(';').filter(|query| !query.trim().is_empty()) {
        raw.prepare(query).unwrap();
    }
    drop(sqlite);
}

/// What the file promises to a person who looks at it.
#[test]
fn the_file_is_as_described() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("keys.db");
    let sqlite = open(&path, quick());
    commit(&sqlite, create_owner("acme"));
    commit(&sqlite, create_key(key(0x0123_4567_89ab_7000_8000_0000_0000_0001, "acme")));
    let raw = Connection::open(&path).unwrap();
    let text = |sql: &str| raw.query_row(sql, [], |row| row.get::<_, String>(0)).unwrap();
    let number = |sql: &str| raw.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(text("PRAGMA journal_mode"), "wal");
    assert_eq!(number("PRAGMA application_id"), 0x4b68_7370);
    assert_eq!(number("PRAGMA user_version"), 5);
    assert_eq!(text("PRAGMA integrity_check"), "ok");
    let loose = "SELECT count(*) FROM pragma_table_list
                 WHERE schema = 'main' AND name NOT LIKE 'sqlite_%' AND NOT strict";
    assert_eq!(number(loose), 0);
    assert_eq!(
        text("SELECT lower(hex(id)) || ' ' || owner || ' ' || kind || ' ' || access FROM keys"),
        "0123456789ab70008000000000000001 acme standard full"
    );
    assert_eq!(text("SELECT max_access || ' ' || defaults FROM owners"), "full {}");
    assert_eq!(number("SELECT keys_live FROM owners WHERE id = 'acme'"), 1);
    assert_eq!(number("SELECT count(*) FROM events WHERE actor = 'tester' AND at = 1"), 3);
    let settings = "INSERT INTO owners (id, max_access, max_keys, version, created_at, created_by,
                    updated_at, defaults) VALUES ('x', 'full', 'many', 1, 1, 'me', 1, '{}')";
    // A STRICT table takes no text for a number.
    assert!(raw.execute(settings, []).is_err());
    assert!(sqlite.owner(&owner_id("x")).unwrap().is_none());
}
