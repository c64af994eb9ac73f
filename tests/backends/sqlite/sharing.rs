//! Sharing: which processes may open a database together, and what they see of each other.

use std::os::unix::fs::symlink;
use std::thread;
use std::time::{Duration, Instant};

use keyhasp::backend::sqlite::{Sqlite, SqliteOptions};
use keyhasp::backend::{Backend, BackendErrorKind, Sharing, UsageChange, UsageSubject};
use keyhasp::id::KeyId;
use keyhasp::key::LeaseRequest;
use tempfile::tempdir;

use crate::sqlite::support::{
    LONG, at, commit, create_key, create_owner, key, open, owner_id, quick, refused, shared,
};

#[test]
fn an_exclusive_one_is_alone() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("keys.db");
    let first = open(&path, quick());
    assert_eq!(first.sharing(), Sharing::Exclusive);
    for options in [quick(), shared()] {
        let error = refused(&path, options);
        assert_eq!(error.kind(), BackendErrorKind::AlreadyOpen);
        assert!(error.to_string().contains("SqliteOptions::shared"), "{error}");
    }
    commit(&first, create_owner("acme"));
    // Closing gives it free, and so does dropping; the lock file stays and means nothing.
    first.close().unwrap();
    let second = open(&path, quick());
    assert_eq!(refused(&path, shared()).kind(), BackendErrorKind::AlreadyOpen);
    drop(second);
    open(&path, shared());
    assert!(directory.path().join("keys.db.lock").is_file());
}

#[test]
fn shared_ones_are_together_but_not_with_an_exclusive_one() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("keys.db");
    let (first, second) = (open(&path, shared()), open(&path, shared()));
    assert!(
        matches!(first.sharing(), Sharing::Shared { max_staleness } if max_staleness.as_millis() == 50)
    );
    assert_eq!(refused(&path, quick()).kind(), BackendErrorKind::AlreadyOpen);
    drop(first);
    assert_eq!(refused(&path, quick()).kind(), BackendErrorKind::AlreadyOpen);
    drop(second);
    open(&path, quick());
}

#[test]
fn every_way_to_a_file_meets_the_same_lock() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("keys.db");
    let first = open(&path, quick());
    let link = directory.path().join("link.db");
    symlink(&path, &link).unwrap();
    let elsewhere = tempdir().unwrap();
    let by_directory = elsewhere.path().join("data");
    symlink(directory.path(), &by_directory).unwrap();
    let dotted = directory.path().join(".").join("..").join(directory.path()).join("keys.db");
    for way in [link.clone(), by_directory.join("keys.db"), dotted] {
        assert_eq!(refused(&way, quick()).kind(), BackendErrorKind::AlreadyOpen, "{way:?}");
    }
    commit(&first, create_owner("acme"));
    drop(first);
    let by_link = open(&link, quick());
    assert!(by_link.owner(&owner_id("acme")).unwrap().is_some());
    assert!(!directory.path().join("link.db.lock").exists());
}

#[test]
fn a_refused_opener_doesnt_loosen_the_first_ones_hold() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("keys.db");
    let first = open(&path, shared());
    for _ in 0..3 {
        refused(&path, quick());
        drop(open(&path, shared()));
    }
    // A writer of another process would be kept out by SQLite's own lock, too.
    commit(&first, create_owner("acme"));
    assert_eq!(refused(&path, quick()).kind(), BackendErrorKind::AlreadyOpen);
    assert!(directory.path().join("keys.db-wal").is_file());
}

#[test]
fn sharers_see_each_others_commits_at_once() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("keys.db");
    let (a, b) = (open(&path, shared()), open(&path, shared()));
    commit(&a, create_owner("acme"));
    assert!(b.owner(&owner_id("acme")).unwrap().is_some());
    commit(&b, create_key(key(1, "acme")));
    assert!(a.key(KeyId::from_u128(1)).unwrap().is_some());
    assert_eq!((a.last_event().unwrap(), b.last_event().unwrap()), (3, 3));
    // What both write meets the rules of one store.
    let outcome = a.commit(&[create_key(key(1, "acme"))]).unwrap();
    assert!(outcome[0].is_err());
    assert_eq!(a.metadata().unwrap(), b.metadata().unwrap());
}

