//! The queries of lists.

use crate::backend::StateSet;
use crate::clock::Timestamp;
use crate::event::EventKind;
use crate::id::{Incarnation, KeyId, OwnerId};
use crate::key::{Kind, Prefix, State};

/// A query of keys, newest first.
#[derive(Clone, Debug)]
#[must_use]
pub struct ListKeys {
    pub(in crate::store) owners: Vec<OwnerId>,
    pub(in crate::store) kind: Option<Kind>,
    pub(in crate::store) created_by_key: Option<KeyId>,
    pub(in crate::store) states: StateSet,
    pub(in crate::store) name_start: Option<String>,
    pub(in crate::store) prefixes: Vec<Prefix>,
    pub(in crate::store) permission: Option<String>,
    pub(in crate::store) expires_before: Option<Timestamp>,
    pub(in crate::store) unused_since: Option<Timestamp>,
    pub(in crate::store) tags: Vec<String>,
    pub(in crate::store) after: Option<KeyId>,
    pub(in crate::store) until: Option<KeyId>,
    pub(in crate::store) limit: usize,
    pub(in crate::store) cursor: Option<String>,
}

impl ListKeys {
    /// The default number of keys a page: 100.
    pub const DEFAULT_LIMIT: usize = 100;
    /// The greatest number of keys a page: 1,000. A greater limit counts as this one, and 0 counts
    /// as 1.
    pub const MAX_LIMIT: usize = 1_000;
    /// The greatest number of owners in a query: 64.
    pub const MAX_OWNERS: usize = 64;

    /// Starts with all unrevoked keys in reach.
    pub fn new() -> Self {
        Self {
            owners: Vec::new(),
            kind: None,
            created_by_key: None,
            states: StateSet::UNREVOKED,
            name_start: None,
            prefixes: Vec::new(),
            permission: None,
            expires_before: None,
            unused_since: None,
            tags: Vec::new(),
            after: None,
            until: None,
            limit: Self::DEFAULT_LIMIT,
            cursor: None,
        }
    }

    /// Lists keys of this owner. Further calls add further owners.
    pub fn owner(mut self, owner: OwnerId) -> Self {
        self.owners.push(owner);
        self
    }

    /// Lists keys of this kind. Defaults to both kinds.
    pub fn kind(mut self, kind: Kind) -> Self {
        self.kind = Some(kind);
        self
    }

    /// Lists keys that a delegate created with this key. The key itself may be purged.
    pub fn created_by_key(mut self, key: KeyId) -> Self {
        self.created_by_key = Some(key);
        self
    }

    /// Lists keys in these states. Defaults to every state but revoked.
    pub fn states(mut self, states: impl IntoIterator<Item = State>) -> Self {
        self.states = StateSet::of(states);
        self
    }

    /// Lists keys whose names begin with this text, byte for byte: case counts. An empty text finds
    /// every key that has a name. A list refuses a text of more than 255 bytes.
    pub fn name_starts_with(mut self, start: impl Into<String>) -> Self {
        self.name_start = Some(start.into());
        self
    }

    /// Lists keys whose current token has this prefix. Further calls add further prefixes, any of
    /// which is enough. A list refuses a prefix that the store never accepted.
    pub fn prefix(mut self, prefix: Prefix) -> Self {
        self.prefixes.push(prefix);
        self
    }

    /// Lists keys that have this tag. Further calls add further tags, each of which the key must
    /// have. A list refuses a text that is no tag, and more than 16 tags.
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// Lists keys whose own access grants this permission in the store's catalogue: keys with full
    /// access, read-only ones if the catalogue marks it so, and those with a pattern that matches
    /// it. The owner's `max_access`, states and limits don't count. A list refuses a name that the
    /// catalogue lacks.
    pub fn permission(mut self, name: impl Into<String>) -> Self {
        self.permission = Some(name.into());
        self
    }

    /// Lists keys that expire, or have expired, before this moment. A key that never expires isn't
    /// among them.
    pub fn expires_before(mut self, end: Timestamp) -> Self {
        self.expires_before = Some(end);
        self
    }

    /// Lists keys whose last use lies before this moment, and keys that were created before it and
    /// never used. The last use is that of [`Key::usage`](crate::Key::usage), to its resolution. A
    /// list refuses it if the store doesn't keep usage.
    ///
    /// Usage isn't in an index: a page looks at up to 2,000 keys that the rest of the query finds,
    /// and a count at all of them.
    pub fn unused_since(mut self, moment: Timestamp) -> Self {
        self.unused_since = Some(moment);
        self
    }

