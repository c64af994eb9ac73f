//! The making of a connection.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::error::Fault;
use super::files::{Files, LoneFile};
use super::options::{SqliteOptions, Synchronous};
use super::schema::{self, Identity};
use super::{last_commit, metadata};
use crate::backend::opening::Intent;
use crate::backend::{BackendErrorKind, Opened, Sharing};

/// The size, in bytes, to which a write-ahead log is cut after a slow reader let it grow. SQLite copies
/// the log into the database from 4 MiB on, so in ordinary use it is never so long.
const LONGEST_LOG: i64 = 6 << 20;

/// The oldest engine that is trusted: before it, a commit could be lost when the write-ahead log
/// was reset just then.
const OLDEST_ENGINE: i32 = 3_051_003;

/// The greatest number of readers. Reads are short, so that more wait than need one.
const MAX_READERS: usize = 4;

/// Statements kept prepared by each connection: more than there are.
const PREPARED: usize = 96;

/// The time that a write of leases waits for another process. Who waits for the lease of a quota
/// waits no longer, as a rule, and commits of this process wait for the write.
const LEASE_TIMEOUT: Duration = Duration::from_millis(50);

/// The time for which a write waits for another process.
#[derive(Clone, Copy, Debug)]
pub(super) enum Patience {
    /// The time in the options.
    Usual,
    /// The time of a write of leases, or the time in the options if that is shorter.
    Short,
}

/// Makes connections to one database.
#[derive(Debug)]
pub(super) struct Connector {
    pub(super) files: Files,
    busy_timeout: Duration,
    synchronous: Synchronous,
    is_read_only: bool,
    /// There was no room for the log's index or for a copy of the log. Relaxed: it is set while no
    /// connection is open, under the locks of the writer and the readers.
    lacks_room: AtomicBool,
}

/// A connection that only reads.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) connection: Connection,
    /// The file as it was before, if the connection takes no lock on it.
    lone: Option<LoneFile>,
}

impl Reader {
    /// Checks that what was just read was one state of the database.
    pub(super) fn confirm(&self, files: &Files) -> Result<(), Fault> {
        if self.lone.is_none() || files.lone()? == self.lone {
            return Ok(());
        }
        let why = "another process began to write while it was read; try again";
        Err(Fault::refused(BackendErrorKind::TimedOut, why))
    }
}

impl Connector {
    /// Sets how long a connection waits for another process from now on.
    pub(super) fn set_patience(
        &self,
        connection: &Connection,
        patience: Patience,
    ) -> Result<(), Fault> {
        let timeout = match patience {
            Patience::Usual => self.busy_timeout,
            Patience::Short => self.busy_timeout.min(LEASE_TIMEOUT),
        };
        Ok(connection.busy_timeout(timeout)?)
    }

    pub(super) fn new(files: Files, options: &SqliteOptions) -> Self {
        let SqliteOptions { busy_timeout, synchronous, .. } = *options;
        let lacks_room = AtomicBool::new(false);
        Self { files, busy_timeout, synchronous, is_read_only: false, lacks_room }
    }

    /// Makes connections that read, and no other, beside any process that has the database.
    pub(super) fn read_only(files: Files, options: &SqliteOptions) -> Self {
        Self { is_read_only: true, ..Self::new(files, options) }
    }

    pub(super) fn is_read_only(&self) -> bool {
        self.is_read_only
    }

    pub(super) fn lacks_room(&self) -> bool {
        self.lacks_room.load(Ordering::Relaxed)
    }

    /// Notes whether there was no room for a connection that writes. If there was none, and this
    /// process has the database alone, readers do without the log's index from then on. Only while
    /// this process has no connection.
    pub(super) fn noting_room<T>(
        &self,
        sharing: Sharing,
        make: impl FnOnce() -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let made = make();
        let is_full = made.as_ref().is_err_and(Fault::is_full);
        self.lacks_room.store(is_full && sharing == Sharing::Exclusive, Ordering::Relaxed);
        made
    }

