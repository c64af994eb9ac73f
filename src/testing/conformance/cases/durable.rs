//! Acknowledged changes are found again at the next open.
//!
//! Each case does its work, opens the place again and looks. A backend that keeps nothing is held
//! to that: it opens blank.

use std::time::Duration;

use crate::backend::{EventFilter, EventQuery, Rejection};
use crate::id::NumericId;
use crate::key::{KeyRecord, OwnerRecord, StoreMetadata, StoreRules, TokensValidFrom};
use crate::testing::conformance::Failure;
use crate::testing::conformance::ask::Ask;
use crate::testing::conformance::case::list;
use crate::testing::conformance::failure::{Tested, ensure, ensure_eq};
use crate::testing::conformance::instance::Lab;
use crate::testing::sample;

use crate::testing::conformance::instance::Instance;

list![
    durable_records_are_found_again,
    durable_records_are_found_again_without_a_close,
    durable_changes_and_removals_are_found_again,
    durable_refused_changes_stay_refused,
    durable_the_metadata_is_found_again,
    durable_the_metadata_is_made_durable_alone,
    durable_events_are_found_again,
    durable_event_numbers_go_on,
    durable_pruning_is_found_again,
    durable_numeric_ids_stay_used,
    durable_names_stay_taken,
    durable_numbers_of_keys_are_found_again,
    durable_listings_are_found_again,
    durable_waiting_knows_of_events_before_the_open,
    durable_a_place_may_be_opened_again_and_again,
];

/// Opens the place again; for a backend that keeps nothing, checks that and returns `None`.
fn reopened<'a>(backend: Instance<'a>) -> Result<Option<Instance<'a>>, Failure> {
    kept(backend.reopened()?)
}

