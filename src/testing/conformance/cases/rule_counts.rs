//! No owner has too many keys, and none loses its last standard key where the store says so.

use crate::backend::{Change, Rejection};
use crate::key::{KeyRecord, Kind, OwnerRecord, StoreRules};
use crate::testing::conformance::Failure;
use crate::testing::conformance::ask::Ask;
use crate::testing::conformance::case::list;
use crate::testing::conformance::failure::{Tested, ensure_eq};
use crate::testing::conformance::instance::Lab;
use crate::testing::sample;

use crate::testing::conformance::instance::Instance;

list![
    rule_the_last_standard_key_is_not_revoked,
    rule_the_last_standard_key_is_not_removed,
    rule_the_last_standard_key_is_not_made_a_trial,
    rule_an_owner_starts_with_a_standard_key,
    rule_the_last_standard_key_may_be_replaced_in_one_change,
    rule_the_last_standard_key_is_guarded_through_a_batch,
    rule_the_last_standard_key_may_go_unless_the_store_says_otherwise,
    rule_an_owner_has_no_more_keys_than_it_may,
    rule_revoked_keys_leave_room,
    rule_keys_beyond_a_lowered_number_stay,
    rule_the_number_of_keys_is_that_after_the_change,
];

/// A store in which owners keep a standard key, with an owner that has this one.
fn keeping<'a>(lab: &Lab<'a>, key: &KeyRecord) -> Result<Instance<'a>, Failure> {
    let rules = StoreRules { keep_standard_key: true, ..StoreRules::default() };
    let backend = lab.with_rules(rules)?;
    let owner = sample::create_owner(&sample::owner("acme")?)?;
    backend.apply(sample::in_one([owner, sample::create_key(key)?]))?;
    Ok(backend)
}

fn trial(n: u32) -> Result<KeyRecord, Failure> {
    Ok(KeyRecord { kind: Kind::Trial, ..sample::key(n, "acme")? })
}

fn refused_as_last(backend: &Instance<'_>, change: Change, what: &str) -> Tested {
    backend.expect_refusal(change, &Rejection::LastStandardKey, format_args!("{what}"))?;
    Ok(())
}

fn rule_the_last_standard_key_is_not_revoked(lab: &Lab<'_>) -> Tested {
    let (first, second) = (sample::key(1, "acme")?, sample::key(2, "acme")?);
    let backend = keeping(lab, &first)?;
    backend.apply(sample::create_key(&trial(3)?)?)?;
    let revoke = sample::replace_key(&sample::revoked(&first)?)?;
    refused_as_last(&backend, revoke.clone(), "revoking the only one beside a trial")?;
    backend.expect_key(&first)?;
    // Another standard key of the owner lets it go; blocked or expired, it is one all the same.
    let second = KeyRecord { blocked: Some(sample::switch(1)?), ..second };
    backend.apply(sample::create_key(&second)?)?;
    backend.apply(revoke)?;
    let revoke = sample::replace_key(&sample::revoked(&second)?)?;
    refused_as_last(&backend, revoke, "revoking the second of two")
}

fn rule_the_last_standard_key_is_not_removed(lab: &Lab<'_>) -> Tested {
    let key = sample::key(1, "acme")?;
    let backend = keeping(lab, &key)?;
    refused_as_last(&backend, sample::remove_key(&key)?, "removing the only one")?;
    backend.expect_key(&key)?;
    backend.apply(sample::create_key(&sample::key(2, "acme")?)?)?;
    backend.apply(sample::remove_key(&key)?)?;
    Ok(())
}

fn rule_the_last_standard_key_is_not_made_a_trial(lab: &Lab<'_>) -> Tested {
    let key = sample::key(1, "acme")?;
    let backend = keeping(lab, &key)?;
    let as_trial = KeyRecord { kind: Kind::Trial, ..sample::changed_key(&key) };
    refused_as_last(&backend, sample::replace_key(&as_trial)?, "making the only one a trial")?;
    // The other way round, a trial that became standard counts.
    let other = trial(2)?;
    let converted = KeyRecord { kind: Kind::Standard, ..sample::changed_key(&other) };
    backend.apply_all(&[sample::create_key(&other)?, sample::replace_key(&converted)?])?;
    backend.apply(sample::replace_key(&as_trial)?)?;
    Ok(())
}

fn rule_an_owner_starts_with_a_standard_key(lab: &Lab<'_>) -> Tested {
    let backend = keeping(lab, &sample::key(1, "acme")?)?;
    let owner = sample::create_owner(&sample::owner("beta")?)?;
    refused_as_last(&backend, owner.clone(), "an owner without a key")?;
    let (kind, revoked) = (Kind::Trial, Some(sample::switch(1)?));
    let first = sample::key(2, "beta")?;
    for useless in [KeyRecord { kind, ..first.clone() }, KeyRecord { revoked, ..first.clone() }] {
        let change = sample::in_one([owner.clone(), sample::create_key(&useless)?]);
        refused_as_last(&backend, change, "an owner without a standard key")?;
    }
    backend.expect_no_owner(&first.owner)?;
    backend.apply(sample::in_one([owner, sample::create_key(&first)?]))?;
    Ok(())
}

fn rule_the_last_standard_key_may_be_replaced_in_one_change(lab: &Lab<'_>) -> Tested {
    let (key, heir) = (sample::key(1, "acme")?, sample::key(2, "acme")?);
    let backend = keeping(lab, &key)?;
    let revoke = sample::replace_key(&sample::revoked(&key)?)?;
    backend.apply(sample::in_one([revoke, sample::create_key(&heir)?]))?;
    backend.expect_key(&heir)
}

