//! Deleting the addresses of keys that are no longer used, and settling what was noted by a clock
//! that was ahead.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::backend::{KeyFilter, KeyPageQuery, StateSet, UsageChange, UsageSubject};
use crate::clock::Timestamp;
use crate::id::KeyId;
use crate::store::engine::Engine;
use crate::store::types::error::Error;
use crate::store::types::usage_settings::UsageSettings;

/// Number of keys that are examined after each flush. At intervals of 30 seconds this examines a
/// million keys in 4 hours.
const KEYS: usize = 2_048;
/// Number of keys that are read at once.
const PAGE: usize = 256;

/// The place up to which the keys have been examined, newest first. Locked, since the flush thread
/// and a caller may sweep at the same time: without the lock they would overwrite each other's
/// place.
#[derive(Debug, Default)]
pub(super) struct UsageSweep(Mutex<Progress>);

#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    before: Option<KeyId>,
    /// All keys were examined, and no new addresses are stored.
    is_done: bool,
}

impl UsageSettings {
    /// Returns the time before which addresses are deleted. If the settings keep none, all are.
    fn forget_before(&self, now: Timestamp) -> Timestamp {
        self.addresses.map_or(Timestamp::MAX, |keep| now.saturating_sub(keep))
    }
}

impl UsageSweep {
    /// Examines some more keys: deletes their addresses that were kept long enough, and settles what
    /// was noted at a time after now.
    pub(super) fn run(&self, engine: &Engine, settings: UsageSettings) -> Result<(), Error> {
        let mut progress = self.lock();
        for _ in 0..KEYS / PAGE {
            if progress.is_done {
                break;
            }
            progress.before = sweep_page(engine, settings, progress.before)?;
            if progress.before.is_none() {
                progress.is_done = settings.addresses.is_none();
                break;
            }
        }
        Ok(())
    }

    /// Examines all keys once more, from the newest: the clock has stepped back.
    pub(super) fn restart(&self) {
        *self.lock() = Progress::default();
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Examines one page of keys; returns where the next page begins.
fn sweep_page(
    engine: &Engine,
    settings: UsageSettings,
    before: Option<KeyId>,
) -> Result<Option<KeyId>, Error> {
    let now = engine.records.now();
    let filter = KeyFilter::new(StateSet::ALL, now);
    let query = KeyPageQuery { filter, before, after: None, limit: PAGE, examine: PAGE };
    let page = engine.records.backend.page_keys(&query)?;
    let subjects: Vec<UsageSubject> =
        page.keys.iter().map(|key| UsageSubject::Key(key.id)).collect();
    let forget_before = settings.forget_before(now);
    let old: Vec<UsageChange> = page
        .keys
        .iter()
        .zip(engine.records.usages(&subjects)?)
        .filter(|(_, usage)| {
            // Of a damaged row nothing is removed before a repair replaces it.
            let Ok(usage) = usage else { return false };
            let seen = usage.used.last_address.map(|seen| seen.at);
            let is_ahead = usage.used.last_used_at.max(seen).is_some_and(|at| at > now);
            is_ahead || seen.is_some_and(|at| at < forget_before)
        })
        .map(|(key, _)| UsageChange::Settle { of: key.id, now, forget_before })
        .collect();
    if !old.is_empty() {
        // The backend takes one write at a time.
        let _guard = engine.lock_commits()?;
        engine.records.backend.record_usage(&old).map_err(|error| engine.on_write_error(error))?;
    }
    Ok(page.next)
}
