//! The conformance suite on redb, processes that are killed, and what is this backend's own.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // It is a test.

use std::fs;
use std::path::{Path, PathBuf};

use keyhasp::backend::{
    Backend, BackendError, BackendErrorKind, DamagedRecord, Finding, Opened, Scanned,
};
use keyhasp::testing::conformance::{self, Case, Failure, Subject};
use keyhasp::testing::sample;
use keyhasp_redb::{Redb, RedbOptions};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use tempfile::TempDir;

struct OnRedb;

impl Subject for OnRedb {
    type Place = TempDir;

    fn place(&self) -> Result<TempDir, Failure> {
        Ok(TempDir::new()?)
    }

    fn open(&self, dir: &TempDir) -> Result<Box<dyn Backend>, BackendError> {
        Ok(Box::new(Redb::open_or_create(file(dir), RedbOptions::default())?.0))
    }

    fn is_durable(&self) -> bool {
        true
    }
}

fn file(dir: &TempDir) -> PathBuf {
    dir.path().join("keys.redb")
}

#[test]
fn it_conforms() {
    let report = conformance::assert_conforms(&OnRedb);
    assert!(report.names().eq(conformance::cases().map(Case::name)), "{report}");
    println!("{} cases", report.names().count());
}

#[test]
fn acknowledged_changes_survive_kills() {
    let test = "acknowledged_changes_survive_kills";
    let total = conformance::assert_survives_kills(test, 24, |dir: &Path| {
        let (redb, _) = Redb::open_or_create(dir.join("keys.redb"), RedbOptions::default())?;
        Ok(Box::new(redb))
    });
    assert_eq!(total.kills, 24);
    assert!(total.acknowledged > 0, "{total:?}");
    println!("{total:?}");
}

/// A database with an owner and two keys, closed.
fn stored() -> TempDir {
    let dir = TempDir::new().unwrap();
    let redb = Redb::create(file(&dir), RedbOptions::default()).unwrap();
    let mut named = sample::key(1, "acme").unwrap();
    named.name = sample::name("name").unwrap();
    named.expires_at = Some(sample::at(9_000));
    let changes = [
        sample::create_metadata(&sample::metadata().unwrap()).unwrap(),
        sample::create_owner(&sample::owner("acme").unwrap()).unwrap(),
        sample::create_key(&named).unwrap(),
        sample::create_key(&sample::key(2, "acme").unwrap()).unwrap(),
    ];
    assert!(redb.commit(&changes).unwrap().iter().all(Result::is_ok));
    redb.close().unwrap();
    dir
}

fn open(dir: &TempDir) -> Result<Redb, BackendError> {
    Redb::open(file(dir), RedbOptions::default())
}

fn kind<T>(opened: Result<T, BackendError>) -> BackendErrorKind {
    opened.err().unwrap().kind()
}

#[test]
fn opening_says_what_is_there() {
    let dir = TempDir::new().unwrap();
    let options = RedbOptions::default;
    assert_eq!(kind(open(&dir)), BackendErrorKind::Missing);
    assert!(!file(&dir).exists());
    fs::write(file(&dir), "").unwrap();
    assert_eq!(kind(open(&dir)), BackendErrorKind::Missing);
    // Made, but without a store: it is made again.
    drop(Redb::create(file(&dir), options()).unwrap());
    assert_eq!(kind(open(&dir)), BackendErrorKind::Missing);
    let (_, opened) = Redb::open_or_create(file(&dir), options()).unwrap();
    assert_eq!(opened, Opened::Created);

    let dir = stored();
    assert_eq!(kind(Redb::create(file(&dir), options())), BackendErrorKind::AlreadyExists);
    let (redb, opened) = Redb::open_or_create(file(&dir), options()).unwrap();
    assert_eq!(opened, Opened::Existing);
    for second in [open(&dir), Redb::create(file(&dir), options())] {
        let error = second.unwrap_err();
        assert_eq!(error.kind(), BackendErrorKind::AlreadyOpen);
        assert_eq!(error.place(), Some(&*file(&dir)));
    }
    drop(redb);
    let options = RedbOptions::default().without_check_at_open().with_cache(1 << 20);
    let redb = Redb::open(file(&dir), options).unwrap();
    assert!(redb.owner(&sample::owner_id("acme").unwrap()).unwrap().is_some());
}

#[test]
fn foreign_files_are_left_as_they_are() {
    let dir = TempDir::new().unwrap();
    for text in ["SQLite format 3\0 and more", "r"] {
        fs::write(file(&dir), text).unwrap();
        for opened in [open(&dir), Redb::create(file(&dir), RedbOptions::default())] {
            assert_eq!(kind(opened), BackendErrorKind::NotADatabase);
        }
        assert_eq!(fs::read(file(&dir)).unwrap(), text.as_bytes());
    }
    for path in [dir.path().to_owned(), dir.path().join("missing").join("keys.redb")] {
        let opened = Redb::open_or_create(path, RedbOptions::default());
        assert_eq!(kind(opened), BackendErrorKind::NotADatabase);
    }
    fs::remove_file(file(&dir)).unwrap();
    const OTHER: TableDefinition<'_, u64, u64> = TableDefinition::new("other");
    let database = Database::create(file(&dir)).unwrap();
    let writing = database.begin_write().unwrap();
    writing.open_table(OTHER).unwrap().insert(1, 2).unwrap();
    writing.commit().unwrap();
    assert_eq!(kind(open(&dir)), BackendErrorKind::AlreadyOpen);
    drop(database);
    assert_eq!(kind(open(&dir)), BackendErrorKind::Foreign);
    let database = Database::open(file(&dir)).unwrap();
    let other = database.begin_read().unwrap().open_table(OTHER).unwrap();
    assert_eq!(other.get(1).unwrap().unwrap().value(), 2);
}

