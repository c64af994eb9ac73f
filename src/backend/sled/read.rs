//! The queries, over the trees as they are.

use std::ops::Bound;

use ::sled::IVec;

use super::chunks::{self, Values};
use super::engine::Engine;
use super::fault::Fault;
use super::record::{
    decode_event, decode_key, decode_metadata, decode_owner, decode_request, decode_usage,
    scan_key, scan_owner,
};
use super::trees::{self, Tree};
use crate::backend::{
    EventFilter, EventPage, EventQuery, KeyFilter, KeyPage, KeyPageQuery, OwnerPage,
    OwnerPageQuery, Scanned, UsageSubject,
};
use crate::clock::Timestamp;
use crate::event::Event;
use crate::id::{KeyId, NumericId, OwnerId};
use crate::key::{KeyRecord, OwnerRecord, RequestId, RequestRecord, StoreMetadata, Usage};

/// The position of a read that is done in pieces: it goes on after this key of the tree.
pub(super) type Cursor = Option<IVec>;

impl Engine {
    /// The store's own record, if there is one.
    pub(super) fn metadata(&self) -> Result<Option<StoreMetadata>, Fault> {
        let record = chunks::load(self, Tree::StoreMetadata, trees::STORE)?;
        record.map(|record| decode_metadata(&record)).transpose()
    }

    /// Returns whether a store was created. Where there are other records without the store's own,
    /// that was lost: another in its place would give their prefixes other numbers.
    pub(super) fn has_store(&self) -> Result<bool, Fault> {
        if self.value(Tree::StoreMetadata, trees::STORE)?.is_some() {
            return Ok(true);
        }
        for tree in [Tree::Owners, Tree::Keys, Tree::Events] {
            if self.range(tree, Bound::Unbounded, Bound::Unbounded).next().is_some() {
                return Err(Fault::damaged("the store's own record is missing"));
            }
        }
        Ok(false)
    }

    pub(super) fn last_event(&self) -> Result<u64, Fault> {
        self.number(trees::LAST_EVENT)
    }

    /// Counts the keys, or, where what is stored can't be right, how many fit.
    pub(super) fn expected_keys(&self) -> Result<u64, Fault> {
        Ok(self.number(trees::KEYS)?.min(self.size()? / trees::LEAST_OF_KEY))
    }

    pub(super) fn owner(&self, id: &OwnerId) -> Result<Option<OwnerRecord>, Fault> {
        let record = chunks::load(self, Tree::Owners, trees::owner(id))?;
        record.map(|record| decode_owner(*id, &record)).transpose()
    }

    pub(super) fn key(&self, id: KeyId) -> Result<Option<KeyRecord>, Fault> {
        let record = chunks::load(self, Tree::Keys, &trees::key(id))?;
        record.map(|record| decode_key(id, &record)).transpose()
    }

    pub(super) fn usage(&self, of: &UsageSubject) -> Result<Usage, Fault> {
        let record = chunks::load(self, Tree::Usage, &trees::usage(of))?;
        Ok(record.map(|record| decode_usage(&record)).transpose()?.unwrap_or_default())
    }

    pub(super) fn request(&self, id: &RequestId) -> Result<Option<RequestRecord>, Fault> {
        let record = chunks::load(self, Tree::Requests, &id.to_bytes())?;
        record.map(|record| decode_request(id.clone(), &record)).transpose()
    }

    pub(super) fn key_by_numeric_id(&self, id: NumericId) -> Result<Option<KeyRecord>, Fault> {
        match self.value(Tree::NumericIds, &trees::numeric_id(id))? {
            // The key may be purged; its numeric id is kept.
            Some(key) => self.key(key_id(&key)?),
            None => Ok(None),
        }
    }

    /// Up to `limit` records of `tree` after `cursor`, which is moved on; fewer at the end.
    pub(super) fn scan(
        &self,
        tree: Tree,
        cursor: &mut Cursor,
        limit: usize,
    ) -> Result<Vec<Scanned>, Fault> {
        let mut scanned = Vec::with_capacity(limit);
        let mut last = None;
        for entry in self.range(tree, after(cursor.as_deref()), Bound::Unbounded).take(limit) {
            let (key, head) = entry?;
            let record = chunks::join(self, tree, &key, &head)?;
            scanned.push(match tree {
                Tree::Owners => Scanned::Owner(scan_owner(owner_id(&key)?, &record)?),
                _ => Scanned::Key(scan_key(key_id(&key)?, &record)?),
            });
            last = Some(key);
        }
        *cursor = last.or(cursor.take());
        Ok(scanned)
    }

