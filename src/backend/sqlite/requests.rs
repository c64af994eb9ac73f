//! Requests that took effect: table `requests`.

use std::sync::LazyLock;

use rusqlite::{Connection, Row};

use super::checksums;
use super::codec::{Binder, RowReader, insert_sql};
use super::error::Fault;
use crate::clock::Timestamp;
use crate::key::{RequestId, RequestRecord, Source};

const TABLE: &str = "requests";

/// The columns beside the id, in the order in which they are read and written.
static COLUMNS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let mut columns = RequestRecord::columns();
    columns.push("checksum".into());
    columns
});

static SELECT: LazyLock<String> =
    LazyLock::new(|| format!("SELECT id, {} FROM requests ", COLUMNS.join(", ")));
static LOAD: LazyLock<String> = LazyLock::new(|| format!("{}WHERE id = ?", *SELECT));
pub(super) static BEFORE: LazyLock<String> = LazyLock::new(|| {
    format!("{}INDEXED BY requests_by_time WHERE at < ? ORDER BY at LIMIT ?", *SELECT)
});
static PUT: LazyLock<String> =
    LazyLock::new(|| insert_sql(TABLE, &COLUMNS, "id").replace("INSERT", "INSERT OR REPLACE"));

/// Reads one.
pub(super) fn load(
    connection: &Connection,
    id: &RequestId,
) -> Result<Option<RequestRecord>, Fault> {
    let mut statement = connection.prepare_cached(&LOAD)?;
    let mut rows = statement.query([id.to_bytes()])?;
    rows.next()?.map(decode).transpose()
}

/// Reads up to `limit` that were noted before a moment, except damaged ones.
pub(super) fn before(
    connection: &Connection,
    before: Timestamp,
    limit: usize,
) -> Result<Vec<RequestRecord>, Fault> {
    let mut statement = connection.prepare_cached(&BEFORE)?;
    let mut binder = Binder::new(&mut statement);
    binder.put_field(&before)?.put(i64::try_from(limit).unwrap_or(i64::MAX))?;
    let mut rows = binder.query();
    let mut records = Vec::new();
    while let Some(row) = rows.next()? {
        match decode(row) {
            Err(Fault::Damaged(_)) => {}
            record => records.push(record?),
        }
    }
    Ok(records)
}

/// Shows all, one after the other.
pub(super) fn each(
    connection: &Connection,
    visit: &mut dyn FnMut(Result<RequestRecord, Fault>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let mut statement = connection.prepare_cached(&SELECT)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        visit(decode(row))?;
    }
    Ok(())
}

/// Creates, replaces or removes one.
pub(super) fn put(
    connection: &Connection,
    before: Option<&RequestRecord>,
    after: Option<&RequestRecord>,
) -> Result<(), Fault> {
    match (before, after) {
        (_, Some(record)) => {
            let mut statement = connection.prepare_cached(&PUT)?;
            let mut binder = Binder::new(&mut statement);
            record.put_fields(&mut binder)?;
            binder.put(checksums::of_request(record))?.put(record.id.to_bytes())?.execute()?;
        }
        (Some(record), None) => {
            connection
                .prepare_cached("DELETE FROM requests WHERE id = ?")?
                .execute([record.id.to_bytes()])?;
        }
        (None, None) => {}
    }
    Ok(())
}

fn decode(row: &Row<'_>) -> Result<RequestRecord, Fault> {
    let mut row = RowReader::new(row, TABLE);
    let id = row.bytes_as("id", RequestId::from_bytes)?;
    let record = RequestRecord::get_fields(id, &mut row)?;
    let checksum: u32 = row.field("checksum")?;
    if checksums::of_request(&record) == checksum {
        Ok(record)
    } else {
        Err(row.damaged("checksum"))
    }
}