fn kept(backend: Instance<'_>) -> Result<Option<Instance<'_>>, Failure> {
    if backend.keeps() {
        return Ok(Some(backend));
    }
    backend.expect_blank()?;
    // And usable.
    backend.apply(sample::create_metadata(&sample::metadata()?)?)?;
    backend.apply(sample::create_owner(&sample::owner("acme")?)?)?;
    Ok(None)
}

/// An owner and a key with all they can have.
fn rich() -> Result<(OwnerRecord, KeyRecord), Failure> {
    Ok((sample::largest_owner("acme")?, sample::largest_key(1, "acme")?))
}

fn durable_records_are_found_again(lab: &Lab<'_>) -> Tested {
    let backend = lab.fresh()?;
    let (owner, key) = rich()?;
    backend.apply(sample::in_one([sample::create_owner(&owner)?, sample::create_key(&key)?]))?;
    let Some(backend) = reopened(backend)? else { return Ok(()) };
    backend.expect_owner(&owner)?;
    backend.expect_key(&key)?;
    backend.expect_by_numeric_id(&key)?;
    let (owners, keys, _) = backend.scanned()?;
    ensure_eq!((owners.len(), keys.len()), (1, 1), "owners and keys scanned");
    Ok(())
}

fn durable_records_are_found_again_without_a_close(lab: &Lab<'_>) -> Tested {
    let backend = lab.fresh()?;
    let (owner, key) = rich()?;
    backend.apply(sample::in_one([sample::create_owner(&owner)?, sample::create_key(&key)?]))?;
    let Some(backend) = kept(backend.abandoned()?)? else { return Ok(()) };
    backend.expect_owner(&owner)?;
    backend.expect_key(&key)?;
    ensure_eq!(backend.last_event()?, 3, "last event");
    Ok(())
}

fn durable_changes_and_removals_are_found_again(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme", "gone"])?;
    let (key, other) = (sample::key(1, "acme")?, sample::key(2, "acme")?);
    let changed = KeyRecord { blocked: Some(sample::switch(7)?), ..sample::changed_key(&key) };
    let suspended = Some(sample::switch(8)?);
    let acme = OwnerRecord { suspended, ..sample::changed_owner(&sample::owner("acme")?) };
    backend.apply_all(&[
        sample::create_key(&key)?,
        sample::create_key(&other)?,
        sample::replace_key(&changed)?,
        sample::replace_owner(&acme)?,
        sample::remove_key(&other)?,
        sample::remove_owner(&sample::owner("gone")?)?,
    ])?;
    let Some(backend) = reopened(backend)? else { return Ok(()) };
    backend.expect_key(&changed)?;
    backend.expect_owner(&acme)?;
    backend.expect_no_key(other.id)?;
    backend.expect_no_owner(&sample::owner_id("gone")?)
}

fn durable_refused_changes_stay_refused(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    let orphan = sample::create_key(&sample::key(9, "nobody")?)?;
    let lost = sample::in_one([sample::create_key(&sample::key(1, "acme")?)?, orphan]);
    let stays = sample::key(2, "acme")?;
    backend.batch(&[lost.clone(), sample::create_key(&stays)?, lost])?;
    let Some(backend) = reopened(backend)? else { return Ok(()) };
    ensure_eq!(backend.all_keys()?, [stays.id], "keys listed");
    ensure_eq!(backend.last_event()?, 3, "last event");
    Ok(())
}

fn durable_the_metadata_is_found_again(lab: &Lab<'_>) -> Tested {
    let backend = lab.fresh()?;
    let version = backend.stored_metadata()?.version.next();
    let metadata = StoreMetadata { version, ..sample::largest_metadata()? };
    backend.apply(sample::replace_metadata(&metadata)?)?;
    let Some(backend) = reopened(backend)? else { return Ok(()) };
    ensure_eq!(backend.stored_metadata()?, metadata, "the metadata");
    // Another creation comes too late.
    backend.expect_refusal(
        sample::create_metadata(&sample::metadata()?)?,
        &Rejection::StoreExists,
        "a second creation",
    )?;
    Ok(())
}

/// Without any commit after it.
fn durable_the_metadata_is_made_durable_alone(lab: &Lab<'_>) -> Tested {
    let metadata = StoreMetadata {
        tokens_valid_from: Some(TokensValidFrom::of(sample::at(77))),
        ..sample::metadata()?
    };
    let backend = lab.with_metadata(&metadata)?;
    let Some(backend) = kept(backend.abandoned()?)? else { return Ok(()) };
    ensure_eq!(backend.stored_metadata()?, metadata, "the metadata");
    Ok(())
}

fn durable_events_are_found_again(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    let mut change = sample::note(&sample::key(1, "acme")?)?;
    for operation in &mut change.operations {
        operation.event.authority = sample::largest_authority("acme")?;
    }
    backend.apply(change)?;
    let before = backend.all_events()?;
    let Some(backend) = reopened(backend)? else { return Ok(()) };
    ensure_eq!(backend.all_events()?, before, "events");
    Ok(())
}

fn durable_event_numbers_go_on(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme", "beta"])?;
    let Some(backend) = reopened(backend)? else { return Ok(()) };
    ensure_eq!(backend.last_event()?, 3, "last event");
    let applied = backend.apply(sample::create_key(&sample::key(1, "acme")?)?)?;
    ensure_eq!(applied.first_event, 4, "the first event after the open");
    Ok(())
}

/// Also that the only event left isn't the first.
fn durable_pruning_is_found_again(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme", "beta", "gamma"])?;
    backend.prune_events(sample::at(1), 100)?;
    let Some(backend) = reopened(backend)? else { return Ok(()) };
    let filter = EventFilter::default();
    let page =
        backend.events(&EventQuery { after: 0, before: None, filter, limit: 9, examine: 9 })?;
    ensure_eq!(page.pruned_through, 3, "pruned through");
    ensure_eq!(page.events.len(), 1, "events left");
    let applied = backend.apply(sample::create_key(&sample::key(1, "acme")?)?)?;
    ensure_eq!(applied.first_event, 5, "the first event after the open");
    Ok(())
}

/// Those of removed keys too, and the greatest.
fn durable_numeric_ids_stay_used(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    let with_id = |n, id| -> Result<_, Failure> {
        let numeric_id = Some(NumericId::new(id)?);
        Ok(KeyRecord { numeric_id, ..sample::key(n, "acme")? })
    };
    let (small, great) = (with_id(1, 5)?, with_id(2, 50)?);
    backend.apply_all(&[
        sample::create_key(&small)?,
        sample::create_key(&great)?,
        sample::remove_key(&small)?,
        sample::remove_key(&great)?,
    ])?;
    let Some(backend) = reopened(backend)? else { return Ok(()) };
    for id in [5, 50] {
        let taken = Rejection::NumericIdTaken(NumericId::new(id)?);
        backend.expect_refusal(
            sample::create_key(&with_id(3, id)?)?,
            &taken,
            "an id used before the open",
        )?;
    }
    let assigned = backend.apply(sample::assign_numeric_id(&sample::key(3, "acme")?)?)?;
    ensure_eq!(assigned.numeric_ids, [NumericId::new(51)?], "the next id");
    Ok(())
}

fn durable_names_stay_taken(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_rules(StoreRules { unique_names: true, ..StoreRules::default() })?;
    let named = |n, name: &str| -> Result<_, Failure> {
        Ok(KeyRecord { name: sample::name(name)?, ..sample::key(n, "acme")? })
    };
    let (first, freed) = (named(1, "deploy")?, named(2, "build")?);
    backend.apply_all(&[
        sample::create_owner(&sample::owner("acme")?)?,
        sample::create_key(&first)?,
        sample::create_key(&freed)?,
        sample::replace_key(&sample::revoked(&freed)?)?,
    ])?;
    let Some(backend) = reopened(backend)? else { return Ok(()) };
    backend.expect_refusal(
        sample::create_key(&named(3, "deploy")?)?,
        &Rejection::NameTaken(first.id),
        "a name taken before the open",
    )?;
    backend.apply(sample::create_key(&named(3, "build")?)?)?;
    Ok(())
}

fn durable_numbers_of_keys_are_found_again(lab: &Lab<'_>) -> Tested {
    let rules = StoreRules { keep_standard_key: true, ..StoreRules::default() };
    let backend = lab.with_rules(rules)?;
    let key = sample::key(1, "acme")?;
    backend.apply(sample::in_one([
        sample::create_owner(&OwnerRecord { max_keys: 1, ..sample::owner("acme")? })?,
        sample::create_key(&key)?,
    ]))?;
    let Some(backend) = reopened(backend)? else { return Ok(()) };
    backend.expect_refusal(
        sample::create_key(&sample::key(2, "acme")?)?,
        &Rejection::TooManyKeys { limit: 1 },
        "a second key",
    )?;
    backend.expect_refusal(
        sample::replace_key(&sample::revoked(&key)?)?,
        &Rejection::LastStandardKey,
        "revoking the only key",
    )?;
    Ok(())
}

fn durable_listings_are_found_again(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["beta", "acme"])?;
    for (n, owner) in [(3, "acme"), (1, "beta"), (2, "acme")] {
        backend.apply(sample::create_key(&sample::key(n, owner)?)?)?;
    }
    backend.apply(sample::remove_key(&sample::key(2, "acme")?)?)?;
    let Some(backend) = reopened(backend)? else { return Ok(()) };
    ensure_eq!(backend.all_keys()?, [3, 1].map(sample::key_id), "keys listed");
    let (mut owners, mut keys) = (0, Vec::new());
    backend.scan_owner(&sample::owner_id("acme")?, &mut |scanned| match scanned {
        crate::backend::Scanned::Key(key) => keys.push(key.id),
        crate::backend::Scanned::Owner(_) => owners += 1,
        // Missing, then.
        crate::backend::Scanned::Damaged(_) => {}
    })?;
    ensure_eq!((owners, keys), (1, vec![sample::key_id(3)]), "the scan of an owner");
    Ok(())
}

fn durable_waiting_knows_of_events_before_the_open(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme", "beta"])?;
    let Some(backend) = reopened(backend)? else { return Ok(()) };
    ensure_eq!(backend.wait(0, Duration::from_millis(20))?, 3, "waiting for an event after 0");
    ensure_eq!(backend.wait(3, Duration::from_millis(20))?, 3, "waiting for an event after 3");
    Ok(())
}

fn durable_a_place_may_be_opened_again_and_again(lab: &Lab<'_>) -> Tested {
    let mut backend = lab.with_owners(&["acme"])?;
    for n in 1..=4 {
        backend.apply(sample::create_key(&sample::key(n, "acme")?)?)?;
        let Some(opened) = reopened(backend)? else { return Ok(()) };
        backend = opened;
        ensure_eq!(backend.all_keys()?.len(), n as usize, "keys after opening {n} times");
    }
    ensure!(backend.last_event()? == 6, "events are lost between openings");
    Ok(())
}
