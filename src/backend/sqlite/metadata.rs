//! The store's own record: tables `store`, `prefixes`, `peppers` and
//! `recovery_keys`.

use rusqlite::Connection;

use super::checksums;
use super::codec::{Binder, RowReader};
use super::error::Fault;
use crate::key::{
    NumberedPrefix, PepperCheck, PrefixTable, RecoveryKeyCheck, Source, StoreMetadata, StoreRules,
};

/// Reads it; nothing if there is none yet.
pub(super) fn load(connection: &Connection) -> Result<Option<StoreMetadata>, Fault> {
    let mut statement = connection.prepare_cached(
        "SELECT version, unique_names, keep_standard_key, recoverable_tokens, lifetime_max_ms, \
         lifetime_default_ms, tokens_valid_from, epoch, epoch_ended_at, epochs_swept, epochs_invalidated, \
         checksum FROM store",
    )?;
    let mut rows = statement.query([])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let mut row = RowReader::new(row, "store");
    let version = row.field("version")?;
    let rules = StoreRules {
        unique_names: row.field("unique_names")?,
        keep_standard_key: row.field("keep_standard_key")?,
        recoverable_tokens: row.field("recoverable_tokens")?,
        lifetime: row.field("lifetime_max_ms")?,
    };
    let tokens_valid_from = row.field("tokens_valid_from")?;
    let checksum: u32 = row.field("checksum")?;
    let (prefixes, peppers) = (load_prefixes(connection)?, load_peppers(connection)?);
    let recovery_keys = load_recovery_keys(connection)?;
    let metadata =
        StoreMetadata { version, rules, prefixes, peppers, recovery_keys, tokens_valid_from };
    if checksums::of_metadata(&metadata) == checksum {
        Ok(Some(metadata))
    } else {
        Err(row.damaged("checksum"))
    }
}

/// Returns whether a store was created. Where there are other records without this one, it was
/// lost: another in its place would give their prefixes other numbers.
pub(super) fn exists(connection: &Connection) -> Result<bool, Fault> {
    let sql = "SELECT EXISTS (SELECT 1 FROM store), EXISTS (SELECT 1 FROM owners)
               OR EXISTS (SELECT 1 FROM keys) OR EXISTS (SELECT 1 FROM events)";
    match connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))? {
        (true, _) => Ok(true),
        (false, false) => Ok(false),
        (false, true) => Err(Fault::damaged("store", "one")),
    }
}

/// Writes it.
pub(super) fn put(connection: &Connection, metadata: &StoreMetadata) -> Result<(), Fault> {
    let StoreMetadata { version, rules, prefixes, peppers, recovery_keys, tokens_valid_from } =
        metadata;
    let mut statement = connection.prepare_cached(
        "INSERT OR REPLACE INTO store
         (one, version, unique_names, keep_standard_key, recoverable_tokens, lifetime_max_ms,
          lifetime_default_ms, tokens_valid_from, epoch, epoch_ended_at, epochs_swept, epochs_invalidated,
          checksum)
         VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?;
    Binder::new(&mut statement)
        .put_field(version)?
        .put(rules.unique_names)?
        .put(rules.keep_standard_key)?
        .put(rules.recoverable_tokens)?
        .put_field(&rules.lifetime)?
        .put_field(tokens_valid_from)?
        .put(checksums::of_metadata(metadata))?
        .execute()?;
    connection.execute("DELETE FROM prefixes", [])?;
    let mut statement = connection
        .prepare_cached("INSERT INTO prefixes (number, prefix, accepted) VALUES (?, ?, ?)")?;
    for entry in prefixes.entries() {
        statement.execute((entry.number.get(), entry.prefix.as_str(), entry.accepted))?;
    }
    connection.execute("DELETE FROM peppers", [])?;
    let mut statement = connection
        .prepare_cached("INSERT INTO peppers (number, check_value, retired) VALUES (?, ?, ?)")?;
    for pepper in peppers {
        statement.execute((pepper.number.get(), pepper.value, pepper.retired))?;
    }
    connection.execute("DELETE FROM recovery_keys", [])?;
    let mut statement = connection
        .prepare_cached("INSERT INTO recovery_keys (number, check_value) VALUES (?, ?)")?;
    for key in recovery_keys {
        statement.execute((key.number, key.value))?;
    }
    Ok(())
}

fn load_prefixes(connection: &Connection) -> Result<PrefixTable, Fault> {
    let mut statement = connection
        .prepare_cached("SELECT number, prefix, accepted FROM prefixes ORDER BY number")?;
    let mut rows = statement.query([])?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        let mut row = RowReader::new(row, "prefixes");
        entries.push(NumberedPrefix {
            number: row.field("number")?,
            prefix: row.field("prefix")?,
            accepted: row.field("accepted")?,
        });
    }
    PrefixTable::from_entries(entries).map_err(|_| Fault::damaged("prefixes", "number"))
}

fn load_peppers(connection: &Connection) -> Result<Vec<PepperCheck>, Fault> {
    let mut statement = connection
        .prepare_cached("SELECT number, check_value, retired FROM peppers ORDER BY number")?;
    let mut rows = statement.query([])?;
    let mut peppers = Vec::new();
    while let Some(row) = rows.next()? {
        let mut row = RowReader::new(row, "peppers");
        peppers.push(PepperCheck {
            number: row.field("number")?,
            value: row.field("check_value")?,
            retired: row.field("retired")?,
        });
    }
    Ok(peppers)
}

fn load_recovery_keys(connection: &Connection) -> Result<Vec<RecoveryKeyCheck>, Fault> {
    let mut statement = connection
        .prepare_cached("SELECT number, check_value FROM recovery_keys ORDER BY number")?;
    let mut rows = statement.query([])?;
    let mut keys = Vec::new();
    while let Some(row) = rows.next()? {
        let mut row = RowReader::new(row, "recovery_keys");
        let (number, value) = (row.field("number")?, row.field("check_value")?);
        keys.push(RecoveryKeyCheck { number, value });
    }
    Ok(keys)
}
