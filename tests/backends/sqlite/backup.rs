//! Backups, made while the database is in use.

use std::fs;
use std::path::Path;
use std::time::Duration;

use keyhasp::backend::sqlite::{Sqlite, SqliteOptions};
use keyhasp::backend::{Backend, BackendErrorKind as Kind, BackupProgress, Memory};
use tempfile::tempdir;

use crate::sqlite::support::{
    commit, contents, create_key, create_owner, key, open, owner_id, quick,
};

/// More than one step of a backup.
const KEYS: u128 = 6_000;

fn filled(path: &Path) -> Sqlite {
    let sqlite = open(path, quick());
    let owners = ["acme", "b", "c", "d", "e", "f", "g", "h"];
    owners.iter().for_each(|owner| commit(&sqlite, create_owner(owner)));
    let owner_of = |number: u128| owners[usize::try_from(number).unwrap() % owners.len()];
    let keys: Vec<_> = (1..=KEYS).map(|number| create_key(key(number, owner_of(number)))).collect();
    for batch in keys.chunks(256) {
        for outcome in sqlite.commit(batch).unwrap() {
            outcome.unwrap();
        }
    }
    sqlite
}

#[test]
fn a_backup_is_one_moment_and_commits_go_on() {
    let directory = tempdir().unwrap();
    let sqlite = filled(&directory.path().join("keys.db"));
    let before = sqlite.last_event().unwrap();
    let copy = directory.path().join("copy.db");
    let mut heard: Vec<BackupProgress> = Vec::new();
    let mut progress = |progress: BackupProgress| {
        // In the midst of the copying, on this very thread: a backup holds no lock.
        commit(&sqlite, create_owner(&format!("later-{}", heard.len())));
        heard.push(progress);
    };
    sqlite.backup(&copy, &mut progress).unwrap();
    assert!(heard.len() > 1, "{heard:?}");
    assert!(heard.iter().all(|step| step.total_bytes == heard[0].total_bytes));
    assert!(heard.is_sorted_by(|one, next| one.copied_bytes < next.copied_bytes));
    let last = heard.last().unwrap();
    assert_eq!(last.copied_bytes, last.total_bytes);
    assert_eq!(last.total_bytes, fs::metadata(&copy).unwrap().len());
    assert!(sqlite.last_event().unwrap() > before);

    let restored = Sqlite::open(&copy, quick()).unwrap();
    assert_eq!(restored.last_event().unwrap(), before);
    assert!(restored.owner(&owner_id("later-0")).unwrap().is_none());
    assert_eq!(restored.expected_keys(), u64::try_from(KEYS).unwrap());
    commit(&restored, create_owner("restored"));
}

#[test]
fn a_backup_takes_no_place_that_is_taken() {
    let directory = tempdir().unwrap();
    let sqlite = open(&directory.path().join("keys.db"), quick());
    let copy = directory.path().join("copy.db");
    for name in ["copy.db", "copy.db-wal", "copy.db-shm", "copy.db-journal", "keys.db"] {
        let path = directory.path().join(name);
        let (copy, is_own) = if name == "keys.db" { (&path, true) } else { (&copy, false) };
        if !is_own {
            fs::write(&path, "mine").unwrap();
        }
        let error = sqlite.backup(copy, &mut |_| {}).unwrap_err();
        assert_eq!(error.kind(), Kind::AlreadyExists, "{name}: {error}");
        if !is_own {
            assert_eq!(fs::read(&path).unwrap(), b"mine");
            fs::remove_file(&path).unwrap();
        }
    }
    let nowhere = directory.path().join("no").join("copy.db");
    assert_eq!(sqlite.backup(&nowhere, &mut |_| {}).unwrap_err().kind(), Kind::NotADatabase);
    sqlite.backup(&copy, &mut |_| {}).unwrap();
    // It holds digests, and has nothing beside it.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let names: Vec<_> = contents(directory.path()).into_keys().collect();
    assert!(!names.iter().any(|name| name.starts_with("copy.db-")), "{names:?}");
    sqlite.close().unwrap();
    let closed = directory.path().join("closed.db");
    assert_eq!(sqlite.backup(&closed, &mut |_| {}).unwrap_err().kind(), Kind::Closed);
    assert!(!closed.exists());
}

/// Closing doesn't wait for it.
#[test]
fn a_backup_that_is_cut_short_leaves_nothing() {
    let directory = tempdir().unwrap();
    let sqlite = filled(&directory.path().join("keys.db"));
    let copy = directory.path().join("copy.db");
    let (starts, started) = std::sync::mpsc::channel();
    let (error, closed) = std::thread::scope(|scope| {
        let (sqlite, copy) = (&sqlite, &copy);
        let backup = scope.spawn(move || {
            sqlite.backup(copy, &mut |_| {
                let _ = starts.send(());
                // Until the other thread waits for this one.
                while sqlite.owner(&owner_id("acme")).is_ok() {
                    std::thread::yield_now();
                }
            })
        });
        started.recv_timeout(Duration::from_secs(600)).unwrap();
        (sqlite.close(), backup.join().unwrap())
    });
    let (closed, error) = (error, closed.unwrap_err());
    closed.unwrap();
    assert_eq!(error.kind(), Kind::Closed);
    assert!(!copy.exists());
}

#[test]
fn a_tool_that_looks_can_back_up_and_memory_cannot() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("keys.db");
    let sqlite = open(&path, quick());
    commit(&sqlite, create_owner("acme"));
    let copy = directory.path().join("copy.db");
    let tool = Sqlite::open_read_only(&path, SqliteOptions::MIN_STALENESS).unwrap();
    tool.backup(&copy, &mut |_| {}).unwrap();
    assert!(open(&copy, quick()).owner(&owner_id("acme")).unwrap().is_some());
    let refused = Memory::new().backup(&copy, &mut |_| {}).unwrap_err();
    assert_eq!(refused.kind(), Kind::Unsupported);
}
