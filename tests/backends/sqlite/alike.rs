//! Random commits and queries: SQLite answers as the memory backend does.

use keyhasp::authority::Role;
use keyhasp::backend::sqlite::Sqlite;
use keyhasp::backend::{
    Backend, Change, EventFilter, EventQuery, KeyFilter, KeyPageQuery, Memory, Operation,
    OwnerPageQuery, Precondition, StateSet, Write, WriteKey,
};
use keyhasp::clock::Timestamp;
use keyhasp::event::EventKind;
use keyhasp::id::{KeyId, NumericId, OwnerId, Version};
use keyhasp::key::{KeyName, KeyRecord, Kind, OwnerRecord, State, Switch, Tags};
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use tempfile::tempdir;

use crate::common::records::{key_picture, owner_picture};
use crate::sqlite::support::{
    actor, at, by_administrator, create_owner, create_store, event, key, metadata, open, owner,
    owner_id, quick,
};

/// What a step does, over so few ids and times that steps meet.
#[derive(Clone, Debug)]
enum Step {
    Commit(Vec<Vec<Draft>>),
    Count(KeyFilter),
    Events { filter: EventFilter, after: u64, before: Option<u64>, limit: usize, examine: usize },
    Keys { filter: KeyFilter, ends: [Option<u8>; 2], limit: usize, examine: usize },
    Owners { suspended: Option<bool>, tags: u8, limit: usize, examine: usize },
    Prune(Timestamp, usize),
}

/// One operation of a change, to be filled with the versions that are there.
#[derive(Clone, Debug)]
enum Draft {
    CreateKey { key: Shape, wishes: bool },
    CreateOwner { id: u8, max_keys: u32 },
    Nothing,
    Remove { key: u8, off: bool },
    RemoveOwner { id: u8, off: bool },
    Replace { key: Shape, off: bool },
    ReplaceOwner { id: u8, suspended: bool, max_keys: u32, tags: u8, off: bool },
    Require { key: u8, owner: u8, off: bool },
    Rules { unique_names: bool, keep_standard_key: bool },
}

#[derive(Clone, Debug)]
struct Shape {
    id: u8,
    owner: u8,
    name: Option<u8>,
    is_trial: bool,
    numeric_id: Option<u8>,
    creator: Option<u8>,
    expires_at: Option<u64>,
    switches: [bool; 3],
    previous: u32,
    tags: u8,
}

const OWNERS: [&str; 3] = ["a", "b", "é"];
const KEYS: u8 = 12;

fn owner_of(number: u8) -> OwnerId {
    owner_id(OWNERS[usize::from(number) % OWNERS.len()])
}

fn id_of(number: u8) -> KeyId {
    KeyId::from_u128(u128::from(number) << 100)
}

/// One of four sets of tags.
fn tags_of(number: u8) -> Tags {
    let (one, other) = (number & 1 == 1, number & 2 == 2);
    Tags::new([one.then_some("a"), other.then_some("b")].into_iter().flatten()).unwrap()
}

fn shapes() -> BoxedStrategy<Shape> {
    let ids = (0..KEYS, 0..3_u8, of(0..3_u8), any::<bool>(), (of(1..20_u8), of(0..2_u8)));
    // Mostly not revoked, since that is final in a store.
    let switches =
        [prop::bool::weighted(0.3), prop::bool::weighted(0.2), prop::bool::weighted(0.2)];
    let switches = (switches[0], switches[1], switches[2]);
    (ids, of(0..6_u64), switches, 1..4_u32, 0..4_u8)
        .prop_map(|((id, owner, name, is_trial, ids), expires_at, switches, previous, tags)| {
            let switches = [switches.0, switches.1, switches.2];
            let (numeric_id, creator) = ids;
            Shape {
                id,
                owner,
                name,
                is_trial,
                numeric_id,
                creator,
                expires_at,
                switches,
                previous,
                tags,
            }
        })
        .boxed()
}

