//! Records in memory: the reference, and the backend for tests and for keys that need not outlive
//! the process.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{
    Backend, BackendError, BackendErrorKind, Change, ChangeNotifier, CommitOutcome, Damage,
    DamagedRow, EventPage, EventQuery, Finding, KeyCounts, KeyFilter, KeyPage, KeyPageQuery,
    OwnerPage, OwnerPageQuery, Scanned, ScannedKey, Sharing, Transaction, UsageChange,
    UsageOutcome, UsageSubject, apply, apply_usage, check_by_reading, quarantined,
};
use crate::clock::Timestamp;
use crate::event::Event;
use crate::id::{KeyId, NumericId, OwnerId};
use crate::key::{
    KeyName, KeyRecord, OwnerRecord, Quarantine, RequestId, RequestRecord, StoreMetadata, Usage,
};

const NAME: &str = "memory";

/// The memory backend. Nothing is durable: what it holds ends with it.
#[derive(Default)]
pub struct Memory {
    data: Mutex<Option<Data>>,
    announcer: ChangeNotifier,
}

#[derive(Default)]
struct Data {
    metadata: Option<StoreMetadata>,
    owners: BTreeMap<OwnerId, OwnerRecord>,
    keys: BTreeMap<KeyId, KeyRecord>,
    by_owner: BTreeMap<OwnerId, BTreeSet<KeyId>>,
    /// The live keys that expire.
    by_expiry: BTreeMap<OwnerId, BTreeSet<(Timestamp, KeyId)>>,
    /// Kept for ever, also after the key is purged.
    numeric_ids: BTreeMap<NumericId, KeyId>,
    events: BTreeMap<u64, Event>,
    usage: BTreeMap<UsageSubject, Usage>,
    /// Entries over keys. Nothing damages this memory, so that none arises by itself.
    quarantines: BTreeMap<KeyId, Quarantine>,
    requests: BTreeMap<RequestId, RequestRecord>,
    by_time: BTreeSet<(Timestamp, RequestId)>,
}

impl fmt::Debug for Memory {
    /// Shows nothing of what it holds: a handle's Debug shows its backend, and goes into logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").finish_non_exhaustive()
    }
}

