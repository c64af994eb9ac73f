//! The queries of records and events, on the tables of one moment or inside a commit.

use std::ops::Bound;

use keyhasp::backend::{
    Damage, DamagedRecord, DamagedRow, EventPage, EventQuery, KeyCounts, KeyFilter, KeyPage,
    KeyPageQuery, OwnerPage, OwnerPageQuery, Scanned, ScannedKey, ScannedOwner, UsageSubject,
};
use keyhasp::clock::Timestamp;
use keyhasp::event::Event;
use keyhasp::id::{KeyId, NumericId, OwnerId};
use keyhasp::key::{
    KeyRecord, OwnerRecord, Quarantine, RecordError, RequestId, RequestRecord, StoreMetadata, Usage,
};
use redb::ReadableTable;

use crate::fault::Fault;
use crate::tables::{self, ALL, Order, Part, View, each, get};

/// Takes a record that was read, unless it is damaged or another one than was looked for.
fn whole<R>(
    read: Result<R, RecordError>,
    part: Part,
    record: DamagedRecord,
    is_meant: impl FnOnce(&R) -> bool,
) -> Result<R, Fault> {
    let damaged = |column| Fault::damaged(Damage::new(part.name(), column, record));
    let read = read.map_err(|error| damaged(error.column()))?;
    if is_meant(&read) { Ok(read) } else { Err(damaged("id")) }
}

pub(crate) fn metadata(view: &impl View) -> Result<Option<StoreMetadata>, Fault> {
    let Some(bytes) = get(view, Part::Meta, tables::STORE)? else { return Ok(None) };
    let store = StoreMetadata::from_bytes(&bytes);
    whole(store, Part::Meta, DamagedRecord::Unknown, |_| true).map(Some)
}

fn owner_of(id: OwnerId, bytes: &[u8]) -> Result<OwnerRecord, Fault> {
    let owner = OwnerRecord::from_bytes(bytes);
    whole(owner, Part::Owners, DamagedRecord::Owner(id), |owner| owner.id == id)
}

pub(crate) fn owner(view: &impl View, id: &OwnerId) -> Result<Option<OwnerRecord>, Fault> {
    let bytes = get(view, Part::Owners, id.as_str().as_bytes())?;
    bytes.map(|bytes| owner_of(*id, &bytes)).transpose()
}

