//! Arbitrary records, up to the limits of their types, and texts that show all their fields.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use keyhasp::authority::{Actor, Authority, CorrelationId, Reason, Role};
use keyhasp::clock::Timestamp;
use keyhasp::event::{EventDraft, EventKind, Fields};
use keyhasp::id::{Generation, Incarnation, KeyId, NumericId, OwnerId, Version};
use keyhasp::key::{
    Digest, Invalidations, IssueEpochs, KeyName, KeyRecord, Kind, Lifetime, Limit, Limits,
    MAX_PREVIOUS_TOKENS, Network, Networks, NumberedPrefix, OwnerRecord, PepperCheck, PepperNumber,
    Period, Prefix, PrefixNumber, PrefixTable, PreviousToken, Quota, Rate, RecoveryKeyCheck,
    Refill, Scheme, Seal, SetBy, SettingNames, Settings, StoreMetadata, StoreRules, Switch, Tags,
    TokenRecord, TokensValidFrom, VersionedQuota,
};
use keyhasp::permission::{Access, PermissionName};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

/// All of a key, digests and seal included, which its Debug hides.
pub(crate) fn key_picture(key: &KeyRecord) -> String {
    let tokens: Vec<_> = key
        .tokens(Invalidations::default())
        .map(|(token, end)| (token.digest.expose(), end))
        .collect();
    let seal = key.seal.as_ref().map(|seal| (seal.nonce, &seal.ciphertext));
    format!("{key:?} {tokens:?} {seal:?} {}", key.settings.to_json())
}

pub(crate) fn owner_picture(owner: &OwnerRecord) -> String {
    format!("{owner:?} {}", owner.defaults.to_json())
}

pub(crate) fn longest_access() -> Access {
    Access::limited((0..Access::MAX_PATTERNS).map(|number| format!("{number:064}"))).unwrap()
}

pub(crate) fn longest_settings() -> Settings {
    let room = Settings::MAX_BYTES - json!({"a": ""}).to_string().len();
    Settings::from_value(json!({"a": "x".repeat(room)})).unwrap()
}

/// Lifetimes, up to the longest.
fn lifetimes() -> impl Strategy<Value = Lifetime> {
    let longest = u64::try_from(Lifetime::LONGEST.as_millis()).unwrap();
    let some = move || of(prop_oneof![1..=longest, Just(longest), Just(1)]);
    (some(), some()).prop_map(|(max, default)| {
        let default = default.map(|default| max.map_or(default, |max| default.min(max)));
        Lifetime::new(max.map(Duration::from_millis), default.map(Duration::from_millis)).unwrap()
    })
}

/// Every second name of some settings.
fn some_names(settings: &Settings) -> SettingNames {
    SettingNames::new(settings.as_object().keys().step_by(2).cloned())
}

/// Keys of any owner.
pub(crate) fn keys() -> impl Strategy<Value = KeyRecord> {
    let kind = select(&[Kind::Standard, Kind::Trial][..]);
    let identity = (key_ids(), owner_ids(), versions(), of(numeric_ids()), kind);
    let name = of(text(KeyName::MAX_LEN).prop_map(|name| KeyName::new(name).unwrap()));
    let rights = (name, accesses(), set_by(), of(times()), set_by(), settings());
    let creator = (actors(), of(key_ids()), set_by());
    let dates = (times(), creator, times(), of(times()));
    let switches = (switches(), switches(), switches());
    (identity, rights, limits(), dates, tokens(), switches, (of(seals()), tags())).prop_map(
        |(identity, rights, limits, dates, tokens, switches, (seal, tags))| {
            let (id, owner, version, numeric_id, kind) = identity;
            let (name, access, access_by, expires_at, expiry_by, settings) = rights;
            let (created_at, creator, updated_at, lapsed_at) = dates;
            let (created_by, created_by_key, created_as) = creator;
            let (previous, current) = tokens;
            let (deactivated, blocked, revoked) = switches;
            KeyRecord {
                version,
                numeric_id,
                kind,
                name,
                access,
                access_by,
                expires_at,
                lapsed_at,
                expiry_by,
                protected_settings: some_names(&settings),
                settings,
                created_by_key,
                created_as,
                updated_at,
                previous,
                deactivated,
                blocked,
                revoked,
                limits,
                seal,
                tags,
                ..KeyRecord::new(id, owner, current, created_at, created_by)
            }
        },
    )
}

