//! A scan: checks what may be due, and writes its alerts.

use std::sync::Arc;
use std::time::Duration;

use super::deadlines::DueAlert;
use super::noticed::{Noticed, lock};
use crate::authority::{Actor, Authority, Role};
use crate::backend::{Change, Precondition, UsageSubject, Write};
use crate::clock::Timestamp;
use crate::event::{EventDraft, EventKind, Fields};
use crate::id::KeyId;
use crate::key::{Alert, KeyRecord, Usage, Used};
use crate::store::engine::{Engine, Next, Worked, Workers};
use crate::store::types::error::Error;
use crate::store::usage::UsageRecorder;

/// Pause between two scans.
const PAUSE: Duration = Duration::from_secs(30);
/// Largest number of deadlines that one round of a scan checks.
const MAX_DUE: usize = 1_000;

/// The outcome of a round.
struct Round {
    /// The number of alerts that were written.
    written: usize,
    /// Nothing more was due.
    is_last: bool,
}

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
        let (scanner, name) = (Arc::clone(self), self.engine.records.backend.name());
        // The thread looks between two rounds whether it must end.
        let work = move || match scanner.round() {
            Ok(Round { is_last: false, .. }) => Worked::well(Next::After(Duration::ZERO)),
            // The round has put back the alerts that failed, for the next scan.
            done => Worked::with(done.map(drop), Next::After(PAUSE)),
        };
        workers.spawn(name, "keyhasp-alerts", &Arc::default(), Next::After(Duration::ZERO), work)
    }

    /// Writes the alerts that are due; returns how many. Ends with the first round in which alerts
    /// fail. They are tried again in the next scan.
    pub(in crate::store) fn run(&self) -> Result<usize, Error> {
        let mut written = 0;
        loop {
            let round = self.round()?;
            written += round.written;
            if round.is_last {
                return Ok(written);
            }
        }
    }

    /// Writes alerts that are due, of a bounded number of deadlines.
    fn round(&self) -> Result<Round, Error> {
        let noticed = &*self.noticed;
        if noticed.settings.is_idle() {
            return Ok(Round { written: 0, is_last: true });
        }
        self.engine.check_process()?;
        let now = self.engine.records.now();
        let mut written = 0;
        let earliest = self.usage.take_step_back().map_or(now, |to| to.min(now));
        let due = lock(&noticed.deadlines).take_due(now, earliest, MAX_DUE);
        let is_last = due.len() < MAX_DUE;
        let usages = match self.usages_of(&due, now) {
            Ok(usages) => usages,
            Err(error) => {
                let mut deadlines = lock(&noticed.deadlines);
                due.into_iter().for_each(|(id, due)| deadlines.note_at(now, id, due));
                return Err(error);
            }
        };
        let mut failed = None;
        for ((id, due), usage) in due.into_iter().zip(usages) {
            match self.check_key(id, due, &usage, now) {
                Ok(is_written) => written += usize::from(is_written),
                Err(error) => {
                    lock(&noticed.deadlines).note_at(now, id, due);
                    failed = Some(error);
                }
            }
        }
        let late_uses = std::mem::take(&mut *lock(&noticed.late_uses));
        for (id, generation) in late_uses {
            match self.alert_by_id(id, Alert::PreviousTokenUsed(generation), now) {
                Ok(is_written) => written += usize::from(is_written),
                Err(error) => {
                    lock(&noticed.late_uses).insert((id, generation));
                    failed = Some(error);
                }
            }
        }
        let window = noticed.settings.rejections.map_or(Duration::ZERO, |(_, window)| window);
        let rejected_keys = std::mem::take(&mut *lock(&noticed.rejected_keys));
        for id in rejected_keys {
            let alert = Alert::Rejected { at: now, until: now.saturating_add(window) };
            match self.alert_by_id(id, alert, now) {
                Ok(is_written) => written += usize::from(is_written),
                Err(error) => {
                    lock(&noticed.rejected_keys).push(id);
                    failed = Some(error);
                }
            }
        }
        failed.map_or(Ok(Round { written, is_last }), Err)
    }

    /// Checks a key's deadline; returns whether an alert was written. Notes the deadline again if
    /// it has moved.
    fn check_key(
        &self,
        id: KeyId,
        due: DueAlert,
        usage: &Usage,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let Some(key) = self.engine.records.whole_key(id)?.filter(|key| key.revoked.is_none())
        else {
            return Ok(false);
        };
        match self.noticed.deadline_of(&key, due, usage, now) {
            Some((at, alert)) if at <= now => {
                // After a restart most of what is due was written before. A commit that the backend
                // refuses would tell so too, and costs more.
                let mut state = usage.alert_state;
                let is_written = state.note(alert, now) && self.write_alert(&key, alert, now)?;
                if let Alert::Unused(_) = alert {
                    // The key may be used, and then be unused for as long again.
                    let duration = self.noticed.settings.unused.unwrap_or_default();
                    lock(&self.noticed.deadlines).note_at(now.saturating_add(duration), id, due);
                }
                Ok(is_written)
            }
            Some((at, _)) => {
                lock(&self.noticed.deadlines).note_at(at, id, due);
                Ok(false)
            }
            None => Ok(false),
        }
    }

    /// Writes an alert of a key that may be gone; returns whether it was written.
    fn alert_by_id(&self, id: KeyId, alert: Alert, now: Timestamp) -> Result<bool, Error> {
        match self.engine.records.whole_key(id)?.filter(|key| key.revoked.is_none()) {
            Some(key) => self.write_alert(&key, alert, now),
            None => Ok(false),
        }
    }

    /// Writes an alert; returns whether it was written. It isn't if another process, or this one
    /// before it was restarted, has written it.
    fn write_alert(&self, key: &KeyRecord, alert: Alert, now: Timestamp) -> Result<bool, Error> {
        let (kind, generation) = match alert {
            Alert::Expired(_) => (EventKind::KeyExpired, None),
            Alert::Expiring(_) => match self.noticed.settings.expiring(key.kind) {
                Some((_, kind)) => (kind, None),
                None => return Ok(false),
            },
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
            authority: Authority::new(Role::Administrator, Actor::store()?),
        };
        let change = Change::of(Write::RecordAlert(key.id, alert), event);
        let change = change.requiring(Precondition::Key(key.id, key.version));
        // Rejected if the alert was written before. Also rejected if the key has changed, which the
        // observer then has noted again.
        Ok(self.engine.commit(change)?.is_ok())
    }

    /// Reads the usage of keys that are due, and with it the alerts that were written.
    fn usages_of(&self, due: &[(KeyId, DueAlert)], now: Timestamp) -> Result<Vec<Usage>, Error> {
        if due.is_empty() {
            return Ok(Vec::new());
        }
        if self.noticed.settings.unused.is_some() {
            // The uses that this process has counted must be in the backend before it is read.
            self.usage.flush()?;
        }
        let subjects: Vec<UsageSubject> =
            due.iter().map(|(id, _)| UsageSubject::Key(*id)).collect();
        let usages = self.engine.records.usages(&subjects)?.into_iter().map(|usage| {
            let mut usage = usage.unwrap_or_else(|_damage| {
                // When it was used isn't known: that is no alert of disuse.
                let used = Used { last_used_at: Some(now), ..Used::default() };
                Usage { used, ..Usage::default() }
            });
            usage.used.settle(now);
            usage
        });
        Ok(usages.collect())
    }
}

impl Noticed {
    /// Returns the time at which an alert of a key is due, and the alert; `None` if it never is.
    fn deadline_of(
        &self,
        key: &KeyRecord,
        due: DueAlert,
        usage: &Usage,
        now: Timestamp,
    ) -> Option<(Timestamp, Alert)> {
        let issued_at = key.current.issued_at;
        Some(match due {
            DueAlert::Expired => {
                let at = key.expires_at?;
                (at, Alert::Expired(at))
            }
            DueAlert::Expiring => {
                let at = key.expires_at.filter(|at| now < *at)?;
                let (ahead, _) = self.settings.expiring(key.kind)?;
                (at.saturating_sub(ahead), Alert::Expiring(at))
            }
            DueAlert::TokenOld => {
                let at = issued_at.saturating_add(self.settings.old_tokens?);
                (at, Alert::TokenOld(key.current.generation))
            }
            DueAlert::Unused => {
                let since = usage.used.last_used_at.map_or(issued_at, |used| used.max(issued_at));
                (since.saturating_add(self.settings.unused?), Alert::Unused(since))
            }
        })
    }
}
