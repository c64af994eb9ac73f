//! What a store answers.

use serde::Serialize;
use serde_json::{Map, Value};

use super::error::Unavailable;
use crate::authority::Actor;
use crate::clock::Timestamp;
use crate::event::Event;
use crate::id::{Generation, KeyId, NumericId, OwnerId, Version};
use crate::key::{
    KeyName, KeyRecord, Kind, LastAddress, Limits, OwnerRecord, Prefix, RejectedCounts, SetBy,
    Settings, State, StoreMetadata, StoreRules, Switch,
};
use crate::permission::Access;
use crate::token::Token;

/// A key as it stands: everything but its tokens.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Key {
    /// Its id.
    pub id: KeyId,
    /// The service's own number for it.
    pub numeric_id: Option<NumericId>,
    /// For whom it acts.
    pub owner: OwnerId,
    /// What it is for.
    pub kind: Kind,
    /// The state at the time of the answer; a suspended owner is not part of it.
    pub state: State,
    /// A label for people.
    pub name: Option<KeyName>,
    /// What it may do, as it was written down; the owner's maximum access cuts it.
    pub access: Access,
    /// Who said so.
    pub access_by: SetBy,
    /// When it expires, if ever.
    pub expires_at: Option<Timestamp>,
    /// Who said so.
    pub expiry_by: SetBy,
    /// What it may use, beside what its owner's limits allow.
    pub limits: Limits,
    /// What holds: its own settings over its owner's defaults.
    pub settings: Map<String, Value>,
    /// Its own settings alone.
    pub own_settings: Settings,
    /// What its tokens begin with.
    pub prefix: Prefix,
    /// The number of its current token.
    pub generation: Generation,
    /// When that was issued.
    pub token_issued_at: Timestamp,
    /// The tokens before it that were not ended, oldest first; run-out ones are left out.
    pub previous_tokens: Vec<PreviousTokenInfo>,
    /// Whether the current token can be shown again.
    pub is_recoverable: bool,
    /// The owner's switch.
    pub deactivated: Option<Switch>,
    /// The administrator's switch.
    pub blocked: Option<Switch>,
    /// The revocation.
    pub revoked: Option<Switch>,
    /// When it was created.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: Actor,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// Grows by one with each change.
    pub version: Version,
    /// What was used of it; nothing where the store doesn't keep it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<KeyUsage>,
}

/// A token in its grace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PreviousTokenInfo {
    /// Its number.
    pub generation: Generation,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// When it ends, unless the key expires before.
    pub ends_at: Timestamp,
}

impl Key {
    pub(in crate::store) fn with_usage(self, usage: Option<KeyUsage>) -> Self {
        Self { usage, ..self }
    }

    pub(in crate::store) fn new(
        key: KeyRecord,
        owner: &OwnerRecord,
        metadata: &StoreMetadata,
        now: Timestamp,
    ) -> Self {
        let mark = owner.effective_tokens_valid_from(metadata);
        let state = key.state(now);
        let previous_tokens = key
            .tokens(mark)
            .filter_map(|(token, end)| Some((token, end.filter(|end| now < *end)?)))
            .filter(|(token, _)| token.generation != key.current.generation)
            .map(|(token, ends_at)| PreviousTokenInfo {
                generation: token.generation,
                issued_at: token.issued_at,
                ends_at,
            })
            .collect();
        Self {
            id: key.id,
            numeric_id: key.numeric_id,
            owner: key.owner,
            kind: key.kind,
            state,
            name: key.name,
            access: key.access,
            access_by: key.access_by,
            expires_at: key.expires_at,
            expiry_by: key.expiry_by,
            limits: key.limits,
            settings: key.settings.over(&owner.defaults),
            own_settings: key.settings,
            // Every number in a digest was given by this table.
            prefix: metadata
                .prefixes
                .prefix(key.current.digest.prefix)
                .unwrap_or_else(|| metadata.prefixes.entries()[0].prefix),
            generation: key.current.generation,
            token_issued_at: key.current.issued_at,
            previous_tokens,
            is_recoverable: key.seal.is_some(),
            deactivated: key.deactivated,
            blocked: key.blocked,
            revoked: key.revoked,
            created_at: key.created_at,
            created_by: key.created_by,
            updated_at: key.updated_at,
            version: key.version,
            usage: None,
        }
    }
}

