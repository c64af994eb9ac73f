//! Quarantine entries, which lie over keys; checks and repairs.

use crate::backend::{
    Backend, BackendErrorKind, Change, DamagedRow, KeyFilter, KeyPageQuery, PepperUse, Rejection,
    Repaired, Scanned, StateSet, UsageChange, UsageSubject, Write,
};
use crate::event::EventKind;
use crate::id::Version;
use crate::key::{
    Alert, LeaseRequest, OwnerRecord, PepperCheck, PepperNumber, Quarantine, StoreMetadata, Used,
};
use crate::testing::conformance::Failure;
use crate::testing::conformance::ask::Ask;
use crate::testing::conformance::case::list;
use crate::testing::conformance::failure::{Tested, ensure, ensure_eq};
use crate::testing::conformance::instance::{Instance, Lab};
use crate::testing::sample;

list![
    damage_a_key_under_quarantine_reads_as_damaged,
    damage_an_entry_replaces_the_one_before_it,
    damage_a_purge_removes_key_and_entry,
    damage_beside_a_change_of_the_metadata_is_passed_over,
    damage_an_entry_is_found_after_opening,
    damage_whole_records_have_no_faults,
    damage_a_repair_of_whole_records_changes_nothing,
];

/// The entry of the first key, blocked and in its last version revoked.
fn entry(version: u64) -> Result<Quarantine, Failure> {
    let revoked = if version > 1 { Some(sample::switch(2)?) } else { None };
    Ok(Quarantine {
        id: sample::key_id(1),
        owner: Some(sample::owner_id("acme")?),
        version: Version::new(version),
        blocked: Some(sample::switch(1)?),
        revoked,
    })
}

fn put(version: u64) -> Result<Change, Failure> {
    let mut event = sample::event(EventKind::KeyBlocked)?;
    event.key = Some(sample::key_id(1));
    event.owner = Some(sample::owner_id("acme")?);
    Ok(Change::of(Write::Quarantine(Box::new(entry(version)?)), event))
}

/// Checks that the first key is shown as damaged, under this entry, wherever keys are shown.
fn expect(backend: &dyn Backend, version: u64) -> Tested {
    let (id, expected) = (sample::key_id(1), entry(version)?);
    ensure_eq!(backend.quarantine(id)?, Some(expected.clone()), "the entry");
    match backend.key(id) {
        Ok(_) => return Err(Failure::new("a key under quarantine was loaded")),
        Err(error) => {
            ensure_eq!(error.kind(), BackendErrorKind::Corrupt, "kind of the error");
            ensure!(error.damage().is_some(), "the error names no damage");
        }
    }
    let mut rows = Vec::new();
    let mut note = |scanned| {
        if let Scanned::Damaged(row) = scanned {
            rows.push(row);
        }
    };
    backend.scan(&mut note)?;
    backend.scan_owner(&sample::owner_id("acme")?, &mut note)?;
    ensure_eq!(rows.len(), 2, "rows that scans show as damaged");
    ensure!(rows.iter().all(|row| !row.digests.is_empty()), "a scan shows no digest");
    let filter = KeyFilter::new(StateSet::ALL, sample::at(0));
    let query = KeyPageQuery { filter, before: None, after: None, limit: 9, examine: 9 };
    let page = backend.page_keys(&query)?;
    ensure_eq!(page.keys.len(), 1, "whole keys on a page");
    rows.extend(page.damaged);
    ensure_eq!(rows.len(), 3, "damaged rows");
    for DamagedRow { damage, quarantine, .. } in rows {
        ensure_eq!(quarantine.as_deref(), Some(&expected), "the entry of {damage}");
    }
    Ok(())
}

fn damage_a_key_under_quarantine_reads_as_damaged(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    let key = sample::key(1, "acme")?;
    backend.apply(sample::create_key(&key)?)?;
    backend.apply(sample::create_key(&sample::key(2, "acme")?)?)?;
    let before = backend.last_event()?;
    backend.apply(put(1)?)?;
    ensure_eq!(backend.last_event()?, before + 1, "the event of the entry");
    expect(&*backend, 1)?;
    // Its own record counts no more.
    let refused = backend.refuse(sample::replace_key(&sample::changed_key(&key))?)?;
    ensure!(matches!(refused, Rejection::Damaged(_)), "refused as {refused}");
    ensure_eq!(backend.key(sample::key_id(2))?.is_some(), true, "the other key");
    Ok(())
}

fn damage_an_entry_replaces_the_one_before_it(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    backend.apply(sample::create_key(&sample::key(1, "acme")?)?)?;
    backend.apply(sample::create_key(&sample::key(2, "acme")?)?)?;
    for version in [2, 1, 1, 3, 2] {
        let known = backend.quarantine(sample::key_id(1))?.map_or(0, |entry| entry.version.get());
        if version == known + 1 {
            backend.apply(put(version)?)?;
        } else {
            let refused = backend.refuse(put(version)?)?;
            ensure!(matches!(refused, Rejection::Conflict { .. }), "refused as {refused}");
        }
    }
    expect(&*backend, 2)
}

fn damage_a_purge_removes_key_and_entry(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    let key = sample::key(1, "acme")?;
    backend.apply(sample::create_key(&key)?)?;
    backend.apply(put(1)?)?;
    let event = sample::event(EventKind::KeyPurged)?;
    backend.apply(Change::of(Write::RemoveDamagedKey(key.id), event))?;
    ensure_eq!(backend.quarantine(key.id)?, None, "the entry");
    ensure!(backend.key(key.id)?.is_none(), "the key is still there");
    ensure_eq!(backend.all_keys()?, [], "keys listed");
    // It counts for its owner no more.
    let owner = backend.owner(&sample::owner_id("acme")?)?;
    let owner = owner.ok_or_else(|| Failure::new("the owner is gone"))?;
    backend.apply(sample::remove_owner(&owner)?)?;
    Ok(())
}

