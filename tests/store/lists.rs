//! Lists by name, prefix, permission, expiry, last use and tags; the newest events; hints.

#![allow(clippy::unwrap_used, clippy::panic)] // It is a test.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use keyhasp::backend::{Backend, Memory};
use keyhasp::key::{KeyName, Tag, Tags};
use keyhasp::store::UsageSettings;
use keyhasp::{
    Access, ChangeRules, CreateKey, CreateOwner, DelegatedKeys, Error, EventKind, Expiry, Key,
    KeyId, ListEvents, ListKeys, ListOwners, Rotate, State, Store, Timestamp, UpdateKey,
    UpdateOwner,
};
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use crate::common::{HOUR, World, builder, clock, owner, prefix};

const NAMES: [&str; 4] = ["build", "build 2", "Build", "nightly"];
const TAGS: [&str; 3] = ["ci", "env=prod", "team:a"];
const OWNERS: [&str; 2] = ["org", "other"];

/// A key of a made-up store.
#[derive(Clone, Debug)]
struct Draft {
    owner: &'static str,
    name: Option<&'static str>,
    tags: Vec<&'static str>,
    access: Access,
    is_test: bool,
    hours: Option<u64>,
    /// Whether it is used once, and after how many hours.
    used: Option<u64>,
    is_revoked: bool,
}

/// A query of it.
#[derive(Clone, Debug)]
struct Wish {
    owners: Vec<&'static str>,
    start: Option<&'static str>,
    tags: Vec<&'static str>,
    prefixes: Vec<&'static str>,
    permission: Option<&'static str>,
    expires_within: Option<u64>,
    unused_for: Option<u64>,
    is_of_all_states: bool,
}

fn accesses() -> impl Strategy<Value = Access> {
    let limited = |patterns: &[&str]| Access::limited(patterns).unwrap();
    let some = [
        Access::Full,
        Access::ReadOnly,
        limited(&["links:read"]),
        limited(&["*:write"]),
        limited(&["domains:*", "links:write"]),
    ];
    select(some.to_vec())
}

fn drafts() -> impl Strategy<Value = Draft> {
    let look = (of(select(&NAMES[..])), subsequence(&TAGS[..], 0..=3), accesses());
    let life = (any::<bool>(), of(1..40_u64), of(0..30_u64), prop::bool::weighted(0.2));
    (select(&OWNERS[..]), look, life).prop_map(
        |(owner, (name, tags, access), (is_test, hours, used, is_revoked))| Draft {
            owner,
            name,
            tags,
            access,
            is_test,
            hours,
            used,
            is_revoked,
        },
    )
}

fn wishes() -> impl Strategy<Value = Wish> {
    let names = select(&["links:read", "links:write", "domains:write"][..]);
    let look = (of(select(&["", "b", "build ", "Build", "x"][..])), of(names));
    let sets = (
        subsequence(&OWNERS[..], 0..=2),
        prop_oneof![2 => Just(Vec::new()), 1 => subsequence(&TAGS[..], 0..=2)],
        prop_oneof![2 => Just(Vec::new()), 1 => subsequence(&["acme", "acme_test"][..], 0..=2)],
    );
    (sets, look, of(0..45_u64), of(0..45_u64), any::<bool>()).prop_map(
        |((owners, tags, prefixes), (start, permission), within, unused, all)| Wish {
            owners,
            start,
            tags,
            prefixes,
            permission,
            expires_within: within,
            unused_for: unused,
            is_of_all_states: all,
        },
    )
}

