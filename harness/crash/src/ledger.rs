//! What must be there, by the acknowledgements alone.

use std::collections::BTreeMap;

use keyhasp::event::EventKind;
use keyhasp::key::MAX_PREVIOUS_TOKENS;
use keyhasp::{KeyId, OwnerId};

use crate::operation::{Deed, Made, Operation, OwnerDeed};

/// What is known of an owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnerState {
    /// Its version.
    pub version: u64,
    /// Whether it is suspended.
    pub suspended: bool,
    /// The number that its default settings say.
    pub mark: u64,
}

/// What is known of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyState {
    /// Whose it is.
    pub owner: OwnerId,
    /// Its version.
    pub version: u64,
    /// The number of its current token.
    pub generation: u32,
    /// The numbers of the earlier ones that live on, oldest first.
    pub previous: Vec<u32>,
    /// The administrator's switch.
    pub blocked: bool,
    /// The owner's switch.
    pub deactivated: bool,
    /// Whether it is over.
    pub revoked: bool,
    /// The number that its settings and its name say.
    pub mark: u64,
    /// Its numeric id.
    pub numeric_id: Option<u64>,
}

/// A token that somebody was given.
#[derive(Clone, Debug)]
pub struct TokenState {
    /// Whose it is.
    pub key: KeyId,
    /// And whose that was.
    pub owner: OwnerId,
    /// Its number.
    pub generation: u32,
    /// The token.
    pub text: String,
}

/// What an event must say.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Happened {
    /// What.
    pub kind: EventKind,
    /// To which owner.
    pub owner: OwnerId,
    /// To which key.
    pub key: Option<KeyId>,
    /// The record's version.
    pub version: u64,
    /// The number of the token that was made.
    pub generation: Option<u32>,
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// The owners.
    pub owners: BTreeMap<OwnerId, OwnerState>,
    /// The keys, revoked ones too.
    pub keys: BTreeMap<KeyId, KeyState>,
    /// Every token that was ever given out.
    pub tokens: Vec<TokenState>,
    /// Every operation, with its events; none if it was found not to have happened.
    pub operations: BTreeMap<String, Vec<Happened>>,
}

impl Ledger {
    /// Notes that an operation was done, and what events it must have left.
    ///
    /// # Errors
    /// What it was done to isn't there.
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

    /// Notes that an operation left nothing.
    pub fn did_not_happen(&mut self, name: &str) {
        self.operations.insert(name.to_owned(), Vec::new());
    }

    /// The keys of an owner.
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
        // Of a change that nobody was told of, the token is known to nobody.
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
