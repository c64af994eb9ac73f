//! Refreshing: reading what other processes committed.

use super::affected::AffectedRecords;
use super::records::{AppliedLog, Records, Resumed};
use crate::backend::{EventFilter, EventQuery, Sharing};
use crate::event::{Event, EventKind};
use crate::id::OwnerId;
use crate::store::index::Made;
use crate::store::types::error::Error;
use crate::store::types::reserved::Whose;
use crate::store::types::verify_error::Unavailable;

/// Number of events that are read at once.
const PAGE: usize = 1_000;

impl Records {
    /// Publishes the changes that the event log holds since the last refresh.
    pub(in crate::store) fn refresh(&self) -> Result<(), Error> {
        self.check_open()?;
        let started = self.clock.monotonic();
        let mut applied_log = self.lock_applied_log();
        if self.availability.is_recovering() {
            // Until the backend has recovered, the records that it holds must not be published.
            return Err(Unavailable::Recovering.into());
        }
        self.catch_up(&mut applied_log)?;
        // Still locked: otherwise a thread with an older reading of the clock could overwrite the
        // wall-clock offset of a newer one.
        self.availability.freshen(started, &*self.clock);
        drop(applied_log);
        Ok(())
    }

    /// Reads the metadata that another process has replaced. Applies a later `tokens_valid_from`;
    /// returns an error if rules or prefixes differ.
    pub(in crate::store) fn reload_metadata(&self) -> Result<(), Error> {
        self.check_open()?;
        let _applied_log = self.lock_applied_log();
        if self.availability.is_recovering() {
            // The next commit recovers first, and reads the metadata if it is indeterminate.
            return Ok(());
        }
        let stored = self.stored_metadata()?;
        self.check_metadata(&stored)?;
        self.put_metadata(&stored)
    }

    /// Applies all events that aren't applied yet when it is called. It reads records after the events
    /// that name them, so they may be newer: it goes on to where the log ended once it had read them, no
    /// further, since another process may commit as fast as this one reads.
    pub(super) fn catch_up(&self, applied_log: &mut AppliedLog) -> Result<(), Error> {
        self.read_log_through(self.backend.last_event()?, applied_log)?;
        if applied_log.resumed.is_empty() {
            return Ok(());
        }
        let last_event = self.backend.last_event()?;
        let resumed = applied_log.resumed.values_mut();
        resumed.for_each(|owner| _ = owner.after.get_or_insert(last_event));
        self.read_log_through(last_event, applied_log)?;
        self.put_resumed(applied_log)
    }

    /// Applies the events up to one. There may be fewer.
    fn read_log_through(&self, last: u64, applied_log: &mut AppliedLog) -> Result<(), Error> {
        while applied_log.applied_seq < last && self.refresh_page(applied_log)? {}
        Ok(())
    }

    /// Reads records of which the log needn't tell, and then the log to its end if other processes write
    /// it: before that no owner is resumed.
    pub(in crate::store) fn reload_and_catch_up(
        &self,
        affected: &AffectedRecords,
        applied_log: &mut AppliedLog,
    ) -> Result<(), Error> {
        if matches!(self.backend.sharing(), Sharing::Exclusive) {
            return self.reload(affected, Made::Elsewhere);
        }
        self.reload_but_resume(affected, Made::Elsewhere, &mut applied_log.resumed)?;
        self.catch_up(applied_log)
    }

    /// Puts the owners that were resumed before what the index reflects. Each is noted until it was put.
    fn put_resumed(&self, applied_log: &mut AppliedLog) -> Result<(), Error> {
        let applied = applied_log.applied_seq;
        let is_due = |owner: &Resumed| owner.after.is_some_and(|after| after <= applied);
        for owner in applied_log.resumed.values().filter(|owner| is_due(owner)) {
            self.put_owner(&owner.record, Made::Elsewhere)?;
        }
        applied_log.resumed.retain(|_, owner| !is_due(owner));
        Ok(())
    }

    /// Applies one page of events; returns whether there was one.
    fn refresh_page(&self, applied_log: &mut AppliedLog) -> Result<bool, Error> {
        let page = self.backend.events(&EventQuery {
            after: applied_log.applied_seq,
            before: None,
            filter: EventFilter::default(),
            limit: PAGE,
            examine: PAGE,
        })?;
        if page.pruned_through > applied_log.applied_seq || !page.damaged.is_empty() {
            // Events that this process hasn't read are pruned or damaged, so it reloads all
            // records. It reads
            // the metadata last, so that it is no older than the events that count as applied.
            let last_event = self.reload_all()?;
            let stored = self.stored_metadata()?;
            self.check_metadata(&stored)?;
            self.put_metadata(&stored)?;
            applied_log.applied_seq = last_event;
            applied_log.resumed.clear();
            if let Some(at) = self.time_of_event(last_event)? {
                self.note_event(last_event, at);
            }
            return Ok(true);
        }
        let affected = AffectedRecords::of_events(page.events.iter().filter(|e| self.is_news(e)));
        page.events.iter().for_each(|event| self.note_event(event.sequence, event.at));
        let hidden = page.events.iter().filter(|event| !self.is_news(event));
        hidden
            .filter_map(|event| Some((event.key?, event.kind)))
            .for_each(|(key, kind)| self.forget_swept(key, kind));
        for event in page.events.iter().filter(|event| event.kind == EventKind::OwnerPurged) {
            // A new owner with the same id has a quota of its own.
            event.owner.iter().for_each(|owner| self.forget_lease(owner));
        }
        self.reload_but_resume(&affected, Made::Elsewhere, &mut applied_log.resumed)?;
        let binds = |event: &Event| {
            matches!(event.kind, EventKind::OwnerKeysRevoked | EventKind::OwnerPurged)
        };
        if page.events.iter().any(binds) {
            // The other process may end before it has written all pieces.
            self.sweep_signal.wake();
        }
        applied_log.applied_seq =
            page.events.last().map_or(applied_log.applied_seq, |event| event.sequence);
        Ok(!page.events.is_empty())
    }

    /// Returns whether an event may change what this process shows. That of a piece of a sweep
    /// doesn't, unless the key is damaged: the event that bound the sweep did.
    fn is_news(&self, event: &Event) -> bool {
        let is_known = || event.key.is_none_or(|key| self.damages.key(key).is_none());
        event.binding.is_none() || !is_known()
    }

    /// Forfeits the rest of the lease on a purged owner's quota.
    fn forget_lease(&self, owner: &OwnerId) {
        if let Some(owner) = self.index.owner_named(owner) {
            let _ = self.index.take_lease(Whose::Owner(owner));
        }
    }
}
