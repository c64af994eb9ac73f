//! Files that go, move or change while a store has them open.
#![cfg(all(feature = "sled", feature = "sqlite"))]
#![allow(clippy::panic, clippy::unwrap_used)] // It is a test.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use keyhasp::backend::sled::{Sled, SledOptions};
use keyhasp::backend::sqlite::{Sqlite, SqliteOptions};
use keyhasp::backend::{
    Backend, BackendError, BackendErrorKind, BackendLayer, Change, CommitOutcome,
};
use keyhasp::store::Unavailable;
use keyhasp::{
    AdminKeys, CreateOwner, Error, Issued, KeyStore, Store, Verifier, VerifyError, VerifyRequest,
};
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use tempfile::{TempDir, tempdir};

use crate::common::{World, builder, clock, owner};

const FOREIGN: VerifyError = VerifyError::Unavailable(Unavailable::ForeignWriter);

/// The backends that have files.
#[derive(Clone, Copy, Debug)]
enum Engine {
    Exclusive,
    Shared,
    Sled,
}

const ALL: [Engine; 3] = [Engine::Exclusive, Engine::Shared, Engine::Sled];
const SQLITE: [Engine; 2] = [Engine::Exclusive, Engine::Shared];

/// A store on files, with a key.
struct Open {
    directory: TempDir,
    store: Arc<Store>,
    world: World,
    key: Issued,
}

impl Engine {
    fn open_backend(self, directory: &Path) -> Result<Arc<dyn Backend>, BackendError> {
        let file = directory.join("keys.db");
        let shared = SqliteOptions::shared(Duration::from_secs(3_600)).unwrap();
        Ok(match self {
            Self::Exclusive => {
                Arc::new(Sqlite::open_or_create(file, SqliteOptions::exclusive())?.0)
            }
            Self::Shared => Arc::new(Sqlite::open_or_create(file, shared)?.0),
            Self::Sled => {
                Arc::new(Sled::open_or_create(directory.join("keys"), SledOptions::default())?.0)
            }
        })
    }

    fn open_in(self, directory: &Path) -> Result<Store, Error> {
        builder(&clock(), 1).open_on(self.open_backend(directory)?)
    }

    fn open(self) -> Open {
        let directory = tempdir().unwrap();
        let store = Arc::new(self.open_in(directory.path()).unwrap());
        let world = World::of(Arc::clone(&store) as Arc<dyn KeyStore>, clock());
        let (_, key) = world.owner("acme");
        store.check_files().unwrap();
        Open { directory, store, world, key }
    }

    /// The files that must stay, and a word of the error about each.
    fn files(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Exclusive | Self::Shared => &[
                ("keys.db", "the database file"),
                ("keys.db-shm", "the index of the write-ahead log"),
                ("keys.db-wal", "the write-ahead log"),
                ("keys.db.lock", "the lock file"),
            ],
            Self::Sled => &[
                ("keys", "the directory"),
                ("keys/sled-1/db", "the data file"),
                ("keys.lock", "the lock file"),
            ],
        }
    }
}

impl Open {
    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn verify(&self) -> Result<(), VerifyError> {
        self.store.verify_request(&VerifyRequest::new(self.key.token.expose().as_bytes())).map(drop)
    }

    fn create(&self, name: &str) -> Result<(), Error> {
        self.world.admin.create_owner(&owner(name), CreateOwner::without_key()).map(drop)
    }

    /// Checks that the store answers and commits nothing more, and says why.
    fn is_refused(&self, word: &str) {
        let refused = |error: Error| match error {
            Error::Backend(error) => {
                assert_eq!(error.kind(), BackendErrorKind::ForeignWriter, "{error}");
                assert!(error.to_string().contains(word), "{error}: without {word}");
                assert!(error.to_string().contains("open it again"), "{error}");
            }
            other => panic!("{other:?}"),
        };
        refused(self.create("another").unwrap_err());
        assert_eq!(self.verify().unwrap_err(), FOREIGN);
        assert_eq!(self.store.health().unavailable, Some(Unavailable::ForeignWriter));
        refused(self.store.check_files().unwrap_err());
    }
}

