//! Changes of one record each, with the event that goes with it.

use super::{administrator, at};
use crate::backend::{Change, Write, WriteKey};
use crate::event::{EventDraft, EventKind, Fields};
use crate::id::Version;
use crate::invalid::Invalid;
use crate::key::{Alert, Grant, KeyRecord, OwnerRecord, StoreMetadata};

/// An administrator's event of this kind, at the beginning of 2030, about nothing in particular.
///
/// # Errors
/// None: the fixed texts are valid.
pub fn event(kind: EventKind) -> Result<EventDraft, Invalid> {
    Ok(EventDraft {
        at: at(0),
        kind,
        owner: None,
        key: None,
        version: Version::FIRST,
        generation: None,
        fields: Fields::NONE,
        authority: administrator()?,
    })
}

/// An event that stands alone, of a recoverable token that was shown.
///
/// # Errors
/// None: the fixed texts are valid.
pub fn note(key: &KeyRecord) -> Result<Change, Invalid> {
    Ok(Change::of(Write::Nothing, key_event(EventKind::TokenRevealed, key)?))
}

/// Writes this alert of the key.
///
/// # Errors
/// None: the fixed texts are valid.
pub fn tell(key: &KeyRecord, alert: Alert) -> Result<Change, Invalid> {
    let kind = match alert {
        Alert::Expired(_) => EventKind::KeyExpired,
        Alert::Expiring(_) => EventKind::KeyExpiring,
        Alert::TokenOld(_) => EventKind::TokenOld,
        Alert::Unused(_) => EventKind::KeyUnused,
        Alert::PreviousTokenUsed(_) => EventKind::PreviousTokenUsed,
        Alert::Rejected { .. } => EventKind::KeyRejected,
    };
    Ok(Change::of(Write::RecordAlert(key.id, alert), key_event(kind, key)?))
}

/// Creates the key.
///
/// # Errors
/// None: the fixed texts are valid.
pub fn create_key(key: &KeyRecord) -> Result<Change, Invalid> {
    creation(key, false)
}

/// Creates the key and asks for the next numeric id.
///
/// # Errors
/// None: the fixed texts are valid.
pub fn assign_numeric_id(key: &KeyRecord) -> Result<Change, Invalid> {
    creation(key, true)
}

fn creation(key: &KeyRecord, next_numeric_id: bool) -> Result<Change, Invalid> {
    let write = Write::CreateKey(Box::new(WriteKey { record: key.clone(), next_numeric_id }));
    Ok(Change::of(write, key_event(EventKind::KeyCreated, key)?))
}

/// Writes the key over the version before it.
///
/// # Errors
/// None: the fixed texts are valid.
pub fn replace_key(key: &KeyRecord) -> Result<Change, Invalid> {
    let kind = if key.is_live() { EventKind::KeyUpdated } else { EventKind::KeyRevoked };
    Ok(Change::of(Write::ReplaceKey(Box::new(key.clone())), key_event(kind, key)?))
}

/// Writes the key over the version before it, and refills its quota or adds to it.
///
/// # Errors
/// None: the fixed texts are valid.
pub fn grant_key(key: &KeyRecord, grant: Grant) -> Result<Change, Invalid> {
    let kind = match grant {
        Grant::Refill => EventKind::KeyQuotaRefilled,
        Grant::Add(_) => EventKind::KeyQuotaAdded,
    };
    let event = key_event(kind, key)?;
    Ok(Change::of(Write::GrantKeyUses(Box::new(key.clone()), grant), event))
}

/// Writes the owner over the version before it, and refills its quota or adds to it.
///
/// # Errors
/// None: the fixed texts are valid.
pub fn grant_owner(owner: &OwnerRecord, grant: Grant) -> Result<Change, Invalid> {
    let kind = match grant {
        Grant::Refill => EventKind::OwnerQuotaRefilled,
        Grant::Add(_) => EventKind::OwnerQuotaAdded,
    };
    let event = owner_event(kind, owner)?;
    Ok(Change::of(Write::GrantOwnerUses(Box::new(owner.clone()), grant), event))
}

/// Removes the key, which must have just this version.
///
/// # Errors
/// None: the fixed texts are valid.
pub fn remove_key(key: &KeyRecord) -> Result<Change, Invalid> {
    let event = key_event(EventKind::KeyPurged, key)?;
    Ok(Change::of(Write::RemoveKey(key.id, key.version), event))
}

/// Creates the owner.
///
/// # Errors
/// None: the fixed texts are valid.
pub fn create_owner(owner: &OwnerRecord) -> Result<Change, Invalid> {
    let event = owner_event(EventKind::OwnerCreated, owner)?;
    Ok(Change::of(Write::CreateOwner(Box::new(owner.clone())), event))
}

/// Writes the owner over the version before it.
///
/// # Errors
/// None: the fixed texts are valid.
pub fn replace_owner(owner: &OwnerRecord) -> Result<Change, Invalid> {
    let event = owner_event(EventKind::OwnerUpdated, owner)?;
    Ok(Change::of(Write::ReplaceOwner(Box::new(owner.clone())), event))
}

/// Removes the owner, which must have just this version.
///
/// # Errors
/// None: the fixed texts are valid.
pub fn remove_owner(owner: &OwnerRecord) -> Result<Change, Invalid> {
    let event = owner_event(EventKind::OwnerPurged, owner)?;
    Ok(Change::of(Write::RemoveOwner(owner.id, owner.version), event))
}

/// Creates a store: writes its own record, in a database that has none.
///
/// # Errors
/// None: the fixed texts are valid.
pub fn create_metadata(metadata: &StoreMetadata) -> Result<Change, Invalid> {
    let event = EventDraft { version: metadata.version, ..event(EventKind::StoreCreated)? };
    Ok(Change::of(Write::CreateMetadata(Box::new(metadata.clone())), event))
}

/// Writes the store's own record over the version before it.
///
/// # Errors
/// None: the fixed texts are valid.
pub fn replace_metadata(metadata: &StoreMetadata) -> Result<Change, Invalid> {
    let event = EventDraft { version: metadata.version, ..event(EventKind::StoreRulesChanged)? };
    Ok(Change::of(Write::ReplaceMetadata(Box::new(metadata.clone())), event))
}

/// All of these in one change, in their order.
#[must_use]
pub fn in_one(changes: impl IntoIterator<Item = Change>) -> Change {
    changes.into_iter().fold(Change::default(), |mut all, change| {
        all.preconditions.extend(change.preconditions);
        all.operations.extend(change.operations);
        all.lapse_expired_by = all.lapse_expired_by.max(change.lapse_expired_by);
        all
    })
}

fn key_event(kind: EventKind, key: &KeyRecord) -> Result<EventDraft, Invalid> {
    Ok(EventDraft {
        at: key.updated_at,
        owner: Some(key.owner),
        key: Some(key.id),
        version: key.version,
        generation: Some(key.current.generation),
        ..event(kind)?
    })
}

fn owner_event(kind: EventKind, owner: &OwnerRecord) -> Result<EventDraft, Invalid> {
    Ok(EventDraft {
        at: owner.updated_at,
        owner: Some(owner.id),
        version: owner.version,
        ..event(kind)?
    })
}
