//! A log that ends before what was durable: every way of opening refuses it, and keeps it as it is.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use keyhasp::backend::sqlite::{Sqlite, SqliteOptions};
use keyhasp::backend::{Backend, BackendError, BackendErrorKind};
use keyhasp::testing::sample;
use rusqlite::Connection;

const STALENESS: Duration = Duration::from_millis(50);

type Open = fn(&Path) -> Result<Sqlite, BackendError>;

/// Every way of opening a database that is there.
const MODES: [(&str, Open); 5] = [
    ("exclusive", |path| Sqlite::open(path, SqliteOptions::exclusive())),
    ("shared", |path| Sqlite::open(path, SqliteOptions::shared(STALENESS).unwrap())),
    ("read-only", |path| Sqlite::open_read_only(path, STALENESS)),
    ("or create", |path| {
        Sqlite::open_or_create(path, SqliteOptions::exclusive()).map(|(sqlite, _)| sqlite)
    }),
    ("shared or create", |path| {
        let options = SqliteOptions::shared(STALENESS).unwrap();
        Sqlite::open_or_create(path, options).map(|(sqlite, _)| sqlite)
    }),
];

fn beside(path: &Path, end: &str) -> PathBuf {
    PathBuf::from(format!("{}{end}", path.display()))
}

fn copied(from: &Path, to: &Path, ends: &[&str]) {
    for end in ends {
        fs::copy(beside(from, end), beside(to, end)).unwrap();
    }
}

const KILLED: [&str; 3] = ["", "-wal", ".lock"];

/// A database with 5 events, whose process was killed.
fn killed() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let (path, copy) = (dir.path().join("source"), dir.path().join("copy"));
    let sqlite = Sqlite::create(&path, SqliteOptions::exclusive()).unwrap();
    let metadata = sample::metadata().unwrap();
    sqlite.commit(&[sample::create_metadata(&metadata).unwrap()]).unwrap()[0].clone().unwrap();
    for name in ["a", "b", "c", "d"] {
        let owner = sample::owner(name).unwrap();
        let change = sample::create_owner(&owner).unwrap();
        sqlite.commit(&[change]).unwrap()[0].clone().unwrap();
    }
    copied(&path, &copy, &KILLED);
    (dir, copy)
}

#[test]
fn a_damaged_log_that_was_left_behind_is_refused_in_every_mode() {
    let (dir, source) = killed();
    let log = fs::read(beside(&source, "-wal")).unwrap();
    for (mode, open) in MODES {
        let path = dir.path().join(mode);
        // Whole, it opens with all that was durable.
        copied(&source, &path, &KILLED);
        let whole = open(&path).unwrap();
        assert_eq!(whole.last_event().unwrap(), 5, "{mode}");
        drop(whole);

        let path = dir.path().join(format!("{mode}, damaged"));
        copied(&source, &path, &KILLED);
        let mut damaged = log.clone();
        // A bit of the last page that was written.
        let at = damaged.len() - 100;
        damaged[at] ^= 1;
        fs::write(beside(&path, "-wal"), &damaged).unwrap();
        let before = fs::read(&path).unwrap();
        for _ in 0..2 {
            let error = open(&path).unwrap_err();
            assert_eq!(error.kind(), BackendErrorKind::EarlierState, "{mode}: {error}");
            let text = error.to_string();
            let parts = ["it ends with event 4 of 5", "FILE-wal is damaged", "put back a backup"];
            assert!(parts.iter().all(|part| text.contains(part)), "{mode}: {text}");
        }
        assert!(fs::read(&path).unwrap() == before, "{mode}");
        assert!(fs::read(beside(&path, "-wal")).unwrap().starts_with(&damaged), "{mode}");
        // As the error says.
        fs::remove_file(beside(&path, ".lock")).unwrap();
        assert_eq!(open(&path).unwrap().last_event().unwrap(), 4, "{mode}");
    }
}

