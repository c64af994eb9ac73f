//! Changes apply in order, and so do their events.

use crate::backend::{BackendErrorKind, Change, Sharing, Write};
use crate::event::{EventDraft, EventKind};
use crate::key::{KeyRecord, OwnerRecord};
use crate::testing::conformance::ask::Ask;
use crate::testing::conformance::case::list;
use crate::testing::conformance::failure::{Tested, ensure, ensure_eq};
use crate::testing::conformance::instance::Lab;
use crate::testing::sample;

list![
    order_later_changes_of_a_batch_see_earlier_ones,
    order_events_are_numbered_from_one,
    order_events_of_a_change_are_consecutive,
    order_events_stand_as_their_operations_do,
    order_an_event_may_stand_alone,
    order_refused_changes_take_no_number,
    order_a_commit_is_seen_by_every_read_after_it,
    order_other_openers_are_as_the_backend_says,
];

/// A whole life in one batch: each change needs the one before it.
fn order_later_changes_of_a_batch_see_earlier_ones(lab: &Lab<'_>) -> Tested {
    let backend = lab.fresh()?;
    let owner = sample::owner("acme")?;
    let owner_later = OwnerRecord { max_keys: 1, ..sample::changed_owner(&owner) };
    let key = sample::key(1, "acme")?;
    let key_later = sample::changed_key(&key);
    let gone = sample::revoked(&key_later)?;
    let heir = sample::key(2, "acme")?;
    backend.apply_all(&[
        sample::create_owner(&owner)?,
        sample::create_key(&key)?,
        sample::replace_owner(&owner_later)?,
        sample::replace_key(&key_later)?,
        sample::replace_key(&gone)?,
        sample::create_key(&heir)?,
        sample::remove_key(&gone)?,
    ])?;
    backend.expect_owner(&owner_later)?;
    backend.expect_no_key(key.id)?;
    backend.expect_key(&heir)
}

fn order_events_are_numbered_from_one(lab: &Lab<'_>) -> Tested {
    let backend = lab.fresh()?;
    ensure_eq!(backend.last_event()?, 1, "last event of a new store");
    let first = backend.apply(sample::create_owner(&sample::owner("acme")?)?)?;
    ensure_eq!((first.first_event, first.last_event), (2, 2), "the first change");
    for n in 1..=5 {
        backend.apply(sample::create_key(&sample::key(n, "acme")?)?)?;
    }
    let numbers: Vec<u64> = backend.all_events()?.iter().map(|event| event.sequence).collect();
    ensure_eq!(numbers, [1, 2, 3, 4, 5, 6, 7], "numbers of events");
    ensure_eq!(backend.last_event()?, 7, "last event");
    Ok(())
}

fn order_events_of_a_change_are_consecutive(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    let keys = |from: u32, to: u32| {
        let create = |n| sample::create_key(&sample::key(n, "acme")?);
        (from..=to).map(create).collect::<Result<Vec<Change>, _>>().map(sample::in_one)
    };
    let applied = backend.apply_all(&[keys(1, 3)?, keys(4, 4)?, keys(5, 9)?])?;
    let numbers: Vec<_> =
        applied.iter().map(|change| (change.first_event, change.last_event)).collect();
    ensure_eq!(numbers, [(3, 5), (6, 6), (7, 11)], "first and last event of each change");
    for (event, n) in backend.all_events()?.iter().skip(2).zip(1..) {
        ensure_eq!(event.key, Some(sample::key_id(n)), "the key of event {}", event.sequence);
    }
    Ok(())
}

/// Whatever order the records are written in.
fn order_events_stand_as_their_operations_do(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    let (old, new) = (sample::key(2, "acme")?, sample::key(1, "acme")?);
    backend.apply(sample::create_key(&old)?)?;
    let changes = [
        sample::remove_key(&old)?,
        sample::replace_owner(&sample::changed_owner(&sample::owner("acme")?))?,
        sample::create_key(&new)?,
        sample::create_owner(&sample::owner("aaa")?)?,
        sample::replace_metadata(&sample::changed_metadata(&backend.stored_metadata()?))?,
    ];
    let expected: Vec<EventKind> =
        changes.iter().flat_map(|one| &one.operations).map(|one| one.event.kind).collect();
    backend.apply(sample::in_one(changes))?;
    let found: Vec<EventKind> =
        backend.all_events()?.iter().skip(3).map(|event| event.kind).collect();
    ensure_eq!(found, expected, "kinds of the events of one change");
    Ok(())
}

