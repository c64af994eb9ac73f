//! How often keys are refused.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::id::KeyId;
use crate::store::types::AlertSettings;

/// How many keys are counted at once; those that come when it is full wait for a window to end.
const MAX_KEYS: usize = 10_000;
const MINUTE: Duration = Duration::from_secs(60);

/// Windows that began with a key's first refusal, and when events were written of them.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    windows: HashMap<KeyId, Window>,
    told: VecDeque<Timestamp>,
}

#[derive(Debug)]
struct Window {
    began_at: Timestamp,
    count: u64,
    is_told: bool,
}

impl Refusals {
    /// Counts a refusal; whether that is to be told now.
    pub(super) fn add(
        &mut self,
        key: KeyId,
        now: Timestamp,
        (limit, length): (u64, Duration),
    ) -> bool {
        // One that lies ahead by more than its length began before the clock stepped back.
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
        let new = || Window { began_at: now, count: 0, is_told: false };
        let window = self.windows.entry(key).or_insert_with(new);
        if is_over(window) {
            *window = new();
        }
        window.count = window.count.saturating_add(1);
        if window.is_told || window.count <= limit || !may_tell(&mut self.told, now) {
            return false;
        }
        window.is_told = true;
        true
    }
}

/// So many events in each minute, whatever comes.
fn may_tell(told: &mut VecDeque<Timestamp>, now: Timestamp) -> bool {
    // One that lies ahead was written before the clock stepped back.
    told.retain(|at| *at <= now && now < at.saturating_add(MINUTE));
    if told.len() >= AlertSettings::MAX_REFUSAL_EVENTS as usize {
        return false;
    }
    told.push_back(now);
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
    fn told_once_in_a_window_when_it_is_more() {
        let rule = (10, Duration::from_secs(60));
        let mut refusals = Refusals::default();
        let mut add = |second| refusals.add(key(1), at(second), rule);
        let mut told = |second, times| (0..times).filter(|_| add(second)).count();
        assert_eq!([told(0, 10), told(59, 1), told(59, 100)], [0, 1, 0]);
        // The next window.
        assert_eq!([told(60, 10), told(61, 1)], [0, 1]);
    }

    proptest! {
        #[test]
        fn never_more_than_ten_in_a_minute(
            steps in prop::collection::vec((0..7_u64, 0..30_u64), 0..400),
        ) {
            let mut refusals = Refusals::default();
            let (mut now, mut told) = (0, Vec::new());
            for (pause, number) in steps {
                now += pause;
                if refusals.add(key(number), at(now), (0, Duration::from_secs(5))) {
                    told.push(now);
                }
            }
            for (place, first) in told.iter().enumerate() {
                let within = told[place..].iter().filter(|later| **later < first + 60).count();
                prop_assert!(within <= 10);
            }
        }
    }
}