    /// Starts after this key, with the next older one.
    pub fn starting_after(mut self, key: KeyId) -> Self {
        self.after = Some(key);
        self
    }

    /// Stops before this key.
    pub fn ending_before(mut self, key: KeyId) -> Self {
        self.until = Some(key);
        self
    }

    /// Sets the number of keys a page: 1 to 1,000. Defaults to 100.
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Continues where a page of the same query ended, with that page's
    /// [`next`](crate::Page::next). The cursor contains the limit too.
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

/// A query of owners, ascending by id.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct ListOwners {
    pub(in crate::store) suspended: Option<bool>,
    pub(in crate::store) tags: Vec<String>,
    pub(in crate::store) after: Option<OwnerId>,
    pub(in crate::store) limit: Option<usize>,
}

impl ListOwners {
    /// Starts with all owners.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lists only suspended owners (`true`), or only the others (`false`). Defaults to both.
    pub fn suspended(mut self, suspended: bool) -> Self {
        self.suspended = Some(suspended);
        self
    }

    /// Lists owners that have this tag. Further calls add further tags, each of which the owner must
    /// have. A list refuses a text that is no tag, and more than 16 tags.
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// Starts after this owner.
    pub fn after(mut self, owner: OwnerId) -> Self {
        self.after = Some(owner);
        self
    }

    /// Sets the number of entries a page. Defaults to 100. A limit above 1,000 counts as 1,000, and
    /// 0 counts as 1.
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = Some(limit);
        self
    }
}

/// A query of events: in their order after a number, or the newest first.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct ListEvents {
    pub(in crate::store) after: u64,
    pub(in crate::store) before: Option<u64>,
    pub(in crate::store) limit: Option<usize>,
    pub(in crate::store) key: Option<KeyId>,
    pub(in crate::store) owner: Option<OwnerId>,
    pub(in crate::store) incarnation: Option<Incarnation>,
    pub(in crate::store) actor: Option<String>,
    pub(in crate::store) acting_key: Option<KeyId>,
    pub(in crate::store) kind: Option<EventKind>,
    pub(in crate::store) since: Option<Timestamp>,
    pub(in crate::store) until: Option<Timestamp>,
}

impl ListEvents {
    /// Starts with all events from the first.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lists events with a greater number than this. Defaults to 0, which is before the first.
    pub fn after(mut self, sequence: u64) -> Self {
        self.after = sequence;
        self
    }

    /// Lists the newest event first. With a limit, the page has the last events. Defaults to the
    /// oldest first.
    pub fn newest_first(self) -> Self {
        let before = self.before.unwrap_or(u64::MAX);
        self.before(before)
    }

    /// Lists events with a smaller number than this, the newest first. The number is
    /// [`Events::next`](crate::store::Events::next) of the page before.
    pub fn before(mut self, sequence: u64) -> Self {
        self.before = Some(sequence);
        self
    }

    /// Sets the number of entries a page. Defaults to 100. A limit above 1,000 counts as 1,000, and
    /// 0 counts as 1.
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Lists events of this key.
    pub fn key(mut self, key: KeyId) -> Self {
        self.key = Some(key);
        self
    }

    /// Lists events of this owner: for an administrator, also those of earlier owners of this id.
    pub fn owner(mut self, owner: OwnerId) -> Self {
        self.owner = Some(owner);
        self
    }

    /// Lists events of this incarnation of an owner. An owner sees those of its own alone.
    pub fn incarnation(mut self, incarnation: Incarnation) -> Self {
        self.incarnation = Some(incarnation);
        self
    }

    /// Lists events of this actor.
    pub fn actor(mut self, actor: impl Into<String>) -> Self {
        self.actor = Some(actor.into());
        self
    }

    /// Lists events of what delegates did with this key.
    pub fn acting_key(mut self, key: KeyId) -> Self {
        self.acting_key = Some(key);
        self
    }

    /// Lists events of this kind.
    pub fn kind(mut self, kind: EventKind) -> Self {
        self.kind = Some(kind);
        self
    }

    /// Lists events at or after this time.
    pub fn since(mut self, since: Timestamp) -> Self {
        self.since = Some(since);
        self
    }

    /// Lists events before this time.
    pub fn until(mut self, until: Timestamp) -> Self {
        self.until = Some(until);
        self
    }
}
