//! Events are found by what they are about; the oldest can be pruned.

use crate::authority::{Actor, Authority, Role};
use crate::backend::{Change, EventFilter, EventPage, EventQuery, Write};
use crate::event::{Event, EventDraft, EventKind, Fields};
use crate::id::{Generation, Incarnation, Version};
use crate::key::OwnerRecord;
use crate::testing::conformance::Failure;
use crate::testing::conformance::ask::Ask;
use crate::testing::conformance::case::list;
use crate::testing::conformance::failure::{Tested, ensure, ensure_eq};
use crate::testing::conformance::instance::Lab;
use crate::testing::sample;

use crate::testing::conformance::instance::Instance;
use crate::testing::conformance::walk;

list![
    query_events_show_every_field,
    query_events_are_of_every_kind,
    query_events_are_those_after_a_number,
    query_events_are_those_of_a_key,
    query_events_are_those_of_an_owner,
    query_events_are_those_of_an_incarnation,
    query_events_are_those_by_an_actor,
    query_events_are_those_by_an_acting_key,
    query_events_are_those_of_a_kind,
    query_events_are_those_of_a_time,
    query_events_match_the_whole_filter,
    query_pages_of_events_keep_to_their_limit,
    query_pages_of_events_examine_no_more_than_told,
    query_pages_of_events_are_complete,
    query_pages_of_no_events_are_empty,
    query_pruning_removes_the_oldest,
    query_pruning_stops_at_the_first_that_is_younger,
    query_pruning_keeps_the_newest,
    query_pruning_removes_no_more_than_told,
    query_pruning_says_how_far_it_went,
    query_pruned_events_are_missing_from_filters_too,
];

/// Thirty events in which keys, owners, actors, kinds and times mix; all fields of some, few of
/// others.
pub(super) fn drafts() -> Result<Vec<EventDraft>, Failure> {
    let kinds = [EventKind::TokenRevealed, EventKind::KeyBlocked, EventKind::OwnerSuspended];
    let mut drafts = Vec::new();
    for n in 0..30_u32 {
        let owner = sample::owner_id(["acme", "beta"][n as usize % 2])?;
        let actor = Actor::new(["root", "Root", "ops"][n as usize % 3])?;
        let (key, generation) = (sample::key_id(n % 4), Generation::new(n + 1)?);
        let role = match n % 5 {
            0 => Role::Administrator,
            1 => Role::Owner { owner },
            2 => Role::Delegate { owner, key, generation },
            3 => Role::OwnerByKey { owner, key, generation, previous_tokens: false },
            _ => Role::OwnerByKey { owner, key, generation, previous_tokens: true },
        };
        drafts.push(EventDraft {
            at: sample::at(u64::from(n)),
            kind: kinds[n as usize % 5 % 3],
            owner: (n % 10 != 9).then_some(owner),
            key: (n % 7 != 6).then_some(key),
            version: Version::new(u64::from(n) + 1),
            generation: (n % 3 == 0).then_some(generation),
            fields: Fields::from_bits(n),
            authority: Authority::new(role, actor),
        });
    }
    Ok(drafts)
}

/// A store with these events, and no others: the first is that of its creation.
pub(super) fn store<'a>(lab: &Lab<'a>, drafts: &[EventDraft]) -> Result<Instance<'a>, Failure> {
    let backend = lab.blank()?;
    let mut batch = vec![sample::create_metadata(&sample::metadata()?)?];
    batch.resize_with(drafts.len(), || Change::of(Write::Nothing, drafts[0].clone()));
    for (change, draft) in batch.iter_mut().zip(drafts) {
        change.operations[0].event = draft.clone();
    }
    backend.apply_all(&batch)?;
    Ok(backend)
}

fn numbered(drafts: &[EventDraft]) -> Vec<Event> {
    let event = |(draft, sequence): (&EventDraft, u64)| Event {
        binding: None,
        sequence,
        incarnation: None,
        draft: draft.clone(),
    };
    drafts.iter().zip(1..).map(event).collect()
}

