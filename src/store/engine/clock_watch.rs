//! The watch over wall time: whether it has run ahead since the store was opened, or lies behind
//! the log of events.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::{Clock, Timestamp};
use crate::store::types::clock::{ClockAhead, ClockBehindLog};

/// The difference between two clocks that counts as none.
pub(super) const TOLERANCE: Duration = Duration::from_secs(60);
/// The time after opening in which the store removes nothing by itself. A clock that was wrong
/// when the store was opened is mostly set right by then.
const FIRST_HOUR: Duration = Duration::from_secs(60 * 60);

/// The watch over a store's clock.
///
/// It compares wall time with the clock that runs on in sleep. Both count from the opening of this
/// store, never from an event: a process with a wrong clock may have written the event.
#[derive(Debug)]
pub(in crate::store) struct ClockWatch {
    clock: Arc<dyn Clock>,
    opened: Reading,
    /// Wall-clock milliseconds of the latest event that a right clock dated, as far as this
    /// process can tell.
    ///
    /// Relaxed: no other memory is read by it.
    newest_event: AtomicU64,
}

/// Both times at one moment.
#[derive(Clone, Copy, Debug)]
struct Reading {
    wall: Timestamp,
    monotonic: Duration,
}

impl ClockWatch {
    /// Starts to watch a clock as of now.
    pub(in crate::store) fn new(clock: Arc<dyn Clock>) -> Self {
        let opened = Reading::of(&*clock);
        Self { clock, opened, newest_event: AtomicU64::new(0) }
    }

    /// Returns how far wall time has run ahead since the opening. `None` up to a minute.
    pub(in crate::store) fn ahead(&self) -> Option<ClockAhead> {
        let now = Reading::of(&*self.clock);
        let by = now.wall.since(self.expected(now));
        (by > TOLERANCE).then_some(ClockAhead { by })
    }

    /// Returns wall time, or an earlier time if wall time has run ahead since the opening. What
    /// has ended by this time has ended, unless the clock was ahead at the opening already.
    pub(in crate::store) fn trusted_now(&self) -> Timestamp {
        let now = Reading::of(&*self.clock);
        now.wall.min(self.expected(now))
    }

    /// Returns what wall time would be if it had run like the other clock since the opening.
    pub(in crate::store) fn expected_now(&self) -> Timestamp {
        self.opened.wall.saturating_add(self.elapsed())
    }

    /// Returns the time by which the store may remove what is too old, without being asked. `None`
    /// while wall time is ahead, and in the first hour after the opening.
    pub(in crate::store) fn removal_time(&self) -> Option<Timestamp> {
        let is_early = self.elapsed() < FIRST_HOUR;
        (!is_early && self.ahead().is_none()).then(|| self.trusted_now())
    }

    /// Returns the time since the opening.
    pub(in crate::store) fn elapsed(&self) -> Duration {
        self.clock.monotonic().saturating_sub(self.opened.monotonic)
    }

    /// Notes the newest event that was in the log when the store was opened.
    pub(in crate::store) fn note_opening_event(&self, at: Timestamp) {
        self.newest_event.fetch_max(at.as_millis(), Ordering::Relaxed);
    }

    /// Notes the time of a new event, unless it was dated while the clock was ahead.
    pub(in crate::store) fn note_event(&self, at: Timestamp) {
        if at <= self.expected(Reading::of(&*self.clock)).saturating_add(TOLERANCE) {
            self.newest_event.fetch_max(at.as_millis(), Ordering::Relaxed);
        }
    }

    /// Returns how far wall time lies behind the log of events. `None` up to a minute.
    pub(in crate::store) fn behind_log(&self) -> Option<ClockBehindLog> {
        let newest_event = Timestamp::clamped_millis(self.newest_event.load(Ordering::Relaxed));
        let now = self.clock.now();
        (newest_event.since(now) > TOLERANCE).then_some(ClockBehindLog { now, newest_event })
    }

    /// Returns what wall time would be if it had run like the other clock since the opening.
    fn expected(&self, now: Reading) -> Timestamp {
        self.opened.wall.saturating_add(now.monotonic.saturating_sub(self.opened.monotonic))
    }
}

