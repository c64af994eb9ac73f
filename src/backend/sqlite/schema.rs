//! The identity of a database, the version of its tables, and the steps from version to version.

use rusqlite::{Connection, TransactionBehavior};

use super::error::Fault;
use super::{free_pages, last_commit};
use crate::backend::BackendErrorKind;
use crate::backend::format::{FORMAT, OLDEST_READ};

/// "Khsp": the application id in the file's header, by which a database of keyhasp is recognised.
pub(super) const APPLICATION_ID: i32 = 0x4b68_7370;

/// The version of the tables that this code reads and writes.
pub(super) const VERSION: i32 = FORMAT.cast_signed();

/// The steps to each version from the one before, in order, the first from an empty file. A
/// database is taken through all that it lacks, in one transaction. A step that was released is
/// never changed.
const STEPS: &[(i32, &str)] =
    &[(OLDEST_READ.cast_signed(), include_str!("schema.sql")), (5, include_str!("schema_5.sql"))];

/// The identity in the file's header.
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

    /// Refuses a database of another application, and a version that this code doesn't read. A
    /// database without tables has version 0.
    pub(super) fn check(&self) -> Result<(), Fault> {
        if self.application_id != APPLICATION_ID {
            let why = "its application_id is another one";
            return Err(Fault::refused(BackendErrorKind::Foreign, why));
        }
        match self.version {
            version if version > VERSION => Err(newer()),
            version if version != 0 && version < OLDEST_READ.cast_signed() => {
                let why = "its user_version is that of a format that was never released";
                Err(Fault::refused(BackendErrorKind::Unreleased, why))
            }
            _ => Ok(()),
        }
    }
}

/// Returns whether there is nothing in it, not even a page.
pub(super) fn is_empty(connection: &Connection) -> Result<bool, Fault> {
    let pages: i64 = connection.query_row("PRAGMA page_count", [], |row| row.get(0))?;
    Ok(pages == 0)
}

/// Marks an empty database as one of keyhasp. Two openers of a shared one may come here together: then
/// one of them may find it busy at once, whatever its patience.
pub(super) fn claim(connection: &mut Connection) -> Result<(), Fault> {
    // Not begun as a writing one: that would make the file before the first statement.
    let tx = connection.transaction()?;
    free_pages::prepare(&tx)?;
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
    // Before the steps: the log shows then on which `schema_version` the commit was made.
    if identity.version != 0 {
        last_commit::renew_id(&tx)?;
    }
    take_steps(&tx, identity.version, STEPS)?;
    if identity.version == 0 {
        last_commit::renew_id(&tx)?;
    }
    Ok(tx.commit()?)
}

/// Takes the steps to the versions after one.
fn take_steps(connection: &Connection, after: i32, steps: &[(i32, &str)]) -> Result<(), Fault> {
    for (version, step) in steps.iter().filter(|(version, _)| *version > after) {
        connection.execute_batch(step)?;
        connection.pragma_update(None, "user_version", version)?;
    }
    Ok(())
}

/// Checks the version at the start of each transaction: another process may have taken the
/// database to another one.
pub(super) fn check_version(connection: &Connection) -> Result<(), Fault> {
    let mut statement = connection.prepare_cached("PRAGMA user_version")?;
    match statement.query_row([], |row| row.get::<_, i32>(0))? {
        VERSION => Ok(()),
        version if version > VERSION => Err(newer()),
        version if version >= OLDEST_READ.cast_signed() => {
            let why =
                "its user_version is an older one, which only an open that can write takes along";
            Err(Fault::refused(BackendErrorKind::ReadOnly, why))
        }
        _ => Err(Fault::damaged("file metadata", "user_version")),
    }
}

fn newer() -> Fault {
    Fault::refused(BackendErrorKind::Newer, "its user_version is greater than this one knows")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_rise_to_the_version_of_this_code() {
        let versions: Vec<i32> = STEPS.iter().map(|(version, _)| *version).collect();
        assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
        assert_eq!(versions.first(), Some(&OLDEST_READ.cast_signed()));
        assert_eq!(versions.last(), Some(&VERSION));
    }

    #[test]
    fn a_database_is_taken_through_the_steps_it_lacks() {
        let steps = [
            (7, "CREATE TABLE first (a)"),
            (9, "CREATE TABLE second (a); INSERT INTO second SELECT a FROM first"),
        ];
        let connection = Connection::open_in_memory().unwrap();
        take_steps(&connection, 0, &steps[..1]).unwrap();
        connection.execute("INSERT INTO first VALUES (5)", []).unwrap();
        // The first step, taken again, would find its table there.
        take_steps(&connection, 7, &steps).unwrap();
        take_steps(&connection, 9, &steps).unwrap();
        let number = |sql| connection.query_row(sql, [], |row| row.get::<_, i32>(0)).unwrap();
        assert_eq!(number("SELECT sum(a) FROM second"), 5);
        assert_eq!(number("PRAGMA user_version"), 9);
    }
}
