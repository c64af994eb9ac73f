//! The calls of a sequence, as plain data.

use keyhasp::id::{KeyId, NumericId, OwnerId, Version};
use keyhasp::key::{Expiry, Kind, Lifetime, State, StoreRules};
use keyhasp::store::{
    CreateKey, CreateOwner, KeyAction, ListEvents, ListKeys, ListOwners, NumericIdChoice,
    OwnerAction, Rotate, UpdateKey, UpdateOwner,
};
use keyhasp::{ChangeRules, EventKind, IfInUse, Prefix, Timestamp, VerifiedKey};
use serde_json::Value;
use std::time::Duration;

use crate::limits::NewLimits;
use crate::model::Reach;

/// One call.
#[derive(Clone, Debug)]
pub(crate) enum Call {
    ActOnKey {
        id: KeyId,
        action: OnKey,
        expected: Option<Version>,
    },
    ActOnOwner {
        id: OwnerId,
        action: OnOwner,
        expected: Option<Version>,
    },
    ChangeRules {
        rules: Option<StoreRules>,
        prefixes: Option<Vec<Prefix>>,
        expected: Option<Version>,
    },
    Count {
        query: KeyQuery,
    },
    CreateKey {
        owner: OwnerId,
        key: NewKey,
    },
    CreateOwner {
        id: OwnerId,
        owner: NewOwner,
    },
    Events {
        query: EventQuery,
    },
    Find {
        id: NumericId,
    },
    FlushUsage,
    /// Requests a page of one query with the cursor of another.
    ForeignCursor {
        of: KeyQuery,
        used_for: KeyQuery,
    },
    Get {
        id: KeyId,
    },
    GetOwner {
        id: OwnerId,
    },
    /// Reports a token, or a text that looks like one, as found in public.
    Leaked {
        text: String,
        block: bool,
    },
    List {
        query: KeyQuery,
    },
    ListOwners {
        query: OwnerQuery,
    },
    LookOut,
    /// A cursor that no page has returned.
    MadeUpCursor {
        cursor: String,
    },
    InvalidateTokens {
        to: Timestamp,
        expected: Option<Version>,
    },
    RetirePepper {
        number: u16,
        if_in_use: IfInUse,
        expected: Option<Version>,
    },
    /// A creation or rotation under an idempotency key.
    Once {
        name: String,
        call: Box<Call>,
    },
    OpenToken {
        id: KeyId,
    },
    OpenTokens {
        query: KeyQuery,
    },
    Prune {
        before: Timestamp,
    },
    Purge {
        id: KeyId,
        expected: Option<Version>,
    },
    PurgeMany {
        ids: Vec<KeyId>,
        expected: Option<Version>,
    },
    PurgeOwner {
        id: OwnerId,
        expected: Option<Version>,
    },
    Recover,
    ReplaceLost {
        id: KeyId,
        name: String,
    },
    RevokeAll {
        owner: OwnerId,
        replacement: Option<NewKey>,
        expected: Option<Version>,
    },
    RevokeMany {
        ids: Vec<KeyId>,
        expected: Option<Version>,
    },
    RevokeTree {
        id: KeyId,
        expected: Option<Version>,
    },
    Rotate {
        id: KeyId,
        how: Rotation,
        expected: Option<Version>,
    },
    Rules,
    Wait {
        after: u64,
    },
    /// Writes so many pieces of sweeps.
    WorkSweeps {
        pieces: usize,
    },
}

/// A caller.
#[derive(Clone, Debug)]
pub(crate) struct Who {
    pub(crate) side: Side,
    pub(crate) actor: String,
    pub(crate) reason: Option<String>,
    /// Whether an administrator gives the reason for the owner's eyes too.
    pub(crate) for_owner: bool,
    pub(crate) correlation: Option<String>,
}

/// The role of a caller.
#[derive(Clone, Debug)]
pub(crate) enum Side {
    Admin,
    /// Acts with a verified key that a verification returned at some time.
    VerifiedKey(VerifiedKey),
    /// Claims to act with a key, without a verified key.
    Claim {
        owner: OwnerId,
        key: KeyId,
        generation: u32,
    },
    Owner(OwnerId),
    /// Acts as an owner, provided that a verified key holds.
    Provided {
        owner: OwnerId,
        verified: VerifiedKey,
        previous_tokens: bool,
    },
}

