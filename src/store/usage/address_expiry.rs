//! Deleting the addresses of keys that are no longer used.

use std::sync::{Mutex, PoisonError};

use super::writer::UsageRecorder;
use crate::backend::{KeyFilter, KeyPageQuery, StateSet, UsageChange, UsageSubject};
use crate::clock::Timestamp;
use crate::id::KeyId;
use crate::store::types::error::Error;
use crate::store::types::usage_settings::UsageSettings;

/// Number of keys that are examined after each flush. At intervals of 30 seconds this examines a
/// million keys in 4 hours.
const KEYS: usize = 2_048;
/// Number of keys that are read at once.
const PAGE: usize = 256;

/// The place up to which the keys have been examined, newest first. Locked, since the flush thread and
/// a caller may sweep at the same time: without the lock they would overwrite each other's place.
#[derive(Debug, Default)]
pub(super) struct Sweep(Mutex<Progress>);

#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    before: Option<KeyId>,
    /// No key has an address any more, and no new ones are stored.
    is_done: bool,
}

impl UsageSettings {
    /// Returns the time before which addresses are deleted. If the settings keep none, all are.
    fn forget_before(&self, now: Timestamp) -> Timestamp {
        self.addresses.map_or(Timestamp::MAX, |keep| now.saturating_sub(keep))
    }
}

impl UsageRecorder {
    /// Examines some more keys, and deletes their addresses that were kept long enough.
    pub(in crate::store) fn sweep_addresses(&self) -> Result<(), Error> {
        let Some(usage) = &self.collector else { return Ok(()) };
        let mut progress = usage.sweep.0.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..KEYS / PAGE {
            if progress.is_done {
                break;
            }
            progress.before = self.sweep_page(usage.settings, progress.before)?;
            if progress.before.is_none() {
                progress.is_done = usage.settings.addresses.is_none();
                break;
            }
        }
        Ok(())
    }

    /// Examines one page of keys; returns where the next page begins.
    fn sweep_page(
        &self,
        settings: UsageSettings,
        before: Option<KeyId>,
    ) -> Result<Option<KeyId>, Error> {
        let now = self.engine.now();
        let filter = KeyFilter { owner: None, kind: None, states: StateSet::ALL, now };
        let query = KeyPageQuery { filter, before, after: None, limit: PAGE, examine: PAGE };
        let page = self.engine.backend.page_keys(&query)?;
        let subjects: Vec<UsageSubject> =
            page.keys.iter().map(|key| UsageSubject::Key(key.id)).collect();
        let before = settings.forget_before(now);
        let old: Vec<UsageChange> = page
            .keys
            .iter()
            .zip(self.engine.backend.usage(&subjects)?)
            .filter(|(_, usage)| usage.used.last_address.is_some_and(|seen| seen.at < before))
            .map(|(key, _)| UsageChange::ForgetAddress(key.id, before))
            .collect();
        if !old.is_empty() {
            // The backend takes one write at a time.
            let _guard = self.engine.lock_commits()?;
            self.engine
                .backend
                .record_usage(&old)
                .map_err(|error| self.engine.on_write_error(error))?;
        }
        Ok(page.next)
    }
}
