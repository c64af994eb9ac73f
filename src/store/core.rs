//! What all calls share: backend, clock, randomness, index and header, and the way from a change
//! to its acknowledgement.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::background::Stop;
use super::commit::{Committer, Lead};
use super::error::{Error, Unavailable};
use super::gate::Gate;
use super::index::Index;
use super::leases::Leases;
use super::prefixes::AcceptedPrefixes;
use super::retention::Retention;
use super::settings_check::SettingsCheck;
use super::touched::Touched;
use super::usage::Collector;
use super::watch::Watching;
use crate::backend::{
    Applied, Backend, BackendError, BackendErrorKind, Change, Operation, Rejection, Sharing, Write,
};
use crate::clock::{Clock, Timestamp};
use crate::id::{KeyId, KeyIdSource};
use crate::key::{Header, Prefix};
use crate::permission::Catalogue;
#[cfg(feature = "sealed")]
use crate::token::SealingKeys;
use crate::token::{Peppers, RandomError, RandomSource, fill};

/// How often an id is drawn for a new key. By chance, a second time is needed once in millions of
/// creations.
const MAX_DRAWS: usize = 64;

/// How many events are pruned before others get their turn: on a disk, a few milliseconds' work.
const PRUNED_AT_ONCE: usize = 512;

/// The inside of a store.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) backend: Arc<dyn Backend>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) index: Index,
    pub(super) gate: Gate,
    pub(super) peppers: Peppers,
    pub(super) prefixes: AcceptedPrefixes,
    pub(super) settings_check: Option<Box<dyn SettingsCheck>>,
    #[cfg(feature = "sealed")]
    pub(super) sealing_keys: Option<SealingKeys>,
    pub(super) retention: Retention,
    pub(super) watching: Watching,
    pub(super) committer: Committer,
    pub(super) leases: Leases,
    /// None where the service doesn't want to know.
    pub(super) usage: Option<Arc<Collector>>,
    pub(super) stop: Arc<Stop>,
    pub(super) header: RwLock<HeaderState>,
    pub(super) ids: Mutex<KeyIdSource>,
    pub(super) random: Mutex<Box<dyn RandomSource>>,
    /// What changes of unknown outcome were about.
    pub(super) uncertain: Mutex<Touched>,
    /// Held while records are read from the backend and put into the index, so that an older
    /// reading never overwrites a newer one.
    pub(super) applying: Mutex<Applying>,
}

/// The store's own record, and the order in which its prefixes were named.
#[derive(Clone, Debug)]
pub(super) struct HeaderState {
    pub(super) header: Header,
    pub(super) prefixes: Vec<Prefix>,
}

/// How far the event log is reflected in the index.
#[derive(Debug)]
pub(super) struct Applying {
    pub(super) through: u64,
}

