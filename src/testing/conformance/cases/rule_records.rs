//! Creations find nothing in their place, replacements and removals the version before theirs.

use crate::backend::{Precondition, Rejection, Scanned};
use crate::id::{NumericId, Version};
use crate::key::{KeyRecord, Limits, OwnerRecord, StoreMetadata, StoreRules, Tags};
use crate::testing::conformance::ask::Ask;
use crate::testing::conformance::case::list;
use crate::testing::conformance::failure::{Tested, ensure, ensure_eq};
use crate::testing::conformance::instance::Lab;
use crate::testing::sample;

list![
    rule_a_created_key_reads_back,
    rule_a_created_key_finds_nothing_in_its_place,
    rule_a_created_key_has_an_owner,
    rule_a_replaced_key_reads_back,
    rule_a_replaced_key_has_the_version_before,
    rule_a_replaced_key_exists,
    rule_a_replaced_key_may_have_another_owner,
    rule_a_removed_key_has_its_version,
    rule_a_removed_key_is_found_no_more,
    rule_a_created_owner_finds_nothing_in_its_place,
    rule_a_replaced_owner_reads_back,
    rule_a_replaced_owner_has_the_version_before,
    rule_replaced_records_change_their_limits,
    rule_a_replaced_metadata_reads_back,
    rule_a_replaced_metadata_has_the_version_before,
];

fn rule_a_created_key_reads_back(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    let key = KeyRecord {
        numeric_id: Some(NumericId::new(42)?),
        name: sample::name("deploy")?,
        previous: vec![sample::previous(1, 1)?],
        current: sample::token(1, 2)?,
        deactivated: Some(sample::switch(3)?),
        seal: Some(sample::seal()),
        ..sample::key(1, "acme")?
    };
    backend.apply(sample::create_key(&key)?)?;
    backend.expect_key(&key)?;
    backend.expect_by_numeric_id(&key)
}

fn rule_a_created_key_finds_nothing_in_its_place(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme", "beta"])?;
    let key = sample::key(1, "acme")?;
    backend.apply(sample::create_key(&key)?)?;
    // The rule holds for a key of any owner, and also within one change.
    let same_id = KeyRecord { name: sample::name("other")?, ..sample::key(1, "beta")? };
    backend.expect_refusal(
        sample::create_key(&same_id)?,
        &Rejection::KeyExists(key.id),
        "a second creation",
    )?;
    let twice = sample::create_key(&sample::key(2, "acme")?)?;
    backend.expect_refusal(
        sample::in_one([twice.clone(), twice]),
        &Rejection::KeyExists(sample::key_id(2)),
        "two creations in a change",
    )?;
    backend.expect_key(&key)?;
    backend.expect_no_key(sample::key_id(2))
}

fn rule_a_created_key_has_an_owner(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    let orphan = sample::key(1, "acme ")?;
    backend.expect_refusal(
        sample::create_key(&orphan)?,
        &Rejection::OwnerMissing,
        "a key of no owner",
    )?;
    backend.expect_no_key(orphan.id)
}

fn rule_a_replaced_key_reads_back(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    let full = KeyRecord {
        numeric_id: Some(NumericId::new(42)?),
        name: sample::name("deploy")?,
        previous: vec![sample::previous(1, 1)?],
        current: sample::token(1, 2)?,
        blocked: Some(sample::switch(3)?),
        seal: Some(sample::seal()),
        tags: Tags::new(["ci", "env=prod"])?,
        ..sample::key(1, "acme")?
    };
    backend.apply(sample::create_key(&full)?)?;
    // All that can go goes; then it comes back.
    let bare = KeyRecord {
        name: None,
        previous: Vec::new(),
        blocked: None,
        seal: None,
        tags: Tags::default(),
        ..sample::changed_key(&full)
    };
    backend.apply(sample::replace_key(&bare)?)?;
    backend.expect_key(&bare)?;
    let again = KeyRecord { version: bare.version.next(), ..full };
    backend.apply(sample::replace_key(&again)?)?;
    backend.expect_key(&again)
}

