//! The state that the acknowledgements lead to.

use std::collections::BTreeMap;

use keyhasp::event::EventKind;
use keyhasp::key::MAX_PREVIOUS_TOKENS;
use keyhasp::{KeyId, OwnerId};

use crate::operation::{Deed, Made, Operation, OwnerDeed};

/// The expected state of an owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnerState {
    /// Its version.
    pub version: u64,
    /// Whether it is suspended.
    pub suspended: bool,
    /// The number in its default settings.
    pub mark: u64,
}

/// The expected state of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyState {
    /// Its owner.
    pub owner: OwnerId,
    /// Its version.
    pub version: u64,
    /// The generation of its current token.
    pub generation: u32,
    /// The generations of the previous tokens that are valid, oldest first.
    pub previous: Vec<u32>,
    /// Whether an administrator blocked it.
    pub blocked: bool,
    /// Whether its owner deactivated it.
    pub deactivated: bool,
    /// Whether it was revoked.
    pub revoked: bool,
    /// The number in its settings and its name.
    pub mark: u64,
    /// Its numeric id.
    pub numeric_id: Option<u64>,
}

/// A token that a caller was given.
#[derive(Clone, Debug)]
pub struct TokenState {
    /// Its key.
    pub key: KeyId,
    /// The key's owner.
    pub owner: OwnerId,
    /// Its generation.
    pub generation: u32,
    /// Its text.
    pub text: String,
}

/// The content that an event must have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Happened {
    /// Its kind.
    pub kind: EventKind,
    /// The owner it is about.
    pub owner: OwnerId,
    /// The key it is about, if any.
    pub key: Option<KeyId>,
    /// The record's version.
    pub version: u64,
    /// The generation of the token that was made.
    pub generation: Option<u32>,
}

/// The expected state of a store.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// The owners.
    pub owners: BTreeMap<OwnerId, OwnerState>,
    /// The keys, revoked ones too.
    pub keys: BTreeMap<KeyId, KeyState>,
    /// Every token that a caller was given.
    pub tokens: Vec<TokenState>,
    /// Every operation, with its events; none if it turned out not to have happened.
    pub operations: BTreeMap<String, Vec<Happened>>,
}

impl Happened {
    /// Tells whether it may be the event of a key that a sweep covers, which a piece writes.
    #[must_use]
    pub fn is_of_sweep(&self) -> bool {
        matches!(self.kind, EventKind::KeyPurged | EventKind::KeyRevoked)
    }
}

impl Ledger {
    /// Applies an operation; returns the events that it must have left.
    ///
    /// # Errors
    /// The key or owner isn't there.
    pub fn apply(
        &mut self,
        name: &str,
        operation: &Operation,
        made: &Made,
    ) -> Result<Vec<Happened>, String> {
        let events = match operation {
            Operation::CreateOwner(owner) => {
                let state = OwnerState { version: 1, suspended: false, mark: 0 };
                self.owners.insert(*owner, state);
                vec![of_owner(EventKind::OwnerCreated, *owner, 1), self.create(*owner, made)?]
            }
            Operation::CreateKey(owner) => vec![self.create(*owner, made)?],
            Operation::Key(key, deed) => vec![self.do_to_key(*key, *deed, made)?],
            Operation::Owner(owner, deed) => self.do_to_owner(*owner, *deed, made)?,
        };
        self.operations.insert(name.to_owned(), events.clone());
        Ok(events)
    }

    /// Records that an operation left nothing.
    pub fn did_not_happen(&mut self, name: &str) {
        self.operations.insert(name.to_owned(), Vec::new());
    }

    /// Iterates over the keys of an owner.
    pub fn keys_of(&self, owner: OwnerId) -> impl Iterator<Item = (&KeyId, &KeyState)> {
        self.keys.iter().filter(move |(_, key)| key.owner == owner)
    }

    fn create(&mut self, owner: OwnerId, made: &Made) -> Result<Happened, String> {
        let id = made.key.ok_or("a creation without a key")?;
        let key = KeyState {
            owner,
            version: 1,
            generation: 1,
            previous: Vec::new(),
            blocked: false,
            deactivated: false,
            revoked: false,
            mark: 0,
            numeric_id: made.numeric_id,
        };
        self.keys.insert(id, key);
        self.issue(id, owner, 1, made);
        Ok(of_key(EventKind::KeyCreated, owner, id, 1, Some(1)))
    }