impl Core {
    pub(super) fn catalogue(&self) -> &Catalogue {
        self.index.catalogue()
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(super) fn header(&self) -> HeaderState {
        self.header.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Refuses management calls on a closed store, and on one whose rules were changed elsewhere.
    pub(super) fn check_open(&self) -> Result<(), Error> {
        match self.gate.unavailable() {
            Some(closed @ (Unavailable::Closed | Unavailable::RulesChanged)) => Err(closed.into()),
            _ => Ok(()),
        }
    }

    pub(super) fn random(&self) -> MutexGuard<'_, Box<dyn RandomSource>> {
        self.random.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new key id, whose tag no other key shares.
    pub(super) fn new_key_id(&self, now: Timestamp) -> Result<KeyId, RandomError> {
        for _ in 0..MAX_DRAWS {
            let drawn = fill(self.random().as_mut())?;
            let id = self.ids.lock().unwrap_or_else(PoisonError::into_inner).next(now, drawn);
            if !self.index.has_tag(id) {
                return Ok(id);
            }
        }
        Err(RandomError::repeats_itself())
    }

    /// Commits a change; what it did is in force for the next verification when this returns.
    pub(super) fn commit(
        self: &Arc<Self>,
        change: Change,
    ) -> Result<Result<Applied, Rejection>, Error> {
        self.check_open()?;
        let outcome = self.committer.commit(change, |lead, batch| self.step(lead, batch));
        if outcome.is_ok() {
            self.prune_if_due();
        }
        outcome
    }

    /// Keeps the retention of events: some are pruned, and if there are more, the next commit goes
    /// on. A failure is made good the next time.
    pub(super) fn prune_if_due(self: &Arc<Self>) {
        if let Some(before) = self.retention.due(self.now())
            && self.prune_some(before).is_ok_and(|some| !is_last(some))
        {
            self.retention.go_on();
        }
    }

    /// One durable step for all of a batch.
    fn step(
        self: &Arc<Self>,
        lead: &Lead<'_>,
        batch: &[Change],
    ) -> Result<Vec<Result<Applied, Rejection>>, Error> {
        if self.gate.is_recovering() {
            self.recover_led(lead)?;
        }
        self.check_open()?;
        // Otherwise the refresher might take a change of the rules for somebody else's.
        let changes_header = |change: &Change| Touched::by_change(change).header;
        let held = batch.iter().any(changes_header).then(|| self.lock_applying());
        let mut judging = Judging { core: self, batch, is_settled: false };
        let outcome = self.backend.commit(batch);
        let applying = held.unwrap_or_else(|| self.lock_applying());
        let answer = match outcome {
            Ok(outcomes) if outcomes.len() == batch.len() => {
                let applied = batch.iter().zip(&outcomes);
                let applied = applied.filter_map(|(change, outcome)| {
                    outcome.as_ref().ok().map(|applied| (change, applied))
                });
                self.put_in_force(applied, applying);
                Ok(outcomes)
            }
            // The contract is broken: nothing can be said of any change.
            Ok(_) => {
                self.suspend_judgement(&applying, batch);
                let kind = BackendErrorKind::OutcomeUnknown;
                Err(BackendError::new(kind, self.backend.name(), "commit").into())
            }
            Err(error) => {
                if error.kind() == BackendErrorKind::OutcomeUnknown {
                    self.suspend_judgement(&applying, batch);
                }
                Err(error.into())
            }
        };
        judging.is_settled = true;
        answer
    }

    /// Puts committed changes into the index. Nobody else commits in this process meanwhile.
    fn put_in_force<'a>(
        self: &Arc<Self>,
        applied: impl Iterator<Item = (&'a Change, &'a Applied)>,
        mut applying: MutexGuard<'_, Applying>,
    ) {
        let exclusive = matches!(self.backend.sharing(), Sharing::Exclusive);
        let mut hidden = Vec::new();
        for (change, applied) in applied {
            let in_force = if exclusive {
                applying.through = applied.last_event;
                change.operations.iter().try_for_each(|operation| self.put_operation(operation))
            } else {
                // Another process may have committed since: what is in the backend now counts.
                self.reload(&Touched::by_change(change))
            };
            if in_force.is_err() {
                hidden.push(change.clone());
            }
        }
        if !hidden.is_empty() {
            // Committed, and can't be shown: nothing may be answered by what was before.
            self.suspend_judgement(&applying, &hidden);
        }
    }

    /// Removes events before a moment, some at a time; in between, others commit.
    pub(super) fn prune(self: &Arc<Self>, before: Timestamp) -> Result<u64, Error> {
        let mut removed = 0;
        loop {
            match self.prune_some(before) {
                Ok(some) => {
                    removed += some;
                    if is_last(some) {
                        return Ok(removed);
                    }
                }
                Err(error @ Error::OutcomeUnknown(_)) => return Err(error),
                // An error would say that nothing happened; the next call meets the trouble first.
                Err(_) if removed > 0 => return Ok(removed),
                Err(error) => return Err(error),
            }
        }
    }

    /// Removes some of the events before a moment. Nobody commits meanwhile.
    fn prune_some(self: &Arc<Self>, before: Timestamp) -> Result<u64, Error> {
        let _lead = self.turn_to_write()?;
        self.backend.prune_events(before, PRUNED_AT_ONCE).map_err(|error| self.doubted(error))
    }

    /// The turn to write something that is no commit, in a store that is open and knows what it holds.
    pub(super) fn turn_to_write(self: &Arc<Self>) -> Result<Lead<'_>, Error> {
        let lead = self.committer.pause();
        if self.gate.is_recovering() {
            self.recover_led(&lead)?;
        }
        self.check_open()?;
        Ok(lead)
    }

    /// What somebody is told who wrote something that is no commit. If its outcome is unknown, what
    /// the database holds is for recovery to say.
    pub(super) fn doubted(self: &Arc<Self>, error: BackendError) -> Error {
        if error.kind() == BackendErrorKind::OutcomeUnknown {
            self.suspend_judgement(&self.lock_applying(), &[]);
        }
        error.into()
    }

    /// Puts one written record into the index.
    fn put_operation(&self, operation: &Operation) -> Result<(), Error> {
        match &operation.write {
            Write::CreateKey(create) => self.put_key(&(&create.record).into()),
            Write::ReplaceKey(key) => self.put_key(&(&**key).into()),
            Write::CreateOwner(owner) | Write::ReplaceOwner(owner) => {
                self.put_owner(&(&**owner).into())
            }
            Write::RemoveKey(id, _) => match &operation.event.owner {
                Some(owner) => self.remove_key(*id, owner),
                None => Ok(()),
            },
            Write::RemoveOwner(id, _) => {
                self.index.remove_owner(id);
                Ok(())
            }
            Write::ReplaceHeader(header) => self.put_header(header),
            Write::Nothing | Write::Tell(..) => Ok(()),
        }
    }

    pub(super) fn lock_applying(&self) -> MutexGuard<'_, Applying> {
        self.applying.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether pruning that removed so many at once has left nothing to remove.
fn is_last(some: u64) -> bool {
    some < PRUNED_AT_ONCE as u64
}

/// A batch handed to the backend: if that panics, or a clock of the service's while the batch is put
/// into force, what became of it is unknown.
struct Judging<'a> {
    core: &'a Arc<Core>,
    batch: &'a [Change],
    is_settled: bool,
}

impl Drop for Judging<'_> {
    fn drop(&mut self) {
        if !self.is_settled {
            self.core.gate.set_recovering(true);
            let mut uncertain = self.core.uncertain.lock().unwrap_or_else(PoisonError::into_inner);
            self.batch.iter().for_each(|change| uncertain.merge(Touched::by_change(change)));
            drop(uncertain);
            // It waits until nobody leads any more.
            self.core.keep_recovering();
        }
    }
}