fn rule_a_replaced_key_has_the_version_before(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    let first = sample::key(1, "acme")?;
    let second = sample::changed_key(&first);
    backend.apply(sample::create_key(&first)?)?;
    backend.apply(sample::replace_key(&second)?)?;
    for (version, expected) in [(1, 0), (2, 1), (4, 3)] {
        let stale = KeyRecord { version: Version::new(version), ..second.clone() };
        let expected = Version::new(expected);
        let of = Precondition::Key(first.id, expected);
        let conflict = Rejection::Conflict { expected, found: Some(second.version), of };
        backend.expect_refusal(
            sample::replace_key(&stale)?,
            &conflict,
            format_args!("a replacement by version {version}"),
        )?;
    }
    backend.expect_key(&second)
}

fn rule_a_replaced_key_exists(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    let key = sample::key(1, "acme")?;
    let (expected, of) = (key.version, Precondition::Key(key.id, key.version));
    let conflict = Rejection::Conflict { expected, found: None, of };
    backend.expect_refusal(
        sample::replace_key(&sample::changed_key(&key))?,
        &conflict,
        "a replacement of nothing",
    )?;
    backend.expect_no_key(key.id)
}

/// It is among the keys of the new one then, and no more among those of the old.
fn rule_a_replaced_key_may_have_another_owner(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme", "beta"])?;
    let key = sample::key(1, "acme")?;
    let moved = KeyRecord { owner: sample::owner_id("beta")?, ..sample::changed_key(&key) };
    backend.apply_all(&[sample::create_key(&key)?, sample::replace_key(&moved)?])?;
    backend.expect_key(&moved)?;
    for (owner, expected) in [("acme", 0), ("beta", 1)] {
        let mut keys = 0;
        backend.scan_owner(&sample::owner_id(owner)?, &mut |scanned| {
            keys += u32::from(matches!(scanned, Scanned::Key(_)));
        })?;
        ensure_eq!(keys, expected, "keys scanned of {owner}");
    }
    backend.apply(sample::remove_owner(&sample::owner("acme")?)?)?;
    backend.expect_refusal(
        sample::remove_owner(&sample::owner("beta")?)?,
        &Rejection::OwnerHasKeys,
        "removing the new owner",
    )?;
    Ok(())
}

fn rule_a_removed_key_has_its_version(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    let key = sample::key(1, "acme")?;
    let other = sample::changed_key(&key);
    backend.apply(sample::create_key(&key)?)?;
    let (expected, of) = (other.version, Precondition::Key(key.id, other.version));
    let conflict = Rejection::Conflict { expected, found: Some(key.version), of: of.clone() };
    backend.expect_refusal(
        sample::remove_key(&other)?,
        &conflict,
        "a removal of another version",
    )?;
    backend.expect_key(&key)?;
    backend.apply(sample::remove_key(&key)?)?;
    backend.expect_refusal(
        sample::remove_key(&other)?,
        &Rejection::Conflict { expected, found: None, of },
        "a second removal",
    )?;
    Ok(())
}

/// Neither by its id, its numeric id, its owner nor its name.
fn rule_a_removed_key_is_found_no_more(lab: &Lab<'_>) -> Tested {
    let rules = StoreRules { unique_names: true, ..StoreRules::default() };
    let backend = lab.with_rules(rules)?;
    let key = KeyRecord {
        numeric_id: Some(NumericId::new(42)?),
        name: sample::name("deploy")?,
        seal: Some(sample::seal()),
        previous: vec![sample::previous(1, 1)?],
        ..sample::key(1, "acme")?
    };
    backend.apply(sample::in_one([
        sample::create_owner(&sample::owner("acme")?)?,
        sample::create_key(&key)?,
    ]))?;
    backend.apply(sample::remove_key(&key)?)?;
    backend.expect_no_key(key.id)?;
    let found = backend.key_by_numeric_id(NumericId::new(42)?)?;
    ensure!(found.is_none(), "it is found by its numeric id");
    ensure_eq!(backend.all_keys()?, [], "keys listed");
    let (_, keys, _) = backend.scanned()?;
    ensure!(keys.is_empty(), "it is scanned");
    backend.apply(sample::create_key(&KeyRecord {
        numeric_id: None,
        id: sample::key_id(2),
        ..key
    })?)?;
    ensure_eq!(backend.all_keys()?, [sample::key_id(2)], "keys listed then");
    Ok(())
}

