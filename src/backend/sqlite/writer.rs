//! The one connection that writes, and what holds after a commit went wrong.

use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::connect::{Connector, Patience};
use super::error::Fault;
use super::file_watch::FileWatch;
use super::files::Files;
use super::readers::Readers;
use super::record_watch::RecordWatch;
use super::schema;
use super::transaction::{CommitFault, WriteTransaction};
use crate::backend::file_lock::FileLock;
use crate::backend::open_file::{Difference, Role, Strange};
use crate::backend::{BackendError, BackendErrorKind, Sharing};

/// The lengths of the log's header and of a frame: its own header, and a page.
const LOG_HEADER: u64 = 32;
const FRAME: u64 = 24 + 4096;

/// Writes, one transaction at a time.
#[derive(Debug)]
pub(super) struct Writer {
    /// Locked, so that one thread at a time has the connection.
    state: Mutex<State>,
    pub(super) watch: FileWatch,
    pub(super) records: RecordWatch,
}

#[derive(Debug)]
struct State {
    /// None after it was given up; the next write makes another.
    connection: Option<Connection>,
    access: Access,
    /// A commit's outcome is unknown: nothing is written before `recover`.
    is_suspect: bool,
}

#[derive(Debug)]
enum Access {
    Write {
        /// Held on `FILE.lock` until this is dropped.
        lock: FileLock,
    },
    ReadOnly,
    Closed,
}

impl Writer {
    /// Makes the writer with its connection, which has read already, so that the log is there.
    /// `None` where there was no room for one.
    pub(super) fn new(
        connection: Option<Connection>,
        lock: FileLock,
        records: RecordWatch,
        files: &Files,
    ) -> Result<Self, Fault> {
        let watch = FileWatch::new(files, Some(&lock))?;
        if connection.is_some() {
            watch.resume(files)?;
        }
        let access = Access::Write { lock };
        let state = State { connection, access, is_suspect: false };
        Ok(Self { state: Mutex::new(state), watch, records })
    }

    /// Makes the writer of a database that is only looked at: it refuses every write. Log and lock
    /// are those of the processes that write, and come and go with them.
    pub(super) fn read_only(records: RecordWatch, files: &Files) -> Result<Self, Fault> {
        let watch = FileWatch::new(files, None)?;
        let state = State { connection: None, access: Access::ReadOnly, is_suspect: false };
        Ok(Self { state: Mutex::new(state), watch, records })
    }