    /// An owner and its keys.
    pub(super) fn scan_owner(&self, id: &OwnerId) -> Result<Vec<Scanned>, Fault> {
        let mut scanned = Vec::new();
        if let Some(record) = chunks::load(self, Tree::Owners, trees::owner(id))? {
            scanned.push(Scanned::Owner(scan_owner(*id, &record)?));
        }
        let prefix = trees::of_owner(id);
        let end = trees::after_prefix(&prefix);
        for entry in self.range(Tree::OwnerKeys, Bound::Included(&prefix), Bound::Excluded(&end)) {
            let id = key_id(&entry?.0)?;
            let record = chunks::load(self, Tree::Keys, &trees::key(id))?.ok_or_else(missing)?;
            scanned.push(Scanned::Key(scan_key(id, &record)?));
        }
        Ok(scanned)
    }

    /// Counts the keys that match among up to `limit` after `cursor`, which is moved on; `None`
    /// when there was nothing left to look at.
    pub(super) fn count_keys(
        &self,
        filter: &KeyFilter,
        cursor: &mut Cursor,
        limit: usize,
    ) -> Result<Option<u64>, Fault> {
        let rows = KeyRows::new(filter, None, None);
        let from = cursor.take();
        let mut count = None;
        for entry in rows.entries(self, from.as_deref()).take(limit) {
            let (entry, key) = entry?;
            *count.get_or_insert(0) += u64::from(filter.matches(&key));
            *cursor = Some(entry);
        }
        Ok(count)
    }

    pub(super) fn page_keys(&self, query: &KeyPageQuery) -> Result<KeyPage, Fault> {
        let mut page = KeyPage { keys: Vec::new(), next: None };
        if let (Some(after), Some(before)) = (query.after, query.before)
            && after >= before
        {
            return Ok(page);
        }
        let rows = KeyRows::new(&query.filter, query.before, query.after);
        let mut last = None;
        for (examined, entry) in rows.entries(self, None).enumerate() {
            if examined == query.examine || page.keys.len() == query.limit {
                page.next = last;
                break;
            }
            let (_, key) = entry?;
            last = Some(key.id);
            if query.filter.matches(&key) {
                page.keys.push(key);
            }
        }
        Ok(page)
    }

    pub(super) fn page_owners(&self, query: &OwnerPageQuery) -> Result<OwnerPage, Fault> {
        let mut page = OwnerPage { owners: Vec::new(), next: None };
        let from = after(query.after.as_ref().map(trees::owner));
        let mut last = None;
        for (examined, entry) in self.range(Tree::Owners, from, Bound::Unbounded).enumerate() {
            if examined == query.examine || page.owners.len() == query.limit {
                page.next = last;
                break;
            }
            let (key, head) = entry?;
            let id = owner_id(&key)?;
            last = Some(id);
            let owner = decode_owner(id, &chunks::join(self, Tree::Owners, &key, &head)?)?;
            if query.suspended.is_none_or(|suspended| suspended == owner.suspended.is_some()) {
                page.owners.push(owner);
            }
        }
        Ok(page)
    }

    pub(super) fn events(&self, query: &EventQuery) -> Result<EventPage, Fault> {
        let pruned_through = self.first_event()?.map_or(0, |first| first.saturating_sub(1));
        let mut page = EventPage { events: Vec::new(), next: None, pruned_through };
        let mut last = query.after;
        for (examined, entry) in self.event_rows(&query.filter, query.after).enumerate() {
            if examined == query.examine || page.events.len() == query.limit {
                page.next = Some(last);
                break;
            }
            let event = self.event(entry?)?;
            last = event.sequence;
            if query.filter.matches(&event) {
                page.events.push(event);
            }
        }
        Ok(page)
    }

