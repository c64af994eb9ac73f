//! Waking those who wait for the next change.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The number of the last event committed in this process, and those who wait for a greater one.
#[derive(Debug, Default)]
pub struct ChangeNotifier {
    last: Mutex<u64>,
    grown: Condvar,
}

impl ChangeNotifier {
    /// Says that events up to `sequence` are committed.
    pub fn announce(&self, sequence: u64) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if sequence > *last {
            *last = sequence;
            self.grown.notify_all();
        }
    }

    /// Waits until an event after `after` was announced, or for `timeout`; the last number then.
    #[must_use]
    pub fn wait(&self, after: u64, timeout: Duration) -> u64 {
        let started = Instant::now();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        while *last <= after {
            let Some(left) = timeout.checked_sub(started.elapsed()).filter(|left| !left.is_zero())
            else {
                break;
            };
            (last, _) = self.grown.wait_timeout(last, left).unwrap_or_else(PoisonError::into_inner);
        }
        *last
    }
}