fn drafts() -> BoxedStrategy<Draft> {
    let off = || prop::bool::weighted(0.1);
    prop_oneof![
        9 => (shapes(), any::<bool>()).prop_map(|(key, wishes)| Draft::CreateKey { key, wishes }),
        1 => (0..3_u8, 2..15_u32).prop_map(|(id, max_keys)| Draft::CreateOwner { id, max_keys }),
        1 => Just(Draft::Nothing),
        2 => (0..KEYS, off()).prop_map(|(key, off)| Draft::Remove { key, off }),
        1 => (0..3_u8, off()).prop_map(|(id, off)| Draft::RemoveOwner { id, off }),
        5 => (shapes(), off()).prop_map(|(key, off)| Draft::Replace { key, off }),
        2 => (0..3_u8, any::<bool>(), 2..15_u32, 0..4_u8, off()).prop_map(
            |(id, suspended, max_keys, tags, off)| {
                Draft::ReplaceOwner { id, suspended, max_keys, tags, off }
            }
        ),
        1 => (0..KEYS, 0..3_u8, off())
            .prop_map(|(key, owner, off)| Draft::Require { key, owner, off }),
        1 => any::<[bool; 2]>().prop_map(|[unique_names, keep_standard_key]| {
            Draft::Rules { unique_names, keep_standard_key }
        }),
    ]
    .boxed()
}

fn filters() -> BoxedStrategy<KeyFilter> {
    let states = vec(select(&State::ALL[..]), 0..6).prop_map(StateSet::of);
    let kind = of(select(&[Kind::Standard, Kind::Trial][..]));
    let creator = of(prop_oneof![3 => 0..2_u8, 1 => 0..KEYS]);
    let rest = (of(select(&["", "name", "name 1", "x"][..])), of(0..7_u64), 0..5_u8);
    (of(0..3_u8), kind, creator, states, 0..7_u64, rest)
        .prop_map(|(owner, kind, creator, states, now, (start, end, tags))| KeyFilter {
            owner: owner.map(owner_of),
            kind,
            created_by_key: creator.map(id_of),
            name_start: start.map(Into::into),
            expires_before: end.map(at),
            tags: tags_of(if tags == 4 { 0 } else { tags }),
            ..KeyFilter::new(states, at(now))
        })
        .boxed()
}

fn event_filters() -> BoxedStrategy<EventFilter> {
    let kind = of(select(&[EventKind::KeyCreated, EventKind::OwnerCreated][..]));
    let by = (any::<bool>(), of(0..2_u8));
    (of(0..KEYS), of(0..3_u8), kind, of(0..9_u64), of(0..9_u64), by)
        .prop_map(|(key, owner, kind, since, until, (by_actor, acting))| EventFilter {
            key: key.map(id_of),
            acting_key: acting.map(id_of),
            owner: owner.map(owner_of),
            incarnation: None,
            actor: by_actor.then(actor),
            viewer: keyhasp::authority::Viewer::Administrator,
            kind,
            since: since.map(at),
            until: until.map(at),
        })
        .boxed()
}

fn steps() -> BoxedStrategy<Step> {
    let sizes = || (1..9_usize, 1..12_usize);
    prop_oneof![
        6 => vec(vec(drafts(), 1..3), 1..5).prop_map(Step::Commit),
        2 => filters().prop_map(Step::Count),
        2 => (event_filters(), 0..30_u64, of(0..40_u64), sizes()).prop_map(
            |(filter, after, before, (limit, examine))| {
                Step::Events { filter, after, before, limit, examine }
            }
        ),
        4 => (filters(), [of(0..KEYS), of(0..KEYS)], sizes()).prop_map(
            |(filter, ends, (limit, examine))| Step::Keys { filter, ends, limit, examine }
        ),
        1 => (of(any::<bool>()), 0..4_u8, sizes()).prop_map(
            |(suspended, tags, (limit, examine))| Step::Owners { suspended, tags, limit, examine }
        ),
        1 => (0..12_u64, sizes()).prop_map(|(before, (limit, _))| Step::Prune(at(before), limit)),
    ]
    .boxed()
}

