//! Learning what other processes committed.

use super::affected::AffectedRecords;
use super::engine::{AppliedLog, Engine};
use crate::backend::{EventFilter, EventQuery};
use crate::event::EventKind;
use crate::id::OwnerId;
use crate::store::index::Whose;
use crate::store::types::error::{Error, Unavailable};

/// How many events are read at once.
const PAGE: usize = 1_000;

impl Engine {
    /// Puts into force what the event log tells since the last time.
    pub(in crate::store) fn refresh(&self) -> Result<(), Error> {
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

    /// Learns the metadata that another process has replaced: a moved `tokens_valid_from` is taken
    /// over, other rules are not.
    pub(in crate::store) fn reload_metadata(&self) -> Result<(), Error> {
        let _applied_log = self.lock_applied_log();
        if self.availability.is_recovering() {
            // Recovery clears what is indeterminate, before the next commit.
            return Ok(());
        }
        let stored = self.backend.metadata()?;
        self.check_metadata(&stored)?;
        self.put_metadata(&stored)
    }

    /// One page of events; whether there are more.
    fn refresh_page(&self, applied_log: &mut AppliedLog) -> Result<bool, Error> {
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

    /// Forfeits what is left of the lease of a purged owner's quota.
    fn forget_lease(&self, owner: &OwnerId) {
        if let Some(number) = self.index.owner_number(owner) {
            let _ = self.index.take_lease(Whose::Owner(number));
        }
    }
}
