//! The backend: each call of the contract on the records.

use std::fmt;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::data::{Data, NAME};
use crate::backend::{
    Backend, BackendError, BackendErrorKind, Change, ChangeNotifier, CommitOutcome, EventPage,
    EventQuery, Finding, KeyFilter, KeyPage, KeyPageQuery, OwnerPage, OwnerPageQuery, Scanned,
    Sharing, Transaction, UsageChange, UsageOutcome, UsageSubject, apply, apply_usage,
    check_by_reading,
};
use crate::clock::Timestamp;
use crate::id::{KeyId, NumericId, OwnerId};
use crate::key::{
    KeyRecord, OwnerRecord, Quarantine, RequestId, RequestRecord, StoreMetadata, Usage,
};

/// The memory backend. Nothing is durable: what it holds ends with it.
pub struct Memory {
    data: Mutex<Option<Data>>,
    announcer: ChangeNotifier,
}

impl fmt::Debug for Memory {
    /// Shows nothing of what it holds: a handle's Debug shows its backend, and goes into logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").finish_non_exhaustive()
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
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
            data.keys.all().for_each(|key| visit(data.scanned(key)));
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
            data.keys.of(owner).for_each(|key| visit(data.scanned(key)));
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
            let rows = data.keys.ids_between(query.filter.owner.as_ref(), (above, below));
            let mut page = KeyPage::default();
            let mut last = None;
            for (examined, id) in rows.enumerate() {
                if examined == query.examine || page.keys.len() == query.limit {
                    page.next = last;
                    break;
                }
                last = Some(id);
                let Some(key) = data.keys.get(id).filter(|key| query.filter.matches(key)) else {
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
                Some(owner) => data.keys.of(owner).filter(|key| filter.matches(key)).count(),
                None => data.keys.all().filter(|key| filter.matches(key)).count(),
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
                if query.matches(owner) {
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
            if query.before.is_some_and(|before| query.after >= before) {
                return Ok(page);
            }
            let mut last = query.after;
            let end = query.before.map_or(Bound::Unbounded, Bound::Excluded);
            let mut rows = data.events.range((Bound::Excluded(query.after), end));
            let next = || if query.before.is_some() { rows.next_back() } else { rows.next() };
            for (examined, (sequence, event)) in std::iter::from_fn(next).enumerate() {
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
