//! The store over SQLite, and the same by hand with rusqlite.

use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;
use std::{fs, thread};

use keyhasp::backend::sqlite::{Sqlite, SqliteOptions};
use keyhasp::{AdminKeys, KeyId, KeyStore, ListKeys, State, Timestamp};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};
use tempfile::TempDir;

use crate::engine::{
    OPENINGS, callers, create, creations, make_small, opening, opening_of, owner, owner_keys,
};
use crate::filled::{KEYS, fill, open, owner_of_many};
use crate::measure::{figure, median, ratio, ratio_of, time};
use crate::synthetic::builder;

/// What the index is loaded from.
const SCANS: [&str; 3] = [
    "SELECT id, suspended_at, tokens_valid_from, max_access, limited, state_checksum FROM owners ORDER BY id",
    "SELECT id, owner, kind, expires_at, deactivated_at, blocked_at, revoked_at, lapsed_at, \
     generation, digest, scheme, pepper, prefix, issued_at, owner_epoch, store_epoch, access, limited, state_checksum FROM keys ORDER BY id",
    "SELECT key_id, generation, digest, scheme, pepper, prefix, issued_at, owner_epoch, store_epoch, since, ends_at \
     FROM previous_tokens ORDER BY key_id, generation",
];
/// The active keys of an owner.
const PAGE: &str = "SELECT * FROM keys INDEXED BY keys_by_owner WHERE owner = ?1 AND state = 0 \
                    AND id < ?2 AND (expires_at IS NULL OR expires_at > ?3) \
                    ORDER BY id DESC LIMIT 100";
/// The last page that is read: the thousandth.
const LAST_PAGE: u64 = KEYS / 1_000;
/// Number of keys in the database that is backed up, of its backups, and of keys that are created
/// between two of them.
const BACKED_UP: u64 = 100_000;
const BACKUPS: usize = 7;
const CREATED_ALONE: usize = 50;
/// Length of a log at which it isn't copied yet: SQLite begins at 1,000 pages.
const LONG_LOG: u64 = 3_900_000;
/// Number of pages that one measurement reads.
const PAGES: usize = 10;

pub fn run(wanted: &dyn Fn(&str) -> bool) {
    if wanted("open_1m_sqlite") || wanted("page_of_100_1m_sqlite") {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("many.db");
        fill(KEYS, || backend(&path));
        if wanted("open_1m_sqlite") {
            let openings = ratio_of(OPENINGS, || opening(|| backend(&path)), || scan(&path));
            figure("open_1m_sqlite", openings, "x_engine");
        }
        if wanted("page_of_100_1m_sqlite") {
            pages(&path);
        }
    }
    if wanted("open_100k_after_a_kill_sqlite") {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("closed.db");
        fill(BACKED_UP, || backend(&path));
        after_a_kill(&path);
    }
    let dir = TempDir::new().unwrap();
    let small = |name: &str| {
        let path = dir.path().join(name);
        make_small(backend(&path));
        path
    };
    if wanted("create_sqlite") {
        let mut by_hand = ByHand::open(&small("by_hand.db"));
        creations("create_sqlite", backend(&small("store.db")), || by_hand.create());
        by_hand.check();
    }
    if wanted("create_during_backup_100k_sqlite") {
        let path = dir.path().join("backed_up.db");
        fill(BACKED_UP, || backend(&path));
        during_backup(&path);
    }
    if wanted("create_64_callers_sqlite") {
        callers("create_64_callers_sqlite", backend(&small("callers.db")));
    }
}

fn backend(path: &Path) -> Sqlite {
    Sqlite::open_or_create(path, SqliteOptions::exclusive()).unwrap().0
}