pub(crate) fn owners() -> impl Strategy<Value = OwnerRecord> {
    let bounds = (any::<u32>(), lifetimes());
    let rights = (settings(), switches(), accesses(), limits(), bounds, of(invalidations()));
    (owner_ids(), versions(), rights, times(), actors(), (times(), tags())).prop_map(
        |(id, version, rights, created_at, created_by, (updated_at, tags))| {
            let (defaults, suspended, max_access, limits, bounds, tokens_valid_from) = rights;
            let (max_keys, lifetime) = bounds;
            OwnerRecord {
                sweeps: None,
                tags,
                id,
                version,
                fixed_defaults: some_names(&defaults),
                incarnation: Incarnation::new(version.get().clamp(1, 1 << 52)).unwrap(),
                defaults,
                suspended,
                max_access,
                limits,
                max_keys,
                lifetime,
                tokens_valid_from,
                created_at,
                created_by,
                updated_at,
            }
        },
    )
}

fn tags() -> impl Strategy<Value = Tags> {
    prop_oneof![
        Just(Tags::default()),
        vec("[a-zA-Z0-9_.:/=+@-]{1,64}", 0..=Tags::MAX).prop_map(|tags| Tags::new(tags).unwrap()),
    ]
}

fn invalidations() -> impl Strategy<Value = TokensValidFrom> {
    let parts = (times(), any::<u32>(), times(), any::<u32>(), any::<u32>());
    parts.prop_map(|(moment, epoch, ended_at, swept, invalidated)| TokensValidFrom {
        moment,
        epoch,
        ended_at,
        swept,
        invalidated,
    })
}

pub(crate) fn headers() -> impl Strategy<Value = StoreMetadata> {
    let texts = btree_set("[a-z0-9_]{1,32}", 0..=usize::from(PrefixNumber::LIMIT));
    let texts = texts.prop_map(Vec::from_iter).prop_shuffle();
    let accepted = btree_set(0..PrefixNumber::LIMIT, 0..=PrefixTable::MAX_ACCEPTED);
    let prefixes = (texts, accepted).prop_map(|(texts, accepted)| {
        let entry = |(text, number)| NumberedPrefix {
            number: PrefixNumber::new(number).unwrap(),
            prefix: Prefix::new(text).unwrap(),
            accepted: accepted.contains(&number),
        };
        PrefixTable::from_entries(texts.iter().zip(0..).map(entry).collect()).unwrap()
    });
    let count = prop_oneof![3 => 0..5_usize, 1 => 0..600_usize];
    let checks = count.prop_flat_map(|count| btree_map(any::<u16>(), any::<[u8; 16]>(), count));
    let peppers = (checks.clone(), any::<u16>()).prop_map(|(peppers, retires)| {
        let check = |(number, value): (u16, [u8; 16])| {
            let retired = number & retires != 0;
            PepperCheck { number: PepperNumber::new(number), value, retired }
        };
        peppers.into_iter().map(check).collect()
    });
    let recovery_keys = checks.prop_map(|keys| {
        keys.into_iter().map(|(number, value)| RecoveryKeyCheck { number, value }).collect()
    });
    let secrets = (peppers, recovery_keys);
    (versions(), (any::<[bool; 3]>(), lifetimes()), prefixes, secrets, of(invalidations()))
        .prop_map(|(version, (rules, lifetime), prefixes, secrets, tokens_valid_from)| {
            let (peppers, recovery_keys) = secrets;
            let [unique_names, keep_standard_key, recoverable_tokens] = rules;
            let rules =
                StoreRules { unique_names, keep_standard_key, recoverable_tokens, lifetime };
            StoreMetadata { version, rules, prefixes, peppers, recovery_keys, tokens_valid_from }
        })
}

