//! Steps of the clock.

use std::time::Duration;

use keyhasp::Timestamp;

use super::Mood;
use crate::chance::Chance;
use crate::model::Model;

pub(super) const DAY: u64 = 24 * 60 * 60 * 1_000;

/// Picks the next step of the clock: mostly none, on, back, or to a time at which something ends.
pub(crate) fn next_moment(chance: &mut Chance, mood: &Mood, model: &Model) -> Timestamp {
    let now = model.now;
    let millis = |n: u64| Duration::from_millis(n);
    if mood.steps_back && chance.percent(20) {
        return now.saturating_sub(millis(chance.below(10_800_000) as u64));
    }
    match chance.below(40) {
        0..=17 => now,
        18..=24 => now.saturating_add(millis(1 + chance.below(5) as u64)),
        25..=27 => now.saturating_add(millis(1_000 * chance.below(3_600) as u64)),
        28..=30 => now.saturating_add(millis(chance.below(8) as u64 * 60 * 60 * 1_000)),
        31 => now.saturating_add(millis(chance.below(40) as u64 * DAY)),
        32 => now.saturating_sub(millis(1 + chance.below(1_000) as u64)),
        33 => now.saturating_sub(millis(chance.below(7_200_000) as u64)),
        34 => now.saturating_sub(millis(chance.below(3) as u64 * DAY)),
        _ => {
            let keys = model.keys.values();
            let moments: Vec<Timestamp> = keys
                .flat_map(|key| {
                    let start = key.limits.not_before.as_ref().map(|from| from.value);
                    key.previous.iter().map(|(_, end)| *end).chain(key.expires_at).chain(start)
                })
                .chain(model.moments_to_tell())
                .chain(model.moments_of_purges())
                .filter(|end| *end < now.saturating_add(millis(400 * DAY)))
                .collect();
            let Some(end) = chance.pick_late(&moments) else { return now };
            match chance.below(3) {
                0 => end.saturating_sub(millis(1)),
                1 => end,
                _ => end.saturating_add(millis(1)),
            }
        }
    }
}