/// Both backends, and the time by which events are stamped.
struct Pair {
    memory: Memory,
    sqlite: Sqlite,
}

impl Pair {
    fn each<T>(&self, ask: impl Fn(&dyn Backend) -> T) -> [T; 2] {
        [ask(&self.memory), ask(&self.sqlite)]
    }

    fn take(&self, step: &Step, number: u64) -> Result<(), TestCaseError> {
        match step {
            Step::Commit(changes) => {
                let changes: Vec<Change> =
                    changes.iter().map(|drafts| self.change(drafts, number)).collect();
                let [memory, sqlite] = self.each(|backend| backend.commit(&changes).unwrap());
                prop_assert_eq!(memory, sqlite);
            }
            Step::Count(filter) => {
                let [memory, sqlite] = self.each(|backend| backend.count_keys(filter).unwrap());
                prop_assert_eq!(memory, sqlite);
            }
            Step::Events { filter, after, before, limit, examine } => {
                let ends = (*after, *before);
                let [memory, sqlite] =
                    self.each(|backend| all_events(backend, filter, ends, *limit, *examine));
                prop_assert_eq!(memory, sqlite);
            }
            Step::Keys { filter, ends: [above, below], limit, examine } => {
                let query = KeyPageQuery {
                    filter: filter.clone(),
                    before: below.map(id_of),
                    after: above.map(id_of),
                    limit: *limit,
                    examine: *examine,
                };
                let [memory, sqlite] = self.each(|backend| all_keys(backend, &query));
                prop_assert_eq!(memory, sqlite);
            }
            Step::Owners { suspended, tags, limit, examine } => {
                let tags = tags_of(*tags);
                let [memory, sqlite] =
                    self.each(|backend| all_owners(backend, *suspended, &tags, *limit, *examine));
                prop_assert_eq!(memory, sqlite);
            }
            Step::Prune(before, limit) => {
                let prune = |backend: &dyn Backend| backend.prune_events(*before, *limit).unwrap();
                let [memory, sqlite] = self.each(prune);
                prop_assert_eq!(memory, sqlite);
            }
        }
        let [memory, sqlite] = self.each(everything);
        prop_assert_eq!(memory, sqlite);
        Ok(())
    }

    fn change(&self, drafts: &[Draft], number: u64) -> Change {
        let mut change = Change::default();
        for draft in drafts {
            self.add(&mut change, draft, number);
        }
        change
    }

