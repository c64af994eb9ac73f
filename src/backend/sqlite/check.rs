//! The part of a check beyond the records: the structure of the file, and whether indexes and counts
//! agree with the records; rows that belong to no record.

use std::collections::BTreeMap;

use rusqlite::{Connection, Row};

use super::codec::RowReader;
use super::connect::Connector;
use super::error::Fault;
use super::{keys, requests};
use crate::backend::{BackendErrorKind, Damage, DamagedRecord, Finding};
use crate::id::{KeyId, NumericId};

/// The greatest number of lines that SQLite writes about the structure.
const MAX_LINES: u32 = 1_000;

/// Rows that stand for no record: of each the table, and what selects their ids.
pub(super) const ORPHANS: [(&str, &str, &str); 3] = [
    ("key_usage", "key_id", "NOT EXISTS (SELECT 1 FROM keys WHERE id = key_usage.key_id)"),
    ("owner_usage", "owner", "NOT EXISTS (SELECT 1 FROM owners WHERE id = owner_usage.owner)"),
    (
        "previous_tokens",
        "key_id",
        "NOT EXISTS (SELECT 1 FROM keys WHERE id = previous_tokens.key_id)",
    ),
];

/// Owners whose counts of keys aren't those of their keys.
const MISCOUNTED: &str =
    "SELECT id FROM owners WHERE (keys_all, keys_unrevoked, keys_live, keys_live_standard) IS NOT (
    SELECT count(*), count(*) FILTER (WHERE state != 3),
      count(*) FILTER (WHERE state NOT IN (3, 4)),
      count(*) FILTER (WHERE state NOT IN (3, 4) AND kind = 'standard')
    FROM keys NOT INDEXED WHERE owner = owners.id)";

/// Keys whose numeric ids lead elsewhere.
pub(super) const MISLED: &str = "SELECT id, numeric_id FROM keys NOT INDEXED
    WHERE numeric_id IS NOT NULL AND id IS NOT (
      SELECT key_id FROM numeric_ids WHERE numeric_ids.numeric_id = keys.numeric_id)";

/// Lists the faults of one moment.
pub(super) fn all(connection: &Connection) -> Result<Vec<Finding>, Fault> {
    let (mut findings, mut is_unread) = (Vec::new(), false);
    let parts = [whole_structure, orphans, miscounted, misled, damaged_requests];
    for part in parts {
        match part(connection, &mut findings) {
            // The structure shows why, unless the list of tables is readable and says something else
            // than it should: a bit of it flipped.
            Err(fault) if fault.kind() == BackendErrorKind::Corrupt => is_unread = true,
            checked => checked?,
        }
    }
    if is_unread && findings.is_empty() {
        findings.push(Finding::Structure("the list of tables is damaged".into()));
    }
    Ok(findings)
}

fn whole_structure(connection: &Connection, findings: &mut Vec<Finding>) -> Result<(), Fault> {
    findings.extend(structure(connection, "integrity_check")?);
    Ok(())
}

/// Names the places in a fault of an opening, of which SQLite says only that there are some.
pub(super) fn explained(fault: Fault, connector: &Connector) -> Fault {
    if !fault.is_corrupt() {
        return fault;
    }
    // Only the pages: an index that disagrees keeps no store from opening.
    let found = connector.reader().and_then(|reader| structure(&reader.connection, "quick_check"));
    let place = |finding| match finding {
        Finding::Structure(place) | Finding::Derived(place) => place,
        record => record.to_string(),
    };
    let places: Vec<String> = found.into_iter().flatten().map(place).collect();
    if places.is_empty() { fault } else { Fault::Unreadable(places.join("; ")) }
}

/// Lists what SQLite finds about pages and indexes.
fn structure(connection: &Connection, pragma: &str) -> Result<Vec<Finding>, Fault> {
    let mut findings = lines(connection, pragma)?;
    // Of an index with a lost page that can't be made again, no more need be said.
    let index_of_page = |finding: &Finding| match finding {
        Finding::Structure(what) => {
            what.strip_prefix("index ")?.split_once(',').map(|(name, _)| name.to_owned())
        }
        _ => None,
    };
    let lost: Vec<String> = findings.iter().filter_map(index_of_page).collect();
    findings
        .retain(|finding| !index_of(finding).is_some_and(|name| lost.iter().any(|it| it == name)));
    Ok(findings)
}

