//! Owners: table `owners`.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};

use super::codec::{
    Binder, Cells, access, actor, int, millis, number, owner_id, text, time, version,
};
use super::error::Fault;
use super::limits::{limit_columns, limit_marks};
use super::{checksums, limits};
use crate::backend::KeyCounts;
use crate::id::OwnerId;
use crate::key::{OwnerRecord, Settings};

const TABLE: &str = "owners";

/// A key's row takes more than this.
const LEAST_BYTES_OF_KEY: u64 = 128;

/// The columns of a record but for limits and id, which follow, in the order in which they are read
/// and written.
macro_rules! columns {
    () => {
        "suspended_at, suspended_by, suspended_reason, tokens_valid_from, max_access, max_keys, version, \
         created_at, created_by, updated_at, defaults, state_sum, record_sum, "
    };
}

/// What begins a query whose rows [`decode`] reads.
pub(super) const SELECT: &str =
    concat!("SELECT ", columns!(), limit_columns!(), ", id FROM owners ");

/// Reads one.
pub(super) fn load(connection: &Connection, id: &OwnerId) -> Result<Option<OwnerRecord>, Fault> {
    let sql = concat!("SELECT ", columns!(), limit_columns!(), ", id FROM owners WHERE id = ?");
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([id.as_str()])?;
    rows.next()?.map(decode).transpose()
}

/// How many keys there are by the counts that owners have, but no more than a file of this size can
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

/// Reads all, one after the other.
pub(super) fn each(
    connection: &Connection,
    visit: &mut dyn FnMut(OwnerRecord),
) -> Result<(), Fault> {
    let mut statement = connection.prepare_cached(SELECT)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        visit(decode(row)?);
    }
    Ok(())
}

/// A row of [`SELECT`].
pub(super) fn decode(row: &Row<'_>) -> Result<OwnerRecord, Fault> {
    let mut cells = Cells::new(row, TABLE);
    let suspended = cells.switch("suspended_at")?;
    let tokens_valid_from = cells.maybe("tokens_valid_from", time)?;
    let max_access = cells.get("max_access", access)?;
    let max_keys = cells.get("max_keys", int)?;
    let version = cells.get("version", version)?;
    let created_at = cells.get("created_at", time)?;
    let created_by = cells.get("created_by", actor)?;
    let updated_at = cells.get("updated_at", time)?;
    let defaults = cells.get("defaults", settings)?;
    let sums: (u32, u32) = (cells.get("state_sum", int)?, cells.get("record_sum", int)?);
    let limits = limits::decode(&mut cells)?;
    let id = cells.get("id", owner_id)?;
    let owner = OwnerRecord {
        id,
        version,
        defaults,
        suspended,
        max_access,
        limits,
        max_keys,
        tokens_valid_from,
        created_at,
        created_by,
        updated_at,
    };
    if sums_of(&owner) == sums { Ok(owner) } else { Err(cells.damaged("record_sum")) }
}

/// What the checksums of a record must be.
fn sums_of(owner: &OwnerRecord) -> (u32, u32) {
    let state_sum = checksums::of_scanned_owner(&owner.into());
    (state_sum, checksums::of_owner(owner, state_sum))
}

pub(super) fn settings(value: ValueRef<'_>) -> Option<Settings> {
    Settings::from_json(text(value)?).ok()
}

/// Creates one, without keys.
pub(super) fn insert(connection: &Connection, owner: &OwnerRecord) -> Result<(), Fault> {
    let sql = concat!(
        "INSERT INTO owners (",
        columns!(),
        limit_columns!(),
        ", id) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ",
        limit_marks!(),
        ", ?)"
    );
    write(connection, sql, owner)
}

/// Replaces one, but for its number of keys.
pub(super) fn update(connection: &Connection, owner: &OwnerRecord) -> Result<(), Fault> {
    write(
        connection,
        concat!(
            "UPDATE owners SET suspended_at = ?, suspended_by = ?, suspended_reason = ?,
         tokens_valid_from = ?, max_access = ?, max_keys = ?, version = ?, created_at = ?, created_by = ?,
         updated_at = ?, defaults = ?, state_sum = ?, record_sum = ?,
         (",
            limit_columns!(),
            ") = (",
            limit_marks!(),
            ") WHERE id = ?"
        ),
        owner,
    )
}

fn write(connection: &Connection, sql: &str, owner: &OwnerRecord) -> Result<(), Fault> {
    let (state_sum, record_sum) = sums_of(owner);
    let mut statement = connection.prepare_cached(sql)?;
    let mut binder = Binder::new(&mut statement);
    binder
        .switch(owner.suspended.as_ref())?
        .put(owner.tokens_valid_from.map(millis))?
        .put(owner.max_access.to_string())?
        .put(owner.max_keys)?
        .put(number(owner.version))?
        .put(millis(owner.created_at))?
        .put(owner.created_by.as_str())?
        .put(millis(owner.updated_at))?
        .put(owner.defaults.to_json())?
        .put(state_sum)?
        .put(record_sum)?;
    limits::put(&mut binder, &owner.limits)?;
    one(binder.put(owner.id.as_str())?.execute()?)
}

/// Removes one.
pub(super) fn delete(connection: &Connection, id: &OwnerId) -> Result<(), Fault> {
    one(connection.prepare_cached("DELETE FROM owners WHERE id = ?")?.execute([id.as_str()])?)
}

/// How many keys it has; none if it doesn't exist.
pub(super) fn key_counts(connection: &Connection, id: &OwnerId) -> Result<KeyCounts, Fault> {
    let mut statement = connection.prepare_cached(
        "SELECT keys_all, keys_live, keys_live_standard FROM owners WHERE id = ?",
    )?;
    let mut rows = statement.query([id.as_str()])?;
    let Some(row) = rows.next()? else { return Ok(KeyCounts::default()) };
    let mut cells = Cells::new(row, TABLE);
    Ok(KeyCounts {
        all: cells.get("keys_all", int)?,
        live: cells.get("keys_live", int)?,
        live_standard: cells.get("keys_live_standard", int)?,
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
        "UPDATE owners SET keys_all = keys_all + ?, keys_live = keys_live + ?,
         keys_live_standard = keys_live_standard + ? WHERE id = ?",
    )?;
    let written = Binder::new(&mut statement)
        .put(delta(was.all, is.all))?
        .put(delta(was.live, is.live))?
        .put(delta(was.live_standard, is.live_standard))?
        .put(id.as_str())?
        .execute()?;
    one(written)
}

/// The rules of a commit have found the row: if it isn't there now, the index lies.
pub(super) fn one(written: usize) -> Result<(), Fault> {
    if written == 1 { Ok(()) } else { Err(Fault::Damaged { table: TABLE, column: "id" }) }
}
