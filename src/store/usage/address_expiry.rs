//! Addresses of keys that are used no more: they leave the database too.

use std::sync::{Mutex, PoisonError};

use super::writer::UsageRecorder;
use crate::backend::{KeyFilter, KeyPageQuery, StateSet, UsageChange, UsageSubject};
use crate::clock::Timestamp;
use crate::id::KeyId;
use crate::store::types::error::Error;
use crate::store::types::usage_settings::UsageSettings;

/// How many keys are looked at whenever something is written, so many at a time: at intervals of 30
/// seconds a million in 4 hours.
const KEYS: usize = 2_048;
const PAGE: usize = 256;

/// How far the keys have been looked through, newest first.
#[derive(Debug, Default)]
pub(super) struct Sweep(Mutex<Progress>);

#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    before: Option<KeyId>,
    /// There is nothing more to forget.
    is_done: bool,
}

impl UsageSettings {
    /// Addresses seen before this are forgotten: all, where none are kept.
    fn forget_before(&self, now: Timestamp) -> Timestamp {
        self.addresses.map_or(Timestamp::MAX, |keep| now.saturating_sub(keep))
    }
}

impl UsageRecorder {
    /// Looks at some more keys, and forgets addresses that were kept long enough.
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

    /// The same for a page of keys; where the next begins.
    fn sweep_page(
        &self,
        settings: UsageSettings,
        before: Option<KeyId>,
    ) -> Result<Option<KeyId>, Error> {
        let now = self.engine.now();
        let filter = KeyFilter { owner: None, kind: None, states: StateSet::ALL, now };
        let query = KeyPageQuery { filter, before, after: None, limit: PAGE, examine: PAGE };
        let page = self.engine.backend.page_keys(&query)?;
        let of: Vec<UsageSubject> = page.keys.iter().map(|key| UsageSubject::Key(key.id)).collect();
        let before = settings.forget_before(now);
        let old: Vec<UsageChange> = page
            .keys
            .iter()
            .zip(self.engine.backend.usage(&of)?)
            .filter(|(_, usage)| usage.used.last_address.is_some_and(|seen| seen.at < before))
            .map(|(key, _)| UsageChange::ForgetAddress(key.id, before))
            .collect();
        if !old.is_empty() {
            let _guard = self.engine.lock_commits()?;
            self.engine
                .backend
                .record_usage(&old)
                .map_err(|error| self.engine.on_write_error(error))?;
        }
        Ok(page.next)
    }
}
