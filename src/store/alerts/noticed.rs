//! Observations since the last scan.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::deadlines::Deadlines;
use super::rejections::Rejections;
use crate::backend::ScannedKey;
use crate::clock::Timestamp;
use crate::id::{Generation, KeyId};
use crate::store::engine::KeyObserver;
use crate::store::types::AlertSettings;
use crate::verified_key::VerifiedKey;

/// Largest number of uses of previous tokens that are held until the next scan. A token that is
/// left out is noticed at a later use.
const MAX_LATE_USES: usize = 1_000;

/// The alert settings, and the observations since the last scan.
///
/// Each field has a lock of its own, since verifications add to it while a scan takes it. Without
/// the locks observations would be lost. Verifications only try to lock, and never wait for a scan,
/// except when they add to `rejected_keys`.
#[derive(Debug)]
pub(in crate::store) struct Noticed {
    pub(super) settings: AlertSettings,
    pub(super) deadlines: Mutex<Deadlines>,
    rejections: Mutex<Rejections>,
    /// Previous tokens that were used in the last part of their grace.
    pub(super) late_uses: Mutex<BTreeSet<(KeyId, Generation)>>,
    /// Keys whose tokens are rejected too often.
    pub(super) rejected_keys: Mutex<Vec<KeyId>>,
}

impl Noticed {
    pub(in crate::store) fn new(settings: AlertSettings, now: Timestamp) -> Self {
        Self {
            settings,
            deadlines: Mutex::new(Deadlines::new(settings, now)),
            rejections: Mutex::default(),
            late_uses: Mutex::default(),
            rejected_keys: Mutex::default(),
        }
    }

    /// Notes that a previous token was accepted. If another thread holds the lock, the use isn't
    /// noted; a later one is.
    #[inline]
    pub(in crate::store) fn note_previous(&self, verified: &VerifiedKey, now: Timestamp) {
        if let Some(last_part) = self.settings.previous_tokens
            && verified.ends_at().is_some_and(|end| end.since(now) <= last_part)
            && let Ok(mut late) = self.late_uses.try_lock()
            && late.len() < MAX_LATE_USES
        {
            late.insert((verified.key_id(), verified.generation()));
        }
    }

    /// Notes that a key's token was rejected though its secret was right. If another thread holds
    /// the lock, the rejection isn't counted.
    #[cold]
    pub(in crate::store) fn note_rejection(&self, key: KeyId, now: Timestamp) {
        if let Some(rule) = self.settings.rejections
            && let Ok(mut rejections) = self.rejections.try_lock()
            && rejections.add(key, now, rule)
        {
            // Waits at most while a scan takes the list. An alert of a key is due only now and
            // then.
            lock(&self.rejected_keys).push(key);
        }
    }
}

impl KeyObserver for Noticed {
    fn note_key(&self, key: &ScannedKey) {
        if !self.settings.is_idle() {
            lock(&self.deadlines).note(key);
        }
    }

    fn forget_key(&self, key: KeyId) {
        if !self.settings.is_idle() {
            lock(&self.deadlines).forget(key);
        }
    }

    fn retain_keys(&self, keys: &BTreeSet<KeyId>) {
        lock(&self.deadlines).retain(|key| keys.contains(&key));
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
