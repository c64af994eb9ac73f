//! Following pages from the first to the last, watching that they move on.

use super::failure::{Failure, ensure};
use crate::backend::{Backend, EventFilter, EventQuery, KeyFilter, KeyPageQuery, OwnerPageQuery};
use crate::event::Event;
use crate::id::{KeyId, OwnerId};
use crate::key::Tags;

/// The bounds of one page.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) limit: usize,
    pub(super) examine: usize,
}

/// Bounds that no case comes to.
pub(super) const WIDE: Bounds = Bounds { limit: 10_000, examine: 10_000 };

/// Bounds that a small store comes to in several ways: by either, by both, a row at a time.
pub(super) const NARROW: [Bounds; 6] = [
    Bounds { limit: 1, examine: 1 },
    Bounds { limit: 1, examine: 100 },
    Bounds { limit: 100, examine: 1 },
    Bounds { limit: 3, examine: 2 },
    Bounds { limit: 2, examine: 3 },
    Bounds { limit: 4, examine: 4 },
];

/// More pages than any case has rows.
const MOST_PAGES: usize = 10_000;

/// The ids of all keys that the pages show, in their order.
pub(super) fn keys<B: Backend + ?Sized>(
    backend: &B,
    filter: &KeyFilter,
    bounds: Bounds,
) -> Result<Vec<KeyId>, Failure> {
    let (mut shown, mut before) = (Vec::new(), None);
    for _ in 0..MOST_PAGES {
        let Bounds { limit, examine } = bounds;
        let query = KeyPageQuery { filter: filter.clone(), before, after: None, limit, examine };
        let page = backend.page_keys(&query)?;
        ensure!(
            page.keys.len() <= limit.min(examine),
            "a page of {bounds:?} shows {} keys",
            page.keys.len()
        );
        let lowest = page.keys.last().map(|key| key.id);
        shown.extend(page.keys.iter().map(|key| key.id));
        let Some(next) = page.next else { return Ok(shown) };
        ensure!(before.is_none_or(|before| next < before), "`next` of a page doesn't move on");
        ensure!(lowest.is_none_or(|lowest| next <= lowest), "`next` lies above a key shown");
        before = Some(next);
    }
    Err(endless())
}

/// The ids of all owners that the pages show, in their order.
pub(super) fn owners<B: Backend + ?Sized>(
    backend: &B,
    (suspended, swept): (Option<bool>, bool),
    bounds: Bounds,
) -> Result<Vec<OwnerId>, Failure> {
    tagged_owners(backend, (suspended, swept), &Tags::default(), bounds)
}

/// The same, of those that have each of these tags.
pub(super) fn tagged_owners<B: Backend + ?Sized>(
    backend: &B,
    (suspended, swept): (Option<bool>, bool),
    tags: &Tags,
    bounds: Bounds,
) -> Result<Vec<OwnerId>, Failure> {
    let (mut shown, mut after) = (Vec::new(), None);
    for _ in 0..MOST_PAGES {
        let Bounds { limit, examine } = bounds;
        let query = OwnerPageQuery { tags: tags.clone(), swept, after, suspended, limit, examine };
        let page = backend.page_owners(&query)?;
        ensure!(
            page.owners.len() <= limit.min(examine),
            "a page of {bounds:?} shows {} owners",
            page.owners.len()
        );
        let greatest = page.owners.last().map(|owner| owner.id);
        shown.extend(page.owners.iter().map(|owner| owner.id));
        let Some(next) = page.next else { return Ok(shown) };
        ensure!(after.is_none_or(|after| next > after), "`next` of a page doesn't move on");
        ensure!(greatest.is_none_or(|last| next >= last), "`next` lies before an owner shown");
        after = Some(next);
    }
    Err(endless())
}

/// All events after a number that the pages show, in their order.
pub(super) fn events<B: Backend + ?Sized>(
    backend: &B,
    after: u64,
    filter: &EventFilter,
    bounds: Bounds,
) -> Result<Vec<Event>, Failure> {
    let (mut shown, mut after) = (Vec::new(), after);
    for _ in 0..MOST_PAGES {
        let Bounds { limit, examine } = bounds;
        let query = EventQuery { after, before: None, filter: filter.clone(), limit, examine };
        let page = backend.events(&query)?;
        ensure!(
            page.events.len() <= limit.min(examine),
            "a page of {bounds:?} shows {} events",
            page.events.len()
        );
        let greatest = page.events.last().map(|event| event.sequence);
        shown.extend(page.events);
        let Some(next) = page.next else { return Ok(shown) };
        ensure!(next > after, "`next` of a page doesn't move on");
        ensure!(greatest.is_none_or(|last| next >= last), "`next` lies before an event shown");
        after = next;
    }
    Err(endless())
}

/// All events between two numbers that the pages show, newest first.
pub(super) fn newest_events<B: Backend + ?Sized>(
    backend: &B,
    (after, before): (u64, u64),
    filter: &EventFilter,
    bounds: Bounds,
) -> Result<Vec<Event>, Failure> {
    let (mut shown, mut before) = (Vec::new(), before);
    for _ in 0..MOST_PAGES {
        let Bounds { limit, examine } = bounds;
        let (filter, before_this) = (filter.clone(), Some(before));
        let query = EventQuery { after, before: before_this, filter, limit, examine };
        let page = backend.events(&query)?;
        ensure!(
            page.events.len() <= limit.min(examine),
            "a page of {bounds:?} shows {} events",
            page.events.len()
        );
        let least = page.events.last().map(|event| event.sequence);
        shown.extend(page.events);
        let Some(next) = page.next else { return Ok(shown) };
        ensure!(next < before, "`next` of a page doesn't move on");
        ensure!(least.is_none_or(|last| next <= last), "`next` lies above an event shown");
        before = next;
    }
    Err(endless())
}

#[track_caller]
fn endless() -> Failure {
    Failure::new(format!("there is no end after {MOST_PAGES} pages"))
}
