//! Owners go when their keys are gone.

use crate::backend::{Change, Precondition, Rejection, Write};
use crate::event::{EventDraft, EventKind};
use crate::id::Incarnation;
use crate::key::{OwnerRecord, StoreRules};
use crate::testing::conformance::ask::Ask;
use crate::testing::conformance::case::list;
use crate::testing::conformance::failure::{Tested, ensure, ensure_eq};
use crate::testing::conformance::instance::Lab;
use crate::testing::sample;

list![
    rule_an_owner_with_keys_stays,
    rule_an_owner_with_revoked_keys_stays,
    rule_an_owner_goes_together_with_its_keys,
    rule_a_removed_owner_has_its_version,
    rule_a_removed_owner_may_come_again,
    rule_a_key_can_not_come_while_its_owner_goes,
    rule_an_owner_that_was_replaced_is_another,
    rule_events_carry_the_incarnation_of_their_owner,
];

fn rule_an_owner_with_keys_stays(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    let acme = sample::owner("acme")?;
    let keys = [sample::key(1, "acme")?, sample::key(2, "acme")?];
    backend.apply_all(&[sample::create_key(&keys[0])?, sample::create_key(&keys[1])?])?;
    backend.expect_refusal(
        sample::remove_owner(&acme)?,
        &Rejection::OwnerHasKeys,
        "a removal that leaves keys",
    )?;
    let without_one = [sample::remove_key(&keys[0])?, sample::remove_owner(&acme)?];
    backend.expect_refusal(
        sample::in_one(without_one),
        &Rejection::OwnerHasKeys,
        "a removal that leaves one key",
    )?;
    backend.expect_owner(&acme)?;
    keys.iter().try_for_each(|key| backend.expect_key(key))
}

fn rule_an_owner_with_revoked_keys_stays(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    let key = sample::key(1, "acme")?;
    let gone = sample::revoked(&key)?;
    backend.apply_all(&[sample::create_key(&key)?, sample::replace_key(&gone)?])?;
    backend.expect_refusal(
        sample::remove_owner(&sample::owner("acme")?)?,
        &Rejection::OwnerHasKeys,
        "a removal that leaves a revoked key",
    )?;
    backend.apply(sample::remove_key(&gone)?)?;
    backend.apply(sample::remove_owner(&sample::owner("acme")?)?)?;
    Ok(())
}

/// In one change, also where every owner keeps a standard key.
fn rule_an_owner_goes_together_with_its_keys(lab: &Lab<'_>) -> Tested {
    let backend =
        lab.with_rules(StoreRules { keep_standard_key: true, ..StoreRules::default() })?;
    let acme = sample::owner("acme")?;
    let keys = [sample::key(1, "acme")?, sample::key(2, "acme")?];
    backend.apply(sample::in_one([
        sample::create_owner(&acme)?,
        sample::create_key(&keys[0])?,
        sample::create_key(&keys[1])?,
    ]))?;
    backend.apply(sample::in_one([
        sample::remove_key(&keys[0])?,
        sample::remove_key(&keys[1])?,
        sample::remove_owner(&acme)?,
    ]))?;
    backend.expect_no_owner(&acme.id)?;
    let (owners, keys, _) = backend.scanned()?;
    ensure!(owners.is_empty() && keys.is_empty(), "something of it is scanned");
    Ok(())
}

fn rule_a_removed_owner_has_its_version(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    let acme = sample::owner("acme")?;
    let other = sample::changed_owner(&acme);
    let (expected, of) = (other.version, Precondition::Owner(acme.id, other.version));
    let conflict = Rejection::Conflict { expected, found: Some(acme.version), of: of.clone() };
    backend.expect_refusal(
        sample::remove_owner(&other)?,
        &conflict,
        "a removal of another version",
    )?;
    backend.expect_owner(&acme)?;
    backend.apply(sample::remove_owner(&acme)?)?;
    backend.expect_no_owner(&acme.id)?;
    backend.expect_refusal(
        sample::remove_owner(&other)?,
        &Rejection::Conflict { expected, found: None, of },
        "a second removal",
    )?;
    Ok(())
}

