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
use std::sync::Arc;

use keyhasp::backend::sqlite::{Sqlite, SqliteOptions};
use keyhasp::{AdminKeys, Catalogue, CreateOwner, KeyStore, Store, StoreBuilder};
use rusqlite::Connection;
use tempfile::{TempDir, tempdir};

use crate::common::{owner, prefix};
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
    [service!(axum_service), service!(ricloud), service!(sensorbucket), service!(taapit)]
}

fn ended(run: impl Future<Output = Result<(), Box<dyn std::error::Error>>>) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let until = tokio::time::Duration::from_secs(60);
    // A service that opens its database goes on serving.
    let ended = runtime.block_on(async { tokio::time::timeout(until, run).await });
    ended.unwrap().unwrap_err().to_string()
}

fn builder() -> StoreBuilder {
    Store::builder(Catalogue::builder().build().unwrap(), [prefix("acme")])
}

/// A database that was in use, with a log of commits, and the secrets of all examples.
fn used() -> (TempDir, PathBuf) {
    let directory = tempdir().unwrap();
    let path = directory.path().join("keys.db");
    let store = builder().open(Sqlite::create(&path, SqliteOptions::exclusive()).unwrap()).unwrap();
    store.close().unwrap();
    for secret in ["pepper", "sealing", "session"] {
        fs::write(beside(&path, &format!(".{secret}")), [7; 32]).unwrap();
    }
    (directory, path)
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}{suffix}", path.display()))
}

/// Returns the file and its log as they were before the last change.
fn snapshot_and_go_on(path: &Path) -> [Vec<u8>; 2] {
    let store = builder().open(Sqlite::open(path, SqliteOptions::exclusive()).unwrap()).unwrap();
    let admin = AdminKeys::new(Arc::new(store), "root").unwrap();
    let create = |id| admin.create_owner(&owner(id), CreateOwner::without_key()).unwrap();
    create("earlier");
    let copies = ["", "-wal"].map(|suffix| fs::read(beside(path, suffix)).unwrap());
    create("later");
    copies
}

/// A log of a commit beside this database.
fn log_beside(path: &Path) -> Vec<u8> {
    let connection = Connection::open(path).unwrap();
    connection.execute("UPDATE last_commit SET previous = id, id = randomblob(16)", []).unwrap();
    fs::read(beside(path, "-wal")).unwrap()
}

type Spoil = fn(&Path);

