//! Names are unique among an owner's live keys, where the store says so.

use crate::backend::Rejection;
use crate::key::{KeyRecord, StoreRules};
use crate::testing::conformance::Failure;
use crate::testing::conformance::ask::Ask;
use crate::testing::conformance::case::list;
use crate::testing::conformance::failure::{Tested, ensure_eq};
use crate::testing::conformance::instance::Lab;
use crate::testing::sample;

use crate::testing::conformance::instance::Instance;

list![
    rule_a_name_is_taken_once,
    rule_a_name_is_the_same_byte_for_byte,
    rule_a_name_is_free_after_revocation,
    rule_a_name_is_free_after_removal,
    rule_a_name_is_free_after_a_renaming,
    rule_a_name_may_stay_through_a_change,
    rule_names_may_change_places_in_one_change,
    rule_names_within_one_change_are_unique,
    rule_names_within_one_batch_are_unique,
    rule_a_name_may_be_another_owners,
    rule_names_may_repeat_unless_the_store_says_otherwise,
];

fn unique<'a>(lab: &Lab<'a>) -> Result<Instance<'a>, Failure> {
    let backend = lab.with_rules(StoreRules { unique_names: true, ..StoreRules::default() })?;
    let owners = [sample::owner("acme")?, sample::owner("beta")?];
    backend.apply(sample::in_one([
        sample::create_owner(&owners[0])?,
        sample::create_owner(&owners[1])?,
    ]))?;
    Ok(backend)
}

fn named(n: u32, name: &str) -> Result<KeyRecord, Failure> {
    Ok(KeyRecord { name: sample::name(name)?, ..sample::key(n, "acme")? })
}

fn renamed(key: &KeyRecord, name: &str) -> Result<KeyRecord, Failure> {
    Ok(KeyRecord { name: sample::name(name)?, ..sample::changed_key(key) })
}

fn rule_a_name_is_taken_once(lab: &Lab<'_>) -> Tested {
    let backend = unique(lab)?;
    let (first, other) = (named(1, "deploy")?, named(2, "build")?);
    backend.apply_all(&[sample::create_key(&first)?, sample::create_key(&other)?])?;
    let taken = Rejection::NameTaken(first.id);
    backend.expect_refusal(
        sample::create_key(&named(3, "deploy")?)?,
        &taken,
        "a creation with a name that is taken",
    )?;
    backend.expect_refusal(
        sample::replace_key(&renamed(&other, "deploy")?)?,
        &taken,
        "a renaming to a name that is taken",
    )?;
    // No name is no name, however often.
    backend.apply_all(&[
        sample::create_key(&sample::key(4, "acme")?)?,
        sample::create_key(&sample::key(5, "acme")?)?,
    ])?;
    Ok(())
}

/// Neither case, composition nor a second space is overlooked.
fn rule_a_name_is_the_same_byte_for_byte(lab: &Lab<'_>) -> Tested {
    let backend = unique(lab)?;
    let alike = ["deploy", "Deploy", "dep loy", "dep  loy", "dep%", "é", "e\u{301}", "1", "1.0"];
    for (name, n) in alike.into_iter().zip(1..) {
        backend.apply(sample::create_key(&named(n, name)?)?)?;
    }
    for (name, n) in alike.into_iter().zip(1..) {
        backend.expect_refusal(
            sample::create_key(&named(100, name)?)?,
            &Rejection::NameTaken(sample::key_id(n)),
            format_args!("{name:?} again"),
        )?;
    }
    Ok(())
}

fn rule_a_name_is_free_after_revocation(lab: &Lab<'_>) -> Tested {
    let backend = unique(lab)?;
    let (first, second) = (named(1, "deploy")?, named(2, "deploy")?);
    backend.apply(sample::create_key(&first)?)?;
    backend.apply(sample::replace_key(&sample::revoked(&first)?)?)?;
    backend.apply(sample::create_key(&second)?)?;
    backend.expect_refusal(
        sample::create_key(&named(3, "deploy")?)?,
        &Rejection::NameTaken(second.id),
        "a name that is taken again",
    )?;
    Ok(())
}

fn rule_a_name_is_free_after_removal(lab: &Lab<'_>) -> Tested {
    let backend = unique(lab)?;
    let first = named(1, "deploy")?;
    let gone = sample::revoked(&first)?;
    backend.apply_all(&[sample::create_key(&first)?, sample::replace_key(&gone)?])?;
    // Removing a revoked key doesn't take the name from who has it now.
    let second = named(2, "deploy")?;
    backend.apply_all(&[sample::create_key(&second)?, sample::remove_key(&gone)?])?;
    backend.expect_refusal(
        sample::create_key(&named(3, "deploy")?)?,
        &Rejection::NameTaken(second.id),
        "the name of a key that stayed",
    )?;
    backend.apply(sample::remove_key(&second)?)?;
    backend.apply(sample::create_key(&named(3, "deploy")?)?)?;
    Ok(())
}