    fn add(&self, change: &mut Change, draft: &Draft, number: u64) {
        let next = |version: Option<Version>, off: bool| match version {
            Some(version) if off => version.next().next(),
            Some(version) => version.next(),
            None => Version::FIRST,
        };
        let key_version = |id| self.memory.key(id).unwrap().map(|key| key.version);
        let owner_version = |id| self.memory.owner(&id).unwrap().map(|owner| owner.version);
        let (write, kind, key, owner) = match draft {
            Draft::CreateKey { key, wishes } => {
                let mut record = key.record(Version::FIRST);
                if *wishes {
                    record.numeric_id = None;
                }
                let (id, owner) = (record.id, record.owner);
                let write = WriteKey { record, next_numeric_id: *wishes };
                let write = Write::CreateKey(Box::new(write));
                (write, EventKind::KeyCreated, Some(id), Some(owner))
            }
            Draft::CreateOwner { id, max_keys } => {
                let record = OwnerRecord { max_keys: *max_keys, ..owner(OWNERS[usize::from(*id)]) };
                let id = record.id;
                (Write::CreateOwner(Box::new(record)), EventKind::OwnerCreated, None, Some(id))
            }
            Draft::Nothing => (Write::Nothing, EventKind::TokenRevealed, None, None),
            Draft::Remove { key, off } => {
                let id = id_of(*key);
                let version = key_version(id).unwrap_or(Version::FIRST);
                let version = if *off { version.next() } else { version };
                (Write::RemoveKey(id, version), EventKind::KeyPurged, Some(id), None)
            }
            Draft::RemoveOwner { id, off } => {
                let id = owner_of(*id);
                let version = owner_version(id).unwrap_or(Version::FIRST);
                let version = if *off { version.next() } else { version };
                (Write::RemoveOwner(id, version), EventKind::OwnerPurged, None, Some(id))
            }
            Draft::Replace { key, off } => {
                let id = id_of(key.id);
                let found = self.memory.key(id).unwrap();
                let mut record = key.record(next(key_version(id), *off));
                // Fixed at creation.
                record.numeric_id = found.and_then(|key| key.numeric_id);
                let owner = record.owner;
                (Write::ReplaceKey(Box::new(record)), EventKind::KeyUpdated, Some(id), Some(owner))
            }
            Draft::ReplaceOwner { id, suspended, max_keys, tags, off } => {
                let mut record = owner(OWNERS[usize::from(*id)]);
                record.version = next(owner_version(record.id), *off);
                record.max_keys = *max_keys;
                record.suspended = suspended.then(switch);
                record.tags = tags_of(*tags);
                let id = record.id;
                (Write::ReplaceOwner(Box::new(record)), EventKind::OwnerUpdated, None, Some(id))
            }
            Draft::Require { key, owner, off } => {
                let (key, owner) = (id_of(*key), owner_of(*owner));
                let version = |found: Option<Version>| match found {
                    Some(version) if !off => version,
                    Some(version) => version.next(),
                    None => Version::FIRST,
                };
                change.preconditions.push(Precondition::Key(key, version(key_version(key))));
                change
                    .preconditions
                    .push(Precondition::Owner(owner, version(owner_version(owner))));
                return;
            }
            Draft::Rules { unique_names, keep_standard_key } => {
                let mut metadata = self.memory.metadata().unwrap().unwrap();
                metadata.version = metadata.version.next();
                metadata.rules.unique_names = *unique_names;
                metadata.rules.keep_standard_key = *keep_standard_key;
                (
                    Write::ReplaceMetadata(Box::new(metadata)),
                    EventKind::StoreRulesChanged,
                    None,
                    None,
                )
            }
        };
        let mut event = event(kind);
        if let Write::CreateKey(create) = &write
            && let Some(key) = create.record.created_by_key
        {
            let (owner, generation) = (create.record.owner, create.record.current.generation);
            event.authority.role = Role::Delegate { owner, key, generation };
        }
        (event.at, event.key, event.owner) = (at(number), key, owner);
        change.operations.push(Operation { write, event });
    }
}

fn switch() -> Switch {
    Switch::new(at(3), &by_administrator())
}

impl Shape {
    fn record(&self, version: Version) -> KeyRecord {
        let mut record = key(id_of(self.id).as_u128(), OWNERS[usize::from(self.owner)]);
        record.version = version;
        record.name = self.name.map(|name| KeyName::new(format!("name {name}")).unwrap());
        record.kind = if self.is_trial { Kind::Trial } else { Kind::Standard };
        record.numeric_id = self.numeric_id.map(|number| NumericId::new(number.into()).unwrap());
        record.expires_at = self.expires_at.map(at);
        record.tags = tags_of(self.tags);
        record.created_by_key = self.creator.map(id_of);
        let [deactivated, blocked, revoked] = self.switches.map(|on| on.then(switch));
        (record.deactivated, record.blocked, record.revoked) = (deactivated, blocked, revoked);
        for generation in 1..self.previous {
            let mut token = record.current.clone();
            token.generation = keyhasp::id::Generation::new(generation).unwrap();
            record.previous.push(keyhasp::key::PreviousToken {
                token,
                since: at(1),
                ends_at: at(9),
            });
        }
        record.current.generation = keyhasp::id::Generation::new(self.previous).unwrap();
        record
    }
}

