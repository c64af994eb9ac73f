//! The answers of a store.

use serde::Serialize;
use serde_json::{Map, Value};

use super::bounds::Bounds;
use super::error::Error;
use super::owner_view::Owner;
use crate::authority::{Actor, Viewer};
use crate::backend::{BackendError, Damage, DamagedRow, PepperUse};
use crate::clock::Timestamp;
use crate::event::Event;
use crate::id::{Generation, KeyId, NumericId, OwnerId, Version};
use crate::key::{
    KeyName, KeyRecord, Kind, LastAddress, Limits, OwnerRecord, Prefix, RejectedCounts, SetBy,
    SettingNames, Settings, State, StoreMetadata, StoreRules, Switch, Tags,
};
use crate::permission::Access;
use crate::token::{Token, hint};

/// A key at the time of the answer, without its tokens.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Key {
    /// The id of the key.
    pub id: KeyId,
    /// The service's own number for the key.
    pub numeric_id: Option<NumericId>,
    /// The owner of the key.
    pub owner: OwnerId,
    /// The kind of the key: standard or trial.
    pub kind: Kind,
    /// The state at the time of the answer. A suspension of the owner is not part of it.
    pub state: State,
    /// The name, a label for people.
    pub name: Option<KeyName>,
    /// The tags, by which lists find the key.
    pub tags: Tags,
    /// The access as it was stored. The owner's `max_access` cuts that of a standard key.
    pub access: Access,
    /// The role that set the access.
    pub access_by: SetBy,
    /// The moment of expiry. `None` if the key never expires.
    pub expires_at: Option<Timestamp>,
    /// The role that set the expiry.
    pub expiry_by: SetBy,
    /// The limits of the key. Its owner's limits hold beside them.
    pub limits: Limits,
    /// The effective settings: the key's own over its owner's defaults, except the fixed ones. What
    /// an administrator has set on the key goes over both.
    pub settings: Map<String, Value>,
    /// The key's own settings alone.
    pub own_settings: Settings,
    /// Those of its own settings that an administrator has set, and only an administrator changes.
    pub protected_settings: SettingNames,
    /// The prefix of the current token.
    pub prefix: Prefix,
    /// A hint at the current token for people, such as `acme_live_0355…Kf93Qa`: its beginning up to
    /// the end of the id, shortened in the middle. It holds nothing of the secret.
    pub hint: String,
    /// The generation of the current token.
    pub generation: Generation,
    /// The moment at which the current token was issued.
    pub token_issued_at: Timestamp,
    /// Whether the current token has ended, since a `tokens_valid_from` or a retired pepper
    /// supersedes it. A rotation gives the key another.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_token_superseded: bool,
    /// The previous tokens that were not ended and whose grace isn't over, oldest first.
    pub previous_tokens: Vec<PreviousTokenInfo>,
    /// Whether the current token is recoverable.
    pub is_recoverable: bool,
    /// The deactivation by the owner, if any. Of this switch and the two after it an owner sees an
    /// administrator's reason only if that was given for it, and never the name.
    pub deactivated: Option<Switch>,
    /// The block by an administrator, if any.
    pub blocked: Option<Switch>,
    /// The revocation, if any.
    pub revoked: Option<Switch>,
    /// The moment at which the key lapsed, if it did: it had expired, and a newer key took its place
    /// or name. An extension of its expiry removes the mark, and needs a place and the name again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lapsed_at: Option<Timestamp>,
    /// The moment of creation.
    pub created_at: Timestamp,
    /// The actor that created it. An owner sees `administrator` in place of an administrator's name.
    pub created_by: Actor,
    /// The key with which that actor acted. `None` unless a delegate created it.
    pub created_by_key: Option<KeyId>,
    /// The role in which it was created.
    pub created_as: SetBy,
    /// The moment of the last change.
    pub updated_at: Timestamp,
    /// The version, which grows by one with each change.
    pub version: Version,
    /// The usage of the key. `None` if the store doesn't keep usage, or if its row is damaged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<KeyUsage>,
    #[serde(skip)]
    pub(in crate::store) bounds: Bounds,
}

