//! What is asked of a store.
//!
//! Texts are taken as they come and judged by the call, which names the field that it refuses.

use std::time::Duration;

use serde_json::Value;

use crate::backend::StateSet;
use crate::clock::Timestamp;
use crate::event::EventKind;
use crate::id::{ExternalId, KeyId, OwnerId};
use crate::key::{Expiry, Kind, Prefix, State, StoreRules};
use crate::permission::Access;

/// A key to be created.
#[derive(Clone, Debug)]
#[must_use]
pub struct CreateKey {
    pub(super) access: Access,
    pub(super) kind: Kind,
    pub(super) name: Option<String>,
    pub(super) expiry: Option<Expiry>,
    pub(super) settings: Option<Value>,
    pub(super) external_id: ExternalIdWish,
    pub(super) prefix: Option<Prefix>,
    pub(super) sealed: bool,
}

/// Which external id a new key gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExternalIdWish {
    /// This one; an administrator's to say.
    Given(ExternalId),
    /// One more than the greatest ever used.
    Next,
    /// None.
    #[default]
    None,
}

impl CreateKey {
    /// A standard key with this access, which never expires unless told.
    pub fn new(access: Access) -> Self {
        Self {
            access,
            kind: Kind::Standard,
            name: None,
            expiry: None,
            settings: None,
            external_id: ExternalIdWish::None,
            prefix: None,
            sealed: false,
        }
    }

    /// A trial key, an administrator's to create. It expires, unless `Never` is said in so many
    /// words.
    pub fn trial(access: Access, expiry: Expiry) -> Self {
        Self { kind: Kind::Trial, expiry: Some(expiry), ..Self::new(access) }
    }

    /// A label of 1 to 255 bytes.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// When it expires: later than now.
    pub fn expires(mut self, expiry: Expiry) -> Self {
        self.expiry = Some(expiry);
        self
    }

    /// Its own settings, a JSON object over its owner's defaults. A name set to null stays its
    /// owner's default.
    pub fn settings(mut self, settings: Value) -> Self {
        self.settings = Some(settings);
        self
    }

    /// The service's own number for it.
    pub fn external_id(mut self, wish: ExternalIdWish) -> Self {
        self.external_id = wish;
        self
    }

    /// What its tokens begin with: one of the accepted prefixes; the first unless told.
    pub fn prefix(mut self, prefix: Prefix) -> Self {
        self.prefix = Some(prefix);
        self
    }

    /// Keeps the token recoverable: it also lies encrypted. Needs a store whose rules allow it
    /// and that was opened with a sealing key.
    pub fn sealed(mut self) -> Self {
        self.sealed = true;
        self
    }
}

/// A change of a key: what isn't named stays.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct UpdateKey {
    pub(super) name: Option<Option<String>>,
    pub(super) access: Option<Access>,
    pub(super) expiry: Option<Expiry>,
    pub(super) settings: Option<Value>,
}

impl UpdateKey {
    /// Changes nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Another label.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(Some(name.into()));
        self
    }

    /// No label.
    pub fn no_name(mut self) -> Self {
        self.name = Some(None);
        self
    }

    /// Another access.
    pub fn access(mut self, access: Access) -> Self {
        self.access = Some(access);
        self
    }

    /// Another expiry, later than now. A trial key's is moved to later by an administrator alone.
    pub fn expires(mut self, expiry: Expiry) -> Self {
        self.expiry = Some(expiry);
        self
    }

    /// Settings by top-level name: a value sets it, null goes back to the owner's default.
    pub fn settings(mut self, patch: Value) -> Self {
        self.settings = Some(patch);
        self
    }
}

/// What is done to a key.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum KeyAction {
    /// The owner's switch: on again.
    Activate,
    /// The administrator's switch: off.
    Block,
    /// A trial becomes a standard key, with the expiry given.
    ConvertTrial {
        /// When the standard key expires.
        expiry: Expiry,
    },
    /// The owner's switch: off.
    Deactivate,
    /// Every token before the current one ends at once.
    EndEarlierTokens,
    /// The expiry moves to later; revives an expired key.
    Prolong(Expiry),
    /// The key ends for ever.
    Revoke,
    /// The administrator's switch: on again; the owner's own setting holds again.
    Unblock,
    /// Name, access, expiry, settings.
    Update(UpdateKey),
}