#[test]
fn a_missing_file_is_noticed_by_the_look_and_by_the_commit() {
    for engine in ALL {
        for (file, word) in engine.files() {
            for looks in [true, false] {
                let open = engine.open();
                fs::rename(open.path(file), open.path("elsewhere")).unwrap();
                assert_eq!(open.verify(), Ok(()), "{engine:?} {file}");
                if looks {
                    let error = open.store.check_files().unwrap_err().to_string();
                    assert!(error.contains("is missing"), "{engine:?} {file}: {error}");
                    assert_eq!(open.verify(), Err(FOREIGN), "{engine:?} {file}");
                }
                open.is_refused(word);
                // Until it is opened again: who knows what was done to it meanwhile.
                fs::rename(open.path("elsewhere"), open.path(file)).unwrap();
                open.is_refused(word);
            }
        }
    }
}

#[test]
fn another_file_in_its_place_is_noticed() {
    for engine in ALL {
        for (file, word) in engine.files() {
            let open = engine.open();
            if open.path(file).is_dir() {
                fs::rename(open.path(file), open.path("elsewhere")).unwrap();
                fs::create_dir(open.path(file)).unwrap();
            } else {
                fs::copy(open.path(file), open.path("copy")).unwrap();
                fs::rename(open.path("copy"), open.path(file)).unwrap();
            }
            let error = open.store.check_files().unwrap_err().to_string();
            assert!(error.contains("was replaced"), "{engine:?} {file}: {error}");
            open.is_refused(word);
        }
    }
}

#[test]
fn a_file_that_was_cut_off_is_noticed() {
    for engine in SQLITE {
        let open = engine.open();
        File::create(open.path("keys.db")).unwrap();
        let error = open.store.check_files().unwrap_err().to_string();
        assert!(error.contains("was cut off"), "{engine:?}: {error}");
        open.is_refused("the database file");
    }
}

/// The thread looks by itself, within a second or, on a loaded machine, somewhat later.
#[test]
fn a_thread_looks_each_second() {
    for engine in ALL {
        let open = engine.open();
        let (lock, _) = engine.files().last().unwrap();
        fs::remove_file(open.path(lock)).unwrap();
        let started = Instant::now();
        while open.verify() != Err(FOREIGN) {
            assert!(started.elapsed() < Duration::from_secs(60), "{engine:?}");
            std::thread::yield_now();
        }
        open.is_refused("the lock file");
    }
}

const SECOND: &str = "KEYHASP_TEST_SECOND_PROCESS";

/// Once the lock file is gone, a second process gets in. The first must not go on accepting what
/// the second revokes.
#[test]
fn a_second_process_gets_in_after_the_lock_file_is_removed_and_the_first_stops() {
    if let Some(directory) = std::env::var_os(SECOND) {
        let store: Arc<dyn KeyStore> =
            Arc::new(Engine::Exclusive.open_in(Path::new(&directory)).unwrap());
        let admin = AdminKeys::new(store, "second").unwrap();
        admin.suspend_owner(&owner("acme")).unwrap();
        return;
    }
    let open = Engine::Exclusive.open();
    let run = || {
        let mut second = Command::new(std::env::current_exe().unwrap());
        let test = "a_second_process_gets_in_after_the_lock_file_is_removed_and_the_first_stops";
        second.args(["--exact", &format!("foreign_writer::{test}")]);
        second.env(SECOND, open.directory.path()).output().unwrap()
    };
    assert!(!run().status.success(), "the lock keeps it out");
    fs::remove_file(open.path("keys.db.lock")).unwrap();
    let output = run();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // It commits nothing; the look alone finds it.
    open.store.check_files().unwrap_err();
    assert_eq!(open.verify(), Err(FOREIGN));
    let directory = open.directory.path().to_owned();
    let token = open.key.token.expose().to_owned();
    let Open { directory: _kept, store, world, .. } = open;
    drop((store, world));
    let again: Arc<dyn KeyStore> = Arc::new(Engine::Exclusive.open_in(&directory).unwrap());
    assert!(matches!(Verifier::new(again).verify(&token), Err(VerifyError::Rejected(_))));
}

