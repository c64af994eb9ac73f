//! The store's own record: tables `store`, `prefixes` and `peppers`.

use rusqlite::Connection;

use super::cells::{Binder, Cells, bytes, flag, int, millis, number, text, time, version};
use super::error::Fault;
use super::sums;
use crate::key::{
    Header, NumberedPrefix, PepperCheck, PepperNumber, Prefix, PrefixNumber, PrefixTable,
    StoreRules,
};

/// Reads it; nothing if there is none yet.
pub(super) fn load(connection: &Connection) -> Result<Option<Header>, Fault> {
    let mut statement = connection.prepare_cached(
        "SELECT version, unique_names, keep_standard_key, sealed_tokens, issue_mark, sum FROM store",
    )?;
    let mut rows = statement.query([])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let mut cells = Cells::new(row, "store");
    let version = cells.get("version", version)?;
    let rules = StoreRules {
        unique_names: cells.get("unique_names", flag)?,
        keep_standard_key: cells.get("keep_standard_key", flag)?,
        sealed_tokens: cells.get("sealed_tokens", flag)?,
    };
    let issue_mark = cells.maybe("issue_mark", time)?;
    let sum: u32 = cells.get("sum", int)?;
    let (prefixes, peppers) = (load_prefixes(connection)?, load_peppers(connection)?);
    let header = Header { version, rules, prefixes, peppers, issue_mark };
    if sums::of_header(&header) == sum { Ok(Some(header)) } else { Err(cells.damaged("sum")) }
}

/// Writes the first one. Where there are records already, theirs was lost: another in its place
/// would give their prefixes other numbers.
pub(super) fn create(connection: &Connection, header: &Header) -> Result<(), Fault> {
    let sql = "SELECT EXISTS (SELECT 1 FROM owners) OR EXISTS (SELECT 1 FROM keys)
               OR EXISTS (SELECT 1 FROM events)";
    match connection.query_row(sql, [], |row| row.get(0))? {
        true => Err(Fault::Damaged { table: "store", column: "one" }),
        false => put(connection, header),
    }
}

/// Writes it.
pub(super) fn put(connection: &Connection, header: &Header) -> Result<(), Fault> {
    let Header { version, rules, prefixes, peppers, issue_mark } = header;
    let mut statement = connection.prepare_cached(
        "INSERT OR REPLACE INTO store
         (one, version, unique_names, keep_standard_key, sealed_tokens, issue_mark, sum)
         VALUES (1, ?, ?, ?, ?, ?, ?)",
    )?;
    Binder::new(&mut statement)
        .put(number(*version))?
        .put(rules.unique_names)?
        .put(rules.keep_standard_key)?
        .put(rules.sealed_tokens)?
        .put(issue_mark.map(millis))?
        .put(sums::of_header(header))?
        .execute()?;
    connection.execute("DELETE FROM prefixes", [])?;
    let mut statement = connection
        .prepare_cached("INSERT INTO prefixes (number, prefix, accepted) VALUES (?, ?, ?)")?;
    for entry in prefixes.entries() {
        statement.execute((entry.number.get(), entry.prefix.as_str(), entry.accepted))?;
    }
    connection.execute("DELETE FROM peppers", [])?;
    let mut statement =
        connection.prepare_cached("INSERT INTO peppers (number, check_value) VALUES (?, ?)")?;
    for pepper in peppers {
        statement.execute((pepper.number.get(), pepper.value))?;
    }
    Ok(())
}

fn load_prefixes(connection: &Connection) -> Result<PrefixTable, Fault> {
    let mut statement = connection
        .prepare_cached("SELECT number, prefix, accepted FROM prefixes ORDER BY number")?;
    let mut rows = statement.query([])?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        let mut cells = Cells::new(row, "prefixes");
        entries.push(NumberedPrefix {
            number: cells.get("number", |value| PrefixNumber::new(int(value)?).ok())?,
            prefix: cells.get("prefix", |value| Prefix::new(text(value)?).ok())?,
            accepted: cells.get("accepted", flag)?,
        });
    }
    PrefixTable::from_entries(entries)
        .map_err(|_| Fault::Damaged { table: "prefixes", column: "number" })
}

fn load_peppers(connection: &Connection) -> Result<Vec<PepperCheck>, Fault> {
    let mut statement =
        connection.prepare_cached("SELECT number, check_value FROM peppers ORDER BY number")?;
    let mut rows = statement.query([])?;
    let mut peppers = Vec::new();
    while let Some(row) = rows.next()? {
        let mut cells = Cells::new(row, "peppers");
        peppers.push(PepperCheck {
            number: cells.get("number", |value| int(value).map(PepperNumber::new))?,
            value: cells.get("check_value", bytes)?,
        });
    }
    Ok(peppers)
}