    /// The oldest events up to the first that isn't before a time, at most `limit` and not the
    /// newest.
    pub(super) fn oldest_events(
        &self,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<Event>, Fault> {
        let newest = trees::event(self.last_event()?);
        self.range(Tree::Events, Bound::Unbounded, Bound::Excluded(&newest))
            .take(limit)
            .map(|entry| self.event(event_number(&entry?.0)?))
            .take_while(|event| event.as_ref().map_or(true, |event| event.at < before))
            .collect()
    }

    fn first_event(&self) -> Result<Option<u64>, Fault> {
        let first = self.range(Tree::Events, Bound::Unbounded, Bound::Unbounded).next();
        first.map(|entry| event_number(&entry?.0)).transpose()
    }

    /// Numbers of events greater than `after`, by the index that leaves the fewest.
    fn event_rows(
        &self,
        filter: &EventFilter,
        after: u64,
    ) -> impl Iterator<Item = Result<u64, Fault>> + use<> {
        let (tree, from, end) = match (&filter.key, &filter.owner) {
            (Some(key), _) => {
                let end = trees::key_event(*key, u64::MAX);
                (Tree::KeyEvents, trees::key_event(*key, after), Some(end))
            }
            (None, Some(owner)) => {
                let end = trees::owner_event(owner, u64::MAX);
                (Tree::OwnerEvents, trees::owner_event(owner, after), Some(end))
            }
            (None, None) => (Tree::Events, trees::event(after).to_vec(), None),
        };
        let to = end.as_deref().map_or(Bound::Unbounded, Bound::Included);
        self.range(tree, Bound::Excluded(&from), to).map(|entry| event_number(&entry?.0))
    }

    fn event(&self, sequence: u64) -> Result<Event, Fault> {
        let record = chunks::load(self, Tree::Events, &trees::event(sequence))?;
        let missing = Fault::damaged("an index leads to an event that is not there");
        decode_event(sequence, &record.ok_or(missing)?)
    }
}

/// The keys that a key created, or those of an owner, or all, newest first, between two ids that are
/// themselves left out.
struct KeyRows {
    tree: Tree,
    from: Bound<Vec<u8>>,
    to: Bound<Vec<u8>>,
}

impl KeyRows {
    fn new(filter: &KeyFilter, before: Option<KeyId>, after: Option<KeyId>) -> Self {
        match (filter.created_by_key, &filter.owner) {
            (Some(creator), _) => {
                let at = |id| trees::created_key(creator, id);
                let (newest, oldest) = (KeyId::from_u128(u128::MAX), KeyId::from_u128(0));
                let bound = |id: Option<KeyId>, end| {
                    id.map_or(Bound::Included(at(end)), |id| Bound::Excluded(at(id)))
                };
                let (from, to) = (bound(before, newest), bound(after, oldest));
                Self { tree: Tree::CreatedKeys, from, to }
            }
            (None, Some(owner)) => {
                let prefix = trees::of_owner(owner);
                let at = |id| Bound::Excluded(trees::owner_key(owner, id));
                Self {
                    tree: Tree::OwnerKeys,
                    to: after.map_or(Bound::Excluded(trees::after_prefix(&prefix)), at),
                    from: before.map_or(Bound::Included(prefix), at),
                }
            }
            (None, None) => {
                let at = |id: Option<KeyId>| {
                    id.map_or(Bound::Unbounded, |id| Bound::Excluded(trees::key(id).to_vec()))
                };
                Self { tree: Tree::Keys, from: at(before), to: at(after) }
            }
        }
    }

    /// The rows from the start, or after one of them.
    fn entries<'a>(
        &self,
        engine: &'a Engine,
        cursor: Option<&[u8]>,
    ) -> impl Iterator<Item = Result<(IVec, KeyRecord), Fault>> + use<'a> {
        let tree = self.tree;
        let from = cursor.map_or(self.from.as_ref().map(Vec::as_slice), Bound::Excluded);
        engine.range(tree, from, self.to.as_ref().map(Vec::as_slice)).map(move |entry| {
            let (entry, head) = entry?;
            let id = key_id(&entry)?;
            let key = match tree {
                Tree::Keys => decode_key(id, &chunks::join(engine, tree, &entry, &head)?)?,
                _ => engine.key(id)?.ok_or_else(missing)?,
            };
            Ok((entry, key))
        })
    }
}

fn after(cursor: Option<&[u8]>) -> Bound<&[u8]> {
    cursor.map_or(Bound::Unbounded, Bound::Excluded)
}

fn key_id(bytes: &[u8]) -> Result<KeyId, Fault> {
    trees::key_in(bytes).ok_or(Fault::damaged("a key id is too short"))
}

fn owner_id(bytes: &[u8]) -> Result<OwnerId, Fault> {
    trees::owner_in(bytes).ok_or(Fault::damaged("an owner id is outside its limits"))
}

fn event_number(bytes: &[u8]) -> Result<u64, Fault> {
    trees::event_in(bytes).ok_or(Fault::damaged("an event number is too short"))
}

fn missing() -> Fault {
    Fault::damaged("an index leads to a key that is not there")
}