/// The first of two revocations in a batch takes the last but one, the second is refused.
fn rule_the_last_standard_key_is_guarded_through_a_batch(lab: &Lab<'_>) -> Tested {
    let (first, second) = (sample::key(1, "acme")?, sample::key(2, "acme")?);
    let backend = keeping(lab, &first)?;
    backend.apply(sample::create_key(&second)?)?;
    let outcome = backend.batch(&[
        sample::replace_key(&sample::revoked(&first)?)?,
        sample::replace_key(&sample::revoked(&second)?)?,
    ])?;
    ensure_eq!(outcome[0].is_ok(), true, "whether the first is revoked");
    ensure_eq!(outcome[1], Err(Rejection::LastStandardKey), "the second");
    backend.expect_key(&second)
}

fn rule_the_last_standard_key_may_go_unless_the_store_says_otherwise(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    let key = sample::key(1, "acme")?;
    backend.apply(sample::create_key(&key)?)?;
    backend.apply(sample::replace_key(&sample::revoked(&key)?)?)?;
    Ok(())
}

/// A store with an owner that may have two keys, and has them.
fn full<'a>(lab: &Lab<'a>) -> Result<Instance<'a>, Failure> {
    let backend = lab.fresh()?;
    backend.apply(sample::in_one([
        sample::create_owner(&OwnerRecord { max_keys: 2, ..sample::owner("acme")? })?,
        sample::create_key(&sample::key(1, "acme")?)?,
        sample::create_key(&trial(2)?)?,
    ]))?;
    Ok(backend)
}

fn rule_an_owner_has_no_more_keys_than_it_may(lab: &Lab<'_>) -> Tested {
    let backend = full(lab)?;
    for third in [sample::key(3, "acme")?, trial(3)?] {
        backend.expect_refusal(
            sample::create_key(&third)?,
            &Rejection::TooManyKeys { limit: 2 },
            "a third key",
        )?;
    }
    let key = sample::key(3, "beta")?;
    let none = sample::create_owner(&OwnerRecord { max_keys: 0, ..sample::owner("beta")? })?;
    backend.expect_refusal(
        sample::in_one([none.clone(), sample::create_key(&key)?]),
        &Rejection::TooManyKeys { limit: 0 },
        "a first key where none may be",
    )?;
    backend.apply(none)?;
    Ok(())
}

fn rule_revoked_keys_leave_room(lab: &Lab<'_>) -> Tested {
    let backend = full(lab)?;
    let gone = sample::revoked(&sample::key(1, "acme")?)?;
    backend.apply(sample::replace_key(&gone)?)?;
    backend.apply(sample::create_key(&sample::key(3, "acme")?)?)?;
    // Removing a revoked key makes no more room, since it took none.
    backend.apply(sample::remove_key(&gone)?)?;
    backend.expect_refusal(
        sample::create_key(&sample::key(4, "acme")?)?,
        &Rejection::TooManyKeys { limit: 2 },
        "a third unrevoked key",
    )?;
    Ok(())
}

/// They can be changed and revoked; only more of them are refused.
fn rule_keys_beyond_a_lowered_number_stay(lab: &Lab<'_>) -> Tested {
    let backend = full(lab)?;
    let acme = OwnerRecord { max_keys: 1, ..sample::changed_owner(&sample::owner("acme")?) };
    backend.apply(sample::replace_owner(&acme)?)?;
    let changed = sample::changed_key(&sample::key(1, "acme")?);
    backend.apply(sample::replace_key(&changed)?)?;
    let new = sample::create_key(&sample::key(3, "acme")?)?;
    let too_many = Rejection::TooManyKeys { limit: 1 };
    backend.expect_refusal(new.clone(), &too_many, "a third key")?;
    // One for another is no more than there were.
    let revoke = sample::replace_key(&sample::revoked(&changed)?)?;
    backend.apply(sample::in_one([revoke, new]))?;
    let new = sample::create_key(&sample::key(4, "acme")?)?;
    backend.expect_refusal(new, &too_many, "a third key again")?;
    Ok(())
}

fn rule_the_number_of_keys_is_that_after_the_change(lab: &Lab<'_>) -> Tested {
    let backend = full(lab)?;
    let acme = sample::changed_owner(&sample::owner("acme")?);
    let new = sample::create_key(&sample::key(3, "acme")?)?;
    let lowered = sample::replace_owner(&OwnerRecord { max_keys: 1, ..acme.clone() })?;
    backend.expect_refusal(
        sample::in_one([new.clone(), lowered]),
        &Rejection::TooManyKeys { limit: 1 },
        "one more while it is lowered",
    )?;
    let raised = OwnerRecord { max_keys: 3, ..acme };
    backend.apply(sample::in_one([new, sample::replace_owner(&raised)?]))?;
    // Also through a batch.
    let outcome = backend.batch(&[
        sample::replace_key(&sample::revoked(&sample::key(1, "acme")?)?)?,
        sample::create_key(&sample::key(4, "acme")?)?,
        sample::create_key(&sample::key(5, "acme")?)?,
    ])?;
    let took_effect: Vec<bool> = outcome.iter().map(Result::is_ok).collect();
    ensure_eq!(took_effect, [true, true, false], "which changes took effect");
    Ok(())
}
