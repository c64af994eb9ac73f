//! After a commit whose outcome is unknown.

use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::{env, fs};

use rusqlite::config::DbConfig;

use super::super::connect::{Connector, Patience};
use super::super::files::Files;
use super::super::owners;
use super::super::readers::Readers;
use super::fixtures::{Fixture, create_key, create_owner, key, owner_id};
use crate::backend::sqlite::{Sqlite, SqliteOptions};
use crate::backend::{Backend, BackendErrorKind, Change};
use crate::id::KeyId;

#[test]
fn nothing_is_written_before_recovery() {
    for options in [
        SqliteOptions::exclusive(),
        SqliteOptions::shared(SqliteOptions::DEFAULT_STALENESS).unwrap(),
    ] {
        let fixture = Fixture::with(options);
        fixture.commit(create_owner("acme"));
        fixture.sqlite.writer.suspect();
        let error = fixture.sqlite.commit(&[create_owner("other")]).unwrap_err();
        assert_eq!(error.kind(), BackendErrorKind::OutcomeUnknown);
        assert!(error.to_string().contains("recover first"), "{error}");
        assert!(fixture.sqlite.prune_events(super::fixtures::at(9), 9).is_err());
        assert!(fixture.sqlite.owner(&owner_id("acme")).unwrap().is_some());

        fixture.sqlite.recover().unwrap();
        // The old content lies in the file itself; the log has begun again, with one page.
        assert_eq!(log_len(&fixture), 32 + 2 * (24 + 4096));
        assert!(fixture.sqlite.owner(&owner_id("other")).unwrap().is_none());
        fixture.commit(create_owner("other"));
        assert_eq!(fixture.sqlite.last_event().unwrap(), 3);
    }
}

fn log_len(fixture: &Fixture) -> u64 {
    fs::metadata(fixture.directory.path().join("keys.db-wal")).unwrap().len()
}

#[test]
fn recovery_waits_for_who_holds_the_log() {
    let options = SqliteOptions::shared(SqliteOptions::DEFAULT_STALENESS).unwrap();
    let fixture = Fixture::with(options.busy_timeout(std::time::Duration::ZERO).unwrap());
    fixture.commit(create_owner("acme"));
    let other = fixture.raw();
    other.execute_batch("BEGIN; SELECT * FROM owners").unwrap();
    fixture.commit(create_owner("other"));
    fixture.sqlite.writer.suspect();
    assert_eq!(fixture.sqlite.recover().unwrap_err().kind(), BackendErrorKind::TimedOut);
    assert!(fixture.sqlite.commit(&[create_owner("third")]).is_err());
    other.execute_batch("COMMIT").unwrap();
    fixture.sqlite.recover().unwrap();
    fixture.commit(create_owner("third"));
}

#[test]
fn a_log_left_behind_is_copied_anew_unless_somebody_else_reads_it() {
    let fixture = Fixture::with_keys([1]);
    // As after a crash: the files as they are now, held by no process.
    let directory = tempfile::tempdir().unwrap();
    for name in ["keys.db", "keys.db-wal"] {
        fs::copy(fixture.path().with_file_name(name), directory.path().join(name)).unwrap();
    }
    let path = directory.path().join("keys.db");
    let log = directory.path().join("keys.db-wal");
    let before = fs::read(&log).unwrap();
    let inode = || fs::metadata(&log).unwrap().ino();
    let first = inode();
    let options = SqliteOptions::exclusive();
    let connector = Connector::new(Files::find(&path).unwrap(), &options);

    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("SELECT * FROM keys").unwrap();
    assert!(!connector.renew_log().unwrap());
    assert_eq!(inode(), first);
    drop(Sqlite::open(&path, options).unwrap());
    // A tool that looked at it closes without copying the log, so that there still is one.
    other.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).unwrap();
    drop(other);
    fs::write(&log, &before).unwrap();

    let first = inode();
    assert!(connector.renew_log().unwrap());
    assert_eq!(fs::read(&log).unwrap(), before);
    assert_ne!(inode(), first);
    assert!(!directory.path().join("keys.db-wal.renewed").exists());
    // And nothing of it is lost.
    let copy = Sqlite::open(&path, options).unwrap();
    assert!(copy.key(KeyId::from_u128(1)).unwrap().is_some());
}

#[test]
fn recovery_waits_for_who_reads_and_keeps_out_who_would() {
    let fixture = Fixture::with_keys(1..=200);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for n in 1..=200 {
                    fixture.key(n);
                    let mut seen = 0;
                    fixture.sqlite.scan(&mut |_| seen += 1).unwrap();
                    assert!(seen > 200);
                }
            });
        }
        for n in 0..10 {
            fixture.sqlite.recover().unwrap();
            fixture.commit(create_owner(&format!("owner {n}")));
        }
    });
}

#[test]
fn closing_before_recovery_says_so() {
    let fixture = Fixture::with_keys([1]);
    fixture.sqlite.writer.suspect();
    assert_eq!(fixture.sqlite.close().unwrap_err().kind(), BackendErrorKind::OutcomeUnknown);
    fixture.sqlite.close().unwrap();
    let again = Sqlite::open(fixture.path(), SqliteOptions::exclusive()).unwrap();
    assert!(again.key(KeyId::from_u128(1)).unwrap().is_some());
}

