//! The keys, and their places in each order in which a commit asks for them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, RangeBounds};

use crate::backend::KeyCounts;
use crate::clock::Timestamp;
use crate::id::{KeyId, OwnerId};
use crate::key::{KeyName, KeyRecord};

/// All keys. What a commit asks of them takes logarithmic time, however many an owner has.
#[derive(Default)]
pub(super) struct Keys {
    by_id: BTreeMap<KeyId, KeyRecord>,
    by_owner: BTreeMap<OwnerId, OwnerKeys>,
    /// Keys that other keys created, each after its creator.
    by_creator: BTreeSet<(KeyId, KeyId)>,
}

/// The keys of an owner that has some.
#[derive(Default)]
struct OwnerKeys {
    counts: KeyCounts,
    ids: BTreeSet<KeyId>,
    /// The live keys that expire.
    expiries: BTreeSet<(Timestamp, KeyId)>,
    /// The live keys that have a name.
    names: BTreeSet<(KeyName, KeyId)>,
}

impl OwnerKeys {
    fn add(&mut self, key: &KeyRecord) {
        self.counts = self.counts.plus(KeyCounts::of(key));
        self.ids.insert(key.id);
        self.expiries.extend(live_expiry(key));
        self.names.extend(live_name(key));
    }

    fn remove(&mut self, key: &KeyRecord) {
        self.counts = self.counts.minus(KeyCounts::of(key));
        self.ids.remove(&key.id);
        live_expiry(key).map(|place| self.expiries.remove(&place));
        live_name(key).map(|place| self.names.remove(&place));
    }
}

fn live_expiry(key: &KeyRecord) -> Option<(Timestamp, KeyId)> {
    key.expires_at.filter(|_| key.is_live()).map(|at| (at, key.id))
}

fn live_name(key: &KeyRecord) -> Option<(KeyName, KeyId)> {
    key.name.clone().filter(|_| key.is_live()).map(|name| (name, key.id))
}

/// Returns the range of all keys beside one value.
fn beside<T: Clone>(value: &T) -> impl RangeBounds<(T, KeyId)> {
    let [first, last] = [0, u128::MAX].map(KeyId::from_u128);
    (value.clone(), first)..=(value.clone(), last)
}

impl Keys {
    pub(super) fn get(&self, id: KeyId) -> Option<&KeyRecord> {
        self.by_id.get(&id).inspect(|_| note_visit())
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Shows all keys, in the order of their ids.
    pub(super) fn all(&self) -> impl Iterator<Item = &KeyRecord> {
        self.by_id.values().inspect(|_| note_visit())
    }

    /// Shows the keys of an owner, in the order of their ids.
    pub(super) fn of(&self, owner: &OwnerId) -> impl Iterator<Item = &KeyRecord> {
        let ids = self.by_owner.get(owner).map(|keys| &keys.ids);
        ids.into_iter().flatten().filter_map(|id| self.get(*id))
    }

    /// Shows the ids of an owner's keys, or of all, between two ids; the greatest first.
    pub(super) fn ids_between(
        &self,
        owner: Option<&OwnerId>,
        range: (Bound<KeyId>, Bound<KeyId>),
    ) -> Box<dyn Iterator<Item = KeyId> + '_> {
        match owner {
            Some(owner) => {
                let ids = self.by_owner.get(owner).map(|keys| keys.ids.range(range).rev());
                Box::new(ids.into_iter().flatten().copied())
            }
            None => Box::new(self.by_id.range(range).rev().map(|(id, _)| *id)),
        }
    }

    pub(super) fn counts(&self, owner: &OwnerId) -> KeyCounts {
        self.by_owner.get(owner).map(|keys| keys.counts).unwrap_or_default()
    }

    pub(super) fn live_named(&self, owner: &OwnerId, name: &KeyName) -> Vec<KeyId> {
        let Some(keys) = self.by_owner.get(owner) else { return Vec::new() };
        keys.names.range(beside(name)).map(|(_, id)| *id).collect()
    }

    /// Returns the live keys of an owner that have expired by then, the longest expired first; at
    /// most `limit`.
    pub(super) fn expired(&self, owner: &OwnerId, by: Timestamp, limit: usize) -> Vec<KeyId> {
        let expiries = self.by_owner.get(owner).into_iter().flat_map(|keys| &keys.expiries);
        expiries.take_while(|(at, _)| *at <= by).take(limit).map(|(_, id)| *id).collect()
    }

    pub(super) fn created_by(&self, creator: KeyId) -> Vec<KeyId> {
        self.by_creator.range(beside(&creator)).map(|(_, id)| *id).collect()
    }

    /// Puts a key in the place of the one that had its id.
    pub(super) fn put(&mut self, key: &KeyRecord) {
        self.remove(key.id);
        self.by_owner.entry(key.owner).or_default().add(key);
        self.by_creator.extend(key.created_by_key.map(|creator| (creator, key.id)));
        self.by_id.insert(key.id, key.clone());
    }