/// The keys of all pages, one after the other; no page is longer than asked for.
fn all_keys(backend: &dyn Backend, query: &KeyPageQuery) -> Vec<String> {
    let mut query = query.clone();
    let mut found = Vec::new();
    loop {
        let page = backend.page_keys(&query).unwrap();
        assert!(page.keys.len() <= query.limit.min(query.examine));
        found.extend(page.keys.iter().map(key_picture));
        match page.next {
            // Always further, so that it ends.
            Some(next) => assert!(query.before.replace(next).is_none_or(|before| next < before)),
            None => return found,
        }
    }
}

fn all_owners(
    backend: &dyn Backend,
    suspended: Option<bool>,
    tags: &Tags,
    limit: usize,
    examine: usize,
) -> Vec<String> {
    let mut query =
        OwnerPageQuery { tags: tags.clone(), swept: false, after: None, suspended, limit, examine };
    let mut found = Vec::new();
    loop {
        let page = backend.page_owners(&query).unwrap();
        assert!(page.owners.len() <= limit.min(examine));
        found.extend(page.owners.iter().map(owner_picture));
        match page.next {
            Some(next) => assert!(query.after.replace(next).is_none_or(|after| next > after)),
            None => return found,
        }
    }
}

fn all_events(
    backend: &dyn Backend,
    filter: &EventFilter,
    (after, before): (u64, Option<u64>),
    limit: usize,
    examine: usize,
) -> (Vec<String>, u64) {
    let mut query = EventQuery { after, before, filter: filter.clone(), limit, examine };
    let mut found = Vec::new();
    loop {
        let page = backend.events(&query).unwrap();
        assert!(page.events.len() <= limit.min(examine));
        found.extend(page.events.iter().map(|event| format!("{event:?}")));
        match page.next {
            Some(next) => match &mut query.before {
                Some(before) => {
                    assert!(next < *before);
                    *before = next;
                }
                None => {
                    assert!(next > query.after);
                    query.after = next;
                }
            },
            None => return (found, page.pruned_through),
        }
    }
}

/// All that a backend holds, by scanning, loading and reading events.
fn everything(backend: &dyn Backend) -> Vec<String> {
    let mut found = vec![format!("{:?}", backend.metadata().unwrap())];
    let mut scanned = Vec::new();
    let last = backend.scan(&mut |one| scanned.push(format!("{one:?}"))).unwrap();
    assert_eq!(last, backend.last_event().unwrap());
    scanned.sort();
    found.extend(scanned);
    for owner in 0..3 {
        let owner = owner_of(owner);
        let mut scanned = Vec::new();
        backend.scan_owner(&owner, &mut |one| scanned.push(format!("{one:?}"))).unwrap();
        // One owner's keys come in any order.
        scanned.sort();
        found.extend(scanned);
        found.push(format!("{:?}", backend.owner(&owner).unwrap()));
    }
    for number in 0..KEYS {
        found.extend(backend.key(id_of(number)).unwrap().as_ref().map(key_picture));
    }
    for number in 1..25 {
        let id = NumericId::new(number).unwrap();
        let key = backend.key_by_numeric_id(id).unwrap();
        found.push(format!("{id} {:?}", key.map(|key| key.id)));
    }
    let filter = EventFilter::default();
    found.extend(all_events(backend, &filter, (0, None), usize::MAX, usize::MAX).0);
    found
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn as_in_memory(steps in vec(steps(), 1..50), reopened_after in any::<Index>()) {
        let directory = tempdir().unwrap();
        let path = directory.path().join("keys.db");
        let mut pair = Pair { memory: Memory::new(), sqlite: open(&path, quick()) };
        pair.memory.commit(&[create_store(metadata())]).unwrap();
        pair.each(|backend| backend.commit(&OWNERS.map(create_owner)).unwrap());
        let reopened_after = reopened_after.index(steps.len());
        for (number, step) in steps.iter().enumerate() {
            pair.take(step, number as u64)?;
            if number == reopened_after {
                pair.sqlite.close().unwrap();
                pair.sqlite = open(&path, quick());
            }
        }
    }
}
