//! A backend whose writes of usage wait at a gate, or fail; and that tells on requests that call it.
#![allow(dead_code)] // Each test binary uses its part.
#![allow(clippy::panic)] // It is a part of tests.

use std::cell::Cell;
use std::collections::{BTreeSet, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Instant;

use keyhasp::backend::{
    Backend, BackendCall, BackendError, BackendErrorKind, BackendLayer, Memory, UsageChange,
    UsageOutcome, UsageSubject,
};

thread_local! {
    static IS_REQUEST: Cell<bool> = const { Cell::new(false) };
}

/// Runs work as a request does: it must not call the backend on this thread.
pub(crate) fn as_request<T>(work: impl FnOnce() -> T) -> T {
    IS_REQUEST.set(true);
    let done = work();
    IS_REQUEST.set(false);
    done
}

/// Runs a test with a gate before each backend.
pub(crate) fn on_each_gate(test: impl Fn(Gate)) {
    test(Gate::new());
    #[cfg(feature = "sqlite")]
    {
        use keyhasp::backend::sqlite::{Sqlite, SqliteOptions};
        let hour = std::time::Duration::from_secs(60 * 60);
        for options in [SqliteOptions::exclusive(), SqliteOptions::shared(hour).unwrap()] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("keys.db");
            test(Gate::on(Sqlite::open_or_create(path, options).unwrap().0));
        }
    }
    #[cfg(feature = "sled")]
    {
        use keyhasp::backend::sled::{Sled, SledOptions};
        let dir = tempfile::tempdir().unwrap();
        test(Gate::on(Sled::open_or_create(dir.path(), SledOptions::default()).unwrap().0));
    }
}

#[derive(Debug)]
pub(crate) struct Gate {
    inner: Box<dyn Backend>,
    state: Mutex<State>,
    changed: Condvar,
}

/// The writes of usage for which a gate is shut.
type Shuts = fn(&[UsageChange]) -> bool;

/// A gate that is shut.
pub(crate) struct Shut<'a>(&'a Gate);

impl Drop for Shut<'_> {
    fn drop(&mut self) {
        self.0.lock().shut = None;
        self.0.changed.notify_all();
    }
}

#[derive(Debug, Default)]
struct State {
    /// The writes that a gate keeps waiting.
    shut: Option<Shuts>,
    /// The writes that stand at the gate.
    waiting: usize,
    /// The number of times that the next writes find another process at work.
    busy: u32,
    /// Whether the next write panics.
    panics: bool,
    /// The errors of the next writes.
    fails_with: VecDeque<Option<BackendErrorKind>>,
    /// Whether what is in doubt stays so.
    is_in_doubt: bool,
    /// The quotas whose leases can't be written.
    broken: BTreeSet<UsageSubject>,
    /// The writes of usage: when, and whether another process was at work.
    tries: Vec<(Instant, bool)>,
    /// The leases of each write.
    leases: Vec<Vec<UsageSubject>>,
    calls_by_requests: usize,
}

impl Gate {
    pub(crate) fn new() -> Self {
        Self::on(Memory::new())
    }

    /// Makes a gate before a backend.
    pub(crate) fn on(inner: impl Backend + 'static) -> Self {
        Self { inner: Box::new(inner), state: Mutex::default(), changed: Condvar::new() }
    }