/// A log that was removed by name is in this process alone: closing saves what was in it.
#[test]
fn closing_saves_what_a_removed_log_held() {
    let open = Engine::Exclusive.open();
    fs::remove_file(open.path("keys.db-wal")).unwrap();
    open.store.check_files().unwrap_err();
    assert!(open.store.close().is_ok());
    let again: Arc<dyn KeyStore> =
        Arc::new(Engine::Exclusive.open_in(open.directory.path()).unwrap());
    let token = open.key.token.expose();
    assert!(Verifier::new(again).verify(token).is_ok());
}

/// SQLite removes a log by name when its last user closes it. This one is another database's.
#[test]
fn closing_leaves_a_database_alone_that_took_the_place() {
    let open = Engine::Exclusive.open();
    for name in ["keys.db", "keys.db-wal", "keys.db-shm", "keys.db.lock"] {
        fs::rename(open.path(name), open.path(&format!("old-{name}"))).unwrap();
    }
    let second = Engine::Exclusive.open_in(open.directory.path()).unwrap();
    let before = fs::read(open.path("keys.db-wal")).unwrap();
    assert!(!before.is_empty());
    let error = open.store.close().unwrap_err();
    assert!(
        matches!(&error, Error::Backend(error)
        if error.kind() == BackendErrorKind::ForeignWriter),
        "{error}"
    );
    assert_eq!(fs::read(open.path("keys.db-wal")).unwrap(), before);
    second.check_files().unwrap();
    drop(second);
    // What the first held is in its own files still.
    for name in ["keys.db", "keys.db-wal", "keys.db-shm", "keys.db.lock"] {
        let _ = fs::remove_file(open.path(name));
        let _ = fs::rename(open.path(&format!("old-{name}")), open.path(name));
    }
    let again: Arc<dyn KeyStore> =
        Arc::new(Engine::Exclusive.open_in(open.directory.path()).unwrap());
    assert!(Verifier::new(again).verify(open.key.token.expose()).is_ok());
}

/// Recovery closes all connections, and with the last one SQLite removes the log; sled goes on in
/// other files. Looks before, after and in the midst of it find nothing wrong.
#[test]
fn a_recovery_renews_files_and_is_no_foreign_writer() {
    for engine in ALL {
        let directory = tempdir().unwrap();
        let backend = engine.open_backend(directory.path()).unwrap();
        let store = Arc::new(builder(&clock(), 1).open_on(Arc::clone(&backend)).unwrap());
        let admin = AdminKeys::new(Arc::clone(&store) as Arc<dyn KeyStore>, "root").unwrap();
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let looks = scope.spawn(|| {
                let mut looks = 0;
                while !is_over.load(Ordering::SeqCst) {
                    store.check_files()?;
                    looks += 1;
                }
                Ok::<_, Error>(looks)
            });
            for round in 0..20 {
                let name = owner(&format!("o{round}"));
                admin.create_owner(&name, CreateOwner::without_key()).unwrap();
                backend.recover().unwrap();
            }
            is_over.store(true, Ordering::SeqCst);
            assert!(looks.join().unwrap().unwrap() > 0, "{engine:?}");
        });
    }
}

/// A backend whose commits have unknown outcomes, and whose files no thread looks at.
#[derive(Debug)]
struct Unsure(Arc<dyn Backend>);

impl BackendLayer for Unsure {
    fn inner(&self) -> &dyn Backend {
        &*self.0
    }

    fn commit(&self, _: &[Change]) -> Result<CommitOutcome, BackendError> {
        Err(BackendError::new(BackendErrorKind::OutcomeUnknown, self.0.name(), "commit"))
    }

    fn check_files(&self) -> Result<(), BackendError> {
        Ok(())
    }
}

#[test]
fn a_recovery_that_misses_a_file_finds_a_foreign_writer() {
    for engine in ALL {
        let directory = tempdir().unwrap();
        drop(engine.open_in(directory.path()).unwrap());
        let backend = engine.open_backend(directory.path()).unwrap();
        let store = Arc::new(builder(&clock(), 1).open(Unsure(backend)).unwrap());
        let (lock, _) = engine.files().last().unwrap();
        fs::remove_file(directory.path().join(lock)).unwrap();
        let admin = AdminKeys::new(Arc::clone(&store) as Arc<dyn KeyStore>, "root").unwrap();
        let created = admin.create_owner(&owner("acme"), CreateOwner::without_key());
        assert!(matches!(created, Err(Error::OutcomeUnknown(_))), "{created:?}");
        let began = Instant::now();
        while store.health().unavailable != Some(Unavailable::ForeignWriter) {
            assert!(began.elapsed() < Duration::from_secs(60), "{engine:?}: {:?}", store.health());
            std::thread::yield_now();
        }
    }
}

