//! Checksums of records: SQLite itself notices damage to its pages' structure, not to a value.
//!
//! Each is a CRC-32, as zlib has it, of the plain bytes of the record's fields, in the order of
//! their declaration; `docs/storage-format.md` describes the bytes. A checksum shows damage, not
//! deceit: a program that can write to the file can write a checksum too.

use crate::authority::{Authority, Role};
use crate::backend::{ScannedKey, ScannedOwner, UsageSubject};
use crate::event::Event;
use crate::key::{
    KeyRecord, OwnerRecord, PlainBytes, Quarantine, QuotaState, RequestRecord, StoreMetadata,
};

/// Computes the checksum of what the verification index needs of a key. The loading of the index
/// reads no other field.
pub(super) fn of_scanned_key(key: &ScannedKey) -> u32 {
    of_scanned_key_in(&mut PlainBytes::new(), key)
}

/// [`of_scanned_key`] for many keys, which use the same room one after the other.
pub(super) fn of_scanned_key_in(bytes: &mut PlainBytes, key: &ScannedKey) -> u32 {
    crc(bytes.clear().add(&key.id).add_all(|sink| key.put_fields(sink)))
}

/// Computes the checksum of what the verification index needs of an owner.
pub(super) fn of_scanned_owner(owner: &ScannedOwner) -> u32 {
    crc(PlainBytes::new().add(&owner.id).add_all(|sink| owner.put_fields(sink)))
}

/// Computes the checksum of all of a key.
pub(super) fn of_key(key: &KeyRecord) -> u32 {
    crc(PlainBytes::new().add(&key.id).add_all(|sink| key.put_fields(sink)))
}

/// Computes the checksum of all of an owner. The counts of its keys are not part of the record.
pub(super) fn of_owner(owner: &OwnerRecord) -> u32 {
    crc(PlainBytes::new().add(&owner.id).add_all(|sink| owner.put_fields(sink)))
}

/// Computes the checksum of the store's own record, with its prefixes, peppers and recovery
/// keys.
pub(super) fn of_metadata(metadata: &StoreMetadata) -> u32 {
    let StoreMetadata { version, rules, prefixes, peppers, recovery_keys, tokens_valid_from } =
        metadata;
    let mut bytes = PlainBytes::new();
    bytes.add(version);
    bytes.add(&rules.unique_names).add(&rules.keep_standard_key).add(&rules.recoverable_tokens);
    bytes.add(&rules.lifetime);
    bytes.add(tokens_valid_from);
    for entry in prefixes.entries() {
        bytes.add(&entry.number).add(&entry.prefix).add(&entry.accepted);
    }
    for pepper in peppers {
        bytes.add(&pepper.number).add(&pepper.value).add(&pepper.retired);
    }
    for key in recovery_keys {
        bytes.add(&key.number).add(&key.value);
    }
    crc(&bytes)
}

/// Computes the checksum of an event with its number.
pub(super) fn of_event(event: &Event) -> u32 {
    let Authority { role, actor, reason, reason_for_owner, correlation_id } = &event.authority;
    let mut bytes = PlainBytes::new();
    bytes
        .add(&event.sequence)
        .add(&event.incarnation)
        .add(&event.binding)
        .add(&event.at)
        .add(&u32::from(event.kind.number()));
    bytes.add(&event.owner).add(&event.key).add(&event.version).add(&event.generation);
    bytes.add(&event.fields.bits()).add(&role.owner().copied());
    if let Some((key, generation)) = role.acting_token() {
        bytes.add(&key).add(&generation);
    }
    if let Role::OwnerByKey { previous_tokens, .. } = role {
        bytes.add(previous_tokens);
    }
    crc(bytes.add(actor).add(reason).add(reason_for_owner).add(correlation_id))
}

/// Computes the checksum of all of a request's record.
pub(super) fn of_request(record: &RequestRecord) -> u32 {
    let id: Box<[u8]> = record.id.to_bytes().into();
    crc(PlainBytes::new().add(&id).add_all(|sink| record.put_fields(sink)))
}

/// Computes the checksum of all of a quarantine entry.
pub(super) fn of_quarantine(entry: &Quarantine) -> u32 {
    crc(PlainBytes::new().add(&entry.id).add_all(|sink| entry.put_fields(sink)))
}

/// Computes the checksum of what is left of a quota, and of the id of its key or owner.
pub(super) fn of_quota(of: &UsageSubject, state: &QuotaState) -> u32 {
    let QuotaState { quota_version, begun, left, debt, period, turn, raised, raised_before } =
        state;
    let mut bytes = PlainBytes::new();
    match of {
        UsageSubject::Key(key) => bytes.add(key),
        UsageSubject::Owner(owner) => bytes.add(owner),
    };
    bytes.add(quota_version).add(begun).add(left).add(debt);
    crc(bytes.add(period).add(turn).add(raised).add(raised_before))
}

fn crc(bytes: &PlainBytes) -> u32 {
    crc32fast::hash(bytes.as_slice())
}
