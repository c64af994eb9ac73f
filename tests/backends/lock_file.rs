//! A lock file that the service may not open: an administrator's tool has made it.

#![cfg(all(feature = "sqlite", unix))]
#![allow(clippy::unwrap_used)] // It is a test.

use std::io::Write;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;
use std::{env, fs, io};

#[cfg(feature = "sled")]
use keyhasp::backend::sled::{Sled, SledOptions};
use keyhasp::backend::sqlite::{Sqlite, SqliteOptions};
use keyhasp::backend::{BackendError, BackendErrorKind as Kind};
use tempfile::tempdir;

use crate::another_user::{UNPRIVILEGED, is_root, run_again, set_mode};

const INSIDE: &str = "KEYHASP_TEST_LOCK_FILE";
/// The names of the databases, one for each engine.
const DATABASES: &[&str] = if cfg!(feature = "sled") { &["keys.db", "keys"] } else { &["keys.db"] };

fn open(path: &Path) -> Result<(), BackendError> {
    #[cfg(feature = "sled")]
    if path.ends_with("keys") {
        return Sled::open_or_create(path, SledOptions::default()).map(drop);
    }
    Sqlite::open_or_create(path, SqliteOptions::exclusive()).map(drop)
}

#[test]
fn a_lock_file_of_another_user_is_named_with_its_owner() {
    if let Ok(inside) = env::var(INSIDE) {
        for name in DATABASES {
            let error = open(&Path::new(&inside).join(name)).unwrap_err();
            assert_eq!(error.kind(), Kind::ReadOnly, "{error}");
            writeln!(io::stdout(), "heard: {error}").unwrap();
        }
        return;
    }
    let directory = tempdir().unwrap();
    set_mode(directory.path(), 0o777);
    for name in DATABASES {
        let path = directory.path().join(name);
        open(&path).unwrap();
        if is_root() {
            give(&path);
        }
        let lock = directory.path().join(format!("{name}.lock"));
        set_mode(&lock, if is_root() { 0o600 } else { 0 });
    }
    let heard = run_again(
        "lock_file::a_lock_file_of_another_user_is_named_with_its_owner",
        (INSIDE, directory.path().to_str().unwrap().to_owned()),
    );
    for name in DATABASES {
        let lock = directory.path().join(format!("{name}.lock"));
        let owner = fs::metadata(&lock).unwrap().uid();
        let lines: Vec<&str> = heard.lines().filter(|line| line.contains("heard: ")).collect();
        let named = format!("the lock file {} belongs to user {owner}", lock.display());
        assert!(lines.iter().any(|line| line.contains(&named)), "{lines:?}");
        assert!(lines.iter().all(|line| line.contains("`chown`")), "{lines:?}");
    }
}

/// Gives a file, or a directory with all that is in it, to the user without rights.
fn give(path: &Path) {
    chown(path, Some(UNPRIVILEGED), Some(UNPRIVILEGED)).unwrap();
    if path.is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| give(&entry.unwrap().path()));
    }
}

/// A directory that the service may not write to.
#[test]
fn a_lock_file_that_cannot_be_made_is_named() {
    if let Ok(inside) = env::var(INSIDE) {
        let error = open(&Path::new(&inside).join("keys.db")).unwrap_err();
        assert_eq!(error.kind(), Kind::ReadOnly, "{error}");
        writeln!(io::stdout(), "heard: {error}").unwrap();
        return;
    }
    let directory = tempdir().unwrap();
    let path = directory.path().join("keys.db");
    open(&path).unwrap();
    let lock = directory.path().join("keys.db.lock");
    fs::remove_file(&lock).unwrap();
    set_mode(&path, 0o666);
    // Its owner may write to it, but its owner is another one.
    set_mode(directory.path(), if is_root() { 0o755 } else { 0o555 });
    let heard = run_again(
        "lock_file::a_lock_file_that_cannot_be_made_is_named",
        (INSIDE, directory.path().to_str().unwrap().to_owned()),
    );
    set_mode(directory.path(), 0o755);
    assert!(heard.contains("keys.db"), "{heard}");
    if is_root() {
        assert!(
            heard.contains(&format!("the lock file {} can't be made", lock.display())),
            "{heard}"
        );
    }
}
