//! Records at the limits of their types.

use serde_json::{Map, Value};

use super::{at, key, metadata, owner};
use crate::authority::{Actor, Authority, CorrelationId, Reason, Role};
use crate::clock::Timestamp;
use crate::id::{Generation, Incarnation, NumericId, Version};
use crate::invalid::Invalid;
use crate::key::{
    Digest, IssueEpochs, KeyName, KeyRecord, Lifetime, Limit, Limits, MAX_PREVIOUS_TOKENS, Network,
    Networks, OwnerRecord, PepperCheck, PepperNumber, Period, Prefix, PrefixNumber, PrefixTable,
    PreviousToken, Quota, Rate, RecoveryKeyCheck, Refill, Scheme, Seal, SetBy, SettingNames,
    Settings, StoreMetadata, StoreRules, Switch, Tag, Tags, TokenRecord, TokensValidFrom,
    VersionedQuota,
};
use crate::permission::{Access, PermissionName};

/// The number of pepper checks in the largest metadata, and of those of recovery keys: one a month,
/// for eighty years.
const PEPPERS: u16 = 1_000;

/// A text of so many bytes, among them some that need care in one notation or another.
fn text(len: usize) -> String {
    "é'\"%_\\😀 "
        .chars()
        .chain(std::iter::repeat('x'))
        .scan(0, |bytes, c| {
            *bytes += c.len_utf8();
            (*bytes <= len).then_some(c)
        })
        .collect()
}

/// 256 patterns of 64 bytes.
fn access() -> Result<Access, Invalid> {
    let widest = |n: usize| format!("{n:03}:{}", "p".repeat(PermissionName::MAX_LEN - 4));
    Access::limited((0..Access::MAX_PATTERNS).map(widest))
}

/// 16 KiB of JSON with 256 names.
fn settings() -> Result<Settings, Invalid> {
    let mut object: Map<String, Value> =
        (1..Settings::MAX_NAMES).map(|n| (format!("n{n:03}"), Value::from(n))).collect();
    object.insert("fill".into(), Value::from(""));
    let used = Settings::new(object.clone())?.to_json().len();
    object.insert("fill".into(), Value::from("f".repeat(Settings::MAX_BYTES - used)));
    Settings::new(object)
}

/// The most tags, each of the greatest length.
fn tags() -> Result<Tags, Invalid> {
    Tags::new((0..Tags::MAX).map(|n| format!("{n:0>width$}", width = Tag::MAX_LEN)))
}

/// All names of settings.
fn names(settings: &Settings) -> SettingNames {
    SettingNames::new(settings.as_object().keys().cloned())
}

fn longest() -> Result<Lifetime, Invalid> {
    Lifetime::new(Some(Lifetime::LONGEST), Some(Lifetime::LONGEST))
}

fn actor() -> Result<Actor, Invalid> {
    Actor::new(text(Actor::MAX_LEN))
}

fn switch() -> Result<Option<Switch>, Invalid> {
    let reason = Some(Reason::new(text(Reason::MAX_LEN))?);
    let (set_by, reason_for_owner) = (SetBy::Administrator, true);
    Ok(Some(Switch { at: Timestamp::MAX, by: actor()?, reason, set_by, reason_for_owner }))
}

/// Each limit, with the greatest numbers, and 64 networks of the longest text.
///
/// # Errors
/// None: the fixed values are valid.
pub fn largest_limits() -> Result<Limits, Invalid> {
    fn by_owner<T>(value: T) -> Option<Limit<T>> {
        Some(Limit { value, by: SetBy::Owner })
    }
    let networks = (0..Networks::MAX as u128).map(|n| {
        let address = std::net::Ipv6Addr::from_bits(u128::MAX - n);
        Network::new(address.into(), 128)
    });
    let refill = Refill::new(Quota::MAX_USES, Period::Month)?;
    let quota = Quota::one_time(Quota::MAX_USES)?.with_refill(refill);
    Ok(Limits {
        not_before: by_owner(Timestamp::MAX),
        networks: by_owner(Networks::new(networks.collect::<Result<Vec<_>, _>>()?)?),
        rate: by_owner(Rate::new(Rate::MAX_COUNT, Rate::MAX_PER)?),
        quota: by_owner(VersionedQuota { quota, quota_version: Version::new(u64::MAX - 1) }),
    })
}

/// The token `before` generations before the last.
fn token(before: u32) -> Result<TokenRecord, Invalid> {
    let last = PrefixNumber::new(PrefixNumber::LIMIT - 1)?;
    let bytes = [u8::try_from(before).unwrap_or(u8::MAX) ^ 0xff; 32];
    Ok(TokenRecord {
        generation: Generation::new(Generation::MAX.get() - before)?,
        digest: Digest::new(bytes, Scheme::Blake3Keyed64, PepperNumber::new(u16::MAX), last),
        issued_at: Timestamp::MAX,
        epochs: IssueEpochs { owner: u32::MAX, store: u32::MAX },
    })
}