    /// Makes the first connection that writes, as the caller intends: it may make a missing or an
    /// empty file a database, and takes an older one to this version. What is refused is left as it
    /// is; so is a database without a store, if events were `durable` in its log.
    pub(super) fn first_writer(
        &self,
        intent: Intent,
        durable: Option<u64>,
    ) -> Result<(Connection, Opened), Fault> {
        let is_fresh = self.files.is_fresh()?;
        if is_fresh {
            judge(intent, Opened::Created, "there is no file, or an empty one")?;
        }
        let mut connection = self.connect(is_fresh)?;
        // Asked of SQLite, which first takes back a creation that was broken off in its commit:
        // the file may be empty after all.
        if schema::is_empty(&connection)? {
            judge(intent, Opened::Created, "the file was never finished")?;
            self.persistently(|| schema::claim(&mut connection))?;
        }
        let tx = connection.transaction()?;
        let identity = Identity::read(&tx)?;
        identity.check()?;
        let has_store = identity.version != 0 && metadata::exists(&tx)?;
        drop(tx);
        if let Some(durable) = durable.filter(|durable| !has_store && *durable > 0) {
            return Err(Fault::Earlier { found: 0, durable });
        }
        let opened = if has_store { Opened::Existing } else { Opened::Created };
        judge(intent, opened, if has_store { "it has a store" } else { "no store is on it" })?;
        self.finish(&mut connection, &identity)?;
        Ok((connection, opened))
    }

    /// Makes a connection that writes, in the place of an earlier one of this process.
    pub(super) fn writer(&self) -> Result<Connection, Fault> {
        if self.files.is_fresh()? {
            return Err(gone());
        }
        let mut connection = self.connect(false)?;
        if schema::is_empty(&connection)? {
            return Err(gone());
        }
        let identity = Identity::read(&connection)?;
        identity.check()?;
        self.finish(&mut connection, &identity)?;
        Ok(connection)
    }

    /// Connects for writing. Until [`finish`](Self::finish) knows the file for ours, closing doesn't
    /// tidy up its write-ahead log.
    fn connect(&self, is_fresh: bool) -> Result<Connection, Fault> {
        let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        flags.set(OpenFlags::SQLITE_OPEN_CREATE, is_fresh);
        let connection = Connection::open_with_flags(self.files.database(), flags)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        connection.busy_timeout(self.busy_timeout)?;
        // SQLite opens for reading what it can't open for writing, and says nothing.
        if connection.is_readonly("main")? {
            let why = "the file can't be written to";
            return Err(Fault::refused(BackendErrorKind::ReadOnly, why));
        }
        self.settle(&connection)?;
        Ok(connection)
    }

