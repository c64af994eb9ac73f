//! Learning what other processes committed.

use std::sync::Arc;
use std::time::Duration;

use super::affected::AffectedRecords;
use super::state::{AppliedLog, Core};
use super::worker;
use crate::backend::{BackendError, BackendErrorKind, EventFilter, EventQuery};
use crate::event::EventKind;
use crate::store::types::error::{Error, Unavailable};

/// How many events are read at once.
const PAGE: usize = 1_000;

impl Core {
    /// Polls at a quarter of the bound, for as long as the store lives.
    pub(in crate::store) fn keep_fresh(self: &Arc<Self>, bound: Duration) -> Result<(), Error> {
        let spawned = worker::spawn("keyhasp-refresh", self, move |core| {
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
    pub(in crate::store) fn refresh(self: &Arc<Self>) -> Result<(), Error> {
        self.check_open()?;
        let started = self.clock.monotonic();
        let mut applied_log = self.lock_applied_log();
        if self.availability.is_recovering() {
            // What is in doubt is for recovery to clear.
            return Err(Unavailable::Recovering.into());
        }
        while self.refresh_page(&mut applied_log)? {}
        // Still locked, so that an older reading of the clocks never replaces a newer one.
        self.availability.freshen(started, &*self.clock);
        drop(applied_log);
        Ok(())
    }

    /// One page of events; whether there are more.
    fn refresh_page(self: &Arc<Self>, applied_log: &mut AppliedLog) -> Result<bool, Error> {
        let page = self.backend.events(&EventQuery {
            after: applied_log.applied_seq,
            filter: EventFilter::default(),
            limit: PAGE,
            examine: PAGE,
        })?;
        if page.pruned_through > applied_log.applied_seq {
            // Too late for the log: everything is read anew, the store's own record last, so that
            // it is no older than the events that count as seen.
            let through = self.load_anew()?;
            let stored = self.backend.metadata()?;
            self.check_metadata(&stored)?;
            self.put_metadata(&stored)?;
            applied_log.applied_seq = through;
            return Ok(true);
        }
        let affected = AffectedRecords::by_events(&page.events);
        if affected.metadata {
            self.check_metadata(&self.backend.metadata()?)?;
        }
        for event in page.events.iter().filter(|event| event.kind == EventKind::OwnerPurged) {
            // Who has the same id now has its own quota.
            event.owner.iter().for_each(|owner| self.forget_lease(owner));
        }
        self.reload(&affected)?;
        applied_log.applied_seq =
            page.events.last().map_or(applied_log.applied_seq, |event| event.sequence);
        Ok(page.next.is_some())
    }
}
