//! One look at what may be due.

use std::sync::Arc;
use std::time::Duration;

use super::deadlines::What;
use super::noticed::{Noticed, lock};
use crate::authority::{Actor, Authority, Role};
use crate::backend::{Change, Precondition, UsageSubject, Write};
use crate::clock::Timestamp;
use crate::event::{EventDraft, EventKind, Fields};
use crate::id::KeyId;
use crate::key::{Alert, KeyRecord, Kind, Usage};
use crate::store::engine::{Engine, Next, Workers};
use crate::store::types::error::Error;
use crate::store::usage::UsageRecorder;

/// How long after a round the next one begins.
const PAUSE: Duration = Duration::from_secs(30);
/// How many keys a round looks at: what is due beside them waits for the next.
const MAX_A_ROUND: usize = 1_000;
/// Writes the alerts that are due.
#[derive(Debug)]
pub(in crate::store) struct AlertScanner {
    engine: Arc<Engine>,
    noticed: Arc<Noticed>,
    usage: Arc<UsageRecorder>,
}

impl AlertScanner {
    pub(in crate::store) fn new(
        engine: &Arc<Engine>,
        noticed: &Arc<Noticed>,
        usage: &Arc<UsageRecorder>,
    ) -> Self {
        let (engine, noticed) = (Arc::clone(engine), Arc::clone(noticed));
        Self { engine, noticed, usage: Arc::clone(usage) }
    }

    /// Starts the thread that scans about every half a minute.
    pub(in crate::store) fn start(self: &Arc<Self>, workers: &mut Workers) -> Result<(), Error> {
        let settings = self.noticed.settings;
        if settings.is_idle() || settings.only_when_asked {
            return Ok(());
        }
        let (scanner, name) = (Arc::clone(self), self.engine.backend.name());
        let work = move || {
            // What fails is tried again in the next scan.
            let _ = scanner.run();
            Next::After(PAUSE)
        };
        workers.spawn(name, "keyhasp-alerts", &Arc::default(), Next::After(Duration::ZERO), work)
    }

    /// Writes the events that are due; how many. What fails is tried again in the next round.
    pub(in crate::store) fn run(&self) -> Result<usize, Error> {
        let noticed = &*self.noticed;
        if noticed.settings.is_idle() {
            return Ok(0);
        }
        let now = self.engine.now();
        let mut told = 0;
        let due = lock(&noticed.deadlines).take_due(now, MAX_A_ROUND);
        let usages = match self.usages_of(&due) {
            Ok(usages) => usages,
            Err(error) => {
                let mut deadlines = lock(&noticed.deadlines);
                due.into_iter().for_each(|(id, what)| deadlines.note_at(now, id, what));
                return Err(error);
            }
        };
        let mut failed = None;
        for ((id, what), usage) in due.into_iter().zip(usages) {
            match self.look_at(id, what, &usage, now) {
                Ok(is_told) => told += usize::from(is_told),
                Err(error) => {
                    lock(&noticed.deadlines).note_at(now, id, what);
                    failed = Some(error);
                }
            }
        }
        let late_uses = std::mem::take(&mut *lock(&noticed.late_uses));
        for (id, generation) in late_uses {
            match self.tell_of(id, Alert::PreviousTokenUsed(generation), now) {
                Ok(is_told) => told += usize::from(is_told),
                Err(error) => {
                    lock(&noticed.late_uses).insert((id, generation));
                    failed = Some(error);
                }
            }
        }
        let window = noticed.settings.refusals.map_or(Duration::ZERO, |(_, window)| window);
        let refused = std::mem::take(&mut *lock(&noticed.refused));
        for id in refused {
            let alert = Alert::Refused { at: now, until: now.saturating_add(window) };
            match self.tell_of(id, alert, now) {
                Ok(is_told) => told += usize::from(is_told),
                Err(error) => {
                    lock(&noticed.refused).push(id);
                    failed = Some(error);
                }
            }
        }
        failed.map_or(Ok(told), Err)
    }

    /// Looks at one key; whether there was something to tell.
    fn look_at(&self, id: KeyId, what: What, usage: &Usage, now: Timestamp) -> Result<bool, Error> {
        let Some(key) = self.engine.backend.key(id)?.filter(KeyRecord::is_live) else {
            return Ok(false);
        };
        match self.noticed.due_of(&key, what, usage, now) {
            Some((at, alert)) if at <= now => {
                let is_told = self.tell(&key, alert, now)?;
                if let Alert::Unused(_) = alert {
                    // It may be used again, and then be unused again.
                    let time = self.noticed.settings.unused.unwrap_or_default();
                    lock(&self.noticed.deadlines).note_at(now.saturating_add(time), id, what);
                }
                Ok(is_told)
            }
            Some((at, _)) => {
                lock(&self.noticed.deadlines).note_at(at, id, what);
                Ok(false)
            }
            None => Ok(false),
        }
    }

    /// The same for a key that may be gone.
    fn tell_of(&self, id: KeyId, alert: Alert, now: Timestamp) -> Result<bool, Error> {
        match self.engine.backend.key(id)?.filter(KeyRecord::is_live) {
            Some(key) => self.tell(&key, alert, now),
            None => Ok(false),
        }
    }

    /// Writes an event, unless that was done before: by another process, or before the last start.
    fn tell(&self, key: &KeyRecord, alert: Alert, now: Timestamp) -> Result<bool, Error> {
        let (kind, generation) = match alert {
            Alert::Expired(_) => (EventKind::KeyExpired, None),
            Alert::TrialEnding(_) => (EventKind::TrialEnding, None),
            Alert::TokenOld(generation) => (EventKind::TokenOld, Some(generation)),
            Alert::Unused(_) => (EventKind::KeyUnused, None),
            Alert::PreviousTokenUsed(generation) => {
                (EventKind::PreviousTokenUsed, Some(generation))
            }
            Alert::Refused { .. } => (EventKind::KeyRefused, None),
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
        Ok(self.engine.commit(change)?.is_ok())
    }

    /// What was used of the keys that are due, as far as that matters.
    fn usages_of(&self, due: &[(KeyId, What)]) -> Result<Vec<Usage>, Error> {
        if due.is_empty() || self.noticed.settings.unused.is_none() {
            return Ok(vec![Usage::default(); due.len()]);
        }
        // What this process knows of uses, the backend must know too.
        self.usage.flush()?;
        let of: Vec<UsageSubject> = due.iter().map(|(id, _)| UsageSubject::Key(*id)).collect();
        Ok(self.engine.backend.usage(&of)?)
    }
}

impl Noticed {
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
                (at.saturating_sub(self.settings.trials_ending?), Alert::TrialEnding(at))
            }
            What::TokenOld => {
                let at = issued_at.saturating_add(self.settings.old_tokens?);
                (at, Alert::TokenOld(key.current.generation))
            }
            What::Unused => {
                let since = usage.used.last_used_at.map_or(issued_at, |used| used.max(issued_at));
                (since.saturating_add(self.settings.unused?), Alert::Unused(since))
            }
        })
    }
}
