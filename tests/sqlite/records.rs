//! Arbitrary records, up to the limits of their types, and what tells them apart.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use keyhasp::authority::{Actor, Authority, CorrelationId, Reason, Role};
use keyhasp::clock::Timestamp;
use keyhasp::event::{EventDraft, EventKind, Fields};
use keyhasp::id::{ExternalId, Generation, KeyId, OwnerId, Version};
use keyhasp::key::{
    Digest, EarlierToken, Every, Header, KeyName, KeyRecord, Kind, Limit, Limits, Network,
    Networks, NumberedPrefix, OwnerRecord, PepperCheck, PepperNumber, Prefix, PrefixNumber,
    PrefixTable, Quota, QuotaRun, Rate, Refill, Scheme, Seal, SetBy, Settings, StoreRules, Switch,
    TokenRecord,
};
use keyhasp::permission::Access;
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option::of;
use proptest::prelude::*;
use serde_json::{Map, Value};

/// All of a key, digests and seal included, which its Debug hides.
pub(crate) fn key_picture(key: &KeyRecord) -> String {
    let tokens: Vec<&TokenRecord> = key.tokens(None).map(|(token, _)| token).collect();
    let digests: Vec<&[u8; 32]> = tokens.iter().map(|token| token.digest.expose()).collect();
    let seal = key.seal.as_ref().map(|seal| (seal.key_number, seal.nonce, &seal.ciphertext));
    format!("{key:?} {digests:?} {seal:?}")
}

pub(crate) fn owner_picture(owner: &OwnerRecord) -> String {
    format!("{owner:?}")
}

/// Texts of 1 to `limit` bytes, often of exactly so many.
fn text(limit: usize) -> BoxedStrategy<String> {
    let char = prop_oneof![
        4 => prop::char::range(' ', '~'),
        1 => any::<char>().prop_filter("no control", |c| !c.is_control()),
        1 => prop::sample::select(&['\'', '"', '%', '\u{a0}', 'é', '漢', '\u{10ffff}'][..]),
    ];
    let cut = move |chars: Vec<char>| {
        let mut text = String::new();
        for char in chars {
            if text.len() + char.len_utf8() <= limit {
                text.push(char);
            }
        }
        if text.is_empty() { "x".into() } else { text }
    };
    prop_oneof![3 => vec(char.clone(), 1..12), 1 => vec(char, limit..limit + 1)]
        .prop_map(cut)
        .boxed()
}

pub(crate) fn times() -> BoxedStrategy<Timestamp> {
    prop_oneof![
        Just(Timestamp::MIN),
        Just(Timestamp::MAX),
        (0..=Timestamp::MAX.as_millis()).prop_map(|ms| Timestamp::from_millis(ms).unwrap()),
    ]
    .boxed()
}

fn actors() -> BoxedStrategy<Actor> {
    text(Actor::MAX_LEN).prop_map(|text| Actor::new(text).unwrap()).boxed()
}

fn reasons() -> BoxedStrategy<Reason> {
    text(Reason::MAX_LEN).prop_map(|text| Reason::new(text).unwrap()).boxed()
}

fn switches() -> BoxedStrategy<Option<Switch>> {
    of((times(), actors(), of(reasons())).prop_map(|(at, by, reason)| Switch { at, by, reason }))
        .boxed()
}

pub(crate) fn versions() -> BoxedStrategy<Version> {
    // One less than the greatest, so that it can be replaced.
    prop_oneof![Just(u64::MAX - 1), Just(i64::MAX as u64), 1..1_000_000_u64]
        .prop_map(Version::new)
        .boxed()
}

pub(crate) fn owner_ids() -> BoxedStrategy<OwnerId> {
    text(OwnerId::MAX_LEN).prop_map(|text| OwnerId::new(text).unwrap()).boxed()
}

pub(crate) fn key_ids() -> BoxedStrategy<KeyId> {
    prop_oneof![8 => any::<u128>(), 1 => Just(0), 1 => Just(u128::MAX)]
        .prop_map(KeyId::from_u128)
        .boxed()
}

