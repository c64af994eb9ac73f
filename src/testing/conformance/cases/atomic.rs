//! A change takes effect whole, or not at all.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::backend::{Rejection, Scanned};
use crate::id::NumericId;
use crate::key::{KeyRecord, OwnerRecord, StoreMetadata, StoreRules, TokensValidFrom};
use crate::testing::conformance::Failure;
use crate::testing::conformance::ask::Ask;
use crate::testing::conformance::case::list;
use crate::testing::conformance::failure::{Tested, ensure, ensure_eq};
use crate::testing::conformance::instance::Lab;
use crate::testing::conformance::together::together;
use crate::testing::conformance::wording::Words;
use crate::testing::sample;

list![
    atomic_a_change_takes_effect_whole,
    atomic_a_refused_change_leaves_no_record,
    atomic_a_refused_change_leaves_no_event,
    atomic_a_refused_change_takes_no_name,
    atomic_a_refused_change_uses_no_numeric_id,
    atomic_a_refused_change_removes_nothing,
    atomic_a_refused_change_leaves_the_metadata,
    atomic_a_batch_goes_on_around_a_refused_change,
    atomic_a_batch_may_be_refused_change_by_change,
    atomic_an_empty_batch_does_nothing,
    atomic_a_reader_never_sees_half_a_change,
];

/// A change that is refused because a key that it replaces doesn't exist.
fn impossible() -> Result<crate::backend::Change, Failure> {
    let missing = sample::changed_key(&sample::key(999, "acme")?);
    Ok(sample::replace_key(&missing)?)
}

/// An owner and its keys come with one change, and all are there.
fn atomic_a_change_takes_effect_whole(lab: &Lab<'_>) -> Tested {
    let backend = lab.fresh()?;
    let (acme, beta) = (sample::owner("acme")?, sample::owner("beta")?);
    let keys = [sample::key(1, "acme")?, sample::key(2, "acme")?, sample::key(3, "beta")?];
    backend.apply(sample::in_one([
        sample::create_owner(&acme)?,
        sample::create_key(&keys[0])?,
        sample::create_key(&keys[1])?,
        sample::create_owner(&beta)?,
        sample::create_key(&keys[2])?,
    ]))?;
    backend.expect_owner(&acme)?;
    backend.expect_owner(&beta)?;
    keys.iter().try_for_each(|key| backend.expect_key(key))?;
    ensure_eq!(backend.last_event()?, 6, "events of five operations");
    Ok(())
}

fn atomic_a_refused_change_leaves_no_record(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    let key = sample::key(1, "acme")?;
    backend.apply(sample::create_key(&key)?)?;
    let (beta, new) = (sample::owner("beta")?, sample::key(2, "beta")?);
    backend.refuse(sample::in_one([
        sample::create_owner(&beta)?,
        sample::create_key(&new)?,
        sample::replace_key(&sample::revoked(&key)?)?,
        sample::replace_owner(&sample::changed_owner(&sample::owner("acme")?))?,
        impossible()?,
    ]))?;
    backend.expect_no_owner(&beta.id)?;
    backend.expect_no_key(new.id)?;
    backend.expect_key(&key)?;
    backend.expect_owner(&sample::owner("acme")?)?;
    ensure_eq!(backend.all_keys()?, [key.id], "keys listed");
    Ok(())
}

fn atomic_a_refused_change_leaves_no_event(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    let key = sample::key(1, "acme")?;
    backend.refuse(sample::in_one([sample::create_key(&key)?, impossible()?]))?;
    ensure_eq!(backend.last_event()?, 2, "last event");
    ensure_eq!(backend.all_events()?.len(), 2, "number of events");
    // The number that a refused change would have had goes to the next that isn't.
    let applied = backend.apply(sample::create_key(&key)?)?;
    ensure_eq!(applied.first_event, 3, "the event after a refused change");
    Ok(())
}

fn atomic_a_refused_change_takes_no_name(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_rules(StoreRules { unique_names: true, ..StoreRules::default() })?;
    backend.apply(sample::create_owner(&sample::owner("acme")?)?)?;
    let named = |n| -> Result<_, Failure> {
        Ok(KeyRecord { name: sample::name("deploy")?, ..sample::key(n, "acme")? })
    };
    backend.refuse(sample::in_one([sample::create_key(&named(1)?)?, impossible()?]))?;
    backend.apply(sample::create_key(&named(2)?)?)?;
    Ok(())
}

fn atomic_a_refused_change_uses_no_numeric_id(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    let given = |n, id| -> Result<_, Failure> {
        let numeric_id = Some(NumericId::new(id)?);
        Ok(KeyRecord { numeric_id, ..sample::key(n, "acme")? })
    };
    let wish = sample::assign_numeric_id(&sample::key(1, "acme")?)?;
    backend.refuse(sample::in_one([
        sample::create_key(&given(2, 7)?)?,
        wish.clone(),
        impossible()?,
    ]))?;
    ensure!(backend.key_by_numeric_id(NumericId::new(7)?)?.is_none(), "no key has the number 7");
    let assigned = backend.apply(wish)?.numeric_ids;
    ensure_eq!(assigned, [NumericId::new(1)?], "the first numeric id assigned");
    backend.apply(sample::create_key(&given(3, 7)?)?)?;
    Ok(())
}