pub(super) fn expected(drafts: &[EventDraft], filter: &EventFilter) -> Vec<u64> {
    let events = numbered(drafts);
    events.iter().filter(|event| filter.matches(event)).map(|event| event.sequence).collect()
}

pub(super) fn numbers(events: &[Event]) -> Vec<u64> {
    events.iter().map(|event| event.sequence).collect()
}

/// Tries filters, each of which must meet some events and not others.
fn tried(lab: &Lab<'_>, filters: &[EventFilter]) -> Tested {
    let drafts = drafts()?;
    let backend = store(lab, &drafts)?;
    for filter in filters {
        let expected = expected(&drafts, filter);
        ensure!(!expected.is_empty(), "no sample event is of {filter:?}");
        ensure!(expected.len() < drafts.len(), "all sample events are of {filter:?}");
        let shown = walk::events(&*backend, 0, filter, walk::WIDE)?;
        ensure_eq!(numbers(&shown), expected, "events of {filter:?}");
        let shown = walk::newest_events(&*backend, (0, u64::MAX), filter, walk::WIDE)?;
        let expected: Vec<u64> = expected.into_iter().rev().collect();
        ensure_eq!(numbers(&shown), expected, "events of {filter:?}, newest first");
    }
    Ok(())
}

fn page(backend: &Instance<'_>, after: u64) -> Result<EventPage, Failure> {
    let filter = EventFilter::default();
    Ok(backend.events(&EventQuery { after, before: None, filter, limit: 100, examine: 100 })?)
}

fn query_events_show_every_field(lab: &Lab<'_>) -> Tested {
    let mut drafts = drafts()?;
    let Some(last) = drafts.last_mut() else { return Ok(()) };
    last.authority = sample::largest_authority("acme")?;
    last.generation = Some(Generation::MAX);
    last.at = crate::clock::Timestamp::MAX;
    last.fields = Fields::from_bits((1 << 17) - 1);
    let backend = store(lab, &drafts)?;
    for (shown, expected) in backend.all_events()?.iter().zip(numbered(&drafts)) {
        ensure_eq!(*shown, expected, "event {}", expected.sequence);
    }
    ensure_eq!(backend.all_events()?.len(), drafts.len(), "number of events");
    Ok(())
}

fn query_events_are_of_every_kind(lab: &Lab<'_>) -> Tested {
    let all: Vec<EventDraft> =
        EventKind::ALL.iter().map(|kind| sample::event(*kind)).collect::<Result<_, _>>()?;
    let backend = store(lab, &all)?;
    let shown: Vec<EventKind> = backend.all_events()?.iter().map(|event| event.kind).collect();
    ensure_eq!(shown, EventKind::ALL, "kinds of events");
    for (kind, sequence) in EventKind::ALL.iter().zip(1..) {
        let filter = EventFilter { kind: Some(*kind), ..EventFilter::default() };
        let shown = walk::events(&*backend, 0, &filter, walk::WIDE)?;
        ensure_eq!(numbers(&shown), [sequence], "events of kind {kind}");
    }
    Ok(())
}

fn query_events_are_those_after_a_number(lab: &Lab<'_>) -> Tested {
    let backend = store(lab, &drafts()?)?;
    for after in [0, 1, 17, 29, 30, 31, 1_000, i64::MAX as u64] {
        let shown = numbers(&page(&backend, after)?.events);
        let expected: Vec<u64> = (1..=30).filter(|sequence| *sequence > after).collect();
        ensure_eq!(shown, expected, "events after {after}");
    }
    Ok(())
}

fn query_events_are_those_of_a_key(lab: &Lab<'_>) -> Tested {
    let of = |n| EventFilter { key: Some(sample::key_id(n)), ..EventFilter::default() };
    tried(lab, &[of(0), of(1), of(3)])
}

fn query_events_are_those_of_an_owner(lab: &Lab<'_>) -> Tested {
    let of = |owner| -> Result<_, Failure> {
        Ok(EventFilter { owner: Some(sample::owner_id(owner)?), ..EventFilter::default() })
    };
    tried(lab, &[of("acme")?, of("beta")?])
}