/// A rotation.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Rotate {
    pub(super) grace: Duration,
    pub(super) force: bool,
    pub(super) unblock: bool,
}

impl Rotate {
    /// How long the token before stays valid unless told: 6 hours.
    pub const DEFAULT_GRACE: Duration = Duration::from_secs(6 * 60 * 60);
    /// The longest grace: 366 days.
    pub const MAX_GRACE: Duration = Duration::from_secs(366 * 24 * 60 * 60);

    /// A rotation with the default grace.
    pub fn new() -> Self {
        Self { grace: Self::DEFAULT_GRACE, force: false, unblock: false }
    }

    /// How long the token before stays valid: 0 to 366 days.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Ends every earlier token at once.
    pub fn force(mut self) -> Self {
        self.force = true;
        self
    }

    /// Lifts a block in the same change; an administrator's, with force.
    pub fn unblock(mut self) -> Self {
        self.unblock = true;
        self
    }
}

impl Default for Rotate {
    fn default() -> Self {
        Self::new()
    }
}

/// An owner to be created.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct CreateOwner {
    pub(super) first_key: Option<CreateKey>,
    pub(super) defaults: Option<Value>,
    pub(super) ceiling: Option<Access>,
    pub(super) max_keys: Option<u32>,
}

impl CreateOwner {
    /// An owner with its first standard key, in the same change.
    pub fn with_key(first_key: CreateKey) -> Self {
        Self { first_key: Some(first_key), ..Self::default() }
    }

    /// An owner without a key.
    pub fn without_key() -> Self {
        Self::default()
    }

    /// Settings that hold for its keys where they don't say otherwise.
    pub fn defaults(mut self, defaults: Value) -> Self {
        self.defaults = Some(defaults);
        self
    }

    /// What its standard keys may do at most; `Full` unless told.
    pub fn ceiling(mut self, ceiling: Access) -> Self {
        self.ceiling = Some(ceiling);
        self
    }

    /// How many unrevoked keys it may have: 1,000 unless told.
    pub fn max_keys(mut self, max_keys: u32) -> Self {
        self.max_keys = Some(max_keys);
        self
    }
}

/// What is done to an owner.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum OwnerAction {
    /// Every token issued before this moment, at most now, is superseded.
    MoveIssueMark(Timestamp),
    /// Its keys are accepted again.
    Resume,
    /// None of its keys is accepted.
    Suspend,
    /// Defaults, ceiling, number of keys.
    Update(UpdateOwner),
}

/// A change of an owner: what isn't named stays.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct UpdateOwner {
    pub(super) defaults: Option<Value>,
    pub(super) ceiling: Option<Access>,
    pub(super) max_keys: Option<u32>,
}

impl UpdateOwner {
    /// Changes nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Default settings by top-level name: a value sets it, null takes it away.
    pub fn defaults(mut self, patch: Value) -> Self {
        self.defaults = Some(patch);
        self
    }

    /// Another ceiling; it narrows the owner's standard keys at once.
    pub fn ceiling(mut self, ceiling: Access) -> Self {
        self.ceiling = Some(ceiling);
        self
    }

    /// Another number of unrevoked keys; those that are there stay.
    pub fn max_keys(mut self, max_keys: u32) -> Self {
        self.max_keys = Some(max_keys);
        self
    }
}

/// Which keys to list or count: newest first.
#[derive(Clone, Debug)]
#[must_use]
pub struct ListKeys {
    pub(super) owners: Vec<OwnerId>,
    pub(super) kind: Option<Kind>,
    pub(super) states: StateSet,
    pub(super) after: Option<KeyId>,
    pub(super) until: Option<KeyId>,
    pub(super) limit: usize,
    pub(super) cursor: Option<String>,
}

impl ListKeys {
    /// How many a page holds unless told.
    pub const DEFAULT_LIMIT: usize = 100;
    /// How many a page holds at most; a greater limit is taken as this one, and 0 as 1.
    pub const MAX_LIMIT: usize = 1_000;
    /// How many owners can be named.
    pub const MAX_OWNERS: usize = 64;