/// A previous token in its grace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PreviousTokenInfo {
    /// The generation of the token.
    pub generation: Generation,
    /// The moment at which it was issued.
    pub issued_at: Timestamp,
    /// The end of its grace. If the key expires earlier, the token ends with the key.
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
        (viewer, now): (Viewer, Timestamp),
    ) -> Self {
        let shown = |switch: Option<Switch>| switch.map(|switch| switch.shown_to(viewer));
        let is_administrator = key.created_as == SetBy::Administrator;
        let invalidations = owner.invalidations(metadata);
        let state = key.state(now);
        // Every prefix number in a digest was assigned by this table.
        let prefix = metadata
            .prefixes
            .prefix(key.current.digest.prefix)
            .unwrap_or_else(|| metadata.prefixes.entries()[0].prefix);
        let previous_tokens = key
            .tokens(invalidations)
            .filter_map(|(token, end)| Some((token, end.filter(|end| now < *end)?)))
            .filter(|(token, _)| token.generation != key.current.generation)
            .map(|(token, ends_at)| PreviousTokenInfo {
                generation: token.generation,
                issued_at: token.issued_at,
                ends_at,
            })
            .collect();
        Self {
            bounds: Bounds::of(key.kind, owner),
            id: key.id,
            numeric_id: key.numeric_id,
            owner: key.owner,
            kind: key.kind,
            state,
            name: key.name,
            tags: key.tags,
            access: key.access,
            access_by: key.access_by,
            expires_at: key.expires_at,
            expiry_by: key.expiry_by,
            limits: key.limits,
            settings: key.settings.over(&owner.defaults, |name| {
                owner.fixed_defaults.contains(name) && !key.protected_settings.contains(name)
            }),
            own_settings: key.settings,
            protected_settings: key.protected_settings,
            prefix,
            hint: hint(&prefix, key.id),
            generation: key.current.generation,
            token_issued_at: key.current.issued_at,
            is_token_superseded: key.current.is_superseded(invalidations),
            previous_tokens,
            is_recoverable: key.seal.is_some(),
            deactivated: shown(key.deactivated),
            blocked: shown(key.blocked),
            revoked: shown(key.revoked),
            lapsed_at: key.lapsed_at,
            created_at: key.created_at,
            created_by: key.created_by.shown_to(viewer, is_administrator),
            created_by_key: key.created_by_key,
            created_as: key.created_as,
            updated_at: key.updated_at,
            version: key.version,
            usage: None,
        }
    }
}

/// A key with a new token, which is shown this once.
#[derive(Debug)]
#[non_exhaustive]
pub struct Issued {
    /// The key.
    pub key: Key,
    /// The new token.
    pub token: Token,
    /// The generation of the previous token that was ended because more than five were live.
    pub dropped: Option<Generation>,
}

/// The answer to a creation or rotation under an idempotency key.
#[derive(Debug)]
#[non_exhaustive]
pub struct IssuedOnce {
    /// The key, as it is now.
    pub key: Key,
    /// The generation that the request issued, or the one that replaced it.
    pub generation: Generation,
    /// The token of that generation. `None` for a repeated request, unless the token is recoverable,
    /// still the key's current one, and the caller may reveal it.
    pub token: Option<Token>,
    /// The generation of the previous token that was ended because more than five were live. `None`
    /// for a repeated request.
    pub dropped: Option<Generation>,
    /// Whether the request took effect before, and this call changed nothing.
    pub is_repeated: bool,
}

impl From<Issued> for IssuedOnce {
    /// The answer to a request that took effect now.
    fn from(issued: Issued) -> Self {
        let Issued { key, token, dropped } = issued;
        let generation = key.generation;
        Self { key, generation, token: Some(token), dropped, is_repeated: false }
    }
}

/// A new owner, with its first key if the request had one.
#[derive(Debug)]
#[non_exhaustive]
pub struct CreatedOwner {
    /// The owner.
    pub owner: Owner,
    /// The first key.
    pub first_key: Option<Issued>,
}

/// The result of revoking all keys of an owner.
#[derive(Debug)]
#[non_exhaustive]
pub struct RevokedAll {
    /// The number of revoked keys, by the owner's count. A damaged key counts each time until it is
    /// purged: its record doesn't say that it is revoked, the entry over it does.
    pub revoked: usize,
    /// The key that was created in their place.
    pub replacement: Option<Issued>,
}

/// The result of revoking a key with its descendants.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RevokedTree {
    /// The key.
    pub key: Key,
    /// The number of keys that the call revoked, the key itself included.
    pub revoked: usize,
}

/// A key with its revealed token.
#[derive(Debug)]
#[non_exhaustive]
pub struct RevealedToken {
    /// The key.
    pub key: Key,
    /// The current token. `None` if it isn't recoverable, or if there is an error.
    pub token: Option<Token>,
    /// The reason why a recoverable token isn't shown: the store has another recovery key than the one
    /// that it was encrypted under, or lacks it. The other tokens of the page are shown.
    pub error: Option<Error>,
}

/// A token of this store that was found somewhere, identified.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct FoundToken {
    /// The key.
    pub key: Key,
    /// The generation of the token.
    pub generation: Generation,
    /// Whether it is the key's current token.
    pub is_current: bool,
    /// Whether a verification would accept it now, as far as the limits on addresses, rates and
    /// quotas allow.
    pub is_accepted: bool,
}

