//! Lists of keys, owners and events, page by page.

use super::authorize::Principal;
use super::cursor::{Cursor, Scope, query_hash};
use crate::authority::{Actor, Authority};
use crate::backend::{
    Damage, DamagedRow, EventFilter, EventPage, EventQuery, KeyFilter, KeyPage, KeyPageQuery,
    OwnerPageQuery,
};
use crate::clock::Timestamp;
use crate::id::KeyId;
use crate::invalid::{Invalid, Problem};
use crate::key::{
    KeyName, KeyRecord, OwnerRecord, Prefix, PrefixNumber, State, StoreMetadata, Tags,
};
use crate::permission::PermissionFilter;
use crate::store::engine::Engine;
use crate::store::types::KeyUsage;
use crate::store::types::error::{Error, Resource};
use crate::store::types::owner_view::Owner;
use crate::store::types::request::{ListEvents, ListKeys, ListOwners};
use crate::store::types::views::{DamagedEntry, Events, Key, Page};
use crate::store::usage::UsageRecorder;

/// Largest number of rows that the backend examines for one page.
pub(super) const MAX_EXAMINED: usize = 2_000;

pub(in crate::store) fn list_keys(
    engine: &Engine,
    usage: &UsageRecorder,
    authority: &Authority,
    query: &ListKeys,
) -> Result<Page<Key>, Error> {
    let caller = Principal::new(engine, authority)?;
    let PageOfKeys { records, mut damaged, next } = page_of_keys(engine, usage, &caller, query)?;
    let metadata = engine.records.metadata().metadata;
    let owners = owners_of(engine, &records)?;
    let usage = usage.of(&records, caller.now)?;
    let mut items = Vec::with_capacity(records.len());
    for (key, usage) in records.into_iter().zip(usage) {
        let usage = damaged_usage(usage, key.id, &mut damaged);
        match owners.iter().find(|owner| owner.id == key.owner) {
            Some(owner) => items.push(
                Key::new(key, owner, &metadata, (caller.viewer(), caller.now)).with_usage(usage),
            ),
            // Its owner's record is damaged, or it was deleted meanwhile.
            None => damaged.extend(
                engine
                    .records
                    .damages
                    .key(key.id)
                    .map(|row| DamagedEntry::new(row, caller.viewer())),
            ),
        }
    }
    Ok(Page { items, damaged, next })
}

pub(in crate::store) fn list_unmatched(
    engine: &Engine,
    usage: &UsageRecorder,
    authority: &Authority,
    query: &ListKeys,
) -> Result<Page<Key>, Error> {
    Principal::new(engine, authority)?.require_administrator()?;
    let mut page = list_keys(engine, usage, authority, query)?;
    let catalogue = engine.records.catalogue();
    page.items.retain(|key| key.access.unmatched(catalogue).next().is_some());
    Ok(page)
}

/// Returns the usage to show of a key. Damage of it joins what else is damaged of the page.
pub(super) fn damaged_usage(
    usage: Result<Option<KeyUsage>, Damage>,
    key: KeyId,
    damaged: &mut Vec<DamagedEntry>,
) -> Option<KeyUsage> {
    usage.unwrap_or_else(|damage| {
        damaged.push(DamagedEntry::of_key(key, damage));
        None
    })
}

pub(in crate::store) fn count_keys(
    engine: &Engine,
    usage: &UsageRecorder,
    authority: &Authority,
    query: &ListKeys,
) -> Result<u64, Error> {
    let caller = Principal::new(engine, authority)?;
    let scope = scope(&caller, query)?;
    let filter = filter(engine, usage, &caller, query)?;
    if query.unused_since.is_some() {
        return count_pages(engine, usage, &caller, query);
    }
    let count = |owner| {
        let filter = KeyFilter { owner, ..filter.clone() };
        engine.records.backend.count_keys(&filter)
    };
    match scope {
        Scope::All => Ok(count(None)?),
        Scope::Owners(owners) => {
            owners.into_iter().try_fold(0, |sum, owner| Ok(sum + count(Some(owner))?))
        }
    }
}

