//! The collector: turns the answers of verifications into sums.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::dedup::DedupFilter;
use super::pending::PendingSums;
use super::thread_logs::{Entry, Logs, Put};
use crate::clock::Timestamp;
use crate::id::KeyId;
use crate::key::{RejectKind, Used};
use crate::store::engine::Signal;
use crate::store::types::request::VerifyRequest;
use crate::store::types::usage_settings::UsageSettings;

/// Notes the uses of keys.
#[derive(Debug)]
pub(in crate::store) struct Collector {
    pub(super) settings: UsageSettings,
    /// `None` if uses are counted: each use is noted then.
    dedup: Option<DedupFilter>,
    logs: Logs,
    /// Held while a thread gathers the logs. Without it, a thread that has gathered could miss
    /// entries that another thread has taken out of a log and not yet added to the sums.
    gathering: Mutex<()>,
    /// Locked, since verifications, the flush thread and readers of usage all change the sums.
    pending: Mutex<PendingSums>,
    /// Held for writing while a batch moves from the sums into the backend, and for reading while a
    /// thread reads both. Without it that thread could count a batch twice, or not at all.
    pub(super) moving: RwLock<()>,
    pub(super) signal: Arc<Signal>,
}

impl Collector {
    pub(in crate::store) fn new(settings: UsageSettings, expected_keys: u64) -> Self {
        Self {
            dedup: (!settings.counts).then(|| DedupFilter::new(expected_keys)),
            settings,
            logs: Logs::new(),
            gathering: Mutex::default(),
            pending: Mutex::default(),
            moving: RwLock::default(),
            signal: Arc::default(),
        }
    }

    /// Notes that a token of a key was accepted.
    #[inline]
    pub(in crate::store) fn accepted(
        &self,
        key: KeyId,
        request: &VerifyRequest<'_>,
        now: Timestamp,
    ) {
        if request.is_noted {
            return;
        }
        if let Some(dedup) = &self.dedup {
            let resolution = self.settings.resolution.as_millis();
            // A resolution is at most a day.
            #[allow(clippy::cast_possible_truncation)]
            let interval = now.as_millis() / resolution as u64;
            if !dedup.note(key, interval) {
                return;
            }
        }
        let address = request.address.filter(|_| self.settings.addresses.is_some());
        let address = address.map(|address| address.to_canonical());
        self.put(Entry { key, at: now, rejected: None, address, count: 1 });
    }

    /// Notes that a key's token was rejected though its secret was right.
    pub(in crate::store) fn rejected(&self, key: KeyId, reason: RejectKind, at: Timestamp) {
        self.put(Entry { key, at, rejected: Some(reason), address: None, count: 1 });
    }

    #[inline]
    fn put(&self, entry: Entry) {
        let put = self.logs.put(entry, |log| self.pending().add(log, self.settings.counts));
        if matches!(put, Put::Full) {
            self.signal.wake();
        }
    }

    /// Adds the entries of all logs to the sums.
    pub(super) fn gather(&self) {
        let _gathering = self.gathering.lock().unwrap_or_else(PoisonError::into_inner);
        self.logs.gather(|log| self.pending().add(log, self.settings.counts));
    }

    /// Gathers before a flush at `now`; returns whether the clock has stepped back.
    ///
    /// Uses that were noted ahead are settled then, so the filter forgets them: a use that comes at
    /// the same time again is another one.
    pub(super) fn gather_to_flush(&self, now: Timestamp) -> bool {
        self.gather();
        let steps_back = self.pending().steps_back(now);
        if steps_back && let Some(dedup) = &self.dedup {
            dedup.clear();
        }
        steps_back
    }

    pub(super) fn pending(&self) -> MutexGuard<'_, PendingSums> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the usage of a key that isn't written yet.
    pub(super) fn pending_of(&self, key: KeyId) -> Used {
        self.pending().of(key)
    }
}
