//! A random history of a database, with copies of its file and of its log from different moments.

use std::fs;
use std::path::{Path, PathBuf};

use keyhasp::backend::sqlite::Sqlite;
use keyhasp::backend::{Backend, Change, UsageChange, Write};
use keyhasp::event::EventKind;
use keyhasp::id::KeyId;
use keyhasp::key::{KeyRecord, Switch, Used};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rusqlite::Connection;
use tempfile::{TempDir, tempdir};

use crate::sqlite::support::{
    at, by_administrator, commit, create_key, create_owner, event, key, open, quick, shared,
};

/// All rows of a database apart from the ids of commits, as text.
pub(super) type Contents = String;

/// A copy of the database's file, or of its log.
#[derive(Clone)]
pub(super) struct Copy {
    pub(super) bytes: Vec<u8>,
    /// The number of the step after which it was made.
    pub(super) step: usize,
    /// The moment that it proves: that of its last commit.
    pub(super) proves: usize,
}

/// A history as far as it has run.
pub(super) struct History {
    random: ChaCha8Rng,
    directory: TempDir,
    sqlite: Sqlite,
    is_shared: bool,
    keys: u128,
    owners: u32,
    step: usize,
    /// The contents after each change, the last one being those of now.
    pub(super) moments: Vec<Contents>,
    pub(super) files: Vec<Copy>,
    pub(super) logs: Vec<Copy>,
}

