//! Counts of rejections by key.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::id::KeyId;
use crate::store::types::AlertSettings;

/// Largest number of keys that are counted at once. Further keys aren't counted until a window
/// ends.
const MAX_KEYS: usize = 10_000;
const MINUTE: Duration = Duration::from_secs(60);

/// Windows, each of which began with a key's first rejection, and the times of the last alerts.
#[derive(Debug, Default)]
pub(super) struct Rejections {
    windows: HashMap<KeyId, Window>,
    /// The begin of each window, so that one that is over is found without a look at all of them.
    begins: BTreeSet<(Timestamp, KeyId)>,
    alerted_at: VecDeque<Timestamp>,
}

#[derive(Debug)]
struct Window {
    began_at: Timestamp,
    count: u64,
    is_alerted: bool,
}

impl Rejections {
    /// Counts a rejection; returns whether an alert must be written now.
    pub(super) fn add(
        &mut self,
        key: KeyId,
        now: Timestamp,
        (limit, length): (u64, Duration),
    ) -> bool {
        let new = || Window { began_at: now, count: 0, is_alerted: false };
        if !self.windows.contains_key(&key) {
            if self.windows.len() >= MAX_KEYS && !self.remove_ended(now, length) {
                return false;
            }
            self.begins.insert((now, key));
        }
        let window = self.windows.entry(key).or_insert_with(new);
        if is_over(window.began_at, now, length) {
            self.begins.remove(&(window.began_at, key));
            self.begins.insert((now, key));
            *window = new();
        }
        window.count = window.count.saturating_add(1);
        if window.is_alerted || window.count <= limit || !may_alert(&mut self.alerted_at, now) {
            return false;
        }
        window.is_alerted = true;
        true
    }

    /// Removes a window that is over, if there is one; returns whether it did. If any is over, the
    /// one that began first is, or the one that began last.
    fn remove_ended(&mut self, now: Timestamp, length: Duration) -> bool {
        let ends = [self.begins.first(), self.begins.last()];
        let ended = ends.into_iter().flatten().find(|(at, _)| is_over(*at, now, length)).copied();
        let Some((began_at, key)) = ended else { return false };
        self.begins.remove(&(began_at, key));
        self.windows.remove(&key).is_some()
    }
}

/// Returns whether a window is over. One that begins later than its length from now began before
/// the clock stepped back.
fn is_over(began_at: Timestamp, now: Timestamp, length: Duration) -> bool {
    #[cfg(test)]
    tests::EXAMINED.set(tests::EXAMINED.get() + 1);
    now >= began_at.saturating_add(length) || began_at > now.saturating_add(length)
}

/// Returns whether an alert may be written, and notes it: a minute has a bounded number of them.
fn may_alert(alerted_at: &mut VecDeque<Timestamp>, now: Timestamp) -> bool {
    // An alert in the future was written before the clock stepped back.
    alerted_at.retain(|at| *at <= now && now < at.saturating_add(MINUTE));
    if alerted_at.len() >= AlertSettings::MAX_REJECTION_EVENTS as usize {
        return false;
    }
    alerted_at.push_back(now);
    true
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use proptest::prelude::*;

    use super::*;

    fn key(number: u64) -> KeyId {
        KeyId::from_u128(u128::from(number))
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000).unwrap()
    }

    #[test]
    fn a_window_alerts_once_when_its_limit_is_exceeded() {
        let rule = (10, Duration::from_secs(60));
        let mut rejections = Rejections::default();
        let mut add = |second| rejections.add(key(1), at(second), rule);
        let mut alerts = |second, times| (0..times).filter(|_| add(second)).count();
        assert_eq!([alerts(0, 10), alerts(59, 1), alerts(59, 100)], [0, 1, 0]);
        // The next window.
        assert_eq!([alerts(60, 10), alerts(61, 1)], [0, 1]);
    }

    thread_local! {
        /// The windows that were examined.
        pub(super) static EXAMINED: Cell<usize> = const { Cell::new(0) };
    }

    #[test]
    fn the_work_of_a_rejection_does_not_depend_on_the_number_of_keys() {
        let rule = (0, Duration::from_secs(60));
        let mut rejections = Rejections::default();
        let mut add = |number, second| {
            let before = EXAMINED.get();
            rejections.add(key(number), at(second), rule);
            assert!(EXAMINED.get() - before <= 3, "{}", EXAMINED.get() - before);
            assert_eq!(rejections.windows.len(), rejections.begins.len());
            (rejections.windows.len(), rejections.windows.contains_key(&key(number)))
        };
        let most = MAX_KEYS as u64;
        for number in 0..most {
            assert_eq!(add(number, 100), (number as usize + 1, true));
        }
        // Further keys aren't counted, and leave nothing.
        assert_eq!(add(most, 159), (MAX_KEYS, false));
        // They take the places of windows that are over.
        for number in most..2 * most {
            assert_eq!(add(number, 160), (MAX_KEYS, true));
        }
        assert_eq!(add(0, 160), (MAX_KEYS, false));
        // Of those too that began before the clock stepped back.
        assert_eq!(add(0, 99), (MAX_KEYS, true));
        assert_eq!(add(0, 300), (MAX_KEYS, true));
    }

    proptest! {
        /// While there are few, each key is counted as if alone, also by a clock that steps back.
        #[test]
        fn each_key_is_counted_as_if_alone(
            steps in prop::collection::vec((-30..40_i64, 0..5_u64), 0..200),
        ) {
            let (limit, length) = (2, 60);
            let mut rejections = Rejections::default();
            let (mut now, mut alerted_at) = (9_000_u64, VecDeque::new());
            let mut model: HashMap<u64, (u64, u64, bool)> = HashMap::new();
            for (pause, number) in steps {
                now = now.saturating_add_signed(pause);
                let window = model.entry(number).or_insert((now, 0, false));
                if now >= window.0 + length || window.0 > now + length {
                    *window = (now, 0, false);
                }
                window.1 += 1;
                let is_due = !window.2 && window.1 > limit && may_alert(&mut alerted_at, at(now));
                window.2 |= is_due;
                let rule = (limit, Duration::from_secs(length));
                prop_assert_eq!(rejections.add(key(number), at(now), rule), is_due);
            }
        }

        #[test]
        fn never_more_than_ten_in_a_minute(
            steps in prop::collection::vec((0..7_u64, 0..30_u64), 0..400),
        ) {
            let mut rejections = Rejections::default();
            let (mut now, mut alerted_at) = (0, Vec::new());
            for (pause, number) in steps {
                now += pause;
                if rejections.add(key(number), at(now), (0, Duration::from_secs(5))) {
                    alerted_at.push(now);
                }
            }
            for (place, first) in alerted_at.iter().enumerate() {
                let within = alerted_at[place..].iter().filter(|later| **later < first + 60).count();
                prop_assert!(within <= 10);
            }
        }
    }
}
