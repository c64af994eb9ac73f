//! Deadlines: the times at which an alert of a key may be due.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::backend::ScannedKey;
use crate::clock::Timestamp;
use crate::id::KeyId;
use crate::store::types::AlertSettings;

/// Age of an expiry, when the store is opened, from which it is no longer alerted.
const MAX_EXPIRY_AGE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Largest number of taken deadlines that are kept, for a clock that was ahead. The oldest give way.
const MAX_TAKEN: usize = 100_000;

/// The kind of alert that may be due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum DueAlert {
    Expired,
    Expiring,
    TokenOld,
    Unused,
}

impl DueAlert {
    const ALL: [Self; 4] = [Self::Expired, Self::Expiring, Self::TokenOld, Self::Unused];
}

/// Times of keys and alerts, at most one of each.
#[derive(Debug, Default)]
struct Times {
    ordered: BTreeSet<(Timestamp, KeyId, DueAlert)>,
    /// The time of each entry of `ordered`.
    of: BTreeMap<(KeyId, DueAlert), Timestamp>,
}

impl Times {
    fn get(&self, key: KeyId, alert: DueAlert) -> Option<Timestamp> {
        self.of.get(&(key, alert)).copied()
    }

    fn set(&mut self, at: Timestamp, key: KeyId, alert: DueAlert) {
        if let Some(before) = self.of.insert((key, alert), at) {
            self.ordered.remove(&(before, key, alert));
        }
        self.ordered.insert((at, key, alert));
    }

    fn remove(&mut self, key: KeyId, alert: DueAlert) {
        if let Some(at) = self.of.remove(&(key, alert)) {
            self.ordered.remove(&(at, key, alert));
        }
    }

    fn first(&self) -> Option<(Timestamp, KeyId, DueAlert)> {
        self.ordered.first().copied()
    }

    fn last(&self) -> Option<(Timestamp, KeyId, DueAlert)> {
        self.ordered.last().copied()
    }

    fn retain(&mut self, keep: impl Fn(KeyId) -> bool) {
        self.ordered.retain(|(_, key, _)| keep(*key));
        self.of.retain(|(key, _), _| keep(*key));
    }
}

/// The times at which keys must be checked. Of each key and alert only the earliest is kept: when
/// it is due, the key's record of that time decides, and says when to look again. So the deadlines
/// of a key don't grow with its changes.
#[derive(Debug)]
pub(super) struct Deadlines {
    settings: AlertSettings,
    opened_at: Timestamp,
    due: Times,
    /// The deadlines that were taken out, with the last times at which they were. If the clock was
    /// ahead then, they are due again.
    taken: Times,
}

impl Deadlines {
    pub(super) fn new(settings: AlertSettings, opened_at: Timestamp) -> Self {
        Self { settings, opened_at, due: Times::default(), taken: Times::default() }
    }

    /// Notes the deadlines of a new or changed key.
    pub(super) fn note(&mut self, key: &ScannedKey) {
        if key.revoked {
            return self.forget(key.id);
        }
        if let Some(at) = key.expires_at {
            if self.settings.expiries && at >= self.opened_at.saturating_sub(MAX_EXPIRY_AGE) {
                self.note_at(at, key.id, DueAlert::Expired);
            }
            if let Some((ahead, _)) = self.settings.expiring(key.kind) {
                self.note_at(at.saturating_sub(ahead), key.id, DueAlert::Expiring);
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

    /// Notes that a key must be checked at a time, unless it is checked before.
    pub(super) fn note_at(&mut self, at: Timestamp, key: KeyId, alert: DueAlert) {
        if self.due.get(key, alert).is_none_or(|before| at < before) {
            self.due.set(at, key, alert);
        }
    }

    /// Forgets a key that is revoked or gone.
    pub(super) fn forget(&mut self, key: KeyId) {
        for alert in DueAlert::ALL {
            self.due.remove(key, alert);
            self.taken.remove(key, alert);
        }
    }

    /// Forgets the keys for which `keep` fails.
    pub(super) fn retain(&mut self, keep: impl Fn(KeyId) -> bool) {
        self.due.retain(&keep);
        self.taken.retain(&keep);
    }

    /// Takes out the deadlines that have passed, the earliest first, and at most `max` of them.
    /// The clock may have been as early as `earliest` since they were taken out last.
    pub(super) fn take_due(
        &mut self,
        now: Timestamp,
        earliest: Timestamp,
        max: usize,
    ) -> Vec<(KeyId, DueAlert)> {
        while let Some((at, key, alert)) = self.taken.last()
            && at > earliest
        {
            self.taken.remove(key, alert);
            self.note_at(now, key, alert);
        }
        let mut taken = Vec::new();
        while taken.len() < max
            && let Some((at, key, alert)) = self.due.first()
            && at <= now
        {
            self.due.remove(key, alert);
            self.taken.set(now, key, alert);
            taken.push((key, alert));
        }
        while self.taken.of.len() > MAX_TAKEN
            && let Some((_, key, alert)) = self.taken.first()
        {
            self.taken.remove(key, alert);
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn step() -> impl Strategy<Value = (u8, u64, u128, usize)> {
        (0..8_u8, 0..40_u64, 0..3_u128, 0..DueAlert::ALL.len())
    }

    proptest! {
        /// However often the deadlines of a key are moved and are due, one remains of each alert: the
        /// earliest since it was last due; and one time at which it was last taken out. A key that
        /// is gone leaves nothing.
        #[test]
        fn one_deadline_of_each_alert(steps in prop::collection::vec(step(), 0..200)) {
            let at = |millis| Timestamp::from_millis(millis).unwrap();
            let mut deadlines = Deadlines::new(AlertSettings::new(), at(0));
            let (mut model, mut last_taken) = (BTreeMap::new(), BTreeMap::new());
            for (kind, millis, number, alert) in steps {
                let (key, alert) = (KeyId::from_u128(number), DueAlert::ALL[alert]);
                match kind {
                    0 => {
                        deadlines.forget(key);
                        model.retain(|(of, _), _| *of != key);
                        last_taken.retain(|(of, _), _| *of != key);
                    }
                    1 => {
                        deadlines.retain(|of| of == key);
                        model.retain(|(of, _), _| *of == key);
                        last_taken.retain(|(of, _), _| *of == key);
                    }
                    2 => {
                        let now = at(millis / 2);
                        let taken: BTreeSet<_> =
                            deadlines.take_due(now, Timestamp::MAX, 99).into_iter().collect();
                        let is_due = |(_, due): &(_, &Timestamp)| **due <= now;
                        let due: BTreeSet<_> =
                            model.iter().filter(is_due).map(|(of, _)| *of).collect();
                        prop_assert_eq!(&taken, &due);
                        model.retain(|of, _| !due.contains(of));
                        last_taken.extend(due.into_iter().map(|of| (of, now)));
                    }
                    _ => {
                        deadlines.note_at(at(millis), key, alert);
                        let earliest = model.entry((key, alert)).or_insert(at(millis));
                        *earliest = at(millis).min(*earliest);
                    }
                }
                prop_assert_eq!(&deadlines.due.of, &model);
                prop_assert_eq!(&deadlines.taken.of, &last_taken);
                for times in [&deadlines.due, &deadlines.taken] {
                    let ordered = times.of.iter().map(|((key, alert), at)| (*at, *key, *alert));
                    prop_assert_eq!(&times.ordered, &ordered.collect());
                }
            }
        }
    }

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
