//! Keys: tables `keys`, `previous_tokens` and `numeric_ids`.

use rusqlite::types::ValueRef;
use rusqlite::{CachedStatement, Connection, Row};

use super::codec::{
    Binder, Cells, access, actor, blob, bytes, flag, generation, int, key_id, millis, number,
    owner_id, set_by, set_by_text, text, time, version,
};
use super::error::Fault;
use super::limits::{limit_columns, limit_marks};
use super::owners::settings;
use super::{checksums, limits, state_column};
use crate::clock::Timestamp;
use crate::id::{KeyId, NumericId, OwnerId};
use crate::key::{
    Digest, KeyName, KeyRecord, Kind, PepperNumber, PrefixNumber, PreviousToken, Scheme, Seal,
    TokenRecord,
};

const TABLE: &str = "keys";

/// The columns of a record but for limits and id, which follow, in the order in which they are read
/// and written.
macro_rules! columns {
    () => {
        "owner, kind, expires_at, standing, deactivated_at, deactivated_by, deactivated_reason, \
         blocked_at, blocked_by, blocked_reason, revoked_at, revoked_by, revoked_reason, \
         generation, digest, scheme, pepper, prefix, issued_at, access, version, numeric_id, \
         name, access_by, expiry_by, created_at, created_by, updated_at, seal_key, seal_nonce, \
         seal_text, settings, state_sum, record_sum, "
    };
}

/// What follows the columns of a record: whether there are rows of previous tokens to read. Asking
/// here is cheaper than running a statement for each key, most of which have none.
macro_rules! has_previous {
    () => {
        ", EXISTS (SELECT 1 FROM previous_tokens WHERE key_id = keys.id)"
    };
}

/// Reads keys with their previous tokens.
pub(super) struct Loader<'c> {
    keys: CachedStatement<'c>,
    previous: PreviousLoader<'c>,
}

impl<'c> Loader<'c> {
    pub(super) fn new(connection: &'c Connection) -> Result<Self, Fault> {
        let sql = concat!(
            "SELECT ",
            columns!(),
            limit_columns!(),
            ", id",
            has_previous!(),
            " FROM keys WHERE id = ?"
        );
        let keys = connection.prepare_cached(sql)?;
        Ok(Self { keys, previous: PreviousLoader::new(connection)? })
    }

    /// Reads one.
    pub(super) fn load(&mut self, id: KeyId) -> Result<Option<KeyRecord>, Fault> {
        let mut rows = self.keys.query([id.to_bytes()])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        Ok(Some(decode(row, &mut self.previous)?))
    }
}

/// Reads the previous tokens of keys.
pub(super) struct PreviousLoader<'c>(CachedStatement<'c>);

impl<'c> PreviousLoader<'c> {
    pub(super) fn new(connection: &'c Connection) -> Result<Self, Fault> {
        let statement = connection.prepare_cached(
            "SELECT generation, digest, scheme, pepper, prefix, issued_at, ends_at
             FROM previous_tokens WHERE key_id = ? ORDER BY generation",
        )?;
        Ok(Self(statement))
    }

    /// Reads those of one key, oldest first.
    pub(super) fn load(&mut self, id: KeyId) -> Result<Vec<PreviousToken>, Fault> {
        let mut rows = self.0.query([id.to_bytes()])?;
        let mut previous = Vec::new();
        while let Some(row) = rows.next()? {
            let mut cells = Cells::new(row, "previous_tokens");
            let token = token(&mut cells)?;
            let ends_at = cells.get("ends_at", time)?;
            previous.push(PreviousToken { token, ends_at });
        }
        Ok(previous)
    }
}

/// Reads one, with its previous tokens.
pub(super) fn load(connection: &Connection, id: KeyId) -> Result<Option<KeyRecord>, Fault> {
    Loader::new(connection)?.load(id)
}

/// Reads all, one after the other.
pub(super) fn each(connection: &Connection, visit: &mut dyn FnMut(KeyRecord)) -> Result<(), Fault> {
    let sql = concat!(
        "SELECT ",
        columns!(),
        limit_columns!(),
        ", id",
        has_previous!(),
        " FROM keys ORDER BY id"
    );
    let mut statement = connection.prepare_cached(sql)?;
    let mut previous = PreviousLoader::new(connection)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        visit(decode(row, &mut previous)?);
    }
    Ok(())
}

