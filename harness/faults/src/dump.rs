//! Dumps of databases, and their comparison.

use std::collections::{BTreeMap, BTreeSet};

use keyhasp::backend::{
    Backend, BackendError, EventFilter, EventQuery, KeyFilter, KeyPageQuery, OwnerPageQuery,
    StateSet,
};
use keyhasp::key::{KeyRecord, OwnerRecord, StoreMetadata};
use keyhasp::testing::differences;
use keyhasp::{Event, EventKind, KeyId, OwnerId, Timestamp};

/// All records and events.
#[derive(Clone, Debug)]
pub struct Dump {
    /// The store's own record.
    pub metadata: Option<StoreMetadata>,
    /// The owners by id.
    pub owners: BTreeMap<OwnerId, OwnerRecord>,
    /// The keys by id.
    pub keys: BTreeMap<KeyId, KeyRecord>,
    /// The events in order.
    pub events: Vec<Event>,
    /// The last event that was pruned.
    pub pruned_through: u64,
}

const ALL: usize = 1_000_000;

impl Dump {
    /// Reads everything.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn of(backend: &dyn Backend) -> Result<Self, BackendError> {
        let query = OwnerPageQuery::all(ALL);
        let owners = backend.page_owners(&query)?.owners;
        let filter = KeyFilter::new(StateSet::ALL, Timestamp::MIN);
        let query = KeyPageQuery { filter, before: None, after: None, limit: ALL, examine: ALL };
        let keys = backend.page_keys(&query)?.keys;
        let filter = EventFilter::default();
        let query = EventQuery { after: 0, before: None, filter, limit: ALL, examine: ALL };
        let events = backend.events(&query)?;
        Ok(Self {
            metadata: backend.metadata()?,
            owners: owners.into_iter().map(|owner| (owner.id, owner)).collect(),
            keys: keys.into_iter().map(|key| (key.id, key)).collect(),
            events: events.events,
            pruned_through: events.pruned_through,
        })
    }

    /// Lists the differences in words that show no value.
    #[must_use]
    pub fn differs(&self, other: &Self) -> Vec<String> {
        let mut found = Vec::new();
        if self.metadata != other.metadata {
            found.push("the metadata".to_owned());
        }
        for id in self.owners.keys().chain(other.owners.keys()) {
            found.extend(match (self.owners.get(id), other.owners.get(id)) {
                (Some(a), Some(b)) => differ("owner", id, differences::of_owners(a, b)),
                _ => Some(format!("whether there is owner {id}")),
            });
        }
        for id in self.keys.keys().chain(other.keys.keys()) {
            found.extend(match (self.keys.get(id), other.keys.get(id)) {
                (Some(a), Some(b)) => differ("key", id, differences::of_keys(a, b)),
                _ => Some(format!("whether there is key {id}")),
            });
        }
        if self.events != other.events || self.pruned_through != other.pruned_through {
            found.push(format!("the events: {} and {}", self.events.len(), other.events.len()));
        }
        found.dedup();
        found
    }

    /// Finds the records that a change from one to the other concerns.
    #[must_use]
    pub fn concerned(&self, other: &Self) -> Concerned {
        let mut concerned =
            Concerned { everything: self.metadata != other.metadata, keys: BTreeSet::new() };
        for (a, b) in [(self, other), (other, self)] {
            let moved = |owner: &OwnerRecord| {
                let other = b.owners.get(&owner.id);
                other.is_none_or(|other| !differences::of_owners(owner, other).is_empty())
            };
            let of_moved = |key: &KeyRecord| a.owners.get(&key.owner).is_some_and(moved);
            let keys = a.keys.values().filter(|key| {
                let other = b.keys.get(&key.id);
                other.is_none_or(|other| !differences::of_keys(key, other).is_empty())
                    || of_moved(key)
            });
            concerned.keys.extend(keys.map(|key| key.id));
        }
        concerned
    }

    /// Checks the log: no number is left out, and each record has as many events as versions.
    ///
    /// # Errors
    /// A violation.
    pub fn check(&self) -> Result<(), String> {
        for (event, expected) in self.events.iter().zip(self.pruned_through + 1..) {
            if event.sequence != expected {
                return Err(format!("event {} where {expected} belongs", event.sequence));
            }
        }
        if self.pruned_through > 0 {
            return Ok(());
        }
        let count = |meant: &dyn Fn(&Event) -> bool| {
            let changes = |event: &&Event| event.kind != EventKind::TokenRevealed && meant(event);
            self.events.iter().filter(changes).count() as u64
        };
        for key in self.keys.values() {
            let events = count(&|event| event.key == Some(key.id));
            if events != key.version.get() {
                return Err(format!("key {} has {} and {events} events", key.id, key.version));
            }
        }
        // What is left of a purged owner until its pieces are written has its last version.
        for owner in self.owners.values().filter(|owner| !owner.is_purged()) {
            // An owner of this id may have been there before.
            let about = |event: &&Event| {
                event.owner == Some(owner.id) && event.key.is_none() && event.binding.is_none()
            };
            let events = self.events.iter().filter(about).rev();
            let events = events.take_while(|event| event.kind != EventKind::OwnerPurged).count();
            if events as u64 != owner.version.get() {
                let (id, version) = (owner.id, owner.version);
                return Err(format!("owner {id} has version {version} and {events} events"));
            }
        }
        Ok(())
    }
}

/// The records that a change concerns.
#[derive(Clone, Debug)]
pub struct Concerned {
    /// The store's own record, so all keys.
    pub everything: bool,
    /// The keys, and all keys of the owners.
    pub keys: BTreeSet<KeyId>,
}

fn differ(what: &str, id: impl std::fmt::Display, fields: Vec<&str>) -> Option<String> {
    (!fields.is_empty()).then(|| format!("{what} {id} in {}", fields.join(", ")))
}
