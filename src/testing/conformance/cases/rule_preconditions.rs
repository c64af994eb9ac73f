//! Versions of records that a change doesn't write, and yet depends on.

use crate::backend::{Precondition, Rejection};
use crate::id::Version;
use crate::key::KeyRecord;
use crate::testing::conformance::Failure;
use crate::testing::conformance::ask::Ask;
use crate::testing::conformance::case::list;
use crate::testing::conformance::failure::{Tested, ensure, ensure_eq};
use crate::testing::conformance::instance::Lab;
use crate::testing::sample;

list![
    rule_a_precondition_on_the_metadata_holds,
    rule_a_precondition_on_a_key_holds,
    rule_a_precondition_on_an_owner_holds,
    rule_a_precondition_on_the_number_of_live_keys_holds,
    rule_a_precondition_on_the_keys_that_a_key_created_holds,
    rule_a_precondition_on_a_missing_record_never_holds,
    rule_a_precondition_is_about_the_state_before_the_change,
    rule_every_precondition_counts,
];

/// Tries a precondition by the version that holds, by the one before and the one after.
fn tried(lab: &Lab<'_>, of: impl Fn(Version) -> Precondition) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    let (mut owner, mut key) = (sample::owner("acme")?, sample::key(1, "acme")?);
    backend.apply(sample::create_key(&key)?)?;
    // Every record is at version 2, and no other number could be mistaken for it.
    (owner, key) = (sample::changed_owner(&owner), sample::changed_key(&key));
    backend.apply_all(&[
        sample::replace_owner(&owner)?,
        sample::replace_key(&key)?,
        sample::replace_metadata(&sample::changed_metadata(&backend.stored_metadata()?))?,
    ])?;
    let new = sample::create_key(&sample::key(2, "acme")?)?;
    let found = Some(Version::new(2));
    for expected in [Version::new(1), Version::new(3)] {
        let conflict = Rejection::Conflict { expected, found, of: of(expected) };
        backend.expect_refusal(
            new.clone().requiring(of(expected)),
            &conflict,
            format_args!("a change that requires version {expected}"),
        )?;
        backend.expect_no_key(sample::key_id(2))?;
    }
    backend.apply(new.requiring(of(Version::new(2))))?;
    Ok(())
}

fn rule_a_precondition_on_the_metadata_holds(lab: &Lab<'_>) -> Tested {
    tried(lab, Precondition::StoreMetadata)
}

fn rule_a_precondition_on_a_key_holds(lab: &Lab<'_>) -> Tested {
    tried(lab, |version| Precondition::Key(sample::key_id(1), version))
}

fn rule_a_precondition_on_an_owner_holds(lab: &Lab<'_>) -> Tested {
    let id = sample::owner_id("acme")?;
    tried(lab, |version| Precondition::Owner(id, version))
}

/// Revoked keys don't count, those of others neither, and earlier changes of the batch do.
fn rule_a_precondition_on_the_number_of_live_keys_holds(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme", "beta"])?;
    let revoked = sample::revoked(&sample::key(2, "acme")?)?;
    backend.apply_all(&[
        sample::create_key(&sample::key(1, "acme")?)?,
        sample::create_key(&sample::key(2, "acme")?)?,
        sample::create_key(&sample::key(3, "beta")?)?,
        sample::replace_key(&revoked)?,
    ])?;
    let live = |owner, number| -> Result<_, Failure> {
        Ok(Precondition::LiveKeys(sample::owner_id(owner)?, number))
    };
    let create = |n| sample::create_key(&sample::key(n, "acme")?);
    for number in [0, 2, 3] {
        backend.expect_refusal(
            create(4)?.requiring(live("acme", number)?),
            &Rejection::KeysChanged,
            format_args!("a change that requires {number} keys"),
        )?;
        backend.expect_no_key(sample::key_id(4))?;
    }
    let outcome = backend.batch(&[
        create(4)?.requiring(live("acme", 1)?),
        create(5)?.requiring(live("acme", 1)?),
        create(6)?.requiring(live("acme", 2)?).requiring(live("nobody", 0)?),
    ])?;
    let took_effect: Vec<bool> = outcome.iter().map(Result::is_ok).collect();
    ensure_eq!(took_effect, [true, false, true], "which changes took effect");
    Ok(())
}