/// A key after a change of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum ChangedKey {
    /// The key, as it is now.
    Whole(Box<Key>),
    /// A key whose record is damaged, so that it can't be shown. It is blocked or revoked all the
    /// same: a quarantine entry lies over the record, and verification and lists go by it. Only a
    /// block and a revocation answer so.
    Damaged(Box<DamagedEntry>),
}

impl ChangedKey {
    /// Returns the key, unless its record is damaged.
    #[must_use]
    pub fn whole(self) -> Option<Key> {
        match self {
            Self::Whole(key) => Some(*key),
            Self::Damaged(_) => None,
        }
    }
}

/// A damaged key or owner in a list, in place of its view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DamagedEntry {
    /// The place of the damage.
    pub damage: Damage,
    /// The key, if it is one.
    pub key: Option<KeyId>,
    /// The block of a quarantine entry over the key, if any.
    pub blocked: Option<Switch>,
    /// The revocation of a quarantine entry over the key, if any.
    pub revoked: Option<Switch>,
}

impl DamagedEntry {
    /// Shows what is damaged beside a key's record, which is whole.
    pub(in crate::store) fn of_key(key: KeyId, damage: Damage) -> Self {
        Self { damage, key: Some(key), blocked: None, revoked: None }
    }

    /// Shows a damaged row to a viewer.
    pub(in crate::store) fn new(row: DamagedRow, viewer: Viewer) -> Self {
        let key = row.key();
        let (blocked, revoked) =
            row.quarantine.map(|entry| (entry.blocked, entry.revoked)).unwrap_or_default();
        let shown = |switch: Option<Switch>| switch.map(|switch| switch.shown_to(viewer));
        Self { damage: row.damage, key, blocked: shown(blocked), revoked: shown(revoked) }
    }
}

impl From<DamagedEntry> for Error {
    fn from(entry: DamagedEntry) -> Self {
        BackendError::damaged("the store", "change key", entry.damage).into()
    }
}

/// The damaged records of a database.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Damaged {
    /// The number of damaged keys and owners. The keys of a damaged owner count as damaged, and
    /// those under quarantine.
    pub records: usize,
    /// The places of the first of them, at most [`MAX_PLACES`](Self::MAX_PLACES).
    pub places: Vec<Damage>,
}

impl Damaged {
    /// The greatest number of places.
    pub const MAX_PLACES: usize = 16;
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Page<T> {
    /// The entries. A page can be shorter than its limit without being the last.
    pub items: Vec<T>,
    /// The damaged records among those of the page.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub damaged: Vec<DamagedEntry>,
    /// The cursor of the next page. `None` on the last.
    pub next: Option<String>,
}

/// A page of events.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Events {
    /// The events, in the order of the query.
    pub items: Vec<Event>,
    /// The numbers of the damaged events, which can't be shown.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub damaged: Vec<u64>,
    /// The number after which to continue, or, newest first, before which. `None` when the end is
    /// reached.
    pub next: Option<u64>,
    /// The number of the newest event that was pruned. A caller that asked for events after a
    /// smaller number has missed some.
    pub pruned_through: u64,
}

/// The rules of a store at the time of the answer.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Rules {
    /// The rules.
    pub rules: StoreRules,
    /// The accepted prefixes.
    pub prefixes: Vec<Prefix>,
    /// Every token that was issued before this moment is superseded.
    pub tokens_valid_from: Option<Timestamp>,
    /// The version, which grows by one with each change.
    pub version: Version,
}

/// The result of retiring a pepper.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RetiredPepper {
    /// The number of the pepper. It is never used again.
    pub number: u16,
    /// The live tokens that ended. None if the pepper was retired before.
    pub ended: PepperUse,
    /// The version of the rules of the store.
    pub version: Version,
}

/// The usage of a key up to now: what is written, and what waits in this process. What waits in
/// other processes is missing until their next write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct KeyUsage {
    /// The moment at which a token of the key was last accepted, to the store's resolution.
    pub last_used_at: Option<Timestamp>,
    /// The address of the last use, if the store keeps addresses and this one isn't too old.
    pub last_address: Option<LastAddress>,
    /// The number of accepted uses since the store counts them. `None` if it doesn't.
    pub accepted: Option<u64>,
    /// The number of rejections of the right secret, by reason.
    pub rejected: RejectedCounts,
    /// The least number of uses that the key's own quota has left. Uses that processes have leased
    /// and not yet spent come on top. The owner's quota isn't included.
    pub quota_left: Option<u64>,
}
