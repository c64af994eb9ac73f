//! Whether the store can answer at all, as `verify` reads it: a word or three, no lock.

use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::{Clock, Timestamp};
use crate::store::types::error::Unavailable;

const CLOSED: u8 = 1;
/// A change of the store's own record has an unknown outcome.
const METADATA_INDETERMINATE: u8 = 2;
const RULES_CHANGED: u8 = 4;
/// A change of unknown outcome is being looked into; commits wait for that.
const RECOVERING: u8 = 8;

/// What stands before every answer.
#[derive(Debug)]
pub(in crate::store) struct Availability {
    flags: AtomicU8,
    freshness: Option<Freshness>,
    /// How often something became of unknown outcome.
    in_doubt_epoch: AtomicU64,
}

/// How fresh the knowledge of other processes is.
#[derive(Debug)]
struct Freshness {
    bound: u64,
    /// Monotonic nanoseconds at the start of the last good poll.
    polled_at: AtomicU64,
    /// Wall milliseconds less monotonic milliseconds, as of that poll.
    wall_offset: AtomicI64,
}

impl Availability {
    /// A availability that is open; for a shared database, with the bound on staleness.
    pub(in crate::store) fn new(bound: Option<Duration>) -> Self {
        let freshness = bound.map(|bound| Freshness {
            bound: nanos(bound),
            polled_at: AtomicU64::new(0),
            wall_offset: AtomicI64::new(0),
        });
        Self { flags: AtomicU8::new(0), freshness, in_doubt_epoch: AtomicU64::new(0) }
    }

    /// The time to judge by, or why nothing can be judged.
    #[inline]
    pub(in crate::store) fn check(&self, clock: &dyn Clock) -> Result<Timestamp, Unavailable> {
        if let Some(unavailable) = self.unavailable() {
            return Err(unavailable);
        }
        let Some(freshness) = &self.freshness else { return Ok(clock.now()) };
        let monotonic = clock.monotonic();
        if freshness.age(monotonic) > freshness.bound {
            return Err(Unavailable::Stale);
        }
        let offset = freshness.wall_offset.load(Ordering::Relaxed);
        let millis = millis(monotonic).saturating_add(offset);
        let millis = u64::try_from(millis).unwrap_or(0);
        Ok(Timestamp::clamped_millis(millis))
    }

    /// Why nothing can be answered, freshness aside.
    #[inline]
    pub(in crate::store) fn unavailable(&self) -> Option<Unavailable> {
        let flags = self.flags.load(Ordering::Acquire);
        if flags & (CLOSED | RULES_CHANGED | METADATA_INDETERMINATE) == 0 {
            return None;
        }
        Some(if flags & CLOSED != 0 {
            Unavailable::Closed
        } else if flags & RULES_CHANGED != 0 {
            Unavailable::RulesChanged
        } else {
            Unavailable::Recovering
        })
    }

    /// A poll that started at `monotonic` found everything up to then.
    pub(in crate::store) fn freshen(&self, started: Duration, clock: &dyn Clock) {
        let Some(freshness) = &self.freshness else { return };
        let wall = i64::try_from(clock.now().as_millis()).unwrap_or(i64::MAX);
        freshness.wall_offset.store(wall - millis(clock.monotonic()), Ordering::Relaxed);
        // A poll that started earlier may end later.
        freshness.polled_at.fetch_max(nanos(started), Ordering::AcqRel);
    }

    /// How old the knowledge of other processes is; `None` if there are none.
    pub(in crate::store) fn staleness(&self, clock: &dyn Clock) -> Option<Duration> {
        let freshness = self.freshness.as_ref()?;
        Some(Duration::from_nanos(freshness.age(clock.monotonic())))
    }

    /// Whether that is too old to answer by.
    pub(in crate::store) fn is_stale(&self, clock: &dyn Clock) -> bool {
        let freshness = self.freshness.as_ref();
        freshness.is_some_and(|freshness| freshness.age(clock.monotonic()) > freshness.bound)
    }

