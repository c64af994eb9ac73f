//! One look at what may be due.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::deadlines::{Deadlines, What};
use super::rejections::Refusals;
use crate::authority::{Actor, Authority, Role};
use crate::backend::{
    BackendError, BackendErrorKind, Change, Precondition, ScannedKey, UsageSubject, Write,
};
use crate::clock::Timestamp;
use crate::event::{EventDraft, EventKind, Fields};
use crate::id::{Generation, KeyId};
use crate::key::{Alert, KeyRecord, Kind, Usage};
use crate::store::engine::state::Core;
use crate::store::engine::worker;
use crate::store::types::AlertSettings;
use crate::store::types::error::Error;
use crate::verified_key::VerifiedKey;

/// How long after a round the next one begins.
const PAUSE: Duration = Duration::from_secs(30);
/// How many keys a round looks at: what is due beside them waits for the next.
const MAX_A_ROUND: usize = 1_000;
/// How many uses of previous tokens are held until the next round; later ones come again.
const MAX_LATE_USES: usize = 1_000;

/// What a store looks out for, and what it has noticed since the last round.
#[derive(Debug)]
pub(in crate::store) struct Alerts {
    watch: AlertSettings,
    deadlines: Mutex<Deadlines>,
    refusals: Mutex<Refusals>,
    /// Previous tokens that were used in the last part of their grace.
    late_uses: Mutex<BTreeSet<(KeyId, Generation)>>,
    /// Keys that are refused too often.
    refused: Mutex<Vec<KeyId>>,
}

impl Alerts {
    pub(in crate::store) fn new(watch: AlertSettings, now: Timestamp) -> Self {
        Self {
            watch,
            deadlines: Mutex::new(Deadlines::new(watch, now)),
            refusals: Mutex::default(),
            late_uses: Mutex::default(),
            refused: Mutex::default(),
        }
    }

    /// A key is new or has changed.
    pub(in crate::store) fn note_key(&self, key: &ScannedKey) {
        if !self.watch.is_idle() {
            lock(&self.deadlines).note(key);
        }
    }

    /// An previous token was accepted. Nobody waits.
    #[inline]
    pub(in crate::store) fn note_previous(&self, verified: &VerifiedKey, now: Timestamp) {
        if let Some(last_part) = self.watch.previous_tokens
            && verified.ends_at().is_some_and(|end| end.since(now) <= last_part)
            && let Ok(mut late) = self.late_uses.try_lock()
            && late.len() < MAX_LATE_USES
        {
            late.insert((verified.key_id(), verified.generation()));
        }
    }

    #[inline]
    pub(in crate::store) fn counts_refusals(&self) -> bool {
        self.watch.rejections.is_some()
    }

    /// The right secret of a key was refused. Nobody waits: where many threads are refused at the
    /// same moment, one may not be counted.
    #[cold]
    pub(in crate::store) fn note_refusal(&self, key: KeyId, now: Timestamp) {
        if let Some(rule) = self.watch.rejections
            && let Ok(mut refusals) = self.refusals.try_lock()
            && refusals.add(key, now, rule)
        {
            lock(&self.refused).push(key);
        }
    }
}

impl Core {
    /// Has events written that are due, from now on, about every half a minute.
    pub(in crate::store) fn start_alerts(self: &Arc<Self>) -> Result<(), Error> {
        let watch = self.alerts.watch;
        if watch.is_idle() || watch.only_when_asked {
            return Ok(());
        }
        let work = |core: &Arc<Self>| {
            // What fails is tried again in the next round.
            let _ = core.run_alerts();
            Some(PAUSE)
        };
        worker::spawn("keyhasp-watch", self, work).map_err(|error| {
            let operation = "start the watch";
            let name = self.backend.name();
            BackendError::new(BackendErrorKind::Io, name, operation).with_source(error).into()
        })
    }

    /// Writes the events that are due; how many. What fails is tried again in the next round.
    pub(in crate::store) fn run_alerts(self: &Arc<Self>) -> Result<usize, Error> {
        let alerts = &self.alerts;
        if alerts.watch.is_idle() {
            return Ok(0);
        }
        let now = self.now();
        let mut told = 0;
        let due = lock(&alerts.deadlines).take_due(now, MAX_A_ROUND);
        let usages = match self.usages_of(&due) {
            Ok(usages) => usages,
            Err(error) => {
                let mut deadlines = lock(&alerts.deadlines);
                due.into_iter().for_each(|(id, what)| deadlines.note_at(now, id, what));
                return Err(error);
            }
        };
        let mut failed = None;
        for ((id, what), usage) in due.into_iter().zip(usages) {
            match self.look_at(id, what, &usage, now) {
                Ok(is_told) => told += usize::from(is_told),
                Err(error) => {
                    lock(&alerts.deadlines).note_at(now, id, what);
                    failed = Some(error);
                }
            }
        }
        let late_uses = std::mem::take(&mut *lock(&alerts.late_uses));
        for (id, generation) in late_uses {
            match self.tell_of(id, Alert::PreviousTokenUsed(generation), now) {
                Ok(is_told) => told += usize::from(is_told),
                Err(error) => {
                    lock(&alerts.late_uses).insert((id, generation));
                    failed = Some(error);
                }
            }
        }
        let window = alerts.watch.rejections.map_or(Duration::ZERO, |(_, window)| window);
        let refused = std::mem::take(&mut *lock(&alerts.refused));
        for id in refused {
            let alert = Alert::Rejected { at: now, until: now.saturating_add(window) };
            match self.tell_of(id, alert, now) {
                Ok(is_told) => told += usize::from(is_told),
                Err(error) => {
                    lock(&alerts.refused).push(id);
                    failed = Some(error);
                }
            }
        }
        failed.map_or(Ok(told), Err)
    }

