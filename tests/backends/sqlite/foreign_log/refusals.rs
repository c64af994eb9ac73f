//! Files that an operator puts beside a log, one by one.

use std::fs;
use std::path::Path;

use keyhasp::backend::sqlite::{Sqlite, SqliteOptions};
use keyhasp::backend::{Backend, BackendError, BackendErrorKind as Kind, Change, Write};
use keyhasp::event::EventKind;
use keyhasp::id::KeyId;
use keyhasp::key::{KeyRecord, Switch};
use rusqlite::Connection;
use tempfile::{TempDir, tempdir};

use super::history::{beside, lay, place};
use crate::sqlite::support::{
    at, by_administrator, commit, contents, create_key, create_owner, event, key, open, owner_id,
    quick, shared,
};

/// A database with an owner and a key, all of it in the file.
fn world() -> (TempDir, Sqlite) {
    let directory = tempdir().unwrap();
    let sqlite = open(&place(&directory), quick());
    commit(&sqlite, create_owner("acme"));
    commit(&sqlite, create_key(key(1, "acme")));
    checkpoint(&directory);
    (directory, sqlite)
}

fn checkpoint(directory: &TempDir) {
    let other = Connection::open(place(directory)).unwrap();
    other.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
}

fn file(directory: &TempDir) -> Vec<u8> {
    fs::read(place(directory)).unwrap()
}

fn log(directory: &TempDir) -> Vec<u8> {
    fs::read(beside(directory, "-wal")).unwrap()
}

fn revoke(sqlite: &Sqlite) {
    let key = sqlite.key(KeyId::from_u128(1)).unwrap().unwrap();
    let revoked = Some(Switch::new(at(2), &by_administrator()));
    let key = KeyRecord { version: key.version.next(), revoked, updated_at: at(2), ..key };
    let replace = Write::ReplaceKey(Box::new(key));
    commit(sqlite, Change::of(replace, event(EventKind::KeyRevoked)));
}

type Open = fn(&Path) -> Result<Sqlite, BackendError>;

/// Each way to open leaves both files as they are, and says what to do.
fn assert_refused(file: &[u8], log: &[u8]) {
    let ways: [Open; 5] = [
        |path| Sqlite::open(path, quick()),
        |path| Sqlite::open(path, shared()),
        |path| Sqlite::create(path, quick()),
        |path| Sqlite::open_or_create(path, quick()).map(|(sqlite, _)| sqlite),
        |path| Sqlite::open_read_only(path, SqliteOptions::MIN_STALENESS),
    ];
    for open in ways {
        let directory = lay(file, log);
        let before = contents(directory.path());
        let error = open(&place(&directory)).unwrap_err();
        assert_eq!(error.kind(), Kind::ForeignLog, "{error}");
        let text = error.to_string();
        let paths = [place(&directory), beside(&directory, "-wal")];
        for part in [
            "put back the file",
            "move it away",
            ": ",
            &paths.map(|path| path.display().to_string()).join(" ("),
        ] {
            assert!(text.contains(part), "{text}");
        }
        let mut after = contents(directory.path());
        after.remove("keys.db.lock");
        assert_eq!(after, before);
    }
}

/// The numbers of the events have no gap: the log alone shows that they don't belong together.
#[test]
fn a_revocation_between_them_shows() {
    let (directory, sqlite) = world();
    let before = file(&directory);
    revoke(&sqlite);
    checkpoint(&directory);
    commit(&sqlite, create_owner("later"));
    let later = log(&directory);
    // SQLite itself would show the key as live, beside the event of its revocation.
    let mixed = lay(&before, &later);
    let shown = Connection::open(place(&mixed)).unwrap();
    let counts = shown.query_row(
        "SELECT count(*), max(sequence), (SELECT count(*) FROM keys WHERE revoked_at IS NULL) FROM events",
        [],
        |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?)),
    );
    assert_eq!(counts, Ok((5, 5, 1)));
    assert_refused(&before, &later);
}

#[test]
fn a_log_of_another_database() {
    let ((one, _first), (other, sqlite)) = (world(), world());
    commit(&sqlite, create_owner("later"));
    assert_refused(&file(&one), &log(&other));
}

