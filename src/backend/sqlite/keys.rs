//! Keys: tables `keys`, `previous_tokens` and `numeric_ids`.

use std::sync::LazyLock;

use rusqlite::{CachedStatement, Connection, Row};

use super::codec::{Binder, RowReader, insert_sql, update_sql};
use super::error::{Fault, or_damage};
use super::{checksums, quarantine, state_column};
use crate::backend::{Damage, DamagedRecord, quarantined};
use crate::clock::Timestamp;
use crate::id::{KeyId, NumericId, OwnerId};
use crate::key::{Field, KeyName, KeyRecord, PreviousToken, Source};

const TABLE: &str = "keys";

/// The columns beside the id, in the order in which they are read and written: the fields of the
/// record, and what follows from them.
static COLUMNS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let mut columns = KeyRecord::columns();
    columns.extend(["state", "state_checksum", "record_checksum"].map(String::from));
    columns
});

/// The beginning of a query whose rows [`decode`] reads. The last column says whether there are
/// rows of previous tokens: asking here is cheaper than a statement for each key, most of which
/// have none.
static SELECT: LazyLock<String> = LazyLock::new(|| {
    let columns = COLUMNS.join(", ");
    format!(
        "SELECT id, {columns}, EXISTS (SELECT 1 FROM previous_tokens WHERE key_id = keys.id) \
         FROM keys"
    )
});

static LOAD: LazyLock<String> = LazyLock::new(|| format!("{} WHERE id = ?", *SELECT));
static EACH: LazyLock<String> = LazyLock::new(|| format!("{} ORDER BY id", *SELECT));
static INSERT: LazyLock<String> = LazyLock::new(|| insert_sql(TABLE, &COLUMNS, "id"));
static UPDATE: LazyLock<String> = LazyLock::new(|| update_sql(TABLE, &COLUMNS, "id"));

/// The columns of a previous token beside the key's id, in order.
static PREVIOUS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let mut columns = Vec::new();
    PreviousToken::columns("", &mut columns);
    columns
});

static LOAD_PREVIOUS: LazyLock<String> = LazyLock::new(|| {
    let columns = PREVIOUS.join(", ");
    format!("SELECT {columns} FROM previous_tokens WHERE key_id = ? ORDER BY generation")
});
static INSERT_PREVIOUS: LazyLock<String> =
    LazyLock::new(|| insert_sql("previous_tokens", &PREVIOUS, "key_id"));

/// Reads keys with their previous tokens.
pub(super) struct Loader<'c> {
    connection: &'c Connection,
    keys: CachedStatement<'c>,
    previous: PreviousLoader<'c>,
}

impl<'c> Loader<'c> {
    pub(super) fn new(connection: &'c Connection) -> Result<Self, Fault> {
        let keys = connection.prepare_cached(&LOAD)?;
        Ok(Self { connection, keys, previous: PreviousLoader::new(connection)? })
    }

    /// Reads one.
    pub(super) fn load(&mut self, id: KeyId) -> Result<Option<KeyRecord>, Fault> {
        quarantine::expect_none(self.connection, id)?;
        let mut rows = self.keys.query([id.to_bytes()])?;
        let row = rows.next().map_err(Fault::from);
        let key = row.and_then(|row| row.map(|row| decode(row, &mut self.previous)).transpose());
        key.map_err(|fault| fault.of(TABLE, DamagedRecord::Key(id)))
    }
}

/// Reads the previous tokens of keys.
pub(super) struct PreviousLoader<'c>(CachedStatement<'c>);

impl<'c> PreviousLoader<'c> {
    pub(super) fn new(connection: &'c Connection) -> Result<Self, Fault> {
        Ok(Self(connection.prepare_cached(&LOAD_PREVIOUS)?))
    }

    /// Reads those of one key, oldest first.
    pub(super) fn load(&mut self, id: KeyId) -> Result<Vec<PreviousToken>, Fault> {
        let mut rows = self.0.query([id.to_bytes()])?;
        let mut previous = Vec::new();
        while let Some(row) = rows.next()? {
            previous.push(RowReader::new(row, "previous_tokens").field("previous")?);
        }
        Ok(previous)
    }

    /// Reads those of one key that are whole, as far as SQLite can read them.
    pub(super) fn whole(&mut self, id: KeyId) -> Result<Vec<PreviousToken>, Fault> {
        let mut rows = self.0.query([id.to_bytes()])?;
        let mut previous = Vec::new();
        loop {
            match rows.next().map_err(Fault::from) {
                Ok(Some(row)) => {
                    previous.extend(RowReader::new(row, "previous_tokens").field("previous").ok());
                }
                Err(fault) if !fault.is_corrupt() => return Err(fault),
                Ok(None) | Err(_) => return Ok(previous),
            }
        }
    }
}

