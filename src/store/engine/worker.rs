//! Background threads that end with the store.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::outcomes::Outcomes;
use crate::backend::{BackendError, BackendErrorKind};
use crate::clock::{Clock, SystemClock};
use crate::process::Process;
use crate::store::types::error::Error;
use crate::store::types::health::ThreadHealth;

/// Pause of a thread after its work has panicked.
const PAUSE_AFTER_PANIC: Duration = Duration::from_secs(1);

/// A signal that wakes a background thread before its pause is over, or ends the thread.
#[derive(Debug, Default)]
pub(in crate::store) struct Signal {
    /// Locked, so that the thread can't miss a wake between its look at the state and its wait.
    state: Mutex<State>,
    /// Notified when the state changes. Without it a parked thread would never wake.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    is_woken: bool,
    is_stopped: bool,
}

/// The time at which a background thread works next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Next {
    /// After this pause, or earlier if the thread is woken.
    After(Duration),
    /// When the thread is woken.
    WhenWoken,
    /// Never: the thread ends.
    Never,
}

/// What a background thread has done, and when it works next.
#[derive(Debug)]
pub(in crate::store) struct Worked {
    next: Next,
    /// `None` if there was nothing to do that could fail.
    result: Option<Result<(), Error>>,
}

impl Worked {
    /// Work that succeeded.
    pub(in crate::store) fn well(next: Next) -> Self {
        Self::with(Ok(()), next)
    }

    /// Work with this result.
    pub(in crate::store) fn with(result: Result<(), Error>, next: Next) -> Self {
        Self { next, result: Some(result) }
    }

    /// No work that says whether the thread is well.
    pub(in crate::store) fn nothing(next: Next) -> Self {
        Self { next, result: None }
    }
}

impl Signal {
    /// Makes the thread work now; if it is working already, makes it work once more afterwards.
    pub(in crate::store) fn wake(&self) {
        self.lock().is_woken = true;
        self.changed.notify_all();
    }

    fn stop(&self) {
        self.lock().is_stopped = true;
        self.changed.notify_all();
    }

    /// Waits until the thread must work; returns false when the thread must end.
    fn wait(&self, next: Next) -> bool {
        let is_idle = |state: &mut State| !state.is_woken && !state.is_stopped;
        let state = self.lock();
        let mut state = match next {
            Next::Never => return false,
            Next::WhenWoken => {
                self.changed.wait_while(state, is_idle).unwrap_or_else(PoisonError::into_inner)
            }
            Next::After(pause) => {
                let waited = self.changed.wait_timeout_while(state, pause, is_idle);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        };
        state.is_woken = false;
        !state.is_stopped
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The background threads of a store, as its health shows them.
#[derive(Debug)]
pub(in crate::store) struct Threads {
    clock: Arc<dyn Clock>,
    /// Locked, since the opening adds threads while those that run already may ask for the health.
    started: Mutex<Vec<(&'static str, Arc<Outcomes>)>>,
}

impl Threads {
    pub(in crate::store) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, started: Mutex::default() }
    }

    pub(super) fn health(&self) -> Vec<ThreadHealth> {
        let started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        let health = |(name, outcomes): &(_, Arc<Outcomes>)| {
            let (name, work) = (*name, outcomes.health());
            ThreadHealth { name, work }
        };
        started.iter().map(health).collect()
    }

    fn add(&self, name: &'static str) -> Arc<Outcomes> {
        let outcomes = Arc::<Outcomes>::default();
        let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        started.push((name, Arc::clone(&outcomes)));
        outcomes
    }
}

/// The background threads of a store. Dropping this signals each of them to end.
#[derive(Debug)]
pub(in crate::store) struct Workers {
    signals: Vec<Arc<Signal>>,
    threads: Arc<Threads>,
    process: Process,
}

impl Workers {
    pub(in crate::store) fn new(threads: Arc<Threads>) -> Self {
        Self { signals: Vec::new(), threads, process: Process::current() }
    }

    /// Starts a thread that works for the first time at `first`, and then whenever `work` says. The
    /// values that `work` owns live until the thread has ended.
    pub(in crate::store) fn spawn(
        &mut self,
        backend: &'static str,
        name: &'static str,
        signal: &Arc<Signal>,
        first: Next,
        mut work: impl FnMut() -> Worked + Send + 'static,
    ) -> Result<(), Error> {
        let own = Arc::clone(signal);
        let (outcomes, clock) = (self.threads.add(name), Arc::clone(&self.threads.clock));
        let run = move || {
            let mut next = first;
            while own.wait(next) {
                // The service's clock, its health hook or the backend may panic. Without the thread
                // the store would never recover, or never write what it counted.
                let worked = catch_unwind(AssertUnwindSafe(|| {
                    let worked = work();
                    if let Some(result) = worked.result {
                        outcomes.note(&result, clock.now());
                    }
                    worked.next
                }));
                next = worked.unwrap_or_else(|_| {
                    // The clock may be what panics.
                    let at = catch_unwind(AssertUnwindSafe(|| clock.now()));
                    outcomes.note_panic(at.unwrap_or_else(|_| SystemClock::new().now()));
                    Next::After(PAUSE_AFTER_PANIC)
                });
            }
        };
        std::thread::Builder::new().name(name.into()).spawn(run).map_err(|error| {
            let operation = "start a background thread";
            BackendError::new(BackendErrorKind::Io, backend, operation).with_source(error)
        })?;
        self.signals.push(Arc::clone(signal));
        Ok(())
    }

    /// Signals each thread to end; does not wait until it has.
    pub(in crate::store) fn stop(&self) {
        // A child has none of the threads, and one of them may have held a signal's lock at the fork.
        if !self.process.is_forked() {
            self.signals.iter().for_each(|signal| signal.stop());
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{RecvTimeoutError, channel};

    use super::*;

    const LONG: Duration = Duration::from_secs(3_600);

    fn workers() -> Workers {
        let clock = crate::clock::ManualClock::new(crate::clock::Timestamp::MIN);
        Workers::new(Arc::new(Threads::new(Arc::new(clock))))
    }

    #[test]
    fn a_thread_works_when_woken_goes_on_after_a_panic_and_ends_with_its_store() {
        let (done, runs) = channel();
        let mut workers = workers();
        let (signal, mut run) = (Arc::new(Signal::default()), 0);
        let work = move || {
            run += 1;
            done.send(run).unwrap();
            Worked::well(match run {
                1 => Next::After(LONG),
                2 => panic!("injected"),
                _ => Next::WhenWoken,
            })
        };
        workers.spawn("memory", "test", &signal, Next::After(Duration::ZERO), work).unwrap();
        for run in 1..=4 {
            assert_eq!(runs.recv(), Ok(run));
            signal.wake();
        }
        assert_eq!(runs.recv(), Ok(5));
        drop(workers);
        assert_eq!(runs.recv_timeout(LONG), Err(RecvTimeoutError::Disconnected));
    }

    #[test]
    fn a_thread_that_has_nothing_left_to_do_ends() {
        let (done, runs) = channel();
        let mut workers = workers();
        let work = move || {
            done.send(()).unwrap();
            Worked::nothing(Next::Never)
        };
        let signal = Arc::default();
        workers.spawn("memory", "test", &signal, Next::After(Duration::ZERO), work).unwrap();
        assert_eq!(runs.iter().count(), 1);
    }
}
