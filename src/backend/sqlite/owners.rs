//! Owners: table `owners`.

use std::sync::LazyLock;

use rusqlite::{Connection, Row};

use super::checksums;
use super::codec::{Binder, RowReader, insert_sql, update_sql};
use super::error::{Fault, or_damage};
use crate::backend::{Damage, DamagedRecord, KeyCounts};
use crate::id::OwnerId;
use crate::key::{OwnerRecord, Source};

const TABLE: &str = "owners";

/// The fewest bytes of a key's row. It bounds the count of keys that the owners' counters give.
const LEAST_BYTES_OF_KEY: u64 = 128;

/// The columns beside the id, in the order in which they are read and written: the fields of the
/// record, and its checksums. The counts of keys are written apart.
static COLUMNS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let mut columns = OwnerRecord::columns();
    columns.extend(["state_checksum", "record_checksum"].map(String::from));
    columns
});

/// The beginning of a query whose rows [`decode`] reads.
pub(super) static SELECT: LazyLock<String> =
    LazyLock::new(|| format!("SELECT id, {} FROM owners ", COLUMNS.join(", ")));

static LOAD: LazyLock<String> = LazyLock::new(|| format!("{}WHERE id = ?", *SELECT));
static INSERT: LazyLock<String> = LazyLock::new(|| insert_sql(TABLE, &COLUMNS, "id"));
static UPDATE: LazyLock<String> = LazyLock::new(|| update_sql(TABLE, &COLUMNS, "id"));

/// Reads an owner.
pub(super) fn load(connection: &Connection, id: &OwnerId) -> Result<Option<OwnerRecord>, Fault> {
    let mut statement = connection.prepare_cached(&LOAD)?;
    let mut rows = statement.query([id.as_str()])?;
    let owner = rows.next().map_err(Fault::from).and_then(|row| row.map(decode).transpose());
    owner.map_err(|fault| fault.of(TABLE, DamagedRecord::Owner(*id)))
}

/// Returns the number of keys by the owners' counters, but no more than a file of this size can
/// hold.
pub(super) fn keys_of_all(connection: &Connection) -> Result<u64, Fault> {
    let pragma = |sql| connection.query_row(sql, [], |row| row.get::<_, u32>(0)).map(u64::from);
    let bytes = pragma("PRAGMA page_count")? * pragma("PRAGMA page_size")?;
    let mut statement = connection.prepare_cached("SELECT total(keys_all) FROM owners")?;
    let counted: f64 = statement.query_row([], |row| row.get(0))?;
    // Negative becomes 0, and too great the greatest there is.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    Ok((counted as u64).min(bytes / LEAST_BYTES_OF_KEY))
}

/// Reads all owners, one after the other, and shows the damage of those that aren't whole. A page that
/// can't be read is an error, as for [`keys::each`](super::keys::each).
pub(super) fn each(
    connection: &Connection,
    visit: &mut dyn FnMut(Result<OwnerRecord, Damage>),
) -> Result<(), Fault> {
    let mut statement = connection.prepare_cached(&SELECT)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        // The id stands first, and is read as far as it can be.
        let id = RowReader::new(row, TABLE).field("id");
        visit(or_damage(decode(row), id.map_or(DamagedRecord::Unknown, DamagedRecord::Owner))?);
    }
    Ok(())
}

/// Decodes a row of [`SELECT`].
pub(super) fn decode(row: &Row<'_>) -> Result<OwnerRecord, Fault> {
    let mut row = RowReader::new(row, TABLE);
    let id = row.field("id")?;
    let owner = OwnerRecord::get_fields(id, &mut row)?;
    let stored = (row.field("state_checksum")?, row.field("record_checksum")?);
    if checksums_of(&owner) == stored { Ok(owner) } else { Err(row.damaged("record_checksum")) }
}

