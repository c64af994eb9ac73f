//! Which records something was about.

use std::collections::{BTreeMap, BTreeSet};

use crate::backend::{Change, Write};
use crate::event::{Event, EventDraft};
use crate::id::{KeyId, OwnerId};

/// The records that a change or an event was about.
#[derive(Clone, Debug, Default)]
pub(super) struct Touched {
    pub(super) header: bool,
    pub(super) owners: BTreeSet<OwnerId>,
    /// Each key with its owner.
    pub(super) keys: BTreeMap<KeyId, OwnerId>,
}

impl Touched {
    /// What a change writes. An event that stands alone touches nothing.
    pub(super) fn by_change(change: &Change) -> Self {
        let mut touched = Self::default();
        let writes = change
            .operations
            .iter()
            .filter(|op| !matches!(op.write, Write::Nothing | Write::Tell(..)));
        writes.for_each(|op| touched.add(&op.event));
        touched
    }

    /// What events tell of.
    pub(super) fn by_events<'a>(events: impl IntoIterator<Item = &'a Event>) -> Self {
        let mut touched = Self::default();
        events.into_iter().for_each(|event| touched.add(event));
        touched
    }

    /// Both.
    pub(super) fn merge(&mut self, other: Self) {
        self.header |= other.header;
        self.owners.extend(other.owners);
        self.keys.extend(other.keys);
    }

    fn add(&mut self, event: &EventDraft) {
        match (event.key, event.owner) {
            (Some(key), Some(owner)) => {
                self.keys.insert(key, owner);
            }
            (None, Some(owner)) => {
                self.owners.insert(owner);
            }
            _ => self.header = true,
        }
    }
}