    /// Closes for good; says whether it was open.
    pub(in crate::store) fn close(&self) -> bool {
        self.flags.fetch_or(CLOSED, Ordering::AcqRel) & CLOSED == 0
    }

    pub(in crate::store) fn set_rules_changed(&self) {
        self.flags.fetch_or(RULES_CHANGED, Ordering::AcqRel);
    }

    pub(in crate::store) fn set_recovering(&self, metadata_too: bool) {
        let flags = if metadata_too { RECOVERING | METADATA_INDETERMINATE } else { RECOVERING };
        self.in_doubt_epoch.fetch_add(1, Ordering::AcqRel);
        self.flags.fetch_or(flags, Ordering::AcqRel);
    }

    /// A number that is another after every doubt.
    pub(in crate::store) fn in_doubt_epoch(&self) -> u64 {
        self.in_doubt_epoch.load(Ordering::Acquire)
    }

    pub(in crate::store) fn is_recovering(&self) -> bool {
        self.flags.load(Ordering::Acquire) & RECOVERING != 0
    }

    pub(in crate::store) fn set_recovered(&self) {
        self.flags.fetch_and(!(RECOVERING | METADATA_INDETERMINATE), Ordering::AcqRel);
    }
}

impl Freshness {
    #[inline]
    fn age(&self, monotonic: Duration) -> u64 {
        nanos(monotonic).saturating_sub(self.polled_at.load(Ordering::Acquire))
    }
}

#[inline]
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[inline]
fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn freshness_is_counted_from_the_start_of_the_last_good_poll() {
        let second = Duration::from_secs(1);
        let clock = ManualClock::new(Timestamp::from_millis(5_000).unwrap());
        let availability = Availability::new(Some(second));
        clock.advance(second);
        availability.freshen(Duration::from_millis(500), &clock);
        assert_eq!(availability.check(&clock).unwrap().as_millis(), 6_000);
        clock.advance(Duration::from_millis(500));
        assert_eq!(availability.check(&clock).unwrap().as_millis(), 6_500);
        assert!(!availability.is_stale(&clock));
        clock.advance(Duration::from_nanos(1));
        assert_eq!(availability.check(&clock), Err(Unavailable::Stale));
        assert!(availability.is_stale(&clock));
    }

    #[test]
    fn a_poll_that_started_earlier_and_ends_later_makes_nothing_older() {
        let clock = ManualClock::new(Timestamp::MIN);
        let availability = Availability::new(Some(Duration::from_secs(1)));
        clock.advance(Duration::from_secs(5));
        availability.freshen(Duration::from_secs(5), &clock);
        availability.freshen(Duration::from_secs(3), &clock);
        assert_eq!(availability.staleness(&clock), Some(Duration::ZERO));
    }

    #[test]
    fn an_exclusive_store_is_never_stale() {
        let clock = ManualClock::new(Timestamp::MIN);
        let availability = Availability::new(None);
        clock.advance(Duration::from_secs(1_000_000));
        assert!(availability.check(&clock).is_ok() && availability.staleness(&clock).is_none());
    }

    #[test]
    fn what_weighs_most_is_told() {
        let clock = ManualClock::new(Timestamp::MIN);
        let availability = Availability::new(None);
        availability.set_recovering(false);
        assert!(availability.check(&clock).is_ok() && availability.is_recovering());
        availability.set_recovering(true);
        assert_eq!(availability.check(&clock), Err(Unavailable::Recovering));
        availability.set_recovered();
        assert!(availability.check(&clock).is_ok());
        availability.set_rules_changed();
        assert_eq!(availability.check(&clock), Err(Unavailable::RulesChanged));
        assert!(availability.close() && !availability.close());
        assert_eq!(availability.check(&clock), Err(Unavailable::Closed));
    }
}