/// An owner by a key, with the longest actor, reason and correlation id.
///
/// # Errors
/// [`Invalid`] for a text that is no owner's id.
pub fn largest_authority(owner: &str) -> Result<Authority, Invalid> {
    let owner = super::owner_id(owner)?;
    let (key, generation) = (super::key_id(u32::MAX), Generation::MAX);
    Ok(Authority {
        role: Role::OwnerByKey { owner, key, generation, previous_tokens: true },
        actor: actor()?,
        reason: Some(Reason::new(text(Reason::MAX_LEN))?),
        reason_for_owner: true,
        correlation_id: Some(CorrelationId::new(text(CorrelationId::MAX_LEN))?),
    })
}

/// The `n`-th key with everything it can have, each as large as it gets.
///
/// # Errors
/// [`Invalid`] for a text that is no owner's id.
pub fn largest_key(n: u32, owner: &str) -> Result<KeyRecord, Invalid> {
    let mut previous = Vec::new();
    for (before, _) in (1..).zip(0..MAX_PREVIOUS_TOKENS) {
        // Oldest first.
        previous.insert(
            0,
            PreviousToken { token: token(before)?, since: Timestamp::MAX, ends_at: Timestamp::MAX },
        );
    }
    Ok(KeyRecord {
        numeric_id: Some(NumericId::new(NumericId::MAX)?),
        name: Some(KeyName::new(text(KeyName::MAX_LEN))?),
        access: access()?,
        access_by: SetBy::Administrator,
        expires_at: Some(Timestamp::MAX),
        expiry_by: SetBy::Administrator,
        lapsed_at: Some(Timestamp::MAX),
        protected_settings: names(&settings()?),
        settings: settings()?,
        created_at: Timestamp::MAX,
        created_by: actor()?,
        // The other value than that of a small key, which has no larger one.
        created_as: SetBy::Owner,
        created_by_key: Some(super::key_id(u32::MAX)),
        updated_at: Timestamp::MAX,
        current: token(0)?,
        previous,
        deactivated: switch()?,
        blocked: switch()?,
        revoked: switch()?,
        limits: largest_limits()?,
        // A token has 103 bytes at most, its tag 16.
        seal: Some(Seal {
            key_number: u16::MAX,
            nonce: [0xff; 24],
            ciphertext: (0..119).collect::<Vec<u8>>().into(),
        }),
        tags: tags()?,
        ..key(n, owner)?
    })
}

/// An owner with everything it can have, each as large as it gets.
///
/// # Errors
/// [`Invalid`] for a text that is no owner's id.
pub fn largest_owner(id: &str) -> Result<OwnerRecord, Invalid> {
    Ok(OwnerRecord {
        fixed_defaults: names(&settings()?),
        incarnation: Incarnation::MAX,
        defaults: settings()?,
        suspended: switch()?,
        max_access: access()?,
        limits: largest_limits()?,
        max_keys: u32::MAX,
        lifetime: longest()?,
        tags: tags()?,
        tokens_valid_from: Some(TokensValidFrom {
            moment: Timestamp::MAX,
            epoch: u32::MAX,
            ended_at: Timestamp::MAX,
            swept: u32::MAX,
            invalidated: u32::MAX,
        }),
        created_at: Timestamp::MAX,
        created_by: actor()?,
        updated_at: Timestamp::MAX,
        ..owner(id)?
    })
}

/// A store's own record with all 64 prefixes, 8 of them accepted, a thousand peppers and recovery
/// keys, all rules.
///
/// # Errors
/// None: the fixed texts are valid.
pub fn largest_metadata() -> Result<StoreMetadata, Invalid> {
    let mut prefixes = PrefixTable::default();
    let all: Vec<Prefix> = (0..PrefixNumber::LIMIT)
        .map(|n| Prefix::new(format!("{n:02}{}", "_".repeat(Prefix::MAX_LEN - 2))))
        .collect::<Result<_, _>>()?;
    for some in all.chunks(PrefixTable::MAX_ACCEPTED) {
        prefixes = prefixes.accepting(some)?;
    }
    let value = |number: u16| {
        let [high, low] = number.to_be_bytes();
        let mut value = [0xcc; 16];
        (value[0], value[15]) = (high, low);
        value
    };
    let pepper = |number: u16| {
        let retired = number > 0 && number.is_multiple_of(2);
        PepperCheck { number: PepperNumber::new(number), value: value(number), retired }
    };
    let recovery_key = |number: u16| RecoveryKeyCheck { number, value: value(number) };
    Ok(StoreMetadata {
        rules: StoreRules {
            unique_names: true,
            keep_standard_key: true,
            recoverable_tokens: true,
            lifetime: longest()?,
        },
        prefixes,
        peppers: (0..PEPPERS - 1).chain([u16::MAX]).map(pepper).collect(),
        recovery_keys: (1..PEPPERS).chain([u16::MAX]).map(recovery_key).collect(),
        tokens_valid_from: Some(TokensValidFrom::of(at(0))),
        ..metadata()?
    })
}