pub(crate) fn events() -> impl Strategy<Value = EventDraft> {
    let role = prop_oneof![
        Just(Role::Administrator),
        owner_ids().prop_map(|owner| Role::Owner { owner }),
        (owner_ids(), key_ids(), generations())
            .prop_map(|(owner, key, generation)| Role::Delegate { owner, key, generation }),
        (owner_ids(), key_ids(), generations(), any::<bool>()).prop_map(
            |(owner, key, generation, previous_tokens)| Role::OwnerByKey {
                owner,
                key,
                generation,
                previous_tokens
            }
        ),
    ];
    let correlation = text(CorrelationId::MAX_LEN).prop_map(|id| CorrelationId::new(id).unwrap());
    let correlation = (any::<bool>(), of(correlation));
    let authority = (role, actors(), of(reasons()), correlation).prop_map(
        |(role, actor, reason, (reason_for_owner, correlation_id))| Authority {
            role,
            actor,
            reason,
            reason_for_owner,
            correlation_id,
        },
    );
    let what = (select(EventKind::ALL), any::<u32>().prop_map(Fields::from_bits), versions());
    (times(), what, of(owner_ids()), of(key_ids()), of(generations()), authority).prop_map(
        |(at, (kind, fields, version), owner, key, generation, authority)| EventDraft {
            at,
            kind,
            owner,
            key,
            version,
            generation,
            fields,
            authority,
        },
    )
}

/// Texts of up to `limit` bytes, often of exactly `limit`.
fn text(limit: usize) -> BoxedStrategy<String> {
    let char = prop_oneof![
        4 => prop::char::range(' ', '~'),
        1 => any::<char>().prop_filter("allowed", |c| OwnerId::new(c.to_string()).is_ok()),
        1 => select(&['\'', '"', '%', '\u{a0}', 'é', '漢', '\u{10ffff}'][..]),
    ];
    let short = vec(char.clone(), 1..12).prop_map(String::from_iter);
    let longest = vec(char, limit).prop_map(move |chars| {
        let push = |mut text: String, char: char| {
            if text.len() + char.len_utf8() <= limit {
                text.push(char);
            }
            text
        };
        chars.into_iter().chain(std::iter::repeat_n('x', limit)).fold(String::new(), push)
    });
    // White space at the ends belongs to no text.
    let text = prop_oneof![3 => short, 1 => longest].prop_map(|text| text.trim().to_owned());
    text.prop_filter("not empty", |text| !text.is_empty()).boxed()
}

pub(crate) fn times() -> impl Strategy<Value = Timestamp> {
    let latest = Timestamp::MAX.as_millis();
    prop_oneof![Just(0), Just(latest), 0..=latest]
        .prop_map(|millis| Timestamp::from_millis(millis).unwrap())
}

fn actors() -> impl Strategy<Value = Actor> {
    text(Actor::MAX_LEN).prop_map(|text| Actor::new(text).unwrap())
}

fn reasons() -> impl Strategy<Value = Reason> {
    text(Reason::MAX_LEN).prop_map(|text| Reason::new(text).unwrap())
}

pub(crate) fn switches() -> impl Strategy<Value = Option<Switch>> {
    let switch = (times(), actors(), of(reasons()), set_by(), any::<bool>());
    of(switch.prop_map(|(at, by, reason, set_by, reason_for_owner)| Switch {
        at,
        by,
        reason,
        set_by,
        reason_for_owner,
    }))
}

pub(crate) fn versions() -> impl Strategy<Value = Version> {
    // So far below the greatest that there is a next one, and one after that: the greatest isn't read.
    prop_oneof![
        1 => Just(u64::MAX - 2),
        1 => Just(i64::MAX as u64),
        2 => 0..1_000_000_u64,
        2 => 0..u64::MAX - 1,
    ]
    .prop_map(Version::new)
}

pub(crate) fn owner_ids() -> impl Strategy<Value = OwnerId> {
    text(OwnerId::MAX_LEN).prop_map(|text| OwnerId::new(text).unwrap())
}

pub(crate) fn key_ids() -> impl Strategy<Value = KeyId> {
    prop_oneof![8 => any::<u128>(), 1 => Just(0), 1 => Just(u128::MAX)].prop_map(KeyId::from_u128)
}

fn numeric_ids() -> impl Strategy<Value = NumericId> {
    prop_oneof![8 => 1..=NumericId::MAX, 1 => Just(NumericId::MAX)]
        .prop_map(|number| NumericId::new(number).unwrap())
}

pub(crate) fn generations() -> impl Strategy<Value = Generation> {
    (1..=Generation::MAX.get()).prop_map(|number| Generation::new(number).unwrap())
}