/// A retirement and new rules look at the whole keys, and count the others.
fn damage_beside_a_change_of_the_metadata_is_passed_over(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    let [first, other] = [1, 2].map(|number| {
        let mut key = sample::key(number, "acme")?;
        key.name = sample::name("same")?;
        key.current.digest.pepper = PepperNumber::new(1);
        Ok::<_, Failure>(key)
    });
    let other = other?;
    backend.apply(sample::create_key(&first?)?)?;
    backend.apply(sample::create_key(&other)?)?;
    let check =
        |number| PepperCheck { number: PepperNumber::new(number), value: [1; 16], retired: false };
    let mut metadata = StoreMetadata {
        peppers: vec![check(1), check(2)],
        ..sample::changed_metadata(&backend.stored_metadata()?)
    };
    backend.apply(sample::replace_metadata(&metadata)?)?;
    metadata = sample::changed_metadata(&metadata);
    metadata.rules.unique_names = true;
    backend.expect_refusal(
        sample::replace_metadata(&metadata)?,
        &Rejection::DataForbid { rule: "unique_names" },
        "two keys of one name",
    )?;
    backend.apply(put(1)?)?;
    backend.apply(sample::replace_metadata(&metadata)?)?;

    metadata = sample::changed_metadata(&metadata);
    metadata.peppers[0].retired = true;
    let used = PepperUse { tokens: 1, keys: 1, some_keys: vec![sample::key_id(2)], damaged: 1 };
    let expected = Rejection::PepperInUse { number: PepperNumber::new(1), used: used.clone() };
    backend.expect_refusal(
        sample::replace_metadata(&metadata)?,
        &expected,
        "a pepper of a key that isn't whole",
    )?;
    backend.apply(sample::remove_key(&other)?)?;
    let unsure = PepperUse { damaged: 1, ..PepperUse::default() };
    let expected = Rejection::PepperInUse { number: PepperNumber::new(1), used: unsure };
    backend.expect_refusal(
        sample::replace_metadata(&metadata)?,
        &expected,
        "a pepper that a key may need which isn't whole",
    )?;
    // The second entry revokes it.
    backend.apply(put(2)?)?;
    let applied = backend.apply(sample::replace_metadata(&metadata)?)?;
    ensure_eq!(applied.ended, PepperUse::default(), "what ended");
    Ok(())
}

fn damage_an_entry_is_found_after_opening(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    backend.apply(sample::create_key(&sample::key(1, "acme")?)?)?;
    backend.apply(sample::create_key(&sample::key(2, "acme")?)?)?;
    backend.apply(put(1)?)?;
    backend.apply(put(2)?)?;
    let backend = backend.reopened()?;
    if backend.keeps() { expect(&*backend, 2) } else { backend.expect_blank() }
}

/// Something of each sort.
fn full<'a>(lab: &Lab<'a>) -> Result<Instance<'a>, Failure> {
    let backend = lab.with_owners(&["acme", "other"])?;
    let limits = sample::limits()?;
    let owner = sample::owner("acme")?;
    let owner = OwnerRecord { limits: limits.clone(), ..sample::changed_owner(&owner) };
    backend.apply(sample::replace_owner(&owner)?)?;
    let mut first = sample::key(1, "acme")?;
    first.name = sample::name("first")?;
    first.expires_at = Some(sample::at(9_000));
    first.limits = limits;
    first.previous = vec![sample::previous(1, 1)?];
    first.current = sample::token(1, 2)?;
    first.seal = Some(sample::seal());
    let second = sample::key(2, "acme")?;
    backend.apply(sample::assign_numeric_id(&first)?)?;
    backend.apply(sample::create_key(&second)?)?;
    backend.apply(sample::replace_key(&sample::revoked(&second)?)?)?;
    backend.apply(sample::tell(&first, Alert::Expired(sample::at(9_000)))?)?;
    backend.prune_events(sample::at(9_000), 2)?;
    let used = Used { last_used_at: Some(sample::at(3)), accepted: 7, ..Used::default() };
    let of = UsageSubject::Key(first.id);
    let lease = UsageChange::Lease { of, request: LeaseRequest::one(1), at: sample::at(4) };
    backend.take_in(&[UsageChange::Add(first.id, used), lease])?;
    Ok(backend)
}

fn damage_whole_records_have_no_faults(lab: &Lab<'_>) -> Tested {
    let backend = full(lab)?;
    ensure_eq!(backend.check()?, [], "faults");
    let backend = backend.reopened()?;
    ensure_eq!(backend.check()?, [], "faults after opening");
    Ok(())
}

fn damage_a_repair_of_whole_records_changes_nothing(lab: &Lab<'_>) -> Tested {
    let backend = full(lab)?;
    let shown = |backend: &dyn Backend| {
        let of =
            [UsageSubject::Key(sample::key_id(1)), UsageSubject::Owner(sample::owner_id("acme")?)];
        let keys = [backend.key(sample::key_id(1))?, backend.key(sample::key_id(2))?];
        let versions = keys.map(|key| key.map(|key| key.version));
        Ok::<_, Failure>((versions, backend.usage(&of)?, backend.last_event()?))
    };
    let before = shown(&*backend)?;
    ensure_eq!(backend.repair(sample::at(5))?, Repaired::default(), "what was repaired");
    ensure_eq!(shown(&*backend)?, before, "what is there after a repair");
    Ok(())
}