/// Reads one, with its previous tokens.
pub(super) fn load(connection: &Connection, id: KeyId) -> Result<Option<KeyRecord>, Fault> {
    Loader::new(connection)?.load(id)
}

/// Reads all, one after the other, and shows the damage of those that aren't whole. A page that can't
/// be read is an error: SQLite writes nothing more in a transaction that has met one.
pub(super) fn each(
    connection: &Connection,
    visit: &mut dyn FnMut(Result<KeyRecord, Damage>),
) -> Result<(), Fault> {
    let entries = quarantine::all(connection)?;
    let mut statement = connection.prepare_cached(&EACH)?;
    let mut previous = PreviousLoader::new(connection)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        // The id stands first, and is read as far as it can be.
        let id = RowReader::new(row, TABLE).field("id").ok();
        let key = match id.filter(|id| entries.contains_key(id)) {
            Some(id) => Err(Fault::Damaged(quarantined(id))),
            None => decode(row, &mut previous),
        };
        let record = id.map_or(DamagedRecord::Unknown, DamagedRecord::Key);
        visit(or_damage(key, record)?);
    }
    Ok(())
}

fn decode(row: &Row<'_>, previous: &mut PreviousLoader<'_>) -> Result<KeyRecord, Fault> {
    let mut row = RowReader::new(row, TABLE);
    let id = row.field("id")?;
    let mut key = KeyRecord::get_fields(id, &mut row)?;
    let state = row.number("state")?;
    let stored = (row.field("state_checksum")?, row.field("record_checksum")?);
    if row.field("id")? {
        key.previous = previous.load(id)?;
    }
    // Lists go by the column alone.
    if u64::from(state_of(&key)) != state {
        return Err(row.damaged("state"));
    }
    if checksums_of(&key) == stored { Ok(key) } else { Err(row.damaged("record_checksum")) }
}

/// Computes the checksums of a record.
fn checksums_of(key: &KeyRecord) -> (u32, u32) {
    (checksums::of_scanned_key(&key.into()), checksums::of_key(key))
}

/// Finds the greatest id of an owner's keys: one search in the index for each state.
pub(super) fn last(connection: &Connection, owner: &OwnerId) -> Result<Option<KeyId>, Fault> {
    let mut statement = connection.prepare_cached(
        "WITH states (number) AS (VALUES (0), (1), (2), (3), (4))
         SELECT (SELECT max(id) FROM keys INDEXED BY keys_by_owner WHERE owner = ?1 AND state = number)
         FROM states",
    )?;
    let mut rows = statement.query([owner.as_str()])?;
    let mut last = None;
    while let Some(row) = rows.next()? {
        let bytes: Option<[u8; 16]> = row.get(0)?;
        last = last.max(bytes.map(KeyId::from_bytes));
    }
    Ok(last)
}

/// Computes the column `state` of a record.
fn state_of(key: &KeyRecord) -> u8 {
    state_column::number(key.state(Timestamp::MIN), key.lapsed_at.is_some())
}

/// Creates one.
pub(super) fn insert(connection: &Connection, key: &KeyRecord) -> Result<(), Fault> {
    write(connection, &INSERT, key)?;
    insert_previous(connection, key)?;
    use_numeric_id(connection, key)
}

/// Replaces one.
pub(super) fn update(
    connection: &Connection,
    before: &KeyRecord,
    key: &KeyRecord,
) -> Result<(), Fault> {
    write(connection, &UPDATE, key)?;
    if !before.previous.is_empty() {
        delete_previous(connection, key.id)?;
    }
    insert_previous(connection, key)?;
    if before.numeric_id == key.numeric_id {
        return Ok(());
    }
    use_numeric_id(connection, key)
}

fn write(connection: &Connection, sql: &str, key: &KeyRecord) -> Result<(), Fault> {
    let (state_checksum, record_checksum) = checksums_of(key);
    let mut statement = connection.prepare_cached(sql)?;
    let mut binder = Binder::new(&mut statement);
    key.put_fields(&mut binder)?;
    binder.put(state_of(key))?.put(state_checksum)?.put(record_checksum)?.put_field(&key.id)?;
    one(binder.execute()?)
}

fn insert_previous(connection: &Connection, key: &KeyRecord) -> Result<(), Fault> {
    let mut statement = connection.prepare_cached(&INSERT_PREVIOUS)?;
    for previous in &key.previous {
        Binder::new(&mut statement).put_field(previous)?.put_field(&key.id)?.execute()?;
    }
    Ok(())
}

