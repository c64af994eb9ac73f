//! The example services on files that aren't as they left them: each ends with a sentence for its
//! operator, and draws no new secret.

#![cfg(all(
    feature = "axum",
    feature = "recoverable",
    feature = "sqlite",
    feature = "testing",
    feature = "tokio"
))]
#![allow(clippy::unwrap_used, clippy::panic)] // It is a test.

use std::fs;
use std::future::Future;
use std::path::{Path, PathBuf};

use keyhasp::KeyStore;
use keyhasp::backend::sqlite::{Sqlite, SqliteOptions};
use rusqlite::Connection;
use tempfile::{TempDir, tempdir};

use crate::http::example::axum_service;
use crate::http::ricloud::example as ricloud;
use crate::http::sensorbucket::example as sensorbucket;
use crate::taapit::example as taapit;

/// Runs an example on a file until it ends, and returns what it would print.
type Run = fn(&str) -> String;

fn examples() -> [(&'static str, Run); 4] {
    macro_rules! service {
        ($name:ident) => {
            (stringify!($name), |db| {
                let arguments = $name::shared::Arguments::of(["--db", db]);
                ended($name::run(arguments))
            })
        };
    }
    [
        ("axum_service", |db| match axum_service::open(db) {
            Ok(_) => panic!("it opened"),
            Err(error) => error.to_string(),
        }),
        service!(ricloud),
        service!(sensorbucket),
        service!(taapit),
    ]
}

fn ended(run: impl Future<Output = Result<(), Box<dyn std::error::Error>>>) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let until = tokio::time::Duration::from_secs(60);
    // A service that opens its database goes on serving.
    let ended = runtime.block_on(async { tokio::time::timeout(until, run).await });
    ended.unwrap().unwrap_err().to_string()
}

/// A database that was in use, with a log of commits, and the secrets of all examples.
fn used() -> (TempDir, PathBuf) {
    let directory = tempdir().unwrap();
    let path = directory.path().join("keys.db");
    let store = keyhasp::Store::builder(
        keyhasp::Catalogue::builder().build().unwrap(),
        [keyhasp::Prefix::new("acme").unwrap()],
    );
    let store = store.open(Sqlite::create(&path, SqliteOptions::exclusive()).unwrap()).unwrap();
    store.close().unwrap();
    for secret in ["pepper", "sealing", "session"] {
        fs::write(beside(&path, &format!(".{secret}")), [7; 32]).unwrap();
    }
    (directory, path)
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}{suffix}", path.display()))
}

/// A log of a commit beside this database.
fn log_beside(path: &Path) -> Vec<u8> {
    let connection = Connection::open(path).unwrap();
    connection.execute("UPDATE last_commit SET previous = id, id = randomblob(16)", []).unwrap();
    fs::read(beside(path, "-wal")).unwrap()
}

type Spoil = fn(&Path);

/// What happened to a file, and what each example says of it.
const SPOILT: [(&str, Spoil, &[&str]); 5] = [
    (
        "the file is gone, and its log is there",
        |path| {
            fs::remove_file(path).unwrap();
            fs::write(beside(path, "-wal"), [1; 4096]).unwrap();
        },
        &["the file is missing or empty", "put the file back from a backup"],
    ),
    (
        "the file was emptied",
        |path| {
            fs::write(path, "").unwrap();
            fs::write(beside(path, "-wal"), [1; 4096]).unwrap();
        },
        &["the file is missing or empty", "put the file back from a backup"],
    ),
    (
        "a log of another file",
        |path| {
            let (_other, other) = used();
            fs::write(beside(path, "-wal"), log_beside(&other)).unwrap();
        },
        &["don't belong together", "-wal holds commits", "put back the file"],
    ),
    (
        "something else",
        |path| fs::write(path, "a note of mine\n".repeat(300)).unwrap(),
        &["there is no database there"],
    ),
    (
        "a damaged page",
        |path| {
            let mut bytes = fs::read(path).unwrap();
            bytes[8192..12_288].fill(0xee);
            fs::write(path, bytes).unwrap();
        },
        &["the stored data is damaged"],
    ),
];

fn assert_sentence(name: &str, what: &str, said: &str, path: &Path, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "{name}, {what}: {said}");
    }
    assert!(said.contains(path.to_str().unwrap()), "{name}, {what}: {said}");
    assert!(!said.contains(['{', '}', '\n']), "{name}, {what}: fields, not a sentence: {said}");
}

#[test]
fn each_example_says_what_is_wrong_with_its_file() {
    for (name, run) in examples() {
        for (what, spoil, parts) in SPOILT {
            let (directory, path) = used();
            spoil(&path);
            let before = names(directory.path());
            assert_sentence(name, what, &run(path.to_str().unwrap()), &path, parts);
            let after = names(directory.path());
            let new: Vec<_> = after.iter().filter(|name| !before.contains(name)).collect();
            // A reader that looked for the damaged page leaves an empty log.
            let is_known = |name: &str| match name {
                "keys.db.lock" | "keys.db-shm" => true,
                "keys.db-wal" => fs::metadata(directory.path().join(name)).unwrap().len() == 0,
                _ => false,
            };
            assert!(new.iter().all(|name| is_known(name)), "{name}, {what}: {new:?}");
        }
    }
}

fn names(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn each_example_says_that_another_process_has_its_file() {
    for (name, run) in examples() {
        let (_directory, path) = used();
        let open = Sqlite::open(&path, SqliteOptions::exclusive()).unwrap();
        let said = run(path.to_str().unwrap());
        assert_sentence(name, "in use", &said, &path, &["the database is open elsewhere"]);
        drop(open);
    }
}

/// Also where the file itself is gone, and its log is left.
#[test]
fn no_example_draws_a_secret_where_there_was_a_database() {
    let secrets = [("ricloud", ["pepper", "sealing"]), ("sensorbucket", ["pepper", "session"])];
    let secrets = secrets.into_iter().chain([("taapit", ["pepper", "pepper"])]);
    for (name, needed) in secrets {
        let (_, run) = examples().into_iter().find(|(known, _)| *known == name).unwrap();
        for secret in needed {
            for is_gone in [false, true] {
                let (directory, path) = used();
                if is_gone {
                    fs::remove_file(&path).unwrap();
                    fs::write(beside(&path, "-wal"), [1; 4096]).unwrap();
                }
                let lost = beside(&path, &format!(".{secret}"));
                fs::remove_file(&lost).unwrap();
                let said = run(path.to_str().unwrap());
                let parts = [lost.to_str().unwrap(), "put that file back"];
                assert_sentence(name, secret, &said, &path, &parts);
                assert!(!lost.exists(), "{name} drew another {secret}");
                drop(directory);
            }
        }
    }
}
