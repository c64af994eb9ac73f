//! Numeric ids are used once, for ever; the next is one more than the greatest ever used.

use crate::backend::{Change, Rejection};
use crate::id::NumericId;
use crate::key::KeyRecord;
use crate::testing::conformance::Failure;
use crate::testing::conformance::ask::Ask;
use crate::testing::conformance::case::list;
use crate::testing::conformance::failure::{Tested, ensure, ensure_eq};
use crate::testing::conformance::instance::Lab;
use crate::testing::sample;

list![
    rule_a_given_numeric_id_finds_its_key,
    rule_a_numeric_id_stays_with_its_key,
    rule_a_numeric_id_is_taken_once,
    rule_a_numeric_id_is_taken_for_ever,
    rule_a_numeric_id_is_taken_once_within_a_change,
    rule_the_next_numeric_id_follows_the_greatest,
    rule_the_next_numeric_id_fills_no_gap,
    rule_the_next_numeric_ids_of_one_change_go_up,
    rule_the_next_numeric_ids_of_one_batch_go_up,
    rule_the_next_numeric_id_follows_one_given_in_its_change,
    rule_the_next_numeric_id_follows_a_removed_one,
    rule_numeric_ids_are_exhausted_after_the_last,
];

fn with_id(n: u32, id: u64) -> Result<KeyRecord, Failure> {
    let numeric_id = Some(NumericId::new(id)?);
    Ok(KeyRecord { numeric_id, ..sample::key(n, "acme")? })
}

fn given(n: u32, id: u64) -> Result<Change, Failure> {
    Ok(sample::create_key(&with_id(n, id)?)?)
}

fn wish(n: u32) -> Result<Change, Failure> {
    Ok(sample::assign_numeric_id(&sample::key(n, "acme")?)?)
}

fn ids(numbers: &[u64]) -> Result<Vec<NumericId>, Failure> {
    Ok(numbers.iter().map(|number| NumericId::new(*number)).collect::<Result<_, _>>()?)
}

fn rule_a_given_numeric_id_finds_its_key(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    let (five, huge) = (with_id(1, 5)?, with_id(2, NumericId::MAX)?);
    let applied =
        backend.apply(sample::in_one([sample::create_key(&five)?, sample::create_key(&huge)?]))?;
    ensure_eq!(applied.numeric_ids, [], "ids assigned where they are given");
    backend.expect_by_numeric_id(&five)?;
    backend.expect_by_numeric_id(&huge)?;
    for nobodys in ids(&[1, 4, 6, NumericId::MAX - 1])? {
        let found = backend.key_by_numeric_id(nobodys)?;
        ensure!(found.is_none(), "{nobodys} finds a key");
    }
    Ok(())
}

/// Through changes and revocation.
fn rule_a_numeric_id_stays_with_its_key(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    let key = with_id(1, 5)?;
    backend.apply(sample::create_key(&key)?)?;
    let key = KeyRecord { name: sample::name("deploy")?, ..sample::changed_key(&key) };
    backend.apply(sample::replace_key(&key)?)?;
    backend.expect_by_numeric_id(&key)?;
    let key = sample::revoked(&key)?;
    backend.apply(sample::replace_key(&key)?)?;
    backend.expect_by_numeric_id(&key)
}

fn rule_a_numeric_id_is_taken_once(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme", "beta"])?;
    backend.apply(given(1, 5)?)?;
    let taken = Rejection::NumericIdTaken(NumericId::new(5)?);
    backend.expect_refusal(given(2, 5)?, &taken, "an id given twice")?;
    let theirs = KeyRecord { owner: sample::owner_id("beta")?, ..with_id(3, 5)? };
    backend.expect_refusal(
        sample::create_key(&theirs)?,
        &taken,
        "an id given to another owner's key",
    )?;
    backend.apply(wish(4)?)?;
    let taken = Rejection::NumericIdTaken(NumericId::new(6)?);
    backend.expect_refusal(given(5, 6)?, &taken, "an assigned id, given")?;
    backend.expect_by_numeric_id(&with_id(1, 5)?)
}

/// Also after its key was revoked and removed.
fn rule_a_numeric_id_is_taken_for_ever(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    let key = with_id(1, 5)?;
    let gone = sample::revoked(&key)?;
    backend.apply_all(&[sample::create_key(&key)?, sample::replace_key(&gone)?])?;
    let taken = Rejection::NumericIdTaken(NumericId::new(5)?);
    backend.expect_refusal(given(2, 5)?, &taken, "the id of a revoked key")?;
    backend.apply(sample::remove_key(&gone)?)?;
    backend.expect_refusal(given(2, 5)?, &taken, "the id of a removed key")?;
    let found = backend.key_by_numeric_id(NumericId::new(5)?)?;
    ensure!(found.is_none(), "the id of a removed key finds one");
    Ok(())
}