fn decode(row: &Row<'_>, previous: &mut PreviousLoader<'_>) -> Result<KeyRecord, Fault> {
    let mut cells = Cells::new(row, TABLE);
    let owner = cells.get("owner", owner_id)?;
    let kind = cells.get("kind", kind)?;
    let expires_at = cells.maybe("expires_at", time)?;
    let stored_standing: u8 = cells.get("standing", int)?;
    let deactivated = cells.switch("deactivated_at")?;
    let blocked = cells.switch("blocked_at")?;
    let revoked = cells.switch("revoked_at")?;
    let current = token(&mut cells)?;
    let access = cells.get("access", access)?;
    let version = cells.get("version", version)?;
    let numeric_id = cells.maybe("numeric_id", |value| NumericId::new(int(value)?).ok())?;
    let name = cells.maybe("name", |value| KeyName::new(text(value)?).ok())?;
    let access_by = cells.get("access_by", set_by)?;
    let expiry_by = cells.get("expiry_by", set_by)?;
    let created_at = cells.get("created_at", time)?;
    let created_by = cells.get("created_by", actor)?;
    let updated_at = cells.get("updated_at", time)?;
    let seal = seal(&mut cells)?;
    let settings = cells.get("settings", settings)?;
    let sums: (u32, u32) = (cells.get("state_sum", int)?, cells.get("record_sum", int)?);
    let limits = limits::decode(&mut cells)?;
    let id = cells.get("id", key_id)?;
    let has_previous = cells.get("id", flag)?;
    let key = KeyRecord {
        id,
        owner,
        version,
        numeric_id,
        kind,
        name,
        access,
        access_by,
        expires_at,
        expiry_by,
        settings,
        limits,
        created_at,
        created_by,
        updated_at,
        current,
        previous: if has_previous { previous.load(id)? } else { Vec::new() },
        deactivated,
        blocked,
        revoked,
        seal,
    };
    // Lists go by the column alone.
    if standing_of(&key) != stored_standing {
        return Err(cells.damaged("standing"));
    }
    if sums_of(&key) == sums { Ok(key) } else { Err(cells.damaged("record_sum")) }
}

/// What the checksums of a record must be.
fn sums_of(key: &KeyRecord) -> (u32, u32) {
    let state_sum = checksums::of_scanned_key(&key.into());
    (state_sum, checksums::of_key(key, state_sum))
}

fn standing_of(key: &KeyRecord) -> u8 {
    state_column::number(key.state(Timestamp::MIN))
}

/// Six columns: generation, digest, how it came about, and when it was issued.
pub(super) fn token(cells: &mut Cells<'_>) -> Result<TokenRecord, Fault> {
    let generation = cells.get("generation", generation)?;
    let digest = cells.get("digest", bytes)?;
    let scheme = cells.get("scheme", |value| Scheme::from_number(int(value)?).ok())?;
    let pepper = cells.get("pepper", |value| int(value).map(PepperNumber::new))?;
    let prefix = cells.get("prefix", |value| PrefixNumber::new(int(value)?).ok())?;
    let issued_at = cells.get("issued_at", time)?;
    let digest = Digest::new(digest, scheme, pepper, prefix);
    Ok(TokenRecord { generation, digest, issued_at })
}

fn seal(cells: &mut Cells<'_>) -> Result<Option<Seal>, Fault> {
    let key_number = cells.maybe("seal_key", int)?;
    let nonce = cells.maybe("seal_nonce", bytes)?;
    let ciphertext = cells.maybe("seal_text", |value| blob(value).map(Box::from))?;
    match (key_number, nonce, ciphertext) {
        (Some(key_number), Some(nonce), Some(ciphertext)) => {
            Ok(Some(Seal { key_number, nonce, ciphertext }))
        }
        (None, None, None) => Ok(None),
        _ => Err(cells.damaged("seal_key")),
    }
}

pub(super) fn kind(value: ValueRef<'_>) -> Option<Kind> {
    match value {
        ValueRef::Text(b"standard") => Some(Kind::Standard),
        ValueRef::Text(b"trial") => Some(Kind::Trial),
        _ => None,
    }
}

pub(super) fn kind_text(kind: Kind) -> &'static str {
    match kind {
        Kind::Standard => "standard",
        Kind::Trial => "trial",
    }
}

/// Creates one.
pub(super) fn insert(connection: &Connection, key: &KeyRecord) -> Result<(), Fault> {
    let sql = concat!(
        "INSERT INTO keys (",
        columns!(),
        limit_columns!(),
        ", id) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, \
         ?, ?, ?, ?, ?, ?, ?, ?, ",
        limit_marks!(),
        ", ?)"
    );
    write(connection, sql, key)?;
    insert_previous(connection, key)?;
    use_numeric_id(connection, key)
}