    fn finish(&self, connection: &mut Connection, identity: &Identity) -> Result<(), Fault> {
        self.use_log(connection)?;
        if identity.version < schema::VERSION {
            schema::migrate(connection)?;
        }
        last_commit::spare_damaged_page(connection)?;
        Ok(connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false).map(drop)?)
    }

    /// Makes sure that what can be read of a log that was left behind is on stable storage; false
    /// if another program has the database open. Only while this process has no connection to it.
    ///
    /// After a failed sync the kernel may hold pages as clean that never reached the disk, and a
    /// later sync of them says nothing. Pages that are written again are synced again.
    pub(super) fn renew_log(&self) -> Result<bool, Fault> {
        if self.files.is_fresh()? || !self.files.has_log()? {
            return Ok(true);
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(self.files.database(), flags)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        connection.busy_timeout(Duration::ZERO)?;
        // The first read takes the lock that excludes every other connection.
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        match Identity::read(&connection) {
            Err(fault) if fault.is_busy() => return Ok(false),
            identity => identity?.check()?,
        }
        drop(connection);
        self.files.renew_log()?;
        Ok(true)
    }

    /// A connection that only reads. If this process writes too, the writer has been here before.
    pub(super) fn reader(&self) -> Result<Reader, Fault> {
        if self.lacks_room() {
            return Ok(Reader { connection: self.cramped_reader()?, lone: None });
        }
        if !self.is_read_only {
            return Ok(Reader { connection: self.plain_reader()?, lone: None });
        }
        // With neither log nor index no process has the database open. SQLite would make both files
        // for a reader, and fail where it can't.
        let lone = if self.files.has_index()? { None } else { self.files.lone()? };
        let connection = match lone {
            Some(_) => self.lone_reader(),
            None => self.plain_reader(),
        };
        match connection.and_then(|connection| Ok((Identity::read(&connection)?, connection))) {
            Err(fault) if fault.is_without_index() => {
                let why = "FILE-wal holds commits, and there is no place for its index FILE-shm; copy \
                           FILE and FILE-wal into a directory that can be written to, and open the copy";
                Err(Fault::refused(BackendErrorKind::ReadOnly, why))
            }
            Err(fault) => Err(fault),
            Ok((identity, connection)) => {
                identity.check()?;
                if identity.version == 0 {
                    return Err(Fault::refused(BackendErrorKind::Missing, "no tables are in it"));
                }
                Ok(Reader { connection, lone })
            }
        }
    }

    fn plain_reader(&self) -> Result<Connection, Fault> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(self.files.database(), flags)?;
        connection.busy_timeout(self.busy_timeout)?;
        self.settle(&connection)?;
        Ok(connection)
    }

    /// A connection that has the log's index in its memory, and so needs no room for `FILE-shm`. It
    /// excludes every other connection.
    fn cramped_reader(&self) -> Result<Connection, Fault> {
        // SQLite takes the lock that excludes others only for a connection that could write.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(self.files.database(), flags)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        connection.busy_timeout(self.busy_timeout)?;
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        self.settle(&connection)?;
        connection.pragma_update(None, "query_only", true)?;
        Identity::read(&connection)?.check()?;
        Ok(connection)
    }

    /// Returns how many connections may read at once.
    pub(super) fn max_readers(&self) -> usize {
        if self.lacks_room() { 1 } else { MAX_READERS }
    }

    /// A connection that takes no lock, and makes no file.
    fn lone_reader(&self) -> Result<Connection, Fault> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_URI;
        let connection = Connection::open_with_flags(immutable(self.files.database()), flags)?;
        self.settle(&connection)?;
        Ok(connection)
    }

    /// Write-ahead logging, which the file remembers.
    fn use_log(&self, connection: &Connection) -> Result<(), Fault> {
        let sql = "PRAGMA journal_mode = WAL";
        let mode = self
            .persistently(|| Ok(connection.query_row(sql, [], |row| row.get::<_, String>(0))?))?;
        if mode != "wal" {
            let why = "the file system doesn't carry a write-ahead log";
            return Err(Fault::refused(BackendErrorKind::Io, why));
        }
        Ok(())
    }

    /// Tries again what SQLite refuses at once, without asking its busy handler, while another opener
    /// does the same. The end of that other process's work wakes no thread.
    fn persistently<T>(&self, mut work: impl FnMut() -> Result<T, Fault>) -> Result<T, Fault> {
        let started = Instant::now();
        loop {
            match work() {
                Err(fault) if fault.is_busy() && started.elapsed() < self.busy_timeout => {
                    thread::sleep(Duration::from_millis(5));
                }
                done => return done,
            }
        }
    }

    fn settle(&self, connection: &Connection) -> Result<(), Fault> {
        connection.set_prepared_statement_cache_capacity(PREPARED);
        // The triggers note what other programs change; this one writes events.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
        // One plan for each statement, whatever is bound to it; otherwise SQLite prepares some
        // statements again for each new value.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        let synchronous = match self.synchronous {
            Synchronous::Full => "FULL",
            #[cfg(any(test, feature = "testing"))]
            Synchronous::Off => "OFF",
        };
        connection.pragma_update(None, "synchronous", synchronous)?;
        // On Apple's systems a plain sync doesn't empty the disk's cache; elsewhere these do
        // nothing.
        connection.pragma_update(None, "fullfsync", true)?;
        connection.pragma_update(None, "checkpoint_fullfsync", true)?;
        // Deleted content is overwritten.
        connection.pragma_update(None, "secure_delete", true)?;
        // Otherwise the log would stay as long as a long reader has ever made it. It is cut by
        // the first commit after all of it was copied and no reader uses it any more.
        connection.pragma_update(None, "journal_size_limit", LONGEST_LOG)?;
        // The tables name no function but those of SQLite's own; a file that does is not believed.
        connection.pragma_update(None, "trusted_schema", false)?;
        // Sorting writes no digest into a file of its own.
        connection.pragma_update(None, "temp_store", "MEMORY")?;
        Ok(())
    }
}