/// Exactly these, revoked ones too, in any order; earlier changes of the batch count.
fn rule_a_precondition_on_the_keys_that_a_key_created_holds(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    let id = sample::key_id;
    let key = |n, creator: Option<u32>| -> Result<_, Failure> {
        let created_by_key = creator.map(sample::key_id);
        Ok(KeyRecord { created_by_key, ..sample::key(n, "acme")? })
    };
    let create = |n, creator| -> Result<_, Failure> { Ok(sample::create_key(&key(n, creator)?)?) };
    backend.apply_all(&[
        create(1, None)?,
        create(2, Some(1))?,
        create(3, Some(1))?,
        create(4, Some(2))?,
        sample::replace_key(&sample::revoked(&key(3, Some(1))?)?)?,
    ])?;
    let created = |creator, keys: &[u32]| {
        let keys = keys.iter().copied().map(sample::key_id).collect();
        Precondition::CreatedKeys(id(creator), keys)
    };
    for (creator, wrong) in [(1, &[2][..]), (1, &[2, 3, 4]), (1, &[]), (2, &[3]), (9, &[2])] {
        let change = create(5, None)?.requiring(created(creator, wrong));
        backend.expect_refusal(
            change,
            &Rejection::KeysChanged,
            format_args!("a change that requires {wrong:?}"),
        )?;
        backend.expect_no_key(id(5))?;
    }
    let outcome = backend.batch(&[
        create(5, Some(1))?.requiring(created(1, &[3, 2])),
        create(6, Some(1))?.requiring(created(1, &[2, 3])),
        create(7, None)?.requiring(created(1, &[5, 2, 3])).requiring(created(9, &[])),
        sample::remove_key(&sample::revoked(&key(3, Some(1))?)?)?,
        create(8, None)?.requiring(created(1, &[2, 5])).requiring(created(2, &[4])),
    ])?;
    let took_effect: Vec<bool> = outcome.iter().map(Result::is_ok).collect();
    ensure_eq!(took_effect, [true, false, true, true, true], "which changes took effect");
    Ok(())
}

fn rule_a_precondition_on_a_missing_record_never_holds(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    let new = sample::create_key(&sample::key(1, "acme")?)?;
    for expected in [Version::new(0), Version::FIRST] {
        let of_key = Precondition::Key(sample::key_id(9), expected);
        let of_owner = Precondition::Owner(sample::owner_id("nobody")?, expected);
        for of in [of_key, of_owner] {
            let conflict = Rejection::Conflict { expected, found: None, of: of.clone() };
            backend.expect_refusal(
                new.clone().requiring(of),
                &conflict,
                "a change that requires what isn't there",
            )?;
        }
    }
    Ok(())
}

/// A change may write the record that it requires, and see earlier changes of its batch.
fn rule_a_precondition_is_about_the_state_before_the_change(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    let first = sample::owner("acme")?;
    let second = sample::changed_owner(&first);
    let third = sample::changed_owner(&second);
    let require = |version| Precondition::Owner(first.id, version);
    let outcome = backend.batch(&[
        sample::replace_owner(&second)?.requiring(require(first.version)),
        sample::create_key(&sample::key(1, "acme")?)?.requiring(require(first.version)),
        sample::replace_owner(&third)?.requiring(require(second.version)),
    ])?;
    let took_effect: Vec<bool> = outcome.iter().map(Result::is_ok).collect();
    ensure_eq!(took_effect, [true, false, true], "which changes took effect");
    backend.expect_owner(&third)
}

/// One of many that doesn't hold is enough, wherever it stands.
fn rule_every_precondition_counts(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme", "beta"])?;
    let good = Precondition::Owner(sample::owner_id("acme")?, Version::FIRST);
    let bad = Precondition::Owner(sample::owner_id("beta")?, Version::new(2));
    let new = sample::create_key(&sample::key(1, "acme")?)?;
    let orders = [[&bad, &good, &good], [&good, &bad, &good], [&good, &good, &bad]];
    for order in orders {
        let change = order.into_iter().fold(new.clone(), |all, one| all.requiring(one.clone()));
        let rejection = backend.refuse(change)?;
        ensure!(
            matches!(&rejection, Rejection::Conflict { of, .. } if *of == bad),
            "the reason is {rejection:?}"
        );
    }
    backend.apply(new.requiring(good.clone()).requiring(good))?;
    Ok(())
}
