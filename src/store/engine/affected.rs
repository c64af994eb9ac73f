//! The records that a change or an event is about.

use std::collections::{BTreeMap, BTreeSet};

use crate::backend::{Applied, Change, Write};
use crate::event::{Event, EventDraft, EventKind};
use crate::id::{KeyId, OwnerId};
use crate::key::StoreMetadata;

/// Ids of the records that a change or an event is about.
#[derive(Clone, Debug, Default)]
pub(in crate::store) struct AffectedRecords {
    pub(in crate::store) metadata: bool,
    /// The metadata that this process has written, if a change may have.
    pub(super) written_metadata: Option<Box<StoreMetadata>>,
    /// Every record: an event doesn't tell which one it is about.
    pub(in crate::store) all: bool,
    pub(in crate::store) owners: BTreeSet<OwnerId>,
    /// Owners that may be others than those that the index knows by their ids: purged and perhaps
    /// created again, which no event of their keys need tell.
    pub(in crate::store) replaced: BTreeSet<OwnerId>,
    /// Owners that were created, whose keys have events of their own.
    pub(in crate::store) created: BTreeSet<OwnerId>,
    /// Each key with its owner.
    pub(in crate::store) keys: BTreeMap<KeyId, OwnerId>,
    /// Owners of which any expired key may have lapsed.
    pub(in crate::store) owners_of_lapses: BTreeSet<OwnerId>,
}

impl AffectedRecords {
    /// Returns the records that a change writes, as they are shown. An operation that only adds an
    /// event or an alert writes none, and a piece of a sweep none but damaged keys.
    pub(in crate::store) fn of_change(change: &Change) -> Self {
        let mut affected = Self::default();
        let writes = change.operations.iter().filter(|op| !is_hidden(&op.write));
        writes.for_each(|op| affected.add(&op.event));
        affected
    }

    /// Returns the records that a change may have written, those included that it doesn't name: any
    /// of an owner's keys may have lapsed.
    pub(in crate::store) fn possible_of(change: &Change) -> Self {
        let mut affected = Self::of_change(change);
        if change.lapse_expired_by.is_some() {
            affected.owners_of_lapses.extend(affected.keys.values());
        }
        affected.written_metadata = written_metadata(change).last().cloned();
        affected
    }

    /// Returns the keys that lapsed in a change.
    pub(in crate::store) fn lapsed(applied: &Applied) -> Self {
        Self { keys: applied.lapsed.clone(), ..Self::default() }
    }

    /// Returns the record that an event is about.
    pub(in crate::store) fn of_event(event: &EventDraft) -> Self {
        let mut affected = Self::default();
        affected.add(event);
        affected
    }

    /// Returns the records that events are about.
    pub(in crate::store) fn of_events<'a>(events: impl IntoIterator<Item = &'a Event>) -> Self {
        let mut affected = Self::default();
        events.into_iter().for_each(|event| affected.add(event));
        affected
    }

    /// Adds another set of records.
    pub(in crate::store) fn merge(&mut self, other: Self) {
        self.metadata |= other.metadata;
        self.written_metadata = other.written_metadata.or(self.written_metadata.take());
        self.all |= other.all;
        self.owners.extend(other.owners);
        self.replaced.extend(other.replaced);
        self.created.extend(other.created);
        self.keys.extend(other.keys);
        self.owners_of_lapses.extend(other.owners_of_lapses);
    }

    fn add(&mut self, event: &EventDraft) {
        match (event.key, event.owner) {
            (Some(key), Some(owner)) => {
                self.keys.insert(key, owner);
            }
            (None, Some(owner)) => {
                self.owners.insert(owner);
                match event.kind {
                    EventKind::OwnerPurged => _ = self.replaced.insert(owner),
                    EventKind::OwnerCreated => _ = self.created.insert(owner),
                    _ => {}
                }
            }
            // The record of a damaged key doesn't show its owner. Of a kind that a newer version
            // writes nothing is known.
            (Some(_), None) => self.all = true,
            (None, None) => {
                self.metadata = true;
                self.all |= matches!(event.kind, EventKind::Unknown(_));
            }
        }
    }
}

/// Returns the metadata that a change writes.
pub(super) fn written_metadata(change: &Change) -> impl Iterator<Item = &Box<StoreMetadata>> {
    change.operations.iter().filter_map(|operation| match &operation.write {
        Write::CreateMetadata(metadata) | Write::ReplaceMetadata(metadata) => Some(metadata),
        _ => None,
    })
}

/// Returns whether a write changes no record as it is shown.
fn is_hidden(write: &Write) -> bool {
    matches!(
        write,
        Write::Nothing | Write::RecordAlert(..) | Write::SweepKey(..) | Write::EndSweep(_)
    )
}

/// Returns whether a write binds a sweep.
pub(super) fn binds_sweep(write: &Write) -> bool {
    matches!(write, Write::PurgeOwner(..) | Write::RevokeKeys(_))
}
