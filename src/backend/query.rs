//! Queries of a backend, and its answers.

use super::{Damage, DamagedRow};
use crate::authority::{Actor, Role, Viewer};
use crate::clock::Timestamp;
use crate::event::{Event, EventKind};
use crate::id::{Incarnation, KeyId, OwnerId};
use crate::key::{KeyRecord, Kind, OwnerRecord, PrefixNumber, State, Tags};
use crate::permission::PermissionFilter;

/// A set of states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StateSet(u8);

impl StateSet {
    /// All states but revoked: the default of a list.
    pub const UNREVOKED: Self = Self(0b0_1111);
    /// All states.
    pub const ALL: Self = Self(0b1_1111);

    /// These states.
    #[must_use]
    pub fn of(states: impl IntoIterator<Item = State>) -> Self {
        Self(states.into_iter().fold(0, |bits, state| bits | 1 << state as u8))
    }

    /// Tells whether this set has the state.
    #[must_use]
    pub fn contains(self, state: State) -> bool {
        self.0 >> state as u8 & 1 == 1
    }

    /// The bits, in the order of [`State::ALL`].
    #[must_use]
    pub fn bits(self) -> u8 {
        self.0
    }
}

/// Which keys are meant.
#[derive(Clone, Debug)]
pub struct KeyFilter {
    /// The owner, if one is asked for.
    pub owner: Option<OwnerId>,
    /// The kind, if one is asked for.
    pub kind: Option<Kind>,
    /// The key that created them, if one is asked for.
    pub created_by_key: Option<KeyId>,
    /// In these states at `now`.
    pub states: StateSet,
    /// The time by which states are judged.
    pub now: Timestamp,
    /// The first bytes of the name, if asked for. Every name begins with an empty text, and a key
    /// without a name isn't meant.
    pub name_start: Option<String>,
    /// The prefixes of the current token, if asked for: any of these.
    pub prefixes: Option<Vec<PrefixNumber>>,
    /// The permission that the key's own access grants, if one is asked for.
    pub permission: Option<PermissionFilter>,
    /// The moment before which the key expires, if one is asked for. A key that never expires isn't
    /// meant.
    pub expires_before: Option<Timestamp>,
    /// Tags that the key has, each of them.
    pub tags: Tags,
}

impl KeyFilter {
    /// All keys in some states at `now`. Other fields are set with `..`.
    #[must_use]
    pub fn new(states: StateSet, now: Timestamp) -> Self {
        Self {
            owner: None,
            kind: None,
            created_by_key: None,
            states,
            now,
            name_start: None,
            prefixes: None,
            permission: None,
            expires_before: None,
            tags: Tags::default(),
        }
    }

    /// Whether a key is meant. A backend may narrow by its own indexes, and asks this of each row
    /// that it answers.
    #[must_use]
    pub fn matches(&self, key: &KeyRecord) -> bool {
        self.owner.is_none_or(|owner| owner == key.owner)
            && self.kind.is_none_or(|kind| kind == key.kind)
            && (self.created_by_key.is_none() || self.created_by_key == key.created_by_key)
            && self.states.contains(key.state(self.now))
            && self.expires_in_time(key.expires_at)
            && self.name_start.as_deref().is_none_or(|start| {
                key.name.as_ref().is_some_and(|name| name.as_str().starts_with(start))
            })
            && self.prefixes.as_ref().is_none_or(|some| some.contains(&key.current.digest.prefix))
            && key.tags.contains_all(&self.tags)
            && self.permission.as_ref().is_none_or(|asked| asked.is_granted_by(&key.access))
    }

    /// Returns whether a key with this expiry expires before the moment that is asked for. A backend
    /// that has the expiry in an index need not read the rows of other keys.
    #[must_use]
    pub fn expires_in_time(&self, expires_at: Option<Timestamp>) -> bool {
        self.expires_before.is_none_or(|end| expires_at.is_some_and(|at| at < end))
    }
}

/// A page of keys: newest first by id.
#[derive(Clone, Debug)]
pub struct KeyPageQuery {
    /// Which keys.
    pub filter: KeyFilter,
    /// Only keys with ids below this.
    pub before: Option<KeyId>,
    /// Only keys with ids above this.
    pub after: Option<KeyId>,
    /// At most so many keys; at least 1.
    pub limit: usize,
    /// The largest number of records to look at. The page ends there, however short it is; at
    /// least 1.
    pub examine: usize,
}