impl Memory {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self { data: Mutex::new(Some(Data::default())), announcer: ChangeNotifier::default() }
    }

    fn with<T>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&mut Data) -> Result<T, BackendError>,
    ) -> Result<T, BackendError> {
        match self.lock().as_mut() {
            Some(data) => work(data),
            None => Err(BackendError::new(BackendErrorKind::Closed, NAME, operation)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Data>> {
        self.data.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Backend for Memory {
    fn name(&self) -> &'static str {
        NAME
    }

    fn sharing(&self) -> Sharing {
        Sharing::Exclusive
    }

    fn metadata(&self) -> Result<Option<StoreMetadata>, BackendError> {
        self.with("read metadata", Data::metadata)
    }

    fn scan(&self, visit: &mut dyn FnMut(Scanned)) -> Result<u64, BackendError> {
        self.with("scan", |data| {
            data.owners.values().for_each(|owner| visit(Scanned::Owner(owner.into())));
            data.keys.values().for_each(|key| visit(data.scanned(key)));
            data.last_event()
        })
    }

    fn expected_keys(&self) -> u64 {
        self.with("scan", |data| Ok(data.keys.len() as u64)).unwrap_or_default()
    }

    fn scan_owner(
        &self,
        owner: &OwnerId,
        visit: &mut dyn FnMut(Scanned),
    ) -> Result<(), BackendError> {
        self.with("scan owner", |data| {
            if let Some(owner) = data.owners.get(owner) {
                visit(Scanned::Owner(owner.into()));
            }
            data.keys_of(owner).for_each(|key| visit(data.scanned(key)));
            Ok(())
        })
    }

    fn owner(&self, id: &OwnerId) -> Result<Option<OwnerRecord>, BackendError> {
        self.with("read owner", |data| data.owner(id))
    }

    fn key(&self, id: KeyId) -> Result<Option<KeyRecord>, BackendError> {
        self.with("read key", |data| data.key(id))
    }

    fn key_by_numeric_id(&self, id: NumericId) -> Result<Option<KeyRecord>, BackendError> {
        self.with("read key", |data| match data.numeric_ids.get(&id) {
            Some(key) => data.key(*key),
            None => Ok(None),
        })
    }

    fn request(&self, id: &RequestId) -> Result<Option<RequestRecord>, BackendError> {
        self.with("read request", |data| data.request(id))
    }

    fn quarantine(&self, id: KeyId) -> Result<Option<Quarantine>, BackendError> {
        self.with("read key", |data| Transaction::quarantine(data, id))
    }

    fn check(&self) -> Result<Vec<Finding>, BackendError> {
        check_by_reading(self)
    }

    fn commit(&self, batch: &[Change]) -> Result<CommitOutcome, BackendError> {
        self.with("commit", |data| {
            // Nothing below fails halfway: `apply` refuses before it writes, and memory always
            // takes what is written.
            let outcome = batch.iter().map(|change| apply(data, change)).collect();
            self.announcer.announce(data.last_event()?);
            outcome
        })
    }

    fn page_keys(&self, query: &KeyPageQuery) -> Result<KeyPage, BackendError> {
        self.with("list keys", |data| {
            let above = query.after.map_or(Bound::Unbounded, Bound::Excluded);
            let below = query.before.map_or(Bound::Unbounded, Bound::Excluded);
            if let (Some(after), Some(before)) = (query.after, query.before)
                && after >= before
            {
                return Ok(KeyPage::default());
            }
            let empty = BTreeSet::new();
            let rows: Box<dyn Iterator<Item = KeyId>> = match &query.filter.owner {
                Some(owner) => {
                    let ids = data.by_owner.get(owner).unwrap_or(&empty);
                    Box::new(ids.range((above, below)).rev().copied())
                }
                None => Box::new(data.keys.range((above, below)).rev().map(|(id, _)| *id)),
            };
            let mut page = KeyPage::default();
            let mut last = None;
            for (examined, id) in rows.enumerate() {
                if examined == query.examine || page.keys.len() == query.limit {
                    page.next = last;
                    break;
                }
                last = Some(id);
                let Some(key) = data.keys.get(&id).filter(|key| query.filter.matches(key)) else {
                    continue;
                };
                match data.scanned(key) {
                    Scanned::Damaged(row) => page.damaged.push(row),
                    _ => page.keys.push(key.clone()),
                }
            }
            Ok(page)
        })
    }

    fn count_keys(&self, filter: &KeyFilter) -> Result<u64, BackendError> {
        self.with("count keys", |data| {
            let count = match &filter.owner {
                Some(owner) => data.keys_of(owner).filter(|key| filter.matches(key)).count(),
                None => data.keys.values().filter(|key| filter.matches(key)).count(),
            };
            Ok(count as u64)
        })
    }

    fn page_owners(&self, query: &OwnerPageQuery) -> Result<OwnerPage, BackendError> {
        self.with("list owners", |data| {
            let above = query.after.map_or(Bound::Unbounded, Bound::Excluded);
            let rows = data.owners.range((above, Bound::Unbounded)).map(|(_, owner)| owner);
            let mut page = OwnerPage::default();
            let mut last = None;
            for (examined, owner) in rows.enumerate() {
                if examined == query.examine || page.owners.len() == query.limit {
                    page.next = last;
                    break;
                }
                last = Some(owner.id);
                if query.suspended.is_none_or(|suspended| suspended == owner.suspended.is_some()) {
                    page.owners.push(owner.clone());
                }
            }
            Ok(page)
        })
    }

    fn events(&self, query: &EventQuery) -> Result<EventPage, BackendError> {
        self.with("read events", |data| {
            let oldest = data.events.keys().next().copied();
            let pruned_through = oldest.map_or(0, |oldest| oldest - 1);
            let mut page = EventPage { pruned_through, ..EventPage::default() };
            let mut last = query.after;
            let rows = data.events.range((Bound::Excluded(query.after), Bound::Unbounded));
            for (examined, (sequence, event)) in rows.enumerate() {
                if examined == query.examine || page.events.len() == query.limit {
                    page.next = Some(last);
                    break;
                }
                last = *sequence;
                if query.filter.matches(event) {
                    page.events.push(event.clone());
                }
            }
            Ok(page)
        })
    }

    fn last_event(&self) -> Result<u64, BackendError> {
        self.with("read events", Data::last_event)
    }

    fn prune_events(&self, before: Timestamp, limit: usize) -> Result<u64, BackendError> {
        self.with("prune events", |data| {
            let mut pruned = 0;
            while pruned < limit
                && data.events.len() > 1
                && let Some(oldest) = data.events.first_entry()
                && oldest.get().at < before
            {
                oldest.remove();
                pruned += 1;
            }
            Ok(pruned as u64)
        })
    }

    fn wait(&self, after: u64, timeout: Duration) -> Result<u64, BackendError> {
        self.with("wait", |_| Ok(()))?;
        let last = self.announcer.wait(after, timeout);
        self.with("wait", |_| Ok(last))
    }

    fn record_usage(&self, batch: &[UsageChange]) -> Result<UsageOutcome, BackendError> {
        // As with commits, nothing fails halfway.
        self.with("take in usage", |data| apply_usage(data, batch))
    }

    fn usage(&self, of: &[UsageSubject]) -> Result<Vec<Usage>, BackendError> {
        self.with("read usage", |data| {
            let each = of.iter().map(|of| data.usage.get(of).copied().unwrap_or_default());
            Ok(each.collect())
        })
    }

    fn recover(&self) -> Result<(), BackendError> {
        self.with("recover", |_| Ok(()))
    }

    fn close(&self) -> Result<(), BackendError> {
        *self.lock() = None;
        // Wakes the waiting threads, which then find the backend closed.
        self.announcer.announce(u64::MAX);
        Ok(())
    }
}

impl Data {
    /// Shows a key, or the entry that lies over it.
    fn scanned(&self, key: &KeyRecord) -> Scanned {
        let scanned = ScannedKey::from(key);
        match self.quarantines.get(&key.id) {
            Some(entry) => Scanned::Damaged(DamagedRow {
                quarantine: Some(Box::new(entry.clone())),
                ..scanned.damaged(quarantined(key.id))
            }),
            None => Scanned::Key(scanned),
        }
    }

    fn keys_of(&self, owner: &OwnerId) -> impl Iterator<Item = &KeyRecord> {
        self.by_owner.get(owner).into_iter().flatten().filter_map(|id| self.keys.get(id))
    }
}

/// Returns the place of a live key that expires, in [`Data::by_expiry`].
fn live_expiry(key: &KeyRecord) -> Option<(Timestamp, KeyId)> {
    key.expires_at.filter(|_| key.is_live()).map(|at| (at, key.id))
}

/// Removes an entry of an owner, and the owner with its last one.
fn remove_of<T: Ord>(by_owner: &mut BTreeMap<OwnerId, BTreeSet<T>>, owner: OwnerId, entry: &T) {
    if let Some(entries) = by_owner.get_mut(&owner) {
        entries.remove(entry);
        if entries.is_empty() {
            by_owner.remove(&owner);
        }
    }
}

impl Transaction for Data {
    fn metadata(&mut self) -> Result<Option<StoreMetadata>, BackendError> {
        Ok(self.metadata.clone())
    }

    fn owner(&mut self, id: &OwnerId) -> Result<Option<OwnerRecord>, BackendError> {
        Ok(self.owners.get(id).cloned())
    }

    fn key(&mut self, id: KeyId) -> Result<Option<KeyRecord>, BackendError> {
        if self.quarantines.contains_key(&id) {
            return Err(BackendError::damaged(NAME, "read key", quarantined(id)));
        }
        Ok(self.keys.get(&id).cloned())
    }

    fn key_counts(&mut self, owner: &OwnerId) -> Result<KeyCounts, BackendError> {
        Ok(self.keys_of(owner).map(KeyCounts::of).fold(KeyCounts::default(), KeyCounts::plus))
    }

    fn live_keys_named(
        &mut self,
        owner: &OwnerId,
        name: &KeyName,
    ) -> Result<Vec<KeyId>, BackendError> {
        let named = |key: &&KeyRecord| key.is_live() && key.name.as_ref() == Some(name);
        Ok(self.keys_of(owner).filter(named).map(|key| key.id).collect())
    }

    fn expired_keys(
        &mut self,
        owner: &OwnerId,
        by: Timestamp,
        limit: usize,
    ) -> Result<Vec<KeyId>, BackendError> {
        let expiries = self.by_expiry.get(owner).into_iter().flatten();
        let expired = expiries.take_while(|(at, _)| *at <= by).take(limit);
        Ok(expired.map(|(_, id)| *id).collect())
    }

    fn keys_created_by(&mut self, creator: KeyId) -> Result<Vec<KeyId>, BackendError> {
        let created = |key: &&KeyRecord| key.created_by_key == Some(creator);
        Ok(self.keys.values().filter(created).map(|key| key.id).collect())
    }

    fn numeric_id_used(&mut self, id: NumericId) -> Result<bool, BackendError> {
        Ok(self.numeric_ids.contains_key(&id))
    }

    fn greatest_numeric_id(&mut self) -> Result<u64, BackendError> {
        Ok(self.numeric_ids.last_key_value().map_or(0, |(id, _)| id.get()))
    }

    fn last_event(&mut self) -> Result<u64, BackendError> {
        Ok(self.events.last_key_value().map_or(0, |(sequence, _)| *sequence))
    }

    fn each_key(
        &mut self,
        visit: &mut dyn FnMut(Result<KeyRecord, Damage>),
    ) -> Result<(), BackendError> {
        for key in self.keys.values() {
            let is_covered = self.quarantines.contains_key(&key.id);
            visit(if is_covered { Err(quarantined(key.id)) } else { Ok(key.clone()) });
        }
        Ok(())
    }

    fn each_owner(
        &mut self,
        visit: &mut dyn FnMut(Result<OwnerRecord, Damage>),
    ) -> Result<(), BackendError> {
        self.owners.values().cloned().map(Ok).for_each(visit);
        Ok(())
    }

    fn put_metadata(&mut self, metadata: &StoreMetadata) -> Result<(), BackendError> {
        self.metadata = Some(metadata.clone());
        Ok(())
    }

    fn put_owner(
        &mut self,
        before: Option<&OwnerRecord>,
        after: Option<&OwnerRecord>,
    ) -> Result<(), BackendError> {
        if let Some(before) = before {
            self.owners.remove(&before.id);
        }
        if let Some(after) = after {
            self.owners.insert(after.id, after.clone());
        }
        Ok(())
    }

    fn put_key(
        &mut self,
        before: Option<&KeyRecord>,
        after: Option<&KeyRecord>,
    ) -> Result<(), BackendError> {
        if let Some(before) = before {
            self.keys.remove(&before.id);
            remove_of(&mut self.by_owner, before.owner, &before.id);
            if let Some(expiry) = live_expiry(before) {
                remove_of(&mut self.by_expiry, before.owner, &expiry);
            }
        }
        if let Some(after) = after {
            self.by_owner.entry(after.owner).or_default().insert(after.id);
            if let Some(expiry) = live_expiry(after) {
                self.by_expiry.entry(after.owner).or_default().insert(expiry);
            }
            if let Some(numeric_id) = after.numeric_id {
                self.numeric_ids.insert(numeric_id, after.id);
            }
            self.keys.insert(after.id, after.clone());
        }
        Ok(())
    }

    fn quarantine(&mut self, id: KeyId) -> Result<Option<Quarantine>, BackendError> {
        Ok(self.quarantines.get(&id).cloned())
    }

    fn put_quarantine(&mut self, entry: &Quarantine) -> Result<(), BackendError> {
        self.quarantines.insert(entry.id, entry.clone());
        Ok(())
    }

    fn remove_damaged_key(&mut self, id: KeyId) -> Result<(), BackendError> {
        self.quarantines.remove(&id);
        let key = self.keys.get(&id).cloned();
        self.put_key(key.as_ref(), None)
    }

    fn append_event(&mut self, event: &Event) -> Result<(), BackendError> {
        self.events.insert(event.sequence, event.clone());
        Ok(())
    }

    fn usage(&mut self, of: &UsageSubject) -> Result<Option<Usage>, BackendError> {
        Ok(self.usage.get(of).copied())
    }

    fn put_usage(&mut self, of: &UsageSubject, usage: Option<&Usage>) -> Result<(), BackendError> {
        match usage {
            Some(usage) => self.usage.insert(*of, *usage),
            None => self.usage.remove(of),
        };
        Ok(())
    }

    fn request(&mut self, id: &RequestId) -> Result<Option<RequestRecord>, BackendError> {
        Ok(self.requests.get(id).cloned())
    }

    fn requests_before(
        &mut self,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<RequestRecord>, BackendError> {
        let over = self.by_time.iter().take_while(|(at, _)| *at < before).take(limit);
        Ok(over.filter_map(|(_, id)| self.requests.get(id).cloned()).collect())
    }

    fn put_request(
        &mut self,
        before: Option<&RequestRecord>,
        after: Option<&RequestRecord>,
    ) -> Result<(), BackendError> {
        if let Some(before) = before {
            self.requests.remove(&before.id);
            self.by_time.remove(&(before.at, before.id.clone()));
        }
        if let Some(after) = after {
            self.by_time.insert((after.at, after.id.clone()));
            self.requests.insert(after.id.clone(), after.clone());
        }
        Ok(())
    }
}
