//! Records that a test wants to be damaged.

use crate::backend::{
    Change, Damage, DamagedRecord, DamagedRow, EventPage, KeyPage, OwnerPage, Precondition,
    Scanned, Write,
};

/// Records that a failing backend shows as damaged.
#[derive(Clone, Debug, Default)]
pub(super) struct DamagedRecords(Vec<DamagedRecord>);

impl DamagedRecords {
    pub(super) fn add(&mut self, record: DamagedRecord) {
        self.0.push(record);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the damage of a record, if it is damaged.
    pub(super) fn of(&self, record: DamagedRecord) -> Option<Damage> {
        self.0.contains(&record).then(|| Damage::new("records", "record", record))
    }

    /// Shows damage in place of a record.
    pub(super) fn scanned(&self, scanned: Scanned) -> Scanned {
        match scanned {
            Scanned::Key(key) => match self.of(DamagedRecord::Key(key.id)) {
                Some(damage) => Scanned::Damaged(key.damaged(damage)),
                None => Scanned::Key(key),
            },
            Scanned::Owner(owner) => match self.of(DamagedRecord::Owner(owner.id)) {
                Some(damage) => Scanned::Damaged(DamagedRow::new(damage)),
                None => Scanned::Owner(owner),
            },
            damaged @ Scanned::Damaged(_) => damaged,
        }
    }

    pub(super) fn page_of_keys(&self, mut page: KeyPage) -> KeyPage {
        let damages = page.keys.iter().filter_map(|key| self.of(DamagedRecord::Key(key.id)));
        page.damaged.extend(damages.map(DamagedRow::new));
        page.keys.retain(|key| self.of(DamagedRecord::Key(key.id)).is_none());
        page
    }

    pub(super) fn page_of_owners(&self, mut page: OwnerPage) -> OwnerPage {
        let damages =
            page.owners.iter().filter_map(|owner| self.of(DamagedRecord::Owner(owner.id)));
        page.damaged.extend(damages);
        page.owners.retain(|owner| self.of(DamagedRecord::Owner(owner.id)).is_none());
        page
    }

    pub(super) fn page_of_events(&self, mut page: EventPage) -> EventPage {
        let is_damaged = |number| self.of(DamagedRecord::Event(number)).is_some();
        let numbers = page.events.iter().map(|event| event.sequence);
        page.damaged.extend(numbers.filter(|number| is_damaged(*number)));
        page.damaged.sort_unstable();
        page.events.retain(|event| !is_damaged(event.sequence));
        page
    }

    /// Returns the first damage on which a change rests.
    pub(super) fn under(&self, change: &Change) -> Option<Damage> {
        let written = change.operations.iter().filter_map(|operation| written(&operation.write));
        let required = change.preconditions.iter().filter_map(required);
        written.chain(required).find_map(|record| self.of(record))
    }

    /// Forgets the keys that a change has removed.
    pub(super) fn forget_removed(&mut self, change: &Change) {
        for operation in &change.operations {
            if let Write::RemoveDamagedKey(id) = &operation.write {
                self.0.retain(|record| *record != DamagedRecord::Key(*id));
            }
        }
    }
}

/// The record that a write reads before it replaces or removes it.
fn written(write: &Write) -> Option<DamagedRecord> {
    Some(match write {
        Write::ReplaceKey(key) | Write::GrantKeyUses(key, _) => DamagedRecord::Key(key.id),
        Write::RemoveKey(id, _) => DamagedRecord::Key(*id),
        Write::ReplaceOwner(owner) | Write::GrantOwnerUses(owner, _) => {
            DamagedRecord::Owner(owner.id)
        }
        Write::RemoveOwner(id, _) => DamagedRecord::Owner(*id),
        _ => return None,
    })
}

fn required(precondition: &Precondition) -> Option<DamagedRecord> {
    Some(match precondition {
        Precondition::Key(id, _) => DamagedRecord::Key(*id),
        Precondition::Owner(id, _) | Precondition::Incarnation(id, _) => DamagedRecord::Owner(*id),
        _ => return None,
    })
}