/// Removes one. Its numeric id stays used.
pub(super) fn delete(connection: &Connection, key: &KeyRecord) -> Result<(), Fault> {
    if !key.previous.is_empty() {
        delete_previous(connection, key.id)?;
    }
    let mut statement = connection.prepare_cached("DELETE FROM keys WHERE id = ?")?;
    one(statement.execute([key.id.to_bytes()])?)
}

fn delete_previous(connection: &Connection, id: KeyId) -> Result<(), Fault> {
    connection
        .prepare_cached("DELETE FROM previous_tokens WHERE key_id = ?")?
        .execute([id.to_bytes()])?;
    Ok(())
}

fn one(written: usize) -> Result<(), Fault> {
    if written == 1 { Ok(()) } else { Err(Fault::damaged(TABLE, "id")) }
}

/// The live keys of an owner with this name.
pub(super) fn live_named(
    connection: &Connection,
    owner: &OwnerId,
    name: &KeyName,
) -> Result<Vec<KeyId>, Fault> {
    let mut statement = connection.prepare_cached(LIVE_NAMED)?;
    let mut rows = statement.query([owner.as_str(), name.as_str()])?;
    let mut ids = Vec::new();
    while let Some(row) = rows.next()? {
        ids.push(RowReader::new(row, TABLE).field("id")?);
    }
    Ok(ids)
}

/// The keys that a key created.
pub(super) fn created_by(connection: &Connection, creator: KeyId) -> Result<Vec<KeyId>, Fault> {
    let mut statement = connection.prepare_cached(CREATED_BY)?;
    let mut rows = statement.query([creator.to_bytes()])?;
    let mut ids = Vec::new();
    while let Some(row) = rows.next()? {
        ids.push(RowReader::new(row, TABLE).field("id")?);
    }
    Ok(ids)
}

/// Named, so that its plan can be tested.
pub(super) const CREATED_BY: &str =
    "SELECT id FROM keys INDEXED BY keys_by_creator WHERE created_by_key = ?";

/// Named, so that its plan can be tested.
pub(super) const LIVE_NAMED: &str = "SELECT id FROM keys INDEXED BY keys_by_name
     WHERE owner = ? AND name = ? AND revoked_at IS NULL AND lapsed_at IS NULL";

/// The live keys of an owner that expired at a moment or before, the longest expired first.
pub(super) fn expired(
    connection: &Connection,
    owner: &OwnerId,
    by: Timestamp,
    limit: usize,
) -> Result<Vec<KeyId>, Fault> {
    let mut statement = connection.prepare_cached(EXPIRED)?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut rows = statement.query((owner.as_str(), by.as_millis().cast_signed(), limit))?;
    let mut ids = Vec::new();
    while let Some(row) = rows.next()? {
        ids.push(RowReader::new(row, TABLE).field("id")?);
    }
    Ok(ids)
}

/// Named, so that its plan can be tested.
pub(super) const EXPIRED: &str = "SELECT id FROM keys INDEXED BY keys_by_expiry
     WHERE owner = ? AND expires_at <= ? AND revoked_at IS NULL AND lapsed_at IS NULL
     ORDER BY expires_at, id LIMIT ?";

/// The key that has or had a numeric id; it may be purged.
pub(super) fn of_numeric_id(
    connection: &Connection,
    id: NumericId,
) -> Result<Option<KeyId>, Fault> {
    let mut statement =
        connection.prepare_cached("SELECT key_id FROM numeric_ids WHERE numeric_id = ?")?;
    let mut rows = statement.query([stored_numeric_id(id)])?;
    rows.next()?.map(|row| RowReader::new(row, "numeric_ids").field("key_id")).transpose()
}

/// The greatest numeric id ever used; 0 before the first.
pub(super) fn greatest_numeric_id(connection: &Connection) -> Result<u64, Fault> {
    let mut statement = connection.prepare_cached("SELECT max(numeric_id) FROM numeric_ids")?;
    let greatest: Option<i64> = statement.query_row([], |row| row.get(0))?;
    let damaged = Fault::damaged("numeric_ids", "numeric_id");
    u64::try_from(greatest.unwrap_or(0)).map_err(|_| damaged)
}

fn use_numeric_id(connection: &Connection, key: &KeyRecord) -> Result<(), Fault> {
    let Some(id) = key.numeric_id else { return Ok(()) };
    // Whether a creation may have it is decided by then; a replacement is taken at its word.
    connection
        .prepare_cached("INSERT OR REPLACE INTO numeric_ids (numeric_id, key_id) VALUES (?, ?)")?
        .execute((stored_numeric_id(id), key.id.to_bytes()))?;
    Ok(())
}

fn stored_numeric_id(id: NumericId) -> i64 {
    // At most 2^63-1.
    id.get().cast_signed()
}
