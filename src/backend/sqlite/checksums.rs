//! Checksums of records: SQLite itself notices damage to its pages' structure, not to a value.
//!
//! Each is a CRC-32, as zlib has it, of the record's fields one after the other; which, and how,
//! is written down in `docs/storage-format.md`. It tells damage, not deceit: who can write to the
//! file can write a checksum too.

use crate::authority::{Authority, CorrelationId, Reason, Role};
use crate::backend::{ScannedKey, ScannedOwner, UsageSubject};
use crate::clock::Timestamp;
use crate::event::Event;
use crate::id::{Generation, KeyId, NumericId, OwnerId};
use crate::key::{
    KeyName, KeyRecord, Kind, Limit, Limits, OwnerRecord, QuotaState, SetBy, StoreMetadata, Switch,
    TokenRecord,
};
use crate::permission::Access;

/// What an index entry is made of; the loading of the index looks at nothing else.
pub(super) fn of_scanned_key(key: &ScannedKey) -> u32 {
    Bytes::new().of_scanned_key(key)
}

/// The same of an owner.
pub(super) fn of_scanned_owner(owner: &ScannedOwner) -> u32 {
    let mut bytes = Bytes::new();
    bytes.text(owner.id.as_str());
    bytes.flag(owner.suspended);
    bytes.access(&owner.max_access);
    bytes.maybe(owner.tokens_valid_from.as_ref(), Bytes::time);
    bytes.maybe(Some(&owner.limits).filter(|limits| !limits.is_empty()), Bytes::limits);
    bytes.sum()
}

/// All of a key, given the sum of what the index needs of it.
pub(super) fn of_key(key: &KeyRecord, state_sum: u32) -> u32 {
    let mut bytes = Bytes::new();
    bytes.number(state_sum);
    bytes.number(key.version.get());
    bytes.maybe(key.numeric_id.as_ref(), |bytes, id: &NumericId| bytes.number(id.get()));
    bytes.maybe(key.name.as_ref(), |bytes, name: &KeyName| bytes.text(name.as_str()));
    for set_by in [key.access_by, key.expiry_by] {
        bytes.flag(set_by == SetBy::Owner);
    }
    bytes.time(&key.created_at);
    bytes.text(key.created_by.as_str());
    bytes.time(&key.updated_at);
    for switch in [&key.deactivated, &key.blocked, &key.revoked] {
        bytes.maybe(switch.as_ref(), Bytes::switch);
    }
    bytes.maybe(key.seal.as_ref(), |bytes, seal| {
        bytes.number(seal.key_number);
        bytes.put(&seal.nonce);
        bytes.put(&seal.ciphertext);
    });
    bytes.text(&key.settings.to_json());
    bytes.sum()
}

/// All of an owner but for its numbers of keys.
pub(super) fn of_owner(owner: &OwnerRecord, state_sum: u32) -> u32 {
    let mut bytes = Bytes::new();
    bytes.number(state_sum);
    bytes.maybe(owner.suspended.as_ref(), Bytes::switch);
    bytes.number(owner.max_keys);
    bytes.number(owner.version.get());
    bytes.time(&owner.created_at);
    bytes.text(owner.created_by.as_str());
    bytes.time(&owner.updated_at);
    bytes.text(&owner.defaults.to_json());
    bytes.sum()
}

/// The store's own record, with its prefixes and peppers.
pub(super) fn of_metadata(metadata: &StoreMetadata) -> u32 {
    let mut bytes = Bytes::new();
    bytes.number(metadata.version.get());
    let rules = metadata.rules;
    [rules.unique_names, rules.keep_standard_key, rules.recoverable_tokens]
        .into_iter()
        .for_each(|rule| bytes.flag(rule));
    bytes.maybe(metadata.tokens_valid_from.as_ref(), Bytes::time);
    for entry in metadata.prefixes.entries() {
        bytes.number(entry.number.get());
        bytes.text(entry.prefix.as_str());
        bytes.flag(entry.accepted);
    }
    for pepper in &metadata.peppers {
        bytes.number(pepper.number.get());
        bytes.put(&pepper.value);
    }
    bytes.sum()
}

/// An event with its number.
pub(super) fn of_event(event: &Event) -> u32 {
    let mut bytes = Bytes::new();
    bytes.number(event.sequence);
    bytes.time(&event.at);
    bytes.number(event.kind.number());
    bytes.maybe(event.owner.as_ref(), |bytes, owner: &OwnerId| bytes.text(owner.as_str()));
    bytes.maybe(event.key.as_ref(), |bytes, key| bytes.key(*key));
    bytes.number(event.version.get());
    bytes.maybe(event.generation.as_ref(), Bytes::generation);
    bytes.number(event.fields.bits());
    let Authority { role, actor, reason, correlation_id } = &event.authority;
    bytes.maybe(role.owner(), |bytes, owner: &OwnerId| bytes.text(owner.as_str()));
    if let Role::Delegate { key, generation, .. } = role {
        bytes.key(*key);
        bytes.generation(generation);
    }
    bytes.text(actor.as_str());
    bytes.maybe(reason.as_ref(), |bytes, reason: &Reason| bytes.text(reason.as_str()));
    bytes.maybe(correlation_id.as_ref(), |bytes, id: &CorrelationId| bytes.text(id.as_str()));
    bytes.sum()
}

