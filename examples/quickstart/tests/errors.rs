//! The program on a file that isn't as it left it: it ends with a sentence.

#![allow(clippy::unwrap_used)] // It is a test.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use tempfile::tempdir;

/// Runs the story on a database, and returns what it says to the operator, and whether it ended well.
fn run(backend: &str, db: &Path) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quickstart"));
    let ended = command.args(["--backend", backend, "--db"]).arg(db).output().unwrap();
    (ended.status.success(), String::from_utf8(ended.stderr).unwrap())
}

/// Returns what it complains of. It may say nothing else, except that a database is new.
fn complaint_on(backend: &str, db: &Path, is_new: bool) -> Option<String> {
    let (is_well, said) = run(backend, db);
    if is_well && is_new {
        assert_sentence(Some(said), db, " is new: ");
        return None;
    }
    assert_eq!(is_well, said.is_empty(), "{said}");
    (!is_well).then_some(said)
}

fn complaint(db: &Path) -> Option<String> {
    complaint_on("sqlite", db, false)
}

fn assert_sentence(complaint: Option<String>, db: &Path, part: &str) {
    let said = complaint.unwrap();
    assert!(said.contains(part) && said.contains(db.to_str().unwrap()), "{said}");
    assert!(said.starts_with("quickstart: ") && !said.contains(['{', '}']), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn it_says_what_is_wrong_with_its_file() {
    let directory = tempdir().unwrap();
    let db = directory.path().join("keys.db");
    assert_eq!(complaint_on("sqlite", &db, true), None);
    assert_eq!(complaint(&db), None);
    let whole = fs::read(&db).unwrap();

    let lock = File::options().write(true).open(directory.path().join("keys.db.lock")).unwrap();
    lock.try_lock().unwrap();
    assert_sentence(complaint(&db), &db, "the database is open elsewhere");
    drop(lock);

    let mut damaged = whole;
    damaged[12_288..16_384].fill(0xee);
    fs::write(&db, damaged).unwrap();
    assert_sentence(complaint(&db), &db, "the stored data is damaged");

    // The lock file tells that a database was there.
    fs::write(&db, "a note of mine\n".repeat(300)).unwrap();
    assert_sentence(complaint(&db), &db, "the stored data is damaged");
    fs::remove_file(directory.path().join("keys.db.lock")).unwrap();
    assert_sentence(complaint(&db), &db, "there is no database there");

    let log = directory.path().join("keys.db-wal");
    fs::write(&log, [1; 4096]).unwrap();
    fs::write(&db, "").unwrap();
    assert_sentence(complaint(&db), &db, "the file is missing or empty");
    fs::remove_file(&db).unwrap();
    assert_sentence(complaint(&db), &db, "the file is missing or empty");
    assert!(!db.exists() && log.exists());

    let nowhere = directory.path().join("no").join("keys.db");
    assert_sentence(complaint(&nowhere), &nowhere, "there is no such directory");
}

#[cfg(feature = "sled")]
#[test]
fn it_says_what_is_wrong_with_its_directory() {
    let directory = tempdir().unwrap();
    let db = directory.path().join("keys");
    let complaint = || complaint_on("sled", &db, false);
    assert_eq!(complaint_on("sled", &db, true), None);
    assert_eq!(complaint(), None);

    let lock = File::options().write(true).open(directory.path().join("keys.lock")).unwrap();
    lock.try_lock().unwrap();
    assert_sentence(complaint(), &db, "the database is open elsewhere");
    drop(lock);

    let parts = fs::read_dir(&db).unwrap().map(|entry| entry.unwrap().path().join("db"));
    let files: Vec<_> = parts.filter(|path| path.is_file()).collect();
    files.iter().for_each(|path| fs::write(path, [0xee; 4096]).unwrap());
    assert!(!files.is_empty());
    assert_sentence(complaint(), &db, "damaged");

    fs::remove_dir_all(&db).unwrap();
    fs::write(&db, "a note of mine\n".repeat(300)).unwrap();
    assert_sentence(complaint(), &db, "there is no database there");
}
