//! Changes: each is committed whole, or not at all.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::Damage;
use crate::clock::Timestamp;
use crate::event::EventDraft;
use crate::id::{Incarnation, KeyId, NumericId, OwnerId, Version};
use crate::key::{
    Alert, Grant, KeyRecord, MAX_SWEEPS, OwnerRecord, PepperNumber, Quarantine, RequestRecord,
    StoreMetadata,
};

/// A set of records to write, each with its event, and what must hold for it.
///
/// A replaced record carries its new version, which is one more than the version it replaces.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// Versions that must hold of records which the change doesn't write.
    pub preconditions: Vec<Precondition>,
    /// The writes, each with its event.
    pub operations: Vec<Operation>,
    /// If set, keys that expired at this moment or before may lapse: the change takes the place or
    /// the name of one if it needs them. Each such key is written with an event of its own, which
    /// has the time and the authority of the change's first event and comes before it.
    pub lapse_expired_by: Option<Timestamp>,
    /// The request under which the change takes effect once.
    pub once: Option<Box<Once>>,
    /// The sweep of which it is a piece. Its events name the one that bound the sweep, and belong to
    /// the incarnation of the owner whose keys they were. It is refused if the sweep has ended.
    pub piece_of: Option<PieceOf>,
    /// Whether it may end live tokens by retiring their pepper. Otherwise it is refused if a live
    /// token is under a pepper that it retires, or may be: of a damaged key that isn't known.
    pub ends_tokens: bool,
}

/// A sweep, by its owner and by the event that bound it. Epochs begin again with each incarnation of an
/// owner: by its epoch a process that was paused could take a later owner's sweep for the one that it
/// worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PieceOf {
    /// The owner of the keys.
    pub owner: OwnerId,
    /// The number of the event that bound the sweep.
    pub binding: u64,
}

/// The live tokens under a pepper: those that no revocation of their key, no end of their grace and
/// no invalidation has ended for good.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PepperUse {
    /// The number of tokens.
    pub tokens: u64,
    /// The number of their keys.
    pub keys: u64,
    /// The ids of some of the keys: the [`SHOWN`](Self::SHOWN) oldest.
    pub some_keys: Vec<KeyId>,
    /// The number of damaged keys that aren't revoked. Any of their tokens may be under the pepper.
    pub damaged: u64,
}

impl PepperUse {
    /// The greatest number of keys that are shown.
    pub const SHOWN: usize = 20;

    /// Returns whether it is certain that no live token is under the pepper.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        self.tokens == 0 && self.damaged == 0
    }
}

impl fmt::Display for PepperUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tokens, keys, some_keys, damaged } = self;
        write!(f, "{tokens} live tokens of {keys} keys")?;
        for (n, key) in some_keys.iter().enumerate() {
            write!(f, "{}{key}", if n == 0 { ": " } else { ", " })?;
        }
        let is_cut = *keys > some_keys.len() as u64 && !some_keys.is_empty();
        f.write_str(if is_cut { ", …" } else { "" })?;
        match damaged {
            0 => Ok(()),
            _ => write!(f, "; and perhaps by {damaged} damaged keys, which `health` names"),
        }
    }
}

/// The request of a change, kept beside the change so that a repetition finds it.
#[derive(Clone, Debug)]
pub struct Once {
    /// The record of the request.
    pub record: RequestRecord,
    /// Whether a record of this request must be there, to be replaced. Otherwise none may be.
    pub replaces: bool,
    /// Records noted before this moment count as gone, and some of them are removed. `None` while
    /// the time isn't trusted.
    pub over_before: Option<Timestamp>,
}

/// One record written, and its event.
#[derive(Clone, Debug)]
pub struct Operation {
    /// The record.
    pub write: Write,
    /// The event.
    pub event: EventDraft,
}

/// A precondition of a commit, mostly a record's version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// The version of the store's own record.
    StoreMetadata(Version),
    /// Not a version: the keys that a key created, in no order. A change that writes to all of them
    /// says so, and no key slips in beside.
    CreatedKeys(KeyId, Vec<KeyId>),
    /// The version of a key.
    Key(KeyId, Version),
    /// Not a version: how many live keys an owner has. Who writes to all of them says so, and
    /// no key slips in beside.
    LiveKeys(OwnerId, u64),
    /// The version of an owner.
    Owner(OwnerId, Version),
    /// The incarnation of an owner, if it exists: versions begin again with each.
    Incarnation(OwnerId, Incarnation),
}