/// Shows each owner; in place of a damaged one its damage.
pub(crate) fn each_owner(
    view: &impl View,
    visit: &mut dyn FnMut(Result<OwnerRecord, Damage>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    each(view, Part::Owners, ALL, Order::Rising, &mut |key, bytes| {
        let loaded = match tables::owner_in(key) {
            Some(id) => owner_of(id, bytes),
            None => Err(Fault::damaged(without_id(Part::Owners))),
        };
        visit(or_damage(loaded)?).map(|()| true)
    })
}

fn or_damage<R>(loaded: Result<R, Fault>) -> Result<Result<R, Damage>, Fault> {
    loaded.map(Ok).or_else(|fault| fault.damage().map(Err))
}

fn without_id(part: Part) -> Damage {
    Damage::new(part.name(), "id", DamagedRecord::Unknown)
}

fn under_quarantine(id: KeyId) -> Damage {
    Damage::new(Part::Quarantine.name(), "id", DamagedRecord::Key(id))
}

/// Loads a quarantine entry. A damaged one counts as none, so that another can replace it.
pub(crate) fn quarantine(view: &impl View, id: KeyId) -> Result<Option<Quarantine>, Fault> {
    let bytes = get(view, Part::Quarantine, &id.to_bytes())?;
    let entry = bytes.and_then(|bytes| Quarantine::from_bytes(&bytes).ok());
    Ok(entry.filter(|entry| entry.id == id))
}

/// Reads a key, unless an entry lies over it.
fn key_of(view: &impl View, id: KeyId, bytes: &[u8]) -> Result<KeyRecord, Fault> {
    if view.table(Part::Quarantine)?.get(&id.to_bytes()[..])?.is_some() {
        return Err(Fault::damaged(under_quarantine(id)));
    }
    let key = KeyRecord::from_bytes(bytes);
    whole(key, Part::Keys, DamagedRecord::Key(id), |key| key.id == id)
}

pub(crate) fn key(view: &impl View, id: KeyId) -> Result<Option<KeyRecord>, Fault> {
    let bytes = get(view, Part::Keys, &id.to_bytes())?;
    bytes.map(|bytes| key_of(view, id, &bytes)).transpose()
}

pub(crate) fn key_by_numeric_id(
    view: &impl View,
    id: NumericId,
) -> Result<Option<KeyRecord>, Fault> {
    let found = get(view, Part::NumericIds, &tables::numeric_id(id))?;
    // The key may be gone; its number stays used.
    found.and_then(|value| tables::key_in(&value)).map_or(Ok(None), |id| key(view, id))
}

/// Shows each key; in place of one that is damaged or under quarantine its damage.
pub(crate) fn each_key(
    view: &impl View,
    visit: &mut dyn FnMut(Result<KeyRecord, Damage>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    each(view, Part::Keys, ALL, Order::Rising, &mut |key, bytes| {
        let loaded = match tables::key_in(key) {
            Some(id) => key_of(view, id, bytes),
            None => Err(Fault::damaged(without_id(Part::Keys))),
        };
        visit(or_damage(loaded)?).map(|()| true)
    })
}

pub(crate) fn counts(view: &impl View, owner: &OwnerId) -> Result<KeyCounts, Fault> {
    let Some(value) = get(view, Part::Counts, owner.as_str().as_bytes())? else {
        return Ok(KeyCounts::default());
    };
    let damage = Damage::new(Part::Counts.name(), "counts", DamagedRecord::Owner(*owner));
    tables::counts_in(&value).ok_or_else(|| Fault::damaged(damage))
}

/// Counts the keys of an owner by looking at them. One that can't be read counts as unrevoked.
pub(crate) fn counted(view: &impl View, owner: &OwnerId) -> Result<KeyCounts, Fault> {
    let mut counts = KeyCounts::default();
    tables::each_lead(view, &tables::of_owner(owner), &mut |lead| {
        let found = tables::key_in(lead).map_or(Ok(None), |id| key(view, id));
        let damaged = KeyCounts { all: 1, unrevoked: 1, ..KeyCounts::default() };
        counts = counts.plus(match or_damage(found)? {
            Ok(key) => KeyCounts::of_any(key.as_ref()),
            Err(_) => damaged,
        });
        Ok(true)
    })?;
    Ok(counts)
}

pub(crate) fn request_of(id: &RequestId, bytes: &[u8]) -> Result<RequestRecord, Fault> {
    let request = RequestRecord::from_bytes(bytes);
    whole(request, Part::Requests, DamagedRecord::Request, |request| request.id == *id)
}

pub(crate) fn request(view: &impl View, id: &RequestId) -> Result<Option<RequestRecord>, Fault> {
    let bytes = get(view, Part::Requests, &id.to_bytes())?;
    bytes.map(|bytes| request_of(id, &bytes)).transpose()
}

pub(crate) fn usage(view: &impl View, of: &UsageSubject) -> Result<Option<Usage>, Fault> {
    let record = match of {
        UsageSubject::Key(id) => DamagedRecord::Key(*id),
        UsageSubject::Owner(id) => DamagedRecord::Owner(*id),
    };
    let Some(bytes) = get(view, Part::Usage, &tables::usage(of))? else { return Ok(None) };
    whole(Usage::from_bytes(&bytes), Part::Usage, record, |_| true).map(Some)
}

// ---------------------------------------------------------------- Scans

pub(crate) fn scan(view: &impl View, visit: &mut dyn FnMut(Scanned)) -> Result<u64, Fault> {
    let last = tables::greatest(view, Part::Events)?;
    each(view, Part::Owners, ALL, Order::Rising, &mut |key, bytes| {
        visit(scanned_owner(key, bytes));
        Ok(true)
    })?;
    // Opened once for all keys.
    let quarantined = view.table(Part::Quarantine)?;
    let has_entries = quarantined.first()?.is_some();
    drop(quarantined);
    each(view, Part::Keys, ALL, Order::Rising, &mut |key, bytes| {
        visit(scanned_key(view, has_entries, key, bytes)?);
        Ok(true)
    })?;
    Ok(last)
}

pub(crate) fn scan_owner(
    view: &impl View,
    owner: &OwnerId,
    visit: &mut dyn FnMut(Scanned),
) -> Result<(), Fault> {
    let id = owner.as_str().as_bytes();
    if let Some(bytes) = get(view, Part::Owners, id)? {
        visit(scanned_owner(id, &bytes));
    }
    tables::each_lead(view, &tables::of_owner(owner), &mut |lead| {
        if let Some(id) = tables::key_in(lead).map(KeyId::to_bytes)
            && let Some(bytes) = get(view, Part::Keys, &id)?
        {
            visit(scanned_key(view, true, &id, &bytes)?);
        }
        Ok(true)
    })
}

fn scanned_owner(key: &[u8], bytes: &[u8]) -> Scanned {
    let Some(id) = tables::owner_in(key) else {
        return Scanned::Damaged(DamagedRow::new(without_id(Part::Owners)));
    };
    let owner = ScannedOwner::from_bytes(bytes);
    match whole(owner, Part::Owners, DamagedRecord::Owner(id), |owner| owner.id == id) {
        Ok(owner) => Scanned::Owner(owner),
        Err(fault) => Scanned::Damaged(DamagedRow::new(
            fault.damage().unwrap_or_else(|_| without_id(Part::Owners)),
        )),
    }
}

fn scanned_key(
    view: &impl View,
    may_be_quarantined: bool,
    key: &[u8],
    bytes: &[u8],
) -> Result<Scanned, Fault> {
    let Some(id) = tables::key_in(key) else {
        return Ok(Scanned::Damaged(DamagedRow::new(without_id(Part::Keys))));
    };
    let is_quarantined =
        may_be_quarantined && get(view, Part::Quarantine, &id.to_bytes())?.is_some();
    let scanned = ScannedKey::from_bytes(bytes);
    let damage = match whole(scanned, Part::Keys, DamagedRecord::Key(id), |key| key.id == id) {
        Ok(key) if !is_quarantined => return Ok(Scanned::Key(key)),
        Ok(_) => under_quarantine(id),
        Err(fault) => fault.damage()?,
    };
    let mut row = DamagedRow::of_key(damage, bytes);
    row.quarantine = quarantine(view, id)?.map(Box::new);
    Ok(Scanned::Damaged(row))
}

// ---------------------------------------------------------------- Pages

/// Shows the keys that may be meant, newest first, between two ids that are left out themselves.
fn each_row(
    view: &impl View,
    filter: &KeyFilter,
    (before, after): (Option<KeyId>, Option<KeyId>),
    visit: &mut dyn FnMut(KeyId, Result<KeyRecord, DamagedRow>) -> Result<bool, Fault>,
) -> Result<(), Fault> {
    if before.zip(after).is_some_and(|(before, after)| after >= before) {
        return Ok(());
    }
    let (part, begin) = match (filter.created_by_key, &filter.owner) {
        (Some(creator), _) => (Part::Index, tables::of_creator(creator)),
        (None, Some(owner)) => (Part::Index, tables::of_owner(owner)),
        (None, None) => (Part::Keys, Vec::new()),
    };
    let at = |id: KeyId| [&begin[..], &id.to_bytes()].concat();
    let (least, greatest) = (at(KeyId::from_u128(0)), at(KeyId::from_u128(u128::MAX)));
    let [after, before] = [after.map(at), before.map(at)];
    let span = (
        after.as_deref().map_or(Bound::Included(&least[..]), Bound::Excluded),
        before.as_deref().map_or(Bound::Included(&greatest[..]), Bound::Excluded),
    );
    each(view, part, span, Order::Falling, &mut |key, bytes| {
        let Some(id) = tables::key_in(key) else { return Ok(true) };
        let loaded = match part {
            Part::Keys => key_of(view, id, bytes),
            _ => match get(view, Part::Keys, &id.to_bytes())? {
                Some(bytes) => key_of(view, id, &bytes),
                None => Err(Fault::damaged(without_id(part))),
            },
        };
        let row = match or_damage(loaded)? {
            Ok(key) => Ok(key),
            Err(damage) => {
                let mut row = DamagedRow::new(damage);
                row.quarantine = quarantine(view, id)?.map(Box::new);
                Err(row)
            }
        };
        visit(id, row)
    })
}

pub(crate) fn page_keys(view: &impl View, query: &KeyPageQuery) -> Result<KeyPage, Fault> {
    let mut page = KeyPage::default();
    let (mut examined, mut last) = (0, None);
    each_row(view, &query.filter, (query.before, query.after), &mut |id, row| {
        if examined == query.examine || page.keys.len() + page.damaged.len() == query.limit {
            page.next = last;
            return Ok(false);
        }
        examined += 1;
        last = Some(id);
        match row {
            Ok(key) => page.keys.extend(Some(key).filter(|key| query.filter.matches(key))),
            Err(row) => page.damaged.push(row),
        }
        Ok(true)
    })?;
    Ok(page)
}

/// Counts the keys that are meant. A damaged one counts: it is shown in lists too.
pub(crate) fn count_keys(view: &impl View, filter: &KeyFilter) -> Result<u64, Fault> {
    let mut count = 0;
    each_row(view, filter, (None, None), &mut |_, row| {
        count += u64::from(row.map_or(true, |key| filter.matches(&key)));
        Ok(true)
    })?;
    Ok(count)
}

pub(crate) fn page_owners(view: &impl View, query: &OwnerPageQuery) -> Result<OwnerPage, Fault> {
    let (part, begin) =
        if query.swept { (Part::Index, tables::SWEPT) } else { (Part::Owners, &[][..]) };
    let after = query.after.map(|id| [begin, id.as_str().as_bytes()].concat());
    let from = after.as_deref().map_or(Bound::Included(begin), Bound::Excluded);
    let mut page = OwnerPage::default();
    let (mut examined, mut last) = (0, None);
    each(view, part, (from, Bound::Unbounded), Order::Rising, &mut |key, bytes| {
        let Some(id) = key.strip_prefix(begin) else { return Ok(false) };
        if examined == query.examine || page.owners.len() + page.damaged.len() == query.limit {
            page.next = last;
            return Ok(false);
        }
        let Some(id) = tables::owner_in(id) else { return Ok(true) };
        examined += 1;
        last = Some(id);
        let loaded = if query.swept { owner(view, &id) } else { owner_of(id, bytes).map(Some) };
        match or_damage(loaded)? {
            Ok(owner) => page.owners.extend(owner.filter(|owner| query.matches(owner))),
            Err(damage) => page.damaged.push(damage),
        }
        Ok(true)
    })?;
    Ok(page)
}

// ---------------------------------------------------------------- Events

pub(crate) fn event_of(sequence: u64, bytes: &[u8]) -> Result<Event, Fault> {
    let event = Event::from_bytes(bytes);
    let record = DamagedRecord::Event(sequence);
    whole(event, Part::Events, record, |event| event.sequence == sequence)
}

pub(crate) fn event(view: &impl View, sequence: u64) -> Result<Option<Event>, Fault> {
    let bytes = get(view, Part::Events, &tables::number(sequence))?;
    bytes.map(|bytes| event_of(sequence, &bytes)).transpose()
}

pub(crate) fn events(view: &impl View, query: &EventQuery) -> Result<EventPage, Fault> {
    let first =
        view.table(Part::Events)?.first()?.and_then(|(key, _)| tables::number_in(key.value()));
    let pruned_through = first.map_or(0, |first| first.saturating_sub(1));
    let mut page = EventPage { pruned_through, ..EventPage::default() };
    // The index may still lead to a damaged event that was pruned.
    let after = query.after.max(page.pruned_through);
    if query.before.is_some_and(|before| after >= before) {
        return Ok(page);
    }
    let (part, begin) = match (query.filter.key, &query.filter.owner) {
        (Some(key), _) => (Part::Index, tables::of_key_events(key)),
        (None, Some(owner)) => (Part::Index, tables::of_owner_events(owner)),
        (None, None) => (Part::Events, Vec::new()),
    };
    let at = |number| [&begin[..], &tables::number(number)].concat();
    let (from, to) = (at(after), at(query.before.unwrap_or(u64::MAX)));
    let order = if query.before.is_some() { Order::Falling } else { Order::Rising };
    let (mut examined, mut last) = (0, query.after);
    let span = (Bound::Excluded(&from[..]), Bound::Excluded(&to[..]));
    each(view, part, span, order, &mut |key, bytes| {
        if examined == query.examine || page.events.len() + page.damaged.len() == query.limit {
            page.next = Some(last);
            return Ok(false);
        }
        let Some(sequence) = tables::number_in(key) else { return Ok(true) };
        examined += 1;
        last = sequence;
        let loaded = match part {
            Part::Events => event_of(sequence, bytes).map(Some),
            _ => event(view, sequence),
        };
        match or_damage(loaded)? {
            Ok(Some(event)) => {
                page.events.extend(Some(event).filter(|event| query.filter.matches(event)));
            }
            Ok(None) | Err(_) => page.damaged.push(sequence),
        }
        Ok(true)
    })?;
    Ok(page)
}

/// Finds the oldest events up to the first that isn't before a moment, at most `limit` and not the
/// newest. A damaged one, which has no time, goes with a whole one after it.
pub(crate) fn oldest_events(
    view: &impl View,
    before: Timestamp,
    limit: usize,
) -> Result<Vec<(u64, Option<Event>)>, Fault> {
    let newest = tables::number(tables::greatest(view, Part::Events)?);
    let mut oldest = Vec::new();
    let span = (Bound::Unbounded, Bound::Excluded(&newest[..]));
    each(view, Part::Events, span, Order::Rising, &mut |key, bytes| {
        let Some(sequence) = tables::number_in(key) else { return Ok(false) };
        let event = or_damage(event_of(sequence, bytes))?.ok();
        if oldest.len() == limit || event.as_ref().is_some_and(|event| event.at >= before) {
            return Ok(false);
        }
        oldest.push((sequence, event));
        Ok(true)
    })?;
    while oldest.last().is_some_and(|(_, event)| event.is_none()) {
        oldest.pop();
    }
    Ok(oldest)
}