/// Counts keys page by page: no backend knows which of them are unused.
fn count_pages(
    engine: &Engine,
    usage: &UsageRecorder,
    caller: &Principal<'_>,
    query: &ListKeys,
) -> Result<u64, Error> {
    let limit = ListKeys::MAX_LIMIT;
    let mut query = ListKeys { after: None, until: None, cursor: None, limit, ..query.clone() };
    let mut count = 0;
    loop {
        let page = page_of_keys(engine, usage, caller, &query)?;
        // A damaged one counts: it is shown in lists too.
        count += (page.records.len() + page.damaged.len()) as u64;
        match page.next {
            Some(next) => query.cursor = Some(next),
            None => return Ok(count),
        }
    }
}

pub(in crate::store) fn list_owners(
    engine: &Engine,
    authority: &Authority,
    query: &ListOwners,
) -> Result<Page<Owner>, Error> {
    let caller = Principal::new(engine, authority)?;
    caller.require_administrator()?;
    let page = engine.records.backend.page_owners(&OwnerPageQuery {
        after: query.after,
        suspended: query.suspended,
        tags: Tags::new(&query.tags)?,
        examine: MAX_EXAMINED,
        ..OwnerPageQuery::all(clamp(query.limit.unwrap_or(ListKeys::DEFAULT_LIMIT)))
    })?;
    let items = page.owners.into_iter();
    let items = items.map(|owner| Owner::new(owner, caller.viewer())).collect();
    let damaged = page.damaged.into_iter().map(DamagedRow::new);
    let damaged = damaged.map(|row| DamagedEntry::new(row, caller.viewer())).collect();
    Ok(Page { items, damaged, next: page.next.map(|owner| owner.to_string()) })
}

pub(in crate::store) fn events(
    engine: &Engine,
    authority: &Authority,
    query: &ListEvents,
) -> Result<Events, Error> {
    let caller = Principal::new(engine, authority)?;
    let own = caller.authority.role.owner().copied();
    if let (Some(own), Some(requested)) = (own, query.owner)
        && own != requested
    {
        return Err(Error::NotFound(Resource::Owner));
    }
    // An owner sees the events of its own incarnation: those of an owner that had its id before
    // aren't its own.
    let incarnation = match own {
        Some(own) => Some(caller.load_owner(engine, &own)?.incarnation),
        None => None,
    };
    if let (Some(own), Some(requested)) = (incarnation, query.incarnation)
        && own != requested
    {
        return Err(Error::NotFound(Resource::Owner));
    }
    let page = engine.records.backend.events(&EventQuery {
        after: query.after,
        before: query.before,
        filter: EventFilter {
            key: query.key,
            owner: own.or(query.owner),
            incarnation: incarnation.or(query.incarnation),
            actor: query.actor.as_ref().map(Actor::new).transpose()?,
            acting_key: query.acting_key,
            viewer: caller.viewer(),
            kind: query.kind,
            since: query.since,
            until: query.until,
        },
        limit: clamp(query.limit.unwrap_or(ListKeys::DEFAULT_LIMIT)),
        examine: MAX_EXAMINED,
    })?;
    let mut page = page;
    let events = std::mem::take(&mut page.events).into_iter();
    let items = events.map(|event| event.shown_to(caller.viewer())).collect();
    let EventPage { damaged, next, pruned_through, .. } = page;
    Ok(Events { items, damaged, next, pruned_through })
}

/// The records of a page of keys.
pub(super) struct PageOfKeys {
    pub(super) records: Vec<KeyRecord>,
    pub(super) damaged: Vec<DamagedEntry>,
    /// The cursor of the next page.
    pub(super) next: Option<String>,
}