impl Wish {
    fn query(&self, now: Timestamp) -> ListKeys {
        let mut query = ListKeys::new();
        if self.is_of_all_states {
            query = query.states(State::ALL);
        }
        for id in &self.owners {
            query = query.owner(owner(id));
        }
        for tag in &self.tags {
            query = query.tag(*tag);
        }
        for text in &self.prefixes {
            query = query.prefix(prefix(text));
        }
        if let Some(start) = self.start {
            query = query.name_starts_with(start);
        }
        if let Some(name) = self.permission {
            query = query.permission(name);
        }
        if let Some(hours) = self.expires_within {
            query = query.expires_before(now.saturating_add(HOUR * hours as u32));
        }
        if let Some(hours) = self.unused_for {
            query = query.unused_since(now.saturating_sub(HOUR * hours as u32));
        }
        query
    }

    /// Judges what a list shows of a key.
    fn asks_for(&self, key: &Key, now: Timestamp) -> bool {
        let catalogue = crate::common::catalogue();
        let grants = |name: &&str| {
            key.access.compile(&catalogue).contains(catalogue.permission(name).unwrap())
        };
        let name = key.name.as_ref().map(KeyName::as_str);
        let used_at = key.usage.unwrap().last_used_at.unwrap_or(key.created_at);
        let ends = |hours: u64| now.saturating_add(HOUR * hours as u32);
        let began = |hours: u64| now.saturating_sub(HOUR * hours as u32);
        (self.owners.is_empty() || self.owners.contains(&key.owner.as_str()))
            && (self.is_of_all_states || key.state != State::Revoked)
            && self.start.is_none_or(|start| name.is_some_and(|name| name.starts_with(start)))
            && self.tags.iter().all(|tag| key.tags.contains(&Tag::new(tag).unwrap()))
            && (self.prefixes.is_empty() || self.prefixes.contains(&key.prefix.as_str()))
            && self.permission.as_ref().is_none_or(grants)
            && self.expires_within.is_none_or(|h| key.expires_at.is_some_and(|at| at < ends(h)))
            && self.unused_for.is_none_or(|hours| used_at < began(hours))
    }
}

/// Runs a test on a store of each backend, which keeps usage.
fn on_each(test: impl Fn(&World, &Store)) {
    let run = |backend: Arc<dyn Backend>| {
        let clock = clock();
        let builder = builder(&clock, 1).usage(UsageSettings::new().interval(HOUR));
        let store = Arc::new(builder.open_on(backend).unwrap());
        test(&World::of(Arc::<Store>::clone(&store), clock), &store);
    };
    run(Arc::new(Memory::new()));
    #[cfg(feature = "sqlite")]
    {
        use keyhasp::backend::sqlite::{Sqlite, SqliteOptions};
        let dir = tempfile::tempdir().unwrap();
        let options = SqliteOptions::exclusive();
        run(Arc::new(Sqlite::open_or_create(dir.path().join("keys.db"), options).unwrap().0));
    }
    #[cfg(feature = "sled")]
    {
        use keyhasp::backend::sled::{Sled, SledOptions};
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        run(Arc::new(Sled::open_or_create(path, SledOptions::default()).unwrap().0));
    }
}

/// Creates the keys, and uses them from hour to hour until the thirtieth.
fn fill(world: &World, store: &Store, drafts: &[Draft]) {
    for id in OWNERS {
        world.admin.create_owner(&owner(id), CreateOwner::without_key()).unwrap();
    }
    let mut issued = Vec::new();
    for draft in drafts {
        let mut request = CreateKey::new(draft.access.clone()).tags(draft.tags.clone());
        if let Some(name) = draft.name {
            request = request.name(name);
        }
        if let Some(hours) = draft.hours {
            request = request.expires_in(HOUR * hours as u32);
        }
        let text = if draft.is_test { "acme_test" } else { "acme" };
        issued.push(world.admin.create(&owner(draft.owner), request.prefix(prefix(text))).unwrap());
    }
    for hour in 0..30 {
        for (draft, issued) in drafts.iter().zip(&issued) {
            if draft.used == Some(hour) {
                let _ = world.verifier.verify(issued.token.expose());
            }
        }
        // Some uses are written, some still wait.
        if hour == 15 {
            store.flush_usage().unwrap();
        }
        world.clock.advance(HOUR);
    }
    for (draft, issued) in drafts.iter().zip(&issued) {
        if draft.is_revoked {
            world.admin.revoke(issued.key.id).unwrap();
        }
    }
}

