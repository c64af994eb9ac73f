//! How long events are kept.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::invalid::{Invalid, Problem};

/// The service's retention of events: for ever, or at least an hour.
#[derive(Debug)]
pub(in crate::store) struct Retention {
    keep: Option<Duration>,
    /// Milliseconds of wall time at which to prune next.
    next: AtomicU64,
}

impl Retention {
    pub(in crate::store) const MIN: Duration = Duration::from_secs(60 * 60);

    pub(in crate::store) fn new(keep: Option<Duration>) -> Result<Self, Invalid> {
        match keep {
            Some(keep) if keep < Self::MIN => Err(Invalid::new(
                "event retention",
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

    /// Before which moment events are to be pruned now, if a sixtieth of the retention has gone by
    /// since the last time.
    pub(in crate::store) fn due(&self, now: Timestamp) -> Option<Timestamp> {
        let keep = self.keep?;
        let next = self.next.load(Ordering::Relaxed);
        let then = now.saturating_add(keep / 60).as_millis();
        let is_mine = now.as_millis() >= next
            && self.next.compare_exchange(next, then, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        is_mine.then(|| now.saturating_sub(keep))
    }

    /// Not all was pruned that was to be: it is due again at once.
    pub(in crate::store) fn go_on(&self) {
        self.next.store(0, Ordering::Relaxed);
    }
}
