//! Every record comes back as it was written, whatever its fields hold.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use keyhasp::authority::{Actor, Authority, CorrelationId, Reason, Role};
use keyhasp::backend::{
    Backend, Change, EventFilter, EventQuery, Scanned, ScannedKey, ScannedOwner, Write,
};
use keyhasp::clock::Timestamp;
use keyhasp::event::{EventDraft, EventKind, Fields};
use keyhasp::id::{ExternalId, Generation, KeyId, OwnerId, Version};
use keyhasp::key::{
    Digest, EarlierToken, Every, Header, KeyName, KeyRecord, Kind, Limit, Limits, Network,
    Networks, OwnerRecord, PepperCheck, PepperNumber, Prefix, PrefixNumber, PrefixTable, Quota,
    QuotaRun, Rate, Refill, Scheme, Seal, SetBy, Settings, StoreRules, Switch, TokenRecord,
};
use keyhasp::permission::Access;
use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::fixture::{self, Fixture, commit, create_key, create_owner, replace_key};

/// A text of up to `limit` bytes, now and then of exactly so many.
fn text(limit: usize) -> BoxedStrategy<String> {
    let short = "[ -~éß€]{1,10}".prop_filter("too long", move |text| text.len() <= limit);
    prop_oneof![9 => short, 1 => Just("x".repeat(limit))].boxed()
}

fn time() -> impl Strategy<Value = Timestamp> {
    (0..=Timestamp::MAX.as_millis()).prop_map(|millis| Timestamp::from_millis(millis).unwrap())
}

fn actor() -> impl Strategy<Value = Actor> {
    text(Actor::MAX_LEN).prop_map(|text| Actor::new(text).unwrap())
}

fn reason() -> impl Strategy<Value = Reason> {
    text(Reason::MAX_LEN).prop_map(|text| Reason::new(text).unwrap())
}

pub(crate) fn owner_id() -> impl Strategy<Value = OwnerId> {
    text(OwnerId::MAX_LEN).prop_map(|text| OwnerId::new(text).unwrap())
}

pub(crate) fn key_id() -> impl Strategy<Value = KeyId> {
    any::<u128>().prop_map(KeyId::from_u128)
}

fn version() -> impl Strategy<Value = Version> {
    // There must be a next one.
    (0..u64::MAX).prop_map(Version::new)
}

fn generation() -> impl Strategy<Value = Generation> {
    (1..=Generation::MAX.get()).prop_map(|number| Generation::new(number).unwrap())
}

fn switch() -> impl Strategy<Value = Option<Switch>> {
    option::of((time(), actor(), option::of(reason())).prop_map(|(at, by, reason)| Switch {
        at,
        by,
        reason,
    }))
}

fn access() -> impl Strategy<Value = Access> {
    let few = btree_set("[a-c]{1,3}(:[a-c*]){0,2}", 1..5);
    let limited = few.prop_map(|names| Access::limited(names).unwrap());
    prop_oneof![
        4 => Just(Access::Full),
        4 => Just(Access::ReadOnly),
        4 => limited,
        1 => Just(longest_access()),
    ]
}

pub(crate) fn longest_access() -> Access {
    Access::limited((0..Access::MAX_PATTERNS).map(|number| format!("{number:064}"))).unwrap()
}

pub(crate) fn longest_settings() -> Settings {
    let room = Settings::MAX_BYTES - json!({"a": ""}).to_string().len();
    Settings::from_value(json!({"a": "x".repeat(room)})).unwrap()
}

fn settings() -> impl Strategy<Value = Settings> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[ -~é\"\\\\\n]{0,8}".prop_map(Value::from),
    ];
    let value = leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec(("[ -~é]{0,4}", inner), 0..4)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    });
    let object = vec(("[ -~é]{0,4}", value), 0..4).prop_map(Map::from_iter);
    prop_oneof![
        9 => object.prop_map(|object| Settings::new(object).unwrap()),
        1 => Just(longest_settings()),
    ]
}

fn set_by() -> impl Strategy<Value = SetBy> {
    prop_oneof![Just(SetBy::Administrator), Just(SetBy::Owner)]
}

