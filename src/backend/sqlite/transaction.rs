//! Transactions, and what their ends mean.

use std::ops::Deref;

use rusqlite::{Connection, ffi};

use super::error::Fault;
use super::last_commit;
use super::schema;

/// Many rows are read in several transactions of about this long: a longer one keeps the
/// write-ahead log from starting again, and promises are made at 50 ms.
pub(super) const READ_BUDGET: std::time::Duration = std::time::Duration::from_millis(20);

/// A short read transaction: one state of the database, of the version that this code knows.
pub(super) struct Snapshot<'c>(&'c Connection);

impl<'c> Snapshot<'c> {
    pub(super) fn begin(connection: &'c Connection) -> Result<Self, Fault> {
        connection.prepare_cached("BEGIN")?.execute([])?;
        let snapshot = Self(connection);
        schema::check_version(connection)?;
        Ok(snapshot)
    }
}

impl Deref for Snapshot<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.0
    }
}

impl Drop for Snapshot<'_> {
    fn drop(&mut self) {
        end(self.0, "COMMIT");
    }
}

/// A write transaction: no other begins before it ends. Dropped, it is undone.
pub(super) struct WriteTransaction<'c> {
    connection: &'c Connection,
    /// The number of rows that the connection had ever changed before.
    changes_before: u64,
}

/// Why a commit failed.
pub(super) enum CommitFault {
    /// No space was left for a page of the commit. Nothing happened, if the last page, which alone
    /// makes it count, is not whole in the log.
    Full(Fault),
    /// Nothing happened.
    Nothing(Fault),
    /// It is unknown whether it took effect.
    Unknown(Fault),
}

impl<'c> WriteTransaction<'c> {
    pub(super) fn begin(connection: &'c Connection) -> Result<Self, Fault> {
        connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let tx = Self { connection, changes_before: connection.total_changes() };
        schema::check_version(connection)?;
        Ok(tx)
    }

    /// Makes it durable, under an id of its own if anything changed.
    pub(super) fn commit(self) -> Result<(), CommitFault> {
        if self.connection.total_changes() == self.changes_before {
            self.end()
        } else {
            self.commit_id()
        }
    }

    /// Makes it durable, under an id of its own also if nothing changed.
    pub(super) fn commit_id(self) -> Result<(), CommitFault> {
        last_commit::renew_id(self.connection).map_err(CommitFault::Nothing)?;
        self.end()
    }

    fn end(self) -> Result<(), CommitFault> {
        let commit = || Ok(self.connection.prepare_cached("COMMIT")?.execute([])?);
        match commit() {
            Ok(_) => Ok(()),
            Err(fault) => Err(match fault {
                Fault::Engine(code) if code.primary() == ffi::SQLITE_FULL => {
                    CommitFault::Full(fault)
                }
                // Others held it.
                fault if fault.is_busy() => CommitFault::Nothing(fault),
                // The last page may have been written, and may be found after a crash.
                fault => CommitFault::Unknown(fault),
            }),
        }
    }
}

impl CommitFault {
    pub(super) fn into_fault(self) -> Fault {
        match self {
            Self::Full(fault) | Self::Nothing(fault) | Self::Unknown(fault) => fault,
        }
    }
}

impl Deref for WriteTransaction<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection
    }
}

impl Drop for WriteTransaction<'_> {
    fn drop(&mut self) {
        end(self.connection, "ROLLBACK");
    }
}

/// Ends a transaction, unless SQLite has ended it by itself. One that can't be ended shows in
/// `is_autocommit`; its connection is given up then.
fn end(connection: &Connection, how: &str) {
    if !connection.is_autocommit() {
        let _ = connection.prepare_cached(how).and_then(|mut statement| statement.execute([]));
    }
}
