//! Learning what other processes committed.

use std::sync::Arc;
use std::time::Duration;

use super::background;
use super::core::{Applying, Core};
use super::error::{Error, Unavailable};
use super::touched::Touched;
use crate::backend::{BackendError, BackendErrorKind, EventFilter, EventQuery};
use crate::event::EventKind;

/// How many events are read at once.
const PAGE: usize = 1_000;

impl Core {
    /// Polls at a quarter of the bound, for as long as the store lives.
    pub(super) fn keep_fresh(self: &Arc<Self>, bound: Duration) -> Result<(), Error> {
        let spawned = background::spawn("keyhasp-refresh", self, move |core| {
            match core.refresh() {
                Err(Error::Unavailable(Unavailable::Closed | Unavailable::RulesChanged)) => None,
                // A failed poll lets the store go stale, and is tried again.
                _ => Some(bound / 4),
            }
        });
        spawned.map_err(|error| {
            let operation = "start the refresher";
            let name = self.backend.name();
            BackendError::new(BackendErrorKind::Io, name, operation).with_source(error).into()
        })
    }

    /// Puts into force what the event log tells since the last time.
    pub(super) fn refresh(self: &Arc<Self>) -> Result<(), Error> {
        self.check_open()?;
        let started = self.clock.monotonic();
        let mut applying = self.lock_applying();
        if self.gate.is_recovering() {
            // What is in doubt is for recovery to clear.
            return Err(Unavailable::Recovering.into());
        }
        while self.refresh_page(&mut applying)? {}
        // Still locked, so that an older reading of the clocks never replaces a newer one.
        self.gate.freshen(started, &*self.clock);
        drop(applying);
        Ok(())
    }

    /// One page of events; whether there are more.
    fn refresh_page(self: &Arc<Self>, applying: &mut Applying) -> Result<bool, Error> {
        let page = self.backend.events(&EventQuery {
            after: applying.through,
            filter: EventFilter::default(),
            limit: PAGE,
            examine: PAGE,
        })?;
        if page.pruned_through > applying.through {
            // Too late for the log: everything is read anew, the store's own record last, so that
            // it is no older than the events that count as seen.
            let through = self.load_anew()?;
            let stored = self.backend.header()?;
            self.check_header(&stored)?;
            self.put_header(&stored)?;
            applying.through = through;
            return Ok(true);
        }
        let touched = Touched::by_events(&page.events);
        if touched.header {
            self.check_header(&self.backend.header()?)?;
        }
        for event in page.events.iter().filter(|event| event.kind == EventKind::OwnerPurged) {
            // Who has the same id now has its own quota.
            event.owner.iter().for_each(|owner| self.forget_lease(owner));
        }
        self.reload(&touched)?;
        applying.through = page.events.last().map_or(applying.through, |event| event.sequence);
        Ok(page.next.is_some())
    }
}
