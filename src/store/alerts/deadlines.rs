//! When something about a key may have to be told.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::backend::ScannedKey;
use crate::clock::Timestamp;
use crate::id::KeyId;
use crate::key::Kind;
use crate::store::types::AlertSettings;

/// What expired so long before the store was opened isn't told any more.
const TOO_LATE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// What may be due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum What {
    Expired,
    TrialEnding,
    TokenOld,
    Unused,
}

/// The moments at which keys are to be looked at. A key that changes is noted again, and what was
/// noted of it before stays: when it is due, the key as it is then decides.
#[derive(Debug)]
pub(super) struct Deadlines {
    watch: AlertSettings,
    opened_at: Timestamp,
    due: BTreeSet<(Timestamp, KeyId, What)>,
}

impl Deadlines {
    pub(super) fn new(watch: AlertSettings, opened_at: Timestamp) -> Self {
        Self { watch, opened_at, due: BTreeSet::new() }
    }

    /// Notes a key, new or changed.
    pub(super) fn note(&mut self, key: &ScannedKey) {
        if key.revoked {
            return;
        }
        if let Some(at) = key.expires_at {
            if self.watch.expiries && at >= self.opened_at.saturating_sub(TOO_LATE) {
                self.note_at(at, key.id, What::Expired);
            }
            if let (Some(ahead), Kind::Trial) = (self.watch.trials_ending, key.kind) {
                self.note_at(at.saturating_sub(ahead), key.id, What::TrialEnding);
            }
        }
        let issued_at = key.current.issued_at;
        if let Some(age) = self.watch.old_tokens {
            self.note_at(issued_at.saturating_add(age), key.id, What::TokenOld);
        }
        if let Some(time) = self.watch.unused {
            self.note_at(issued_at.saturating_add(time), key.id, What::Unused);
        }
    }

    /// Notes that a key is to be looked at.
    pub(super) fn note_at(&mut self, at: Timestamp, key: KeyId, what: What) {
        self.due.insert((at, key, what));
    }

    /// Takes out what is due by now, the earliest first, so much at most.
    pub(super) fn take_due(&mut self, now: Timestamp, most: usize) -> Vec<(KeyId, What)> {
        let mut taken = Vec::new();
        while taken.len() < most {
            match self.due.first() {
                Some((at, ..)) if *at <= now => {}
                _ => break,
            }
            taken.extend(self.due.pop_first().map(|(_, key, what)| (key, what)));
        }
        taken
    }
}
