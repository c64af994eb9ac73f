//! A commit under way: what the rules of a commit read and write.

use std::collections::BTreeSet;
use std::ops::Bound;

use keyhasp::backend::{BackendError, Damage, KeyCounts, Transaction, UsageSubject};
use keyhasp::clock::Timestamp;
use keyhasp::event::Event;
use keyhasp::id::{KeyId, NumericId, OwnerId};
use keyhasp::key::{
    KeyName, KeyRecord, OwnerRecord, Quarantine, RequestId, RequestRecord, StoreMetadata, Usage,
};
use redb::WriteTransaction;

use crate::fault::Fault;
use crate::read;
use crate::tables::{self, Order, Part, View, each, each_lead, get};

/// A transaction of redb, and the operation that its errors name.
pub(crate) struct Writing<'a> {
    pub(crate) view: &'a WriteTransaction,
    pub(crate) operation: &'static str,
}

impl Writing<'_> {
    pub(crate) fn put(&self, part: Part, key: &[u8], value: &[u8]) -> Result<(), Fault> {
        self.view.table(part)?.insert(key, value)?;
        Ok(())
    }

    pub(crate) fn remove(&self, part: Part, key: &[u8]) -> Result<(), Fault> {
        self.view.table(part)?.remove(key)?;
        Ok(())
    }

    /// Replaces the entries that led to a record by those that lead to it from now on.
    fn lead(&self, before: &[Vec<u8>], after: &[Vec<u8>]) -> Result<(), Fault> {
        let mut index = self.view.table(Part::Index)?;
        for lead in before.iter().filter(|lead| !after.contains(lead)) {
            index.remove(&lead[..])?;
        }
        for lead in after.iter().filter(|lead| !before.contains(lead)) {
            index.insert(&lead[..], &[][..])?;
        }
        Ok(())
    }

    /// Puts a record in the place of another one, with all that leads to it.
    fn replace<R>(
        &self,
        part: Part,
        [before, after]: [Option<&R>; 2],
        key: impl Fn(&R) -> Vec<u8>,
        bytes: impl Fn(&R) -> Vec<u8>,
        leads: impl Fn(&R) -> Vec<Vec<u8>>,
    ) -> Result<(), Fault> {
        let of = |record: Option<&R>| record.map(&leads).unwrap_or_default();
        self.lead(&of(before), &of(after))?;
        match (before, after) {
            (_, Some(after)) => self.put(part, &key(after), &bytes(after)),
            (Some(before), None) => self.remove(part, &key(before)),
            (None, None) => Ok(()),
        }
    }

    pub(crate) fn store_counts(&self, owner: &OwnerId, counts: KeyCounts) -> Result<(), Fault> {
        let id = owner.as_str().as_bytes();
        if counts == KeyCounts::default() {
            self.remove(Part::Counts, id)
        } else {
            self.put(Part::Counts, id, &tables::counts(counts))
        }
    }

    fn count(&self, before: Option<&KeyRecord>, after: Option<&KeyRecord>) -> Result<(), Fault> {
        if let Some(key) = before {
            let counts = read::counts(self.view, &key.owner)?.minus(KeyCounts::of(key));
            self.store_counts(&key.owner, counts)?;
        }
        if let Some(key) = after {
            let counts = read::counts(self.view, &key.owner)?.plus(KeyCounts::of(key));
            self.store_counts(&key.owner, counts)?;
        }
        Ok(())
    }

    /// Removes a key without a look at its record, and all that leads to it.
    fn remove_key(&self, id: KeyId) -> Result<(), Fault> {
        let (mut leads, mut owners) = (Vec::new(), BTreeSet::new());
        for begin in tables::TO_KEYS {
            each_lead(self.view, begin, &mut |lead| {
                if tables::key_in(lead) == Some(id) {
                    leads.push(lead.to_vec());
                    owners.extend(tables::owner_in(&lead[1..]).filter(|_| lead[0] == b'o'));
                }
                Ok(true)
            })?;
        }
        self.lead(&leads, &[])?;
        self.remove(Part::Keys, &id.to_bytes())?;
        self.remove(Part::Quarantine, &id.to_bytes())?;
        owners
            .iter()
            .try_for_each(|owner| self.store_counts(owner, read::counted(self.view, owner)?))
    }

    pub(crate) fn remove_event(&self, number: u64, event: Option<&Event>) -> Result<(), Fault> {
        self.lead(&event.map(tables::leads_of_event).unwrap_or_default(), &[])?;
        self.remove(Part::Events, &tables::number(number))
    }

    /// Finds the ids at the ends of the entries that begin with a prefix.
    fn ids(&self, begin: &[u8]) -> Result<Vec<KeyId>, Fault> {
        let mut ids = Vec::new();
        each_lead(self.view, begin, &mut |lead| {
            ids.extend(tables::key_in(lead));
            Ok(true)
        })?;
        Ok(ids)
    }

    fn told<T>(&self, result: Result<T, Fault>) -> Result<T, BackendError> {
        result.map_err(|fault| fault.during(self.operation))
    }
}