/// Two owners had one id, one after the other.
fn query_events_are_those_of_an_incarnation(lab: &Lab<'_>) -> Tested {
    let backend = lab.fresh()?;
    let [first, second] = [7, 9].map(Incarnation::new);
    let first = OwnerRecord { incarnation: first?, ..sample::owner("acme")? };
    let second = OwnerRecord { incarnation: second?, ..sample::owner("acme")? };
    backend.apply(sample::create_owner(&first)?)?;
    backend.apply(sample::remove_owner(&first)?)?;
    backend.apply(sample::create_owner(&second)?)?;
    let of = |owner, incarnation| EventFilter { owner, incarnation, ..EventFilter::default() };
    let acme = Some(first.id);
    for (filter, expected) in [
        (of(acme, Some(first.incarnation)), vec![2, 3]),
        (of(acme, Some(second.incarnation)), vec![4]),
        (of(None, Some(second.incarnation)), vec![4]),
        (of(acme, None), vec![2, 3, 4]),
        (of(acme, Some(Incarnation::MAX)), vec![]),
    ] {
        for bounds in walk::NARROW {
            let shown = walk::events(&*backend, 0, &filter, bounds)?;
            ensure_eq!(numbers(&shown), expected, "events of {filter:?} by {bounds:?}");
        }
    }
    Ok(())
}

/// The events of an actor whose name is the same byte for byte.
fn query_events_are_those_by_an_actor(lab: &Lab<'_>) -> Tested {
    let by = |actor: &str| -> Result<_, Failure> {
        Ok(EventFilter { actor: Some(Actor::new(actor)?), ..EventFilter::default() })
    };
    tried(lab, &[by("root")?, by("Root")?, by("ops")?])
}

/// Events of an acting key: those that delegates caused with it, not those about it.
fn query_events_are_those_by_an_acting_key(lab: &Lab<'_>) -> Tested {
    let by = |n| EventFilter { acting_key: Some(sample::key_id(n)), ..EventFilter::default() };
    tried(lab, &[by(0), by(1), by(3)])?;
    let backend = store(lab, &drafts()?)?;
    let shown = walk::events(&*backend, 0, &by(77), walk::WIDE)?;
    ensure_eq!(shown.len(), 0, "events by a key that never acted");
    Ok(())
}

fn query_events_are_those_of_a_kind(lab: &Lab<'_>) -> Tested {
    let of = |kind| EventFilter { kind: Some(kind), ..EventFilter::default() };
    tried(lab, &[of(EventKind::TokenRevealed), of(EventKind::OwnerSuspended)])
}

/// From `since` on, and before `until`.
fn query_events_are_those_of_a_time(lab: &Lab<'_>) -> Tested {
    let (from, to) = (Some(sample::at(7)), Some(sample::at(20)));
    tried(
        lab,
        &[
            EventFilter { since: from, ..EventFilter::default() },
            EventFilter { until: to, ..EventFilter::default() },
            EventFilter { since: from, until: to, ..EventFilter::default() },
            EventFilter { since: from, until: Some(sample::at(8)), ..EventFilter::default() },
        ],
    )
}

fn query_events_match_the_whole_filter(lab: &Lab<'_>) -> Tested {
    let (key, owner) = (Some(sample::key_id(1)), Some(sample::owner_id("beta")?));
    let (kind, actor) = (Some(EventKind::KeyBlocked), Some(Actor::new("root")?));
    let (since, until) = (Some(sample::at(3)), Some(sample::at(28)));
    let acting_key = Some(sample::key_id(1));
    tried(
        lab,
        &[
            EventFilter { key, owner, ..EventFilter::default() },
            EventFilter { key, kind, since, ..EventFilter::default() },
            EventFilter { owner, actor: actor.clone(), ..EventFilter::default() },
            EventFilter { kind, actor: actor.clone(), until, ..EventFilter::default() },
            EventFilter { key, acting_key, ..EventFilter::default() },
            EventFilter { owner, acting_key, ..EventFilter::default() },
            EventFilter { key, owner, kind, actor, since, until, ..EventFilter::default() },
        ],
    )
}

