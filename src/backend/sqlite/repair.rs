//! What a repair writes: that which follows from whole records.

use rusqlite::Connection;

use super::check::{self, ORPHANS, index_of};
use super::error::Fault;
use super::{keys, owners, usage};
use crate::backend::{Finding, UsageSubject};
use crate::clock::Timestamp;
use crate::key::Usage;

/// Mends what these findings are about, and can be mended.
pub(super) fn all(
    connection: &Connection,
    findings: &[Finding],
    now: Timestamp,
) -> Result<(), Fault> {
    for name in findings.iter().filter_map(index_of) {
        index(connection, name)?;
    }
    for of in findings.iter().filter_map(Finding::usage_of) {
        replace_usage(connection, &of, now)?;
    }
    for (table, _, condition) in ORPHANS {
        connection.execute(&format!("DELETE FROM {table} WHERE {condition}"), [])?;
    }
    let mut misled = Vec::new();
    check::each_misled(connection, &mut |id, numeric_id| misled.push((id, numeric_id)))?;
    for (id, numeric_id) in misled {
        let sql = "INSERT OR REPLACE INTO numeric_ids (numeric_id, key_id) VALUES (?, ?)";
        let number = i64::try_from(numeric_id.get()).unwrap_or(i64::MAX);
        connection.prepare_cached(sql)?.execute((number, id.to_bytes()))?;
    }
    owners::count_again(connection)
}

/// Makes an index again. If a page of it can't be read, SQLite can neither empty nor drop it: then it
/// is taken out of the schema, its pages stay unused, and another takes its name.
fn index(connection: &Connection, name: &str) -> Result<(), Fault> {
    let run = |sql: &str| Ok::<_, Fault>(connection.execute_batch(sql)?);
    run("SAVEPOINT one_index")?;
    match run(&format!("REINDEX {name}")) {
        Err(fault) if fault.is_corrupt() => run("ROLLBACK TO one_index; RELEASE one_index")?,
        made => return made.and_then(|()| run("RELEASE one_index")),
    }
    let sql: Option<String> = connection.query_row(
        "SELECT sql FROM sqlite_schema WHERE type = 'index' AND name = ?",
        [name],
        |row| row.get(0),
    )?;
    // One that SQLite has made by itself has no words of its own. It belongs to its table.
    let Some(sql) = sql else { return Ok(()) };
    run("PRAGMA writable_schema = ON")?;
    let taken_out = connection.execute("DELETE FROM sqlite_schema WHERE name = ?", [name]);
    run("PRAGMA writable_schema = RESET")?;
    taken_out?;
    run(&sql)
}

/// Replaces a damaged row: nothing used, and the quota used up, as far as either is damaged.
fn replace_usage(connection: &Connection, of: &UsageSubject, now: Timestamp) -> Result<(), Fault> {
    let limits = match of {
        UsageSubject::Key(id) => keys::load(connection, *id)?.map(|key| key.limits),
        UsageSubject::Owner(id) => owners::load(connection, id)?.map(|owner| owner.limits),
    };
    let Some(limits) = limits else { return Ok(()) };
    let whole = |loaded| match loaded {
        Err(Fault::Damaged(_)) => Ok(None),
        loaded => loaded,
    };
    let usage = whole(usage::load(connection, of))?.unwrap_or_default();
    let stored = match usage.quota {
        None => match usage::load_quota(connection, of) {
            Err(Fault::Damaged(_)) => None,
            stored => stored?,
        },
        stored => stored,
    };
    let run = limits.quota.map(|quota| quota.value);
    let quota = run.map(|run| run.own_state(stored).unwrap_or(run.used_up(now)));
    usage::put(connection, of, Some(&Usage { quota, ..usage }))
}
