//! The queries of events, over the trees as they are.

use std::ops::Bound;

use super::chunks;
use super::engine::Engine;
use super::fault::Fault;
use super::record::decode;
use super::trees::{self, Tree};
use crate::backend::{DamagedRecord, EventFilter, EventPage, EventQuery};
use crate::clock::Timestamp;
use crate::event::Event;

/// The greatest number of entries that are read ahead for a page that shows the newest first.
const READ_AHEAD: usize = 128;

impl Engine {
    pub(super) fn events(&self, query: &EventQuery) -> Result<EventPage, Fault> {
        let pruned_through = self.first_event()?.map_or(0, |first| first.saturating_sub(1));
        let mut page = EventPage { pruned_through, ..EventPage::default() };
        let mut last = query.after;
        // An index may still lead to a damaged event that was pruned.
        let after = query.after.max(pruned_through);
        let rows: Box<dyn Iterator<Item = Result<u64, Fault>>> = match query.before {
            Some(before) => {
                let before = before.min(self.last_event()?.saturating_add(1));
                Box::new(NewestFirst::new(self, &query.filter, after, before))
            }
            None => Box::new(self.event_rows(&query.filter, after, None)),
        };
        for (examined, entry) in rows.enumerate() {
            if examined == query.examine || page.events.len() + page.damaged.len() == query.limit {
                page.next = Some(last);
                break;
            }
            last = entry?;
            let event = match self.event(last) {
                Ok(event) => event,
                Err(fault) => {
                    fault.damage(Tree::Events, DamagedRecord::Event(last))?;
                    page.damaged.push(last);
                    continue;
                }
            };
            if query.filter.matches(&event) {
                page.events.push(event);
            }
        }
        Ok(page)
    }

    /// The numbers of the oldest events up to the first that isn't before a time, at most `limit`
    /// and not the newest. A damaged event, which has no time, goes with a whole one after it.
    pub(super) fn oldest_events(
        &self,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<(u64, Option<Event>)>, Fault> {
        let newest = trees::event(self.last_event()?);
        let mut oldest = Vec::new();
        for entry in
            self.range(Tree::Events, Bound::Unbounded, Bound::Excluded(&newest)).take(limit)
        {
            let number = event_number(&entry?.0)?;
            let event = match self.event(number) {
                Ok(event) if event.at >= before => break,
                Ok(event) => Some(event),
                Err(fault) => {
                    fault.damage(Tree::Events, DamagedRecord::Event(number))?;
                    None
                }
            };
            oldest.push((number, event));
        }
        while oldest.last().is_some_and(|(_, event)| event.is_none()) {
            oldest.pop();
        }
        Ok(oldest)
    }

    fn first_event(&self) -> Result<Option<u64>, Fault> {
        let first = self.range(Tree::Events, Bound::Unbounded, Bound::Unbounded).next();
        first.map(|entry| event_number(&entry?.0)).transpose()
    }

    /// Numbers of events greater than `after`, and smaller than `before` if there is one, by the
    /// index that leaves the fewest.
    fn event_rows(
        &self,
        filter: &EventFilter,
        after: u64,
        before: Option<u64>,
    ) -> impl Iterator<Item = Result<u64, Fault>> + use<> {
        let at = |number| match (&filter.key, &filter.owner) {
            (Some(key), _) => trees::key_event(*key, number),
            (None, Some(owner)) => trees::owner_event(owner, number),
            (None, None) => trees::event(number).to_vec(),
        };
        let tree = match (&filter.key, &filter.owner) {
            (Some(_), _) => Tree::KeyEvents,
            (None, Some(_)) => Tree::OwnerEvents,
            (None, None) => Tree::Events,
        };
        let end = at(before.unwrap_or(u64::MAX));
        let to = if before.is_some() { Bound::Excluded(&*end) } else { Bound::Included(&*end) };
        let rows = self.range(tree, Bound::Excluded(&at(after)), to);
        rows.map(|entry| event_number(&entry?.0))
    }

    pub(super) fn event(&self, sequence: u64) -> Result<Event, Fault> {
        let record = chunks::load(self, Tree::Events, &trees::event(sequence))?;
        let missing = Fault::damaged("an index leads to an event that is not there");
        decode(sequence, &record.ok_or(missing)?)
    }
}

/// The numbers of events between two numbers, newest first.
///
/// sled's own iteration backwards isn't used, as [`trees`] says. So this reads stretches of numbers
/// forwards, from the last stretch on. They become longer where few of the numbers are in the index,
/// and shorter where more are than are read ahead.
struct NewestFirst<'a> {
    engine: &'a Engine,
    filter: &'a EventFilter,
    after: u64,
    /// The numbers from this one on were read.
    before: u64,
    stretch: u64,
    read: Vec<u64>,
}

impl<'a> NewestFirst<'a> {
    fn new(engine: &'a Engine, filter: &'a EventFilter, after: u64, before: u64) -> Self {
        Self { engine, filter, after, before, stretch: READ_AHEAD as u64, read: Vec::new() }
    }

    /// Reads the next stretch, unless it turns out to be too long.
    fn read_stretch(&mut self) -> Result<(), Fault> {
        let above = (self.before - 1).saturating_sub(self.stretch).max(self.after);
        let rows = self.engine.event_rows(self.filter, above, Some(self.before));
        let read: Vec<u64> = rows.take(READ_AHEAD + 1).collect::<Result<_, _>>()?;
        if read.len() > READ_AHEAD {
            // No stretch has more events than numbers, so this one has more than can be read ahead.
            self.stretch /= 2;
            return Ok(());
        }
        if read.len() <= READ_AHEAD / 2 {
            self.stretch = self.stretch.saturating_mul(2);
        }
        self.before = above + 1;
        self.read = read;
        Ok(())
    }
}

impl Iterator for NewestFirst<'_> {
    type Item = Result<u64, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.read.is_empty() && self.before.saturating_sub(1) > self.after {
            if let Err(fault) = self.read_stretch() {
                self.before = 0;
                return Some(Err(fault));
            }
        }
        self.read.pop().map(Ok)
    }
}

fn event_number(bytes: &[u8]) -> Result<u64, Fault> {
    trees::event_in(bytes).ok_or(Fault::damaged("an event number is too short"))
}