/// It changes no record, has its number, and needs no record to be there.
fn order_an_event_may_stand_alone(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    let key = sample::key(1, "acme")?;
    backend.apply(sample::create_key(&key)?)?;
    let applied = backend.apply(sample::note(&key)?)?;
    ensure_eq!((applied.first_event, applied.last_event), (4, 4), "an event alone");
    backend.expect_key(&key)?;
    let draft = EventDraft { owner: None, key: None, ..sample::event(EventKind::PepperAdded)? };
    backend.apply(Change::of(Write::Nothing, draft.clone()))?;
    let events = backend.all_events()?;
    ensure_eq!(events.len(), 5, "number of events");
    ensure_eq!(events[4].draft, draft, "an event about nothing in particular");
    Ok(())
}

fn order_refused_changes_take_no_number(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    let create = |n| sample::create_key(&sample::key(n, "acme")?);
    let orphan = sample::create_key(&sample::key(9, "nobody")?)?;
    let outcome =
        backend.batch(&[orphan.clone(), create(1)?, orphan.clone(), orphan, create(2)?])?;
    let numbers: Vec<u64> = outcome.iter().flatten().map(|applied| applied.first_event).collect();
    ensure_eq!(numbers, [3, 4], "numbers of the changes that took effect");
    let numbers: Vec<u64> = backend.all_events()?.iter().map(|event| event.sequence).collect();
    ensure_eq!(numbers, [1, 2, 3, 4], "numbers of events");
    Ok(())
}

fn order_a_commit_is_seen_by_every_read_after_it(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    let mut key = sample::key(1, "acme")?;
    backend.apply(sample::assign_numeric_id(&key)?)?;
    key.numeric_id = Some(crate::id::NumericId::new(1)?);
    for step in 1..=5 {
        let expires_at = Some(sample::at(step));
        key = KeyRecord { expires_at, ..sample::changed_key(&key) };
        let applied = backend.apply(sample::replace_key(&key)?)?;
        backend.expect_key(&key)?;
        backend.expect_by_numeric_id(&key)?;
        let (_, keys, last) = backend.scanned()?;
        let scanned: Vec<_> = keys.iter().map(|key| key.expires_at).collect();
        ensure_eq!(scanned, [expires_at], "expiry scanned");
        ensure_eq!(last, applied.last_event, "number of the scan");
        ensure_eq!(backend.last_event()?, applied.last_event, "last event");
        let events = backend.all_events()?;
        ensure_eq!(events.last().map(|event| event.version), Some(key.version), "last event read");
    }
    Ok(())
}

/// An exclusive opener keeps other openers out; a shared opener shows them its commits.
fn order_other_openers_are_as_the_backend_says(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    if !backend.keeps() {
        // There is nothing to share: the other is a store apart.
        return backend.open_beside()?.expect_blank();
    }
    match (backend.sharing(), backend.open_beside()) {
        (Sharing::Exclusive, Ok(_)) => {
            ensure!(false, "a second opener is let in");
        }
        (Sharing::Exclusive, Err(error)) => {
            ensure_eq!(error.kind(), BackendErrorKind::AlreadyOpen, "the kind of the error");
            // The first isn't disturbed.
            backend.apply(sample::create_key(&sample::key(1, "acme")?)?)?;
        }
        (Sharing::Shared { max_staleness }, other) => {
            let other = other?;
            other.expect_owner(&sample::owner("acme")?)?;
            backend.apply(sample::create_key(&sample::key(1, "acme")?)?)?;
            let seen = other.wait(1, max_staleness)?;
            ensure!(seen >= 2, "the other waits for its bound and knows of event {seen} only");
            other.expect_key(&sample::key(1, "acme")?)?;
            // And the other way round: neither has a copy of its own.
            let changed = sample::changed_key(&sample::key(1, "acme")?);
            other.apply(sample::replace_key(&changed)?)?;
            backend.expect_key(&changed)?;
        }
    }
    Ok(())
}