/// Replaces one.
pub(super) fn update(
    connection: &Connection,
    before: &KeyRecord,
    key: &KeyRecord,
) -> Result<(), Fault> {
    write(
        connection,
        concat!(
            "UPDATE keys SET owner = ?, kind = ?, expires_at = ?, standing = ?,
         deactivated_at = ?, deactivated_by = ?, deactivated_reason = ?,
         blocked_at = ?, blocked_by = ?, blocked_reason = ?,
         revoked_at = ?, revoked_by = ?, revoked_reason = ?,
         generation = ?, digest = ?, scheme = ?, pepper = ?, prefix = ?, issued_at = ?,
         access = ?, version = ?, numeric_id = ?, name = ?, access_by = ?, expiry_by = ?,
         created_at = ?, created_by = ?, updated_at = ?,
         seal_key = ?, seal_nonce = ?, seal_text = ?, settings = ?,
         state_sum = ?, record_sum = ?, (",
            limit_columns!(),
            ") = (",
            limit_marks!(),
            ")
         WHERE id = ?"
        ),
        key,
    )?;
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
    let (state_sum, record_sum) = sums_of(key);
    let mut statement = connection.prepare_cached(sql)?;
    let mut binder = Binder::new(&mut statement);
    binder
        .put(key.owner.as_str())?
        .put(kind_text(key.kind))?
        .put(key.expires_at.map(millis))?
        .put(standing_of(key))?
        .switch(key.deactivated.as_ref())?
        .switch(key.blocked.as_ref())?
        .switch(key.revoked.as_ref())?;
    put_token(&mut binder, &key.current)?;
    binder
        .put(key.access.to_string())?
        .put(number(key.version))?
        .put(key.numeric_id.map(stored_numeric_id))?
        .put(key.name.as_ref().map(KeyName::as_str))?
        .put(set_by_text(key.access_by))?
        .put(set_by_text(key.expiry_by))?
        .put(millis(key.created_at))?
        .put(key.created_by.as_str())?
        .put(millis(key.updated_at))?
        .put(key.seal.as_ref().map(|seal| seal.key_number))?
        .put(key.seal.as_ref().map(|seal| seal.nonce))?
        .put(key.seal.as_ref().map(|seal| &*seal.ciphertext))?
        .put(key.settings.to_json())?
        .put(state_sum)?
        .put(record_sum)?;
    limits::put(&mut binder, &key.limits)?;
    one(binder.put(key.id.to_bytes())?.execute()?)
}

fn put_token(binder: &mut Binder<'_, '_>, token: &TokenRecord) -> Result<(), Fault> {
    let TokenRecord { generation, digest, issued_at } = token;
    binder
        .put(generation.get())?
        .put(digest.expose())?
        .put(digest.scheme.number())?
        .put(digest.pepper.get())?
        .put(digest.prefix.get())?
        .put(millis(*issued_at))?;
    Ok(())
}

fn insert_previous(connection: &Connection, key: &KeyRecord) -> Result<(), Fault> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO previous_tokens
         (generation, digest, scheme, pepper, prefix, issued_at, ends_at, key_id)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    )?;
    for previous in &key.previous {
        let mut binder = Binder::new(&mut statement);
        put_token(&mut binder, &previous.token)?;
        binder.put(millis(previous.ends_at))?.put(key.id.to_bytes())?.execute()?;
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
    if written == 1 { Ok(()) } else { Err(Fault::Damaged { table: TABLE, column: "id" }) }
}

/// The unrevoked keys of an owner with this name.
pub(super) fn live_named(
    connection: &Connection,
    owner: &OwnerId,
    name: &KeyName,
) -> Result<Vec<KeyId>, Fault> {
    let mut statement = connection.prepare_cached(LIVE_NAMED)?;
    let mut rows = statement.query([owner.as_str(), name.as_str()])?;
    let mut ids = Vec::new();
    while let Some(row) = rows.next()? {
        ids.push(Cells::new(row, TABLE).get("id", key_id)?);
    }
    Ok(ids)
}

/// Named, so that its plan can be tested.
pub(super) const LIVE_NAMED: &str = "SELECT id FROM keys INDEXED BY keys_by_name
     WHERE owner = ? AND name = ? AND revoked_at IS NULL";

/// The key that has or had an numeric id; it may be purged.
pub(super) fn of_numeric_id(
    connection: &Connection,
    id: NumericId,
) -> Result<Option<KeyId>, Fault> {
    let mut statement =
        connection.prepare_cached("SELECT key_id FROM numeric_ids WHERE numeric_id = ?")?;
    let mut rows = statement.query([stored_numeric_id(id)])?;
    rows.next()?.map(|row| Cells::new(row, "numeric_ids").get("key_id", key_id)).transpose()
}

/// The greatest numeric id ever used; 0 before the first.
pub(super) fn greatest_numeric_id(connection: &Connection) -> Result<u64, Fault> {
    let mut statement = connection.prepare_cached("SELECT max(numeric_id) FROM numeric_ids")?;
    let greatest: Option<i64> = statement.query_row([], |row| row.get(0))?;
    let damaged = Fault::Damaged { table: "numeric_ids", column: "numeric_id" };
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
