//! Whether the store can answer now. `verify` reads up to four words, without a lock.

use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::{Clock, Timestamp};
use crate::process::Process;
use crate::store::types::verify_error::Unavailable;

const CLOSED: u8 = 1;
/// A change of the metadata has an unknown outcome.
const METADATA_INDETERMINATE: u8 = 2;
const RULES_CHANGED: u8 = 4;
/// A change has an unknown outcome; the next commit recovers first.
const RECOVERING: u8 = 8;
/// The database isn't as this process left it.
const FOREIGN_WRITER: u8 = 16;

/// Greatest time in milliseconds from the watching thread's last look to a verification. After a
/// longer time the verification asks whether this is a child of the process that opened the store:
/// in a child no thread looks.
const UNWATCHED: u64 = 3_000;

/// Flags and times that every answer depends on.
///
/// A thread publishes records, and then sets or clears a flag or notes a poll. These writes are
/// Release and the reads are Acquire. Otherwise `verify` could find the store available, and still
/// read records from before the recovery or the poll.
#[derive(Debug)]
pub(in crate::store) struct Availability {
    flags: AtomicU8,
    /// The process that opened the store.
    process: Process,
    /// Milliseconds of wall time at the watching thread's last look.
    ///
    /// Relaxed: nothing else is read by it. A verification that reads an old value only asks for the
    /// process in vain.
    looked_at: AtomicU64,
    freshness: Option<Freshness>,
    /// Number of times that an outcome became unknown.
    ///
    /// Recovery reads it before the backend recovers, and compares it afterwards. Without it,
    /// recovery could clear the flag of a failure that came after the backend recovered. Without
    /// Release and Acquire, recovery could read the new number and a backend from before the
    /// failure.
    in_doubt_epoch: AtomicU64,
}

/// The time up to which this process knows the changes of other processes.
#[derive(Debug)]
struct Freshness {
    /// In nanoseconds.
    max_staleness: u64,
    /// Monotonic nanoseconds at the start of the last successful poll.
    polled_at: AtomicU64,
    /// Wall-clock milliseconds minus monotonic milliseconds, as of the last poll.
    ///
    /// Relaxed: the thread that polls writes it before `polled_at`, with Release, and `verify`
    /// reads it after `polled_at`, with Acquire. In another order `verify` could use the initial 0,
    /// judge by a time in 1970, and accept expired keys.
    wall_offset: AtomicI64,
}

impl Availability {
    /// Makes the availability of an open store. A shared database has a `max_staleness`.
    pub(in crate::store) fn new(max_staleness: Option<Duration>) -> Self {
        let freshness = max_staleness.map(|max_staleness| Freshness {
            max_staleness: nanos(max_staleness),
            polled_at: AtomicU64::new(0),
            wall_offset: AtomicI64::new(0),
        });
        Self {
            flags: AtomicU8::new(0),
            process: Process::current(),
            looked_at: AtomicU64::new(0),
            freshness,
            in_doubt_epoch: AtomicU64::new(0),
        }
    }

    /// Returns the time to judge by, or why the store can't answer.
    #[inline]
    pub(in crate::store) fn check(&self, clock: &dyn Clock) -> Result<Timestamp, Unavailable> {
        if let Some(unavailable) = self.flagged() {
            return Err(unavailable);
        }
        let now = self.judging_time(clock)?;
        // Both ways: a clock that stepped back must not keep a child verifying.
        if now.as_millis().wrapping_sub(self.looked_at.load(Ordering::Relaxed)) > UNWATCHED {
            self.look(now)?;
        }
        Ok(now)
    }

    /// Returns the time to judge by: wall time, or that of the last poll and the time since.
    #[inline]
    fn judging_time(&self, clock: &dyn Clock) -> Result<Timestamp, Unavailable> {
        let Some(freshness) = &self.freshness else { return Ok(clock.now()) };
        let monotonic = clock.monotonic();
        if freshness.age(monotonic) > freshness.max_staleness {
            return Err(Unavailable::Stale);
        }
        let offset = freshness.wall_offset.load(Ordering::Relaxed);
        let millis = millis(monotonic).saturating_add(offset);
        let millis = u64::try_from(millis).unwrap_or(0);
        Ok(Timestamp::clamped_millis(millis))
    }

    /// Notes the watching thread's look. The same time as in `check`: a time of another source would
    /// seem old after a step of the clock.
    pub(in crate::store) fn note_look(&self, clock: &dyn Clock) {
        // A stale store answers nothing, and looks again after its next poll.
        if let Ok(now) = self.judging_time(clock) {
            self.looked_at.store(now.as_millis(), Ordering::Relaxed);
        }
    }

    /// Looks in the watching thread's place: the process was stopped, the machine slept, the clock
    /// stepped, or this is a child.
    #[cold]
    fn look(&self, now: Timestamp) -> Result<(), Unavailable> {
        if self.is_forked() {
            return Err(Unavailable::Forked);
        }
        self.looked_at.store(now.as_millis(), Ordering::Relaxed);
        Ok(())
    }