/// Faults of a file, and the words of each example about them.
const SPOILT: [(&str, Spoil, &[&str]); 7] = [
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
        "a snapshot of the file and its log beside a later lock file",
        |path| {
            let earlier = snapshot_and_go_on(path);
            for (suffix, bytes) in ["", "-wal"].into_iter().zip(earlier) {
                fs::write(beside(path, suffix), bytes).unwrap();
            }
        },
        &["earlier state", "remove FILE.lock"],
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
        "something else, where there was a database",
        |path| fs::write(path, "a note of mine\n".repeat(300)).unwrap(),
        &["page 1 of the file is damaged", "put back a backup"],
    ),
    (
        "something else",
        |path| {
            fs::write(path, "a note of mine\n".repeat(300)).unwrap();
            fs::remove_file(beside(path, ".lock")).unwrap();
        },
        &["there is no database there"],
    ),
    (
        "a damaged page",
        |path| {
            let mut bytes = fs::read(path).unwrap();
            bytes[12_288..16_384].fill(0xee);
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

/// An administrator's command on a file that isn't there makes none: the service's next start would
/// find a database that it hasn't filled.
#[test]
fn an_administrators_command_makes_no_database() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("keys.db");
    let arguments = ["--db", path.to_str().unwrap(), "admin", "block", "3"];
    let said = ended(ricloud::run(ricloud::shared::Arguments::of(arguments)));
    assert_eq!(said, "admin needs --db FILE of a database that the service has filled");
    // A slip in the command is told before that.
    let arguments = ["--db", path.to_str().unwrap(), "admin", "block"];
    let said = ended(ricloud::run(ricloud::shared::Arguments::of(arguments)));
    assert_eq!(said, "admin needs one of the commands that --help lists");
    assert_eq!(names(directory.path()), [""; 0]);
}

/// A value of an option isn't taken for the command.
#[test]
fn a_command_is_what_stands_behind_its_word() {
    let mut arguments =
        ricloud::shared::Arguments::of(["--db", "admin", "admin", "block", "3", "admin"]);
    assert_eq!(arguments.option("--db").unwrap().unwrap(), "admin");
    assert_eq!(arguments.command("admin").unwrap(), ["block", "3", "admin"]);
    assert!(arguments.command("admin").is_none());
    arguments.finish().unwrap();
}

#[test]
fn each_example_has_help() {
    fn helped(run: impl Future<Output = Result<(), Box<dyn std::error::Error>>>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let until = tokio::time::Duration::from_secs(60);
        // Without it, the service would begin to serve.
        runtime.block_on(async { tokio::time::timeout(until, run).await }).unwrap().unwrap();
    }
    helped(ricloud::run(ricloud::shared::Arguments::of(["admin", "block", "--help"])));
    helped(sensorbucket::run(sensorbucket::shared::Arguments::of(["--help"])));
    helped(taapit::run(taapit::shared::Arguments::of(["--help"])));
}

/// Runs an example whose secret is lost, and expects that it draws no other.
fn assert_not_drawn(name: &str, path: &Path, secret: &str) {
    let (_, run) = examples().into_iter().find(|(known, _)| *known == name).unwrap();
    let lost = beside(path, &format!(".{secret}"));
    let said = run(path.to_str().unwrap());
    let parts = [lost.to_str().unwrap(), "put that file back"];
    assert_sentence(name, secret, &said, path, &parts);
    assert!(!lost.exists(), "{name} drew another {secret}");
}

#[test]
fn no_example_draws_a_secret_where_there_is_a_database() {
    for (name, secret) in [
        ("axum_service", "pepper"),
        ("ricloud", "pepper"),
        ("ricloud", "sealing"),
        ("sensorbucket", "pepper"),
        ("sensorbucket", "session"),
        ("taapit", "pepper"),
    ] {
        let (_directory, path) = used();
        fs::remove_file(beside(&path, &format!(".{secret}"))).unwrap();
        assert_not_drawn(name, &path, secret);
    }
}

/// One file beside the missing or empty one is left of it: its log, its lock file with the number of
/// an event, or a secret.
#[test]
fn no_example_draws_a_secret_where_there_was_a_database() {
    let firsts = [("ricloud", "sealing"), ("sensorbucket", "session"), ("taapit", "pepper")];
    let left = [".lock", "-wal"]
        .into_iter()
        .flat_map(|left| firsts.map(|(name, first)| (name, left.to_owned(), first)));
    let seconds = [("ricloud", "sealing"), ("sensorbucket", "session"), ("taapit", "session")];
    let left = left.chain(seconds.map(|(name, left)| (name, format!(".{left}"), "pepper")));
    for ((name, left, secret), is_empty) in
        left.flat_map(|case| [(case.clone(), false), (case, true)])
    {
        let (directory, path) = used();
        let kept = format!("keys.db{left}");
        fs::write(beside(&path, "-wal"), [1; 4096]).unwrap();
        for file in names(directory.path()).into_iter().filter(|file| *file != kept) {
            fs::remove_file(directory.path().join(file)).unwrap();
        }
        if is_empty {
            fs::write(&path, "").unwrap();
        }
        assert_not_drawn(name, &path, secret);
    }
}

/// The number of an event in the lock file tells of a database whose volume isn't mounted.
#[test]
fn no_service_begins_anew_beside_the_lock_file_of_a_database() {
    for (name, run) in examples() {
        for is_empty in [false, true] {
            let (_directory, path) = used();
            fs::remove_file(&path).unwrap();
            if is_empty {
                fs::write(&path, "").unwrap();
            }
            let parts = ["no database is there", "its volume may not be mounted"];
            assert_sentence(name, "a lock file", &run(path.to_str().unwrap()), &path, &parts);
            assert!(fs::metadata(&path).is_ok_and(|file| file.len() == 0) == is_empty);
        }
    }
}

/// A process that was only refused leaves a lock file without a number.
#[test]
fn an_example_begins_where_there_never_was_a_database() {
    let (_directory, path) = used();
    for suffix in ["", ".pepper", ".sealing", ".session"] {
        fs::remove_file(beside(&path, suffix)).unwrap();
    }
    fs::write(beside(&path, ".lock"), [0; 13]).unwrap();
    let place = taapit::shared::Place::new(Some(path.to_str().unwrap().to_owned())).unwrap();
    let store = place.open_as(taapit::users::store().unwrap(), SqliteOptions::exclusive()).unwrap();
    store.close().unwrap();
    assert!(beside(&path, ".pepper").exists());
}
