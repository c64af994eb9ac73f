//! Settings of usage and alerts. They have few values, so that the steps of the clock often meet
//! them.

use std::time::Duration;

use keyhasp::store::{AlertSettings, UsageSettings};

use crate::chance::Chance;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Settings of usage.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UsagePlan {
    pub(crate) resolution: Duration,
    pub(crate) counts: bool,
    /// The time for which addresses are kept, if they are.
    pub(crate) addresses: Option<Duration>,
}

/// Settings of alerts.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct WatchPlan {
    pub(crate) expiries: bool,
    pub(crate) expiring: Option<Duration>,
    pub(crate) trials_ending: Option<Duration>,
    pub(crate) old_tokens: Option<Duration>,
    pub(crate) unused: Option<Duration>,
    pub(crate) previous_tokens: Option<Duration>,
    pub(crate) rejections: Option<(u64, Duration)>,
}

impl UsagePlan {
    /// Most services want something.
    pub(crate) fn draw(chance: &mut Chance) -> Option<Self> {
        chance.maybe(60, |chance| Self {
            resolution: chance.pick(&[SECOND, MINUTE, HOUR, DAY]),
            counts: chance.percent(50),
            addresses: chance.maybe(60, |chance| chance.pick(&[MINUTE, HOUR, 2 * DAY, 400 * DAY])),
        })
    }

    /// Nothing is written but when the driver says so: no sequence takes as long as the longest
    /// interval.
    pub(crate) fn settings(&self) -> UsageSettings {
        let mut settings = UsageSettings::new().interval(HOUR).resolution(self.resolution);
        if self.counts {
            settings = settings.counts();
        }
        match self.addresses {
            Some(keep) => settings.addresses(keep),
            None => settings,
        }
    }
}

impl WatchPlan {
    pub(crate) fn draw(chance: &mut Chance, usage: Option<UsagePlan>) -> Self {
        if chance.percent(40) {
            return Self::default();
        }
        let mut some = |times: &[Duration]| chance.maybe(70, |chance| chance.pick(times));
        Self {
            expiring: some(&[HOUR, 7 * DAY, 90 * DAY]),
            trials_ending: some(&[HOUR, 3 * DAY, 30 * DAY]),
            old_tokens: some(&[HOUR, 7 * DAY, 90 * DAY]),
            unused: some(&[SECOND, 10 * MINUTE, DAY, 30 * DAY])
                // Where it isn't known so exactly, no store is opened.
                .filter(|time| usage.is_some_and(|usage| usage.counts || usage.resolution < *time)),
            previous_tokens: some(&[MINUTE, 2 * HOUR, 7 * DAY, 400 * DAY]),
            rejections: some(&[SECOND, MINUTE, 6 * HOUR, DAY])
                .map(|window| (chance.pick(&[0, 1, 5]), window)),
            expiries: chance.percent(70),
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        *self == Self::default()
    }

    /// Nothing is looked out for but when the driver says so.
    pub(crate) fn watch(&self) -> AlertSettings {
        let mut watch = AlertSettings::new().only_when_asked();
        if self.expiries {
            watch = watch.expiries();
        }
        if let Some(ahead) = self.expiring {
            watch = watch.expiring_within(ahead);
        }
        if let Some(ahead) = self.trials_ending {
            watch = watch.trials_ending_within(ahead);
        }
        if let Some(age) = self.old_tokens {
            watch = watch.tokens_older_than(age);
        }
        if let Some(time) = self.unused {
            watch = watch.keys_unused_for(time);
        }
        if let Some(last_part) = self.previous_tokens {
            watch = watch.previous_tokens_used_within(last_part);
        }
        if let Some((count, window)) = self.rejections {
            watch = watch.rejections(count, window);
        }
        watch
    }
}