fn lines(connection: &Connection, pragma: &str) -> Result<Vec<Finding>, Fault> {
    let trees = Trees::read(connection)?;
    let all = trees.check(connection, &format!("PRAGMA {pragma}({MAX_LINES})"))?;
    if all != [unread("a page")] {
        return Ok(all);
    }
    // It couldn't go on, and named no place.
    let mut findings = Vec::new();
    for (table, indexes) in &trees.tables {
        let found = trees.check(connection, &format!("PRAGMA {pragma}('{table}')"))?;
        if found != [unread("a page")] {
            findings.extend(found);
        } else if is_readable(connection, table)? {
            findings.extend(indexes.iter().map(|index| index_finding(index)));
        } else {
            findings.push(unread(&format!("table {table}, a page")));
        }
    }
    Ok(if findings.is_empty() { all } else { findings })
}

fn unread(what: &str) -> Finding {
    Finding::Structure(format!("{what} can't be read"))
}

/// Whether all columns of a table can be read, whatever its indexes say.
fn is_readable(connection: &Connection, table: &str) -> Result<bool, Fault> {
    let mut statement = connection.prepare(&format!("SELECT * FROM {table} NOT INDEXED"))?;
    let mut rows = statement.query([])?;
    loop {
        match rows.next().map_err(Fault::from) {
            Ok(Some(_)) => {}
            Ok(None) => return Ok(true),
            Err(fault) if fault.is_corrupt() => return Ok(false),
            Err(fault) => return Err(fault),
        }
    }
}

/// The trees of the file by their first pages.
struct Trees {
    by_root: BTreeMap<i64, String>,
    indexes: Vec<String>,
    /// The tables, each with its own indexes.
    tables: BTreeMap<String, Vec<String>>,
}

impl Trees {
    fn read(connection: &Connection) -> Result<Self, Fault> {
        let sql = "SELECT rootpage, name, type, tbl_name FROM sqlite_schema WHERE rootpage > 0";
        let mut statement = connection.prepare(sql)?;
        let mut rows = statement.query([])?;
        let (mut by_root, mut indexes) = (BTreeMap::new(), Vec::new());
        let mut tables = BTreeMap::<String, Vec<String>>::new();
        while let Some(row) = rows.next()? {
            let name: String = row.get(1)?;
            let of_table = tables.entry(row.get(3)?).or_default();
            if row.get::<_, String>(2)? == "index" {
                indexes.push(name.clone());
                // SQLite makes the others with their tables, and replaces none.
                of_table
                    .extend(Some(name.clone()).filter(|it| !it.starts_with("sqlite_autoindex")));
            }
            by_root.insert(row.get(0)?, name);
        }
        Ok(Self { by_root, indexes, tables })
    }

    /// Runs a check, and reads what SQLite writes.
    fn check(&self, connection: &Connection, pragma: &str) -> Result<Vec<Finding>, Fault> {
        let mut statement = connection.prepare(pragma)?;
        let mut rows = statement.query([])?;
        let mut findings = Vec::new();
        loop {
            match rows.next().map_err(Fault::from) {
                Ok(Some(row)) => {
                    let text: String = row.get(0)?;
                    findings.extend(text.lines().filter_map(|line| self.finding(line)));
                }
                Ok(None) => return Ok(findings),
                // It ends where it can't go on. The lines before name the page.
                Err(fault) if fault.is_corrupt() => {
                    if findings.is_empty() {
                        findings.push(unread("a page"));
                    }
                    return Ok(findings);
                }
                Err(fault) => return Err(fault),
            }
        }
    }