/// Opening a database that a killed process left, with a log of almost the length at which it is
/// copied, over opening the same one as it was closed.
fn after_a_kill(closed: &Path) {
    let (killed, opened) = (closed.with_file_name("killed.db"), closed.with_file_name("opened.db"));
    let log = |path: &Path| path.with_extension("db-wal");
    let store = open(backend(closed));
    let keys = owner_keys(&store);
    let mut created = 0;
    while fs::metadata(log(closed)).unwrap().len() < LONG_LOG {
        create(&keys, 1);
        created += 1;
    }
    // Another process copies them: closing a descriptor of the file here would drop SQLite's locks.
    for (from, to) in [(closed.to_owned(), killed.clone()), (log(closed), log(&killed))] {
        assert!(Command::new("cp").args([from, to]).status().unwrap().success());
    }
    store.close().unwrap();
    let open_copy = |of: &Path| {
        fs::copy(of, &opened).unwrap();
        if log(of).exists() {
            fs::copy(log(of), log(&opened)).unwrap();
        }
        let took = opening_of(BACKED_UP, created, || backend(&opened));
        assert!(!log(&opened).exists());
        took
    };
    let mut times = [Vec::new(), Vec::new()];
    let mut noted = |which: usize, took: f64| {
        times[which].push(took / 1e6);
        took
    };
    let mut turns = Vec::new();
    for _ in 0..OPENINGS {
        turns.push(noted(0, open_copy(&killed)) / noted(1, open_copy(closed)));
    }
    let [after_kill, after_closing] = times.map(median);
    figure("open_100k_after_a_kill_sqlite", median(turns), "x_closed");
    figure("open_100k_after_a_kill_sqlite_time", after_kill, "ms");
    figure("open_100k_sqlite_time", after_closing, "ms");
}

/// A durable create while a backup is made, over one alone: of each the median.
fn during_backup(path: &Path) {
    let store = Arc::new(builder().open(backend(path)).unwrap());
    let keys = owner_keys(&(Arc::clone(&store) as Arc<dyn KeyStore>));
    let copy = path.with_extension("copy");
    let one = || time(|| create(&keys, 1));
    let during = || {
        let times = thread::scope(|scope| {
            let backup = scope.spawn(|| store.backup(&copy, |_| {}).unwrap());
            let mut times = Vec::new();
            while !backup.is_finished() {
                times.push(one());
            }
            times
        });
        fs::remove_file(&copy).unwrap();
        median(times)
    };
    let alone = || median((0..CREATED_ALONE).map(|_| one()).collect());
    figure("create_during_backup_100k_sqlite", ratio_of(BACKUPS, during, alone), "x_alone");
    store.close().unwrap();
}

/// How long it takes to open the file and read every column that the index is loaded from.
fn scan(path: &Path) -> f64 {
    let started = Instant::now();
    let connection = Connection::open(path).unwrap();
    let mut counts = SCANS.map(|_| 0);
    for (sql, count) in SCANS.into_iter().zip(&mut counts) {
        let mut statement = connection.prepare(sql).unwrap();
        let columns = statement.column_count();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            for column in 0..columns {
                black_box(row.get_ref(column).unwrap());
            }
            *count += 1;
        }
    }
    let took = started.elapsed().as_secs_f64() * 1e9;
    assert_eq!(counts[1], KEYS);
    took
}

/// A page by the store over the same by one statement; the first, and the thousandth.
fn pages(path: &Path) {
    let store = open(backend(path));
    let admin = AdminKeys::new(Arc::clone(&store), "bench").unwrap();
    let connection = Connection::open(path).unwrap();
    let query = ListKeys::new().owner(owner_of_many()).states([State::Active]).limit(100);
    let mut cursor = None;
    for number in 1..=LAST_PAGE {
        let query = match &cursor {
            Some(cursor) => query.clone().cursor(cursor),
            None => query.clone(),
        };
        let page = admin.list(&query).unwrap();
        if number == 1 || number == LAST_PAGE {
            let before = page.items[0].id.as_u128() + 1;
            let expected: Vec<KeyId> = page.items.iter().map(|key| key.id).collect();
            assert_eq!(expected.len(), 100);
            let by_store = || {
                let page = admin.list(&query).unwrap();
                assert!(page.items.iter().map(|key| key.id).eq(expected.iter().copied()));
            };
            let by_hand = || assert_eq!(page_by_hand(&connection, before), expected);
            let value = ratio(
                || (0..PAGES).for_each(|_| by_store()),
                || (0..PAGES).for_each(|_| by_hand()),
            );
            let name = if number == 1 { "" } else { "_thousandth" };
            figure(&format!("page_of_100_1m_sqlite{name}"), value, "x_engine");
        }
        cursor = Some(page.next.unwrap());
    }
    store.close().unwrap();
}