fn set_by() -> impl Strategy<Value = SetBy> {
    select(&[SetBy::Administrator, SetBy::Owner][..])
}

fn accesses() -> impl Strategy<Value = Access> {
    let segment = prop_oneof![4 => "[a-zA-Z0-9_.-]{1,30}", 1 => Just("*".to_owned())];
    let pattern = vec(segment, 1..4)
        .prop_map(|segments| segments.join(":"))
        .prop_filter("too long", |pattern| pattern.len() <= PermissionName::MAX_LEN);
    let limited = vec(pattern, 1..5).prop_map(|patterns| Access::limited(patterns).unwrap());
    prop_oneof![Just(Access::Full), Just(Access::ReadOnly), limited, Just(longest_access())]
}

fn settings() -> BoxedStrategy<Settings> {
    // With what JSON has to escape.
    let text = || prop_oneof![any::<String>(), "[\\x00-~é]{0,8}"];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    let value = leaf.prop_recursive(6, 40, 5, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::from),
            btree_map(text(), inner, 0..5).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    });
    let object = btree_map(text(), value, 0..6)
        .prop_filter_map("too large", |map| Settings::new(map.into_iter().collect()).ok());
    prop_oneof![8 => object, 1 => Just(longest_settings())].boxed()
}

/// The previous tokens that still live, and the current token.
fn tokens() -> impl Strategy<Value = (Vec<PreviousToken>, TokenRecord)> {
    let digest = (any::<[u8; 32]>(), any::<u16>(), 0..PrefixNumber::LIMIT).prop_map(
        |(bytes, pepper, prefix)| {
            let (pepper, prefix) = (PepperNumber::new(pepper), PrefixNumber::new(prefix).unwrap());
            Digest::new(bytes, Scheme::Blake3Keyed64, pepper, prefix)
        },
    );
    let epochs = any::<(u32, u32)>().prop_map(|(owner, store)| IssueEpochs { owner, store });
    let token = (generations(), digest, times(), epochs).prop_map(
        |(generation, digest, issued_at, epochs)| TokenRecord {
            generation,
            digest,
            issued_at,
            epochs,
        },
    );
    let tokens = (token, times(), times());
    let tokens = tokens.prop_map(|(token, since, ends_at)| PreviousToken { token, since, ends_at });
    vec(tokens, 1..=1 + MAX_PREVIOUS_TOKENS).prop_map(|mut tokens| {
        tokens.sort_by_key(|previous| previous.token.generation);
        tokens.dedup_by_key(|previous| previous.token.generation);
        let current = tokens.pop().unwrap().token;
        (tokens, current)
    })
}

fn seals() -> impl Strategy<Value = Seal> {
    let ciphertext = prop_oneof![9 => vec(any::<u8>(), 0..200), 1 => Just(vec![7; 20_000])];
    (any::<u16>(), any::<[u8; 24]>(), ciphertext).prop_map(|(key_number, nonce, ciphertext)| Seal {
        key_number,
        nonce,
        ciphertext: ciphertext.into(),
    })
}

/// Any of the limits, or none, as most have.
fn limits() -> BoxedStrategy<Limits> {
    let networks = vec((any::<IpAddr>(), any::<u8>()), 1..=Networks::MAX).prop_map(|networks| {
        Networks::new(networks.into_iter().map(|(address, len)| network(address, len))).unwrap()
    });
    let most = u64::try_from(Rate::MAX_PER.as_millis()).unwrap();
    let rate =
        (1..=Rate::MAX_COUNT, 1..=most, 1..=Rate::MAX_COUNT).prop_map(|(count, per, burst)| {
            Rate::new(count, Duration::from_millis(per)).unwrap().with_burst(burst).unwrap()
        });
    let every = select(&[Period::Day, Period::Week, Period::Month][..]);
    let refill = (1..=Quota::MAX_USES, every)
        .prop_map(|(amount, every)| Refill::new(amount, every).unwrap());
    let quota = (0..=Quota::MAX_USES, of(refill), versions()).prop_map(|(uses, refill, since)| {
        let quota = Quota::one_time(uses).unwrap();
        VersionedQuota {
            quota: refill.map_or(quota, |refill| quota.with_refill(refill)),
            quota_version: since,
        }
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