/// Its id is the service's, who may take it again: a new record, with nothing of the old one.
fn rule_a_removed_owner_may_come_again(lab: &Lab<'_>) -> Tested {
    let backend = lab.fresh()?;
    let rich = sample::largest_owner("acme")?;
    let key = sample::key(1, "acme")?;
    backend.apply(sample::in_one([sample::create_owner(&rich)?, sample::create_key(&key)?]))?;
    backend.apply(sample::in_one([sample::remove_key(&key)?, sample::remove_owner(&rich)?]))?;
    let again = sample::owner("acme")?;
    backend.apply(sample::create_owner(&again)?)?;
    backend.expect_owner(&again)?;
    ensure_eq!(backend.all_keys()?, [], "keys listed");
    Ok(())
}

fn rule_a_key_can_not_come_while_its_owner_goes(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    let acme = sample::owner("acme")?;
    let create = sample::create_key(&sample::key(1, "acme")?)?;
    let remove = sample::remove_owner(&acme)?;
    for change in [[create.clone(), remove.clone()], [remove, create]] {
        backend.expect_refusal(
            sample::in_one(change),
            &Rejection::OwnerMissing,
            "a key of an owner that goes",
        )?;
    }
    backend.expect_owner(&acme)
}

/// A change that was decided on one owner doesn't meet the next one of its id, whose versions begin
/// again.
fn rule_an_owner_that_was_replaced_is_another(lab: &Lab<'_>) -> Tested {
    let backend = lab.fresh()?;
    let here = OwnerRecord { incarnation: Incarnation::new(9)?, ..sample::owner("acme")? };
    let gone = OwnerRecord { incarnation: Incarnation::new(7)?, ..here.clone() };
    backend.apply(sample::create_owner(&here)?)?;
    let stale = sample::replace_owner(&sample::changed_owner(&gone))?;
    backend.expect_refusal(stale, &Rejection::OwnerReplaced, "a replacement of another owner")?;
    let key = sample::create_key(&sample::key(1, "acme")?)?;
    let decided_on = |owner: &OwnerRecord, change: &Change| {
        change.clone().requiring(Precondition::Incarnation(owner.id, owner.incarnation))
    };
    for change in [&key, &sample::remove_owner(&gone)?] {
        backend.expect_refusal(
            decided_on(&gone, change),
            &Rejection::OwnerReplaced,
            "a change decided on another owner",
        )?;
    }
    backend.expect_owner(&here)?;
    backend.apply(decided_on(&here, &key))?;
    let next = sample::changed_owner(&here);
    backend.apply(sample::replace_owner(&next)?)?;
    backend.expect_owner(&next)
}

fn rule_events_carry_the_incarnation_of_their_owner(lab: &Lab<'_>) -> Tested {
    let backend = lab.fresh()?;
    let acme = |number| -> Result<_, crate::invalid::Invalid> {
        Ok(OwnerRecord { incarnation: Incarnation::new(number)?, ..sample::owner("acme")? })
    };
    let (first, key) = (acme(7)?, sample::key(1, "acme")?);
    let changed = sample::changed_owner(&first);
    backend.apply(sample::in_one([sample::create_owner(&first)?, sample::create_key(&key)?]))?;
    backend.apply_all(&[
        sample::note(&key)?,
        sample::replace_key(&sample::changed_key(&key))?,
        sample::replace_owner(&changed)?,
    ])?;
    let remove_key = sample::remove_key(&sample::changed_key(&key))?;
    backend.apply(sample::in_one([remove_key, sample::remove_owner(&changed)?]))?;
    backend.apply(sample::create_owner(&acme(9)?)?)?;
    let alone = |owner: &str| -> Result<_, crate::invalid::Invalid> {
        let owner = Some(sample::owner_id(owner)?);
        let draft = EventDraft { owner, ..sample::event(EventKind::TokenRevealed)? };
        Ok(Change::of(Write::Nothing, draft))
    };
    backend.apply_all(&[alone("acme")?, alone("stranger")?])?;
    backend
        .apply(sample::replace_metadata(&sample::changed_metadata(&backend.stored_metadata()?))?)?;
    let shown = backend.all_events()?;
    let shown: Vec<u64> =
        shown.iter().map(|event| event.incarnation.map_or(0, Incarnation::get)).collect();
    ensure_eq!(shown, [0, 7, 7, 7, 7, 7, 7, 7, 9, 9, 0, 0], "incarnations of events");
    Ok(())
}