/// Keys, newest first.
#[derive(Clone, Debug, Default)]
pub struct KeyPage {
    /// The keys.
    pub keys: Vec<KeyRecord>,
    /// Keys whose records are damaged, or that are under quarantine, newest first.
    pub damaged: Vec<DamagedRow>,
    /// If there may be more: every key at or above this id was looked at. The next page asks for
    /// keys before it.
    pub next: Option<KeyId>,
}

/// A page of owners: ascending by id.
#[derive(Clone, Debug)]
pub struct OwnerPageQuery {
    /// Only owners with ids above this.
    pub after: Option<OwnerId>,
    /// Only suspended ones, or only others.
    pub suspended: Option<bool>,
    /// Only those that have each of these tags.
    pub tags: Tags,
    /// Only those with sweeps that pieces have yet to write. There are few, mostly none: a backend
    /// should find them without looking at others.
    pub swept: bool,
    /// The largest number of records on a page; at least 1.
    pub limit: usize,
    /// The largest number of records to look at. The page ends there, however short it is; at
    /// least 1.
    pub examine: usize,
}

impl OwnerPageQuery {
    /// Asks for the first owners of all, as many as this, and looks at no more. Other fields are set
    /// with `..`.
    #[must_use]
    pub fn all(limit: usize) -> Self {
        let tags = Tags::default();
        Self { after: None, suspended: None, tags, swept: false, limit, examine: limit }
    }

    /// Whether an owner is meant.
    #[must_use]
    pub fn matches(&self, owner: &OwnerRecord) -> bool {
        self.suspended.is_none_or(|suspended| suspended == owner.suspended.is_some())
            && (!self.swept || owner.sweeps.is_some())
            && owner.tags.contains_all(&self.tags)
    }
}

/// Owners, ascending by id.
#[derive(Clone, Debug, Default)]
pub struct OwnerPage {
    /// The owners.
    pub owners: Vec<OwnerRecord>,
    /// Owners whose records are damaged.
    pub damaged: Vec<Damage>,
    /// If there may be more: every owner up to this one was looked at.
    pub next: Option<OwnerId>,
}

/// Events that match every field given.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    /// The key, if one is asked for.
    pub key: Option<KeyId>,
    /// The owner, if one is asked for.
    pub owner: Option<OwnerId>,
    /// The incarnation of the owner, if one is asked for.
    pub incarnation: Option<Incarnation>,
    /// Done by this actor, as the viewer is shown it.
    pub actor: Option<Actor>,
    /// Done by a delegate with this key.
    pub acting_key: Option<KeyId>,
    /// The viewer of the events. An owner that asks for an administrator's name finds nothing.
    pub viewer: Viewer,
    /// The kind, if one is asked for.
    pub kind: Option<EventKind>,
    /// At or after this time.
    pub since: Option<Timestamp>,
    /// Before this time.
    pub until: Option<Timestamp>,
}

impl EventFilter {
    /// Whether an event is meant.
    #[must_use]
    pub fn matches(&self, event: &Event) -> bool {
        self.key.is_none_or(|key| event.key == Some(key))
            && self.owner.is_none_or(|owner| event.owner == Some(owner))
            && self.incarnation.is_none_or(|number| event.incarnation == Some(number))
            && self.actor.as_ref().is_none_or(|actor| {
                let is_administrator = event.authority.role == Role::Administrator;
                *actor == event.authority.actor.clone().shown_to(self.viewer, is_administrator)
            })
            && self.acting_key.is_none_or(|key| event.authority.role.acting_key() == Some(key))
            && self.kind.is_none_or(|kind| kind == event.kind)
            && self.since.is_none_or(|since| event.at >= since)
            && self.until.is_none_or(|until| event.at < until)
    }
}

/// Events after a number, in their order, or before one, newest first.
#[derive(Clone, Debug)]
pub struct EventQuery {
    /// Only events with a number greater than this.
    pub after: u64,
    /// Only events with a smaller number than this, and the newest first: [`u64::MAX`] begins with
    /// the last of all. `None` for the oldest first.
    pub before: Option<u64>,
    /// The events to return.
    pub filter: EventFilter,
    /// The largest number of records on a page; at least 1.
    pub limit: usize,
    /// The largest number of records to look at. The page ends there, however short it is; at
    /// least 1.
    pub examine: usize,
}