/// Changes the value of the first entry of a table, or removes the entry.
fn edit(dir: &TempDir, table: &str, edit: impl FnOnce(Vec<u8>) -> Option<Vec<u8>>) {
    let definition: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new(table);
    let database = Database::open(file(dir)).unwrap();
    let writing = database.begin_write().unwrap();
    {
        let mut table = writing.open_table(definition).unwrap();
        let (key, value) = {
            let (key, value) = table.first().unwrap().unwrap();
            (key.value().to_vec(), value.value().to_vec())
        };
        match edit(value) {
            Some(value) => _ = table.insert(&key[..], &value[..]).unwrap(),
            None => _ = table.remove(&key[..]).unwrap(),
        }
    }
    writing.commit().unwrap();
}

fn flip(mut value: Vec<u8>) -> Option<Vec<u8>> {
    *value.last_mut().unwrap() ^= 1;
    Some(value)
}

#[test]
fn a_newer_format_is_refused() {
    let dir = stored();
    edit(&dir, "keyhasp", |format| {
        assert_eq!(format, 1_u32.to_be_bytes());
        Some(2_u32.to_be_bytes().to_vec())
    });
    assert_eq!(kind(open(&dir)), BackendErrorKind::Newer);
}

#[test]
fn a_damaged_key_is_out_alone() {
    let dir = stored();
    edit(&dir, "keys", flip);
    let redb = open(&dir).unwrap();
    let (damaged, whole) = (sample::key_id(1), sample::key_id(2));
    let error = redb.key(damaged).unwrap_err();
    let damage = error.damage().unwrap();
    assert_eq!((damage.column, damage.record), ("checksum", DamagedRecord::Key(damaged)));
    assert!(redb.key(whole).unwrap().is_some());
    let mut digests = Vec::new();
    redb.scan(&mut |scanned| {
        if let Scanned::Damaged(row) = scanned {
            digests.extend(row.digests);
        }
    })
    .unwrap();
    let digest = sample::digest(1, 1).unwrap();
    assert_eq!(digests.iter().map(|one| *one.expose()).collect::<Vec<_>>(), [*digest.expose()]);
    let findings = redb.check().unwrap();
    assert!(matches!(&findings[..], [Finding::Record(found)] if found == damage), "{findings:?}");
    // A repair leaves it as it is.
    assert_eq!(redb.repair(sample::at(5)).unwrap().left, findings);
}

#[test]
fn what_follows_from_records_is_made_again() {
    for table in ["index", "key_counts"] {
        let dir = stored();
        edit(&dir, table, |_| None);
        let redb = open(&dir).unwrap();
        let findings = redb.check().unwrap();
        assert!(matches!(&findings[..], [Finding::Derived(_)]), "{table}: {findings:?}");
        let repaired = redb.repair(sample::at(5)).unwrap();
        assert_eq!((repaired.mended, repaired.left), (findings, Vec::new()), "{table}");
        assert_eq!(redb.check().unwrap(), []);
    }
    // A record that is gone leaves entries that lead nowhere, and counts of it.
    let dir = stored();
    edit(&dir, "keys", |_| None);
    let redb = open(&dir).unwrap();
    assert!(redb.check().unwrap().len() >= 3);
    redb.repair(sample::at(5)).unwrap();
    assert_eq!(redb.check().unwrap(), []);
    assert_eq!(redb.key(sample::key_id(1)).unwrap().map(|key| key.id), None);
}

#[test]
fn after_a_failed_sync_the_file_is_written_again() {
    let dir = stored();
    let note = dir.path().join("keys.redb.unsynced");
    fs::write(&note, "").unwrap();
    fs::write(dir.path().join("keys.redb.new"), "half a copy").unwrap();
    let before = fs::File::open(file(&dir)).unwrap();
    let redb = open(&dir).unwrap();
    assert!(redb.key(sample::key_id(1)).unwrap().is_some());
    assert!(!note.exists() && !dir.path().join("keys.redb.new").exists());
    drop(redb);
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let after = fs::metadata(file(&dir)).unwrap();
        assert_ne!(before.metadata().unwrap().ino(), after.ino());
    }
}

/// The bytes of records in the file are those of the public form.
#[test]
fn records_lie_in_their_public_form() {
    let dir = stored();
    let redb = open(&dir).unwrap();
    let key = redb.key(sample::key_id(2)).unwrap().unwrap();
    redb.close().unwrap();
    let keys: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("keys");
    let database = Database::open(file(&dir)).unwrap();
    let table = database.begin_read().unwrap().open_table(keys).unwrap();
    let stored = table.get(&key.id.to_bytes()[..]).unwrap().unwrap();
    assert_eq!(stored.value(), key.to_bytes());
}