fn gone() -> Fault {
    Fault::refused(BackendErrorKind::Missing, "it was there before, and is gone")
}

fn judge(intent: Intent, found: Opened, why: &'static str) -> Result<(), Fault> {
    intent.judge(found).map_err(|kind| Fault::refused(kind, why))
}

/// Refuses an engine that can lose a commit.
pub(super) fn check_engine(version: i32) -> Result<(), Fault> {
    if version >= OLDEST_ENGINE {
        return Ok(());
    }
    Err(Fault::refused(BackendErrorKind::EngineUnfit, "SQLite 3.51.3 or newer is needed"))
}

/// Looks at a file that isn't locked yet, without leaving a trace in it or beside it; refuses
/// another application's file, one of a newer version, and what is no database.
///
/// It sees what lies in the file itself, not in a write-ahead log. The application id always lies
/// in the file; the version is looked at again under lock, and whether a store is on it.
pub(super) fn peek(files: &Files, intent: Intent) -> Result<(), Fault> {
    // The log first: a creation by another process begins it after the file.
    let has_log = files.has_log()?;
    if files.is_fresh()? || files.is_unfinished()? {
        if has_log {
            let why = "the log is not deleted unread";
            return Err(Fault::refused(BackendErrorKind::OrphanedLog, why));
        }
        return judge(intent, Opened::Created, "there is no file, an empty or an unfinished one");
    }
    expect_ours(files)
}

/// Refuses a file that is no database, or not ours.
pub(super) fn expect_ours(files: &Files) -> Result<(), Fault> {
    let identity = unlogged(files).and_then(|connection| Identity::read(&connection));
    match identity {
        Err(fault) if fault.is_no_database() && files.was_database()? => {
            let why = "page 1 of the file is damaged, which lists its tables, so that sqlite3 can't read \
                       it either; put back a backup (`A damaged page` in docs/operations.md)";
            Err(Fault::refused(BackendErrorKind::Corrupt, why))
        }
        identity => identity?.check(),
    }
}

/// A connection that sees the file without its log, and leaves no trace beside it.
pub(super) fn unlogged(files: &Files) -> Result<Connection, Fault> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_URI;
    let connection = Connection::open_with_flags(immutable(files.database()), flags)?;
    // Without this, a file into which the log was copied only in part would count as damaged; the
    // log makes it whole, once it is opened for good.
    connection.pragma_update(None, "writable_schema", true)?;
    Ok(connection)
}

/// The name under which SQLite opens a file without locks, log, journal or shared memory.
fn immutable(path: &Path) -> String {
    let mut name = String::from("file://");
    let bytes = path.as_os_str().as_encoded_bytes();
    if bytes.first() != Some(&b'/') {
        name.push('/');
    }
    for byte in bytes {
        match byte {
            b'/' | b'.' | b'-' | b'_' => name.push(char::from(*byte)),
            b'\\' if cfg!(windows) => name.push('/'),
            byte if byte.is_ascii_alphanumeric() => name.push(char::from(*byte)),
            byte => name.push_str(&format!("%{byte:02x}")),
        }
    }
    name + "?immutable=1"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_engines_are_refused() {
        assert!(check_engine(3_051_003).is_ok() && check_engine(3_052_000).is_ok());
        let error = check_engine(3_051_002).unwrap_err().during("open");
        assert_eq!(error.kind(), BackendErrorKind::EngineUnfit);
        assert!(check_engine(rusqlite::version_number()).is_ok());
    }

    #[test]
    fn names_of_files_are_escaped() {
        let name = immutable(Path::new("/tmp/a b?c#d%e:é.db"));
        assert_eq!(name, "file:///tmp/a%20b%3fc%23d%25e%3a%c3%a9.db?immutable=1");
    }
}