#[test]
fn a_look_at_a_closed_store_says_so() {
    let open = Engine::Exclusive.open();
    open.store.close().unwrap();
    let closed = open.store.check_files();
    assert!(matches!(closed, Err(Error::Unavailable(Unavailable::Closed))));
}

/// Another program with SQLite.
fn stranger(open: &Open) -> Connection {
    Connection::open(open.path("keys.db")).unwrap()
}

#[test]
fn an_edit_by_hand_is_noticed_by_the_look_and_by_the_commit() {
    let edits = [
        ("UPDATE keys SET version = version + 1", "keys"),
        ("DELETE FROM keys", "keys"),
        (
            "UPDATE owners SET suspended_at = 1, suspended_by = 'somebody'",
            "acme of the table owners",
        ),
        ("INSERT INTO numeric_ids VALUES (77, zeroblob(16))", "77 of the table numeric_ids"),
        ("UPDATE events SET actor = 'somebody' WHERE sequence = 1", "1 of the table events"),
        ("UPDATE store SET keep_standard_key = 1", "store"),
        ("UPDATE prefixes SET accepted = 0", "prefixes"),
        ("INSERT INTO recovery_keys VALUES (9, zeroblob(16))", "recovery_keys"),
        ("INSERT INTO key_usage (key_id) VALUES (zeroblob(16))", "key_usage"),
        ("INSERT INTO owner_usage (owner) VALUES ('acme')", "owner_usage"),
    ];
    for engine in SQLITE {
        for (sql, word) in edits {
            for looks in [true, false] {
                let open = engine.open();
                stranger(&open).execute_batch(sql).unwrap();
                assert_eq!(open.verify(), Ok(()), "{sql}");
                if looks {
                    assert!(open.store.check_files().is_err(), "{engine:?} {sql}");
                    assert_eq!(open.verify(), Err(FOREIGN), "{engine:?} {sql}");
                }
                open.is_refused(word);
            }
        }
    }
}

/// As litestream does, which keeps tables of its own and copies the log by itself.
#[test]
fn what_other_programs_keep_in_tables_of_their_own_is_no_foreign_write() {
    for engine in SQLITE {
        let open = engine.open();
        for (round, sql) in [
            "CREATE TABLE _litestream_seq (id INTEGER PRIMARY KEY, seq INTEGER)",
            "INSERT INTO _litestream_seq VALUES (1, 1)",
            "UPDATE _litestream_seq SET seq = seq + 1",
            "PRAGMA wal_checkpoint(RESTART)",
            "PRAGMA wal_checkpoint(TRUNCATE)",
            "VACUUM",
            "DELETE FROM _litestream_seq",
            "BEGIN IMMEDIATE; UPDATE keys SET version = version + 1; ROLLBACK",
        ]
        .into_iter()
        .enumerate()
        {
            let _ = stranger(&open).query_row("SELECT 1", [], |_| Ok(()));
            stranger(&open).execute_batch(sql).unwrap();
            open.store.check_files().unwrap();
            open.create(&format!("o{round}")).unwrap();
            open.store.check_files().unwrap();
            assert_eq!(open.verify(), Ok(()), "{engine:?} {sql}");
        }
        // It reads for as long as it copies the log.
        let reader = stranger(&open);
        reader.execute_batch("BEGIN; SELECT count(*) FROM _litestream_seq").unwrap();
        (0..20).for_each(|n| open.create(&format!("beside{n}")).unwrap());
        open.store.check_files().unwrap();
        // Nor does this process take its own writes for another's.
        let edits = "SELECT count(*) FROM foreign_edits";
        assert_eq!(stranger(&open).query_row(edits, [], |row| row.get::<_, i64>(0)), Ok(0));
    }
}