fn query_pages_of_events_keep_to_their_limit(lab: &Lab<'_>) -> Tested {
    let drafts = drafts()?;
    let backend = store(lab, &drafts)?;
    let kind = Some(EventKind::KeyBlocked);
    for filter in [EventFilter::default(), EventFilter { kind, ..EventFilter::default() }] {
        let expected = expected(&drafts, &filter);
        for limit in [1, 2, expected.len() - 1] {
            let query = EventQuery {
                after: 0,
                before: None,
                filter: filter.clone(),
                limit,
                examine: 1_000,
            };
            let page = backend.events(&query)?;
            ensure_eq!(numbers(&page.events), expected[..limit], "a page of at most {limit}");
            ensure!(page.next.is_some(), "a page that was cut doesn't say so");
        }
    }
    Ok(())
}

fn query_pages_of_events_examine_no_more_than_told(lab: &Lab<'_>) -> Tested {
    let backend = store(lab, &drafts()?)?;
    for examine in [1, 3, 29] {
        let filter = EventFilter::default();
        let query = EventQuery { after: 0, before: None, filter, limit: 100, examine };
        let page = backend.events(&query)?;
        let expected: Vec<u64> = (1..=examine as u64).collect();
        ensure_eq!(numbers(&page.events), expected, "a page that looks at {examine}");
        ensure!(page.next.is_some(), "a page that ended early doesn't say so");
    }
    Ok(())
}

fn query_pages_of_events_are_complete(lab: &Lab<'_>) -> Tested {
    let drafts = drafts()?;
    let backend = store(lab, &drafts)?;
    let key = Some(sample::key_id(2));
    let nobody = Some(Actor::new("nobody")?);
    let filters = [
        EventFilter::default(),
        EventFilter { key, ..EventFilter::default() },
        EventFilter { key, since: Some(sample::at(9)), ..EventFilter::default() },
        EventFilter { actor: nobody, ..EventFilter::default() },
    ];
    for filter in filters {
        for bounds in walk::NARROW {
            let shown = walk::events(&*backend, 0, &filter, bounds)?;
            let expected = expected(&drafts, &filter);
            ensure_eq!(numbers(&shown), expected, "events by pages of {bounds:?}");
        }
    }
    Ok(())
}

fn query_pages_of_no_events_are_empty(lab: &Lab<'_>) -> Tested {
    let backend = lab.blank()?;
    let newest = walk::newest_events(&*backend, (0, 9), &EventFilter::default(), walk::WIDE)?;
    ensure!(newest.is_empty(), "a new database has newest events");
    for after in [0, 5] {
        let page = page(&backend, after)?;
        ensure!(page.events.is_empty(), "a new database has events");
        ensure_eq!((page.next, page.pruned_through), (None, 0), "what comes after nothing");
    }
    ensure_eq!(backend.prune_events(sample::at(9), 100)?, 0, "how many of no events were pruned");
    Ok(())
}

fn query_pruning_removes_the_oldest(lab: &Lab<'_>) -> Tested {
    let backend = store(lab, &drafts()?)?;
    // Event `n` is of second `n - 1`.
    ensure_eq!(backend.prune_events(sample::at(10), 100)?, 10, "how many were pruned");
    let expected: Vec<u64> = (11..=30).collect();
    ensure_eq!(numbers(&backend.all_events()?), expected, "events left");
    ensure_eq!(backend.prune_events(sample::at(10), 100)?, 0, "how many were pruned again");
    ensure_eq!(backend.prune_events(sample::at(11), 100)?, 1, "how many were pruned then");
    Ok(())
}

