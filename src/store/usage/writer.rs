//! From the sums to the backend.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::collector::Collector;
use crate::backend::{Backend, BackendError, BackendErrorKind, UsageChange};
use crate::clock::Timestamp;
use crate::key::Used;
use crate::store::engine::Engine;
use crate::store::engine::{Next, Workers};
use crate::store::types::error::{Error, Unavailable};
use crate::store::types::usage_settings::UsageSettings;

/// So many waiting keys are written before the interval is over.
const MANY: usize = 1 << 16;
/// A batch has so many keys, by how long the one before took: neither commits nor readers wait
/// longer than for one.
const LEAST: usize = 128;
const FIRST: usize = 1_024;
const MOST: usize = 8_192;
const SHORT: Duration = Duration::from_millis(8);
const LONG: Duration = Duration::from_millis(25);

/// What counts uses, and writes the sums: nothing of either where the service wants no usage.
#[derive(Debug)]
pub(in crate::store) struct UsageRecorder {
    pub(super) engine: Arc<Engine>,
    pub(super) collector: Option<Arc<Collector>>,
}

impl UsageRecorder {
    pub(in crate::store) fn new(engine: &Arc<Engine>, settings: Option<UsageSettings>) -> Self {
        let collector =
            settings.map(|settings| Collector::new(settings, engine.backend.expected_keys()));
        Self { engine: Arc::clone(engine), collector: collector.map(Arc::new) }
    }

    /// The part that a verification notes its answer in.
    pub(in crate::store) fn collector(&self) -> Option<&Arc<Collector>> {
        self.collector.as_ref()
    }

    /// Starts the thread that writes the sums at the interval, or earlier where many wait.
    pub(in crate::store) fn start(self: &Arc<Self>, workers: &mut Workers) -> Result<(), Error> {
        let Some(usage) = &self.collector else { return Ok(()) };
        let (usage, recorder) = (Arc::clone(usage), Arc::clone(self));
        let interval = usage.settings.interval;
        let signal = Arc::clone(&usage.signal);
        let (mut due, mut has_failed) = (Instant::now() + interval, false);
        let work = move || {
            usage.gather();
            let is_due = Instant::now() >= due;
            // What has failed is tried again at the interval.
            if is_due || !has_failed && usage.waiting().len() >= MANY {
                has_failed = recorder.flush().is_err();
                // Where this fails it goes on the next time.
                let _ = recorder.sweep_addresses();
                due = Instant::now() + interval;
            }
            Next::After(due.saturating_duration_since(Instant::now()))
        };
        let name = self.engine.backend.name();
        workers.spawn(name, "keyhasp-usage", &signal, Next::After(interval), work)
    }

    /// Writes all that was used up to now.
    pub(in crate::store) fn flush(&self) -> Result<(), Error> {
        let Some(usage) = &self.collector else { return Ok(()) };
        usage.gather();
        let flush_number = usage.waiting().next_flush_number();
        let mut size = FIRST;
        loop {
            let guard = self.engine.lock_commits()?;
            match usage.write_some(
                &*self.engine.backend,
                flush_number,
                &mut size,
                self.engine.now(),
            ) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => return Err(self.engine.on_write_error(error)),
            }
            drop(guard);
            // Whoever verifies finds an empty log.
            std::thread::yield_now();
            usage.gather();
        }
        Ok(())
    }

    /// The same at the end, when nobody commits any more.
    pub(in crate::store) fn flush_last(&self) -> Result<(), Error> {
        let Some(usage) = &self.collector else { return Ok(()) };
        usage.gather();
        if self.engine.availability.is_recovering() {
            let is_none = usage.waiting().len() == 0;
            return if is_none { Ok(()) } else { Err(Unavailable::Recovering.into()) };
        }
        let flush_number = usage.waiting().next_flush_number();
        let mut size = FIRST;
        while usage.write_some(&*self.engine.backend, flush_number, &mut size, self.engine.now())? {
        }
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