/// Any of the limits, or none, as most have.
pub(crate) fn limits() -> BoxedStrategy<Limits> {
    let networks = vec((any::<IpAddr>(), any::<u8>()), 1..=Networks::MAX).prop_map(|networks| {
        Networks::new(networks.into_iter().map(|(address, len)| network(address, len))).unwrap()
    });
    let most = u64::try_from(Rate::MAX_PER.as_millis()).unwrap();
    let rate =
        (1..=Rate::MAX_COUNT, 1..=most, 1..=Rate::MAX_COUNT).prop_map(|(count, per, burst)| {
            Rate::new(count, Duration::from_millis(per)).unwrap().with_burst(burst).unwrap()
        });
    let every = prop::sample::select(&[Every::Day, Every::Week, Every::Month][..]);
    let refill = (1..=Quota::MAX_USES, every)
        .prop_map(|(amount, every)| Refill::new(amount, every).unwrap());
    let quota =
        (0..=Quota::MAX_USES, option::of(refill), version()).prop_map(|(uses, refill, since)| {
            let quota = Quota::once(uses).unwrap();
            QuotaRun { quota: refill.map_or(quota, |refill| quota.with_refill(refill)), since }
        });
    let all = (
        option::of((time(), set_by()).prop_map(|(value, by)| Limit { value, by })),
        option::of((networks, set_by()).prop_map(|(value, by)| Limit { value, by })),
        option::of((rate, set_by()).prop_map(|(value, by)| Limit { value, by })),
        option::of((quota, set_by()).prop_map(|(value, by)| Limit { value, by })),
    );
    let all = all.prop_map(|(not_before, networks, rate, quota)| Limits {
        not_before,
        networks,
        rate,
        quota,
    });
    prop_oneof![Just(Limits::default()), all].boxed()
}

/// The network of this length around an address.
fn network(address: IpAddr, len: u8) -> Network {
    match address {
        IpAddr::V4(address) => {
            let len = len % 33;
            let bits = address.to_bits() & u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0);
            Network::new(Ipv4Addr::from_bits(bits).into(), len).unwrap()
        }
        IpAddr::V6(address) => {
            let len = len % 129;
            let bits = address.to_bits() & u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0);
            Network::new(Ipv6Addr::from_bits(bits).into(), len).unwrap()
        }
    }
}

fn token() -> impl Strategy<Value = TokenRecord> {
    (generation(), any::<[u8; 32]>(), any::<u16>(), 0..PrefixNumber::LIMIT, time()).prop_map(
        |(generation, bytes, pepper, prefix, issued_at)| TokenRecord {
            generation,
            digest: Digest::new(
                bytes,
                Scheme::Blake3Keyed64,
                PepperNumber::new(pepper),
                PrefixNumber::new(prefix).unwrap(),
            ),
            issued_at,
        },
    )
}

fn seal() -> impl Strategy<Value = Option<Seal>> {
    let ciphertext = prop_oneof![9 => vec(any::<u8>(), 0..200), 1 => Just(vec![7; 20_000])];
    option::of((any::<u16>(), any::<[u8; 24]>(), ciphertext).prop_map(
        |(key_number, nonce, ciphertext)| Seal { key_number, nonce, ciphertext: ciphertext.into() },
    ))
}

pub(crate) fn key() -> impl Strategy<Value = KeyRecord> {
    let name = option::of(text(KeyName::MAX_LEN).prop_map(|text| KeyName::new(text).unwrap()));
    let external_id =
        option::of((1..=ExternalId::MAX).prop_map(|number| ExternalId::new(number).unwrap()));
    let earlier = vec(
        (token(), time()).prop_map(|(token, ends_at)| EarlierToken { token, ends_at }),
        0..=keyhasp::key::MAX_EARLIER_TOKENS,
    );
    let kind = prop_oneof![Just(Kind::Standard), Just(Kind::Trial)];
    (
        (key_id(), owner_id(), version(), external_id, kind, name),
        (access(), set_by(), option::of(time()), set_by(), settings(), limits()),
        (time(), actor(), time(), token(), earlier),
        (switch(), switch(), switch(), seal()),
    )
        .prop_map(|(what, may, since, state)| KeyRecord {
            limits: may.5,
            id: what.0,
            owner: what.1,
            version: what.2,
            external_id: what.3,
            kind: what.4,
            name: what.5,
            access: may.0,
            access_by: may.1,
            expires_at: may.2,
            expiry_by: may.3,
            settings: may.4,
            created_at: since.0,
            created_by: since.1,
            updated_at: since.2,
            current: since.3,
            earlier: since.4,
            deactivated: state.0,
            blocked: state.1,
            revoked: state.2,
            seal: state.3,
        })
}