    /// Does `work` in one transaction, and makes it durable unless it fails.
    pub(super) fn write<T>(
        &self,
        connector: &Connector,
        readers: &Readers,
        (operation, patience): (&'static str, Patience),
        work: impl FnOnce(&Connection) -> Result<T, BackendError>,
    ) -> Result<T, BackendError> {
        let during = |fault: Fault| fault.during(operation);
        let mut state = self.lock();
        state.check_open().map_err(during)?;
        if let Access::ReadOnly = state.access {
            let why = "it is open to look only; open it with Sqlite::open to change it";
            return Err(during(Fault::refused(BackendErrorKind::ReadOnly, why)));
        }
        if state.is_suspect {
            let why = "recover first: the outcome of a previous commit is not known";
            return Err(during(Fault::refused(BackendErrorKind::OutcomeUnknown, why)));
        }
        self.watch.check().map_err(|strange| during(strange.into()))?;
        let connection = match state.connection.take() {
            Some(connection) => connection,
            None => {
                let connection = if connector.lacks_room() {
                    find_room(connector, readers)
                } else {
                    connector.writer()
                };
                let connection = connection.map_err(during)?;
                self.watch.resume(&connector.files).map_err(during)?;
                self.records.note_new_connection();
                connection
            }
        };
        let result = match connector.set_patience(&connection, patience) {
            Ok(()) => self.transact(&connection, &connector.files, operation, work),
            Err(fault) => Err((during(fault), false)),
        };
        match &result {
            Ok(_) => {
                self.records.note_committed();
                if let Access::Write { lock } = &state.access {
                    lock.note_durable(self.records.last_event());
                }
            }
            Err((_, is_unknown)) if *is_unknown => {}
            Err(_) => self.records.note_undone(),
        }
        // A connection whose transaction couldn't be ended isn't used again. If it is the last one,
        // closing removes the log.
        if !connection.is_autocommit() {
            self.watch.suspend();
        }
        state.connection = Some(connection).filter(Connection::is_autocommit);
        result.map_err(|(error, is_unknown)| {
            state.is_suspect |= is_unknown;
            error
        })
    }

    /// Writes in one transaction; on failure also returns whether its outcome is unknown.
    fn transact<T>(
        &self,
        connection: &Connection,
        files: &Files,
        operation: &'static str,
        work: impl FnOnce(&Connection) -> Result<T, BackendError>,
    ) -> Result<T, (BackendError, bool)> {
        let nothing = |fault: Fault| (fault.during(operation), false);
        let unknown = |fault: Fault| (fault.during(operation).of_unknown_outcome(), true);
        let tx = WriteTransaction::begin(connection).map_err(nothing)?;
        self.records.check_write(&tx).map_err(nothing)?;
        let log = files.log_length().map_err(nothing)?;
        let value = work(&tx).map_err(|error| (error, false))?;
        match tx.commit() {
            // Again: a file may have gone during the commit, and what is in it is not kept then.
            Ok(()) => {
                let kept = self.watch.check_committed();
                kept.map(|()| value).map_err(|strange| unknown(strange.into()))
            }
            Err(CommitFault::Full(fault)) if did_nothing(connection, files, log) => {
                Err(nothing(fault))
            }
            Err(CommitFault::Nothing(fault)) => Err(nothing(fault)),
            Err(CommitFault::Full(fault) | CommitFault::Unknown(fault)) => Err(unknown(fault)),
        }
    }

    /// Lets go of all connections and begins again, from what is then on stable storage.
    pub(super) fn recover(
        &self,
        connector: &Connector,
        readers: &Readers,
        sharing: Sharing,
    ) -> Result<(), Fault> {
        let mut state = self.lock();
        state.check_open()?;
        if let Access::ReadOnly = state.access {
            return Ok(());
        }
        self.watch.check()?;
        let held = readers.hold();
        state.is_suspect = true;
        self.watch.suspend();
        // If it is the last one, closing copies the log into the database and removes it.
        drop(state.connection.take());
        let connection = connector.noting_room(sharing, || {
            if sharing == Sharing::Exclusive && !connector.renew_log()? {
                return Err(Fault::refused(BackendErrorKind::TimedOut, "another program holds it"));
            }
            connector.writer()
        })?;
        if !checkpoint(&connection)? {
            let why = "others hold the write-ahead log";
            return Err(Fault::refused(BackendErrorKind::TimedOut, why));
        }
        begin_anew(&connection)?;
        self.watch.resume(&connector.files)?;
        self.watch.check()?;
        self.records.note_new_connection();
        state.connection = Some(connection);
        state.is_suspect = false;
        drop(held);
        Ok(())
    }

    /// Lets go of the connection. The next write makes another.
    pub(super) fn give_up_connection(&self) {
        let mut state = self.lock();
        // If it is the last one, closing removes the log.
        self.watch.suspend();
        state.connection = None;
    }

    /// Refuses once it is closed.
    pub(super) fn check_open(&self) -> Result<(), Fault> {
        self.lock().check_open()
    }

    /// Flushes and lets go of all connections and of the lock, in this order.
    pub(super) fn close(&self, connector: &Connector, readers: &Readers) -> Result<(), Fault> {
        let mut state = self.lock();
        let access = mem::replace(&mut state.access, Access::Closed);
        if let Access::Closed = access {
            return Ok(());
        }
        let left_alone = self.watch.check().err().filter(|strange| !is_rescued(strange));
        self.watch.suspend();
        readers.close();
        let flushed = match (state.connection.take(), left_alone) {
            (Some(connection), Some(strange)) => {
                // Closing would copy the log and remove it by name. It may be another process's.
                connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
                connection.close().map_err(|(_, error)| Fault::from(error))?;
                Err(strange.into())
            }
            (Some(connection), None) => {
                // If other processes hold the log it stays; its content is durable there.
                let patient = connector.set_patience(&connection, Patience::Usual);
                let flushed = patient.and_then(|()| checkpoint(&connection));
                connection.close().map_err(|(_, error)| error.into()).and(flushed)
            }
            (None, _) => Ok(false),
        };
        // The lock last.
        drop(access);
        if state.is_suspect {
            let why = "closed before recovery told what became of a commit";
            return Err(Fault::refused(BackendErrorKind::OutcomeUnknown, why));
        }
        flushed.map(|_| ())
    }

    /// Lets go of the connection without closing it, in a child whose parent has it too: closing
    /// would copy the log and remove it.
    pub(super) fn forget(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        mem::forget(state.connection.take());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn check_open(&self) -> Result<(), Fault> {
        if let Access::Closed = self.access { Err(Fault::closed()) } else { Ok(()) }
    }
}

/// Makes the connection for which there was no room before.
fn find_room(connector: &Connector, readers: &Readers) -> Result<Connection, Fault> {
    // First, so that no reader is disturbed in vain.
    connector.files.expect_room()?;
    // The reader that does without an index excludes this connection.
    let _held = readers.hold();
    connector.noting_room(Sharing::Exclusive, || {
        connector.renew_log()?;
        connector.writer()
    })
}

/// Returns whether closing saves what such a file would lose: the log was removed, and this process
/// alone still has it. Copied into the database, its content is there again.
fn is_rescued(strange: &Strange) -> bool {
    (strange.role, strange.difference) == (Role::Log, Difference::Missing)
}

/// Whether a commit for which no space was left surely did nothing.
///
/// If the log had begun again, the commit went over old pages. If the missing part of its last page
/// was standing there already, that page is whole, and a crash would bring the commit back.
fn did_nothing(connection: &Connection, files: &Files, log_before: u64) -> bool {
    // The missing part would have been the end of the file.
    let has_grown = files.log_length().is_ok_and(|length| length > log_before);
    // Its first page is written over. Where that takes space, there is none, but then it has grown.
    begin_anew(connection).is_ok() || has_grown || has_no_further_frame(connection, files)
}

/// Whether the log ends before a further frame could be whole: the commit began at its end.
fn has_no_further_frame(connection: &Connection, files: &Files) -> bool {
    let frames =
        connection.query_row("PRAGMA wal_checkpoint(NOOP)", [], |row| row.get::<_, i64>(1));
    let (Ok(frames), Ok(length)) = (frames, files.log_length()) else { return false };
    u64::try_from(frames).is_ok_and(|frames| length < LOG_HEADER + (frames + 1) * FRAME)
}

/// Copies the whole write-ahead log into the database, syncs that, and empties the log; false if
/// others didn't let it finish.
fn checkpoint(connection: &Connection) -> Result<bool, Fault> {
    let (busy, in_log, copied) =
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
        })?;
    Ok(busy == 0 && in_log == copied)
}

/// Begins the log again by a commit that changes nothing. Once that is durable, frames that the log
/// held before, and a power cut might bring back, belong to no log any more.
fn begin_anew(connection: &Connection) -> Result<(), Fault> {
    let tx = WriteTransaction::begin(connection)?;
    // Also where the id isn't written.
    tx.pragma_update(None, "user_version", schema::VERSION)?;
    tx.commit_id().map_err(CommitFault::into_fault)
}

#[cfg(test)]
impl Writer {
    /// Acts as if a commit had ended in the unknown.
    pub(super) fn suspect(&self) {
        self.lock().is_suspect = true;
    }

    /// Shows the connection that writes.
    pub(super) fn with_connection<T>(&self, look: impl FnOnce(&Connection) -> T) -> T {
        look(self.lock().connection.as_ref().unwrap())
    }
}