/// The order is that of numbers, whatever a clock said.
fn query_pruning_stops_at_the_first_that_is_younger(lab: &Lab<'_>) -> Tested {
    let times = [1, 2, 50, 3, 4, 60];
    let draft = |time| -> Result<_, Failure> {
        Ok(EventDraft { at: sample::at(time), ..sample::event(EventKind::TokenRevealed)? })
    };
    let drafts: Vec<EventDraft> = times.into_iter().map(draft).collect::<Result<_, _>>()?;
    let backend = store(lab, &drafts)?;
    ensure_eq!(backend.prune_events(sample::at(10), 100)?, 2, "how many were pruned");
    ensure_eq!(numbers(&backend.all_events()?), [3, 4, 5, 6], "events left");
    Ok(())
}

fn query_pruning_keeps_the_newest(lab: &Lab<'_>) -> Tested {
    let backend = store(lab, &drafts()?)?;
    ensure_eq!(backend.prune_events(sample::at(1_000), 100)?, 29, "how many were pruned");
    ensure_eq!(numbers(&backend.all_events()?), [30], "events left");
    ensure_eq!(backend.last_event()?, 30, "last event");
    let applied = backend.apply(sample::create_owner(&sample::owner("acme")?)?)?;
    ensure_eq!(applied.first_event, 31, "the event after pruning");
    ensure_eq!(numbers(&backend.all_events()?), [30, 31], "events after pruning");
    Ok(())
}

/// Pruning leaves the rest for the next calls, until one removes fewer than it may.
fn query_pruning_removes_no_more_than_told(lab: &Lab<'_>) -> Tested {
    let backend = store(lab, &drafts()?)?;
    let steps = [(10, 4, 4), (10, 6, 6), (10, 1, 0), (20, 7, 7), (20, 7, 3)];
    let mut through = 0;
    for (second, limit, removed) in steps {
        let pruned = backend.prune_events(sample::at(second), limit)?;
        ensure_eq!(pruned, removed, "how many were pruned before {second}, at most {limit}");
        through += removed;
        let expected: Vec<u64> = (through + 1..=30).collect();
        ensure_eq!(numbers(&backend.all_events()?), expected, "events left");
    }
    Ok(())
}

fn query_pruning_says_how_far_it_went(lab: &Lab<'_>) -> Tested {
    let backend = store(lab, &drafts()?)?;
    ensure_eq!(page(&backend, 0)?.pruned_through, 0, "pruned through before pruning");
    backend.prune_events(sample::at(10), 100)?;
    for after in [0, 5, 10, 20, 30] {
        let pruned_through = page(&backend, after)?.pruned_through;
        ensure_eq!(pruned_through, 10, "pruned through, asked for events after {after}");
    }
    // A caller that asks with a filter, or for one event, has missed the other events too.
    let filter = EventFilter { key: Some(sample::key_id(77)), ..EventFilter::default() };
    let query = EventQuery { after: 0, before: None, filter, limit: 1, examine: 1 };
    ensure_eq!(backend.events(&query)?.pruned_through, 10, "pruned through, by a filter");
    backend.prune_events(sample::at(1_000), 100)?;
    ensure_eq!(page(&backend, 0)?.pruned_through, 29, "pruned through after all but the newest");
    Ok(())
}

fn query_pruned_events_are_missing_from_filters_too(lab: &Lab<'_>) -> Tested {
    let drafts = drafts()?;
    let backend = store(lab, &drafts)?;
    backend.prune_events(sample::at(10), 100)?;
    let filters = [
        EventFilter { key: Some(sample::key_id(1)), ..EventFilter::default() },
        EventFilter { owner: Some(sample::owner_id("acme")?), ..EventFilter::default() },
        EventFilter { actor: Some(Actor::new("ops")?), ..EventFilter::default() },
        EventFilter { kind: Some(EventKind::KeyBlocked), ..EventFilter::default() },
        EventFilter { since: Some(sample::at(2)), ..EventFilter::default() },
    ];
    for filter in filters {
        let mut expected = expected(&drafts, &filter);
        expected.retain(|sequence| *sequence > 10);
        let shown = walk::events(&*backend, 0, &filter, walk::WIDE)?;
        ensure_eq!(numbers(&shown), expected, "events of {filter:?}");
    }
    Ok(())
}