    pub(super) fn remove(&mut self, id: KeyId) {
        let Some(key) = self.by_id.remove(&id) else { return };
        key.created_by_key.map(|creator| self.by_creator.remove(&(creator, id)));
        if let Some(keys) = self.by_owner.get_mut(&key.owner) {
            keys.remove(&key);
            if keys.ids.is_empty() {
                self.by_owner.remove(&key.owner);
            }
        }
    }
}

/// Counts the keys that are visited, for tests.
#[inline]
fn note_visit() {
    #[cfg(test)]
    tests::VISITED.set(tests::VISITED.get() + 1);
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::super::Memory;
    use super::*;
    use crate::authority::{Actor, Authority, Role};
    use crate::backend::{Backend, Change, Precondition, Rejection, Write, WriteKey};
    use crate::event::{EventDraft, EventKind, Fields};
    use crate::id::{Generation, Incarnation, Version};
    use crate::key::{
        Digest, IssueEpochs, Kind, Lifetime, Limits, OwnerRecord, PepperNumber, PrefixNumber,
        PrefixTable, Scheme, SettingNames, Settings, StoreMetadata, StoreRules, Switch,
        TokenRecord,
    };
    use crate::permission::Access;

    thread_local! {
        /// The keys that were visited.
        pub(super) static VISITED: Cell<usize> = const { Cell::new(0) };
    }

    fn id(number: u16) -> KeyId {
        KeyId::from_u128(number.into())
    }

    fn owner() -> OwnerId {
        OwnerId::new("acme").unwrap()
    }

    fn name(number: u16) -> KeyName {
        KeyName::new(format!("key {number}")).unwrap()
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::MIN.saturating_add(Duration::from_secs(seconds))
    }

    fn authority() -> Authority {
        Authority::new(Role::Administrator, Actor::new("root").unwrap())
    }

    fn key(number: u16) -> KeyRecord {
        let digest = (Scheme::Blake3Keyed64, PepperNumber::PUBLIC, PrefixNumber::new(0).unwrap());
        let token = TokenRecord {
            generation: Generation::FIRST,
            digest: Digest::new([0; 32], digest.0, digest.1, digest.2),
            issued_at: at(0),
            epochs: IssueEpochs::default(),
        };
        KeyRecord {
            name: Some(name(number)),
            ..KeyRecord::new(id(number), owner(), token, at(0), Actor::new("root").unwrap())
        }
    }

    /// A key with what its orders depend on.
    fn any_key() -> impl Strategy<Value = KeyRecord> {
        let places = (0..6_u16, 0..3_u16, proptest::option::of(0..4_u64));
        (places, 0..3_u16, 0..4_u8, any::<bool>()).prop_map(
            |((number, named, expiry), creator, state, is_other)| KeyRecord {
                name: (named > 0).then(|| name(named)),
                owner: if is_other { OwnerId::new("other").unwrap() } else { owner() },
                expires_at: expiry.map(at),
                created_by_key: (creator > 0).then(|| id(creator)),
                revoked: (state == 1).then(|| Switch::new(at(1), &authority())),
                lapsed_at: (state == 2).then(|| at(1)),
                kind: if state == 3 { Kind::Trial } else { Kind::Standard },
                ..key(number)
            },
        )
    }

    proptest! {
        /// Each order shows what a look at all keys would.
        #[test]
        fn orders_show_what_a_look_at_all_keys_shows(
            steps in prop::collection::vec((any_key(), 0..4_u8), 0..60),
        ) {
            let (mut keys, mut model) = (Keys::default(), BTreeMap::new());
            for (key, step) in steps {
                let of = key.owner;
                if step == 0 {
                    keys.remove(key.id);
                    model.remove(&key.id);
                } else {
                    keys.put(&key);
                    model.insert(key.id, key);
                }
                let of_owner = || model.values().filter(|key| key.owner == of);
                let live = || of_owner().filter(|key| key.is_live());
                let counts = of_owner().map(KeyCounts::of);
                prop_assert_eq!(keys.counts(&of), counts.fold(KeyCounts::default(), KeyCounts::plus));
                for number in 0..4 {
                    let name = name(number);
                    let named = live().filter(|key| key.name.as_ref() == Some(&name));
                    let named: Vec<_> = named.map(|key| key.id).collect();
                    prop_assert_eq!(keys.live_named(&of, &name), named);
                    let created = model.values().filter(|it| it.created_by_key == Some(id(number)));
                    let created: Vec<_> = created.map(|key| key.id).collect();
                    prop_assert_eq!(keys.created_by(id(number)), created);
                }
                let mut expired: Vec<_> =
                    live().filter_map(|key| Some((key.expires_at?, key.id))).collect();
                expired.sort_unstable();
                expired.retain(|(at, _)| *at <= super::tests::at(2));
                let expired: Vec<_> = expired.into_iter().map(|(_, id)| id).take(2).collect();
                prop_assert_eq!(keys.expired(&of, at(2), 2), expired);
                let same = |a: &KeyRecord, b: &KeyRecord| a.id == b.id && a.name == b.name;
                let mut all = keys.all().zip(model.values());
                let mut of_one = keys.of(&of).zip(of_owner());
                prop_assert!(all.all(|(a, b)| same(a, b)) && of_one.all(|(a, b)| same(a, b)));
                prop_assert_eq!((keys.len(), keys.of(&of).count()), (model.len(), of_owner().count()));
            }
            for id in model.keys() {
                keys.remove(*id);
            }
            prop_assert!(keys.by_owner.is_empty() && keys.by_creator.is_empty());
        }
    }

    fn change(write: Write, lapse_expired_by: Option<Timestamp>) -> Change {
        let event = EventDraft {
            at: at(9),
            kind: EventKind::KeyUpdated,
            owner: None,
            key: None,
            version: Version::FIRST,
            generation: None,
            fields: Fields::NONE,
            authority: authority(),
        };
        Change { lapse_expired_by, ..Change::of(write, event) }
    }

    fn create(record: KeyRecord) -> Write {
        Write::CreateKey(Box::new(WriteKey { record, next_numeric_id: false }))
    }

    /// Every rule is on. The keys of an owner: the last is revoked, the others have expired.
    fn owner_with(max_keys: u16) -> Memory {
        let rules =
            StoreRules { unique_names: true, keep_standard_key: true, ..Default::default() };
        let metadata = StoreMetadata {
            version: Version::FIRST,
            rules,
            prefixes: PrefixTable::default(),
            peppers: Vec::new(),
            recovery_keys: Vec::new(),
            tokens_valid_from: None,
        };
        let owner = OwnerRecord {
            sweeps: None,
            tags: crate::key::Tags::default(),
            id: owner(),
            version: Version::FIRST,
            fixed_defaults: SettingNames::default(),
            incarnation: Incarnation::FIRST,
            defaults: Settings::default(),
            suspended: None,
            max_access: Access::Full,
            limits: Limits::default(),
            max_keys: max_keys.into(),
            lifetime: Lifetime::default(),
            tokens_valid_from: None,
            created_at: at(0),
            created_by: Actor::new("root").unwrap(),
            updated_at: at(0),
        };
        let memory = Memory::new();
        let commit = |change: Change| memory.commit(&[change]).unwrap().remove(0).unwrap();
        commit(change(Write::CreateMetadata(Box::new(metadata)), None));
        let mut first = change(Write::CreateOwner(Box::new(owner)), None);
        let expired = |number| KeyRecord { expires_at: Some(at(number)), ..key(number as u16) };
        first.operations.extend(change(create(expired(0)), None).operations);
        commit(first);
        for number in 1..max_keys {
            commit(change(create(expired(number.into())), None));
        }
        memory
    }

    /// A key that takes no other one's place looks for none that has expired.
    #[test]
    fn a_key_that_has_a_place_visits_none_of_those_that_a_sweep_revoked() {
        let visited = |keys: u16| {
            let memory = owner_with(keys);
            let commit = |change: Change| {
                let before = VISITED.get();
                memory.commit(&[change]).unwrap().remove(0).unwrap();
                VISITED.get() - before
            };
            let current = memory.owner(&owner()).unwrap().unwrap();
            let next = OwnerRecord { version: current.version.next(), ..current };
            let later = |number| {
                let mut key = key(number);
                key.current.epochs.owner = 1;
                key
            };
            let mut bind = change(Write::RevokeKeys(Box::new(next)), None);
            bind.operations.extend(change(create(later(9_000)), None).operations);
            commit(bind);
            commit(change(create(later(9_001)), Some(at(9_999))))
        };
        assert_eq!(visited(4), visited(2_000));
    }

    /// Whatever is judged: names, numbers of keys, the last standard key, keys that lapse.
    #[test]
    fn a_commit_visits_as_many_keys_however_many_there_are() {
        let visited = |max_keys: u16| {
            let memory = owner_with(max_keys);
            let commit = |change: Change| {
                let before = VISITED.get();
                let outcome = memory.commit(&[change]).unwrap().remove(0);
                (outcome.err(), VISITED.get() - before)
            };
            let taken =
                commit(change(create(KeyRecord { name: Some(name(1)), ..key(9_000) }), None));
            let full = commit(change(create(key(9_001)), None));
            let lapsing = commit(change(create(key(9_002)), Some(at(9_999))));
            let mut created = change(Write::Nothing, None);
            created.preconditions.push(Precondition::CreatedKeys(id(1), Vec::new()));
            created.preconditions.push(Precondition::LiveKeys(owner(), max_keys.into()));
            let created = commit(created);
            let updated = KeyRecord { version: Version::FIRST.next(), ..key(1) };
            let updated = commit(change(Write::ReplaceKey(Box::new(updated)), None));
            assert!(matches!(taken.0, Some(Rejection::NameTaken(_))), "{taken:?}");
            assert!(matches!(full.0, Some(Rejection::TooManyKeys { .. })), "{full:?}");
            assert_eq!((lapsing.0, created.0, updated.0), (None, None, None));
            [taken.1, full.1, lapsing.1, created.1, updated.1]
        };
        assert_eq!(visited(4), visited(2_000));
    }
}
