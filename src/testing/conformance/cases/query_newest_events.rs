//! Events are also read newest first, before a number.

use super::query_events::{drafts, expected, numbers, store};
use crate::authority::Actor;
use crate::backend::{EventFilter, EventQuery};
use crate::event::{EventDraft, EventKind};
use crate::testing::conformance::case::list;
use crate::testing::conformance::failure::{Tested, ensure_eq};
use crate::testing::conformance::instance::Lab;
use crate::testing::conformance::walk;
use crate::testing::sample;

list![
    query_events_before_a_number_come_newest_first,
    query_pages_of_the_newest_events_keep_to_their_bounds,
    query_pages_of_the_newest_events_are_complete,
    query_pages_of_the_newest_events_reach_far_back,
];

/// Neither bound is shown, and neither need be an event that is there.
fn query_events_before_a_number_come_newest_first(lab: &Lab<'_>) -> Tested {
    let backend = store(lab, &drafts()?)?;
    for before in [0, 1, 2, 17, 30, 31, 1_000, i64::MAX as u64, u64::MAX] {
        for after in [0, 1, 16, 17, 29, 30, 1_000, u64::MAX] {
            let (before, filter) = (Some(before), EventFilter::default());
            let query = EventQuery { after, before, filter, limit: 100, examine: 100 };
            let page = backend.events(&query)?;
            let is_between = |number: &u64| *number > after && Some(*number) < before;
            let expected: Vec<u64> = (1..=30).rev().filter(is_between).collect();
            let shown = numbers(&page.events);
            ensure_eq!(shown, expected, "events after {after} and before {before:?}");
            ensure_eq!(page.next, None, "what comes before all events");
        }
    }
    Ok(())
}

fn query_pages_of_the_newest_events_keep_to_their_bounds(lab: &Lab<'_>) -> Tested {
    let backend = store(lab, &drafts()?)?;
    let before = Some(u64::MAX);
    for few in [1, 3, 29] {
        for (limit, examine) in [(few, 1_000), (100, few)] {
            let filter = EventFilter::default();
            let page = backend.events(&EventQuery { after: 0, before, filter, limit, examine })?;
            let expected: Vec<u64> = (1..=30).rev().take(few).collect();
            ensure_eq!(numbers(&page.events), expected, "a page of {limit}, looking at {examine}");
            ensure_eq!(page.next, expected.last().copied(), "where a page that was cut goes on");
        }
    }
    Ok(())
}

fn query_pages_of_the_newest_events_are_complete(lab: &Lab<'_>) -> Tested {
    let drafts = drafts()?;
    let backend = store(lab, &drafts)?;
    let key = Some(sample::key_id(2));
    let owner = Some(sample::owner_id("beta")?);
    let nobody = Some(Actor::new("nobody")?);
    let filters = [
        EventFilter::default(),
        EventFilter { key, ..EventFilter::default() },
        EventFilter { owner, ..EventFilter::default() },
        EventFilter { acting_key: key, ..EventFilter::default() },
        EventFilter { key, since: Some(sample::at(9)), ..EventFilter::default() },
        EventFilter { actor: nobody, ..EventFilter::default() },
    ];
    for filter in filters {
        for bounds in walk::NARROW {
            let shown = walk::newest_events(&*backend, (4, 29), &filter, bounds)?;
            let mut expected = expected(&drafts, &filter);
            expected.retain(|number| (5..29).contains(number));
            expected.reverse();
            ensure_eq!(numbers(&shown), expected, "events by pages of {bounds:?}");
        }
    }
    // What was pruned is missing from these too.
    backend.prune_events(sample::at(10), 100)?;
    let filter = EventFilter { key, ..EventFilter::default() };
    let mut left = expected(&drafts, &filter);
    left.retain(|number| *number > 10);
    left.reverse();
    let shown = walk::newest_events(&*backend, (0, u64::MAX), &filter, walk::WIDE)?;
    ensure_eq!(numbers(&shown), left, "events that were not pruned");
    Ok(())
}

/// Those of one key and one owner lie far apart, and then close together.
fn query_pages_of_the_newest_events_reach_far_back(lab: &Lab<'_>) -> Tested {
    let (rare, other) = (sample::key_id(1), sample::key_id(2));
    let (rarely, often) = (sample::owner_id("acme")?, sample::owner_id("beta")?);
    let mut drafts = Vec::new();
    for n in 0..1_500_u32 {
        let is_rare = n % 700 == 5 || (200..500).contains(&n);
        let (key, owner) = if is_rare { (rare, rarely) } else { (other, often) };
        let event = sample::event(EventKind::TokenRevealed)?;
        drafts.push(EventDraft { key: Some(key), owner: Some(owner), ..event });
    }
    let backend = store(lab, &drafts)?;
    let of_key = EventFilter { key: Some(rare), ..EventFilter::default() };
    let of_owner = EventFilter { owner: Some(rarely), ..EventFilter::default() };
    for filter in [of_key, of_owner] {
        let mut expected = expected(&drafts, &filter);
        expected.reverse();
        ensure_eq!(expected.len(), 303, "sample events of {filter:?}");
        for bounds in [walk::WIDE, walk::Bounds { limit: 50, examine: 40 }] {
            let shown = walk::newest_events(&*backend, (0, u64::MAX), &filter, bounds)?;
            ensure_eq!(numbers(&shown), expected, "events by pages of {bounds:?}");
        }
    }
    Ok(())
}