/// What is left of a quota, and whose it is.
pub(super) fn of_quota(of: &UsageSubject, state: &QuotaState) -> u32 {
    let mut bytes = Bytes::new();
    match of {
        UsageSubject::Key(key) => bytes.key(*key),
        UsageSubject::Owner(owner) => bytes.text(owner.as_str()),
    }
    bytes.number(state.quota_version.get());
    bytes.number(state.left);
    bytes.time(&state.period);
    bytes.sum()
}

/// Fields, one after the other; no two lists of fields give the same bytes.
pub(super) struct Bytes(Vec<u8>);

impl Bytes {
    pub(super) fn new() -> Self {
        Self(Vec::with_capacity(256))
    }

    /// [`of_scanned_key`] for whoever has many.
    pub(super) fn of_scanned_key(&mut self, key: &ScannedKey) -> u32 {
        self.0.clear();
        self.key(key.id);
        self.text(key.owner.as_str());
        self.flag(key.kind == Kind::Trial);
        self.access(&key.access);
        self.maybe(key.expires_at.as_ref(), Self::time);
        [key.deactivated, key.blocked, key.revoked].into_iter().for_each(|is_on| self.flag(is_on));
        self.maybe(key.limits.as_deref(), Self::limits);
        self.token(&key.current);
        for previous in &key.previous {
            self.token(&previous.token);
            self.time(&previous.ends_at);
        }
        self.sum()
    }

    fn sum(&self) -> u32 {
        crc32fast::hash(&self.0)
    }

    /// Eight bytes, the most significant first.
    fn number(&mut self, number: impl Into<u64>) {
        self.0.extend(number.into().to_be_bytes());
    }

    fn flag(&mut self, flag: bool) {
        self.0.push(flag.into());
    }

    /// Its length and itself.
    fn put(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend(bytes);
    }

    fn text(&mut self, text: &str) {
        self.put(text.as_bytes());
    }

    /// 0, or 1 and the value.
    fn maybe<T>(&mut self, value: Option<&T>, put: impl FnOnce(&mut Self, &T)) {
        self.flag(value.is_some());
        if let Some(value) = value {
            put(self, value);
        }
    }

    fn time(&mut self, at: &Timestamp) {
        self.number(at.as_millis());
    }

    fn generation(&mut self, generation: &Generation) {
        self.number(generation.get());
    }

    fn key(&mut self, id: KeyId) {
        self.0.extend(id.to_bytes());
    }

    fn access(&mut self, access: &Access) {
        match access.as_word() {
            Some(word) => self.text(word),
            None => self.text(&access.to_string()),
        }
    }

    fn limits(&mut self, limits: &Limits) {
        let Limits { not_before, networks, rate, quota } = limits;
        self.limit(not_before.as_ref(), Self::time);
        self.limit(networks.as_ref(), |bytes, networks| bytes.text(&networks.to_string()));
        self.limit(rate.as_ref(), |bytes, rate| {
            bytes.number(rate.count());
            bytes.number(u64::try_from(rate.per().as_millis()).unwrap_or(u64::MAX));
            bytes.number(rate.burst());
        });
        self.limit(quota.as_ref(), |bytes, run| {
            bytes.number(run.quota.uses());
            bytes.maybe(run.quota.refill().as_ref(), |bytes, refill| {
                bytes.number(refill.amount());
                bytes.number(refill.period().number());
            });
            bytes.number(run.quota_version.get());
        });
    }

    fn limit<T>(&mut self, limit: Option<&Limit<T>>, put: impl FnOnce(&mut Self, &T)) {
        self.maybe(limit, |bytes, limit| {
            put(bytes, &limit.value);
            bytes.flag(limit.by == SetBy::Owner);
        });
    }

    fn switch(&mut self, switch: &Switch) {
        self.time(&switch.at);
        self.text(switch.by.as_str());
        self.maybe(switch.reason.as_ref(), |bytes, reason: &Reason| bytes.text(reason.as_str()));
    }

    fn token(&mut self, token: &TokenRecord) {
        let TokenRecord { generation, digest, issued_at } = token;
        self.generation(generation);
        self.number(digest.scheme.number());
        self.number(digest.pepper.get());
        self.number(digest.prefix.get());
        self.0.extend(digest.expose());
        self.time(issued_at);
    }
}