/// A write.
#[derive(Clone, Debug)]
pub enum Write {
    /// The store's own record, in a database that has none yet. Nothing else is written before it.
    CreateMetadata(Box<StoreMetadata>),
    /// A key that doesn't exist yet.
    CreateKey(Box<WriteKey>),
    /// An owner that doesn't exist yet.
    CreateOwner(Box<OwnerRecord>),
    /// The end of a sweep: every key that it covers is written. The last end of a purged owner
    /// removes its record. Only in a piece of that sweep.
    EndSweep(AllWritten),
    /// Nothing: the event stands alone.
    Nothing,
    /// A suspended owner to remove, with all keys that it has: they are gone from this commit on,
    /// though pieces remove their records later. The id is free from then on.
    PurgeOwner(OwnerId, Version),
    /// A quarantine entry, over the damaged record of a key or over the entry before it. The key's
    /// own record is neither read nor written.
    Quarantine(Box<Quarantine>),
    /// A key whose record is damaged, or that is under quarantine, to remove with its entry.
    RemoveDamagedKey(KeyId),
    /// A key to remove.
    RemoveKey(KeyId, Version),
    /// An owner to remove. It must have no keys.
    RemoveOwner(OwnerId, Version),
    /// A key that exists, whose quota is refilled or added to.
    GrantKeyUses(Box<KeyRecord>, Grant),
    /// An owner that exists, whose quota is refilled or added to.
    GrantOwnerUses(Box<OwnerRecord>, Grant),
    /// The store's own record.
    ReplaceMetadata(Box<StoreMetadata>),
    /// A key that exists.
    ReplaceKey(Box<KeyRecord>),
    /// An owner that exists.
    ReplaceOwner(Box<OwnerRecord>),
    /// An owner that exists, all of whose keys are revoked from this commit on, though pieces write
    /// that into their records later. The backend ends an epoch of the owner's tokens
    /// ([`TokensValidFrom::after_sweep`](crate::key::TokensValidFrom::after_sweep)); a key that the same change
    /// creates belongs to the next one, and stays.
    RevokeKeys(Box<OwnerRecord>),
    /// A key whose stored record, of this version, is to become what the sweep says that it is. Only
    /// in a piece of that sweep.
    SweepKey(KeyId, Version),
    /// No new record: the event raises this alert for a key. The backend keeps, beside the key's
    /// usage, that the alert was written.
    RecordAlert(KeyId, Alert),
}

/// Evidence that every key that a sweep covers is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllWritten {
    /// The list of the owner's keys, which may lack some, so that the counts must agree. So many
    /// damaged keys are left in it, each under an entry that revokes it.
    Listed {
        /// The number of damaged keys.
        damaged: u64,
    },
    /// The records of all keys, whatever leads to them.
    Looked,
}

/// A key to be created.
#[derive(Clone, Debug)]
pub struct WriteKey {
    /// The record; it may carry a numeric id.
    pub record: KeyRecord,
    /// Whether the backend assigns the numeric id: one more than the greatest ever used.
    pub next_numeric_id: bool,
}

/// The outcome of a change that took effect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// The number of its first event.
    pub first_event: u64,
    /// The number of its last event.
    pub last_event: u64,
    /// The numeric ids that were assigned, in the order of the creations that asked for one.
    pub numeric_ids: Vec<NumericId>,
    /// The keys that lapsed, each with its owner.
    pub lapsed: BTreeMap<KeyId, OwnerId>,
    /// The live tokens that it ended by retiring their pepper.
    pub ended: PepperUse,
    /// The number of keys that it revoked, or removed with their owner, by a sweep.
    pub swept: u64,
}

impl Applied {
    /// Gives the one key that the change created the numeric id that was assigned to it, if it
    /// asked for one.
    #[must_use]
    pub fn completed(&self, key: KeyRecord) -> KeyRecord {
        let numeric_id = key.numeric_id.or(self.numeric_ids.first().copied());
        KeyRecord { numeric_id, ..key }
    }
}

