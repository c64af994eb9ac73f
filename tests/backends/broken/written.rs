//! What changes write to.

use keyhasp::backend::{Change, Write};
use keyhasp::id::{KeyId, OwnerId};
use keyhasp::key::KeyRecord;

/// What a change writes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Record {
    StoreMetadata,
    Key(KeyId),
    Owner(OwnerId),
}

pub(super) fn written(write: &Write) -> Option<Record> {
    Some(match write {
        Write::CreateKey(create) => Record::Key(create.record.id),
        Write::ReplaceKey(key) | Write::GrantKeyUses(key, _) => Record::Key(key.id),
        Write::RemoveKey(id, _) | Write::RemoveDamagedKey(id) => Record::Key(*id),
        Write::Quarantine(entry) => Record::Key(entry.id),
        Write::CreateOwner(owner)
        | Write::ReplaceOwner(owner)
        | Write::RevokeKeys(owner)
        | Write::GrantOwnerUses(owner, _) => Record::Owner(owner.id),
        Write::SweepKey(id, _) => Record::Key(*id),
        Write::RemoveOwner(id, _) | Write::PurgeOwner(id, _) => Record::Owner(*id),
        Write::CreateMetadata(_) | Write::ReplaceMetadata(_) => Record::StoreMetadata,
        Write::EndSweep(_) | Write::Nothing | Write::RecordAlert(..) => return None,
    })
}

pub(super) fn writes_to(changes: &[Change], record: Record) -> bool {
    let mut operations = changes.iter().flat_map(|change| &change.operations);
    operations.any(|operation| written(&operation.write) == Some(record))
}

pub(super) fn named(key: &KeyRecord) -> Option<(OwnerId, String)> {
    key.name.as_ref().map(|name| (key.owner, name.to_string()))
}