    /// Reads a line of SQLite's. Values of columns are looked at elsewhere, with their rows' ids; a
    /// page that is used no more loses nothing.
    fn finding(&self, line: &str) -> Option<Finding> {
        let is_of_value = ["CHECK constraint", "NULL value", "TEXT value", "NUMERIC value", "non-"];
        if line == "ok"
            || line.starts_with("***")
            || line.contains("never used")
            || is_of_value.iter().any(|start| line.starts_with(start)) && !line.contains("index")
        {
            return None;
        }
        if let Some(index) =
            self.indexes.iter().find(|index| line.ends_with(&format!("index {index}")))
        {
            return Some(index_finding(index));
        }
        if line == "database disk image is malformed" {
            return Some(unread("a page"));
        }
        let Some((root, place)) = line.strip_prefix("Tree ").and_then(|rest| rest.split_once(' '))
        else {
            return Some(Finding::Structure(line.to_owned()));
        };
        let root = root.trim_end_matches(':').parse().ok();
        let name = root.and_then(|root: i64| self.by_root.get(&root));
        match name {
            // SQLite makes these with their tables, and replaces none.
            Some(name) if name.starts_with("sqlite_autoindex") => {
                Some(Finding::Structure(format!("index {name}, {place}")))
            }
            Some(name) if self.indexes.contains(name) => Some(index_finding(name)),
            Some(name) => Some(Finding::Structure(format!("table {name}, {place}"))),
            None => Some(Finding::Structure(line.to_owned())),
        }
    }
}

fn index_finding(name: &str) -> Finding {
    Finding::Derived(format!("index {name}"))
}

/// The name of the index that a finding is about.
pub(super) fn index_of(finding: &Finding) -> Option<&str> {
    match finding {
        Finding::Derived(what) => what.strip_prefix("index "),
        _ => None,
    }
}

fn orphans(connection: &Connection, findings: &mut Vec<Finding>) -> Result<(), Fault> {
    for (table, column, condition) in ORPHANS {
        let sql = format!("SELECT DISTINCT {column} FROM {table} WHERE {condition}");
        let mut statement = connection.prepare_cached(&sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let of = named(row, table);
            findings.push(Finding::Derived(format!("{table} of {of}, which isn't there")));
        }
    }
    Ok(())
}

fn named(row: &Row<'_>, table: &'static str) -> String {
    if let Ok(id) = RowReader::new(row, table).field::<KeyId>("id") {
        return DamagedRecord::Key(id).to_string();
    }
    let owner = RowReader::new(row, table).field("id");
    owner.map_or(DamagedRecord::Unknown, DamagedRecord::Owner).to_string()
}

fn miscounted(connection: &Connection, findings: &mut Vec<Finding>) -> Result<(), Fault> {
    let mut statement = connection.prepare_cached(MISCOUNTED)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        findings.push(Finding::Derived(format!("the counts of {}", named(row, "owners"))));
    }
    Ok(())
}

/// Shows the keys whose numeric ids lead elsewhere.
pub(super) fn each_misled(
    connection: &Connection,
    visit: &mut dyn FnMut(KeyId, NumericId),
) -> Result<(), Fault> {
    let mut statement = connection.prepare_cached(MISLED)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let mut row = RowReader::new(row, "keys");
        // Of a damaged key the number isn't certain.
        if let (Ok(id), Ok(numeric_id)) = (row.field("id"), row.field("numeric_id"))
            && keys::load(connection, id).is_ok()
        {
            visit(id, numeric_id);
        }
    }
    Ok(())
}

fn misled(connection: &Connection, findings: &mut Vec<Finding>) -> Result<(), Fault> {
    each_misled(connection, &mut |id, _| {
        findings.push(Finding::Derived(format!("numeric_ids of {}", DamagedRecord::Key(id))));
    })
}

fn damaged_requests(connection: &Connection, findings: &mut Vec<Finding>) -> Result<(), Fault> {
    requests::each(connection, &mut |request| match request {
        Err(Fault::Damaged(damage)) => {
            let damage = Damage { record: DamagedRecord::Request, ..damage };
            findings.push(Finding::Record(damage));
            Ok(())
        }
        request => request.map(drop),
    })
}
