//! Every record within the limits of its types is stored and read back the same.

use std::time::Duration;

use serde_json::json;

use crate::clock::Timestamp;
use crate::id::{KeyId, NumericId, OwnerId, Version};
use crate::invalid::Invalid;
use crate::key::{
    KeyName, KeyRecord, Limit, Limits, OwnerRecord, Period, Quota, Rate, Refill, SetBy, Settings,
    StoreRules, TokensValidFrom, VersionedQuota,
};
use crate::permission::Access;
use crate::testing::conformance::Failure;
use crate::testing::conformance::ask::Ask;
use crate::testing::conformance::case::list;
use crate::testing::conformance::failure::{Tested, ensure_eq};
use crate::testing::conformance::instance::Lab;
use crate::testing::sample;

list![
    size_the_largest_key_reads_back,
    size_the_largest_owner_reads_back,
    size_the_largest_metadata_reads_back,
    size_the_smallest_records_read_back,
    size_the_ends_of_numbers_read_back,
    size_every_limit_reads_back,
    size_odd_texts_read_back,
    size_odd_settings_read_back,
    size_a_change_may_hold_many_records,
    size_a_batch_may_hold_many_changes,
];

const LONGEST: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// Created so, and replaced by a live one of that size.
fn size_the_largest_key_reads_back(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_rules(StoreRules {
        unique_names: true,
        recoverable_tokens: true,
        ..StoreRules::default()
    })?;
    backend.apply(sample::create_owner(&sample::owner(LONGEST)?)?)?;
    let key = sample::largest_key(1, LONGEST)?;
    backend.apply(sample::create_key(&key)?)?;
    backend.expect_key(&key)?;
    backend.expect_by_numeric_id(&key)?;
    let small = sample::key(2, LONGEST)?;
    backend.apply(sample::create_key(&small)?)?;
    let live = KeyRecord {
        version: small.version.next(),
        numeric_id: None,
        revoked: None,
        ..sample::largest_key(2, LONGEST)?
    };
    backend.apply(sample::replace_key(&live)?)?;
    backend.expect_key(&live)
}

fn size_the_largest_owner_reads_back(lab: &Lab<'_>) -> Tested {
    let backend = lab.fresh()?;
    let owner = sample::largest_owner(LONGEST)?;
    backend.apply(sample::create_owner(&owner)?)?;
    backend.expect_owner(&owner)
}

fn size_the_largest_metadata_reads_back(lab: &Lab<'_>) -> Tested {
    let metadata = sample::largest_metadata()?;
    let backend = lab.with_metadata(&metadata)?;
    ensure_eq!(backend.stored_metadata()?, metadata, "the metadata");
    Ok(())
}

fn size_the_smallest_records_read_back(lab: &Lab<'_>) -> Tested {
    let backend = lab.fresh()?;
    let owner = OwnerRecord { max_keys: 1, ..sample::owner("o")? };
    let key = KeyRecord {
        name: sample::name("n")?,
        access: Access::limited(["p"])?,
        ..sample::key(1, "o")?
    };
    backend.apply(sample::in_one([sample::create_owner(&owner)?, sample::create_key(&key)?]))?;
    backend.expect_owner(&owner)?;
    backend.expect_key(&key)
}

fn size_the_ends_of_numbers_read_back(lab: &Lab<'_>) -> Tested {
    let backend = lab.fresh()?;
    let none = OwnerRecord {
        max_keys: 0,
        tokens_valid_from: Some(TokensValidFrom::of(Timestamp::MIN)),
        created_at: Timestamp::MIN,
        updated_at: Timestamp::MIN,
        ..sample::owner("none")?
    };
    let many = OwnerRecord { max_keys: u32::MAX, ..sample::owner("many")? };
    backend.apply_all(&[sample::create_owner(&none)?, sample::create_owner(&many)?])?;
    backend.expect_owner(&none)?;
    backend.expect_owner(&many)?;
    // Any 128 bits are an id, and order as numbers do: neither sign nor byte order shows.
    let ids = [0, 1, 1 << 63, 1 << 64, u128::MAX >> 1, 1 << 127, u128::MAX - 1, u128::MAX];
    for (id, numeric_id) in ids.into_iter().zip([1, 127, 128, 255, 256, 65_536, 1 << 62]) {
        let key = KeyRecord {
            id: KeyId::from_u128(id),
            numeric_id: Some(NumericId::new(numeric_id)?),
            expires_at: Some(Timestamp::MIN),
            created_at: Timestamp::MIN,
            updated_at: Timestamp::MIN,
            ..sample::key(1, "many")?
        };
        backend.apply(sample::create_key(&key)?)?;
        backend.expect_key(&key)?;
        backend.expect_by_numeric_id(&key)?;
    }
    let expected: Vec<KeyId> = ids[..7].iter().rev().map(|id| KeyId::from_u128(*id)).collect();
    ensure_eq!(backend.all_keys()?, expected, "keys listed");
    Ok(())
}