pub(crate) fn accesses() -> BoxedStrategy<Access> {
    let segment = prop_oneof![4 => "[a-zA-Z0-9_.-]{1,30}", 1 => Just("*".to_owned())];
    let pattern = vec(segment, 1..3).prop_map(|segments| segments.join(":"));
    prop_oneof![
        Just(Access::Full),
        Just(Access::ReadOnly),
        vec(pattern.clone(), 1..5).prop_map(|names| Access::limited(names).unwrap()),
        // As many and as long as there may be.
        Just(Access::limited((0..256).map(|n| format!("{n:064}"))).unwrap()),
    ]
    .boxed()
}

pub(crate) fn settings() -> BoxedStrategy<Settings> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    let value = leaf.prop_recursive(6, 40, 5, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::from),
            btree_map(any::<String>(), inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    });
    let longest = Settings::MAX_BYTES - r#"{"":""}"#.len();
    prop_oneof![
        8 => btree_map(any::<String>(), value, 0..6).prop_filter_map("within limits", |map| {
            Settings::new(map.into_iter().collect()).ok()
        }),
        1 => Just(Map::from_iter([(String::new(), Value::from("x".repeat(longest)))]))
            .prop_map(|map| Settings::new(map).unwrap()),
    ]
    .boxed()
}

fn generations() -> BoxedStrategy<Generation> {
    (1..=Generation::MAX.get()).prop_map(|number| Generation::new(number).unwrap()).boxed()
}

fn tokens(generation: u32) -> BoxedStrategy<TokenRecord> {
    (any::<[u8; 32]>(), any::<u16>(), 0..64_u8, times())
        .prop_map(move |(bytes, pepper, prefix, issued_at)| {
            let (pepper, prefix) = (PepperNumber::new(pepper), PrefixNumber::new(prefix).unwrap());
            let digest = Digest::new(bytes, Scheme::Blake3Keyed64, pepper, prefix);
            TokenRecord { generation: Generation::new(generation).unwrap(), digest, issued_at }
        })
        .boxed()
}

/// Up to five earlier tokens and the current one, of growing generations.
fn all_tokens() -> BoxedStrategy<(Vec<EarlierToken>, TokenRecord)> {
    btree_set(1..=Generation::MAX.get(), 1..=6)
        .prop_flat_map(|generations| {
            let tokens: Vec<_> = generations.into_iter().map(|g| (tokens(g), times())).collect();
            tokens.prop_map(|tokens| {
                let mut earlier: Vec<EarlierToken> = tokens
                    .into_iter()
                    .map(|(token, ends_at)| EarlierToken { token, ends_at })
                    .collect();
                let current = earlier.pop().unwrap().token;
                (earlier, current)
            })
        })
        .boxed()
}

fn seals() -> BoxedStrategy<Option<Seal>> {
    let seal = (any::<u16>(), any::<[u8; 24]>(), vec(any::<u8>(), 0..200));
    of(seal.prop_map(|(key_number, nonce, ciphertext)| Seal {
        key_number,
        nonce,
        ciphertext: ciphertext.into(),
    }))
    .boxed()
}

