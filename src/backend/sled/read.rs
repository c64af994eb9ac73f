//! The queries of records, over the trees as they are.

use std::ops::Bound;

use ::sled::IVec;

use super::chunks::{self, Values};
use super::engine::Engine;
use super::fault::Fault;
use super::record::{decode, scan_key, scan_owner};
use super::trees::{self, Tree};
use crate::backend::{
    Damage, DamagedRecord, DamagedRow, KeyFilter, KeyPage, KeyPageQuery, OwnerPage, OwnerPageQuery,
    Scanned, UsageSubject, quarantined,
};
use crate::id::{KeyId, NumericId, OwnerId};
use crate::key::{
    KeyRecord, OwnerRecord, Quarantine, RequestId, RequestRecord, StoreMetadata, Usage,
};

/// The position of a read that is done in pieces: it goes on after this key of the tree.
pub(super) type Cursor = Option<IVec>;

impl Engine {
    /// The store's own record, if there is one.
    pub(super) fn metadata(&self) -> Result<Option<StoreMetadata>, Fault> {
        let record = chunks::load(self, Tree::StoreMetadata, trees::STORE)?;
        record.map(|record| decode((), &record)).transpose()
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
        load_owner(self, id)
    }

    pub(super) fn key(&self, id: KeyId) -> Result<Option<KeyRecord>, Fault> {
        load_key(self, id)
    }

    pub(super) fn quarantine(&self, id: KeyId) -> Result<Option<Quarantine>, Fault> {
        load_quarantine(self, id)
    }

    pub(super) fn usage(&self, of: &UsageSubject) -> Result<Usage, Fault> {
        Ok(load_usage(self, of)?.unwrap_or_default())
    }

    pub(super) fn request(&self, id: &RequestId) -> Result<Option<RequestRecord>, Fault> {
        let record = chunks::load(self, Tree::Requests, &id.to_bytes())?;
        record.map(|record| decode(id.clone(), &record)).transpose()
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
            scanned.push(match tree {
                Tree::Owners => self.scanned_owner(&key, &head)?,
                _ => self.scanned_key(&key, &head)?,
            });
            last = Some(key);
        }
        *cursor = last.or(cursor.take());
        Ok(scanned)
    }

    /// An owner and its keys.
    pub(super) fn scan_owner(&self, id: &OwnerId) -> Result<Vec<Scanned>, Fault> {
        let mut scanned = Vec::new();
        let owner = trees::owner(id);
        if let Some(head) = self.value(Tree::Owners, owner)? {
            scanned.push(self.scanned_owner(owner, &head)?);
        }
        let prefix = trees::of_owner(id);
        let end = trees::after_prefix(&prefix);
        for entry in self.range(Tree::OwnerKeys, Bound::Included(&prefix), Bound::Excluded(&end)) {
            let key = trees::key(key_id(&entry?.0)?);
            // A key that isn't there opens nothing.
            if let Some(head) = self.value(Tree::Keys, &key)? {
                scanned.push(self.scanned_key(&key, &head)?);
            }
        }
        Ok(scanned)
    }

    fn scanned_owner(&self, key: &[u8], head: &[u8]) -> Result<Scanned, Fault> {
        let Some(id) = trees::owner_in(key) else {
            let damage = Damage::new(Tree::Owners.name(), "id", DamagedRecord::Unknown);
            return Ok(Scanned::Damaged(DamagedRow::new(damage)));
        };
        let owner = chunks::join(self, Tree::Owners, key, head);
        match owner.and_then(|record| scan_owner(id, &record)) {
            Ok(owner) => Ok(Scanned::Owner(owner)),
            Err(fault) => {
                let damage = fault.damage(Tree::Owners, DamagedRecord::Owner(id))?;
                Ok(Scanned::Damaged(DamagedRow::new(damage)))
            }
        }
    }

    fn scanned_key(&self, key: &[u8], head: &[u8]) -> Result<Scanned, Fault> {
        let Some(id) = trees::key_in(key) else {
            let damage = Damage::new(Tree::Keys.name(), "id", DamagedRecord::Unknown);
            return Ok(Scanned::Damaged(DamagedRow::new(damage)));
        };
        let is_quarantined = self.value(Tree::Quarantine, key)?.is_some();
        let scanned = chunks::join(self, Tree::Keys, key, head);
        let damage = match scanned.and_then(|record| scan_key(id, &record)) {
            Ok(scanned) if !is_quarantined => return Ok(Scanned::Key(scanned)),
            Ok(_) => quarantined(id),
            Err(fault) => fault.damage(Tree::Keys, DamagedRecord::Key(id))?,
        };
        // Whatever can be read of it: a token that hashes to one of its digests proves that one.
        let unchecked = chunks::unchecked(self, Tree::Keys, key, head);
        let scanned = unchecked.and_then(|(record, _)| scan_key(id, &record));
        let row = scanned
            .map_or_else(|_| DamagedRow::new(damage.clone()), |key| key.damaged(damage.clone()));
        Ok(Scanned::Damaged(DamagedRow { quarantine: self.quarantine(id)?.map(Box::new), ..row }))
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
            // A damaged one counts: it is shown in lists too.
            *count.get_or_insert(0) += u64::from(key.map_or(true, |key| filter.matches(&key)));
            *cursor = Some(entry);
        }
        Ok(count)
    }

    pub(super) fn page_keys(&self, query: &KeyPageQuery) -> Result<KeyPage, Fault> {
        let mut page = KeyPage::default();
        if let (Some(after), Some(before)) = (query.after, query.before)
            && after >= before
        {
            return Ok(page);
        }
        let rows = KeyRows::new(&query.filter, query.before, query.after);
        let mut last = None;
        for (examined, entry) in rows.entries(self, None).enumerate() {
            if examined == query.examine || page.keys.len() + page.damaged.len() == query.limit {
                page.next = last;
                break;
            }
            match entry?.1 {
                Ok(key) => {
                    last = Some(key.id);
                    page.keys.extend(Some(key).filter(|key| query.filter.matches(key)));
                }
                Err(row) => {
                    last = row.key().or(last);
                    page.damaged.push(row);
                }
            }
        }
        Ok(page)
    }

    pub(super) fn page_owners(&self, query: &OwnerPageQuery) -> Result<OwnerPage, Fault> {
        let mut page = OwnerPage::default();
        let from = after(query.after.as_ref().map(trees::owner));
        let tree = if query.swept { Tree::SweptOwners } else { Tree::Owners };
        let mut last = None;
        for (examined, entry) in self.range(tree, from, Bound::Unbounded).enumerate() {
            if examined == query.examine || page.owners.len() + page.damaged.len() == query.limit {
                page.next = last;
                break;
            }
            let (key, head) = entry?;
            let Some(id) = trees::owner_in(&key) else { continue };
            last = Some(id);
            let owner = if query.swept {
                self.owner(&id)
            } else {
                let record = chunks::join(self, Tree::Owners, &key, &head);
                record.and_then(|record| decode(id, &record)).map(Some)
            };
            let owner = match owner {
                Ok(Some(owner)) => owner,
                // An entry that leads to nothing; a check finds it.
                Ok(None) => continue,
                Err(fault) => {
                    page.damaged.push(fault.damage(Tree::Owners, DamagedRecord::Owner(id))?);
                    continue;
                }
            };
            if query.matches(&owner) {
                page.owners.push(owner);
            }
        }
        Ok(page)
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
    ) -> impl Iterator<Item = Result<(IVec, Result<KeyRecord, DamagedRow>), Fault>> + use<'a> {
        let tree = self.tree;
        let from = cursor.map_or(self.from.as_ref().map(Vec::as_slice), Bound::Excluded);
        engine.range(tree, from, self.to.as_ref().map(Vec::as_slice)).map(move |entry| {
            let (entry, _) = entry?;
            let id = key_id(&entry)?;
            let key = match engine.key(id).and_then(|key| key.ok_or_else(missing)) {
                Ok(key) => Ok(key),
                Err(fault) => {
                    let damage = fault.damage(tree, DamagedRecord::Key(id))?;
                    let quarantine = engine.quarantine(id)?.map(Box::new);
                    Err(DamagedRow { quarantine, ..DamagedRow::new(damage) })
                }
            };
            Ok((entry, key))
        })
    }
}

