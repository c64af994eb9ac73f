//! What is listed.

use crate::backend::StateSet;
use crate::clock::Timestamp;
use crate::event::EventKind;
use crate::id::{KeyId, OwnerId};
use crate::key::{Kind, State};

/// Which keys to list or count: newest first.
#[derive(Clone, Debug)]
#[must_use]
pub struct ListKeys {
    pub(in crate::store) owners: Vec<OwnerId>,
    pub(in crate::store) kind: Option<Kind>,
    pub(in crate::store) states: StateSet,
    pub(in crate::store) after: Option<KeyId>,
    pub(in crate::store) until: Option<KeyId>,
    pub(in crate::store) limit: usize,
    pub(in crate::store) cursor: Option<String>,
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
    pub(in crate::store) suspended: Option<bool>,
    pub(in crate::store) after: Option<OwnerId>,
    pub(in crate::store) limit: Option<usize>,
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
    pub(in crate::store) after: u64,
    pub(in crate::store) limit: Option<usize>,
    pub(in crate::store) key: Option<KeyId>,
    pub(in crate::store) owner: Option<OwnerId>,
    pub(in crate::store) actor: Option<String>,
    pub(in crate::store) kind: Option<EventKind>,
    pub(in crate::store) since: Option<Timestamp>,
    pub(in crate::store) until: Option<Timestamp>,
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
