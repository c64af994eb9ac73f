//! What is looked out for.

use std::time::Duration;

use crate::invalid::{Invalid, Problem};
use crate::store::types::UsageSettings;

/// What a store looks out for, and writes an event of. Nothing unless told.
///
/// ```
/// use std::time::Duration;
/// use keyhasp::store::AlertSettings;
///
/// const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// let watch = AlertSettings::new()
///     .expiries()
///     .trials_ending_within(3 * DAY)
///     .tokens_older_than(90 * DAY)
///     .keys_unused_for(30 * DAY)
///     .previous_tokens_used_within(DAY / 24)
///     .rejections(100, Duration::from_secs(60));
/// # let _ = watch;
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct AlertSettings {
    pub(in crate::store) expiries: bool,
    pub(in crate::store) trials_ending: Option<Duration>,
    pub(in crate::store) old_tokens: Option<Duration>,
    pub(in crate::store) unused: Option<Duration>,
    pub(in crate::store) previous_tokens: Option<Duration>,
    pub(in crate::store) rejections: Option<(u64, Duration)>,
    pub(in crate::store) only_when_asked: bool,
}

impl AlertSettings {
    /// How many events of rejections a store writes in a minute, at most.
    pub const MAX_REFUSAL_EVENTS: u32 = 10;
    /// The longest window in which rejections are counted: a day.
    pub const MAX_WINDOW: Duration = Duration::from_secs(24 * 60 * 60);

    /// For nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// For keys that expire: `KeyExpired`, once for each expiry. What expired more than a week
    /// before the store was opened isn't told any more.
    pub fn expiries(mut self) -> Self {
        self.expiries = true;
        self
    }

    /// For trial keys whose expiry is so close: `TrialEnding`, once for each expiry.
    pub fn trials_ending_within(mut self, ahead: Duration) -> Self {
        self.trials_ending = Some(ahead);
        self
    }

    /// For keys whose current token was issued so long ago: `TokenOld`, once for each token.
    pub fn tokens_older_than(mut self, age: Duration) -> Self {
        self.old_tokens = Some(age);
        self
    }

    /// For keys that weren't used for so long: `KeyUnused`, once until they are used again. It
    /// takes a store that keeps usage ([`StoreBuilder::usage`](crate::StoreBuilder::usage)), to a
    /// finer resolution or with counts: keys in use would seem unused else. When a store begins to
    /// keep usage, its keys count as unused since their current token was issued.
    pub fn keys_unused_for(mut self, time: Duration) -> Self {
        self.unused = Some(time);
        self
    }

    /// For previous tokens that are used in this last part of their grace: `PreviousTokenUsed`, once
    /// for each token.
    pub fn previous_tokens_used_within(mut self, of_the_end: Duration) -> Self {
        self.previous_tokens = Some(of_the_end);
        self
    }

    /// For keys whose right tokens are refused more than `count` times in a window of up to a day:
    /// `KeyRejected`, once in each window, and for all keys together at most 10 times a minute.
    pub fn rejections(mut self, count: u64, window: Duration) -> Self {
        self.rejections = Some((count, window));
        self
    }

    /// Has the store look out only when [`Store::run_alerts`](crate::Store::run_alerts) is called, by a
    /// service that has a schedule of its own.
    pub fn only_when_asked(mut self) -> Self {
        self.only_when_asked = true;
        self
    }

    /// Whether anything is looked out for.
    pub(in crate::store) fn is_idle(&self) -> bool {
        *self == Self { only_when_asked: self.only_when_asked, ..Self::default() }
    }

    /// # Errors
    /// [`Invalid`] for unused keys where usage isn't kept, or not as exactly; and for a window of
    /// zero, or of more than a day.
    pub(in crate::store) fn check(&self, usage: Option<&UsageSettings>) -> Result<(), Invalid> {
        let is_known = |time| usage.is_some_and(|usage| usage.resolution_in_use() < time);
        if self.unused.is_some_and(|time| !is_known(time)) {
            let what = "needs usage to be kept (`StoreBuilder::usage`), to a finer resolution";
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
