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

/// Largest number of taken deadlines that are kept, for a clock that was ahead. The oldest give way.
const MAX_TAKEN: usize = 100_000;

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
    /// The deadlines that were taken out, with the times at which they were. If the clock was ahead
    /// then, they are due again.
    taken: BTreeSet<(Timestamp, KeyId, DueAlert)>,
}

impl Deadlines {
    pub(super) fn new(settings: AlertSettings, opened_at: Timestamp) -> Self {
        Self { settings, opened_at, due: BTreeSet::new(), taken: BTreeSet::new() }
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
    /// The clock may have been as early as `earliest` since they were taken out last.
    pub(super) fn take_due(
        &mut self,
        now: Timestamp,
        earliest: Timestamp,
        max: usize,
    ) -> Vec<(KeyId, DueAlert)> {
        while let Some((at, ..)) = self.taken.last()
            && *at > earliest
            && let Some((_, key, alert)) = self.taken.pop_last()
        {
            self.note_at(now, key, alert);
        }
        let mut taken = Vec::new();
        while taken.len() < max {
            match self.due.first() {
                Some((at, ..)) if *at <= now => {}
                _ => break,
            }
            taken.extend(self.due.pop_first().map(|(_, key, alert)| (key, alert)));
        }
        self.taken.extend(taken.iter().map(|(key, alert)| (now, *key, *alert)));
        while self.taken.len() > MAX_TAKEN {
            self.taken.pop_first();
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_while_the_clock_was_ahead_is_due_again() {
        let at = |millis| Timestamp::from_millis(millis).unwrap();
        let key = |number: u128| KeyId::from_u128(number);
        let mut deadlines = Deadlines::new(AlertSettings::new(), at(0));
        deadlines.note_at(at(5), key(1), DueAlert::Expired);
        deadlines.note_at(at(900), key(2), DueAlert::Unused);
        assert_eq!(deadlines.take_due(at(5), at(5), 9), [(key(1), DueAlert::Expired)]);
        assert_eq!(deadlines.take_due(at(1_000), at(1_000), 9), [(key(2), DueAlert::Unused)]);
        assert_eq!(deadlines.take_due(at(1_001), at(1_001), 9), []);
        assert_eq!(deadlines.take_due(at(6), at(6), 9), [(key(2), DueAlert::Unused)]);
        assert_eq!(deadlines.take_due(at(6), at(6), 9), []);
    }
}
