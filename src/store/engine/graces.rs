//! The watch over graces of previous tokens that a clock reckoned that was ahead.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::clock_watch::{ClockWatch, TOLERANCE};
use crate::backend::ScannedKey;
use crate::clock::Timestamp;
use crate::id::{Generation, KeyId};
use crate::key::PreviousToken;

/// The watch over graces that began at a time to come.
///
/// Its record says when a grace began. If that lies ahead, the grace ends after its length by the
/// clock that runs on in sleep. The next call that may change something puts that end into the
/// record.
#[derive(Debug)]
pub(in crate::store) struct GraceWatch {
    /// Wall-clock milliseconds at which the latest grace began. Relaxed: no other memory is read by
    /// it.
    latest: AtomicU64,
    /// Whether there is an end below. Relaxed: a thread notes the end before it publishes the
    /// token's slot, and `verify` reads the slot before this.
    is_any: AtomicBool,
    /// The times since the opening at which graces end that were reckoned ahead. Locked, since
    /// verifications read them while others change them.
    ends: Mutex<BTreeMap<(KeyId, Generation), Duration>>,
}

impl GraceWatch {
    pub(in crate::store) fn new() -> Self {
        Self {
            latest: AtomicU64::new(0),
            is_any: AtomicBool::new(false),
            ends: Mutex::new(BTreeMap::new()),
        }
    }

    /// Notes the graces of a key, new or changed, before it is published.
    pub(in crate::store) fn note(&self, key: &ScannedKey, watch: &ClockWatch) {
        let latest = key.previous.iter().map(|previous| previous.since.as_millis()).max();
        if let Some(latest) = latest {
            self.latest.fetch_max(latest, Ordering::Relaxed);
        }
        let is_any = self.is_any.load(Ordering::Relaxed);
        if latest.is_none() && !is_any {
            return;
        }
        let right = watch.expected_now().saturating_add(TOLERANCE);
        let ahead = || key.previous.iter().filter(|previous| previous.since > right);
        if !is_any && ahead().next().is_none() {
            return;
        }
        let (mut ends, elapsed) = (self.lock(), watch.elapsed());
        let of_key: Vec<_> = ends.range(range_of(key.id)).map(|(place, _)| *place).collect();
        for place in of_key {
            if !ahead().any(|previous| previous.token.generation == place.1) {
                ends.remove(&place);
            }
        }
        for previous in ahead() {
            let place = (key.id, previous.token.generation);
            ends.entry(place).or_insert(elapsed.saturating_add(length(previous)));
        }
        self.is_any.store(!ends.is_empty(), Ordering::Relaxed);
    }

    /// Returns whether a previous token's grace is over, though its end lies ahead.
    #[inline]
    pub(in crate::store) fn is_over(
        &self,
        key: KeyId,
        generation: Generation,
        watch: &ClockWatch,
    ) -> bool {
        self.is_any.load(Ordering::Relaxed)
            && self.lock().get(&(key, generation)).is_some_and(|end| *end <= watch.elapsed())
    }

    /// Returns the keys of graces that are known to have been reckoned ahead; none while the clock
    /// is.
    pub(in crate::store) fn keys(&self, watch: &ClockWatch) -> Vec<KeyId> {
        if !self.is_any.load(Ordering::Relaxed) || watch.ahead().is_some() {
            return Vec::new();
        }
        self.lock().keys().map(|(key, _)| *key).collect()
    }

    /// Returns the latest begin of a grace, for [`settle`](Self::settle).
    pub(in crate::store) fn latest(&self) -> Timestamp {
        Timestamp::clamped_millis(self.latest.load(Ordering::Relaxed))
    }

    /// Sets the latest begin of a grace after all were examined, unless one was noted meanwhile.
    pub(in crate::store) fn settle(&self, seen: Timestamp, latest: Timestamp) {
        let (seen, latest) = (seen.as_millis(), latest.as_millis());
        let _ = self.latest.compare_exchange(seen, latest, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Returns a previous token as it is if its grace doesn't begin ahead. Otherwise its grace
    /// begins now, and lasts for what is left of its length.
    pub(in crate::store) fn settled(
        &self,
        key: KeyId,
        previous: &PreviousToken,
        now: Timestamp,
        watch: &ClockWatch,
    ) -> PreviousToken {
        let end = self.lock().get(&(key, previous.token.generation)).copied();
        let is_known = end.is_some() && watch.ahead().is_none();
        if !is_known && !is_ahead(previous.since, now) {
            return previous.clone();
        }
        let left = end.map(|end| end.saturating_sub(watch.elapsed()));
        let left = left.unwrap_or_else(|| length(previous)).min(length(previous));
        PreviousToken { since: now, ends_at: now.saturating_add(left), ..previous.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(KeyId, Generation), Duration>> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns whether a grace that began at `since` began at a time to come.
pub(in crate::store) fn is_ahead(since: Timestamp, now: Timestamp) -> bool {
    since > now.saturating_add(TOLERANCE)
}

fn length(previous: &PreviousToken) -> Duration {
    previous.ends_at.since(previous.since)
}

fn range_of(key: KeyId) -> std::ops::RangeInclusive<(KeyId, Generation)> {
    (key, Generation::FIRST)..=(key, Generation::MAX)
}
