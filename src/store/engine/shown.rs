//! The store's own layer around its backend that shows records as the pending sweeps say that they
//! are: a piece of a sweep, which writes that into them, changes no answer.
//!
//! In each read an owner's record is read before the keys that it shows. A sweep that was bound
//! before the call is then still in the record, or already in the keys.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::worker::Signal;
use crate::backend::{
    Backend, BackendError, BackendLayer, DamagedRow, KeyFilter, KeyPage, KeyPageQuery, OwnerPage,
    OwnerPageQuery, Scanned, StateSet,
};
use crate::id::{KeyId, NumericId, OwnerId};
use crate::key::{KeyRecord, OwnerRecord, Sweeps};

/// The number of records that one read looks at, where all have to be looked at.
const AT_ONCE: usize = 2_000;

/// A backend that shows what the sweeps have done.
#[derive(Debug)]
pub(super) struct ShownBackend {
    stored: Arc<dyn Backend>,
    /// Woken when a scan meets a sweep: its pieces may have been left by another process.
    sweep_signal: Arc<Signal>,
}

/// The sweeps of the owners that have some.
type SweptOwners = BTreeMap<OwnerId, Box<Sweeps>>;

impl ShownBackend {
    pub(super) fn new(stored: Arc<dyn Backend>, sweep_signal: Arc<Signal>) -> Self {
        Self { stored, sweep_signal }
    }

    /// Returns the owners with sweeps, of those that a filter asks for.
    fn swept(&self, filter: &KeyFilter) -> Result<SweptOwners, BackendError> {
        let mut swept = SweptOwners::new();
        let mut add = |owner: OwnerRecord| {
            let sweeps = owner.sweeps;
            swept.extend(sweeps.map(|sweeps| (owner.id, sweeps)));
        };
        match &filter.owner {
            Some(owner) => match self.stored.owner(owner) {
                // Its keys are shown, as damaged, by what rests on the owner.
                Err(error) if error.damage().is_some() => {}
                owner => owner?.into_iter().for_each(&mut add),
            },
            None => swept_owners(&*self.stored)?.into_iter().for_each(&mut add),
        }
        Ok(swept)
    }

    /// Reads a page of stored keys of all states, as many as may be looked at, and returns those that a
    /// filter means. Of damaged ones, whose states nothing but the backend's own lists can tell, it returns
    /// those that the backend shows for the filter: after the pieces they alone are shown.
    fn page_of(&self, query: &KeyPageQuery, swept: &SweptOwners) -> Result<KeyPage, BackendError> {
        let filter = KeyFilter { states: StateSet::ALL, ..query.filter.clone() };
        let limit = query.examine;
        let page = self.stored.page_keys(&KeyPageQuery { filter, limit, ..query.clone() })?;
        let shown = page.keys.into_iter().filter_map(|key| match swept.get(&key.owner) {
            Some(sweeps) => sweeps.applied(key),
            None => Some(key),
        });
        let keys = shown.filter(|key| query.filter.matches(key)).collect();
        let mut page = KeyPage { keys, ..page };
        if query.filter.states != StateSet::ALL {
            let mut damaged = Vec::with_capacity(page.damaged.len());
            for row in page.damaged {
                let is_shown = row.key().map_or(Ok(true), |id| self.is_shown(id, &query.filter));
                damaged.extend(is_shown?.then_some(row));
            }
            page.damaged = damaged;
        }
        let damaged = page.damaged.iter().filter_map(DamagedRow::key);
        let mut ids: Vec<KeyId> = page.keys.iter().map(|key| key.id).chain(damaged).collect();
        if ids.len() > query.limit {
            ids.sort_unstable();
            let last = ids[ids.len() - query.limit];
            page.keys.retain(|key| key.id >= last);
            page.damaged.retain(|row| row.key().is_none_or(|id| id >= last));
            page.next = Some(last);
        }
        Ok(page)
    }

    /// Returns whether the backend shows a stored key for a filter.
    fn is_shown(&self, id: KeyId, filter: &KeyFilter) -> Result<bool, BackendError> {
        let id = id.as_u128();
        let page = self.stored.page_keys(&KeyPageQuery {
            filter: filter.clone(),
            before: id.checked_add(1).map(KeyId::from_u128),
            after: id.checked_sub(1).map(KeyId::from_u128),
            limit: 1,
            examine: 1,
        })?;
        Ok(!page.damaged.is_empty() || !page.keys.is_empty())
    }

    /// Counts the keys of owners without sweeps. That takes more than one reading: returns `None` if
    /// something was committed meanwhile.
    fn count_others(
        &self,
        filter: &KeyFilter,
        swept: &SweptOwners,
    ) -> Result<Option<u64>, BackendError> {
        let before = self.stored.last_event()?;
        let mut others = self.stored.count_keys(filter)?;
        for owner in swept.keys() {
            let filter = KeyFilter { owner: Some(*owner), ..filter.clone() };
            others = others.saturating_sub(self.stored.count_keys(&filter)?);
        }
        Ok((self.stored.last_event()? == before).then_some(others))
    }

