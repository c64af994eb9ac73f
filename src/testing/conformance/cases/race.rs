//! Commits from several threads behave as if one came after the other.

use std::collections::BTreeSet;

use crate::backend::{Backend, Change, CommitOutcome, Rejection};
use crate::id::NumericId;
use crate::key::{KeyRecord, OwnerRecord, StoreRules};
use crate::testing::conformance::Failure;
use crate::testing::conformance::ask::Ask;
use crate::testing::conformance::case::list;
use crate::testing::conformance::failure::{Tested, ensure, ensure_eq};
use crate::testing::conformance::instance::Lab;
use crate::testing::conformance::wording::Words;
use crate::testing::sample;

use crate::testing::conformance::together::together;

list![
    order_concurrent_commits_are_numbered_without_gaps,
    order_concurrent_batches_do_not_mix,
    order_concurrent_wishes_get_different_numeric_ids,
    order_of_racing_replacements_one_wins,
    order_of_racing_creations_one_wins,
    order_of_racing_stores_one_is_created,
    order_of_racing_names_one_wins,
    order_of_racing_revocations_one_key_stays,
    order_of_racing_keys_only_so_many_come,
];

const THREADS: usize = 4;
const ROUNDS: u32 = 6;

/// A number for each thread and round.
fn number(thread: usize, round: u32) -> u32 {
    u32::try_from(thread).unwrap_or_default() * 1_000 + round
}

/// Each thread commits one change; how many took effect, and why the others didn't.
fn race<B: Backend + ?Sized>(
    backend: &B,
    change: impl Fn(usize) -> Result<Change, Failure> + Sync,
) -> Result<(usize, Vec<Rejection>), Failure> {
    let outcomes = together(THREADS, |thread| backend.batch(&[change(thread)?]))?;
    let (won, lost): (CommitOutcome, CommitOutcome) =
        outcomes.into_iter().flatten().partition(Result::is_ok);
    Ok((won.len(), lost.into_iter().filter_map(Result::err).collect()))
}

/// And each change finds its own event under its own number.
fn order_concurrent_commits_are_numbered_without_gaps(lab: &Lab<'_>) -> Tested {
    let instance = lab.with_owners(&["acme"])?;
    let backend = &*instance;
    let committed = together(THREADS, |thread| {
        (0..ROUNDS)
            .map(|round| {
                let key = sample::key(number(thread, round), "acme")?;
                Ok((backend.apply(sample::create_key(&key)?)?.first_event, key.id))
            })
            .collect::<Result<Vec<_>, Failure>>()
    })?;
    let events = backend.all_events()?;
    let numbers: Vec<u64> = events.iter().map(|event| event.sequence).collect();
    let expected: Vec<u64> = (1..=2 + THREADS as u64 * u64::from(ROUNDS)).collect();
    ensure_eq!(numbers, expected, "numbers of events");
    for (sequence, key) in committed.into_iter().flatten() {
        let event = events.iter().find(|event| event.sequence == sequence);
        let found = event.and_then(|event| event.key);
        ensure_eq!(found, Some(key), "the key of event {sequence}");
    }
    ensure_eq!(backend.all_keys()?.len(), THREADS * ROUNDS as usize, "number of keys");
    Ok(())
}

fn order_concurrent_batches_do_not_mix(lab: &Lab<'_>) -> Tested {
    let instance = lab.with_owners(&["acme"])?;
    let backend = &*instance;
    together(THREADS, |thread| {
        for round in 0..ROUNDS {
            let create =
                |n| sample::create_key(&sample::key(number(thread, round) * 10 + n, "acme")?);
            let applied = backend.apply_all(&[create(0)?, create(1)?, create(2)?])?;
            let numbers: Vec<u64> = applied.iter().map(|change| change.first_event).collect();
            let first = numbers[0];
            ensure_eq!(numbers, [first, first + 1, first + 2], "events of one batch");
        }
        Ok(())
    })
    .map(drop)
}

fn order_concurrent_wishes_get_different_numeric_ids(lab: &Lab<'_>) -> Tested {
    let instance = lab.with_owners(&["acme"])?;
    let backend = &*instance;
    let assigned = together(THREADS, |thread| {
        let wish = |round| -> Result<_, Failure> {
            let key = sample::key(number(thread, round), "acme")?;
            Ok(backend.apply(sample::assign_numeric_id(&key)?)?.numeric_ids)
        };
        (0..ROUNDS).map(wish).collect::<Result<Vec<_>, Failure>>()
    })?;
    let assigned: BTreeSet<u64> =
        assigned.into_iter().flatten().flatten().map(NumericId::get).collect();
    let expected: BTreeSet<u64> = (1..=THREADS as u64 * u64::from(ROUNDS)).collect();
    ensure_eq!(assigned, expected, "numeric ids assigned");
    Ok(())
}