    /// Returns whether this is a child of the process that opened the store. Costs a system call.
    ///
    /// Callers ask before they wait for a lock: a thread of the parent may have held it at the fork.
    pub(in crate::store) fn is_forked(&self) -> bool {
        self.process.is_forked()
    }

    /// Returns why the store can't answer, apart from staleness. Costs a system call.
    pub(in crate::store) fn unavailable(&self) -> Option<Unavailable> {
        self.flagged().or_else(|| self.is_forked().then_some(Unavailable::Forked))
    }

    #[inline]
    fn flagged(&self) -> Option<Unavailable> {
        let flags = self.flags.load(Ordering::Acquire);
        if flags & (CLOSED | FOREIGN_WRITER | RULES_CHANGED | METADATA_INDETERMINATE) == 0 {
            return None;
        }
        Some(if flags & CLOSED != 0 {
            Unavailable::Closed
        } else if flags & FOREIGN_WRITER != 0 {
            Unavailable::ForeignWriter
        } else if flags & RULES_CHANGED != 0 {
            Unavailable::RulesChanged
        } else {
            Unavailable::Recovering
        })
    }

    /// Notes a poll that started at `started`, and found every change of other processes up to
    /// then.
    pub(in crate::store) fn freshen(&self, started: Duration, clock: &dyn Clock) {
        let Some(freshness) = &self.freshness else { return };
        let wall = i64::try_from(clock.now().as_millis()).unwrap_or(i64::MAX);
        freshness.wall_offset.store(wall - millis(clock.monotonic()), Ordering::Relaxed);
        // The greater one, since a poll that started earlier may end later.
        freshness.polled_at.fetch_max(nanos(started), Ordering::AcqRel);
    }

    /// Returns the age of the last poll; `None` if no other process uses the database.
    pub(in crate::store) fn staleness(&self, clock: &dyn Clock) -> Option<Duration> {
        let freshness = self.freshness.as_ref()?;
        Some(Duration::from_nanos(freshness.age(clock.monotonic())))
    }

    /// Returns whether the last poll is too old to answer by.
    pub(in crate::store) fn is_stale(&self, clock: &dyn Clock) -> bool {
        let freshness = self.freshness.as_ref();
        freshness
            .is_some_and(|freshness| freshness.age(clock.monotonic()) > freshness.max_staleness)
    }

    /// Closes the store for good; returns whether it was open. The flag is read and set in one
    /// step: otherwise two callers could both find the store open, and both flush at the end.
    pub(in crate::store) fn close(&self) -> bool {
        self.flags.fetch_or(CLOSED, Ordering::AcqRel) & CLOSED == 0
    }

    /// Notes for good that the database isn't as this process left it.
    pub(in crate::store) fn set_foreign_writer(&self) {
        self.flags.fetch_or(FOREIGN_WRITER, Ordering::AcqRel);
    }

    pub(in crate::store) fn set_rules_changed(&self) {
        self.flags.fetch_or(RULES_CHANGED, Ordering::AcqRel);
    }

    pub(in crate::store) fn set_recovering(&self, metadata_too: bool) {
        let flags = if metadata_too { RECOVERING | METADATA_INDETERMINATE } else { RECOVERING };
        // Before the flag: recovery that finds the flag then also finds the new number.
        self.in_doubt_epoch.fetch_add(1, Ordering::AcqRel);
        self.flags.fetch_or(flags, Ordering::AcqRel);
    }

    /// Returns a number that changes whenever an outcome becomes unknown.
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
    use crate::clock::{FakeKernel, KernelClock, ManualClock};

    #[test]
    fn freshness_is_counted_from_the_start_of_the_last_successful_poll() {
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

    /// The answer after sleep is `Stale` until the next poll; wall time has gone on.
    #[test]
    fn a_machine_that_slept_is_stale_and_judges_by_the_time_it_is() {
        let kernel = FakeKernel::default();
        kernel.set_wall(Timestamp::from_millis(5_000).unwrap());
        let clock = KernelClock::new(kernel.clone());
        let hour = 3_600_000;
        let availability = Availability::new(Some(Duration::from_millis(hour)));
        availability.freshen(clock.monotonic(), &clock);
        kernel.run(1_000);
        kernel.sleep(hour - 1_000);
        assert_eq!(availability.check(&clock).unwrap(), clock.now());
        kernel.sleep(1);
        assert_eq!(availability.check(&clock), Err(Unavailable::Stale));
        availability.freshen(clock.monotonic(), &clock);
        assert_eq!(availability.check(&clock).unwrap(), clock.now());
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
    fn the_gravest_reason_is_returned() {
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
        availability.set_foreign_writer();
        assert_eq!(availability.check(&clock), Err(Unavailable::ForeignWriter));
        assert!(availability.close() && !availability.close());
        assert_eq!(availability.check(&clock), Err(Unavailable::Closed));
    }
}