/// Another keyhasp writes events with its changes, and fires no triggers.
#[test]
fn an_event_of_another_process_is_noticed_where_the_database_is_not_shared() {
    let event = "INSERT INTO events SELECT sequence + 1, incarnation, binding, at, kind, owner, key_id, \
                 version, generation, fields, role, acting_owner, acting_key, acting_generation, \
                 actor, reason, reason_for_owner, correlation_id, checksum FROM events \
                 ORDER BY sequence DESC LIMIT 1";
    // A look, a commit, and a write that isn't one.
    type Call = fn(&Open) -> Result<(), Error>;
    let calls: [Call; 3] = [
        |open| open.store.check_files(),
        |open| open.create("another"),
        |open| open.world.admin.prune_events(open.world.now()).map(drop),
    ];
    for (engine, is_shared) in [(Engine::Exclusive, false), (Engine::Shared, true)] {
        for call in calls {
            let open = engine.open();
            let other = stranger(&open);
            other.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false).unwrap();
            other.execute_batch(event).unwrap();
            assert_eq!(call(&open).is_ok(), is_shared, "{engine:?}");
            if !is_shared {
                open.is_refused("another process writes");
            }
        }
    }
}

#[test]
fn an_edit_from_before_the_opening_is_known() {
    for engine in SQLITE {
        let open = engine.open();
        open.store.close().unwrap();
        stranger(&open).execute_batch("INSERT INTO numeric_ids VALUES (77, zeroblob(16))").unwrap();
        let again = engine.open_in(open.directory.path()).unwrap();
        again.check_files().unwrap();
        let admin = AdminKeys::new(Arc::new(again), "root").unwrap();
        admin.create_owner(&owner("another"), CreateOwner::without_key()).unwrap();
    }
}

/// An older copy of the same database, in the same file: only what is in it differs.
#[test]
fn a_file_that_is_written_over_is_noticed() {
    for engine in SQLITE {
        let open = engine.open();
        let checkpoint = || {
            let all = "PRAGMA wal_checkpoint(TRUNCATE)";
            stranger(&open).query_row(all, [], |row| row.get::<_, i64>(0)).unwrap()
        };
        let copy = |from: &str, to: &str| {
            // By another process: closing a descriptor here would drop SQLite's locks.
            let copied = Command::new("cp").arg(open.path(from)).arg(open.path(to)).status();
            assert!(copied.unwrap().success());
        };
        assert_eq!(checkpoint(), 0);
        copy("keys.db", "older");
        (0..50).for_each(|n| open.create(&format!("o{n}")).unwrap());
        assert_eq!(checkpoint(), 0);
        // The connection that reads has the file's pages in its memory from here on.
        open.store.check_files().unwrap();
        copy("older", "keys.db");
        let error = open.store.check_files().unwrap_err().to_string();
        assert!(error.contains("written over"), "{engine:?}: {error}");
        assert_eq!(open.verify(), Err(FOREIGN));
    }
}

/// A store that only looks knows the file and the records, and not the log and the lock of those
/// that write, which come and go.
#[test]
fn a_store_that_only_looks_notices_another_file_and_edits() {
    let looking = |open: &Open| {
        let backend = Sqlite::open_read_only(open.path("keys.db"), Duration::from_secs(3_600));
        let store = builder(&clock(), 2).open(backend.unwrap()).unwrap();
        store.check_files().unwrap();
        store
    };
    let is_refused = |store: &Store, open: &Open| {
        assert!(store.check_files().is_err());
        let token = VerifyRequest::new(open.key.token.expose());
        assert_eq!(store.verify_request(&token).unwrap_err(), FOREIGN);
    };
    let open = Engine::Exclusive.open();
    let store = looking(&open);
    open.create("another").unwrap();
    store.check_files().unwrap();
    stranger(&open).execute_batch("UPDATE keys SET version = version + 1").unwrap();
    is_refused(&store, &open);

    let open = Engine::Exclusive.open();
    let store = looking(&open);
    open.store.close().unwrap();
    fs::remove_file(open.path("keys.db.lock")).unwrap();
    store.check_files().unwrap();
    fs::rename(open.path("keys.db"), open.path("elsewhere")).unwrap();
    is_refused(&store, &open);
}
