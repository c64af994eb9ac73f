//! Writing the sums to the backend.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::collector::Collector;
use super::sweep::UsageSweep;
use crate::backend::{Backend, BackendError, BackendErrorKind, UsageChange};
use crate::clock::Timestamp;
use crate::key::Used;
use crate::store::engine::{Engine, Next, Worked, Workers};
use crate::store::types::error::Error;
use crate::store::types::usage_settings::UsageSettings;
use crate::store::types::verify_error::Unavailable;

/// Number of pending sums from which they are written before the interval is over.
const EARLY_FLUSH: usize = 1 << 16;
/// Number of keys in a batch. It grows after a fast batch and shrinks after a slow one, since
/// commits and readers wait while a batch is written.
const MIN_BATCH: usize = 128;
const FIRST_BATCH: usize = 1_024;
const MAX_BATCH: usize = 8_192;
/// Duration below which a batch is fast, and above which it is slow.
const FAST: Duration = Duration::from_millis(8);
const SLOW: Duration = Duration::from_millis(25);

/// Writes the sums that the collector gathers. Has no collector, and does nothing, if the service
/// keeps no usage.
#[derive(Debug)]
pub(in crate::store) struct UsageRecorder {
    pub(super) engine: Arc<Engine>,
    pub(super) collector: Option<Arc<Collector>>,
    sweep: UsageSweep,
}

impl UsageRecorder {
    pub(in crate::store) fn new(engine: &Arc<Engine>, settings: Option<UsageSettings>) -> Self {
        let collector = settings
            .map(|settings| Collector::new(settings, engine.records.backend.expected_keys()));
        Self {
            engine: Arc::clone(engine),
            collector: collector.map(Arc::new),
            sweep: UsageSweep::default(),
        }
    }

    /// Returns the collector, in which verifications note their answers. `None` also for a database
    /// that is only looked at: what can't be written isn't gathered.
    pub(in crate::store) fn collector(&self) -> Option<&Arc<Collector>> {
        self.collector.as_ref().filter(|_| !self.engine.records.backend.is_read_only())
    }

    /// Returns whether the store keeps usage.
    pub(in crate::store) fn is_kept(&self) -> bool {
        self.collector.is_some()
    }

    /// Examines some more keys, and deletes their addresses that were kept long enough.
    pub(in crate::store) fn sweep_addresses(&self) -> Result<(), Error> {
        match self.collector() {
            Some(usage) => self.sweep.run(&self.engine, usage.settings),
            None => Ok(()),
        }
    }

    /// Takes the earliest time to which the clock has stepped back since the last call, as flushes
    /// found it. Last uses were settled then, and alerts about unused keys may be due earlier.
    pub(in crate::store) fn take_step_back(&self) -> Option<Timestamp> {
        self.collector.as_ref()?.pending().take_step_back()
    }

    /// Starts the thread that writes the sums at the interval, or earlier if there are many.
    pub(in crate::store) fn start(self: &Arc<Self>, workers: &mut Workers) -> Result<(), Error> {
        let Some(usage) = self.collector() else { return Ok(()) };
        let (usage, recorder) = (Arc::clone(usage), Arc::clone(self));
        let interval = usage.settings.interval;
        let signal = Arc::clone(&usage.signal);
        let (mut due, mut has_failed) = (Instant::now() + interval, false);
        let work = move || {
            usage.gather();
            let is_due = Instant::now() >= due;
            // After a failure, the next try is at the interval.
            if !is_due && (has_failed || usage.pending().len() < EARLY_FLUSH) {
                return Worked::nothing(Next::After(due.saturating_duration_since(Instant::now())));
            }
            let flushed = recorder.flush();
            has_failed = flushed.is_err();
            // If this fails, the next sweep goes on at the same place.
            let swept = recorder.sweep_addresses();
            due = Instant::now() + interval;
            Worked::with(flushed.and(swept), Next::After(interval))
        };
        let name = self.engine.records.backend.name();
        workers.spawn(name, "keyhasp-usage", &signal, Next::After(interval), work)
    }

    /// Writes all uses up to now. Acquires the commit guard for each batch, so that commits come in
    /// between.
    pub(in crate::store) fn flush(&self) -> Result<(), Error> {
        let Some(usage) = self.collector() else { return Ok(()) };
        self.engine.check_process()?;
        if usage.gather_to_flush(self.engine.records.now()) {
            self.sweep.restart();
        }
        let flush_number = usage.pending().next_flush_number();
        let mut size = FIRST_BATCH;
        loop {
            let guard = self.engine.lock_commits()?;
            match usage.write_some(
                &*self.engine.records.backend,
                flush_number,
                &mut size,
                self.engine.records.now(),
            ) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => return Err(self.engine.on_write_error(error)),
            }
            drop(guard);
            // Empties the logs before they are full, so that verifications needn't.
            std::thread::yield_now();
            usage.gather();
        }
        Ok(())
    }

    /// Writes all uses at the end, when no thread commits any more.
    pub(in crate::store) fn flush_last(&self) -> Result<(), Error> {
        let Some(usage) = self.collector() else { return Ok(()) };
        usage.gather_to_flush(self.engine.records.now());
        if self.engine.records.availability.is_recovering() {
            let is_none = usage.pending().len() == 0;
            return if is_none { Ok(()) } else { Err(Unavailable::Recovering.into()) };
        }
        let flush_number = usage.pending().next_flush_number();
        let mut size = FIRST_BATCH;
        while usage.write_some(
            &*self.engine.records.backend,
            flush_number,
            &mut size,
            self.engine.records.now(),
        )? {}
        Ok(())
    }
}

impl Collector {
    /// Writes one batch of the flushes up to `flush_number`; returns whether there was one. The
    /// caller holds the commit guard, or no thread commits any more.
    fn write_some(
        &self,
        backend: &dyn Backend,
        flush_number: u64,
        size: &mut usize,
        now: Timestamp,
    ) -> Result<bool, BackendError> {
        let _moving = self.moving.write().unwrap_or_else(PoisonError::into_inner);
        let mut batch = self.pending().next(*size, flush_number);
        let count = batch.len();
        if count == 0 {
            return Ok(false);
        }
        for change in &mut batch {
            if let UsageChange::Add(_, used) = change {
                used.settle(now);
            }
        }
        self.forget_addresses(&mut batch, now);
        let began = Instant::now();
        let outcome = backend.record_usage(&batch);
        let took = began.elapsed();
        match outcome {
            Ok(_) => self.pending().written(count),
            Err(error) => {
                if error.kind() == BackendErrorKind::OutcomeUnknown {
                    self.pending().indeterminate(count);
                }
                return Err(error);
            }
        }
        if took < FAST {
            *size = (*size * 2).min(MAX_BATCH);
        } else if took > SLOW {
            *size = (*size / 2).max(MIN_BATCH);
        }
        Ok(true)
    }

    /// Adds to a batch the deletion of addresses that are too old, of keys that are written anyway.
    fn forget_addresses(&self, batch: &mut Vec<UsageChange>, now: Timestamp) {
        let Some(keep) = self.settings.addresses else { return };
        let forget_before = now.saturating_sub(keep);
        let without_address = |change: &UsageChange| match change {
            UsageChange::Add(key, Used { last_address: None, .. }) => Some(*key),
            _ => None,
        };
        let keys: Vec<_> = batch.iter().filter_map(without_address).collect();
        let settle = |of| UsageChange::Settle { of, now, forget_before };
        batch.extend(keys.into_iter().map(settle));
    }
}