/// Why a change was refused; nothing of it took effect.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rejection {
    /// A record has another version than expected, or exists no more (`found` is `None`).
    Conflict {
        /// The expected version.
        expected: Version,
        /// The version that was found.
        found: Option<Version>,
        /// Which record.
        of: Precondition,
    },
    /// A record on which the change rests is damaged.
    Damaged(Box<Damage>),
    /// The data forbid a change of the store's rules.
    DataForbid {
        /// The rule, by its name.
        rule: &'static str,
    },
    /// The numeric id was used before.
    NumericIdTaken(NumericId),
    /// No numeric id is left after the greatest one used.
    NumericIdsExhausted,
    /// A key of this id exists.
    KeyExists(KeyId),
    /// The owner has got or lost live keys meanwhile, or a key has created others or lost some. Also
    /// the rejection of a piece whose sweep has ended, and of a token that was issued in an epoch that
    /// has ended since.
    KeysChanged,
    /// The owner would be left without a live standard key.
    LastStandardKey,
    /// Another live key of the owner has this name.
    NameTaken(KeyId),
    /// An owner of this id exists.
    OwnerExists,
    /// The owner to be removed still has keys.
    OwnerHasKeys,
    /// The owner of a key doesn't exist.
    OwnerMissing,
    /// The owner was removed meanwhile, and another one has its id.
    OwnerReplaced,
    /// A store was created on the database before.
    StoreExists,
    /// No store was created on the database yet.
    StoreMissing,
    /// The event was written before.
    AlreadyAlerted(KeyId),
    /// The request took effect before. Or one that is to be replaced isn't there.
    AlreadyRequested,
    /// Live tokens are under a pepper that was to be retired.
    PepperInUse {
        /// The pepper.
        number: PepperNumber,
        /// The live tokens under it.
        used: PepperUse,
    },
    /// The owner has as many sweeps as it may. Pieces have to end one first.
    SweepsPending(OwnerId),
    /// The owner would have too many live keys.
    TooManyKeys {
        /// The number of keys it may have.
        limit: u32,
    },
}

impl Change {
    /// A change of one record.
    #[must_use]
    pub fn of(write: Write, event: EventDraft) -> Self {
        Self { operations: vec![Operation { write, event }], ..Self::default() }
    }

    /// The store's own record that it creates.
    pub(super) fn created_metadata(&self) -> Option<&StoreMetadata> {
        self.operations.iter().find_map(|operation| match &operation.write {
            Write::CreateMetadata(created) => Some(&**created),
            _ => None,
        })
    }

    /// With one precondition more.
    #[must_use]
    pub fn requiring(mut self, precondition: Precondition) -> Self {
        self.preconditions.push(precondition);
        self
    }

    /// Lets keys lapse that expired at a moment or before, if the change needs their place or name.
    #[must_use]
    pub fn lapsing(mut self, expired_by: Option<Timestamp>) -> Self {
        self.lapse_expired_by = expired_by;
        self
    }

    /// With the request under which it takes effect once.
    #[must_use]
    pub fn under(mut self, once: Once) -> Self {
        self.once = Some(Box::new(once));
        self
    }

    /// Lets it end live tokens by retiring their pepper.
    #[must_use]
    pub fn ending_tokens(mut self, ends_tokens: bool) -> Self {
        self.ends_tokens = ends_tokens;
        self
    }

    /// With one operation more.
    #[must_use]
    pub fn and(mut self, write: Write, event: EventDraft) -> Self {
        self.operations.push(Operation { write, event });
        self
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conflict { expected, found: Some(found), .. } => {
                write!(f, "version {expected} was expected, {found} found")
            }
            Self::Conflict { expected, found: None, .. } => {
                write!(f, "version {expected} was expected, the record exists no more")
            }
            Self::Damaged(damage) => write!(f, "a record is damaged: {damage}"),
            Self::DataForbid { rule } => write!(f, "the data forbid this change of `{rule}`"),
            Self::NumericIdTaken(id) => write!(f, "numeric id {id} was used before"),
            Self::NumericIdsExhausted => f.write_str("no numeric id is left"),
            Self::KeyExists(id) => write!(f, "key {id} exists"),
            Self::KeysChanged => f.write_str("the owner's keys have changed meanwhile"),
            Self::LastStandardKey => f.write_str("the owner's last standard key must stay"),
            Self::NameTaken(by) => write!(f, "key {by} of the same owner has this name"),
            Self::OwnerExists => f.write_str("the owner already exists"),
            Self::OwnerHasKeys => f.write_str("the owner still has keys"),
            Self::OwnerReplaced => f.write_str("another owner has this id by now"),
            Self::OwnerMissing => f.write_str("the owner does not exist"),
            Self::StoreExists => f.write_str("a store was created on the database before"),
            Self::StoreMissing => f.write_str("no store was created on the database yet"),
            Self::AlreadyAlerted(key) => write!(f, "this was told of key {key} before"),
            Self::AlreadyRequested => f.write_str("the request took effect before"),
            Self::PepperInUse { number, used } => {
                write!(f, "pepper {} is needed by {used}", number.get())
            }
            Self::SweepsPending(id) => {
                write!(f, "owner {id} has {MAX_SWEEPS} sweeps that aren't written yet")
            }
            Self::TooManyKeys { limit } => {
                write!(f, "the owner may have at most {limit} live keys")
            }
        }
    }
}

impl std::error::Error for Rejection {}