    fn issue(&mut self, key: KeyId, owner: OwnerId, generation: u32, made: &Made) {
        // No caller learned the token of a creation that wasn't answered.
        if let Some(text) = made.token.clone() {
            self.tokens.push(TokenState { key, owner, generation, text });
        }
    }

    fn do_to_key(&mut self, id: KeyId, deed: Deed, made: &Made) -> Result<Happened, String> {
        let key = self.keys.get_mut(&id).ok_or_else(|| format!("no key {id}"))?;
        let owner = key.owner;
        if deed == Deed::Purge {
            let version = key.version;
            self.keys.remove(&id);
            return Ok(of_key(EventKind::KeyPurged, owner, id, version, None));
        }
        key.version += 1;
        let kind = match deed {
            Deed::Activate => {
                key.deactivated = false;
                EventKind::KeyActivated
            }
            Deed::Block => {
                key.blocked = true;
                EventKind::KeyBlocked
            }
            Deed::Deactivate => {
                key.deactivated = true;
                EventKind::KeyDeactivated
            }
            Deed::InvalidatePrevious => {
                key.previous.clear();
                EventKind::PreviousTokensInvalidated
            }
            Deed::Refill => EventKind::KeyQuotaRefilled,
            Deed::Revoke => {
                key.revoked = true;
                EventKind::KeyRevoked
            }
            Deed::Unblock => {
                key.blocked = false;
                EventKind::KeyUnblocked
            }
            Deed::Update(mark) => {
                key.mark = mark;
                EventKind::KeyUpdated
            }
            Deed::RotateByForce | Deed::UnblockAndRotate => {
                key.previous.clear();
                key.blocked &= deed != Deed::UnblockAndRotate;
                EventKind::KeyRotated
            }
            Deed::RotateWithGrace => {
                key.previous.push(key.generation);
                if key.previous.len() > MAX_PREVIOUS_TOKENS {
                    key.previous.remove(0);
                }
                EventKind::KeyRotated
            }
            Deed::RotateWithoutGrace => EventKind::KeyRotated,
            Deed::Purge => return Err("said above".to_owned()),
        };
        key.generation += u32::from(deed.rotates());
        let (version, generation) = (key.version, key.generation);
        if deed.rotates() {
            self.issue(id, owner, generation, made);
        }
        Ok(of_key(kind, owner, id, version, deed.rotates().then_some(generation)))
    }

    fn do_to_owner(
        &mut self,
        id: OwnerId,
        deed: OwnerDeed,
        made: &Made,
    ) -> Result<Vec<Happened>, String> {
        let owner = self.owners.get_mut(&id).ok_or_else(|| format!("no owner {id}"))?;
        if deed == OwnerDeed::Purge {
            let version = owner.version;
            self.owners.remove(&id);
            let purged = |(key, state): (&KeyId, &KeyState)| {
                of_key(EventKind::KeyPurged, id, *key, state.version, None)
            };
            let mut events: Vec<Happened> = self.keys_of(id).map(purged).collect();
            self.keys.retain(|_, key| key.owner != id);
            events.push(of_owner(EventKind::OwnerPurged, id, version));
            return Ok(events);
        }
        owner.version += 1;
        let version = owner.version;
        let kind = match deed {
            OwnerDeed::Refill => EventKind::OwnerQuotaRefilled,
            OwnerDeed::Resume => {
                owner.suspended = false;
                EventKind::OwnerResumed
            }
            OwnerDeed::Suspend => {
                owner.suspended = true;
                EventKind::OwnerSuspended
            }
            OwnerDeed::Update(mark) => {
                owner.mark = mark;
                EventKind::OwnerUpdated
            }
            _ => EventKind::OwnerKeysRevoked,
        };
        let mut events = vec![of_owner(kind, id, version)];
        if matches!(deed, OwnerDeed::RevokeAll | OwnerDeed::RevokeAllAndReplace) {
            let live: Vec<KeyId> =
                self.keys_of(id).filter(|(_, key)| !key.revoked).map(|(key, _)| *key).collect();
            for key in live {
                events.push(self.do_to_key(key, Deed::Revoke, made)?);
            }
        }
        if deed == OwnerDeed::RevokeAllAndReplace {
            events.push(self.create(id, made)?);
        }
        Ok(events)
    }
}

fn of_owner(kind: EventKind, owner: OwnerId, version: u64) -> Happened {
    Happened { kind, owner, key: None, version, generation: None }
}

fn of_key(
    kind: EventKind,
    owner: OwnerId,
    key: KeyId,
    version: u64,
    generation: Option<u32>,
) -> Happened {
    Happened { kind, owner, key: Some(key), version, generation }
}
