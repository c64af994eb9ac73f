//! The settings of time-based alerts.

use std::time::Duration;

use super::UsageSettings;
use crate::event::EventKind;
use crate::invalid::{Invalid, Problem};
use crate::key::Kind;

/// The alerts that a store writes as events. Defaults to none.
///
/// ```
/// use std::time::Duration;
/// use keyhasp::store::AlertSettings;
///
/// const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// let settings = AlertSettings::new()
///     .expiries()
///     .expiring_within(14 * DAY)
///     .trials_ending_within(3 * DAY)
///     .tokens_older_than(90 * DAY)
///     .keys_unused_for(30 * DAY)
///     .previous_tokens_used_within(DAY / 24)
///     .rejections(100, Duration::from_secs(60));
/// # let _ = settings;
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct AlertSettings {
    pub(in crate::store) expiries: bool,
    expiring: Option<Duration>,
    trials_ending: Option<Duration>,
    pub(in crate::store) old_tokens: Option<Duration>,
    pub(in crate::store) unused: Option<Duration>,
    pub(in crate::store) previous_tokens: Option<Duration>,
    pub(in crate::store) rejections: Option<(u64, Duration)>,
    pub(in crate::store) only_when_asked: bool,
}

impl AlertSettings {
    /// The greatest number of `KeyRejected` events that a store writes in a minute: 10.
    pub const MAX_REJECTION_EVENTS: u32 = 10;
    /// The longest window in which rejections are counted: a day.
    pub const MAX_WINDOW: Duration = Duration::from_secs(24 * 60 * 60);

    /// Starts with no alert.
    pub fn new() -> Self {
        Self::default()
    }

    /// Alerts about keys that expire: `KeyExpired`, once for each expiry. A key that expired more
    /// than a week before the store was opened gets no alert.
    pub fn expiries(mut self) -> Self {
        self.expiries = true;
        self
    }

    /// Alerts about keys that expire within `ahead`: `KeyExpiring`, once for each expiry, also if the
    /// expiry was less than `ahead` away when it was set. A key whose expiry has come, or that is
    /// revoked, gets no such alert. Trial keys are among them, unless
    /// [`trials_ending_within`](Self::trials_ending_within) is set too.
    pub fn expiring_within(mut self, ahead: Duration) -> Self {
        self.expiring = Some(ahead);
        self
    }

    /// Alerts about trial keys that expire within `ahead`: `TrialEnding`, once for each expiry, and no
    /// `KeyExpiring` beside it.
    pub fn trials_ending_within(mut self, ahead: Duration) -> Self {
        self.trials_ending = Some(ahead);
        self
    }

    /// Alerts about keys whose current token is at least `age` old: `TokenOld`, once for each
    /// token.
    pub fn tokens_older_than(mut self, age: Duration) -> Self {
        self.old_tokens = Some(age);
        self
    }

    /// Alerts about keys that were not used for `time`: `KeyUnused`, once until they are used
    /// again. It needs a store that keeps usage
    /// ([`StoreBuilder::usage`](crate::StoreBuilder::usage)), with counts or with a resolution
    /// finer than `time`. With a coarser one, keys in use would seem unused. When a store begins to
    /// keep usage, its keys count as unused since their current token was issued.
    pub fn keys_unused_for(mut self, time: Duration) -> Self {
        self.unused = Some(time);
        self
    }

    /// Alerts about previous tokens that are used within the last `of_the_end` of their grace:
    /// `PreviousTokenUsed`, once for each token.
    pub fn previous_tokens_used_within(mut self, of_the_end: Duration) -> Self {
        self.previous_tokens = Some(of_the_end);
        self
    }

    /// Alerts about keys that a verification rejects more than `count` times in a `window`,
    /// although the secret was right: `KeyRejected`. A window lasts at most a day. The store writes
    /// one such event a key and window, and at most 10 in a minute for all keys together.
    pub fn rejections(mut self, count: u64, window: Duration) -> Self {
        self.rejections = Some((count, window));
        self
    }

    /// Scans for alerts only when the service calls
    /// [`Store::run_alerts`](crate::Store::run_alerts), on a schedule of its own. Defaults to a
    /// scan about every 30 seconds.
    pub fn only_when_asked(mut self) -> Self {
        self.only_when_asked = true;
        self
    }

    /// Returns how long before its expiry a key of this kind is alerted, and by which event.
    pub(in crate::store) fn expiring(&self, kind: Kind) -> Option<(Duration, EventKind)> {
        let of_trials = self.trials_ending.filter(|_| kind == Kind::Trial);
        of_trials
            .map(|ahead| (ahead, EventKind::TrialEnding))
            .or(self.expiring.map(|ahead| (ahead, EventKind::KeyExpiring)))
    }

    /// Tests whether no alert is set.
    pub(in crate::store) fn is_idle(&self) -> bool {
        *self == Self { only_when_asked: self.only_when_asked, ..Self::default() }
    }

    /// Checks the settings against each other and against those of usage.
    ///
    /// # Errors
    /// [`Invalid`] for an alert about unused keys if usage isn't kept or is too coarse, and for a
    /// window of zero or of more than a day.
    pub(in crate::store) fn check(&self, usage: Option<&UsageSettings>) -> Result<(), Invalid> {
        let is_known = |time| usage.is_some_and(|usage| usage.resolution_in_use() < time);
        if self.unused.is_some_and(|time| !is_known(time)) {
            let what = "the store must keep usage (`StoreBuilder::usage`) with counts or a finer resolution";
            return Err(Invalid::new("keys_unused_for", Problem::Required { what }));
        }
        let Some((_, window)) = self.rejections else { return Ok(()) };
        if window.is_zero() || window > Self::MAX_WINDOW {
            let given = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
            let max = u64::try_from(Self::MAX_WINDOW.as_millis()).unwrap_or(u64::MAX);
            return Err(Invalid::new(
                "rejections.window",
                Problem::OutOfRange { given, min: 1, max, unit: "ms" },
            ));
        }
        Ok(())
    }
}
