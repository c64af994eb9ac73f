//! From the answers of verifications to sums.

use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use super::address_expiry::Sweep;
use super::dedup::Recent;
use super::pending::Waiting;
use super::thread_logs::{Entry, Logs, Put};
use super::writer::Signal;
use crate::clock::Timestamp;
use crate::id::KeyId;
use crate::key::{RejectKind, Used};
use crate::store::engine::state::Core;
use crate::store::types::error::VerifyError;
use crate::store::types::request::VerifyRequest;
use crate::store::types::usage_settings::UsageSettings;
use crate::token::Unverified;
use crate::verified_key::VerifiedKey;

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
    pub(super) signal: Signal,
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
            signal: Signal::default(),
            sweep: Sweep::default(),
        }
    }

    /// Notes the answer to a request, by the time by which it was judged.
    #[inline]
    pub(in crate::store) fn note(
        &self,
        request: &VerifyRequest<'_>,
        answer: &Result<VerifiedKey, VerifyError>,
        now: Timestamp,
    ) {
        match answer {
            Ok(verified) => self.accepted(verified.key_id(), request, now),
            Err(refusal) => self.rejected(refusal, request, now),
        }
    }

    #[inline]
    fn accepted(&self, key: KeyId, request: &VerifyRequest<'_>, now: Timestamp) {
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
        self.put(Entry { key, at: now, rejected: None, address, count: 1 });
    }

    #[cold]
    fn rejected(&self, refusal: &VerifyError, request: &VerifyRequest<'_>, now: Timestamp) {
        // Of a secret that wasn't right nothing is said, and nothing counted.
        let (Some(reason), Some(token)) = (reason(refusal), Unverified::parse(request.token))
        else {
            return;
        };
        let rejected = Some(reason);
        self.put(Entry { key: token.id, at: now, rejected, address: None, count: 1 });
    }

    #[inline]
    fn put(&self, entry: Entry) {
        let put = self.logs.put(entry, |log| self.waiting().add(log, self.settings.counts));
        if matches!(put, Put::Full) {
            self.signal.notify();
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

impl Core {
    /// Verifies, and notes what became of it.
    #[inline]
    pub(in crate::store) fn verify_noted(
        &self,
        request: &VerifyRequest<'_>,
    ) -> Result<VerifiedKey, VerifyError> {
        // Nothing is noted of an answer that was given before the time was known.
        let mut now = Timestamp::MIN;
        let answer = self.verify(request, &mut now);
        if let Some(usage) = &self.usage {
            usage.note(request, &answer, now);
        }
        if let Err(refusal) = &answer
            && self.alerts.counts_refusals()
            && reason(refusal).is_some()
            && let Some(token) = Unverified::parse(request.token)
        {
            self.alerts.note_refusal(token.id, now);
        }
        answer
    }
}

fn reason(error: &VerifyError) -> Option<RejectKind> {
    match error {
        VerifyError::Rejected(reason) => Some(reason.kind()),
        VerifyError::Unrecognized | VerifyError::Unavailable(_) => None,
    }
}