/// A refused removal leaves the key, and all by which it is found.
fn atomic_a_refused_change_removes_nothing(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_rules(StoreRules { unique_names: true, ..StoreRules::default() })?;
    let acme = sample::owner("acme")?;
    let key = KeyRecord {
        numeric_id: Some(NumericId::new(5)?),
        name: sample::name("deploy")?,
        ..sample::key(1, "acme")?
    };
    backend.apply(sample::in_one([sample::create_owner(&acme)?, sample::create_key(&key)?]))?;
    backend.refuse(sample::in_one([
        sample::remove_key(&key)?,
        sample::remove_owner(&acme)?,
        impossible()?,
    ]))?;
    backend.expect_owner(&acme)?;
    backend.expect_key(&key)?;
    backend.expect_by_numeric_id(&key)?;
    ensure_eq!(backend.all_keys()?, [key.id], "keys listed");
    let same_name = KeyRecord { name: key.name.clone(), ..sample::key(2, "acme")? };
    backend.expect_refusal(
        sample::create_key(&same_name)?,
        &Rejection::NameTaken(key.id),
        "its name is still taken",
    )?;
    Ok(())
}

fn atomic_a_refused_change_leaves_the_metadata(lab: &Lab<'_>) -> Tested {
    let backend = lab.fresh()?;
    let before = backend.stored_metadata()?;
    let metadata = StoreMetadata {
        tokens_valid_from: Some(TokensValidFrom::of(sample::at(9))),
        ..sample::changed_metadata(&before)
    };
    backend.refuse(sample::in_one([sample::replace_metadata(&metadata)?, impossible()?]))?;
    ensure_eq!(backend.stored_metadata()?, before, "the metadata");
    Ok(())
}

/// The first and last change of a batch take effect though the middle one is refused.
fn atomic_a_batch_goes_on_around_a_refused_change(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    let (first, lost, last) =
        (sample::key(1, "acme")?, sample::key(2, "acme")?, sample::key(3, "acme")?);
    let outcome = backend.batch(&[
        sample::create_key(&first)?,
        sample::in_one([sample::create_key(&lost)?, impossible()?]),
        sample::create_key(&last)?,
    ])?;
    let took_effect: Vec<bool> = outcome.iter().map(Result::is_ok).collect();
    ensure_eq!(took_effect, [true, false, true], "which changes took effect");
    backend.expect_key(&first)?;
    backend.expect_no_key(lost.id)?;
    backend.expect_key(&last)?;
    let numbers: Vec<u64> = outcome.iter().flatten().map(|applied| applied.first_event).collect();
    ensure_eq!(numbers, [3, 4], "events around a refused change");
    Ok(())
}

/// Each refused change of a batch has its own reason.
fn atomic_a_batch_may_be_refused_change_by_change(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    let orphan = sample::key(1, "nobody")?;
    let outcome = backend.batch(&[
        sample::create_owner(&sample::owner("acme")?)?,
        sample::create_key(&orphan)?,
        impossible()?,
    ])?;
    let reasons = [
        matches!(outcome[0], Err(Rejection::OwnerExists)),
        matches!(outcome[1], Err(Rejection::OwnerMissing)),
        matches!(outcome[2], Err(Rejection::Conflict { found: None, .. })),
    ];
    ensure_eq!(reasons, [true; 3], "reasons of {}", outcome.words());
    ensure_eq!(backend.last_event()?, 2, "last event");
    ensure_eq!(backend.all_keys()?, [], "keys listed");
    Ok(())
}

fn atomic_an_empty_batch_does_nothing(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    ensure_eq!(backend.commit(&[])?, [], "outcome of an empty batch");
    ensure_eq!(backend.last_event()?, 2, "last event");
    Ok(())
}

/// While changes write an owner and its key together, both always look the same.
fn atomic_a_reader_never_sees_half_a_change(lab: &Lab<'_>) -> Tested {
    const STEPS: u64 = 25;
    let instance = lab.with_owners(&["acme"])?;
    let key = sample::key(1, "acme")?;
    instance.apply(sample::create_key(&key)?)?;
    let (backend, done) = (&*instance, &AtomicBool::new(false));
    let write = || -> Tested {
        let (mut owner, mut key) = (sample::owner("acme")?, key.clone());
        for step in 1..=STEPS {
            let mark = Some(sample::at(step));
            let from = mark.map(TokensValidFrom::of);
            owner = OwnerRecord { tokens_valid_from: from, ..sample::changed_owner(&owner) };
            key = KeyRecord { expires_at: mark, ..sample::changed_key(&key) };
            let change = [sample::replace_owner(&owner)?, sample::replace_key(&key)?];
            backend.apply(sample::in_one(change))?;
        }
        Ok(())
    };
    let read = || -> Tested {
        loop {
            // Asked first, so that the last state is read too.
            let last = done.load(Ordering::SeqCst);
            let mut marks = Vec::new();
            backend.scan_owner(&sample::owner_id("acme")?, &mut |scanned| {
                marks.push(match scanned {
                    Scanned::Key(key) => key.expires_at,
                    Scanned::Owner(owner) => owner.tokens_valid_from.map(|from| from.moment),
                    Scanned::Damaged(_) => None,
                });
            })?;
            ensure_eq!(marks.len(), 2, "records shown");
            ensure_eq!(marks[0], marks[1], "mark of the owner and expiry of its key");
            if last {
                ensure_eq!(marks[0], Some(sample::at(STEPS)), "the last mark");
                return Ok(());
            }
        }
    };
    together(2, |thread| {
        if thread == 0 {
            let _done = Finally(done);
            write()
        } else {
            read()
        }
    })?;
    Ok(())
}

/// Says on drop that a thread is done, also when it panicked.
struct Finally<'a>(&'a AtomicBool);

impl Drop for Finally<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