fn order_of_racing_replacements_one_wins(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_owners(&["acme"])?;
    let mut key = sample::key(1, "acme")?;
    backend.apply(sample::create_key(&key)?)?;
    for round in 0..ROUNDS {
        let next = sample::changed_key(&key);
        let (won, lost) = race(&*backend, |thread| {
            let name = sample::name(&format!("of thread {thread}"))?;
            Ok(sample::replace_key(&KeyRecord { name, ..next.clone() })?)
        })?;
        ensure_eq!(won, 1, "replacements that won round {round}");
        let conflict = |rejection: &Rejection| matches!(rejection, Rejection::Conflict { found, .. } if *found == Some(next.version));
        ensure!(lost.iter().all(conflict), "the others lost by {}", lost.words());
        key = next;
    }
    ensure_eq!(backend.last_event()?, 3 + u64::from(ROUNDS), "last event");
    Ok(())
}

fn order_of_racing_creations_one_wins(lab: &Lab<'_>) -> Tested {
    let backend = lab.fresh()?;
    for round in 0..ROUNDS {
        let id = format!("owner {round}");
        let (won, lost) = race(&*backend, |thread| {
            let max_keys = number(thread, 1);
            Ok(sample::create_owner(&OwnerRecord { max_keys, ..sample::owner(&id)? })?)
        })?;
        ensure_eq!(won, 1, "creations that won round {round}");
        ensure_eq!(lost, vec![Rejection::OwnerExists; THREADS - 1], "the others");
    }
    Ok(())
}

fn order_of_racing_stores_one_is_created(lab: &Lab<'_>) -> Tested {
    let backend = lab.blank()?;
    let (won, lost) = race(&*backend, |_| Ok(sample::create_metadata(&sample::metadata()?)?))?;
    ensure_eq!(won, 1, "creations that won");
    ensure_eq!(lost, vec![Rejection::StoreExists; THREADS - 1], "the others");
    backend.expect_empty()
}

fn order_of_racing_names_one_wins(lab: &Lab<'_>) -> Tested {
    let backend = lab.with_rules(StoreRules { unique_names: true, ..StoreRules::default() })?;
    backend.apply(sample::create_owner(&sample::owner("acme")?)?)?;
    for round in 0..ROUNDS {
        let (won, lost) = race(&*backend, |thread| {
            let name = sample::name(&format!("name {round}"))?;
            let key = sample::key(number(thread, round), "acme")?;
            Ok(sample::create_key(&KeyRecord { name, ..key })?)
        })?;
        ensure_eq!(won, 1, "names that won round {round}");
        let taken = |rejection: &Rejection| matches!(rejection, Rejection::NameTaken(_));
        ensure!(lost.iter().all(taken), "the others lost by {}", lost.words());
    }
    Ok(())
}

fn order_of_racing_revocations_one_key_stays(lab: &Lab<'_>) -> Tested {
    let rules = StoreRules { keep_standard_key: true, ..StoreRules::default() };
    let backend = lab.with_rules(rules)?;
    for round in 0..ROUNDS {
        let owner = format!("owner {round}");
        let mut creation = vec![sample::create_owner(&sample::owner(&owner)?)?];
        for thread in 0..THREADS {
            creation.push(sample::create_key(&sample::key(number(thread, round), &owner)?)?);
        }
        backend.apply(sample::in_one(creation))?;
        let (won, lost) = race(&*backend, |thread| {
            let key = sample::key(number(thread, round), &owner)?;
            Ok(sample::replace_key(&sample::revoked(&key)?)?)
        })?;
        ensure_eq!(won, THREADS - 1, "keys revoked in round {round}");
        ensure_eq!(lost, [Rejection::LastStandardKey], "the other");
    }
    Ok(())
}

fn order_of_racing_keys_only_so_many_come(lab: &Lab<'_>) -> Tested {
    let backend = lab.fresh()?;
    for round in 0..ROUNDS {
        let owner = format!("owner {round}");
        let two = OwnerRecord { max_keys: 2, ..sample::owner(&owner)? };
        backend.apply(sample::create_owner(&two)?)?;
        let (won, lost) = race(&*backend, |thread| {
            Ok(sample::create_key(&sample::key(number(thread, round), &owner)?)?)
        })?;
        ensure_eq!(won, 2, "keys that came in round {round}");
        let too_many = Rejection::TooManyKeys { limit: 2 };
        ensure_eq!(lost, vec![too_many; THREADS - 2], "the others");
    }
    Ok(())
}
