//! From the answers of verifications to sums.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::address_expiry::Sweep;
use super::dedup::Recent;
use super::pending::Waiting;
use super::thread_logs::{Entry, Logs, Put};
use crate::clock::Timestamp;
use crate::id::KeyId;
use crate::key::{RejectKind, Used};
use crate::store::engine::Signal;
use crate::store::types::request::VerifyRequest;
use crate::store::types::usage_settings::UsageSettings;

/// Notes what is used.
#[derive(Debug)]
pub(in crate::store) struct Collector {
    pub(super) settings: UsageSettings,
    /// Where every use counts, none is passed over.
    recent: Option<Recent>,
    logs: Logs,
    /// One gathers at a time, so that who has gathered finds everything in the sums.
    gathering: Mutex<()>,
    waiting: Mutex<Waiting>,
    /// Held for writing while sums move into the backend, for reading by whoever adds the two.
    pub(super) moving: RwLock<()>,
    pub(super) signal: Arc<Signal>,
    pub(super) sweep: Sweep,
}

impl Collector {
    pub(in crate::store) fn new(settings: UsageSettings, expected_keys: u64) -> Self {
        Self {
            recent: (!settings.counts).then(|| Recent::new(expected_keys)),
            settings,
            logs: Logs::new(),
            gathering: Mutex::default(),
            waiting: Mutex::default(),
            moving: RwLock::default(),
            signal: Arc::default(),
            sweep: Sweep::default(),
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
        if let Some(recent) = &self.recent {
            let resolution = self.settings.resolution.as_millis();
            // A resolution is at most a day.
            #[allow(clippy::cast_possible_truncation)]
            let interval = now.as_millis() / resolution as u64;
            if !recent.note(key, interval) {
                return;
            }
        }
        let address = request.address.filter(|_| self.settings.addresses.is_some());
        let address = address.map(|address| address.to_canonical());
        self.put(Entry { key, at: now, refused: None, address, count: 1 });
    }

    /// Notes that a token of a key, whose secret was right, was rejected.
    pub(in crate::store) fn rejected(&self, key: KeyId, reason: RejectKind, at: Timestamp) {
        self.put(Entry { key, at, refused: Some(reason), address: None, count: 1 });
    }

    #[inline]
    fn put(&self, entry: Entry) {
        let put = self.logs.put(entry, |log| self.waiting().add(log, self.settings.counts));
        if matches!(put, Put::Full) {
            self.signal.wake();
        }
    }

    /// Adds what stands in the logs to the sums.
    pub(super) fn gather(&self) {
        let _one = self.gathering.lock().unwrap_or_else(PoisonError::into_inner);
        self.logs.gather(|log| self.waiting().add(log, self.settings.counts));
    }

    pub(super) fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What waits of a key.
    pub(super) fn waiting_of(&self, key: KeyId) -> Used {
        self.waiting().of(key)
    }
}