/// Computes the checksums of a record.
fn checksums_of(owner: &OwnerRecord) -> (u32, u32) {
    (checksums::of_scanned_owner(&owner.into()), checksums::of_owner(owner))
}

/// Creates an owner without keys.
pub(super) fn insert(connection: &Connection, owner: &OwnerRecord) -> Result<(), Fault> {
    write(connection, &INSERT, owner)
}

/// Replaces an owner. The counts of its keys stay.
pub(super) fn update(connection: &Connection, owner: &OwnerRecord) -> Result<(), Fault> {
    write(connection, &UPDATE, owner)
}

fn write(connection: &Connection, sql: &str, owner: &OwnerRecord) -> Result<(), Fault> {
    let (state_checksum, record_checksum) = checksums_of(owner);
    let mut statement = connection.prepare_cached(sql)?;
    let mut binder = Binder::new(&mut statement);
    owner.put_fields(&mut binder)?;
    binder.put(state_checksum)?.put(record_checksum)?.put_field(&owner.id)?;
    one(binder.execute()?)
}

/// Removes an owner.
pub(super) fn delete(connection: &Connection, id: &OwnerId) -> Result<(), Fault> {
    one(connection.prepare_cached("DELETE FROM owners WHERE id = ?")?.execute([id.as_str()])?)
}

/// Reads the counts of an owner's keys; none if it doesn't exist.
pub(super) fn key_counts(connection: &Connection, id: &OwnerId) -> Result<KeyCounts, Fault> {
    let mut statement = connection.prepare_cached(
        "SELECT keys_all, keys_unrevoked, keys_live, keys_live_standard FROM owners WHERE id = ?",
    )?;
    let mut rows = statement.query([id.as_str()])?;
    let Some(row) = rows.next()? else { return Ok(KeyCounts::default()) };
    let mut row = RowReader::new(row, TABLE);
    Ok(KeyCounts {
        all: row.field("keys_all")?,
        unrevoked: row.field("keys_unrevoked")?,
        live: row.field("keys_live")?,
        live_standard: row.field("keys_live_standard")?,
    })
}

/// Counts one key as it was and as it is now.
pub(super) fn count_key(
    connection: &Connection,
    id: &OwnerId,
    was: KeyCounts,
    is: KeyCounts,
) -> Result<(), Fault> {
    if was == is {
        return Ok(());
    }
    let delta = |was: u64, is: u64| is.cast_signed() - was.cast_signed();
    let mut statement = connection.prepare_cached(
        "UPDATE owners SET keys_all = keys_all + ?, keys_unrevoked = keys_unrevoked + ?,
         keys_live = keys_live + ?, keys_live_standard = keys_live_standard + ? WHERE id = ?",
    )?;
    let written = Binder::new(&mut statement)
        .put(delta(was.all, is.all))?
        .put(delta(was.unrevoked, is.unrevoked))?
        .put(delta(was.live, is.live))?
        .put(delta(was.live_standard, is.live_standard))?
        .put(id.as_str())?
        .execute()?;
    one(written)
}

/// Counts the keys of all owners by their rows.
pub(super) fn count_again(connection: &Connection) -> Result<(), Fault> {
    let mut statement = connection.prepare_cached(
        "UPDATE owners SET (keys_all, keys_unrevoked, keys_live, keys_live_standard) = (
           SELECT count(*), count(*) FILTER (WHERE state != 3),
             count(*) FILTER (WHERE state NOT IN (3, 4)),
             count(*) FILTER (WHERE state NOT IN (3, 4) AND kind = 'standard')
           FROM keys INDEXED BY keys_by_owner WHERE owner = owners.id)",
    )?;
    statement.execute([])?;
    Ok(())
}

/// Checks that one row was written. The rules of the commit have found that row, so if it is missing,
/// SQLite's own index is damaged.
pub(super) fn one(written: usize) -> Result<(), Fault> {
    if written == 1 { Ok(()) } else { Err(Fault::damaged(TABLE, "id")) }
}
