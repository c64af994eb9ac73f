//! Details of keys in memory, beside the index and as current as it.
//!
//! Each key keeps its own part. A change of an owner's defaults touches no key: each notes the
//! defaults that it was shown with, and is shown again by the next reader after a change.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use serde_json::Value;

use crate::id::{KeyId, NumericId, OwnerId};
use crate::key::{KeyRecord, OwnerRecord};
use crate::store::types::details::{KeyDetails, NamedSetting};

/// The parts of the keys' map. A writer keeps the readers of one part waiting.
const SHARDS: usize = 64;

/// The stamp of a key that was never shown.
const NEVER: u64 = 0;

/// The details of all keys.
pub(super) struct DetailsMemory {
    /// The names of the settings that are kept, ascending.
    names: Box<[Arc<str>]>,
    /// Locked, since readers look while another thread puts keys. Without the locks a reader could see
    /// half of a change.
    keys: [RwLock<HashMap<KeyId, Remembered>>; SHARDS],
    owners: RwLock<HashMap<OwnerId, Arc<Defaults>>>,
    /// The last stamp that was given to defaults. Relaxed: no other memory is read by it.
    stamps: AtomicU64,
}

/// The details of a key, and its own part of its settings.
struct Remembered {
    shown: Arc<KeyDetails>,
    own: Box<[Own]>,
    /// The defaults of its owner with which it was shown.
    stamp: u64,
}

/// A setting of a key.
struct Own {
    name: Arc<str>,
    value: Value,
    /// Whether an administrator has set it: it goes over a fixed default.
    is_protected: bool,
}

/// The default settings of an owner's keys.
struct Defaults {
    stamp: u64,
    settings: Arc<[NamedSetting]>,
    /// The names of those that go over a key's own.
    fixed: Box<[Arc<str>]>,
}

impl DetailsMemory {
    /// Keeps settings of these names.
    pub(super) fn new(names: Vec<String>) -> Self {
        let names: BTreeSet<String> = names.into_iter().collect();
        Self {
            names: names.into_iter().map(Arc::from).collect(),
            keys: std::array::from_fn(|_| RwLock::default()),
            owners: RwLock::default(),
            stamps: AtomicU64::new(NEVER),
        }
    }

    /// Returns the details of a key; `None` if it or its owner isn't known.
    pub(super) fn get(&self, id: KeyId, owner: &OwnerId) -> Option<Arc<KeyDetails>> {
        let owners = self.owners.read().unwrap_or_else(PoisonError::into_inner);
        let defaults = Arc::clone(owners.get(owner)?);
        drop(owners);
        let keys = self.shard(id).read().unwrap_or_else(PoisonError::into_inner);
        let key = keys.get(&id)?;
        if key.stamp == defaults.stamp {
            return Some(Arc::clone(&key.shown));
        }
        drop(keys);
        let mut keys = self.shard(id).write().unwrap_or_else(PoisonError::into_inner);
        let key = keys.get_mut(&id)?;
        key.show(&defaults);
        Some(Arc::clone(&key.shown))
    }

    /// Puts a key, new or changed.
    pub(super) fn put_key(&self, key: &KeyRecord) {
        let own = self.names.iter().filter_map(|name| {
            let (name, value) = (Arc::clone(name), key.settings.get(name)?.clone());
            let is_protected = key.protected_settings.contains(&name);
            Some(Own { name, value, is_protected })
        });
        let (name, tags, numeric_id) = (key.name.clone(), key.tags.clone(), key.numeric_id);
        let shown = Arc::new(KeyDetails { name, numeric_id, tags, settings: Arc::new([]) });
        let remembered = Remembered { shown, own: own.collect(), stamp: NEVER };
        let mut keys = self.shard(key.id).write().unwrap_or_else(PoisonError::into_inner);
        keys.insert(key.id, remembered);
    }

    /// Sets the numeric id that the commit assigned to a key.
    pub(super) fn set_numeric_id(&self, id: KeyId, numeric_id: NumericId) {
        let mut keys = self.shard(id).write().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = keys.get_mut(&id) {
            let numeric_id = Some(numeric_id);
            key.shown = Arc::new(KeyDetails { numeric_id, ..(*key.shown).clone() });
        }
    }

    /// Puts an owner, new or changed.
    pub(super) fn put_owner(&self, owner: &OwnerRecord) {
        let named = |name: &Arc<str>| {
            owner.defaults.get(name).map(|value| (Arc::clone(name), value.clone()))
        };
        let settings: Arc<[NamedSetting]> = self.names.iter().filter_map(named).collect();
        let is_fixed = |name: &&Arc<str>| owner.fixed_defaults.contains(name);
        let fixed: Box<[Arc<str>]> = self.names.iter().filter(is_fixed).cloned().collect();
        let mut owners = self.owners.write().unwrap_or_else(PoisonError::into_inner);
        let is_same = |known: &&Arc<Defaults>| known.settings == settings && known.fixed == fixed;
        if owners.get(&owner.id).filter(is_same).is_none() {
            let stamp = self.stamps.fetch_add(1, Ordering::Relaxed) + 1;
            owners.insert(owner.id, Arc::new(Defaults { stamp, settings, fixed }));
        }
    }

    /// Forgets a key that is gone.
    pub(super) fn forget_key(&self, id: KeyId) {
        self.shard(id).write().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    /// Forgets an owner that is gone.
    pub(super) fn forget_owner(&self, id: &OwnerId) {
        self.owners.write().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    /// Forgets all that are not among these.
    pub(super) fn retain(&self, keys: &BTreeSet<KeyId>, owners: &BTreeSet<OwnerId>) {
        for shard in &self.keys {
            let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
            shard.retain(|id, _| keys.contains(id));
        }
        let mut known = self.owners.write().unwrap_or_else(PoisonError::into_inner);
        known.retain(|id, _| owners.contains(id));
    }

    fn shard(&self, id: KeyId) -> &RwLock<HashMap<KeyId, Remembered>> {
        // The id's end is random. Cut to the number of shards.
        #[allow(clippy::cast_possible_truncation)]
        let at = (id.as_u128() % SHARDS as u128) as usize;
        &self.keys[at]
    }
}

impl Remembered {
    /// Shows the key with other defaults of its owner.
    fn show(&mut self, defaults: &Defaults) {
        let settings = if self.own.is_empty() {
            Arc::clone(&defaults.settings)
        } else {
            self.merged(defaults)
        };
        self.shown = Arc::new(KeyDetails { settings, ..(*self.shown).clone() });
        self.stamp = defaults.stamp;
    }

    /// Merges its own settings with its owner's, as `Settings::over` does.
    fn merged(&self, defaults: &Defaults) -> Arc<[NamedSetting]> {
        let is_fixed = |own: &Own| defaults.fixed.contains(&own.name) && !own.is_protected;
        let own = self.own.iter().filter(|own| !is_fixed(own));
        let mut merged: Vec<NamedSetting> =
            own.map(|own| (Arc::clone(&own.name), own.value.clone())).collect();
        for (name, value) in &*defaults.settings {
            if merged.iter().all(|(known, _)| known != name) {
                merged.push((Arc::clone(name), value.clone()));
            }
        }
        merged.sort_unstable_by(|(name, _), (other, _)| name.cmp(other));
        merged.into()
    }
}

impl fmt::Debug for DetailsMemory {
    /// Shows the names alone: settings may be the service's secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DetailsMemory").field("names", &self.names).finish_non_exhaustive()
    }
}