#[test]
fn a_database_that_is_gone_is_not_made_again() {
    let fixture = Fixture::with_keys([1]);
    for name in ["keys.db", "keys.db-wal", "keys.db-shm"] {
        fs::remove_file(fixture.directory.path().join(name)).unwrap();
    }
    let error = fixture.sqlite.recover().unwrap_err();
    assert_eq!(error.kind(), BackendErrorKind::ForeignWriter);
    assert!(!fixture.path().exists());
    assert!(fixture.sqlite.commit(&[create_owner("other")]).is_err());
}

/// The commit is in a file that may not be kept.
#[test]
fn a_file_that_goes_during_a_commit_leaves_its_outcome_unknown() {
    let fixture = Fixture::with_keys([1]);
    let files = Files::find(&fixture.path()).unwrap();
    let connector = Connector::new(files, &SqliteOptions::exclusive());
    let elsewhere = fixture.path().with_file_name("elsewhere");
    let goes = |_: &rusqlite::Connection| {
        fs::rename(fixture.path(), &elsewhere).unwrap();
        Ok(())
    };
    let how = ("commit", Patience::Usual);
    let written = fixture.sqlite.writer.write(&connector, &Readers::default(), how, goes);
    let error = written.unwrap_err();
    assert_eq!(error.kind(), BackendErrorKind::OutcomeUnknown);
    assert!(error.to_string().contains("the database file"), "{error}");
    assert_eq!(fixture.sqlite.recover().unwrap_err().kind(), BackendErrorKind::ForeignWriter);
}

/// A commit that really fails: in a process of its own, which may not write past 1 MiB of any
/// file, so that the write-ahead log can't grow on.
#[test]
fn a_commit_that_fails_in_the_log_is_of_unknown_outcome_until_recovery() {
    const INSIDE: &str = "KEYHASP_TEST_LIMITED_FILES";
    let name = "backend::sqlite::tests::recovery::a_commit_that_fails_in_the_log_is_of_unknown_outcome_until_recovery";
    if env::var_os(INSIDE).is_none() {
        // The unit is 512 bytes, in some shells 1,024. A process past the limit is sent a signal,
        // which is ignored here, so that the write fails.
        let script = r#"trap '' XFSZ; ulimit -f 2048; exec "$0" --exact "$1" --nocapture"#;
        let tests = env::current_exe().unwrap();
        let output = Command::new("sh")
            .args(["-c", script])
            .args([tests.as_os_str(), name.as_ref()])
            .env(INSIDE, "1")
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
        assert!(said.contains("it failed, and recovered"), "{said}");
        return;
    }
    let fixture = Fixture::with(SqliteOptions::exclusive());
    fixture.commit(create_owner("acme"));
    let first = create_key(&key(1, "acme"));
    fixture.commit(Change { operations: vec![first], ..Change::default() });
    let mut committed = 0;
    let error = loop {
        let mut key = fixture.key(1);
        key.settings = crate::key::Settings::from_json(&format!("{{\"n\":{committed}}}")).unwrap();
        match fixture.sqlite.commit(&[super::fixtures::replace(&key)]) {
            Ok(outcome) => assert!(outcome[0].is_ok()),
            Err(error) => break error,
        }
        committed += 1;
        assert!(committed < 10_000);
    };
    assert_eq!(error.kind(), BackendErrorKind::OutcomeUnknown);
    assert!(error.to_string().contains("SQLITE_IOERR_WRITE"), "{error}");
    assert!(committed > 30);
    // Nothing is written now, and what was acknowledged is there.
    let refused = fixture.sqlite.commit(&[Change::default()]).unwrap_err();
    assert!(refused.to_string().contains("recover first"), "{refused}");
    fixture.sqlite.recover().unwrap();
    let after = fixture.key(1);
    let version = after.version.get();
    assert!([committed + 1, committed + 2].contains(&version), "{version} after {committed}");
    // The log has begun again, so that there is room again.
    fixture.commit(super::fixtures::replace(&after));
    let after = fixture.sqlite.key(key(1, "acme").id).unwrap().unwrap();
    assert_eq!(after.version.get(), version + 1);
    eprintln!("it failed, and recovered");
}

/// A process that looks has no connection between two reads.
#[test]
fn a_tool_that_looks_holds_up_no_recovery() {
    let fixture = Fixture::with_keys([1]);
    let tool = Sqlite::open_read_only(fixture.path(), SqliteOptions::MIN_STALENESS).unwrap();
    assert_eq!(tool.last_event().unwrap(), 3);
    fixture.sqlite.writer.suspect();
    fixture.sqlite.recover().unwrap();
    fixture.commit(create_owner("other"));
    assert_eq!(tool.last_event().unwrap(), 4);
}

/// The reader has no lock that would keep the pages as they are.
#[test]
fn what_is_read_while_another_begins_to_write_is_not_believed() {
    let fixture = Fixture::with_keys([1]);
    fixture.sqlite.close().unwrap();
    let files = Files::find(&fixture.path()).unwrap();
    let connector = Connector::read_only(files, &SqliteOptions::exclusive());
    let readers = Readers::default();
    let owner = owner_id("acme");
    assert!(readers.with(&connector, |connection| owners::load(connection, &owner)).is_ok());
    let disturbed = readers.with(&connector, |connection| {
        let read = owners::load(connection, &owner);
        let options = SqliteOptions::exclusive();
        let sqlite = Sqlite::open(fixture.path(), options).unwrap();
        sqlite.commit(&[create_owner("other")]).unwrap()[0].as_ref().unwrap();
        read
    });
    let error = disturbed.unwrap_err().during("read owner");
    assert_eq!(error.kind(), BackendErrorKind::TimedOut);
    assert!(readers.with(&connector, |connection| owners::load(connection, &owner)).is_ok());
}