fn rule_a_created_owner_finds_nothing_in_its_place(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    let again = OwnerRecord { max_keys: 1, ..sample::owner("acme")? };
    backend.expect_refusal(
        sample::create_owner(&again)?,
        &Rejection::OwnerExists,
        "a second creation",
    )?;
    let twice = sample::create_owner(&sample::owner("beta")?)?;
    backend.expect_refusal(
        sample::in_one([twice.clone(), twice]),
        &Rejection::OwnerExists,
        "two creations in a change",
    )?;
    backend.expect_owner(&sample::owner("acme")?)?;
    // Only the very same text is the same owner.
    backend.apply(sample::create_owner(&sample::owner("ACME")?)?)?;
    Ok(())
}

fn rule_a_replaced_owner_reads_back(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    let bare = sample::owner("acme")?;
    let (version, incarnation) = (bare.version.next(), bare.incarnation);
    let full = OwnerRecord { version, incarnation, ..sample::largest_owner("acme")? };
    backend.apply(sample::replace_owner(&full)?)?;
    backend.expect_owner(&full)?;
    let again = OwnerRecord { version: full.version.next(), ..bare };
    backend.apply(sample::replace_owner(&again)?)?;
    backend.expect_owner(&again)
}

/// They are set, others in their place, and lifted, of keys and of owners.
fn rule_replaced_records_change_their_limits(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    let (mut key, mut owner) = (sample::key(1, "acme")?, sample::owner("acme")?);
    backend.apply(sample::create_key(&key)?)?;
    let (all, none) = (sample::limits()?, Limits::default());
    let clear_rate = Limits { rate: None, ..all.clone() };
    for limits in [all.clone(), clear_rate, sample::largest_limits()?, none.clone(), all, none] {
        key = KeyRecord { limits: limits.clone(), ..sample::changed_key(&key) };
        owner = OwnerRecord { limits, ..sample::changed_owner(&owner) };
        backend.apply_all(&[sample::replace_key(&key)?, sample::replace_owner(&owner)?])?;
        backend.expect_key(&key)?;
        backend.expect_owner(&owner)?;
    }
    Ok(())
}

fn rule_a_replaced_owner_has_the_version_before(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    let first = sample::owner("acme")?;
    let second = sample::changed_owner(&first);
    backend.apply(sample::replace_owner(&second)?)?;
    let conflict = |expected, found, id| {
        let of = Precondition::Owner(id, expected);
        Rejection::Conflict { expected, found, of }
    };
    let expected = conflict(first.version, Some(second.version), first.id);
    backend.expect_refusal(
        sample::replace_owner(&second)?,
        &expected,
        "a replacement by the version that is there",
    )?;
    let missing = sample::changed_owner(&sample::owner("beta")?);
    backend.expect_refusal(
        sample::replace_owner(&missing)?,
        &conflict(first.version, None, missing.id),
        "a replacement of nothing",
    )?;
    backend.expect_no_owner(&missing.id)?;
    backend.expect_owner(&second)
}

fn rule_a_replaced_metadata_reads_back(lab: &Lab<'_>) -> Tested {
    let backend = lab.fresh()?;
    let first = backend.stored_metadata()?;
    let full = StoreMetadata { version: first.version.next(), ..sample::largest_metadata()? };
    backend.apply(sample::replace_metadata(&full)?)?;
    ensure_eq!(backend.stored_metadata()?, full, "the metadata");
    let again = StoreMetadata { version: full.version.next(), ..first };
    backend.apply(sample::replace_metadata(&again)?)?;
    ensure_eq!(backend.stored_metadata()?, again, "the metadata after it");
    Ok(())
}

fn rule_a_replaced_metadata_has_the_version_before(lab: &Lab<'_>) -> Tested {
    let backend = lab.fresh()?;
    let first = backend.stored_metadata()?;
    let second = sample::changed_metadata(&first);
    backend.apply(sample::replace_metadata(&second)?)?;
    let (expected, of) = (first.version, Precondition::StoreMetadata(first.version));
    let conflict = Rejection::Conflict { expected, found: Some(second.version), of };
    backend.expect_refusal(
        sample::replace_metadata(&second)?,
        &conflict,
        "a replacement by the version that is there",
    )?;
    ensure_eq!(backend.stored_metadata()?, second, "the metadata");
    Ok(())
}