/// Loads an owner.
pub(super) fn load_owner(from: &dyn Values, id: &OwnerId) -> Result<Option<OwnerRecord>, Fault> {
    let record = chunks::load(from, Tree::Owners, trees::owner(id));
    let owner = record.and_then(|record| record.map(|bytes| decode(*id, &bytes)).transpose());
    owner.map_err(|fault| fault.of(Tree::Owners, DamagedRecord::Owner(*id)))
}

/// Loads a key, unless it is under quarantine.
pub(super) fn load_key(from: &dyn Values, id: KeyId) -> Result<Option<KeyRecord>, Fault> {
    let key = trees::key(id);
    if from.value(Tree::Quarantine, &key)?.is_some() {
        return Err(Fault::quarantined(id));
    }
    let record = chunks::load(from, Tree::Keys, &key);
    let key = record.and_then(|record| record.map(|bytes| decode(id, &bytes)).transpose());
    key.map_err(|fault| fault.of(Tree::Keys, DamagedRecord::Key(id)))
}

/// Loads the usage of a key or an owner, if there is any.
pub(super) fn load_usage(from: &dyn Values, of: &UsageSubject) -> Result<Option<Usage>, Fault> {
    let record = chunks::load(from, Tree::Usage, &trees::usage(of));
    let usage = record.and_then(|record| record.map(|bytes| decode((), &bytes)).transpose());
    usage.map_err(|fault| {
        fault.of(
            Tree::Usage,
            match of {
                UsageSubject::Key(id) => DamagedRecord::Key(*id),
                UsageSubject::Owner(id) => DamagedRecord::Owner(*id),
            },
        )
    })
}

/// Loads the quarantine entry of a key. A damaged one counts as none, so that another can replace
/// it.
pub(super) fn load_quarantine(from: &dyn Values, id: KeyId) -> Result<Option<Quarantine>, Fault> {
    let record = chunks::load(from, Tree::Quarantine, &trees::key(id));
    let entry = record.and_then(|bytes| bytes.map(|bytes| decode(id, &bytes)).transpose());
    match entry {
        Err(fault) => fault.damage(Tree::Quarantine, DamagedRecord::Key(id)).map(|_| None),
        entry => entry,
    }
}

fn after(cursor: Option<&[u8]>) -> Bound<&[u8]> {
    cursor.map_or(Bound::Unbounded, Bound::Excluded)
}

fn key_id(bytes: &[u8]) -> Result<KeyId, Fault> {
    trees::key_in(bytes).ok_or(Fault::damaged("a key id is too short"))
}

fn missing() -> Fault {
    Fault::damaged("an index leads to a key that is not there")
}