pub(crate) fn owner() -> impl Strategy<Value = OwnerRecord> {
    (
        (owner_id(), version(), settings(), switch(), access()),
        (any::<u32>(), option::of(time()), time(), actor(), time(), limits()),
    )
        .prop_map(|(what, more)| OwnerRecord {
            id: what.0,
            version: what.1,
            defaults: what.2,
            suspended: what.3,
            ceiling: what.4,
            limits: more.5,
            max_keys: more.0,
            issue_mark: more.1,
            created_at: more.2,
            created_by: more.3,
            updated_at: more.4,
        })
}

pub(crate) fn header() -> impl Strategy<Value = Header> {
    let prefixes = vec(btree_set("[a-z0-9_]{1,32}", 1..=8), 1..8).prop_map(|sets| {
        sets.iter().fold(PrefixTable::default(), |table, set| {
            let set: Vec<_> = set.iter().map(|prefix| Prefix::new(prefix).unwrap()).collect();
            table.accepting(&set).unwrap()
        })
    });
    let peppers = vec((any::<u16>(), any::<[u8; 16]>()), 0..600);
    (version(), any::<[bool; 3]>(), prefixes, peppers, option::of(time())).prop_map(
        |(version, rules, prefixes, peppers, issue_mark)| Header {
            version,
            rules: StoreRules {
                unique_names: rules[0],
                keep_standard_key: rules[1],
                sealed_tokens: rules[2],
            },
            prefixes,
            peppers: peppers
                .into_iter()
                .map(|(number, value)| PepperCheck { number: PepperNumber::new(number), value })
                .collect(),
            issue_mark,
        },
    )
}

pub(crate) fn event() -> impl Strategy<Value = EventDraft> {
    let role =
        prop_oneof![
            Just(Role::Administrator),
            owner_id().prop_map(|owner| Role::Owner { owner }),
            (owner_id(), key_id(), generation())
                .prop_map(|(owner, key, generation)| Role::Delegate { owner, key, generation }),
        ];
    let correlation_id =
        text(CorrelationId::MAX_LEN).prop_map(|text| CorrelationId::new(text).unwrap());
    let authority = (role, actor(), option::of(reason()), option::of(correlation_id)).prop_map(
        |(role, actor, reason, correlation_id)| Authority { role, actor, reason, correlation_id },
    );
    let what = (time(), prop::sample::select(EventKind::ALL), option::of(owner_id()));
    let more = (option::of(key_id()), version(), option::of(generation()), any::<u32>());
    (what, more, authority).prop_map(|((at, kind, owner), more, authority)| EventDraft {
        at,
        kind,
        owner,
        key: more.0,
        version: more.1,
        generation: more.2,
        fields: Fields::from_bits(more.3),
        authority,
    })
}

/// All of a record, with what its `Debug` leaves out. Settings compare as JSON text.
pub(crate) fn whole(key: &KeyRecord) -> String {
    let tokens: Vec<_> =
        key.tokens(None).map(|(token, end)| (token.digest.expose(), end)).collect();
    let seal = key.seal.as_ref().map(|seal| (seal.nonce, &seal.ciphertext));
    format!("{key:?} {tokens:?} {seal:?} {}", key.settings.to_json())
}