#[test]
fn who_waits_is_woken_by_another_opener() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("keys.db");
    let (a, b) = (open(&path, shared()), open(&path, shared()));
    let started = Instant::now();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| b.wait(1, LONG));
        commit(&a, create_owner("acme"));
        assert_eq!(waiting.join().unwrap().unwrap(), 2);
    });
    assert!(started.elapsed() < LONG / 2);
    // And by itself; and not at all, when there is nothing.
    thread::scope(|scope| {
        let waiting = scope.spawn(|| b.wait(2, LONG));
        commit(&b, create_owner("other"));
        assert_eq!(waiting.join().unwrap().unwrap(), 3);
    });
    assert_eq!(a.wait(2, Duration::ZERO).unwrap(), 3);
    assert_eq!(a.wait(3, Duration::from_millis(20)).unwrap(), 3);
    assert_eq!(a.wait(u64::MAX, Duration::ZERO).unwrap(), 3);
}

#[test]
fn an_exclusive_one_knows_the_last_event_from_the_start() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("keys.db");
    let sqlite = open(&path, quick());
    commit(&sqlite, create_owner("acme"));
    drop(sqlite);
    let sqlite = open(&path, quick());
    assert_eq!(sqlite.wait(0, LONG).unwrap(), 2);
    assert_eq!(sqlite.wait(2, Duration::ZERO).unwrap(), 2);
}

#[test]
fn closing_wakes_who_waits() {
    let directory = tempdir().unwrap();
    for options in [quick(), shared()] {
        let sqlite = open(&directory.path().join("keys.db"), options);
        thread::scope(|scope| {
            let started = Instant::now();
            let waiting = scope.spawn(|| sqlite.wait(1, LONG));
            sqlite.close().unwrap();
            let error = waiting.join().unwrap().unwrap_err();
            assert_eq!(error.kind(), BackendErrorKind::Closed);
            assert!(started.elapsed() < LONG / 2);
        });
    }
}

/// A write of leases doesn't wait as long as a commit, and no commit of the process waits for it.
#[test]
fn a_write_of_leases_gives_up_early() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("keys.db");
    let first = open(&path, shared().busy_timeout(SqliteOptions::MAX_BUSY_TIMEOUT).unwrap());
    commit(&first, create_owner("acme"));
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let of = UsageSubject::Owner(owner_id("acme"));
    let lease = UsageChange::Lease { of, request: LeaseRequest::one(1), at: at(1) };
    let refused = first.record_usage(std::slice::from_ref(&lease)).unwrap_err();
    assert_eq!(refused.kind(), BackendErrorKind::TimedOut);
    // A commit has its own patience again.
    thread::scope(|scope| {
        let waiting = scope.spawn(|| commit(&first, create_owner("beta")));
        other.execute_batch("ROLLBACK").unwrap();
        waiting.join().unwrap();
    });
    assert_eq!(first.record_usage(&[lease]).unwrap(), [None], "without a quota there is no lease");
}

#[test]
fn many_writers_and_readers_keep_one_order() {
    const EACH: usize = 25;
    let directory = tempdir().unwrap();
    let path = directory.path().join("keys.db");
    // Who is unlucky may wait for all that the others write.
    let options = shared().busy_timeout(Duration::from_secs(300)).unwrap();
    let openers: Vec<Sqlite> = (0..2).map(|_| open(&path, options)).collect();
    thread::scope(|scope| {
        for (number, opener) in openers.iter().enumerate() {
            for thread in 0..3 {
                scope.spawn(move || {
                    for n in 0..EACH {
                        let change = create_owner(&format!("{number} {thread} {n}"));
                        let applied = opener.commit(&[change]).unwrap().remove(0).unwrap();
                        assert!(opener.last_event().unwrap() >= applied.last_event);
                    }
                });
                scope.spawn(move || {
                    for _ in 0..EACH {
                        let last = opener.last_event().unwrap();
                        let mut owners = 0;
                        opener.scan(&mut |_| owners += 1).unwrap();
                        assert!(owners >= last - 1, "{owners} owners after event {last}");
                    }
                });
            }
        }
    });
    assert_eq!(openers[0].last_event().unwrap(), 1 + 2 * 3 * EACH as u64);
}