/// The file is newer than the log: it was copied without its log at a later time.
#[test]
fn a_log_of_an_earlier_time() {
    let (directory, sqlite) = world();
    commit(&sqlite, create_owner("early"));
    let early = log(&directory);
    commit(&sqlite, create_owner("later"));
    checkpoint(&directory);
    assert_refused(&file(&directory), &early);
}

/// A copy by SQLite's own means has the same last commit, and other pages.
#[test]
fn a_backup_beside_the_log_of_its_own_time() {
    let (directory, sqlite) = world();
    commit(&sqlite, create_owner("later"));
    let copies = tempdir().unwrap();
    let (backup, vacuumed) = (copies.path().join("backup.db"), copies.path().join("vacuumed.db"));
    sqlite.backup(&backup, &mut drop).unwrap();
    let other = Connection::open(place(&directory)).unwrap();
    other.execute("VACUUM INTO ?", [vacuumed.to_str().unwrap()]).unwrap();
    for copy in [backup, vacuumed] {
        assert_refused(&fs::read(copy).unwrap(), &log(&directory));
    }
}

#[test]
fn a_file_from_before_a_vacuum() {
    let (directory, sqlite) = world();
    let before = file(&directory);
    Connection::open(place(&directory)).unwrap().execute_batch("VACUUM").unwrap();
    checkpoint(&directory);
    commit(&sqlite, create_owner("later"));
    assert_refused(&before, &log(&directory));
}

/// A new file that was only begun, beside a log that doesn't hold the tables.
#[test]
fn a_file_without_tables() {
    let (directory, sqlite) = world();
    commit(&sqlite, create_owner("later"));
    let begun = tempdir().unwrap();
    let connection = Connection::open(place(&begun)).unwrap();
    connection.pragma_update(None, "application_id", 0x4b68_7370).unwrap();
    connection.pragma_update(None, "journal_mode", "WAL").unwrap();
    drop(connection);
    assert_refused(&file(&begun), &log(&directory));
}

#[test]
fn what_ends_a_log_is_ordinary() {
    let (directory, sqlite) = world();
    let file = file(&directory);
    commit(&sqlite, create_owner("first"));
    let first = log(&directory);
    commit(&sqlite, create_owner("second"));
    let both = log(&directory);
    // Log and file as they were, an end that is cut off, and one that never was written.
    let mut unwritten = first.clone();
    unwritten.resize(both.len(), 0);
    let (mut spoilt, last) = (both.clone(), both.len() - 1);
    spoilt[last] ^= 1;
    for (log, has_first, has_second) in [
        (&both[..], true, true),
        (&both[..last], true, false),
        (&spoilt, true, false),
        (&unwritten, true, false),
        (&first[..first.len() - 1], false, false),
        (&first[..32], false, false),
        (&first[..31], false, false),
        (&[][..], false, false),
    ] {
        let directory = lay(&file, log);
        let opened = Sqlite::open(place(&directory), quick()).unwrap();
        let has = |owner| opened.owner(&owner_id(owner)).unwrap().is_some();
        assert_eq!((has("first"), has("second")), (has_first, has_second));
        commit(&opened, create_owner("third"));
    }
}

/// The log began again, and what it held before stands behind.
#[test]
fn frames_from_before_are_ordinary() {
    let (directory, sqlite) = world();
    (0..20).for_each(|n| commit(&sqlite, create_owner(&format!("early-{n}"))));
    let long = log(&directory).len();
    let other = Connection::open(place(&directory)).unwrap();
    other.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(())).unwrap();
    let copied = file(&directory);
    commit(&sqlite, create_owner("later"));
    assert_eq!(log(&directory).len(), long);
    let laid = lay(&copied, &log(&directory));
    let opened = Sqlite::open(place(&laid), quick()).unwrap();
    assert!(opened.owner(&owner_id("later")).unwrap().is_some());
}

