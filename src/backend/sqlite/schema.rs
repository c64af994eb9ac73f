//! Whose database it is, which version its tables have, and the steps from version to version.

use rusqlite::{Connection, TransactionBehavior};

use super::error::Fault;
use crate::backend::BackendErrorKind;

/// "Khsp": what tells a database of keyhasp from any other, in the file's metadata.
pub(super) const APPLICATION_ID: i32 = 0x4b68_7370;

/// The version of the tables that this code reads and writes.
pub(super) const VERSION: i32 = 1;

/// What leads to each version from the one before, in order; a database is taken through all that
/// it lacks, in one transaction. A step that was ever released is never changed.
const STEPS: &[(i32, &str)] = &[(1, include_str!("schema.sql"))];

/// What the file's metadata says.
pub(super) struct Identity {
    pub(super) application_id: i32,
    pub(super) version: i32,
}

impl Identity {
    pub(super) fn read(connection: &Connection) -> Result<Self, Fault> {
        let pragma = |sql| connection.query_row(sql, [], |row| row.get(0));
        Ok(Self {
            application_id: pragma("PRAGMA application_id")?,
            version: pragma("PRAGMA user_version")?,
        })
    }

    /// Refuses what is another application's, or newer than this code.
    pub(super) fn check(&self) -> Result<(), Fault> {
        if self.application_id != APPLICATION_ID {
            let why = "its application_id is another one";
            return Err(Fault::refused(BackendErrorKind::Foreign, why));
        }
        if self.version > VERSION { Err(newer()) } else { Ok(()) }
    }
}

/// Whether there is nothing in it, not even a page.
pub(super) fn is_empty(connection: &Connection) -> Result<bool, Fault> {
    let pages: i64 = connection.query_row("PRAGMA page_count", [], |row| row.get(0))?;
    Ok(pages == 0)
}

/// Says whose an empty database is. Two openers of a shared one may come here together.
pub(super) fn claim(connection: &mut Connection) -> Result<(), Fault> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let tables: i64 = tx.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if Identity::read(&tx)?.application_id == 0 && tables == 0 {
        tx.pragma_update(None, "application_id", APPLICATION_ID)?;
    }
    Ok(tx.commit()?)
}

/// Takes a database to [`VERSION`].
pub(super) fn migrate(connection: &mut Connection) -> Result<(), Fault> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let identity = Identity::read(&tx)?;
    identity.check()?;
    for (version, step) in STEPS.iter().filter(|(version, _)| *version > identity.version) {
        tx.execute_batch(step)?;
        tx.pragma_update(None, "user_version", version)?;
    }
    Ok(tx.commit()?)
}

/// Asked in each transaction: another process may have taken the database to another version.
pub(super) fn check_version(connection: &Connection) -> Result<(), Fault> {
    let mut statement = connection.prepare_cached("PRAGMA user_version")?;
    match statement.query_row([], |row| row.get::<_, i32>(0))? {
        VERSION => Ok(()),
        version if version > VERSION => Err(newer()),
        _ => Err(Fault::Damaged { table: "file metadata", column: "user_version" }),
    }
}

fn newer() -> Fault {
    Fault::refused(BackendErrorKind::Newer, "its user_version is greater than this one knows")
}
