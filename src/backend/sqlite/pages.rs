//! Pages and counts.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::time::Instant;

use rusqlite::Connection;

use super::codec::{Binder, RowReader};
use super::error::Fault;
use super::events::rows_to_ask;
use super::transaction::READ_BUDGET;
use super::{keys, owners, state_column};
use crate::backend::{KeyFilter, KeyPage, KeyPageQuery, OwnerPage, OwnerPageQuery, StateSet};
use crate::id::{KeyId, OwnerId};
use crate::key::{Kind, Source, State};

/// The greatest number of keys that one transaction counts.
const COUNTED_AT_ONCE: usize = 10_000;

/// All keys, newest first, and what decides whether they are meant.
pub(super) const ALL: &str = "SELECT id, kind, expires_at, state FROM keys
     WHERE id > ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3";

/// The keys of one owner in these states, newest first: for each value of the column `state` one
/// walk along the index `keys_by_owner`, merged. Nothing for no state.
pub(super) fn of_owner(states: StateSet) -> Option<String> {
    let shown = State::ALL.into_iter().filter(|state| states.contains(*state));
    let numbers: BTreeSet<u8> = shown.flat_map(state_column::numbers).collect();
    let walks: Vec<String> = numbers
        .into_iter()
        .map(|number| {
            format!(
                "SELECT id, kind, expires_at, state FROM keys INDEXED BY keys_by_owner \
                 WHERE owner = ?4 AND state = {number} AND id > ?1 AND id < ?2"
            )
        })
        .collect();
    let merged = walks.join(" UNION ALL ");
    (!walks.is_empty()).then(|| format!("{merged} ORDER BY id DESC LIMIT ?3"))
}

/// The keys that a key created, newest first.
pub(super) const BY_CREATOR: &str = "SELECT id, kind, expires_at, state FROM keys
     INDEXED BY keys_by_creator
     WHERE created_by_key = ?4 AND id > ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3";

/// The same, if they are this owner's.
pub(super) const BY_CREATOR_OF_OWNER: &str = "SELECT id, kind, expires_at, state FROM keys
     INDEXED BY keys_by_creator
     WHERE created_by_key = ?4 AND id > ?1 AND id < ?2 AND owner = ?5 ORDER BY id DESC LIMIT ?3";

/// A key as far as the index alone shows it.
struct Candidate {
    id: KeyId,
    kind: Kind,
    state: State,
}

impl Candidate {
    fn matches(&self, filter: &KeyFilter) -> bool {
        filter.kind.is_none_or(|kind| kind == self.kind) && filter.states.contains(self.state)
    }
}

/// Shows at most `rows` keys between two ids, newest first.
fn walk(
    connection: &Connection,
    filter: &KeyFilter,
    (above, below): (Option<KeyId>, Option<KeyId>),
    rows: i64,
    visit: &mut dyn FnMut(&Candidate) -> Result<ControlFlow<()>, Fault>,
) -> Result<(), Fault> {
    let sql = match (filter.created_by_key, filter.owner) {
        (Some(_), Some(_)) => Some(BY_CREATOR_OF_OWNER.into()),
        (Some(_), None) => Some(BY_CREATOR.into()),
        (None, Some(_)) => of_owner(filter.states),
        (None, None) => Some(ALL.into()),
    };
    let Some(sql) = sql else { return Ok(()) };
    let mut statement = connection.prepare_cached(&sql)?;
    let mut binder = Binder::new(&mut statement);
    // All ids lie between the empty blob and one of more than 16 bytes.
    let above = above.map_or(Vec::new(), |id| id.to_bytes().to_vec());
    let below = below.map_or(vec![0xff; 17], |id| id.to_bytes().to_vec());
    binder.put(above)?.put(below)?.put(rows)?;
    if let Some(creator) = &filter.created_by_key {
        binder.put(creator.to_bytes())?;
    }
    if let Some(owner) = &filter.owner {
        binder.put(owner.as_str())?;
    }
    let mut rows = binder.query();
    while let Some(row) = rows.next()? {
        let mut row = RowReader::new(row, "keys");
        let (id, kind, expires_at) =
            (row.field("id")?, row.field("kind")?, row.field("expires_at")?);
        let state = row.number_as("state", |number| {
            state_column::state(number.try_into().ok()?, expires_at, filter.now)
        })?;
        if visit(&Candidate { id, kind, state })?.is_break() {
            break;
        }
    }
    Ok(())
}

/// A page of keys. What doesn't match is passed over in the index, without its row.
pub(super) fn keys(connection: &Connection, query: &KeyPageQuery) -> Result<KeyPage, Fault> {
    let filter = &query.filter;
    let mut page = KeyPage { keys: Vec::with_capacity(query.limit.min(query.examine)), next: None };
    let mut loader = keys::Loader::new(connection)?;
    let mut last = None;
    let mut examined = 0;
    // One row more than are looked at shows whether there are more.
    let rows = rows_to_ask(query.examine);
    walk(connection, filter, (query.after, query.before), rows, &mut |candidate| {
        if examined == query.examine || page.keys.len() == query.limit {
            page.next = last;
            return Ok(ControlFlow::Break(()));
        }
        examined += 1;
        last = Some(candidate.id);
        if candidate.matches(filter) {
            let damaged = Fault::Damaged { table: "keys", column: "id" };
            let key = loader.load(candidate.id)?.ok_or(damaged)?;
            page.keys.extend(Some(key).filter(|key| filter.matches(key)));
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(page)
}

/// Counts some keys below an id; adds to `count` and returns where to go on.
pub(super) fn count(
    connection: &Connection,
    filter: &KeyFilter,
    below: Option<KeyId>,
    count: &mut u64,
) -> Result<Option<KeyId>, Fault> {
    let started = Instant::now();
    let (mut seen, mut next) = (0, None);
    walk(connection, filter, (None, below), i64::MAX, &mut |candidate| {
        *count += u64::from(candidate.matches(filter));
        seen += 1;
        if seen < COUNTED_AT_ONCE && (seen % 64 != 0 || started.elapsed() < READ_BUDGET) {
            return Ok(ControlFlow::Continue(()));
        }
        next = Some(candidate.id);
        Ok(ControlFlow::Break(()))
    })?;
    Ok(next)
}

pub(super) const OWNERS: &str = "WHERE id > ?1 ORDER BY id LIMIT ?2";
pub(super) const SUSPENDED_OWNERS: &str = "INDEXED BY owners_suspended
     WHERE id > ?1 AND suspended_at IS NOT NULL ORDER BY id LIMIT ?2";

/// A page of owners.
pub(super) fn owners(connection: &Connection, query: &OwnerPageQuery) -> Result<OwnerPage, Fault> {
    let tail = if query.suspended == Some(true) { SUSPENDED_OWNERS } else { OWNERS };
    let mut statement = connection.prepare_cached(&format!("{}{tail}", *owners::SELECT))?;
    let after = query.after.as_ref().map_or("", OwnerId::as_str);
    let mut rows = statement.query((after, rows_to_ask(query.examine)))?;
    let mut page = OwnerPage { owners: Vec::new(), next: None };
    let mut last = None;
    let mut examined = 0;
    while let Some(row) = rows.next()? {
        if examined == query.examine || page.owners.len() == query.limit {
            page.next = last;
            break;
        }
        let owner = owners::decode(row)?;
        examined += 1;
        last = Some(owner.id);
        if query.suspended.is_none_or(|suspended| suspended == owner.suspended.is_some()) {
            page.owners.push(owner);
        }
    }
    Ok(page)
}
