//! The damaged records that the backend showed. Their keys are in no index.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::backend::{Damage, DamagedRecord, DamagedRow};
use crate::id::KeyId;
use crate::store::types::views::Damaged;

/// Damaged keys and owners, apart from the index: a healthy store pays one load of a flag for a
/// token that it doesn't know, and nothing for one that it knows.
#[derive(Debug, Default)]
pub(in crate::store) struct Damages {
    /// Whether there is any damaged key. Relaxed: a reader that misses the change answers as it
    /// would have a moment before, and the caller of a quarantine waits for the lock.
    has_keys: AtomicBool,
    /// Locked, since verifications read while another thread replaces rows. Without the lock a
    /// verification could read a row that is half replaced.
    rows: RwLock<Rows>,
}

#[derive(Debug, Default)]
struct Rows {
    keys: BTreeMap<KeyId, DamagedRow>,
    others: Vec<Damage>,
}

impl Rows {
    /// Adds a row. A row that says less of a key's tokens doesn't replace the digests of another.
    fn add(&mut self, mut row: DamagedRow) {
        let Some(id) = row.key() else {
            if !self.others.contains(&row.damage) {
                self.others.push(row.damage);
            }
            return;
        };
        if row.digests.is_empty()
            && let Some(known) = self.keys.remove(&id)
        {
            row.digests = known.digests;
        }
        self.keys.insert(id, row);
    }
}

impl Damages {
    /// Replaces all rows by those of a scan.
    pub(super) fn replace(&self, rows: Vec<DamagedRow>) {
        let mut all = Rows::default();
        rows.into_iter().for_each(|row| all.add(row));
        let mut guard = self.write();
        self.has_keys.store(!all.keys.is_empty(), Ordering::Relaxed);
        *guard = all;
    }

    pub(super) fn add(&self, row: DamagedRow) {
        let mut guard = self.write();
        self.has_keys.store(true, Ordering::Relaxed);
        guard.add(row);
    }

    /// Notes damage that keeps no key out: of a row beside the records, or of a part of a record that
    /// verification needs not.
    pub(super) fn note(&self, damage: &Damage) {
        let mut rows = self.write();
        let is_key = |id| rows.keys.contains_key(&id);
        let is_known = matches!(damage.record, DamagedRecord::Key(id) if is_key(id));
        if !is_known && !rows.others.contains(damage) {
            rows.others.push(damage.clone());
        }
    }

    /// Forgets a key that is whole again, or gone.
    pub(super) fn forget(&self, id: KeyId) {
        if self.has_keys.load(Ordering::Relaxed) {
            let mut guard = self.write();
            guard.keys.remove(&id);
            self.has_keys.store(!guard.keys.is_empty(), Ordering::Relaxed);
        }
    }

    /// Forgets an owner that is whole again, or gone.
    pub(super) fn forget_owner(&self, owner: DamagedRecord) {
        if !self.read().others.is_empty() {
            self.write().others.retain(|damage| damage.record != owner);
        }
    }

    /// Lists the damaged keys.
    pub(super) fn keys(&self) -> BTreeSet<KeyId> {
        self.read().keys.keys().copied().collect()
    }

    /// Returns what is known of a damaged key.
    #[inline]
    pub(in crate::store) fn key(&self, id: KeyId) -> Option<DamagedRow> {
        if self.has_keys.load(Ordering::Relaxed) { self.key_cold(id) } else { None }
    }

    #[cold]
    fn key_cold(&self, id: KeyId) -> Option<DamagedRow> {
        self.read().keys.get(&id).cloned()
    }

    /// Returns the count of damaged records, and the first of their places.
    pub(in crate::store) fn shown(&self) -> Damaged {
        let rows = self.read();
        let places = rows.others.iter().chain(rows.keys.values().map(|row| &row.damage));
        Damaged {
            records: rows.others.len() + rows.keys.len(),
            places: places.take(Damaged::MAX_PLACES).cloned().collect(),
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Rows> {
        self.rows.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Rows> {
        self.rows.write().unwrap_or_else(PoisonError::into_inner)
    }
}
