//! Counts of rejections by key.

use std::collections::{HashMap, VecDeque};
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
        // A window that begins later than its length from now began before the clock stepped back.
        let is_over = |window: &Window| {
            let began_at = window.began_at;
            now >= began_at.saturating_add(length) || began_at > now.saturating_add(length)
        };
        if self.windows.len() >= MAX_KEYS && !self.windows.contains_key(&key) {
            self.windows.retain(|_, window| !is_over(window));
            if self.windows.len() >= MAX_KEYS {
                return false;
            }
        }
        let new = || Window { began_at: now, count: 0, is_alerted: false };
        let window = self.windows.entry(key).or_insert_with(new);
        if is_over(window) {
            *window = new();
        }
        window.count = window.count.saturating_add(1);
        if window.is_alerted || window.count <= limit || !may_alert(&mut self.alerted_at, now) {
            return false;
        }
        window.is_alerted = true;
        true
    }
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

    proptest! {
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
