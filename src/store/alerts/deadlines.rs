//! Deadlines: the times at which an alert of a key may be due.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::backend::ScannedKey;
use crate::clock::Timestamp;
use crate::id::KeyId;
use crate::key::Kind;
use crate::store::types::AlertSettings;

/// Age of an expiry, when the store is opened, from which it is no longer alerted.
const MAX_EXPIRY_AGE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The kind of alert that may be due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum DueAlert {
    Expired,
    TrialEnding,
    TokenOld,
    Unused,
}

/// The times at which keys must be checked. A key that changes is noted again, and its earlier
/// deadlines stay: when one is due, the key's record of that time decides.
#[derive(Debug)]
pub(super) struct Deadlines {
    settings: AlertSettings,
    opened_at: Timestamp,
    due: BTreeSet<(Timestamp, KeyId, DueAlert)>,
}

impl Deadlines {
    pub(super) fn new(settings: AlertSettings, opened_at: Timestamp) -> Self {
        Self { settings, opened_at, due: BTreeSet::new() }
    }

    /// Notes the deadlines of a new or changed key.
    pub(super) fn note(&mut self, key: &ScannedKey) {
        if key.revoked {
            return;
        }
        if let Some(at) = key.expires_at {
            if self.settings.expiries && at >= self.opened_at.saturating_sub(MAX_EXPIRY_AGE) {
                self.note_at(at, key.id, DueAlert::Expired);
            }
            if let (Some(ahead), Kind::Trial) = (self.settings.trials_ending, key.kind) {
                self.note_at(at.saturating_sub(ahead), key.id, DueAlert::TrialEnding);
            }
        }
        let issued_at = key.current.issued_at;
        if let Some(age) = self.settings.old_tokens {
            self.note_at(issued_at.saturating_add(age), key.id, DueAlert::TokenOld);
        }
        if let Some(duration) = self.settings.unused {
            self.note_at(issued_at.saturating_add(duration), key.id, DueAlert::Unused);
        }
    }

    /// Notes that a key must be checked at a time.
    pub(super) fn note_at(&mut self, at: Timestamp, key: KeyId, alert: DueAlert) {
        self.due.insert((at, key, alert));
    }

    /// Takes out the deadlines that have passed, the earliest first, and at most `max` of them.
    pub(super) fn take_due(&mut self, now: Timestamp, max: usize) -> Vec<(KeyId, DueAlert)> {
        let mut taken = Vec::new();
        while taken.len() < max {
            match self.due.first() {
                Some((at, ..)) if *at <= now => {}
                _ => break,
            }
            taken.extend(self.due.pop_first().map(|(_, key, alert)| (key, alert)));
        }
        taken
    }
}
