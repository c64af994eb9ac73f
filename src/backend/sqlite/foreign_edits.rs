//! The edits of other programs, noted by triggers.
//!
//! The connections of keyhasp switch triggers off, so its own writes cost nothing more. Those of a
//! `sqlite3` shell or a script have them.

use std::fmt;

use rusqlite::{Connection, OptionalExtension};

use super::error::Fault;
use crate::clock::Timestamp;

/// An edit of a row by another program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ForeignEdit {
    pub(super) table: String,
    /// The row: the id of a key or a request in hexadecimal digits, or an owner's id, or a number.
    pub(super) row: String,
    pub(super) at: Timestamp,
}

impl fmt::Display for ForeignEdit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the row {} of the table {} at {}", self.row, self.table, self.at)
    }
}

/// Returns the number of the last edit; 0 before the first. Numbers only grow.
pub(super) fn last_number(connection: &Connection) -> Result<u64, Fault> {
    let sql = "SELECT coalesce(max(number), 0) FROM foreign_edits";
    let last = connection.prepare_cached(sql)?.query_row([], |row| row.get::<_, i64>(0))?;
    Ok(last.cast_unsigned())
}

/// Reads the last edit.
pub(super) fn last(connection: &Connection) -> Result<Option<ForeignEdit>, Fault> {
    let sql = "SELECT edited, row, at FROM foreign_edits ORDER BY number DESC LIMIT 1";
    let read = connection.query_row(sql, [], read);
    Ok(read.optional()?)
}

fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<ForeignEdit> {
    let at = u64::try_from(row.get::<_, i64>(2)?).unwrap_or_default();
    Ok(ForeignEdit { table: row.get(0)?, row: row.get(1)?, at: Timestamp::clamped_millis(at) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table that is added later needs its triggers too.
    #[test]
    fn each_table_has_its_triggers() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(include_str!("schema.sql")).unwrap();
        let sql = "SELECT t.name, (SELECT count(*) FROM sqlite_schema e WHERE e.type = 'trigger'
                     AND e.tbl_name = t.name AND instr(e.sql, quote(t.name)) > 0)
                   FROM sqlite_schema t
                   WHERE t.type = 'table' AND t.name NOT IN ('foreign_edits', 'last_commit')";
        let mut statement = connection.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        let tables: Vec<(String, i64)> = rows.collect::<Result<_, _>>().unwrap();
        assert!(tables.len() > 10);
        for (table, triggers) in tables {
            assert_eq!(triggers, 3, "{table}");
        }
    }

    #[test]
    fn edits_are_kept_up_to_a_number_and_the_newest_is_read() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(include_str!("schema.sql")).unwrap();
        assert_eq!((last_number(&connection).unwrap(), last(&connection).unwrap()), (0, None));
        let insert = "INSERT INTO numeric_ids VALUES (?, zeroblob(16))";
        (1..=1_100).for_each(|n| _ = connection.execute(insert, [n]).unwrap());
        assert_eq!(last_number(&connection).unwrap(), 1_100);
        let edit = last(&connection).unwrap().unwrap();
        assert_eq!((&edit.table[..], &edit.row[..]), ("numeric_ids", "1100"));
        assert!(edit.at > Timestamp::MIN);
        let count = "SELECT count(*) FROM foreign_edits";
        assert_eq!(connection.query_row(count, [], |row| row.get::<_, i64>(0)), Ok(1_000));
    }
}
