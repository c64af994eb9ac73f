//! The program on a file that isn't as it left it: it ends with a sentence.

#![allow(clippy::unwrap_used)] // It is a test.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use tempfile::tempdir;

/// Runs the story on a database, and returns what it complains of.
fn complaint(db: &Path) -> Option<String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quickstart"));
    let ended = command.arg("--db").arg(db).output().unwrap();
    assert_eq!(ended.status.success(), ended.stderr.is_empty(), "{ended:?}");
    (!ended.status.success()).then(|| String::from_utf8(ended.stderr).unwrap())
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
    assert_eq!(complaint(&db), None);
    let whole = fs::read(&db).unwrap();

    let lock = File::options().write(true).open(directory.path().join("keys.db.lock")).unwrap();
    lock.try_lock().unwrap();
    assert_sentence(complaint(&db), &db, "the database is open elsewhere");
    drop(lock);

    let mut damaged = whole.clone();
    damaged[8192..12_288].fill(0xee);
    fs::write(&db, damaged).unwrap();
    assert_sentence(complaint(&db), &db, "the stored data is damaged");

    fs::write(&db, "a note of mine\n".repeat(300)).unwrap();
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