/// Limits of keys and of owners: each alone, at both ends, of either setter, and all together.
fn size_every_limit_reads_back(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    for (limits, n) in different_limits()?.into_iter().zip(0..) {
        let key = KeyRecord { limits: limits.clone(), ..sample::key(n, "acme")? };
        let owner = OwnerRecord { limits, ..sample::owner(&format!("owner {n}"))? };
        backend.apply_all(&[sample::create_key(&key)?, sample::create_owner(&owner)?])?;
        backend.expect_key(&key)?;
        backend.expect_owner(&owner)?;
    }
    Ok(())
}

fn different_limits() -> Result<Vec<Limits>, Failure> {
    fn of<T>(value: T, by: SetBy) -> Option<Limit<T>> {
        Some(Limit { value, by })
    }
    let mut all = vec![sample::limits()?, sample::largest_limits()?];
    for by in [SetBy::Administrator, SetBy::Owner] {
        for at in [Timestamp::MIN, Timestamp::MAX] {
            all.push(Limits { not_before: of(at, by), ..Limits::default() });
        }
        for networks in ["0.0.0.0/0", "::/0", "255.255.255.255 ::1", "10.0.0.0/9 10.128.0.0/9"] {
            all.push(Limits { networks: of(networks.parse()?, by), ..Limits::default() });
        }
        let (least, greatest) = (Duration::from_millis(1), Rate::MAX_PER);
        for rate in [
            Rate::new(1, least)?.with_burst(Rate::MAX_COUNT)?,
            Rate::new(Rate::MAX_COUNT, greatest)?.with_burst(1)?,
        ] {
            all.push(Limits { rate: of(rate, by), ..Limits::default() });
        }
        for (uses, refill) in [
            (0, None),
            (Quota::MAX_USES, None),
            (0, Some((Quota::MAX_USES, Period::Day))),
            (Quota::MAX_USES, Some((1, Period::Week))),
            (1, Some((1, Period::Month))),
        ] {
            let quota = Quota::one_time(uses)?;
            let quota = match refill {
                Some((amount, every)) => quota.with_refill(Refill::new(amount, every)?),
                None => quota,
            };
            for since in [Version::FIRST, Version::new(1 << 63)] {
                let run = VersionedQuota { quota, quota_version: since };
                all.push(Limits { quota: of(run, by), ..Limits::default() });
            }
        }
    }
    Ok(all)
}

/// Quotes, wildcards, spaces, other scripts and texts that some engines interpret.
/// The text as a name. White space alone is none, so it stands inside of one.
fn odd_name(text: &str) -> Result<Option<KeyName>, Invalid> {
    KeyName::new(text).or_else(|_| KeyName::new(format!("a{text}a"))).map(Some)
}

fn size_odd_texts_read_back(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_rules(StoreRules { unique_names: true, ..StoreRules::default() })?;
    let texts = [
        "'",
        "\"",
        "''; --",
        "%",
        "_",
        "\\",
        "/",
        "../..",
        "a:b",
        "a=b&c",
        "<b>",
        " ",
        "  ",
        "a ",
        "0",
        "1e3",
        "007",
        "NULL",
        "null",
        "true",
        "é",
        "e\u{301}",
        "日本",
        "😀",
        "\u{fffd}x",
        "\u{2764}\u{fe0f}",
        "\u{10ffff}",
    ];
    for (text, n) in texts.into_iter().zip(0..) {
        let owner = sample::owner(text)?;
        let key = KeyRecord { name: odd_name(text)?, ..sample::key(n, text)? };
        let change = [sample::create_owner(&owner)?, sample::create_key(&key)?];
        backend.apply(sample::in_one(change))?;
    }
    for (text, n) in texts.into_iter().zip(0..) {
        let key = KeyRecord { name: odd_name(text)?, ..sample::key(n, text)? };
        backend.expect_key(&key)?;
        backend.expect_owner(&sample::owner(text)?)?;
    }
    let (owners, _, _) = backend.scanned()?;
    let mut shown: Vec<OwnerId> = owners.iter().map(|owner| owner.id).collect();
    shown.sort_unstable();
    shown.dedup();
    ensure_eq!(shown.len(), texts.len(), "different owners");
    Ok(())
}