impl History {
    pub(super) fn run(seed: u64, steps: usize) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let is_shared = random.next_u32() % 2 == 0;
        let directory = tempdir().unwrap();
        let sqlite = open(&place(&directory), if is_shared { shared() } else { quick() });
        let (moments, files, logs) = (Vec::new(), Vec::new(), Vec::new());
        let (keys, owners, step) = (0, 0, 0);
        let mut history =
            Self { random, directory, sqlite, is_shared, keys, owners, step, moments, files, logs };
        history.create_owner();
        for step in 0..steps {
            history.step = step;
            history.act();
            history.note();
            if history.percent(40) {
                history.copy();
            }
        }
        history
    }

    pub(super) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.random.next_u64() % limit as u64).unwrap()
    }

    pub(super) fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn act(&mut self) {
        match self.below(20) {
            0..=2 => self.create_owner(),
            3..=5 => self.create_keys(),
            6..=9 => self.revoke(),
            10 => self.use_key(),
            11 => _ = self.sqlite.prune_events(at(1), 3).unwrap(),
            12 | 13 => self.checkpoint("PASSIVE"),
            14 => self.checkpoint("RESTART"),
            15 => self.checkpoint("TRUNCATE"),
            16 => self.reopen(),
            17 => self.crash(),
            18 => self.sqlite.recover().unwrap(),
            _ => self.vacuum(),
        }
    }

    /// With or without maps of pages, which give the table `last_commit` another page.
    fn vacuum(&mut self) {
        let mode = ["", "PRAGMA auto_vacuum = NONE;", "PRAGMA auto_vacuum = INCREMENTAL;"];
        let mode = mode[self.below(3)];
        self.other().execute_batch(&format!("{mode} VACUUM")).unwrap();
    }

    fn create_owner(&mut self) {
        self.owners += 1;
        commit(&self.sqlite, create_owner(&format!("owner-{}", self.owners)));
    }

    fn create_keys(&mut self) {
        let owner = format!("owner-{}", self.below(self.owners as usize) + 1);
        let most = if self.percent(30) { 60 } else { 2 };
        let count = self.below(most) + 1;
        let mut change = Change::default();
        for _ in 0..count {
            self.keys += 1;
            change.operations.extend(create_key(key(self.keys, &owner)).operations);
        }
        commit(&self.sqlite, change);
    }

    fn some_key(&mut self) -> Option<KeyRecord> {
        let number = self.below(usize::try_from(self.keys).unwrap().max(1)) as u128 + 1;
        self.sqlite.key(KeyId::from_u128(number)).unwrap()
    }

    fn revoke(&mut self) {
        let Some(key) = self.some_key().filter(|key| key.revoked.is_none()) else { return };
        let revoked = Some(Switch::new(at(2), &by_administrator()));
        let key = KeyRecord { version: key.version.next(), revoked, updated_at: at(2), ..key };
        let replace = Write::ReplaceKey(Box::new(key));
        commit(&self.sqlite, Change::of(replace, event(EventKind::KeyRevoked)));
    }

    /// A commit without an event.
    fn use_key(&mut self) {
        let Some(key) = self.some_key() else { return };
        let used = Used { accepted: 1, last_used_at: Some(at(3)), ..Used::default() };
        self.sqlite.record_usage(&[UsageChange::Add(key.id, used)]).unwrap();
    }

    fn other(&self) -> Connection {
        Connection::open(place(&self.directory)).unwrap()
    }

    fn checkpoint(&self, how: &str) {
        let sql = format!("PRAGMA wal_checkpoint({how})");
        self.other().query_row(&sql, [], |_| Ok(())).unwrap();
    }

    /// Closes the database, so that all of the log is in the file, and opens it again.
    fn reopen(&mut self) {
        self.sqlite.close().unwrap();
        self.sqlite = open(&place(&self.directory), self.options());
    }

    /// Goes on in another place, with the files as they are now.
    fn crash(&mut self) {
        let crashed = tempdir().unwrap();
        for suffix in ["", "-wal"] {
            let from = beside(&self.directory, suffix);
            if from.exists() {
                fs::copy(from, beside(&crashed, suffix)).unwrap();
            }
        }
        self.sqlite = open(&place(&crashed), self.options());
        self.directory = crashed;
    }

    fn options(&self) -> keyhasp::backend::sqlite::SqliteOptions {
        if self.is_shared { shared() } else { quick() }
    }

    fn note(&mut self) {
        let contents = contents(&self.other());
        if self.moments.last() != Some(&contents) {
            self.moments.push(contents);
        }
    }

    /// Copies the file, the log, or both; sometimes the file by SQLite's own means.
    fn copy(&mut self) {
        let (step, now) = (self.step, self.moments.len() - 1);
        let log = fs::read(beside(&self.directory, "-wal")).unwrap();
        if self.percent(70) {
            let bytes = fs::read(place(&self.directory)).unwrap();
            let proves = self.moment_of(&bytes);
            self.files.push(Copy { bytes, step, proves });
        } else {
            let to = beside(&self.directory, "-copy");
            if self.percent(50) {
                self.sqlite.backup(&to, &mut drop).unwrap();
            } else {
                self.other().execute("VACUUM INTO ?", [to.to_str().unwrap()]).unwrap();
            }
            // Of a step of its own: such a file was never beside a log.
            let (bytes, step) = (fs::read(&to).unwrap(), usize::MAX);
            fs::remove_file(to).unwrap();
            self.files.push(Copy { bytes, step, proves: now });
        }
        if self.percent(80) {
            let proves = if log.is_empty() { 0 } else { now };
            self.logs.push(Copy { bytes: log, step, proves });
        }
    }

    /// The moment that a file shows without a log.
    fn moment_of(&self, file: &[u8]) -> usize {
        let alone = tempdir().unwrap();
        fs::write(place(&alone), file).unwrap();
        let contents = contents(&Connection::open(place(&alone)).unwrap());
        // The tables are in the log alone at first.
        self.moments.iter().rposition(|moment| *moment == contents).unwrap_or(0)
    }
}

pub(super) fn place(directory: &TempDir) -> PathBuf {
    beside(directory, "")
}

pub(super) fn beside(directory: &TempDir, suffix: &str) -> PathBuf {
    directory.path().join(format!("keys.db{suffix}"))
}

/// Lays a file and a log beside each other.
pub(super) fn lay(file: &[u8], log: &[u8]) -> TempDir {
    let directory = tempdir().unwrap();
    fs::write(place(&directory), file).unwrap();
    fs::write(beside(&directory, "-wal"), log).unwrap();
    directory
}

pub(super) fn contents_of(path: &Path) -> Contents {
    contents(&Connection::open(path).unwrap())
}

fn contents(connection: &Connection) -> Contents {
    let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name <> 'last_commit'
               ORDER BY name";
    let mut statement = connection.prepare(sql).unwrap();
    let tables = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
    let mut contents = Contents::new();
    for table in tables {
        let table = table.unwrap();
        let mut rows = connection.prepare(&format!("SELECT * FROM {table} ORDER BY 1, 2")).unwrap();
        let columns = rows.column_count();
        let mut rows = rows.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            contents.push_str(&table);
            for column in 0..columns {
                contents.push_str(&format!(" {:?}", row.get_ref(column).unwrap()));
            }
            contents.push('\n');
        }
    }
    contents
}
