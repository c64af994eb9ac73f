//! Quarantine entries: table `quarantine`.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use rusqlite::{Connection, Row};

use super::codec::{Binder, RowReader, insert_sql};
use super::error::Fault;
use super::{checksums, owners};
use crate::backend::{DamagedRecord, quarantined};
use crate::id::KeyId;
use crate::key::{Quarantine, Source};

const TABLE: &str = "quarantine";

/// The columns beside the id, in the order in which they are read and written.
static COLUMNS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let mut columns = Quarantine::columns();
    columns.push("checksum".into());
    columns
});

static SELECT: LazyLock<String> =
    LazyLock::new(|| format!("SELECT id, {} FROM quarantine", COLUMNS.join(", ")));
static LOAD: LazyLock<String> = LazyLock::new(|| format!("{} WHERE id = ?", *SELECT));
static PUT: LazyLock<String> =
    LazyLock::new(|| insert_sql(TABLE, &COLUMNS, "id").replace("INSERT", "INSERT OR REPLACE"));

/// The entries by their keys. `None` stands for a damaged entry, whose key is under quarantine all
/// the same.
pub(super) type Entries = BTreeMap<KeyId, Option<Box<Quarantine>>>;

/// Reads all.
pub(super) fn all(connection: &Connection) -> Result<Entries, Fault> {
    let mut statement = connection.prepare_cached(&SELECT)?;
    let mut rows = statement.query([])?;
    let mut entries = Entries::new();
    while let Some(row) = rows.next()? {
        // An entry without a readable id lies over no key.
        if let Ok(id) = RowReader::new(row, TABLE).field("id") {
            entries.insert(id, whole(decode(row))?.map(Box::new));
        }
    }
    Ok(entries)
}

/// Reads the entry of a key. A damaged one counts as none, so that another can replace it.
pub(super) fn load(connection: &Connection, id: KeyId) -> Result<Option<Quarantine>, Fault> {
    let mut statement = connection.prepare_cached(&LOAD)?;
    let mut rows = statement.query([id.to_bytes()])?;
    match rows.next()? {
        Some(row) => whole(decode(row)),
        None => Ok(None),
    }
}

fn whole(entry: Result<Quarantine, Fault>) -> Result<Option<Quarantine>, Fault> {
    match entry {
        Ok(entry) => Ok(Some(entry)),
        Err(Fault::Damaged(_)) => Ok(None),
        Err(fault) => Err(fault),
    }
}

/// Refuses a key that is under quarantine.
pub(super) fn expect_none(connection: &Connection, id: KeyId) -> Result<(), Fault> {
    let mut statement = connection.prepare_cached("SELECT 1 FROM quarantine WHERE id = ?")?;
    if statement.exists([id.to_bytes()])? { Err(Fault::Damaged(quarantined(id))) } else { Ok(()) }
}

/// Writes an entry, in place of the one before it.
pub(super) fn put(connection: &Connection, entry: &Quarantine) -> Result<(), Fault> {
    let mut statement = connection.prepare_cached(&PUT)?;
    let mut binder = Binder::new(&mut statement);
    entry.put_fields(&mut binder)?;
    binder.put(checksums::of_quarantine(entry))?.put_field(&entry.id)?.execute()?;
    Ok(())
}

/// Removes keys and their entries. The indexes are made again first: one that doesn't fit a damaged
/// row keeps SQLite from deleting it.
pub(super) fn remove_keys(connection: &Connection, ids: &[KeyId]) -> Result<(), Fault> {
    connection.execute_batch("REINDEX keys")?;
    for sql in [
        "DELETE FROM keys WHERE id = ?",
        "DELETE FROM previous_tokens WHERE key_id = ?",
        "DELETE FROM quarantine WHERE id = ?",
    ] {
        let mut statement = connection.prepare_cached(sql)?;
        ids.iter().try_for_each(|id| statement.execute([id.to_bytes()]).map(drop))?;
    }
    // A row may have named another owner than the one that counts it.
    owners::count_again(connection)
}

fn decode(row: &Row<'_>) -> Result<Quarantine, Fault> {
    let mut row = RowReader::new(row, TABLE);
    let id = row.field("id")?;
    let entry = Quarantine::get_fields(id, &mut row)
        .map_err(|fault| fault.of(TABLE, DamagedRecord::Key(id)))?;
    let checksum: u32 = row.field("checksum")?;
    if checksums::of_quarantine(&entry) == checksum {
        Ok(entry)
    } else {
        Err(row.damaged("checksum"))
    }
}
