//! What was noticed since the last scan.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::deadlines::Deadlines;
use super::rejections::Refusals;
use crate::backend::ScannedKey;
use crate::clock::Timestamp;
use crate::id::{Generation, KeyId};
use crate::store::engine::KeyObserver;
use crate::store::types::AlertSettings;
use crate::verified_key::VerifiedKey;

/// How many uses of previous tokens are held until the next scan; later ones come again.
const MAX_LATE_USES: usize = 1_000;

/// What a store looks out for, and what it has noticed since the last round.
#[derive(Debug)]
pub(in crate::store) struct Noticed {
    pub(super) settings: AlertSettings,
    pub(super) deadlines: Mutex<Deadlines>,
    refusals: Mutex<Refusals>,
    /// Previous tokens that were used in the last part of their grace.
    pub(super) late_uses: Mutex<BTreeSet<(KeyId, Generation)>>,
    /// Keys that are refused too often.
    pub(super) refused: Mutex<Vec<KeyId>>,
}

impl Noticed {
    pub(in crate::store) fn new(settings: AlertSettings, now: Timestamp) -> Self {
        Self {
            settings,
            deadlines: Mutex::new(Deadlines::new(settings, now)),
            refusals: Mutex::default(),
            late_uses: Mutex::default(),
            refused: Mutex::default(),
        }
    }

    /// An previous token was accepted. Nobody waits.
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

    /// The right secret of a key was refused. Nobody waits: where many threads are refused at the
    /// same moment, one may not be counted.
    #[cold]
    pub(in crate::store) fn note_rejection(&self, key: KeyId, now: Timestamp) {
        if let Some(rule) = self.settings.refusals
            && let Ok(mut refusals) = self.refusals.try_lock()
            && refusals.add(key, now, rule)
        {
            lock(&self.refused).push(key);
        }
    }
}

impl KeyObserver for Noticed {
    fn note_key(&self, key: &ScannedKey) {
        if !self.settings.is_idle() {
            lock(&self.deadlines).note(key);
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