    /// Keeps writes of usage waiting until the answer is dropped: also if the test fails, for
    /// otherwise it would wait for them for ever.
    #[must_use]
    pub(crate) fn shut(&self) -> Shut<'_> {
        self.shut_for(|_| true)
    }

    /// Keeps charges alone waiting.
    #[must_use]
    pub(crate) fn shut_for_charges(&self) -> Shut<'_> {
        self.shut_for(|batch| {
            batch.iter().any(|change| matches!(change, UsageChange::Charge { .. }))
        })
    }

    fn shut_for(&self, shuts: Shuts) -> Shut<'_> {
        self.lock().shut = Some(shuts);
        Shut(self)
    }

    /// Waits until a write stands at the gate.
    pub(crate) fn await_one(&self) {
        drop(self.changed.wait_while(self.lock(), |state| state.waiting == 0).unwrap());
    }

    /// Lets the next writes of usage find another process at work.
    pub(crate) fn be_busy(&self, times: u32) {
        self.lock().busy = times;
    }

    /// Lets the next write of usage panic.
    pub(crate) fn panic_once(&self) {
        self.lock().panics = true;
    }

    /// Lets the writes of usage after the next one fail, each in its own way.
    pub(crate) fn fail_after_one(&self, kinds: impl IntoIterator<Item = BackendErrorKind>) {
        self.lock().fails_with = [None].into_iter().chain(kinds.into_iter().map(Some)).collect();
    }

    /// Lets recovery fail as long as wanted.
    pub(crate) fn stay_in_doubt(&self, is_in_doubt: bool) {
        self.lock().is_in_doubt = is_in_doubt;
    }

    /// Lets each write fail that leases of one of these quotas.
    pub(crate) fn set_broken(&self, broken: impl IntoIterator<Item = UsageSubject>) {
        self.lock().broken = broken.into_iter().collect();
    }

    /// Takes the leases that were asked for since the last time, by write.
    pub(crate) fn take_leases(&self) -> Vec<Vec<UsageSubject>> {
        std::mem::take(&mut self.lock().leases)
    }

    /// Takes the writes of usage since the last time: when, and whether another process was at work.
    pub(crate) fn take_tries(&self) -> Vec<(Instant, bool)> {
        std::mem::take(&mut self.lock().tries)
    }

    pub(crate) fn calls_by_requests(&self) -> usize {
        self.lock().calls_by_requests
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl BackendLayer for Gate {
    fn inner(&self) -> &dyn Backend {
        &*self.inner
    }

    fn around<T>(
        &self,
        _: BackendCall,
        run: impl FnOnce() -> Result<T, BackendError>,
    ) -> Result<T, BackendError> {
        self.lock().calls_by_requests += usize::from(IS_REQUEST.get());
        run()
    }

    fn recover(&self) -> Result<(), BackendError> {
        if self.lock().is_in_doubt {
            return Err(BackendError::new(BackendErrorKind::Io, "memory", "recover"));
        }
        self.inner.recover()
    }

    /// Stays open, so that tests can look at it.
    fn close(&self) -> Result<(), BackendError> {
        Ok(())
    }

    fn record_usage(&self, batch: &[UsageChange]) -> Result<UsageOutcome, BackendError> {
        let leases = batch.iter().filter_map(|change| match change {
            UsageChange::Lease { of, .. } => Some(*of),
            _ => None,
        });
        let leases: Vec<_> = leases.collect();
        let mut state = self.lock();
        state.waiting += 1;
        self.changed.notify_all();
        let is_shut = |state: &mut State| state.shut.is_some_and(|shuts| shuts(batch));
        state = self.changed.wait_while(state, is_shut).unwrap();
        state.waiting -= 1;
        if std::mem::take(&mut state.panics) {
            drop(state);
            panic!("a write of usage panics, as the test wants");
        }
        let failed = |kind| Err(BackendError::new(kind, "memory", "record usage"));
        let is_busy = state.busy > 0;
        state.tries.push((Instant::now(), is_busy));
        if is_busy {
            state.busy -= 1;
            return failed(BackendErrorKind::TimedOut);
        }
        if let Some(kind) = state.fails_with.pop_front().flatten() {
            return failed(kind);
        }
        if leases.iter().any(|of| state.broken.contains(of)) {
            return failed(BackendErrorKind::Corrupt);
        }
        if !leases.is_empty() {
            state.leases.push(leases);
        }
        drop(state);
        self.inner.record_usage(batch)
    }
}