/// Events, in the order of the query.
#[derive(Clone, Debug, Default)]
pub struct EventPage {
    /// The events.
    pub events: Vec<Event>,
    /// The numbers of the damaged events among those that were looked at.
    pub damaged: Vec<u64>,
    /// If there may be more: every event up to this number was looked at, or, newest first, every
    /// one from this number on. The next page asks for those after it, or before it.
    pub next: Option<u64>,
    /// Events up to this number were pruned; 0 if none was. Who asks for events after a smaller
    /// number has missed some.
    pub pruned_through: u64,
}

#[cfg(feature = "testing")]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{KeyName, PreviousToken};
    use crate::permission::{Access, Catalogue};
    use crate::testing::sample;

    fn key() -> KeyRecord {
        let second = PrefixNumber::new(1).unwrap();
        let mut key = sample::key(1, "acme").unwrap();
        let since = sample::at(0);
        key.previous = vec![PreviousToken { token: key.current.clone(), since, ends_at: since }];
        key.current.digest.prefix = second;
        KeyRecord {
            name: KeyName::new("build server").ok(),
            access: Access::limited(["links:*"]).unwrap(),
            expires_at: Some(sample::at(50)),
            tags: Tags::new(["ci", "env=prod"]).unwrap(),
            ..key
        }
    }

    fn bare() -> KeyRecord {
        KeyRecord { access: Access::ReadOnly, ..sample::key(2, "acme").unwrap() }
    }

    /// Which of the two keys a filter means.
    fn meant(filter: impl FnOnce(&mut KeyFilter)) -> (bool, bool) {
        let mut all = KeyFilter::new(StateSet::ALL, sample::at(10));
        assert!(all.matches(&key()) && all.matches(&bare()));
        filter(&mut all);
        (all.matches(&key()), all.matches(&bare()))
    }

    #[test]
    fn what_a_filter_means_of_a_key() {
        let catalogue = Catalogue::builder().read("links:read").write("links:write").read("users");
        let catalogue = catalogue.build().unwrap();
        let permission = |name| PermissionFilter::new(name, &catalogue).ok();
        for (start, expected) in [
            ("", (true, false)),
            ("build", (true, false)),
            ("build server", (true, false)),
            ("build server ", (false, false)),
            ("Build", (false, false)),
            ("server", (false, false)),
        ] {
            assert_eq!(meant(|filter| filter.name_start = Some(start.into())), expected, "{start}");
        }
        for (numbers, expected) in [
            (&[0_u8] as &[_], (false, true)),
            (&[1], (true, false)),
            (&[0, 1], (true, true)),
            (&[], (false, false)),
        ] {
            let numbers = numbers.iter().map(|number| PrefixNumber::new(*number).unwrap());
            assert_eq!(meant(|filter| filter.prefixes = Some(numbers.collect())), expected);
        }
        for (name, expected) in
            [("links:read", (true, true)), ("links:write", (true, false)), ("users", (false, true))]
        {
            assert_eq!(meant(|filter| filter.permission = permission(name)), expected, "{name}");
        }
        for (end, expected) in [(50, (false, false)), (51, (true, false))] {
            assert_eq!(meant(|filter| filter.expires_before = Some(sample::at(end))), expected);
        }
        for (tags, expected) in [
            (&[] as &[_], (true, true)),
            (&["ci"], (true, false)),
            (&["env=prod", "ci"], (true, false)),
            (&["ci", "env"], (false, false)),
        ] {
            assert_eq!(meant(|filter| filter.tags = Tags::new(tags).unwrap()), expected);
        }
    }

    #[test]
    fn the_tags_of_an_owner() {
        let owner =
            OwnerRecord { tags: Tags::new(["a", "b"]).unwrap(), ..sample::owner("o").unwrap() };
        let query = |tags: &[&str]| OwnerPageQuery {
            tags: Tags::new(tags).unwrap(),
            after: None,
            suspended: None,
            swept: false,
            limit: 1,
            examine: 1,
        };
        assert!(query(&[]).matches(&owner) && query(&["b"]).matches(&owner));
        assert!(!query(&["a", "c"]).matches(&owner));
    }
}
