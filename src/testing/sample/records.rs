//! Small valid records.

use std::time::Duration;

use crate::authority::{Actor, Authority, Role};
use crate::clock::Timestamp;
use crate::id::{Generation, Incarnation, KeyId, OwnerId, Version};
use crate::invalid::Invalid;
use crate::key::{
    DEFAULT_MAX_KEYS, Digest, IssueEpochs, KeyName, KeyRecord, Lifetime, Limit, Limits,
    OwnerRecord, PepperCheck, PepperNumber, Period, Prefix, PrefixNumber, PrefixTable,
    PreviousToken, Quota, Rate, Scheme, Seal, SetBy, SettingNames, Settings, StoreMetadata,
    StoreRules, Switch, TokenRecord, VersionedQuota,
};
use crate::permission::Access;

/// 2030-01-01T00:00:00Z, in seconds since the Unix epoch.
const START: u64 = 1_893_456_000;

/// The moment so many seconds after the beginning of 2030.
#[must_use]
pub fn at(seconds: u64) -> Timestamp {
    Timestamp::MIN.saturating_add(Duration::from_secs(START + seconds))
}

/// The `n`-th key id; later ones are greater.
#[must_use]
pub fn key_id(n: u32) -> KeyId {
    let millis = u128::from(at(0).as_millis());
    KeyId::from_u128(millis << 80 | 0x7 << 76 | 0b10 << 62 | u128::from(n))
}

/// An owner's id.
///
/// # Errors
/// [`Invalid`] for a text that is none.
pub fn owner_id(id: &str) -> Result<OwnerId, Invalid> {
    OwnerId::new(id)
}

/// A key's name.
///
/// # Errors
/// [`Invalid`] for a text that is none.
pub fn name(name: &str) -> Result<Option<KeyName>, Invalid> {
    KeyName::new(name).map(Some)
}

/// An administrator.
///
/// # Errors
/// None: the fixed texts are valid.
pub fn administrator() -> Result<Authority, Invalid> {
    Ok(Authority::new(Role::Administrator, Actor::new("root")?))
}

/// A switch that was set `seconds` into 2030.
///
/// # Errors
/// None: the fixed texts are valid.
pub fn switch(seconds: u64) -> Result<Switch, Invalid> {
    Ok(Switch::new(at(seconds), &administrator()?))
}

/// The digest of the given generation of key `n`, under the public pepper and prefix 0.
///
/// # Errors
/// None: the fixed numbers are valid.
pub fn digest(n: u32, generation: u32) -> Result<Digest, Invalid> {
    let [a, b, c, d] = n.to_be_bytes();
    let [e, f, g, h] = generation.to_be_bytes();
    let mut bytes = [0xd1; 32];
    bytes[..8].copy_from_slice(&[a, b, c, d, e, f, g, h]);
    Ok(Digest::new(bytes, Scheme::Blake3Keyed64, PepperNumber::PUBLIC, PrefixNumber::new(0)?))
}

/// The token of the given generation of key `n`.
///
/// # Errors
/// [`Invalid`] for a generation that is none.
pub fn token(n: u32, generation: u32) -> Result<TokenRecord, Invalid> {
    Ok(TokenRecord {
        generation: Generation::new(generation)?,
        digest: digest(n, generation)?,
        issued_at: at(generation.into()),
        epochs: IssueEpochs { owner: 1, store: generation },
    })
}

/// The same as a previous token, in its grace for an hour.
///
/// # Errors
/// [`Invalid`] for a generation that is none.
pub fn previous(n: u32, generation: u32) -> Result<PreviousToken, Invalid> {
    let since = at(u64::from(generation));
    let ends_at = at(3_600 + u64::from(generation));
    Ok(PreviousToken { token: token(n, generation)?, since, ends_at })
}

/// A seal of no token at all.
#[must_use]
pub fn seal() -> Seal {
    Seal { key_number: 1, nonce: [0x5e; 24], ciphertext: vec![0xa1; 96].into() }
}

/// Each limit, set by an administrator or by an owner.
///
/// # Errors
/// None: the fixed values are valid.
pub fn limits() -> Result<Limits, Invalid> {
    let quota = Quota::each(1_000, Period::Month)?;
    let (root, own) = (SetBy::Administrator, SetBy::Owner);
    Ok(Limits {
        not_before: Some(Limit { value: at(5), by: own }),
        networks: Some(Limit { value: "192.0.2.0/24 2001:db8::/32".parse()?, by: root }),
        rate: Some(Limit {
            value: Rate::new(10, Duration::from_secs(1))?.with_burst(20)?,
            by: own,
        }),
        quota: Some(Limit {
            value: VersionedQuota { quota, quota_version: Version::FIRST },
            by: root,
        }),
    })
}

/// A store's own record: no rules, two prefixes accepted, the public pepper.
///
/// # Errors
/// None: the fixed texts are valid.
pub fn metadata() -> Result<StoreMetadata, Invalid> {
    let prefixes = [Prefix::new("acme")?, Prefix::new("acme_test")?];
    Ok(StoreMetadata {
        version: Version::FIRST,
        rules: StoreRules::default(),
        prefixes: PrefixTable::default().accepting(&prefixes)?,
        peppers: vec![PepperCheck {
            number: PepperNumber::PUBLIC,
            value: [0xc4; 16],
            retired: false,
        }],
        recovery_keys: Vec::new(),
        tokens_valid_from: None,
    })
}

/// An owner with what it must have.
///
/// # Errors
/// [`Invalid`] for a text that is no owner's id.
pub fn owner(id: &str) -> Result<OwnerRecord, Invalid> {
    Ok(OwnerRecord {
        sweeps: None,
        tags: crate::key::Tags::default(),
        id: owner_id(id)?,
        version: Version::FIRST,
        fixed_defaults: SettingNames::default(),
        incarnation: Incarnation::FIRST,
        defaults: Settings::default(),
        suspended: None,
        max_access: Access::Full,
        limits: Limits::default(),
        max_keys: DEFAULT_MAX_KEYS,
        lifetime: Lifetime::default(),
        tokens_valid_from: None,
        created_at: at(0),
        created_by: Actor::new("root")?,
        updated_at: at(0),
    })
}

/// The `n`-th key, with what it must have, of the given owner.
///
/// # Errors
/// [`Invalid`] for a text that is no owner's id.
pub fn key(n: u32, owner: &str) -> Result<KeyRecord, Invalid> {
    let created_by = Actor::new("root")?;
    Ok(KeyRecord::new(key_id(n), owner_id(owner)?, token(n, 1)?, at(0), created_by))
}

/// The key one version later, otherwise the same.
#[must_use]
pub fn changed_key(key: &KeyRecord) -> KeyRecord {
    let version = key.version.next();
    KeyRecord { version, updated_at: at(version.get()), ..key.clone() }
}

/// The key one version later, revoked.
///
/// # Errors
/// None: the fixed texts are valid.
pub fn revoked(key: &KeyRecord) -> Result<KeyRecord, Invalid> {
    Ok(KeyRecord { revoked: Some(switch(key.version.get())?), seal: None, ..changed_key(key) })
}

/// The owner one version later, otherwise the same.
#[must_use]
pub fn changed_owner(owner: &OwnerRecord) -> OwnerRecord {
    let version = owner.version.next();
    OwnerRecord { version, updated_at: at(version.get()), ..owner.clone() }
}

/// The store's own record one version later, otherwise the same.
#[must_use]
pub fn changed_metadata(metadata: &StoreMetadata) -> StoreMetadata {
    StoreMetadata { version: metadata.version.next(), ..metadata.clone() }
}
