//! Against the memory backend, which is the reference: the same changes have the same outcome, and
//! every query the same answer, also after reopening and recovering.

use std::time::Duration;

use keyhasp::authority::{Actor, Role};
use keyhasp::backend::{
    Backend, Change, EventFilter, EventQuery, KeyFilter, KeyPageQuery, Memory, OwnerPageQuery,
    Precondition, Scanned, StateSet, Write, WriteKey,
};
use keyhasp::clock::Timestamp;
use keyhasp::event::{EventDraft, EventKind};
use keyhasp::id::{KeyId, NumericId, OwnerId, Version};
use keyhasp::key::{
    KeyName, KeyRecord, Kind, OwnerRecord, Prefix, Seal, State, StoreMetadata, Switch, Tags,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use crate::common::records::{key_picture, longest_settings};
use crate::sled::fixture::{
    Fixture, actor, at, by_administrator, commit, create_key, create_owner, create_store, event,
    key, metadata, owner, owner_id, remove_key, replace_key,
};

const OWNERS: [&str; 4] = ["a", "aa", "a b", "é"];
const NAMES: [&str; 3] = ["n", "nn", "the other one"];
const IDS: u8 = 60;

/// Ids that lie close together, far apart, and in runs of 0xff.
fn id(number: u8) -> KeyId {
    let n = u128::from(number);
    KeyId::from_u128(match number % 5 {
        0 => n,
        1 => u128::MAX - n,
        2 => 0x019f_ffff_ffff_7000 << 64 | n << 60,
        3 => 0x01a0_0000_0000_7000 << 64 | n,
        _ => (n << 120) | u128::MAX >> 8,
    })
}

#[derive(Clone, Debug)]
struct Looks {
    name: Option<&'static str>,
    creator: Option<u8>,
    is_trial: bool,
    expires_at: Option<u64>,
    switches: [bool; 3],
    is_recoverable: bool,
    is_long: bool,
}

#[derive(Clone, Debug)]
enum Op {
    CreateKey { id: u8, owner: &'static str, numeric_id: Option<u64>, next: bool, looks: Looks },
    CreateOwner { owner: &'static str, max_keys: u32 },
    Nothing { key: Option<u8>, owner: Option<&'static str> },
    RemoveKey { id: u8, stale: bool },
    RemoveOwner { owner: &'static str, stale: bool },
    ReplaceMetadata { rules: [bool; 3], prefixes: usize, stale: bool },
    ReplaceKey { id: u8, looks: Looks, stale: bool },
    ReplaceOwner { owner: &'static str, suspended: bool, max_keys: u32, stale: bool },
    Require { id: u8, owner: &'static str, stale: bool },
}

#[derive(Clone, Debug)]
enum Step {
    /// Changes of some operations each.
    Commit(Vec<Vec<Op>>),
    Prune(u64, usize),
    Recover,
    Reopen,
}

fn looks() -> impl Strategy<Value = Looks> {
    (
        (option::of(select(&NAMES[..])), option::of(0..5_u8)),
        any::<bool>(),
        option::of(0..20_u64),
        [prop::bool::weighted(0.2), prop::bool::weighted(0.2), prop::bool::weighted(0.2)],
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.2),
    )
        .prop_map(|(ids, is_trial, expires_at, switches, is_recoverable, is_long)| Looks {
            name: ids.0,
            creator: ids.1,
            is_trial,
            expires_at,
            switches,
            is_recoverable,
            is_long,
        })
}

fn op() -> impl Strategy<Value = Op> {
    // Mostly the same few, so that things happen to them.
    let owner = || prop_oneof![3 => Just(OWNERS[0]), 1 => select(&OWNERS[..])];
    let id = || prop_oneof![3 => 0..8_u8, 1 => 0..IDS];
    let stale = || prop::bool::weighted(0.05);
    let max_keys = || prop_oneof![1 => 0..6_u32, 1 => Just(100)];
    let numeric_id = || prop_oneof![4 => (1..40_u64).boxed(), 1 => Just(NumericId::MAX).boxed()];
    prop_oneof![
        8 => (id(), owner(), option::weighted(0.3, numeric_id()), prop::bool::weighted(0.3), looks())
            .prop_map(|(id, owner, numeric_id, next, looks)| {
                Op::CreateKey { id, owner, numeric_id: numeric_id.filter(|_| !next), next, looks }
            }),
        2 => (owner(), max_keys()).prop_map(|(owner, max_keys)| Op::CreateOwner { owner, max_keys }),
        1 => (option::of(id()), option::of(owner()))
            .prop_map(|(key, owner)| Op::Nothing { key, owner }),
        2 => (id(), stale()).prop_map(|(id, stale)| Op::RemoveKey { id, stale }),
        1 => (owner(), stale()).prop_map(|(owner, stale)| Op::RemoveOwner { owner, stale }),
        1 => (any::<[bool; 3]>(), 0..3_usize, stale())
            .prop_map(|(rules, prefixes, stale)| Op::ReplaceMetadata { rules, prefixes, stale }),
        5 => (id(), looks(), stale())
            .prop_map(|(id, looks, stale)| Op::ReplaceKey { id, looks, stale }),
        1 => (owner(), any::<bool>(), max_keys(), stale()).prop_map(
            |(owner, suspended, max_keys, stale)| Op::ReplaceOwner { owner, suspended, max_keys, stale }
        ),
        1 => (id(), owner(), stale())
            .prop_map(|(id, owner, stale)| Op::Require { id, owner, stale }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => vec(vec(op(), 1..4), 1..8).prop_map(Step::Commit),
        2 => (0..40_u64, 1..40_usize).prop_map(|(time, limit)| Step::Prune(time, limit)),
        1 => Just(Step::Recover),
        1 => Just(Step::Reopen),
    ]
}

/// The version to expect, or one that isn't there.
fn version(found: Option<Version>, stale: bool) -> Version {
    let found = found.map_or(0, Version::get);
    Version::new(if stale { found + 7 } else { found })
}

fn dress(record: KeyRecord, looks: &Looks) -> KeyRecord {
    let switch = |is_on: bool| is_on.then(|| Switch::new(at(3), &by_administrator()));
    let seal = Seal { key_number: 1, nonce: [3; 24], ciphertext: vec![4; 100].into() };
    KeyRecord {
        name: looks.name.map(|name| KeyName::new(name).unwrap()),
        created_by_key: looks.creator.map(id),
        kind: if looks.is_trial { Kind::Trial } else { Kind::Standard },
        expires_at: looks.expires_at.map(at),
        deactivated: switch(looks.switches[0]),
        blocked: switch(looks.switches[1]),
        revoked: switch(looks.switches[2]),
        seal: looks.is_recoverable.then_some(seal),
        tags: if looks.is_trial { Tags::new(["trial", "a"]).unwrap() } else { record.tags },
        settings: if looks.is_long { longest_settings() } else { record.settings },
        ..record
    }
}

/// Makes changes of what a store holds.
struct Writer<'a> {
    store: &'a dyn Backend,
    now: u64,
}

impl Writer<'_> {
    fn draft(&mut self, kind: EventKind, owner: Option<OwnerId>, key: Option<KeyId>) -> EventDraft {
        self.now += 1;
        let mut draft = event(kind, owner, key);
        // Wall time steps back now and then.
        draft.at = at(if self.now.is_multiple_of(11) { self.now / 2 } else { self.now });
        if let Some((owner, key)) = owner.filter(|_| self.now.is_multiple_of(4)).zip(key) {
            let generation = keyhasp::id::Generation::FIRST;
            draft.authority.role = Role::Delegate { owner, key, generation };
        }
        if self.now.is_multiple_of(3) {
            draft.authority.actor = Actor::new("somebody else").unwrap();
        }
        draft
    }

    fn change(&mut self, ops: &[Op]) -> Change {
        ops.iter().fold(Change::default(), |change, op| self.add(change, op))
    }

    fn add(&mut self, change: Change, op: &Op) -> Change {
        match op {
            Op::CreateKey { id: number, owner, numeric_id, next, looks } => {
                let mut record = dress(key(owner, id(*number).as_u128()), looks);
                record.numeric_id = numeric_id.map(|number| NumericId::new(number).unwrap());
                let draft = self.draft(EventKind::KeyCreated, Some(record.owner), Some(record.id));
                let write = WriteKey { record, next_numeric_id: *next };
                change.and(Write::CreateKey(Box::new(write)), draft)
            }
            Op::CreateOwner { owner: id, max_keys } => {
                let record = OwnerRecord { max_keys: *max_keys, ..owner(id) };
                let draft = self.draft(EventKind::OwnerCreated, Some(record.id), None);
                change.and(Write::CreateOwner(Box::new(record)), draft)
            }
            Op::Nothing { key, owner } => {
                let (owner, key) = (owner.map(owner_id), key.map(id));
                let draft = self.draft(EventKind::TokenRevealed, owner, key);
                change.and(Write::Nothing, draft)
            }
            Op::RemoveKey { id: number, stale } => {
                let found = self.store.key(id(*number)).unwrap();
                let owner = found.as_ref().map(|key| key.owner);
                let version = version(found.map(|key| key.version), *stale);
                let draft = self.draft(EventKind::KeyPurged, owner, Some(id(*number)));
                change.and(Write::RemoveKey(id(*number), version), draft)
            }
            Op::RemoveOwner { owner, stale } => {
                let owner = owner_id(owner);
                let found = self.store.owner(&owner).unwrap();
                let version = version(found.map(|owner| owner.version), *stale);
                let draft = self.draft(EventKind::OwnerPurged, Some(owner), None);
                change.and(Write::RemoveOwner(owner, version), draft)
            }
            Op::ReplaceMetadata { rules, prefixes, stale } => {
                let mut metadata: StoreMetadata = self.store.metadata().unwrap().unwrap();
                metadata.version = version(Some(metadata.version), *stale).next();
                metadata.rules.unique_names = rules[0];
                metadata.rules.keep_standard_key = rules[1];
                metadata.rules.recoverable_tokens = rules[2];
                let accepted = [&["acme"][..], &["acme", "other"], &["other"]][*prefixes];
                let accepted: Vec<_> = accepted.iter().map(|p| Prefix::new(p).unwrap()).collect();
                metadata.prefixes = metadata.prefixes.accepting(&accepted).unwrap();
                let draft = self.draft(EventKind::StoreRulesChanged, None, None);
                change.and(Write::ReplaceMetadata(Box::new(metadata)), draft)
            }
            Op::ReplaceKey { id: number, looks, stale } => {
                let found = self.store.key(id(*number)).unwrap();
                // One that an earlier change of the batch made would get another owner.
                let stale = *stale || found.is_none();
                let record = found.unwrap_or_else(|| key(OWNERS[0], id(*number).as_u128()));
                let mut record = dress(record, looks);
                record.version = version(Some(record.version), stale).next();
                let draft = self.draft(EventKind::KeyUpdated, Some(record.owner), Some(record.id));
                change.and(Write::ReplaceKey(Box::new(record)), draft)
            }
            Op::ReplaceOwner { owner: id, suspended, max_keys, stale } => {
                let found = self.store.owner(&owner_id(id)).unwrap();
                let mut record = found.unwrap_or_else(|| owner(id));
                record.version = version(Some(record.version), *stale).next();
                record.max_keys = *max_keys;
                record.suspended = suspended.then(|| Switch::new(at(3), &by_administrator()));
                let draft = self.draft(EventKind::OwnerUpdated, Some(record.id), None);
                change.and(Write::ReplaceOwner(Box::new(record)), draft)
            }
            Op::Require { id: number, owner, stale } => {
                let key = self.store.key(id(*number)).unwrap().map(|key| key.version);
                let owner_version =
                    self.store.owner(&owner_id(owner)).unwrap().map(|owner| owner.version);
                let mut change = change;
                if let Some(key) = key {
                    change = change
                        .requiring(Precondition::Key(id(*number), version(Some(key), *stale)));
                }
                if let Some(found) = owner_version {
                    let version = version(Some(found), *stale);
                    change = change.requiring(Precondition::Owner(owner_id(owner), version));
                }
                change
            }
        }
    }
}

/// Every answer that a store can give, in words.
fn answers(store: &dyn Backend, limit: usize, examine: usize) -> Vec<String> {
    let mut answers = vec![format!("{:?}", store.metadata().unwrap())];
    let last = store.last_event().unwrap();
    answers.push(format!("{last} {}", store.wait(0, Duration::ZERO).unwrap()));
    let shown = |one: &Scanned| match one {
        Scanned::Key(key) => format!("{key:?} {:?}", key.current.digest.expose()),
        Scanned::Owner(owner) => format!("{owner:?}"),
        Scanned::Damaged(row) => format!("{row:?}"),
    };
    let mut scanned = Vec::new();
    assert_eq!(store.scan(&mut |one| scanned.push(shown(&one))).unwrap(), last);
    scanned.sort();
    answers.extend(scanned);

    for number in 1..=45 {
        let found = store.key_by_numeric_id(NumericId::new(number).unwrap()).unwrap();
        answers.push(format!("{number} {:?}", found.map(|key| key.id)));
    }
    let owners: Vec<Option<OwnerId>> =
        OWNERS.iter().map(|owner| Some(owner_id(owner))).chain([None]).collect();
    for owner in &owners {
        if let Some(id) = owner {
            answers.push(format!("{:?}", store.owner(id).unwrap()));
            let mut scanned = Vec::new();
            store.scan_owner(id, &mut |one| scanned.push(shown(&one))).unwrap();
            scanned.sort();
            answers.extend(scanned);
        }
        answers.extend(pages_of_keys(store, *owner, limit, examine));
        answers.extend(pages_of_events(store, *owner, limit, examine));
    }
    for suspended in [None, Some(false), Some(true)] {
        let mut query = OwnerPageQuery { suspended, examine, ..OwnerPageQuery::all(limit) };
        loop {
            let page = store.page_owners(&query).unwrap();
            answers.push(format!("{page:?}"));
            if page.next.is_none() {
                break;
            }
            query.after = page.next;
        }
    }
    answers
}

fn pages_of_keys(
    store: &dyn Backend,
    owner: Option<OwnerId>,
    limit: usize,
    examine: usize,
) -> Vec<String> {
    let mut answers = Vec::new();
    let filter = |states| KeyFilter { owner, ..KeyFilter::new(states, at(10)) };
    let by = |number| KeyFilter { created_by_key: Some(id(number)), ..filter(StateSet::ALL) };
    let filters = [
        filter(StateSet::ALL),
        KeyFilter { kind: Some(Kind::Trial), ..filter(StateSet::UNREVOKED) },
        filter(StateSet::of([State::Expired])),
        by(0),
        by(1),
        KeyFilter { name_start: Some("a".into()), ..filter(StateSet::ALL) },
        KeyFilter { expires_before: Some(at(12)), ..filter(StateSet::ALL) },
        KeyFilter { tags: Tags::new(["trial"]).unwrap(), ..filter(StateSet::UNREVOKED) },
        KeyFilter { states: StateSet::of([State::Active]), ..by(4) },
    ];
    for filter in filters {
        answers.push(format!("{}", store.count_keys(&filter).unwrap()));
        for (before, after) in [(None, None), (Some(id(11)), Some(id(7))), (Some(id(7)), None)] {
            let filter = filter.clone();
            let mut query = KeyPageQuery { filter, before, after, limit, examine };
            loop {
                let page = store.page_keys(&query).unwrap();
                answers.extend(page.keys.iter().map(key_picture));
                // By creator, only an index tells where a page ends.
                if query.filter.created_by_key.is_none() {
                    answers.push(format!("{:?}", page.next));
                }
                if page.next.is_none() {
                    break;
                }
                query.before = page.next;
            }
        }
    }
    answers
}

fn pages_of_events(
    store: &dyn Backend,
    owner: Option<OwnerId>,
    limit: usize,
    examine: usize,
) -> Vec<String> {
    let mut answers = Vec::new();
    let filters = [
        EventFilter { owner, ..EventFilter::default() },
        EventFilter { owner, key: Some(id(2)), ..EventFilter::default() },
        EventFilter { owner, acting_key: Some(id(2)), ..EventFilter::default() },
        EventFilter { owner, actor: Some(actor()), since: Some(at(5)), ..EventFilter::default() },
        EventFilter {
            owner,
            kind: Some(EventKind::KeyUpdated),
            until: Some(at(30)),
            ..EventFilter::default()
        },
    ];
    for filter in filters {
        let mut newest =
            EventQuery { after: 0, before: Some(u64::MAX), filter: filter.clone(), limit, examine };
        loop {
            let page = store.events(&newest).unwrap();
            answers.extend(page.events.iter().map(|event| format!("{event:?}")));
            match page.next {
                Some(next) if Some(next) < newest.before => newest.before = Some(next),
                Some(next) => panic!("the page before {next} would be the same"),
                None => break,
            }
        }
        let mut query = EventQuery { after: 0, before: None, filter, limit, examine };
        let pruned_through = store.events(&query).unwrap().pruned_through;
        answers.push(format!("{pruned_through}"));
        loop {
            let page = store.events(&query).unwrap();
            assert_eq!(page.pruned_through, pruned_through);
            answers.extend(page.events.iter().map(|event| format!("{event:?}")));
            // Where a page ends depends on the index that it goes along, but it has to get on.
            match page.next {
                Some(next) if next > query.after => query.after = next,
                Some(next) => panic!("the page after {next} would be the same"),
                None => break,
            }
        }
    }
    answers
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_same_as_memory(
        steps in vec(step(), 1..20),
        unique_names in any::<bool>(),
        max_keys in prop_oneof![1..6_u32, Just(100)],
        limit in 1..30_usize,
        examine in 1..60_usize,
    ) {
        let mut metadata = metadata();
        metadata.rules.unique_names = unique_names;
        let memory = Memory::new();
        memory.commit(&[create_store(metadata.clone())]).unwrap();
        let fixture = Fixture::new();
        let mut store = fixture.blank();
        commit(&store, create_store(metadata)).unwrap();
        let mut now = 0;
        for owner in &OWNERS[..3] {
            let mut writer = Writer { store: &memory, now };
            let change = writer.change(&[Op::CreateOwner { owner, max_keys }]);
            now = writer.now;
            prop_assert_eq!(commit(&store, change.clone()), commit(&memory, change));
        }
        for step in steps {
            match &step {
                Step::Commit(changes) => {
                    let mut writer = Writer { store: &memory, now };
                    let batch: Vec<Change> =
                        changes.iter().map(|ops| writer.change(ops)).collect();
                    now = writer.now;
                    prop_assert_eq!(store.commit(&batch).unwrap(), memory.commit(&batch).unwrap());
                }
                Step::Prune(time, limit) => {
                    let before: Timestamp = at(*time);
                    let removed = memory.prune_events(before, *limit).unwrap();
                    prop_assert_eq!(store.prune_events(before, *limit).unwrap(), removed);
                }
                Step::Recover => store.recover().unwrap(),
                Step::Reopen => {
                    drop(store);
                    store = fixture.open().unwrap();
                }
            }
            let theirs = answers(&store, limit, examine);
            let expected = answers(&memory, limit, examine);
            let both = theirs.iter().zip(&expected);
            if let Some((theirs, expected)) = both.into_iter().find(|(a, b)| a != b) {
                prop_assert_eq!(theirs, expected);
            }
            prop_assert_eq!(theirs.len(), expected.len());
        }
    }
}

/// What a change writes is what the next one of the same batch finds, and nothing else.
#[test]
fn a_batch_sees_itself() {
    let named = |id: u128, version: u64, name: &str| {
        let mut key = key("a", id);
        key.version = Version::new(version);
        key.name = Some(KeyName::new(name).unwrap());
        key
    };
    let revoked = |mut key: KeyRecord| {
        key.revoked = Some(Switch::new(at(3), &by_administrator()));
        key
    };
    let rules = |version: u64, unique_names: bool, recoverable_tokens: bool| {
        let mut metadata = metadata();
        metadata.version = Version::new(version);
        metadata.rules.unique_names = unique_names;
        metadata.rules.recoverable_tokens = recoverable_tokens;
        let draft = event(EventKind::StoreRulesChanged, None, None);
        Change::of(Write::ReplaceMetadata(Box::new(metadata)), draft)
    };
    let batches = [
        vec![create_owner("a"), rules(2, true, false), create_key(named(1, 1, "n"))],
        vec![
            // A name that is given up is free, however it is given up.
            create_key(named(2, 1, "n")),
            replace_key(named(1, 2, "m")),
            create_key(named(2, 1, "n")),
            replace_key(revoked(named(2, 2, "n"))),
            create_key(named(3, 1, "n")),
            remove_key(&named(3, 1, "n")),
            create_key(named(3, 1, "n")),
            create_key(named(4, 1, "m")),
            // No key is met twice, and none that is gone.
            rules(3, true, true),
        ],
    ];
    let memory = Memory::new();
    memory.commit(&[create_store(metadata())]).unwrap();
    let fixture = Fixture::new();
    let store = fixture.store();
    for batch in batches {
        let outcome = store.commit(&batch).unwrap();
        assert_eq!(outcome, memory.commit(&batch).unwrap());
        let refused: Vec<usize> = (0..batch.len()).filter(|&n| outcome[n].is_err()).collect();
        assert_eq!(refused, if batch.len() == 3 { vec![] } else { vec![0, 7] });
    }
    assert_eq!(answers(&store, 9, 9), answers(&memory, 9, 9));
}
