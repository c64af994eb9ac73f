//! The retention of events and of keys.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::clock_watch::ClockWatch;
use crate::clock::Timestamp;
use crate::invalid::{Invalid, Problem};

/// The time for which events, or keys that have ended, are kept: for ever, or at least an hour.
#[derive(Debug)]
pub(in crate::store) struct Retention {
    keep: Option<Duration>,
    /// Milliseconds since the opening after which to prune next. They aren't wall time, which may
    /// be ahead for a while: pruning would not be due again before that time comes.
    ///
    /// Compared and exchanged in one step: otherwise several threads that commit at the same time
    /// would all prune. Relaxed is enough, as no other memory is read by it: the thread that prunes
    /// acquires the commit guard.
    next: AtomicU64,
}

impl Retention {
    pub(in crate::store) const MIN: Duration = Duration::from_secs(60 * 60);

    /// Takes the time to keep what `field` names.
    pub(in crate::store) fn new(
        field: &'static str,
        keep: Option<Duration>,
    ) -> Result<Self, Invalid> {
        match keep {
            Some(keep) if keep < Self::MIN => Err(Invalid::new(
                field,
                Problem::OutOfRange {
                    given: keep.as_secs(),
                    min: Self::MIN.as_secs(),
                    max: u64::MAX,
                    unit: "s",
                },
            )),
            _ => Ok(Self { keep, next: AtomicU64::new(0) }),
        }
    }

    /// Returns the moment before which the caller must prune events now. Returns `None` until a
    /// sixtieth of the retention has passed since the last time, and while nothing may be removed.
    pub(in crate::store) fn due(&self, watch: &ClockWatch) -> Option<Timestamp> {
        let keep = self.keep?;
        let (elapsed, next) = (watch.elapsed(), self.next.load(Ordering::Relaxed));
        if millis(elapsed) < next {
            return None;
        }
        let now = watch.removal_time()?;
        let then = millis(elapsed.saturating_add(keep / 60));
        let is_due =
            self.next.compare_exchange(next, then, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        is_due.then(|| now.saturating_sub(keep))
    }

    /// Makes pruning due at once, after a step that left events to prune.
    pub(in crate::store) fn set_due(&self) {
        self.next.store(0, Ordering::Relaxed);
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
