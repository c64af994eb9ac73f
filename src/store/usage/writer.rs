//! From the sums to the backend.

use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::collector::Collector;
use crate::backend::{Backend, BackendError, BackendErrorKind, UsageChange};
use crate::clock::Timestamp;
use crate::key::Used;
use crate::store::engine::state::Core;
use crate::store::types::error::{Error, Unavailable};

/// So many waiting keys are written before the interval is over.
const MANY: usize = 1 << 16;
/// A batch has so many keys, by how long the one before took: neither commits nor readers wait
/// longer than for one.
const LEAST: usize = 128;
const FIRST: usize = 1_024;
const MOST: usize = 8_192;
const SHORT: Duration = Duration::from_millis(8);
const LONG: Duration = Duration::from_millis(25);

/// By which the writer is woken.
#[derive(Debug, Default)]
pub(super) struct Signal {
    state: Mutex<SignalState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct SignalState {
    notified: bool,
    is_last: bool,
}

impl Signal {
    /// There is something to gather.
    pub(super) fn notify(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).notified = true;
        self.changed.notify_all();
    }

    fn notify_last(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).is_last = true;
        self.changed.notify_all();
    }

    /// Waits until it notified, or for as long as told; whether there is more to do.
    fn wait(&self, pause: Duration) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let is_silent = |state: &mut SignalState| !state.notified && !state.is_last;
        let waited = self.changed.wait_timeout_while(state, pause, is_silent);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.notified = false;
        !state.is_last
    }
}

impl Core {
    /// Has what is used written at the interval, for as long as the store lives.
    pub(in crate::store) fn keep_usage(self: &Arc<Self>) -> Result<(), Error> {
        let Some(usage) = &self.usage else { return Ok(()) };
        let (usage, core) = (Arc::clone(usage), Arc::downgrade(self));
        let interval = usage.settings.interval;
        let (mut due, mut has_failed) = (Instant::now() + interval, false);
        let run = move || {
            while usage.signal.wait(due.saturating_duration_since(Instant::now())) {
                usage.gather();
                let is_due = Instant::now() >= due;
                // What has failed is tried again at the interval.
                if !is_due && (has_failed || usage.waiting().len() < MANY) {
                    continue;
                }
                let Some(core) = core.upgrade() else { return };
                has_failed = core.flush_usage().is_err();
                // Where it fails it goes on the next time.
                let _ = core.sweep_addresses();
                due = Instant::now() + interval;
            }
        };
        let spawned = std::thread::Builder::new().name("keyhasp-usage".into()).spawn(run);
        spawned.map(|_detached| ()).map_err(|error| self.not_started(error))
    }

    fn not_started(&self, error: io::Error) -> Error {
        let operation = "start the writer of usage";
        BackendError::new(BackendErrorKind::Io, self.backend.name(), operation)
            .with_source(error)
            .into()
    }

    /// Writes all that was used up to now.
    pub(in crate::store) fn flush_usage(self: &Arc<Self>) -> Result<(), Error> {
        let Some(usage) = &self.usage else { return Ok(()) };
        usage.gather();
        let flush_number = usage.waiting().next_flush_number();
        let mut size = FIRST;
        loop {
            let guard = self.lock_commits()?;
            match usage.write_some(&*self.backend, flush_number, &mut size, self.now()) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => return Err(self.on_write_error(error)),
            }
            drop(guard);
            // Whoever verifies finds an empty log.
            std::thread::yield_now();
            usage.gather();
        }
        Ok(())
    }

    /// The same at the end, when nobody commits any more.
    pub(in crate::store) fn flush_last_usage(&self) -> Result<(), Error> {
        let Some(usage) = &self.usage else { return Ok(()) };
        usage.signal.notify_last();
        usage.gather();
        if self.availability.is_recovering() {
            let is_none = usage.waiting().len() == 0;
            return if is_none { Ok(()) } else { Err(Unavailable::Recovering.into()) };
        }
        let flush_number = usage.waiting().next_flush_number();
        let mut size = FIRST;
        while usage.write_some(&*self.backend, flush_number, &mut size, self.now())? {}
        Ok(())
    }
}

impl Collector {
    /// Writes one batch of what leaves by a flush_number; whether there is more. The caller leads the
    /// commits.
    fn write_some(
        &self,
        backend: &dyn Backend,
        flush_number: u64,
        size: &mut usize,
        now: Timestamp,
    ) -> Result<bool, BackendError> {
        let _moving = self.moving.write().unwrap_or_else(PoisonError::into_inner);
        let mut batch = self.waiting().next(*size, flush_number);
        let count = batch.len();
        if count == 0 {
            return Ok(false);
        }
        self.add_forgetting(&mut batch, now);
        let began = Instant::now();
        let taken_in = backend.record_usage(&batch);
        let took = began.elapsed();
        match taken_in {
            Ok(_) => self.waiting().written(count),
            Err(error) => {
                if error.kind() == BackendErrorKind::OutcomeUnknown {
                    self.waiting().indeterminate(count);
                }
                return Err(error);
            }
        }
        if took < SHORT {
            *size = (*size * 2).min(MOST);
        } else if took > LONG {
            *size = (*size / 2).max(LEAST);
        }
        Ok(true)
    }

    /// Of keys that are written anyway, addresses that are too old go.
    fn add_forgetting(&self, batch: &mut Vec<UsageChange>, now: Timestamp) {
        let Some(keep) = self.settings.addresses else { return };
        let before = now.saturating_sub(keep);
        let without_address = |change: &UsageChange| match change {
            UsageChange::Add(key, Used { last_address: None, .. }) => Some(*key),
            _ => None,
        };
        let keys: Vec<_> = batch.iter().filter_map(without_address).collect();
        batch.extend(keys.into_iter().map(|key| UsageChange::ForgetAddress(key, before)));
    }
}
