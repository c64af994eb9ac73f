//! Free pages: given back to the file system in pieces, so that a file becomes shorter after its events
//! were pruned.
//!
//! SQLite moves a page from the file's end into the place of a free one, and cuts the file there. It
//! knows which page points to the moved one only in a file that was made with `auto_vacuum`, as each
//! new one is. In an older file free pages are used again, and stay.

use rusqlite::Connection;

use super::error::Fault;

/// The most pages that one transaction gives back: a transaction that prunes as many events as it may
/// frees fewer.
const PIECE: i64 = 128;
/// The share of the file that stays free, for the records to come. Without it, a store that prunes and
/// writes as much all the time would move its pages to and fro.
const SHARE: i64 = 16;
const FEW: i64 = 64;

/// Makes a file whose free pages can be given back. In the transaction that makes the file, before any
/// other statement.
pub(super) fn prepare(connection: &Connection) -> Result<(), Fault> {
    Ok(connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?)
}

/// Gives free pages back, a bounded number of them, if the file has many.
pub(super) fn give_back(connection: &Connection) -> Result<(), Fault> {
    let number = |sql| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
    let free = number("PRAGMA freelist_count")?;
    let surplus = free - (number("PRAGMA page_count")? / SHARE).max(FEW);
    if surplus <= 0 {
        return Ok(());
    }
    let sql = format!("PRAGMA incremental_vacuum({})", surplus.min(PIECE));
    let mut statement = connection.prepare_cached(&sql)?;
    let mut steps = statement.query([])?;
    // A row without columns for each page.
    while steps.next()?.is_some() {}
    Ok(())
}
