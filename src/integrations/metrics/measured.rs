//! Metrics of a store's calls.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use metrics::{Counter, Gauge, counter, gauge, histogram};

use super::names;
use crate::clock::{Clock, SystemClock};
use crate::integrations::outcomes::{call_outcome, verification_outcome, verification_outcomes};
use crate::store::{Error, KeyStore, LeaseWait, StoreCall, StoreLayer, VerifyError, VerifyRequest};
use crate::verified_key::VerifiedKey;

/// A store around another one that counts and measures its calls.
///
/// Each verification adds to a counter, whose cache line all threads share.
///
/// ```
/// # use std::sync::Arc;
/// # use keyhasp::integrations::metrics::Measured;
/// # fn f(store: keyhasp::Store) -> Arc<dyn keyhasp::KeyStore> {
/// let store = Arc::new(Measured::new(store));
/// // Before the service reads the gauges:
/// store.record_health();
/// # store
/// # }
/// ```
pub struct Measured<S> {
    store: S,
    clock: Arc<dyn Clock>,
    verifications: Outcomes,
    rechecks: Outcomes,
    tokens: Gauge,
    ready: Gauge,
}

/// A counter for each outcome, with its name.
type Outcomes = Vec<(&'static str, Counter)>;

impl<S: KeyStore> Measured<S> {
    /// Measures this store's calls with the recorder that is installed now.
    #[must_use]
    pub fn new(store: S) -> Self {
        Self::with_clock(store, Arc::new(SystemClock::new()))
    }

    /// Measures with this clock.
    #[must_use]
    pub fn with_clock(store: S, clock: Arc<dyn Clock>) -> Self {
        names::describe_store();
        let outcomes = |metric: &'static str| {
            let counter = |outcome| (outcome, counter!(metric, names::OUTCOME => outcome));
            verification_outcomes().map(counter).collect()
        };
        let measured = Self {
            store,
            clock,
            verifications: outcomes(names::VERIFICATIONS),
            rechecks: outcomes(names::RECHECKS),
            tokens: gauge!(names::INDEX_TOKENS),
            ready: gauge!(names::READY),
        };
        measured.record_health();
        measured
    }

    /// Returns the store that gets the calls.
    #[must_use]
    pub fn inner(&self) -> &S {
        &self.store
    }

    /// Sets the gauges from the store's [`health`](KeyStore::health). No other call sets them: a
    /// service calls this before it reads them, or every few seconds.
    pub fn record_health(&self) {
        let health = self.store.health();
        self.tokens.set(number(health.tokens as u64));
        self.ready.set(flag(health.is_ready()));
        gauge!(names::PROBLEMS).set(number(health.problems().len() as u64));
        for thread in &health.threads {
            let failing = flag(thread.work.is_failing);
            gauge!(names::THREAD_FAILING, names::THREAD => thread.name).set(failing);
        }
        let storage = &health.storage;
        for (name, value) in [
            (names::LAST_EVENT, health.last_event.map(|last| last.number)),
            (names::FILE_BYTES, storage.file_bytes),
            (names::LOG_BYTES, storage.log_bytes),
            (names::FREE_BYTES, storage.free_bytes),
        ] {
            value.into_iter().for_each(|value| gauge!(name).set(number(value)));
        }
        if let Some(last) = health.writes.last_success {
            gauge!(names::LAST_WRITE).set(Duration::from_millis(last.as_millis()));
        }
        if let Some(staleness) = health.staleness {
            gauge!(names::STALENESS_SECONDS).set(staleness);
        }
    }
}

/// Counts an answer by its outcome.
#[inline]
fn count<T>(outcomes: &Outcomes, answer: Result<T, VerifyError>) -> Result<T, VerifyError> {
    let outcome = verification_outcome(&answer);
    if let Some((_, counter)) = outcomes.iter().find(|(name, _)| *name == outcome) {
        counter.increment(1);
    }
    answer
}

impl<S: KeyStore> StoreLayer for Measured<S> {
    fn inner(&self) -> &dyn KeyStore {
        &self.store
    }

    #[inline]
    fn poll_verify(
        &self,
        request: &VerifyRequest<'_>,
        wait: &mut Option<LeaseWait>,
        context: &mut Context<'_>,
    ) -> Poll<Result<VerifiedKey, VerifyError>> {
        let polled = self.store.poll_verify(request, wait, context);
        polled.map(|answer| count(&self.verifications, answer))
    }

    fn recheck_from(
        &self,
        verified: &VerifiedKey,
        address: Option<IpAddr>,
    ) -> Result<VerifiedKey, VerifyError> {
        count(&self.rechecks, self.store.recheck_from(verified, address))
    }

    fn around<T>(
        &self,
        call: &StoreCall<'_>,
        run: impl FnOnce() -> Result<T, Error>,
    ) -> Result<T, Error> {
        let began = self.clock.monotonic();
        let answer = run();
        let took = self.clock.monotonic().saturating_sub(began);
        histogram!(names::CALL_SECONDS, names::CALL => call.name).record(took);
        let outcome = call_outcome(&answer);
        counter!(names::CALLS, names::CALL => call.name, names::OUTCOME => outcome).increment(1);
        answer
    }
}

/// A number as a gauge has it, which is a float.
#[allow(clippy::cast_precision_loss)]
fn number(value: u64) -> f64 {
    value as f64
}

fn flag(is_set: bool) -> f64 {
    if is_set { 1.0 } else { 0.0 }
}

/// Shows the store alone: clocks and recorders' handles need not implement `Debug`.
impl<S: fmt::Debug> fmt::Debug for Measured<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Measured").field(&self.store).finish()
    }
}