fn rule_a_numeric_id_is_taken_once_within_a_change(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    let taken = Rejection::NumericIdTaken(NumericId::new(5)?);
    backend.expect_refusal(
        sample::in_one([given(1, 5)?, given(2, 5)?]),
        &taken,
        "an id given twice in a change",
    )?;
    let key = with_id(1, 5)?;
    backend.apply(sample::create_key(&key)?)?;
    let handed_on = [sample::remove_key(&key)?, given(2, 5)?];
    backend.expect_refusal(sample::in_one(handed_on), &taken, "an id handed on within a change")?;
    backend.expect_by_numeric_id(&key)
}

fn rule_the_next_numeric_id_follows_the_greatest(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    ensure_eq!(backend.apply(wish(1)?)?.numeric_ids, ids(&[1])?, "the first id assigned");
    ensure_eq!(backend.apply(wish(2)?)?.numeric_ids, ids(&[2])?, "the second");
    backend.apply(given(3, 1_000)?)?;
    ensure_eq!(backend.apply(wish(4)?)?.numeric_ids, ids(&[1_001])?, "after 1,000 was given");
    // The assigned id is written in the record.
    for (n, id) in [(1, 1), (2, 2), (4, 1_001)] {
        backend.expect_key(&with_id(n, id)?)?;
        backend.expect_by_numeric_id(&with_id(n, id)?)?;
    }
    Ok(())
}

/// An unused smaller number may be given, but isn't assigned.
fn rule_the_next_numeric_id_fills_no_gap(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    backend.apply_all(&[given(1, 100)?, given(2, 7)?])?;
    ensure_eq!(backend.apply(wish(3)?)?.numeric_ids, ids(&[101])?, "after 100 and then 7");
    Ok(())
}

fn rule_the_next_numeric_ids_of_one_change_go_up(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    // In the order of the operations, not of the keys' ids.
    let applied = backend.apply(sample::in_one([wish(3)?, wish(1)?, wish(2)?]))?;
    ensure_eq!(applied.numeric_ids, ids(&[1, 2, 3])?, "ids assigned in one change");
    for (n, id) in [(3, 1), (1, 2), (2, 3)] {
        backend.expect_by_numeric_id(&with_id(n, id)?)?;
    }
    Ok(())
}

fn rule_the_next_numeric_ids_of_one_batch_go_up(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    let applied = backend.apply_all(&[wish(1)?, given(2, 9)?, wish(3)?, wish(4)?])?;
    let assigned: Vec<_> = applied.into_iter().flat_map(|change| change.numeric_ids).collect();
    ensure_eq!(assigned, ids(&[1, 10, 11])?, "ids assigned in one batch");
    let outcome = backend.batch(&[wish(5)?, given(6, 12)?])?;
    let taken = Err(Rejection::NumericIdTaken(NumericId::new(12)?));
    ensure_eq!(outcome[1], taken, "an id assigned previous in the batch, given");
    Ok(())
}

/// Wherever in the change the given one stands.
fn rule_the_next_numeric_id_follows_one_given_in_its_change(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    let applied = backend.apply(sample::in_one([wish(1)?, given(2, 50)?]))?;
    ensure_eq!(applied.numeric_ids, ids(&[51])?, "with 50 given after it");
    let applied = backend.apply(sample::in_one([given(3, 70)?, wish(4)?]))?;
    ensure_eq!(applied.numeric_ids, ids(&[71])?, "with 70 given before it");
    Ok(())
}

fn rule_the_next_numeric_id_follows_a_removed_one(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    let key = with_id(1, 5)?;
    backend.apply_all(&[sample::create_key(&key)?, sample::remove_key(&key)?])?;
    ensure_eq!(backend.apply(wish(2)?)?.numeric_ids, ids(&[6])?, "after 5 was removed");
    backend.apply(sample::remove_key(&with_id(2, 6)?)?)?;
    ensure_eq!(backend.apply(wish(3)?)?.numeric_ids, ids(&[7])?, "after 6 was removed");
    Ok(())
}

fn rule_numeric_ids_are_exhausted_after_the_last(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    backend.apply(given(1, NumericId::MAX - 1)?)?;
    let last = backend.apply(wish(2)?)?.numeric_ids;
    ensure_eq!(last, ids(&[NumericId::MAX])?, "the last id");
    backend.expect_refusal(wish(3)?, &Rejection::NumericIdsExhausted, "one more")?;
    backend.expect_no_key(sample::key_id(3))?;
    // Smaller ones may still be given.
    backend.apply(given(3, 12)?)?;
    backend.expect_by_numeric_id(&with_id(2, NumericId::MAX)?)
}