/// Returns the records of a page.
pub(super) fn page_of_keys(
    engine: &Engine,
    usage: &UsageRecorder,
    caller: &Principal<'_>,
    query: &ListKeys,
) -> Result<PageOfKeys, Error> {
    let scope = scope(caller, query)?;
    let filter = filter(engine, usage, caller, query)?;
    let hash = query_hash(&scope, query);
    let (limit, before) = match &query.cursor {
        Some(text) => {
            let cursor = Cursor::read(text, &hash)?;
            (cursor.limit, Some(cursor.position))
        }
        None => (clamp(query.limit), query.after),
    };
    let pages = match &scope {
        Scope::All => 1,
        Scope::Owners(owners) => owners.len().max(1),
    };
    // Among all keys that may be examined those that were used are found afterwards.
    let most = if query.unused_since.is_some() { MAX_EXAMINED } else { limit };
    let load_page = |owner| {
        engine.records.backend.page_keys(&KeyPageQuery {
            filter: KeyFilter { owner, ..filter.clone() },
            before,
            after: query.until,
            limit: most,
            examine: MAX_EXAMINED / pages,
        })
    };
    let mut page = match &scope {
        Scope::All => load_page(None)?,
        Scope::Owners(owners) => {
            let pages = owners.iter().map(|owner| load_page(Some(*owner)));
            merge(pages.collect::<Result<_, _>>()?, most)
        }
    };
    if let Some(since) = query.unused_since {
        page.keys = unused(usage, page.keys, since, caller.now)?;
        page = cut(page, limit);
    }
    let next = page.next.map(|position| Cursor { position, limit }.write(&hash));
    // Revoked by its entry, a key is shown where revoked ones are asked for.
    let is_shown = |row: &DamagedRow| !row.is_revoked() || query.states.contains(State::Revoked);
    let damaged = page.damaged.into_iter().filter(is_shown);
    let damaged = damaged.map(|row| DamagedEntry::new(row, caller.viewer())).collect();
    Ok(PageOfKeys { records: page.keys, damaged, next })
}

/// Returns those of some keys whose last use, or whose creation if they were never used, lies before
/// a moment. A key with a damaged usage stays, so that the list shows the damage.
fn unused(
    usage: &UsageRecorder,
    keys: Vec<KeyRecord>,
    since: Timestamp,
    now: Timestamp,
) -> Result<Vec<KeyRecord>, Error> {
    let usage = usage.of(&keys, now)?;
    let is_unused = |(key, usage): &(KeyRecord, Result<Option<KeyUsage>, Damage>)| {
        let Ok(usage) = usage else { return true };
        usage.and_then(|usage| usage.last_used_at).unwrap_or(key.created_at) < since
    };
    Ok(keys.into_iter().zip(usage).filter(is_unused).map(|(key, _)| key).collect())
}