    /// Looks at one key; whether there was something to tell.
    fn look_at(
        self: &Arc<Self>,
        id: KeyId,
        what: What,
        usage: &Usage,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let Some(key) = self.backend.key(id)?.filter(KeyRecord::is_live) else { return Ok(false) };
        match self.alerts.due_of(&key, what, usage, now) {
            Some((at, alert)) if at <= now => {
                let is_told = self.tell(&key, alert, now)?;
                if let Alert::Unused(_) = alert {
                    // It may be used again, and then be unused again.
                    let time = self.alerts.watch.unused.unwrap_or_default();
                    lock(&self.alerts.deadlines).note_at(now.saturating_add(time), id, what);
                }
                Ok(is_told)
            }
            Some((at, _)) => {
                lock(&self.alerts.deadlines).note_at(at, id, what);
                Ok(false)
            }
            None => Ok(false),
        }
    }

    /// The same for a key that may be gone.
    fn tell_of(self: &Arc<Self>, id: KeyId, alert: Alert, now: Timestamp) -> Result<bool, Error> {
        match self.backend.key(id)?.filter(KeyRecord::is_live) {
            Some(key) => self.tell(&key, alert, now),
            None => Ok(false),
        }
    }

    /// Writes an event, unless that was done before: by another process, or before the last start.
    fn tell(
        self: &Arc<Self>,
        key: &KeyRecord,
        alert: Alert,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let (kind, generation) = match alert {
            Alert::Expired(_) => (EventKind::KeyExpired, None),
            Alert::TrialEnding(_) => (EventKind::TrialEnding, None),
            Alert::TokenOld(generation) => (EventKind::TokenOld, Some(generation)),
            Alert::Unused(_) => (EventKind::KeyUnused, None),
            Alert::PreviousTokenUsed(generation) => {
                (EventKind::PreviousTokenUsed, Some(generation))
            }
            Alert::Rejected { .. } => (EventKind::KeyRejected, None),
        };
        let event = EventDraft {
            at: now,
            kind,
            owner: Some(key.owner),
            key: Some(key.id),
            version: key.version,
            generation,
            fields: Fields::NONE,
            authority: Authority::new(Role::Administrator, Actor::new("keyhasp")?),
        };
        let change = Change::of(Write::RecordAlert(key.id, alert), event);
        let change = change.requiring(Precondition::Key(key.id, key.version));
        // Refused: it was told already, or the key has changed since and is looked at again.
        Ok(self.commit(change)?.is_ok())
    }

    /// What was used of the keys that are due, as far as that matters.
    fn usages_of(self: &Arc<Self>, due: &[(KeyId, What)]) -> Result<Vec<Usage>, Error> {
        if due.is_empty() || self.alerts.watch.unused.is_none() {
            return Ok(vec![Usage::default(); due.len()]);
        }
        // What this process knows of uses, the backend must know too.
        self.flush_usage()?;
        let of: Vec<UsageSubject> = due.iter().map(|(id, _)| UsageSubject::Key(*id)).collect();
        Ok(self.backend.usage(&of)?)
    }
}

impl Alerts {
    /// When something is to be told of a key, and what.
    fn due_of(
        &self,
        key: &KeyRecord,
        what: What,
        usage: &Usage,
        now: Timestamp,
    ) -> Option<(Timestamp, Alert)> {
        let issued_at = key.current.issued_at;
        Some(match what {
            What::Expired => {
                let at = key.expires_at?;
                (at, Alert::Expired(at))
            }
            What::TrialEnding => {
                let is_ending = |at: &Timestamp| key.kind == Kind::Trial && now < *at;
                let at = key.expires_at.filter(is_ending)?;
                (at.saturating_sub(self.watch.trials_ending?), Alert::TrialEnding(at))
            }
            What::TokenOld => {
                let at = issued_at.saturating_add(self.watch.old_tokens?);
                (at, Alert::TokenOld(key.current.generation))
            }
            What::Unused => {
                let since = usage.used.last_used_at.map_or(issued_at, |used| used.max(issued_at));
                (since.saturating_add(self.watch.unused?), Alert::Unused(since))
            }
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
