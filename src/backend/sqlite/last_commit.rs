//! The ids of the last commit and of the one before it: table `last_commit`.

use rusqlite::{Connection, OptionalExtension};

use super::error::Fault;
use crate::backend::BackendErrorKind;

/// Gives the transaction under way an id of its own. Once in each: the id before is that of a commit.
pub(super) fn renew_id(connection: &Connection) -> Result<(), Fault> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO last_commit (one, id, previous, schema)
         SELECT 1, randomblob(16), zeroblob(16), schema_version FROM pragma_schema_version WHERE true
         ON CONFLICT (one) DO UPDATE
         SET previous = id, id = excluded.id, schema = excluded.schema",
    )?;
    Ok(statement.execute([]).map(drop)?)
}

/// Lets a connection commit although the page of the ids is damaged: it keeps its ids for itself.
///
/// That a log isn't judged does less harm than that no key is revoked. A transaction that only reads
/// a damaged page can't be committed any more, so it is looked at before.
pub(super) fn spare_damaged_page(connection: &Connection) -> Result<(), Fault> {
    let row = connection.query_row("SELECT id FROM last_commit", [], |_| Ok(()));
    match row.optional().map_err(Fault::from) {
        Err(fault) if fault.kind() == BackendErrorKind::Corrupt => {
            // Goes before the table in the file, which has the same name.
            let sql =
                "CREATE TEMP TABLE last_commit (one INTEGER PRIMARY KEY, id, previous, schema)";
            Ok(connection.execute_batch(sql)?)
        }
        looked_at => looked_at.map(drop),
    }
}