    /// Counts the keys that a filter means by looking at each.
    fn count_shown(&self, filter: &KeyFilter, swept: &SweptOwners) -> Result<u64, BackendError> {
        let (limit, examine) = (AT_ONCE, AT_ONCE);
        let filter = filter.clone();
        let mut query = KeyPageQuery { filter, before: None, after: None, limit, examine };
        let mut count = 0;
        loop {
            let page = self.page_of(&query, swept)?;
            // A damaged one counts: it is shown in lists too.
            count += (page.keys.len() + page.damaged.len()) as u64;
            match page.next {
                Some(next) => query.before = Some(next),
                None => return Ok(count),
            }
        }
    }

    /// Returns a stored key as its owner's sweeps show it.
    fn shown(
        &self,
        key: Option<KeyRecord>,
        again: impl FnOnce() -> Result<Option<KeyRecord>, BackendError>,
    ) -> Result<Option<KeyRecord>, BackendError> {
        let Some(key) = key else { return Ok(None) };
        let owner = match self.stored.owner(&key.owner) {
            Err(error) if error.damage().is_some() => return Ok(Some(key)),
            owner => owner?,
        };
        // A sweep may have ended since the key was read. Then the key, read again, says so by
        // itself. There was none if no epoch has ended since the token's issue, and if the owner
        // isn't a newer one of the same id.
        let is_certain = owner.as_ref().is_some_and(|owner| {
            owner.epoch() == key.current.epochs.owner && owner.created_at <= key.created_at
        });
        let key = if is_certain { Some(key) } else { again()? };
        Ok(match (key, owner) {
            (Some(key), Some(owner)) => owner.swept(key),
            (key, _) => key,
        })
    }
}

/// Lists the owners with sweeps, tombstones too. There are few, mostly none.
pub(super) fn swept_owners(backend: &dyn Backend) -> Result<Vec<OwnerRecord>, BackendError> {
    let mut query = OwnerPageQuery { swept: true, ..OwnerPageQuery::all(AT_ONCE) };
    let mut owners = Vec::new();
    loop {
        let page = backend.page_owners(&query)?;
        owners.extend(page.owners);
        match page.next {
            Some(next) => query.after = Some(next),
            None => return Ok(owners),
        }
    }
}

impl BackendLayer for ShownBackend {
    fn inner(&self) -> &dyn Backend {
        &*self.stored
    }

    fn scan(&self, visit: &mut dyn FnMut(Scanned)) -> Result<u64, BackendError> {
        let mut swept = SweptOwners::new();
        let last_event = self.stored.scan(&mut |scanned| show(&mut swept, scanned, visit))?;
        if !swept.is_empty() {
            self.sweep_signal.wake();
        }
        Ok(last_event)
    }

    fn scan_owner(
        &self,
        owner: &OwnerId,
        visit: &mut dyn FnMut(Scanned),
    ) -> Result<(), BackendError> {
        let mut swept = SweptOwners::new();
        self.stored.scan_owner(owner, &mut |scanned| show(&mut swept, scanned, visit))
    }

    fn owner(&self, id: &OwnerId) -> Result<Option<OwnerRecord>, BackendError> {
        Ok(self.stored.owner(id)?.filter(|owner| !owner.is_purged()))
    }

    fn key(&self, id: KeyId) -> Result<Option<KeyRecord>, BackendError> {
        self.shown(self.stored.key(id)?, || self.stored.key(id))
    }

    fn key_by_numeric_id(&self, id: NumericId) -> Result<Option<KeyRecord>, BackendError> {
        self.shown(self.stored.key_by_numeric_id(id)?, || self.stored.key_by_numeric_id(id))
    }

    fn page_keys(&self, query: &KeyPageQuery) -> Result<KeyPage, BackendError> {
        let swept = self.swept(&query.filter)?;
        if swept.is_empty() { self.stored.page_keys(query) } else { self.page_of(query, &swept) }
    }

    fn count_keys(&self, filter: &KeyFilter) -> Result<u64, BackendError> {
        let swept = self.swept(filter)?;
        if swept.is_empty() {
            return self.stored.count_keys(filter);
        }
        if filter.owner.is_some() {
            return self.count_shown(filter, &swept);
        }
        let Some(mut count) = self.count_others(filter, &swept)? else {
            return self.count_shown(filter, &swept);
        };
        for owner in swept.keys() {
            let filter = KeyFilter { owner: Some(*owner), ..filter.clone() };
            count += self.count_shown(&filter, &swept)?;
        }
        Ok(count)
    }

    fn page_owners(&self, query: &OwnerPageQuery) -> Result<OwnerPage, BackendError> {
        let mut page = self.stored.page_owners(query)?;
        page.owners.retain(|owner| !owner.is_purged());
        Ok(page)
    }
}

/// Shows a record of a scan, which shows the owners first.
fn show(swept: &mut SweptOwners, scanned: Scanned, visit: &mut dyn FnMut(Scanned)) {
    match scanned {
        Scanned::Owner(owner) => {
            let sweeps = owner.sweeps.clone();
            let is_purged = sweeps.as_ref().is_some_and(|sweeps| sweeps.purged);
            swept.extend(sweeps.map(|sweeps| (owner.id, sweeps)));
            if !is_purged {
                visit(Scanned::Owner(owner));
            }
        }
        Scanned::Key(key) if !swept.is_empty() => match swept.get(&key.owner) {
            Some(sweeps) => key.swept(sweeps).map(Scanned::Key).into_iter().for_each(visit),
            None => visit(Scanned::Key(key)),
        },
        scanned => visit(scanned),
    }
}