/// An action on a key, other than rotating and purging it.
#[derive(Clone, Debug)]
pub(crate) enum OnKey {
    Activate,
    AddToQuota(u64),
    Block,
    ConvertTrial(Expiry),
    Deactivate,
    InvalidatePrevious,
    ExtendExpiry(Expiry),
    RefillQuota,
    Revoke,
    Unblock,
    Update(KeyUpdate),
}

/// An action on an owner.
#[derive(Clone, Debug)]
pub(crate) enum OnOwner {
    AddToQuota(u64),
    InvalidateTokens(Timestamp),
    RefillQuota,
    Resume,
    Suspend,
    Update {
        defaults: Option<Value>,
        fixed: Option<Vec<String>>,
        lifetime: Option<Lifetime>,
        max_access: Option<Reach>,
        max_keys: Option<u32>,
        limits: Box<NewLimits>,
        tags: Option<Vec<String>>,
    },
}

#[derive(Clone, Debug)]
pub(crate) struct NewKey {
    pub(crate) access: Reach,
    pub(crate) kind: Kind,
    pub(crate) name: Option<String>,
    pub(crate) expiry: Option<Expiry>,
    pub(crate) settings: Option<Value>,
    pub(crate) numeric_id: NumericIdChoice,
    pub(crate) prefix: Option<Prefix>,
    pub(crate) sealed: bool,
    pub(crate) limits: NewLimits,
    pub(crate) or_owner: Option<Box<NewOwner>>,
    pub(crate) tags: Option<Vec<String>>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct NewOwner {
    pub(crate) first_key: Option<NewKey>,
    pub(crate) defaults: Option<Value>,
    pub(crate) fixed: Option<Vec<String>>,
    pub(crate) lifetime: Option<Lifetime>,
    pub(crate) max_access: Option<Reach>,
    pub(crate) max_keys: Option<u32>,
    pub(crate) limits: NewLimits,
    pub(crate) tags: Vec<String>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct KeyUpdate {
    pub(crate) name: Option<Option<String>>,
    pub(crate) access: Option<Reach>,
    pub(crate) expiry: Option<Expiry>,
    pub(crate) settings: Option<Value>,
    pub(crate) limits: NewLimits,
    pub(crate) tags: Option<Vec<String>>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Rotation {
    pub(crate) grace: Option<Duration>,
    pub(crate) force: bool,
    pub(crate) unblock: bool,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct KeyQuery {
    pub(crate) owners: Vec<OwnerId>,
    pub(crate) kind: Option<Kind>,
    pub(crate) created_by_key: Option<KeyId>,
    pub(crate) states: Option<Vec<State>>,
    pub(crate) name_start: Option<String>,
    pub(crate) prefixes: Vec<Prefix>,
    pub(crate) permission: Option<String>,
    pub(crate) expires_before: Option<Timestamp>,
    pub(crate) unused_since: Option<Timestamp>,
    pub(crate) tags: Vec<String>,
    pub(crate) after: Option<KeyId>,
    pub(crate) before: Option<KeyId>,
    pub(crate) limit: Option<usize>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct OwnerQuery {
    pub(crate) suspended: Option<bool>,
    pub(crate) tags: Vec<String>,
    pub(crate) after: Option<OwnerId>,
    pub(crate) limit: Option<usize>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct EventQuery {
    pub(crate) after: u64,
    /// The number before which the newest come first.
    pub(crate) before: Option<u64>,
    pub(crate) limit: Option<usize>,
    pub(crate) key: Option<KeyId>,
    pub(crate) owner: Option<OwnerId>,
    pub(crate) actor: Option<String>,
    pub(crate) acting_key: Option<KeyId>,
    pub(crate) kind: Option<EventKind>,
    pub(crate) since: Option<Timestamp>,
    pub(crate) until: Option<Timestamp>,
}

impl Call {
    /// Whether the call is one that may change records. The store mends graces before those.
    pub(crate) fn may_change(&self) -> bool {
        matches!(
            self,
            Self::ActOnKey { .. }
                | Self::ActOnOwner { .. }
                | Self::ChangeRules { .. }
                | Self::CreateKey { .. }
                | Self::CreateOwner { .. }
                | Self::InvalidateTokens { .. }
                | Self::Leaked { block: true, .. }
                | Self::OpenToken { .. }
                | Self::OpenTokens { .. }
                | Self::Purge { .. }
                | Self::PurgeOwner { .. }
                | Self::ReplaceLost { .. }
                | Self::RetirePepper { .. }
                | Self::RevokeAll { .. }
                | Self::RevokeTree { .. }
                | Self::Rotate { .. }
        )
    }

    /// A name for statistics.
    pub(crate) fn name(&self) -> String {
        let text = format!("{self:?}");
        let word = |text: &str| -> String {
            text.chars().take_while(char::is_ascii_alphanumeric).collect()
        };
        match self {
            Self::ActOnKey { action, .. } => {
                format!("{}:{}", word(&text), word(&format!("{action:?}")))
            }
            Self::ActOnOwner { action, .. } => {
                format!("{}:{}", word(&text), word(&format!("{action:?}")))
            }
            _ => word(&text),
        }
    }
}

impl NewKey {
    pub(crate) fn request(&self) -> CreateKey {
        let access = self.access.access();
        let mut request = match self.kind {
            Kind::Standard => CreateKey::new(access),
            Kind::Trial => CreateKey::trial(access, self.expiry.unwrap_or(Expiry::Never)),
        };
        if let Some(name) = &self.name {
            request = request.name(name);
        }
        if let Some(expiry) = self.expiry {
            request = request.expires(expiry);
        }
        if let Some(settings) = &self.settings {
            request = request.settings(settings.clone());
        }
        if let Some(prefix) = self.prefix {
            request = request.prefix(prefix);
        }
        if self.sealed {
            request = request.recoverable();
        }
        if let Some(owner) = &self.or_owner {
            request = request.or_create_owner(owner.request());
        }
        if let Some(tags) = &self.tags {
            request = request.tags(tags);
        }
        request.numeric_id(self.numeric_id).limits(self.limits.request())
    }
}

impl NewOwner {
    pub(crate) fn request(&self) -> CreateOwner {
        let mut request = match &self.first_key {
            Some(key) => CreateOwner::with_key(key.request()),
            None => CreateOwner::without_key(),
        };
        if let Some(defaults) = &self.defaults {
            request = request.defaults(defaults.clone());
        }
        if let Some(fixed) = &self.fixed {
            request = request.fixed_defaults(fixed);
        }
        if let Some(lifetime) = self.lifetime {
            request = request.lifetime(lifetime);
        }
        if let Some(max_access) = &self.max_access {
            request = request.max_access(max_access.access());
        }
        if let Some(max_keys) = self.max_keys {
            request = request.max_keys(max_keys);
        }
        request.limits(self.limits.request()).tags(&self.tags)
    }
}

impl KeyUpdate {
    pub(crate) fn request(&self) -> UpdateKey {
        let mut request = UpdateKey::new();
        match &self.name {
            Some(Some(name)) => request = request.name(name),
            Some(None) => request = request.clear_name(),
            None => {}
        }
        if let Some(access) = &self.access {
            request = request.access(access.access());
        }
        if let Some(expiry) = self.expiry {
            request = request.expires(expiry);
        }
        if let Some(settings) = &self.settings {
            request = request.settings(settings.clone());
        }
        match &self.tags {
            Some(tags) if tags.is_empty() => request = request.clear_tags(),
            Some(tags) => request = request.tags(tags),
            None => {}
        }
        request.limits(self.limits.request())
    }
}

impl OnKey {
    pub(crate) fn request(&self) -> KeyAction {
        match self {
            Self::Activate => KeyAction::Activate,
            Self::AddToQuota(uses) => KeyAction::AddToQuota(*uses),
            Self::RefillQuota => KeyAction::RefillQuota,
            Self::Block => KeyAction::Block,
            Self::ConvertTrial(expiry) => KeyAction::ConvertTrial { expiry: *expiry },
            Self::Deactivate => KeyAction::Deactivate,
            Self::InvalidatePrevious => KeyAction::InvalidatePreviousTokens,
            Self::ExtendExpiry(expiry) => KeyAction::ExtendExpiry(*expiry),
            Self::Revoke => KeyAction::Revoke,
            Self::Unblock => KeyAction::Unblock,
            Self::Update(update) => KeyAction::Update(update.request()),
        }
    }
}

impl OnOwner {
    pub(crate) fn request(&self) -> OwnerAction {
        match self {
            Self::AddToQuota(uses) => OwnerAction::AddToQuota(*uses),
            Self::InvalidateTokens(to) => OwnerAction::InvalidateTokens(*to),
            Self::RefillQuota => OwnerAction::RefillQuota,
            Self::Resume => OwnerAction::Resume,
            Self::Suspend => OwnerAction::Suspend,
            Self::Update { defaults, fixed, lifetime, max_access, max_keys, limits, tags } => {
                let mut request = UpdateOwner::new();
                match tags {
                    Some(tags) if tags.is_empty() => request = request.clear_tags(),
                    Some(tags) => request = request.tags(tags),
                    None => {}
                }
                if let Some(defaults) = defaults {
                    request = request.defaults(defaults.clone());
                }
                if let Some(fixed) = fixed {
                    request = request.fixed_defaults(fixed);
                }
                if let Some(lifetime) = lifetime {
                    request = request.lifetime(*lifetime);
                }
                if let Some(max_access) = max_access {
                    request = request.max_access(max_access.access());
                }
                if let Some(max_keys) = max_keys {
                    request = request.max_keys(*max_keys);
                }
                OwnerAction::Update(request.limits(limits.request()))
            }
        }
    }
}

impl Rotation {
    pub(crate) fn request(self) -> Rotate {
        let mut request = match self.grace {
            _ if self.force => Rotate::forced(),
            Some(grace) => Rotate::with_grace(grace),
            None => Rotate::new(),
        };
        if self.unblock {
            request = request.unblock();
        }
        request
    }
}

impl KeyQuery {
    pub(crate) fn request(&self) -> ListKeys {
        let mut request = ListKeys::new();
        for owner in &self.owners {
            request = request.owner(*owner);
        }
        if let Some(kind) = self.kind {
            request = request.kind(kind);
        }
        if let Some(key) = self.created_by_key {
            request = request.created_by_key(key);
        }
        if let Some(states) = &self.states {
            request = request.states(states.iter().copied());
        }
        if let Some(start) = &self.name_start {
            request = request.name_starts_with(start);
        }
        for prefix in &self.prefixes {
            request = request.prefix(*prefix);
        }
        if let Some(name) = &self.permission {
            request = request.permission(name);
        }
        if let Some(end) = self.expires_before {
            request = request.expires_before(end);
        }
        if let Some(moment) = self.unused_since {
            request = request.unused_since(moment);
        }
        for tag in &self.tags {
            request = request.tag(tag);
        }
        if let Some(after) = self.after {
            request = request.starting_after(after);
        }
        if let Some(before) = self.before {
            request = request.ending_before(before);
        }
        if let Some(limit) = self.limit {
            request = request.limit(limit);
        }
        request
    }

    /// Largest number of items on a page, as documented: 1 to 1,000. Defaults to 100.
    pub(crate) fn page(&self) -> usize {
        page(self.limit)
    }
}

impl OwnerQuery {
    pub(crate) fn request(&self) -> ListOwners {
        let mut request = ListOwners::new();
        if let Some(suspended) = self.suspended {
            request = request.suspended(suspended);
        }
        for tag in &self.tags {
            request = request.tag(tag);
        }
        if let Some(after) = self.after {
            request = request.after(after);
        }
        if let Some(limit) = self.limit {
            request = request.limit(limit);
        }
        request
    }

    pub(crate) fn page(&self) -> usize {
        page(self.limit)
    }
}

impl EventQuery {
    pub(crate) fn request(&self) -> ListEvents {
        let mut request = ListEvents::new().after(self.after);
        request = match self.before {
            Some(u64::MAX) => request.newest_first(),
            Some(before) => request.before(before),
            None => request,
        };
        if let Some(limit) = self.limit {
            request = request.limit(limit);
        }
        if let Some(key) = self.key {
            request = request.key(key);
        }
        if let Some(owner) = self.owner {
            request = request.owner(owner);
        }
        if let Some(actor) = &self.actor {
            request = request.actor(actor);
        }
        if let Some(key) = self.acting_key {
            request = request.acting_key(key);
        }
        if let Some(kind) = self.kind {
            request = request.kind(kind);
        }
        if let Some(since) = self.since {
            request = request.since(since);
        }
        if let Some(until) = self.until {
            request = request.until(until);
        }
        request
    }

    pub(crate) fn page(&self) -> usize {
        page(self.limit)
    }
}

fn page(limit: Option<usize>) -> usize {
    limit.unwrap_or(100).clamp(1, 1_000)
}

pub(crate) fn rules_request(
    rules: Option<StoreRules>,
    prefixes: Option<&Vec<Prefix>>,
) -> ChangeRules {
    let mut request = ChangeRules::new();
    if let Some(rules) = rules {
        request = request.rules(rules);
    }
    if let Some(prefixes) = prefixes {
        request = request.prefixes(prefixes.iter().copied());
    }
    request
}