impl Reading {
    fn of(clock: &dyn Clock) -> Self {
        // Wall time first. In the other order, a thread that is interrupted in between would take
        // its own pause for a step of wall time.
        let wall = clock.now();
        Self { wall, monotonic: clock.monotonic() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::clock::ManualClock;

    const MINUTE: Duration = Duration::from_secs(60);
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    const MILLI: Duration = Duration::from_millis(1);

    fn watched() -> (Arc<ManualClock>, ClockWatch) {
        let start = Timestamp::from_millis(1_767_225_600_000).unwrap();
        let clock = Arc::new(ManualClock::new(start));
        let watch = ClockWatch::new(Arc::<ManualClock>::clone(&clock));
        (clock, watch)
    }

    #[test]
    fn nothing_is_removed_in_the_first_hour_and_while_the_clock_is_ahead() {
        let (clock, watch) = watched();
        for by in [FIRST_HOUR - MILLI, DAY * 365] {
            // A jump of wall time doesn't end the hour.
            clock.set(clock.now().saturating_add(by));
            assert_eq!(watch.removal_time(), None, "{by:?}");
            clock.set(clock.now().saturating_sub(by));
        }
        clock.advance(FIRST_HOUR);
        let right = clock.now();
        assert_eq!(watch.removal_time(), Some(right));
        for (by, ahead) in
            [(MINUTE, None), (MINUTE + MILLI, Some(MINUTE + MILLI)), (DAY * 365, Some(DAY * 365))]
        {
            clock.set(right.saturating_add(by));
            assert_eq!(watch.ahead().map(|ahead| ahead.by), ahead, "{by:?}");
            assert_eq!(watch.removal_time(), ahead.is_none().then_some(right), "{by:?}");
            assert_eq!(watch.trusted_now(), right);
        }
        clock.set(right);
        assert_eq!((watch.ahead(), watch.removal_time()), (None, Some(right)));
    }

    #[test]
    fn a_clock_is_behind_the_event_at_opening_and_later_ones_of_a_right_clock() {
        let (clock, watch) = watched();
        let start = clock.now();
        assert_eq!(watch.behind_log(), None);
        watch.note_opening_event(start.saturating_add(MINUTE));
        assert_eq!(watch.behind_log(), None);
        watch.note_opening_event(start.saturating_add(MINUTE + MILLI));
        assert_eq!(watch.behind_log().unwrap().newest_event.since(start), MINUTE + MILLI);
        // An event of the time when the clock is wrong doesn't hide it.
        watch.note_event(start);
        assert!(watch.behind_log().is_some());
        clock.advance(DAY);
        watch.note_event(clock.now());
        assert_eq!(watch.behind_log(), None);
        // Dated while the clock was a year ahead.
        watch.note_event(clock.now().saturating_add(DAY * 365));
        assert_eq!(watch.behind_log(), None);
        clock.set(start);
        assert_eq!(watch.behind_log().unwrap().now, start);
    }

    proptest! {
        /// However wall time steps, the trusted time is at most the time that has passed.
        #[test]
        fn trusted_time_is_neither_ahead_of_the_clock_nor_of_the_time_that_has_passed(
            steps in prop::collection::vec((0..4_000_000_u64, -40_000_000_000..40_000_000_000_i64), 1..20),
        ) {
            let (clock, watch) = watched();
            let start = clock.now();
            let mut passed = Duration::ZERO;
            for (runs, jumps) in steps {
                passed += Duration::from_millis(runs);
                clock.advance(Duration::from_millis(runs));
                let by = Duration::from_millis(jumps.unsigned_abs());
                let now = clock.now();
                clock.set(if jumps < 0 { now.saturating_sub(by) } else { now.saturating_add(by) });
                let trusted = watch.trusted_now();
                prop_assert!(trusted <= clock.now() && trusted <= start.saturating_add(passed));
                let is_ahead = clock.now() > start.saturating_add(passed + MINUTE);
                prop_assert_eq!(watch.ahead().is_some(), is_ahead);
                prop_assert_eq!(watch.removal_time().is_none(), is_ahead || passed < FIRST_HOUR);
            }
        }
    }
}
