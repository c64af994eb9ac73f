//! A newer version takes the database while an older one has it open.

use std::time::Duration;

use keyhasp::backend::{Backend, BackendErrorKind, Sharing};
use rusqlite::Connection;
use tempfile::tempdir;

use crate::sqlite::support::{
    assert_none, commit, create_owner, every_call, open, owner_id, quick, shared,
};

#[test]
fn an_older_process_fails_closed() {
    for options in [quick(), shared()] {
        let directory = tempdir().unwrap();
        let path = directory.path().join("keys.db");
        let sqlite = open(&path, options);
        assert_none(&sqlite);
        let newer = Connection::open(&path).unwrap();
        newer
            .execute_batch("BEGIN; PRAGMA user_version = 6; CREATE TABLE more (a); COMMIT")
            .unwrap();
        // It changes when another connection has committed something.
        let data_version =
            || newer.query_row("PRAGMA data_version", [], |row| row.get::<_, i64>(0)).unwrap();
        let before = data_version();
        for (call, result) in every_call(&sqlite) {
            // An exclusive one recovers alone, and the newer one is there.
            let is_held = call == "recover" && sqlite.sharing() == Sharing::Exclusive;
            let kind = if is_held { BackendErrorKind::TimedOut } else { BackendErrorKind::Newer };
            assert_eq!(result.unwrap_err().kind(), kind, "{call}");
        }
        assert_eq!(data_version(), before);
        drop(newer);
        assert_eq!(sqlite.recover().unwrap_err().kind(), BackendErrorKind::Newer);
    }
}

#[test]
fn who_waits_for_another_process_hears_of_it() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("keys.db");
    let sqlite = open(&path, shared());
    Connection::open(&path).unwrap().execute_batch("PRAGMA user_version = 6").unwrap();
    let error = sqlite.wait(1, Duration::from_secs(60)).unwrap_err();
    assert_eq!(error.kind(), BackendErrorKind::Newer);
}

#[test]
fn an_older_version_than_it_opened_is_damage() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("keys.db");
    let sqlite = open(&path, quick());
    let other = Connection::open(&path).unwrap();
    other.execute_batch("PRAGMA user_version = 0").unwrap();
    let error = sqlite.owner(&owner_id("acme")).unwrap_err();
    assert_eq!(error.kind(), BackendErrorKind::Corrupt);
    other.execute_batch("PRAGMA user_version = 5").unwrap();
    commit(&sqlite, create_owner("acme"));
}