/// Where the commit that made the store is lost too, nothing tells a new database from a lost one but
/// the number.
#[test]
fn a_log_that_is_damaged_from_its_start_is_no_missing_store() {
    let (dir, source) = killed();
    for (mode, open) in MODES {
        let path = dir.path().join(mode);
        copied(&source, &path, &KILLED);
        let mut log = fs::read(beside(&path, "-wal")).unwrap();
        // The header stands first: the frames behind it count no more.
        log[32 + 24 + 4_096..].fill(0);
        fs::write(beside(&path, "-wal"), &log).unwrap();
        let error = open(&path).unwrap_err();
        assert_eq!(error.kind(), BackendErrorKind::EarlierState, "{mode}: {error}");
        assert!(error.to_string().contains("it ends with event 0 of 5"), "{mode}: {error}");
        assert!(fs::read(beside(&path, "-wal")).unwrap().starts_with(&log), "{mode}");
    }
}

/// A process that has it open notes numbers while another one looks.
#[test]
fn a_look_beside_a_running_process_meets_no_number_of_the_future() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys");
    let sqlite = Sqlite::create(&path, SqliteOptions::exclusive()).unwrap();
    let metadata = sample::metadata().unwrap();
    sqlite.commit(&[sample::create_metadata(&metadata).unwrap()]).unwrap()[0].clone().unwrap();
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            for number in 0..200 {
                let owner = sample::owner(&format!("o{number}")).unwrap();
                let change = sample::create_owner(&owner).unwrap();
                sqlite.commit(&[change]).unwrap()[0].clone().unwrap();
            }
        });
        let mut last = 0;
        while !writing.is_finished() {
            let seen = Sqlite::open_read_only(&path, STALENESS).unwrap().last_event().unwrap();
            assert!(seen >= last, "{seen} after {last}");
            last = seen;
        }
    });
}

/// A file that was put back beside the lock file of a later time, without a log.
#[test]
fn a_restored_file_is_not_held_against_the_number_of_a_later_time() {
    let (dir, source) = killed();
    let early = dir.path().join("early");
    copied(&source, &early, &KILLED);
    drop(Sqlite::open(&early, SqliteOptions::exclusive()).unwrap());
    let path = dir.path().join("restored");
    copied(&early, &path, &["", ".lock"]);
    let later = Sqlite::open(&path, SqliteOptions::exclusive()).unwrap();
    let change = sample::create_owner(&sample::owner("later").unwrap()).unwrap();
    later.commit(&[change]).unwrap()[0].clone().unwrap();
    drop(later);
    fs::copy(&early, &path).unwrap();
    // An opening that is refused has seen that there is no log.
    let refused = Sqlite::create(&path, SqliteOptions::exclusive()).unwrap_err();
    assert_eq!(refused.kind(), BackendErrorKind::AlreadyExists);
    // Another program gives it one.
    let raw = Connection::open(&path).unwrap();
    raw.execute_batch("CREATE TABLE other (id)").unwrap();
    assert!(fs::metadata(beside(&path, "-wal")).unwrap().len() > 0);
    assert_eq!(Sqlite::open_read_only(&path, STALENESS).unwrap().last_event().unwrap(), 5);
}

/// The first page lists the tables.
#[test]
fn a_first_page_of_zeros_is_told_as_damage_with_the_way_out() {
    for has_lock in [true, false] {
        for (mode, open) in MODES {
            let (_dir, path) = killed();
            drop(Sqlite::open(&path, SqliteOptions::exclusive()).unwrap());
            let mut bytes = fs::read(&path).unwrap();
            bytes[..4_096].fill(0);
            fs::write(&path, &bytes).unwrap();
            if !has_lock {
                fs::remove_file(beside(&path, ".lock")).unwrap();
            }
            let error = open(&path).unwrap_err();
            let text = error.to_string();
            assert_eq!(error.kind(), BackendErrorKind::Corrupt, "{mode}: {text}");
            let parts = ["page 1", "put back a backup", "sqlite3 can't read"];
            assert!(parts.iter().all(|part| text.contains(part)), "{mode}: {text}");
            assert!(fs::read(&path).unwrap() == bytes, "{mode}");
        }
    }
}