/// All pages of a list.
fn all(world: &World, query: &ListKeys, limit: usize) -> Vec<Key> {
    let mut found = Vec::new();
    let mut query = query.clone().limit(limit);
    loop {
        let page = world.admin.list(&query).unwrap();
        assert!(page.items.len() <= limit);
        found.extend(page.items);
        match page.next {
            Some(next) => query = query.cursor(next),
            None => return found,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// A list shows those of all keys that the query asks for, however long its pages are, and a
    /// count counts them.
    #[test]
    fn a_list_is_all_keys_filtered(
        drafts in vec(drafts(), 0..14),
        wishes in vec(wishes(), 1..10),
        limit in 1..6_usize,
    ) {
        on_each(|world, store| {
            fill(world, store, &drafts);
            let now = world.now();
            let everything = all(world, &ListKeys::new().states(State::ALL), 1_000);
            assert_eq!(everything.len(), drafts.len());
            for wish in &wishes {
                let query = wish.query(now);
                let meant = everything.iter().filter(|key| wish.asks_for(key, now));
                let expected: Vec<KeyId> = meant.map(|key| key.id).collect();
                let found: Vec<KeyId> = all(world, &query, limit).iter().map(|key| key.id).collect();
                assert_eq!(found, expected, "{wish:?}");
                assert_eq!(world.admin.count(&query).unwrap(), expected.len() as u64, "{wish:?}");
            }
        });
    }
}

fn refused<T>(result: Result<T, Error>) -> &'static str {
    match result {
        Err(Error::Invalid(invalid)) => invalid.field(),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("taken"),
    }
}

#[test]
fn queries_that_are_none_are_refused() {
    let world = World::new();
    world.owner("org");
    let many = |query: ListKeys| (0..17).fold(query, |query, n| query.tag(n.to_string()));
    let queries = [
        (ListKeys::new().name_starts_with("x".repeat(256)), "name"),
        (ListKeys::new().prefix(prefix("unknown")), "prefix"),
        (ListKeys::new().permission("links:delete"), "permission"),
        (ListKeys::new().permission("links:*"), "permission"),
        (ListKeys::new().tag("two words"), "tag"),
        (many(ListKeys::new()), "tags"),
        // This store keeps no usage, so that every key would look unused.
        (ListKeys::new().unused_since(world.now()), "unused_since"),
    ];
    for (query, field) in queries {
        assert_eq!(refused(world.admin.list(&query)), field);
        assert_eq!(refused(world.admin.count(&query)), field);
    }
    assert_eq!(refused(world.admin.list_owners(&ListOwners::new().tag(""))), "tag");
}

/// A prefix that is accepted no longer still finds the keys whose last token had it.
#[test]
fn a_retired_prefix_finds_its_keys() {
    let world = World::new();
    let (keys, _) = world.owner("org");
    let test = keys.create(CreateKey::new(Access::Full).prefix(prefix("acme_test"))).unwrap();
    keys.revoke(test.key.id).unwrap();
    world.admin.change_rules(ChangeRules::new().prefixes([prefix("acme")])).unwrap();
    let query = ListKeys::new().prefix(prefix("acme_test")).states(State::ALL);
    let found = keys.list(&query).unwrap().items;
    assert!(found.iter().map(|key| key.id).eq([test.key.id]));
}

/// Those who may name a key may tag it: owners, delegates and administrators.
#[test]
fn tags_are_set_like_names() {
    let world = World::new();
    let (keys, first) = world.owner("org");
    let shown = |key: KeyId| {
        let tags = world.admin.get(key).unwrap().tags;
        tags.iter().map(Tag::to_string).collect::<Vec<_>>()
    };
    let issued = keys.create(CreateKey::new(Access::Full).tags(["b", "a", "b"])).unwrap();
    assert_eq!(shown(issued.key.id), ["a", "b"]);
    assert_eq!(issued.key.tags, Tags::new(["a", "b"]).unwrap());
    let verified = world.verifier.verify(first.token.expose()).unwrap();
    let delegate = DelegatedKeys::new(Arc::clone(&world.store), &verified, "ci").unwrap();
    let updated = delegate.update(issued.key.id, UpdateKey::new().tags(["ci"])).unwrap();
    assert_eq!(updated.version.get(), 2);
    assert_eq!(shown(issued.key.id), ["ci"]);
    // What is set to what it is changes nothing.
    let same = world.admin.update(issued.key.id, UpdateKey::new().tags(["ci", "ci"])).unwrap();
    assert_eq!(same.version.get(), 2);
    for (tags, field) in
        [(vec!["x y".into()], "tag"), ((0..17).map(|n| n.to_string()).collect(), "tags")]
    {
        let tags: Vec<String> = tags;
        assert_eq!(refused(keys.update(issued.key.id, UpdateKey::new().tags(tags.clone()))), field);
        assert_eq!(refused(keys.create(CreateKey::new(Access::Full).tags(tags))), field);
    }
    keys.update(issued.key.id, UpdateKey::new().name("x").clear_tags()).unwrap();
    assert!(shown(issued.key.id).is_empty());
    let events = world.admin.events(&ListEvents::new().key(issued.key.id)).unwrap().items;
    let named: Vec<Vec<&str>> = events.iter().map(|event| event.fields.names().collect()).collect();
    assert_eq!(named, [vec!["access", "token", "tags"], vec!["tags"], vec!["name", "tags"]]);
}

/// An owner's tags are an administrator's own: set by one, and shown to none else.
#[test]
fn tags_of_owners_are_for_administrators() {
    let world = World::new();
    let request = CreateOwner::with_key(CreateKey::new(Access::Full)).tags(["plan=gold", "eu"]);
    let (keys, _) = world.owner_with("org", request);
    world.owner("other");
    let find = |tag: &str| {
        let page = world.admin.list_owners(&ListOwners::new().tag(tag)).unwrap();
        page.items.iter().map(|owner| owner.id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(find("eu"), ["org"]);
    assert!(find("e").is_empty());
    assert_eq!(
        world.admin.owner(&owner("org")).unwrap().tags,
        Tags::new(["eu", "plan=gold"]).unwrap()
    );
    assert!(keys.owner().unwrap().tags.is_empty());
    let update = |tags: &[&str]| {
        let update = UpdateOwner::new().tags(tags.iter().copied());
        world.admin.update_owner(&owner("other"), update)
    };
    assert_eq!(update(&["eu"]).unwrap().version.get(), 2);
    assert_eq!(update(&["eu", "eu"]).unwrap().version.get(), 2);
    assert_eq!(find("eu"), ["org", "other"]);
    assert_eq!(refused(update(&["a b"])), "tag");
    let newest = world.admin.events(&ListEvents::new().newest_first().limit(1)).unwrap().items;
    assert_eq!(
        (newest[0].kind, newest[0].fields.names().collect::<Vec<_>>()),
        (EventKind::OwnerUpdated, vec!["tags"])
    );
}

#[test]
fn a_hint_shows_which_token_a_key_has() {
    let world = World::new();
    let (keys, issued) = world.owner("org");
    let token = issued.token.expose();
    let (first, last) = issued.key.hint.split_once('…').unwrap();
    assert!(token.starts_with(first) && first == &token[.."acme_".len() + 4]);
    assert_eq!(last, &token["acme_".len() + 16.."acme_".len() + 22]);
    let other = keys.create(CreateKey::new(Access::Full).prefix(prefix("acme_test"))).unwrap();
    let listed = keys.list(&ListKeys::new()).unwrap().items;
    let hints: BTreeSet<&str> = listed.iter().map(|key| key.hint.as_str()).collect();
    assert_eq!(hints, BTreeSet::from([&*issued.key.hint, &*other.key.hint]));
    assert!(other.key.hint.starts_with("acme_test_"));
    // The secret changes, and the hint doesn't.
    let rotated = keys.rotate(issued.key.id, Rotate::new()).unwrap();
    assert_eq!(rotated.key.hint, issued.key.hint);
}

/// An owner reads its own newest events, page by page, and an administrator those of one key.
#[test]
fn the_newest_events_come_first() {
    on_each(|world, _| {
        let (keys, first) = world.owner("org");
        let (others, _) = world.owner("other");
        for n in 0..6 {
            keys.update(first.key.id, UpdateKey::new().name(format!("name {n}"))).unwrap();
            others.create(CreateKey::new(Access::Full)).unwrap();
        }
        let numbers = |query: &ListEvents| {
            let (mut found, mut query) = (Vec::new(), query.clone());
            loop {
                let page = keys.events(&query).unwrap();
                found.extend(page.items.iter().map(|event| event.sequence));
                match page.next {
                    Some(next) => query = query.before(next),
                    None => return found,
                }
            }
        };
        let mut all: Vec<u64> = keys
            .events(&ListEvents::new())
            .unwrap()
            .items
            .iter()
            .map(|event| event.sequence)
            .collect();
        all.reverse();
        assert_eq!(all.len(), 8);
        for limit in [1, 3, 1_000] {
            assert_eq!(numbers(&ListEvents::new().newest_first().limit(limit)), all);
            assert_eq!(numbers(&ListEvents::new().before(all[2]).limit(limit)), all[3..]);
            let between = ListEvents::new().after(all[5]).before(all[2]).limit(limit);
            assert_eq!(numbers(&between), all[3..5]);
        }
        let last_two = ListEvents::new().key(first.key.id).newest_first().limit(2);
        let page = world.admin.events(&last_two).unwrap();
        let kinds: Vec<EventKind> = page.items.iter().map(|event| event.kind).collect();
        assert_eq!(kinds, [EventKind::KeyUpdated; 2]);
        assert!(page.items[0].sequence > page.items[1].sequence);
        assert_eq!(page.next, Some(page.items[1].sequence));
    });
}

/// To the millisecond, with the uses that this process has yet to write.
#[test]
fn unused_since_counts_what_was_used_a_moment_ago() {
    on_each(|world, store| {
        let (keys, used) = world.owner("org");
        let never = keys.create(CreateKey::new(Access::Full)).unwrap();
        let created = world.now();
        world.clock.advance(HOUR);
        world.verifier.verify(used.token.expose()).unwrap();
        let at = world.now();
        let millisecond = Duration::from_millis(1);
        let unused = |since: Timestamp| {
            let query = ListKeys::new().unused_since(since);
            assert_eq!(keys.count(&query).unwrap(), keys.list(&query).unwrap().items.len() as u64);
            keys.list(&query).unwrap().items.iter().map(|key| key.id).collect::<Vec<_>>()
        };
        let (used, never) = (used.key.id, never.key.id);
        for _ in 0..2 {
            assert!(unused(created).is_empty());
            assert_eq!(unused(created.saturating_add(millisecond)), [never]);
            assert_eq!(unused(at), [never]);
            assert_eq!(unused(at.saturating_add(millisecond)), [never, used]);
            store.flush_usage().unwrap();
        }
        let soon = ListKeys::new().expires_before(world.after(HOUR));
        assert!(keys.list(&soon).unwrap().items.is_empty());
        keys.update(never, UpdateKey::new().expires(Expiry::At(world.after(millisecond)))).unwrap();
        assert_eq!(keys.count(&soon).unwrap(), 1);
    });
}