/// Loads the owners of some keys. An owner that was deleted meanwhile, or whose record is damaged,
/// is left out.
pub(super) fn owners_of(engine: &Engine, keys: &[KeyRecord]) -> Result<Vec<OwnerRecord>, Error> {
    let mut owners: Vec<OwnerRecord> = Vec::new();
    for key in keys {
        if !owners.iter().any(|owner| owner.id == key.owner) {
            match engine.records.backend.owner(&key.owner) {
                Ok(owner) => owners.extend(owner),
                Err(error) if error.damage().is_some() => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(owners)
}

/// Loads all keys that a filter lets through, newest first, and apart from them the damaged ones.
pub(super) fn all_keys(
    engine: &Engine,
    filter: KeyFilter,
) -> Result<(Vec<KeyRecord>, Vec<DamagedRow>), Error> {
    let (limit, examine) = (MAX_EXAMINED, MAX_EXAMINED);
    let mut query = KeyPageQuery { filter, before: None, after: None, limit, examine };
    let (mut keys, mut damaged) = (Vec::new(), Vec::new());
    loop {
        let page = engine.records.backend.page_keys(&query)?;
        keys.extend(page.keys);
        damaged.extend(page.damaged);
        match page.next {
            Some(next) => query.before = Some(next),
            None => return Ok((keys, damaged)),
        }
    }
}

/// Makes the filter of a query, for the keys of all owners.
fn filter(
    engine: &Engine,
    usage: &UsageRecorder,
    caller: &Principal<'_>,
    query: &ListKeys,
) -> Result<KeyFilter, Error> {
    if query.unused_since.is_some() && !usage.is_kept() {
        let problem = Problem::Required { what: "needs a store that keeps usage" };
        return Err(Invalid::new("unused_since", problem).into());
    }
    if let Some(start) = &query.name_start
        && start.len() > KeyName::MAX_LEN
    {
        let (given, limit) = (start.len(), KeyName::MAX_LEN);
        return Err(Invalid::new("name", Problem::TooLong { given, limit }).into());
    }
    let permission = query.permission.as_ref();
    let permission = permission
        .map(|name| PermissionFilter::new(name, engine.records.catalogue()))
        .transpose()?;
    Ok(KeyFilter {
        kind: query.kind,
        created_by_key: query.created_by_key,
        name_start: query.name_start.clone(),
        prefixes: prefix_numbers(&engine.records.metadata().metadata, &query.prefixes)?,
        permission,
        expires_before: query.expires_before,
        tags: Tags::new(&query.tags)?,
        ..KeyFilter::new(query.states, caller.now)
    })
}

/// Returns the numbers of prefixes; `None` for no prefix, which asks for none.
fn prefix_numbers(
    metadata: &StoreMetadata,
    prefixes: &[Prefix],
) -> Result<Option<Vec<PrefixNumber>>, Invalid> {
    let number = |prefix: &Prefix| {
        // One that is accepted no more stands on keys all the same.
        let known = metadata.prefixes.entries().iter().find(|entry| entry.prefix == *prefix);
        let unknown = || Problem::Unknown { name: prefix.to_string() };
        known.map(|entry| entry.number).ok_or_else(|| Invalid::new("prefix", unknown()))
    };
    let numbers: Vec<PrefixNumber> = prefixes.iter().map(number).collect::<Result<_, _>>()?;
    Ok((!numbers.is_empty()).then_some(numbers))
}

/// Returns the requested owners; an error if the caller may not see one of them.
fn scope(caller: &Principal<'_>, query: &ListKeys) -> Result<Scope, Error> {
    let mut requested = query.owners.clone();
    requested.sort_unstable();
    requested.dedup();
    if requested.len() > ListKeys::MAX_OWNERS {
        let (given, limit) = (requested.len(), ListKeys::MAX_OWNERS);
        return Err(Invalid::new("owners", Problem::TooMany { given, limit }).into());
    }
    match caller.authority.role.owner() {
        Some(_) if requested.iter().any(|owner| !caller.reaches(owner)) => {
            Err(Error::NotFound(Resource::Owner))
        }
        Some(own) => Ok(Scope::Owners(vec![*own])),
        None if requested.is_empty() => Ok(Scope::All),
        None => Ok(Scope::Owners(requested)),
    }
}

fn clamp(limit: usize) -> usize {
    limit.clamp(1, ListKeys::MAX_LIMIT)
}

/// Merges the pages of several owners into one. Leaves for the next page the keys below the point
/// to which all of these pages were examined.
fn merge(pages: Vec<KeyPage>, limit: usize) -> KeyPage {
    let examined_to: Option<KeyId> = pages.iter().filter_map(|page| page.next).max();
    let (mut keys, mut damaged) = (Vec::new(), Vec::new());
    for page in pages {
        keys.extend(page.keys);
        damaged.extend(page.damaged);
    }
    keys.sort_unstable_by_key(|key: &KeyRecord| std::cmp::Reverse(key.id));
    if let Some(examined_to) = examined_to {
        keys.retain(|key| key.id >= examined_to);
    }
    cut(KeyPage { keys, damaged, next: examined_to }, limit)
}

/// Leaves the keys beyond a limit for the next page.
fn cut(mut page: KeyPage, limit: usize) -> KeyPage {
    if page.keys.len() > limit {
        page.keys.truncate(limit);
        page.next = page.keys.last().map(|key| key.id);
    }
    // Those below come with the next page.
    page.damaged.retain(|row: &DamagedRow| row.key() >= page.next);
    page
}