/// An owner as it stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Owner {
    /// The service's own id for it.
    pub id: OwnerId,
    /// What holds for its keys where they don't say otherwise.
    pub defaults: Settings,
    /// The administrator's switch.
    pub suspended: Option<Switch>,
    /// What its standard keys may do at most.
    pub max_access: Access,
    /// What all its keys together may use.
    pub limits: Limits,
    /// How many unrevoked keys it may have.
    pub max_keys: u32,
    /// Every token issued before this is superseded.
    pub tokens_valid_from: Option<Timestamp>,
    /// When it was created.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: Actor,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// Grows by one with each change.
    pub version: Version,
}

impl From<OwnerRecord> for Owner {
    fn from(owner: OwnerRecord) -> Self {
        let OwnerRecord {
            id,
            version,
            defaults,
            suspended,
            max_access,
            limits,
            max_keys,
            tokens_valid_from,
            created_at,
            created_by,
            updated_at,
        } = owner;
        Self {
            id,
            defaults,
            suspended,
            max_access,
            limits,
            max_keys,
            tokens_valid_from,
            created_at,
            created_by,
            updated_at,
            version,
        }
    }
}

/// A key with a new token, which is shown this once.
#[derive(Debug)]
#[non_exhaustive]
pub struct Issued {
    /// The key.
    pub key: Key,
    /// Its new token.
    pub token: Token,
    /// The previous token that was dropped because too many lived.
    pub dropped: Option<Generation>,
}

/// A new owner, and its first key if it asked for one.
#[derive(Debug)]
#[non_exhaustive]
pub struct CreatedOwner {
    /// The owner.
    pub owner: Owner,
    /// Its first key.
    pub first_key: Option<Issued>,
}

/// What came of revoking all keys of an owner.
#[derive(Debug)]
#[non_exhaustive]
pub struct RevokedAll {
    /// How many keys were revoked.
    pub revoked: usize,
    /// The key in their place.
    pub replacement: Option<Issued>,
}

/// A recoverable token that was opened.
#[derive(Debug)]
#[non_exhaustive]
pub struct RevealedToken {
    /// The key.
    pub key: Key,
    /// Its current token; `None` if it isn't sealed.
    pub token: Option<Token>,
}

/// A token of this store that was found somewhere.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct FoundToken {
    /// The key.
    pub key: Key,
    /// The number of the token.
    pub generation: Generation,
    /// Whether it is the key's current one.
    pub is_current: bool,
    /// Whether a verification would accept it now, from where and as often as its limits allow.
    pub is_accepted: bool,
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Page<T> {
    /// What is on it; it may be short and still not the last.
    pub items: Vec<T>,
    /// What the next page is asked for with; `None` on the last.
    pub next: Option<String>,
}

/// A page of events.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Events {
    /// The events, in their order.
    pub items: Vec<Event>,
    /// The number to go on after; `None` when the end was reached.
    pub next: Option<u64>,
    /// Events up to this number were pruned. Who asked for events after a smaller number has
    /// missed some.
    pub pruned_through: u64,
}

/// The rules of a store as they stand.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Rules {
    /// The rules.
    pub rules: StoreRules,
    /// The accepted prefixes.
    pub prefixes: Vec<Prefix>,
    /// Every token issued before this is superseded.
    pub tokens_valid_from: Option<Timestamp>,
    /// Grows by one with each change.
    pub version: Version,
}

/// How a store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Health {
    /// Why it can't answer, or can't for some keys; `None` if it is ready.
    pub unavailable: Option<Unavailable>,
    /// How old what it knows of other processes may be; `None` if it has the database alone.
    pub staleness: Option<std::time::Duration>,
    /// How many tokens are in the index.
    pub tokens: usize,
}

/// What was used of a key up to now: what is written, and what waits in this process. What waits in
/// other processes is missing for as long as their interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct KeyUsage {
    /// When one of its tokens was last accepted, to the store's resolution.
    pub last_used_at: Option<Timestamp>,
    /// From where, if the store keeps addresses and this one isn't too old.
    pub last_address: Option<LastAddress>,
    /// How often its tokens were accepted while the store counted; nothing where it doesn't.
    pub accepted: Option<u64>,
    /// How often the right secret was refused, by reason.
    pub rejected: RejectedCounts,
    /// How many uses its own quota has left at least: what processes have leased and not yet spent
    /// comes on top. Its owner's quota isn't in it.
    pub quota_left: Option<u64>,
}