fn set_by() -> BoxedStrategy<SetBy> {
    prop::sample::select(&[SetBy::Administrator, SetBy::Owner][..]).boxed()
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
    let quota = (0..=Quota::MAX_USES, of(refill), versions()).prop_map(|(uses, refill, since)| {
        let quota = Quota::once(uses).unwrap();
        QuotaRun { quota: refill.map_or(quota, |refill| quota.with_refill(refill)), since }
    });
    let all = (
        of((times(), set_by()).prop_map(|(value, by)| Limit { value, by })),
        of((networks, set_by()).prop_map(|(value, by)| Limit { value, by })),
        of((rate, set_by()).prop_map(|(value, by)| Limit { value, by })),
        of((quota, set_by()).prop_map(|(value, by)| Limit { value, by })),
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

pub(crate) fn kinds() -> BoxedStrategy<Kind> {
    prop::sample::select(&[Kind::Standard, Kind::Trial][..]).boxed()
}

pub(crate) fn external_ids() -> BoxedStrategy<ExternalId> {
    prop_oneof![8 => 1..=ExternalId::MAX, 1 => Just(ExternalId::MAX)]
        .prop_map(|number| ExternalId::new(number).unwrap())
        .boxed()
}

/// Keys of any owner.
pub(crate) fn keys() -> BoxedStrategy<KeyRecord> {
    let identity = (key_ids(), owner_ids(), versions(), of(external_ids()), kinds());
    let name = of(text(KeyName::MAX_LEN).prop_map(|name| KeyName::new(name).unwrap()));
    let rights = (name, accesses(), set_by(), of(times()), set_by(), settings());
    let dates = (times(), actors(), times());
    let switches = (switches(), switches(), switches());
    (identity, rights, limits(), dates, all_tokens(), switches, seals())
        .prop_map(|(identity, rights, limits, dates, tokens, switches, seal)| {
            let (id, owner, version, external_id, kind) = identity;
            let (name, access, access_by, expires_at, expiry_by, settings) = rights;
            let (created_at, created_by, updated_at) = dates;
            let (earlier, current) = tokens;
            let (deactivated, blocked, revoked) = switches;
            KeyRecord {
                limits,
                id,
                owner,
                version,
                external_id,
                kind,
                name,
                access,
                access_by,
                expires_at,
                expiry_by,
                settings,
                created_at,
                created_by,
                updated_at,
                current,
                earlier,
                deactivated,
                blocked,
                revoked,
                seal,
            }
        })
        .boxed()
}

pub(crate) fn owners() -> BoxedStrategy<OwnerRecord> {
    let rights = (settings(), switches(), accesses(), limits(), 1..u32::MAX, of(times()));
    (owner_ids(), versions(), rights, times(), actors(), times())
        .prop_map(|(id, version, rights, created_at, created_by, updated_at)| {
            let (defaults, suspended, ceiling, limits, max_keys, issue_mark) = rights;
            OwnerRecord {
                limits,
                id,
                version,
                defaults,
                suspended,
                ceiling,
                max_keys,
                issue_mark,
                created_at,
                created_by,
                updated_at,
            }
        })
        .boxed()
}

pub(crate) fn headers() -> BoxedStrategy<Header> {
    let prefixes = btree_set("[a-z0-9_]{1,32}", 0..=64).prop_map(|texts| {
        let entry = |(text, number): (String, u8)| NumberedPrefix {
            number: PrefixNumber::new(number).unwrap(),
            prefix: Prefix::new(text).unwrap(),
            accepted: number < 8,
        };
        PrefixTable::from_entries(texts.into_iter().zip(0..).map(entry).collect()).unwrap()
    });
    let peppers = btree_map(any::<u16>(), any::<[u8; 16]>(), 0..5).prop_map(|peppers| {
        let check = |(number, value)| PepperCheck { number: PepperNumber::new(number), value };
        peppers.into_iter().map(check).collect()
    });
    (versions(), any::<[bool; 3]>(), prefixes, peppers, of(times()))
        .prop_map(
            |(
                version,
                [unique_names, keep_standard_key, sealed_tokens],
                prefixes,
                peppers,
                mark,
            )| {
                let rules = StoreRules { unique_names, keep_standard_key, sealed_tokens };
                Header { version, rules, prefixes, peppers, issue_mark: mark }
            },
        )
        .boxed()
}

pub(crate) fn events() -> BoxedStrategy<EventDraft> {
    let role = prop_oneof![
        Just(Role::Administrator),
        owner_ids().prop_map(|owner| Role::Owner { owner }),
        (owner_ids(), key_ids(), generations())
            .prop_map(|(owner, key, generation)| Role::Delegate { owner, key, generation }),
    ];
    let correlation = text(CorrelationId::MAX_LEN).prop_map(|id| CorrelationId::new(id).unwrap());
    let authority = (role, actors(), of(reasons()), of(correlation)).prop_map(
        |(role, actor, reason, correlation_id)| Authority { role, actor, reason, correlation_id },
    );
    let what = (prop::sample::select(EventKind::ALL), any::<u32>(), versions());
    (times(), what, of(owner_ids()), of(key_ids()), of(generations()), authority)
        .prop_map(|(at, (kind, fields, version), owner, key, generation, authority)| {
            let fields = Fields::from_bits(fields);
            EventDraft { at, kind, owner, key, version, generation, fields, authority }
        })
        .boxed()
}