fn cases(cases: u32) -> ProptestConfig {
    // Each opens several databases.
    ProptestConfig { cases, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(24))]

    #[test]
    fn keys(records in vec((key(), key()), 1..20)) {
        let fixture = Fixture::new();
        let store = fixture.store();
        let mut ids = BTreeSet::new();
        let mut external_ids = BTreeSet::new();
        let mut expected = Vec::new();
        for (record, next) in records {
            if !ids.insert(record.id) || !record.external_id.is_none_or(|id| external_ids.insert(id)) {
                continue;
            }
            if store.owner(&record.owner).unwrap().is_none() {
                commit(&store, create_owner(record.owner.as_str())).unwrap();
            }
            commit(&store, create_key(record.clone())).unwrap();
            prop_assert_eq!(whole(&store.key(record.id).unwrap().unwrap()), whole(&record));
            // What replaces it may be longer or shorter.
            let next = KeyRecord {
                id: record.id,
                owner: record.owner,
                version: record.version.next(),
                external_id: record.external_id,
                ..next
            };
            commit(&store, replace_key(next.clone())).unwrap();
            expected.push(next);
        }
        drop(store);

        let store = fixture.open().unwrap();
        expected.sort_by_key(|record| Reverse(record.id));
        let mut scanned = Vec::new();
        store.scan(&mut |one| if let Scanned::Key(key) = one { scanned.push(key) }).unwrap();
        prop_assert_eq!(scanned.len(), expected.len());
        for (record, scanned) in expected.iter().zip(&scanned) {
            prop_assert_eq!(whole(&store.key(record.id).unwrap().unwrap()), whole(record));
            if let Some(id) = record.external_id {
                let found = store.key_by_external_id(id).unwrap().unwrap();
                prop_assert_eq!(whole(&found), whole(record));
            }
            // The index is shown the same without the rest being decoded.
            let shown = |key: &ScannedKey| format!("{key:?} {:?}", key.current.digest.expose());
            prop_assert_eq!(shown(scanned), shown(&ScannedKey::from(record)));
        }
        drop(store);

        // No value is too long, and no part is left of what was replaced.
        let stored = fixture.stored(1);
        prop_assert!(stored.longest <= 4096);
        prop_assert_eq!(stored.parts, stored.counted);
    }

    #[test]
    fn owners(records in vec(owner(), 1..20)) {
        let fixture = Fixture::new();
        let store = fixture.store();
        let records: BTreeMap<_, _> = records.into_iter().map(|record| (record.id, record)).collect();
        for record in records.values() {
            let draft = fixture::event(EventKind::OwnerCreated, Some(record.id), None);
            commit(&store, Change::of(Write::CreateOwner(Box::new(record.clone())), draft)).unwrap();
        }
        drop(store);
        let store = fixture.open().unwrap();
        for record in records.values() {
            let read = store.owner(&record.id).unwrap().unwrap();
            prop_assert_eq!(format!("{read:?}"), format!("{record:?}"));
            prop_assert_eq!(read.defaults.to_json(), record.defaults.to_json());
            let mut scanned = Vec::new();
            store.scan_owner(&record.id, &mut |one| scanned.push(one)).unwrap();
            let expected = Scanned::Owner(ScannedOwner::from(record));
            prop_assert_eq!(format!("{scanned:?}"), format!("{:?}", [expected]));
        }
    }

    #[test]
    fn headers(record in header()) {
        let fixture = Fixture::new();
        let store = fixture.open().unwrap();
        prop_assert_eq!(&store.open_header(&record).unwrap(), &record);
        drop(store);
        prop_assert_eq!(&fixture.open().unwrap().header().unwrap(), &record);
    }

    #[test]
    fn events(drafts in vec(event(), 1..30)) {
        let fixture = Fixture::new();
        let store = fixture.store();
        for draft in &drafts {
            commit(&store, Change::of(Write::Nothing, draft.clone())).unwrap();
        }
        drop(store);
        let store = fixture.open().unwrap();
        let query = EventQuery { after: 0, filter: EventFilter::default(), limit: 99, examine: 99 };
        let read: Vec<_> =
            store.events(&query).unwrap().events.into_iter().map(|event| event.draft).collect();
        prop_assert_eq!(read, drafts);
    }
}