    /// All unrevoked keys in reach.
    pub fn new() -> Self {
        Self {
            owners: Vec::new(),
            kind: None,
            states: StateSet::UNREVOKED,
            after: None,
            until: None,
            limit: Self::DEFAULT_LIMIT,
            cursor: None,
        }
    }

    /// Keys of this owner, and of others named in the same way.
    pub fn owner(mut self, owner: OwnerId) -> Self {
        self.owners.push(owner);
        self
    }

    /// Keys of this kind.
    pub fn kind(mut self, kind: Kind) -> Self {
        self.kind = Some(kind);
        self
    }

    /// Keys in these states; unrevoked ones unless told.
    pub fn states(mut self, states: impl IntoIterator<Item = State>) -> Self {
        self.states = StateSet::of(states);
        self
    }

    /// Starts after this key: with the next older one.
    pub fn after(mut self, key: KeyId) -> Self {
        self.after = Some(key);
        self
    }

    /// Stops before this key.
    pub fn before(mut self, key: KeyId) -> Self {
        self.until = Some(key);
        self
    }

    /// How many a page holds.
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Goes on where a page of the same query ended. The cursor carries the limit too.
    pub fn cursor(mut self, cursor: impl Into<String>) -> Self {
        self.cursor = Some(cursor.into());
        self
    }
}

impl Default for ListKeys {
    fn default() -> Self {
        Self::new()
    }
}

/// Which owners to list: ascending by id.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct ListOwners {
    pub(super) suspended: Option<bool>,
    pub(super) after: Option<OwnerId>,
    pub(super) limit: Option<usize>,
}

impl ListOwners {
    /// All owners.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only suspended ones, or only others.
    pub fn suspended(mut self, suspended: bool) -> Self {
        self.suspended = Some(suspended);
        self
    }

    /// Starts after this owner.
    pub fn after(mut self, owner: OwnerId) -> Self {
        self.after = Some(owner);
        self
    }

    /// How many a page holds: 100 unless told, at most 1,000; 0 is taken as 1.
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = Some(limit);
        self
    }
}

/// Which events to read: in their order, after a number.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct ListEvents {
    pub(super) after: u64,
    pub(super) limit: Option<usize>,
    pub(super) key: Option<KeyId>,
    pub(super) owner: Option<OwnerId>,
    pub(super) actor: Option<String>,
    pub(super) kind: Option<EventKind>,
    pub(super) since: Option<Timestamp>,
    pub(super) until: Option<Timestamp>,
}

impl ListEvents {
    /// All events from the first.
    pub fn new() -> Self {
        Self::default()
    }

    /// Events with greater numbers than this.
    pub fn after(mut self, sequence: u64) -> Self {
        self.after = sequence;
        self
    }

    /// How many a page holds: 100 unless told, at most 1,000; 0 is taken as 1.
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Of this key.
    pub fn key(mut self, key: KeyId) -> Self {
        self.key = Some(key);
        self
    }

    /// Of this owner.
    pub fn owner(mut self, owner: OwnerId) -> Self {
        self.owner = Some(owner);
        self
    }

    /// Done by this actor.
    pub fn actor(mut self, actor: impl Into<String>) -> Self {
        self.actor = Some(actor.into());
        self
    }

    /// Of this kind.
    pub fn kind(mut self, kind: EventKind) -> Self {
        self.kind = Some(kind);
        self
    }

    /// At or after this time.
    pub fn since(mut self, since: Timestamp) -> Self {
        self.since = Some(since);
        self
    }

    /// Before this time.
    pub fn until(mut self, until: Timestamp) -> Self {
        self.until = Some(until);
        self
    }
}

/// A change of the store's rules: what isn't named stays.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct ChangeRules {
    pub(super) rules: Option<StoreRules>,
    pub(super) prefixes: Option<Vec<Prefix>>,
}

impl ChangeRules {
    /// Changes nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Other rules, as far as the data allow.
    pub fn rules(mut self, rules: StoreRules) -> Self {
        self.rules = Some(rules);
        self
    }

    /// Exactly these prefixes are accepted from now on; the first is used unless told. One that a
    /// live token begins with can't be left out.
    pub fn prefixes(mut self, prefixes: impl IntoIterator<Item = Prefix>) -> Self {
        self.prefixes = Some(prefixes.into_iter().collect());
        self
    }
}