/// Tables of its own that another program keeps in the database, as litestream does.
#[test]
fn the_commits_of_another_program_are_ordinary() {
    let (directory, sqlite) = world();
    let copied = file(&directory);
    let other = Connection::open(place(&directory)).unwrap();
    let log = || log(&directory);
    other.execute_batch("CREATE TABLE _own (a); INSERT INTO _own VALUES (1)").unwrap();
    let mut logs = vec![log()];
    commit(&sqlite, create_owner("later"));
    logs.push(log());
    other.execute_batch("UPDATE _own SET a = 2").unwrap();
    logs.push(log());
    for log in logs {
        let laid = lay(&copied, &log);
        drop(Sqlite::open(place(&laid), quick()).unwrap());
        assert!(Connection::open(place(&laid)).unwrap().execute("DELETE FROM _own", []).is_ok());
    }
}

/// Beside another process that commits and copies its log.
#[test]
fn a_second_process_opens_while_the_first_commits() {
    let directory = tempdir().unwrap();
    let path = place(&directory);
    let first = open(&path, shared());
    std::thread::scope(|scope| {
        let opener =
            scope.spawn(|| (0..100).for_each(|_| drop(Sqlite::open(&path, shared()).unwrap())));
        let looker = scope.spawn(|| {
            let bound = SqliteOptions::MIN_STALENESS;
            (0..100).for_each(|_| drop(Sqlite::open_read_only(&path, bound).unwrap()));
        });
        let mut number = 0;
        while !(opener.is_finished() && looker.is_finished()) {
            number += 1;
            commit(&first, create_owner(&format!("owner-{number}")));
            if number % 3 == 0 {
                let other = Connection::open(&path).unwrap();
                other.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(())).unwrap();
            }
        }
    });
}

/// The log is read by the number of the page.
#[test]
fn the_last_commit_stays_on_its_page() {
    let (directory, sqlite) = world();
    let page = |connection: &Connection| -> i64 {
        let sql = "SELECT rootpage FROM sqlite_schema WHERE name = 'last_commit'";
        connection.query_row(sql, [], |row| row.get(0)).unwrap()
    };
    let other = Connection::open(place(&directory)).unwrap();
    assert_eq!(page(&other), 3);
    other.execute_batch("VACUUM").unwrap();
    assert_eq!(page(&other), 3);
    let copy = directory.path().join("copy.db");
    sqlite.backup(&copy, &mut drop).unwrap();
    assert_eq!(page(&Connection::open(copy).unwrap()), 3);
    other.execute_batch("PRAGMA auto_vacuum = NONE; VACUUM").unwrap();
    assert_eq!(page(&other), 2);
}

#[test]
fn a_damaged_page_stops_no_commit() {
    let (directory, sqlite) = world();
    sqlite.close().unwrap();
    let file = file(&directory);
    // The map of pages, and `last_commit`.
    for (page, byte) in [(2, 0), (2, 0xee), (3, 0), (3, 0xee)] {
        let mut damaged = file.clone();
        damaged[4096 * (page - 1)..4096 * page].fill(byte);
        let laid = lay(&damaged, &[]);
        let sqlite = Sqlite::open(place(&laid), quick()).unwrap();
        revoke(&sqlite);
        commit(&sqlite, create_owner("later"));
        sqlite.recover().unwrap();
        commit(&sqlite, create_owner("and later"));
        let crashed = lay(&fs::read(place(&laid)).unwrap(), &log(&laid));
        let found = Sqlite::open(place(&crashed), quick()).unwrap();
        assert!(found.key(KeyId::from_u128(1)).unwrap().unwrap().revoked.is_some());
        assert!(found.owner(&owner_id("and later")).unwrap().is_some());
    }
}

/// A row that was deleted by hand is written again.
#[test]
fn a_lost_row_comes_again() {
    let (directory, sqlite) = world();
    Connection::open(place(&directory)).unwrap().execute("DELETE FROM last_commit", []).unwrap();
    checkpoint(&directory);
    let without = file(&directory);
    commit(&sqlite, create_owner("later"));
    let laid = lay(&without, &log(&directory));
    commit(&Sqlite::open(place(&laid), quick()).unwrap(), create_owner("and later"));
    let rows = |directory: &TempDir| -> i64 {
        let connection = Connection::open(place(directory)).unwrap();
        connection.query_row("SELECT count(*) FROM last_commit", [], |row| row.get(0)).unwrap()
    };
    assert_eq!((rows(&directory), rows(&laid)), (1, 1));
}
