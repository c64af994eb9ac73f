//! Keeps a wait in sled from lasting for ever.
//!
//! A flush in sled waits for writes that other threads make. Most of them wake it when they fail,
//! but the one that begins a transaction only leaves its error where the next caller finds it. So
//! the watchdog looks from time to time while a thread waits, and calls.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

const INTERVAL: Duration = Duration::from_millis(100);

/// A thread that looks for a failed write of sled while another thread waits for sled, and sleeps
/// otherwise.
pub(super) struct Watchdog {
    shared: Arc<Shared>,
    /// `None` if no thread could be started: no wait is watched, and the work is no less right.
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The number of waiting threads.
    waiting: usize,
    /// The thread sleeps until it is called.
    is_asleep: bool,
    is_over: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watchdog {
    /// Starts the thread. While another thread waits, it calls `has_failed` again and again, and
    /// `wake` whenever that returns true.
    pub(super) fn start(
        has_failed: impl Fn() -> bool + Send + 'static,
        wake: impl Fn() + Send + 'static,
    ) -> Self {
        let shared = Arc::<Shared>::default();
        let watched = Arc::clone(&shared);
        let watch = move || {
            while watched.await_work() {
                if has_failed() {
                    wake();
                }
            }
        };
        let thread = Builder::new().name("keyhasp-sled-watch".into()).spawn(watch).ok();
        Self { shared, thread }
    }

    /// Does work that may wait for sled, and watches it.
    pub(super) fn during<T>(&self, work: impl FnOnce() -> T) -> T {
        let mut state = self.shared.lock();
        state.waiting += 1;
        // Calling costs; within an interval of the last work the thread looks by itself.
        if std::mem::take(&mut state.is_asleep) {
            self.shared.changed.notify_one();
        }
        drop(state);
        let _waiting = Waiting(&self.shared);
        work()
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.shared.lock().is_over = true;
        self.shared.changed.notify_one();
        // A panic in there has no caller left to report to.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Shared {
    /// Returns true when a thread may have waited for an interval; false when it is over.
    fn await_work(&self) -> bool {
        let mut state = self.lock();
        loop {
            if state.is_over {
                return false;
            }
            state = if state.waiting == 0 {
                state.is_asleep = true;
                let asleep = |state: &mut State| state.is_asleep && !state.is_over;
                self.changed.wait_while(state, asleep).unwrap_or_else(PoisonError::into_inner)
            } else {
                let still = |state: &mut State| !state.is_over;
                let slept = self.changed.wait_timeout_while(state, INTERVAL, still);
                let (state, _) = slept.unwrap_or_else(PoisonError::into_inner);
                if state.waiting > 0 && !state.is_over {
                    return true;
                }
                state
            };
        }
    }
}

/// A thread that waits.
struct Waiting<'a>(&'a Shared);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.lock().waiting -= 1;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{RecvTimeoutError, channel};

    use super::*;

    /// As long as only a defect takes.
    const LONG: Duration = Duration::from_secs(600);

    #[test]
    fn work_that_waits_for_a_failed_write_is_woken() {
        let (wake, woken) = channel();
        let watchdog = Watchdog::start(|| true, move || wake.send("woken").unwrap());
        // The thread is called when it sleeps, and looks by itself when it doesn't.
        for _ in 0..3 {
            watchdog.during(|| {});
            assert_eq!(watchdog.during(|| woken.recv_timeout(LONG)), Ok("woken"));
        }
    }

    #[test]
    fn work_that_only_takes_long_is_left_alone() {
        let (look, looked) = channel();
        let has_failed = move || look.send(()).is_err();
        let watchdog = Watchdog::start(has_failed, || unreachable!("nothing failed"));
        assert_eq!(watchdog.during(|| looked.recv_timeout(LONG)), Ok(()));
    }

    #[test]
    fn nobody_looks_while_nobody_waits() {
        let (look, looked) = channel();
        let watchdog = Watchdog::start(move || look.send(()).is_err(), || {});
        watchdog.during(|| looked.recv_timeout(LONG)).unwrap();
        // It may be looking just now; after that it sleeps.
        let is_asleep = || watchdog.shared.lock().is_asleep;
        while !is_asleep() {
            std::thread::yield_now();
        }
        while looked.try_recv().is_ok() {}
        drop(watchdog);
        assert_eq!(looked.recv_timeout(LONG), Err(RecvTimeoutError::Disconnected));
    }
}