/// Numbers keep their last bit, texts their escapes, and empty things stay what they are.
fn size_odd_settings_read_back(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    let settings = |value| -> Result<Settings, Failure> { Ok(Settings::from_value(value)?) };
    let deep = (1..Settings::MAX_DEPTH).fold(json!({}), |inner, _| json!({ "a": inner }));
    let odd = [
        json!({}),
        json!({ "": "", "null": null, "empty": {}, "none": [], "nested": [[], [{}]] }),
        json!({ "u": u64::MAX, "i": i64::MIN, "minus": -1, "true": true, "false": false }),
        json!({ "f": [0.1, -0.0, 1.5e300, f64::MIN_POSITIVE, f64::MAX, 5e-324, 1.0, 51.248_178_375_505_404] }),
        json!({ "text": "\u{0}\n\t\"\\/\u{7f}\u{2028}é😀", "a\u{0}b": 1, "k\"": 2 }),
        deep,
    ];
    for (value, n) in odd.into_iter().zip(0..) {
        let settings = settings(value)?;
        let key = KeyRecord { settings: settings.clone(), ..sample::key(n, "acme")? };
        let owner = OwnerRecord { defaults: settings, ..sample::owner(&format!("owner {n}"))? };
        backend.apply_all(&[sample::create_key(&key)?, sample::create_owner(&owner)?])?;
        backend.expect_key(&key)?;
        backend.expect_owner(&owner)?;
    }
    Ok(())
}

/// As many keys as an owner may have by default: all of them are revoked, and then removed
/// with it, in one change each.
fn size_a_change_may_hold_many_records(lab: &Lab<'_>) -> Tested {
    const KEYS: u32 = crate::key::DEFAULT_MAX_KEYS;
    let backend = lab.fresh()?;
    let acme = sample::owner("acme")?;
    let keys: Vec<KeyRecord> =
        (0..KEYS).map(|n| sample::key(n, "acme")).collect::<Result<_, _>>()?;
    let revoked: Vec<KeyRecord> = keys.iter().map(sample::revoked).collect::<Result<_, _>>()?;
    let (mut create, mut revoke, mut remove) = (Vec::new(), Vec::new(), Vec::new());
    create.push(sample::create_owner(&acme)?);
    for (key, gone) in keys.iter().zip(&revoked) {
        create.push(sample::create_key(key)?);
        revoke.push(sample::replace_key(gone)?);
        remove.push(sample::remove_key(gone)?);
    }
    remove.push(sample::remove_owner(&acme)?);
    for (change, listed) in [(create, KEYS), (revoke, KEYS), (remove, 0)] {
        backend.apply(sample::in_one(change))?;
        ensure_eq!(backend.all_keys()?.len(), listed as usize, "keys listed");
    }
    ensure_eq!(backend.last_event()?, u64::from(3 * KEYS + 3), "last event");
    Ok(())
}

fn size_a_batch_may_hold_many_changes(lab: &Lab<'_>) -> Tested {
    const CHANGES: u32 = 500;
    let backend = lab.with_owners(&["acme"])?;
    let wish = |n| sample::assign_numeric_id(&sample::key(n, "acme")?);
    let batch: Vec<_> = (0..CHANGES).map(wish).collect::<Result<_, _>>()?;
    let applied = backend.apply_all(&batch)?;
    let last = applied.last().map(|change| (change.last_event, change.numeric_ids.clone()));
    let expected = (u64::from(CHANGES) + 2, vec![NumericId::new(CHANGES.into())?]);
    ensure_eq!(last, Some(expected), "the last change of the batch");
    ensure_eq!(backend.all_keys()?.len(), CHANGES as usize, "keys listed");
    Ok(())
}