fn rule_a_name_is_free_after_a_renaming(lab: &Lab<'_>) -> Tested {
    let backend = unique(lab)?;
    let (first, second) = (named(1, "deploy")?, named(2, "build")?);
    backend.apply_all(&[sample::create_key(&first)?, sample::create_key(&second)?])?;
    let moved = renamed(&first, "release")?;
    let nameless = KeyRecord { name: None, ..sample::changed_key(&second) };
    backend.apply_all(&[sample::replace_key(&moved)?, sample::replace_key(&nameless)?])?;
    backend.apply_all(&[
        sample::create_key(&named(3, "deploy")?)?,
        sample::create_key(&named(4, "build")?)?,
    ])?;
    backend.expect_refusal(
        sample::create_key(&named(5, "release")?)?,
        &Rejection::NameTaken(first.id),
        "the new name",
    )?;
    Ok(())
}

fn rule_a_name_may_stay_through_a_change(lab: &Lab<'_>) -> Tested {
    let backend = unique(lab)?;
    let mut key = named(1, "deploy")?;
    backend.apply(sample::create_key(&key)?)?;
    for _ in 0..3 {
        key = sample::changed_key(&key);
        backend.apply(sample::replace_key(&key)?)?;
    }
    backend.expect_refusal(
        sample::create_key(&named(2, "deploy")?)?,
        &Rejection::NameTaken(key.id),
        "the name that stayed",
    )?;
    Ok(())
}

fn rule_names_may_change_places_in_one_change(lab: &Lab<'_>) -> Tested {
    let backend = unique(lab)?;
    let (first, second) = (named(1, "deploy")?, named(2, "build")?);
    backend.apply_all(&[sample::create_key(&first)?, sample::create_key(&second)?])?;
    let (first, second) = (renamed(&first, "build")?, renamed(&second, "deploy")?);
    let swap = [sample::replace_key(&first)?, sample::replace_key(&second)?];
    backend.apply(sample::in_one(swap))?;
    // A name handed on by a revocation, too.
    let heir = named(3, "build")?;
    let inherit = [sample::create_key(&heir)?, sample::replace_key(&sample::revoked(&first)?)?];
    backend.apply(sample::in_one(inherit))?;
    for (name, holder) in [("deploy", second.id), ("build", heir.id)] {
        backend.expect_refusal(
            sample::create_key(&named(4, name)?)?,
            &Rejection::NameTaken(holder),
            format_args!("who has {name:?}"),
        )?;
    }
    Ok(())
}

fn rule_names_within_one_change_are_unique(lab: &Lab<'_>) -> Tested {
    let backend = unique(lab)?;
    let two =
        [sample::create_key(&named(1, "deploy")?)?, sample::create_key(&named(2, "deploy")?)?];
    let rejection = backend.refuse(sample::in_one(two))?;
    let either = [1, 2].map(|n| Rejection::NameTaken(sample::key_id(n)));
    ensure_eq!(either.contains(&rejection), true, "taken by one of the two: {rejection:?}");
    // A revoked key in the same change doesn't count.
    let gone = KeyRecord { revoked: Some(sample::switch(1)?), ..named(1, "deploy")? };
    let live = named(2, "deploy")?;
    backend.apply(sample::in_one([sample::create_key(&gone)?, sample::create_key(&live)?]))?;
    Ok(())
}

fn rule_names_within_one_batch_are_unique(lab: &Lab<'_>) -> Tested {
    let backend = unique(lab)?;
    let first = named(1, "deploy")?;
    let outcome = backend.batch(&[
        sample::create_key(&first)?,
        sample::create_key(&named(2, "deploy")?)?,
        sample::replace_key(&sample::revoked(&first)?)?,
        sample::create_key(&named(3, "deploy")?)?,
    ])?;
    let took_effect: Vec<bool> = outcome.iter().map(Result::is_ok).collect();
    ensure_eq!(took_effect, [true, false, true, true], "which changes took effect");
    Ok(())
}

fn rule_a_name_may_be_another_owners(lab: &Lab<'_>) -> Tested {
    let backend = unique(lab)?;
    let theirs = KeyRecord { name: sample::name("deploy")?, ..sample::key(2, "beta")? };
    backend
        .apply_all(&[sample::create_key(&named(1, "deploy")?)?, sample::create_key(&theirs)?])?;
    Ok(())
}

fn rule_names_may_repeat_unless_the_store_says_otherwise(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    let (first, second) = (named(1, "deploy")?, named(2, "deploy")?);
    backend.apply_all(&[sample::create_key(&first)?, sample::create_key(&second)?])?;
    // One of two goes; the other keeps its name.
    backend.apply(sample::remove_key(&first)?)?;
    backend.expect_key(&second)
}