impl Transaction for Writing<'_> {
    fn metadata(&mut self) -> Result<Option<StoreMetadata>, BackendError> {
        self.told(read::metadata(self.view))
    }

    fn owner(&mut self, id: &OwnerId) -> Result<Option<OwnerRecord>, BackendError> {
        self.told(read::owner(self.view, id))
    }

    fn key(&mut self, id: KeyId) -> Result<Option<KeyRecord>, BackendError> {
        self.told(read::key(self.view, id))
    }

    fn key_counts(&mut self, owner: &OwnerId) -> Result<KeyCounts, BackendError> {
        self.told(read::counts(self.view, owner))
    }

    fn last_key(&mut self, owner: &OwnerId) -> Result<Option<KeyId>, BackendError> {
        let begin = tables::of_owner(owner);
        let end = [&begin[..], &KeyId::from_u128(u128::MAX).to_bytes()].concat();
        let span = (Bound::Included(&begin[..]), Bound::Included(&end[..]));
        let mut last = None;
        self.told(each(self.view, Part::Index, span, Order::Falling, &mut |lead, _| {
            last = tables::key_in(lead);
            Ok(false)
        }))?;
        Ok(last)
    }

    fn live_keys_named(
        &mut self,
        owner: &OwnerId,
        name: &KeyName,
    ) -> Result<Vec<KeyId>, BackendError> {
        self.told(self.ids(&tables::of_name(owner, name)))
    }

    fn expired_keys(
        &mut self,
        owner: &OwnerId,
        by: Timestamp,
        limit: usize,
    ) -> Result<Vec<KeyId>, BackendError> {
        let begin = tables::of_expiries(owner);
        let end = [&begin[..], &tables::number(by.as_millis() + 1)].concat();
        let span = (Bound::Included(&begin[..]), Bound::Excluded(&end[..]));
        let mut ids = Vec::new();
        self.told(each(self.view, Part::Index, span, Order::Rising, &mut |lead, _| {
            if ids.len() < limit {
                ids.extend(tables::key_in(lead));
            }
            Ok(ids.len() < limit)
        }))?;
        Ok(ids)
    }

    fn keys_created_by(&mut self, creator: KeyId) -> Result<Vec<KeyId>, BackendError> {
        self.told(self.ids(&tables::of_creator(creator)))
    }

    fn numeric_id_used(&mut self, id: NumericId) -> Result<bool, BackendError> {
        let found = get(self.view, Part::NumericIds, &tables::numeric_id(id));
        self.told(found.map(|found| found.is_some()))
    }

    fn greatest_numeric_id(&mut self) -> Result<u64, BackendError> {
        self.told(tables::greatest(self.view, Part::NumericIds))
    }

    fn last_event(&mut self) -> Result<u64, BackendError> {
        self.told(tables::greatest(self.view, Part::Events))
    }

    fn each_key(
        &mut self,
        visit: &mut dyn FnMut(Result<KeyRecord, Damage>),
    ) -> Result<(), BackendError> {
        self.told(read::each_key(self.view, &mut |key| {
            visit(key);
            Ok(())
        }))
    }

    fn each_owner(
        &mut self,
        visit: &mut dyn FnMut(Result<OwnerRecord, Damage>),
    ) -> Result<(), BackendError> {
        self.told(read::each_owner(self.view, &mut |owner| {
            visit(owner);
            Ok(())
        }))
    }

    fn put_metadata(&mut self, metadata: &StoreMetadata) -> Result<(), BackendError> {
        self.told(self.put(Part::Meta, tables::STORE, &metadata.to_bytes()))
    }

    fn put_owner(
        &mut self,
        before: Option<&OwnerRecord>,
        after: Option<&OwnerRecord>,
    ) -> Result<(), BackendError> {
        let key = |owner: &OwnerRecord| owner.id.as_str().as_bytes().to_vec();
        let (bytes, leads) = (OwnerRecord::to_bytes, tables::leads_of_owner);
        self.told(self.replace(Part::Owners, [before, after], key, bytes, leads))
    }

    fn put_key(
        &mut self,
        before: Option<&KeyRecord>,
        after: Option<&KeyRecord>,
    ) -> Result<(), BackendError> {
        self.told(self.count(before, after))?;
        if let Some((number, key)) = after.and_then(|key| Some((key.numeric_id?, key.id))) {
            let id = key.to_bytes();
            self.told(self.put(Part::NumericIds, &tables::numeric_id(number), &id))?;
        }
        let key = |key: &KeyRecord| key.id.to_bytes().to_vec();
        let (bytes, leads) = (KeyRecord::to_bytes, tables::leads_of_key);
        self.told(self.replace(Part::Keys, [before, after], key, bytes, leads))
    }

    fn quarantine(&mut self, id: KeyId) -> Result<Option<Quarantine>, BackendError> {
        self.told(read::quarantine(self.view, id))
    }

    fn put_quarantine(&mut self, entry: &Quarantine) -> Result<(), BackendError> {
        self.told(self.put(Part::Quarantine, &entry.id.to_bytes(), &entry.to_bytes()))
    }

    fn remove_damaged_keys(&mut self, ids: &[KeyId]) -> Result<(), BackendError> {
        self.told(ids.iter().try_for_each(|id| self.remove_key(*id)))
    }

    fn append_event(&mut self, event: &Event) -> Result<(), BackendError> {
        self.told(self.lead(&[], &tables::leads_of_event(event)))?;
        self.told(self.put(Part::Events, &tables::number(event.sequence), &event.to_bytes()))
    }

    fn usage(&mut self, of: &UsageSubject) -> Result<Option<Usage>, BackendError> {
        self.told(read::usage(self.view, of))
    }

    fn put_usage(&mut self, of: &UsageSubject, usage: Option<&Usage>) -> Result<(), BackendError> {
        let key = tables::usage(of);
        self.told(match usage {
            Some(usage) => self.put(Part::Usage, &key, &usage.to_bytes()),
            None => self.remove(Part::Usage, &key),
        })
    }

    fn request(&mut self, id: &RequestId) -> Result<Option<RequestRecord>, BackendError> {
        self.told(read::request(self.view, id))
    }

    fn requests_before(
        &mut self,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<RequestRecord>, BackendError> {
        let end = tables::requests_from(before);
        let span = (Bound::Included(tables::REQUESTS), Bound::Excluded(&end[..]));
        let mut requests = Vec::new();
        let mut left = limit;
        self.told(each(self.view, Part::Index, span, Order::Rising, &mut |lead, _| {
            if left == 0 {
                return Ok(false);
            }
            left -= 1;
            let id = lead.get(9..).and_then(RequestId::from_bytes);
            let request = id.map_or(Ok(None), |id| read::request(self.view, &id));
            // A damaged one stays.
            match request {
                Err(fault) => _ = fault.damage()?,
                Ok(request) => requests.extend(request),
            }
            Ok(true)
        }))?;
        Ok(requests)
    }

    fn put_request(
        &mut self,
        before: Option<&RequestRecord>,
        after: Option<&RequestRecord>,
    ) -> Result<(), BackendError> {
        let key = |request: &RequestRecord| request.id.to_bytes();
        let (bytes, leads) = (RequestRecord::to_bytes, tables::leads_of_request);
        self.told(self.replace(Part::Requests, [before, after], key, bytes, leads))
    }
}
