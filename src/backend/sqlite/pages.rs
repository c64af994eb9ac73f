//! Pages and counts.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::time::Instant;

use rusqlite::Connection;

use super::codec::{Binder, RowReader};
use super::error::Fault;
use super::events::rows_to_ask;
use super::transaction::READ_BUDGET;
use super::{keys, owners, quarantine, state_column};
use crate::backend::{
    Damage, DamagedRecord, DamagedRow, KeyFilter, KeyPage, KeyPageQuery, OwnerPage, OwnerPageQuery,
    StateSet,
};
use crate::clock::Timestamp;
use crate::id::{KeyId, OwnerId};
use crate::key::{Kind, Source, State};

/// The greatest number of keys that one transaction counts.
const COUNTED_AT_ONCE: usize = 10_000;

/// All keys, newest first, and what decides whether they are meant.
pub(super) const ALL: &str = "SELECT id, kind, expires_at, state FROM keys
     WHERE id > ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3";

/// The same where a page of the table can't be read. Looks at the whole index.
const ALL_BY_INDEX: &str = "SELECT id, kind, expires_at, state FROM keys INDEXED BY keys_by_owner
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

/// A key as far as the index alone shows it; nothing but the id where the rest is damaged.
struct Candidate {
    id: KeyId,
    shown: Option<(Kind, State, Option<Timestamp>)>,
}

impl Candidate {
    fn matches(&self, filter: &KeyFilter) -> bool {
        self.shown.is_none_or(|(kind, state, expires_at)| {
            filter.kind.is_none_or(|wanted| wanted == kind)
                && filter.states.contains(state)
                && filter.expires_in_time(expires_at)
        })
    }
}

/// Returns whether a filter asks for something that no index shows.
fn needs_rows(filter: &KeyFilter) -> bool {
    let KeyFilter {
        owner: _,
        kind: _,
        created_by_key: _,
        states: _,
        now: _,
        expires_before: _,
        name_start,
        prefixes,
        permission,
        tags,
    } = filter;
    let (has_prefixes, has_permission) = (prefixes.is_some(), permission.is_some());
    name_start.is_some() || has_prefixes || has_permission || !tags.is_empty()
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
    let mut last = below;
    let mut noting = |candidate: &Candidate| {
        last = Some(candidate.id);
        visit(candidate)
    };
    match walk_along(connection, &sql, filter, (above, below), rows, &mut noting) {
        // A page of the table can't be read. Its index has the ids too.
        Err(fault) if fault.is_corrupt() && sql == ALL => {
            walk_along(connection, ALL_BY_INDEX, filter, (above, last), rows, visit)
        }
        walked => walked,
    }
}

fn walk_along(
    connection: &Connection,
    sql: &str,
    filter: &KeyFilter,
    (above, below): (Option<KeyId>, Option<KeyId>),
    rows: i64,
    visit: &mut dyn FnMut(&Candidate) -> Result<ControlFlow<()>, Fault>,
) -> Result<(), Fault> {
    let mut statement = connection.prepare_cached(sql)?;
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
        // A row without a readable id can't be shown; a check of the database finds it.
        let Ok(id) = row.field("id") else { continue };
        let shown = shown(&mut row, filter.now).ok();
        if visit(&Candidate { id, shown })?.is_break() {
            break;
        }
    }
    Ok(())
}

fn shown(
    row: &mut RowReader<'_>,
    now: Timestamp,
) -> Result<(Kind, State, Option<Timestamp>), Fault> {
    let (kind, expires_at) = (row.field("kind")?, row.field("expires_at")?);
    let state = row.number_as("state", |number| {
        state_column::state(number.try_into().ok()?, expires_at, now)
    })?;
    Ok((kind, state, expires_at))
}

/// A page of keys. What doesn't match is passed over in the index, without its row.
pub(super) fn keys(connection: &Connection, query: &KeyPageQuery) -> Result<KeyPage, Fault> {
    let filter = &query.filter;
    let keys = Vec::with_capacity(query.limit.min(query.examine));
    let mut page = KeyPage { keys, ..KeyPage::default() };
    let mut loader = keys::Loader::new(connection)?;
    let mut last = None;
    let mut examined = 0;
    // One row more than are looked at shows whether there are more.
    let rows = rows_to_ask(query.examine);
    walk(connection, filter, (query.after, query.before), rows, &mut |candidate| {
        if examined == query.examine || page.keys.len() + page.damaged.len() == query.limit {
            page.next = last;
            return Ok(ControlFlow::Break(()));
        }
        examined += 1;
        last = Some(candidate.id);
        if candidate.matches(filter) {
            let record = DamagedRecord::Key(candidate.id);
            let missing = || Fault::Damaged(Damage::new("keys", "id", record));
            match loader.load(candidate.id).and_then(|key| key.ok_or_else(missing)) {
                Ok(key) => page.keys.extend(Some(key).filter(|key| filter.matches(key))),
                Err(Fault::Damaged(damage)) => page.damaged.push(DamagedRow {
                    quarantine: quarantine::load(connection, candidate.id)?.map(Box::new),
                    ..DamagedRow::new(damage)
                }),
                Err(fault) => return Err(fault),
            }
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
    let mut loader = needs_rows(filter).then(|| keys::Loader::new(connection)).transpose()?;
    walk(connection, filter, (None, below), i64::MAX, &mut |candidate| {
        let is_meant = candidate.matches(filter)
            && match &mut loader {
                None => true,
                Some(loader) => match loader.load(candidate.id) {
                    Ok(key) => key.is_none_or(|key| filter.matches(&key)),
                    // A damaged one counts: it is shown in lists too.
                    Err(Fault::Damaged(_)) => true,
                    Err(fault) => return Err(fault),
                },
            };
        *count += u64::from(is_meant);
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

pub(super) const SWEPT_OWNERS: &str = "INDEXED BY owners_swept
     WHERE id > ?1 AND sweeps IS NOT NULL ORDER BY id LIMIT ?2";

/// A page of owners.
pub(super) fn owners(connection: &Connection, query: &OwnerPageQuery) -> Result<OwnerPage, Fault> {
    let tail = match query {
        OwnerPageQuery { swept: true, .. } => SWEPT_OWNERS,
        OwnerPageQuery { suspended: Some(true), .. } => SUSPENDED_OWNERS,
        _ => OWNERS,
    };
    let mut statement = connection.prepare_cached(&format!("{}{tail}", *owners::SELECT))?;
    let after = query.after.as_ref().map_or("", OwnerId::as_str);
    let mut rows = statement.query((after, rows_to_ask(query.examine)))?;
    let mut page = OwnerPage::default();
    let mut last = None;
    let mut examined = 0;
    while let Some(row) = rows.next()? {
        if examined == query.examine || page.owners.len() + page.damaged.len() == query.limit {
            page.next = last;
            break;
        }
        examined += 1;
        let owner = match owners::decode(row) {
            Ok(owner) => owner,
            Err(Fault::Damaged(damage)) => {
                let id = RowReader::new(row, "owners").field("id").ok();
                last = id.or(last);
                let record = id.map_or(DamagedRecord::Unknown, DamagedRecord::Owner);
                page.damaged.push(Damage { record, ..damage });
                continue;
            }
            Err(fault) => return Err(fault),
        };
        last = Some(owner.id);
        if query.matches(&owner) {
            page.owners.push(owner);
        }
    }
    Ok(page)
}
