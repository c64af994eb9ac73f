//! The writes of a repair, which follow from whole records.

use rusqlite::Connection;

use super::check::{self, ORPHANS, index_of};
use super::error::Fault;
use super::{keys, owners, usage};
use crate::backend::{Finding, UsageSubject};
use crate::clock::Timestamp;
use crate::key::Usage;

/// One thing that a repair does, in a transaction of its own: where a page can't be read, it is left,
/// and the others are done.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step<'a> {
    /// Makes an index again. That takes that each of its pages can be read.
    Reindex(&'a str),
    /// Makes an index again, and leaves its pages unused.
    ReplaceIndex(&'a str),
    ReplaceUsage(UsageSubject),
    /// Removes the rows of a table that stand for no record.
    RemoveOrphans(&'static str, &'static str),
    LeadNumericIds,
    CountKeys,
}

/// The steps that mend what these findings are about, and can be mended. Only the first of a group that
/// can be done is needed.
pub(super) fn steps(findings: &[Finding]) -> Vec<Vec<Step<'_>>> {
    let indexes = findings.iter().filter_map(index_of);
    let indexes = indexes.map(|name| vec![Step::Reindex(name), Step::ReplaceIndex(name)]);
    let usage = findings.iter().filter_map(Finding::usage_of);
    let usage = usage.map(|of| vec![Step::ReplaceUsage(of)]);
    let orphans = ORPHANS.map(|(table, _, which)| vec![Step::RemoveOrphans(table, which)]);
    let rest = [vec![Step::LeadNumericIds], vec![Step::CountKeys]];
    indexes.chain(usage).chain(orphans).chain(rest).collect()
}

impl Step<'_> {
    pub(super) fn run(self, connection: &Connection, now: Timestamp) -> Result<(), Fault> {
        match self {
            Self::Reindex(name) => Ok(connection.execute_batch(&format!("REINDEX {name}"))?),
            Self::ReplaceIndex(name) => replace_index(connection, name),
            Self::ReplaceUsage(of) => replace_usage(connection, &of, now),
            Self::RemoveOrphans(table, which) => {
                connection.execute(&format!("DELETE FROM {table} WHERE {which}"), [])?;
                Ok(())
            }
            Self::LeadNumericIds => lead_numeric_ids(connection),
            Self::CountKeys => owners::count_again(connection),
        }
    }
}

fn lead_numeric_ids(connection: &Connection) -> Result<(), Fault> {
    let mut misled = Vec::new();
    check::each_misled(connection, &mut |id, numeric_id| misled.push((id, numeric_id)))?;
    for (id, numeric_id) in misled {
        let sql = "INSERT OR REPLACE INTO numeric_ids (numeric_id, key_id) VALUES (?, ?)";
        let number = i64::try_from(numeric_id.get()).unwrap_or(i64::MAX);
        connection.prepare_cached(sql)?.execute((number, id.to_bytes()))?;
    }
    Ok(())
}

/// Takes an index out of the schema, and makes another in its place. Its pages stay unused.
fn replace_index(connection: &Connection, name: &str) -> Result<(), Fault> {
    let sql: Option<String> = connection.query_row(
        "SELECT sql FROM sqlite_schema WHERE type = 'index' AND name = ?",
        [name],
        |row| row.get(0),
    )?;
    // One that SQLite has made by itself has no words of its own. It belongs to its table.
    let Some(sql) = sql else { return Ok(()) };
    connection.execute_batch("PRAGMA writable_schema = ON")?;
    let taken_out = connection.execute("DELETE FROM sqlite_schema WHERE name = ?", [name]);
    connection.execute_batch("PRAGMA writable_schema = RESET")?;
    taken_out?;
    Ok(connection.execute_batch(&sql)?)
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