fn page_by_hand(connection: &Connection, before: u128) -> Vec<KeyId> {
    let mut statement = connection.prepare_cached(PAGE).unwrap();
    let columns = statement.column_count();
    // What doesn't expire before it was made.
    let now = Timestamp::MIN.as_millis().cast_signed();
    let owner = owner_of_many();
    let mut rows = statement.query((owner.as_str(), before.to_be_bytes(), now)).unwrap();
    let mut ids = Vec::with_capacity(100);
    while let Some(row) = rows.next().unwrap() {
        for column in 1..columns {
            black_box(row.get_ref(column).unwrap());
        }
        ids.push(KeyId::from_bytes(row.get(0).unwrap()));
    }
    ids
}

/// Writes the rows of a created key in one transaction, as durably as the store.
struct ByHand {
    connection: Connection,
    /// A row of `keys`; its id and its digest are other ones each time.
    key: Vec<Value>,
    id: u128,
    digest_column: usize,
    /// A row of `events`, which is numbered by SQLite.
    event: Vec<Value>,
    random: ChaCha8Rng,
    created: i64,
}

impl ByHand {
    fn open(path: &Path) -> Self {
        let connection = Connection::open(path).unwrap();
        connection.pragma_update(None, "synchronous", "FULL").unwrap();
        connection.pragma_update(None, "fullfsync", true).unwrap();
        let mode: String =
            connection.query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
        assert_eq!(mode, "wal");
        let row = |sql: &str| -> Vec<Value> {
            let mut statement = connection.prepare(sql).unwrap();
            let columns = statement.column_count();
            statement.query_row([], |row| (0..columns).map(|at| row.get(at)).collect()).unwrap()
        };
        let key = row("SELECT * FROM keys ORDER BY id DESC LIMIT 1");
        let event = row("SELECT * FROM events ORDER BY sequence DESC LIMIT 1");
        let Value::Blob(id) = &key[0] else { unreachable!("a key's id is a blob") };
        let id = u128::from_be_bytes(id.as_slice().try_into().unwrap());
        let digest_column =
            connection.prepare("SELECT * FROM keys").unwrap().column_index("digest").unwrap();
        let random = ChaCha8Rng::seed_from_u64(1);
        Self { connection, key, id, digest_column, event, random, created: 0 }
    }

    fn create(&mut self) {
        // Ids begin with the millisecond.
        self.id += 1 << 80;
        let id = Value::Blob(self.id.to_be_bytes().to_vec());
        let mut digest = vec![0; 32];
        self.random.fill_bytes(&mut digest);
        self.key[0] = id.clone();
        self.key[self.digest_column] = Value::Blob(digest);
        self.event[0] = Value::Null;
        self.event[4] = id;
        let key = format!("INSERT INTO keys VALUES ({})", marks(self.key.len()));
        let event = format!("INSERT INTO events VALUES ({})", marks(self.event.len()));
        let run = |sql: &str, values: &[Value]| {
            let mut statement = self.connection.prepare_cached(sql).unwrap();
            statement.execute(params_from_iter(values)).unwrap()
        };
        run("BEGIN IMMEDIATE", &[]);
        assert_eq!(run(&key, &self.key), 1);
        let counted = run(
            "UPDATE owners SET keys_all = keys_all + 1, keys_live = keys_live + 1, \
             keys_live_standard = keys_live_standard + 1 WHERE id = ?",
            &[Value::Text(owner().to_string())],
        );
        assert_eq!(counted, 1);
        assert_eq!(run(&event, &self.event), 1);
        run("COMMIT", &[]);
        self.created += 1;
    }

    /// What was written by hand is what the store would have written, as far as numbers tell.
    fn check(&self) {
        let sql = "SELECT (SELECT count(*) FROM keys), (SELECT keys_live FROM owners), \
                   (SELECT count(*) FROM events WHERE key_id IS NOT NULL)";
        let counts: (i64, i64, i64) = self
            .connection
            .query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .unwrap();
        assert_eq!(counts, (self.created + 2, self.created + 2, self.created + 2));
    }
}

fn marks(count: usize) -> String {
    vec!["?"; count].join(", ")
}
