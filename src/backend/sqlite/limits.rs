//! The limits of keys and owners, read beside a scan.

use rusqlite::{CachedStatement, Connection, ToSql};

use super::codec::RowReader;
use super::error::Fault;
use crate::key::{Field, Limits};

/// Reads the limits of rows whose column `limited` says that there are some. Asking for them with
/// every row makes the scan of a million keys longer, and most keys have none.
pub(super) struct Loader<'c> {
    statement: CachedStatement<'c>,
    table: &'static str,
}

impl<'c> Loader<'c> {
    /// Reads the limits in this table.
    pub(super) fn of(connection: &'c Connection, table: &'static str) -> Result<Self, Fault> {
        let mut columns = Vec::new();
        Limits::columns("limits", &mut columns);
        let sql = format!("SELECT {} FROM {table} WHERE id = ?", columns.join(", "));
        Ok(Self { statement: connection.prepare_cached(&sql)?, table })
    }

    /// Reads those of a row that is there.
    pub(super) fn load(&mut self, id: impl ToSql) -> Result<Limits, Fault> {
        let mut rows = self.statement.query([id])?;
        let damaged = Fault::damaged(self.table, "id");
        let row = rows.next()?.ok_or(damaged)?;
        RowReader::new(row, self.table).field("limits")
    }
}
