//! Numbers of a store's calls.

use std::fmt;
use std::sync::Arc;

use metrics::{Counter, Gauge, counter, gauge, histogram};

use super::names;
use crate::clock::{Clock, SystemClock};
use crate::integrations::observed::{
    Call, Observed, Observer, call_outcome, verification_outcome, verification_outcomes,
};
use crate::store::{Error, KeyStore, VerifyError};
use crate::verified_key::VerifiedKey;

/// A store whose calls are counted.
///
/// A verification costs one addition to a counter more, a cache line that threads share.
///
/// ```
/// # use std::sync::Arc;
/// # use keyhasp::integrations::metrics::Measured;
/// # fn f(store: keyhasp::Store) -> Arc<dyn keyhasp::KeyStore> {
/// let store = Arc::new(Measured::new(store));
/// // Whenever somebody is about to read them:
/// store.record_health();
/// # store
/// # }
/// ```
pub type Measured<S> = Observed<S, Meter>;

/// What makes an [`Observed`] store a measured one.
pub struct Meter {
    clock: Arc<dyn Clock>,
    /// A counter for each outcome, with its name.
    verifications: Vec<(&'static str, Counter)>,
    tokens: Gauge,
    ready: Gauge,
}

impl<S: KeyStore> Measured<S> {
    /// Counts what this store is asked, with the recorder that is installed now.
    #[must_use]
    pub fn new(store: S) -> Self {
        Self::with_clock(store, Arc::new(SystemClock::new()))
    }

    /// The same, by this clock.
    #[must_use]
    pub fn with_clock(store: S, clock: Arc<dyn Clock>) -> Self {
        let measured = Self::by(Meter::new(clock), store);
        measured.record_health();
        measured
    }

    /// Sets the gauges from the store's [`health`](KeyStore::health). Nothing else does: call it
    /// before they are read, or every few seconds.
    pub fn record_health(&self) {
        let health = self.store.health();
        let observer = &self.observer;
        // A gauge is a float.
        #[allow(clippy::cast_precision_loss)]
        observer.tokens.set(health.tokens as f64);
        observer.ready.set(if health.unavailable.is_none() { 1.0 } else { 0.0 });
        if let Some(staleness) = health.staleness {
            gauge!(names::STALENESS_SECONDS).set(staleness);
        }
    }
}

impl Meter {
    fn new(clock: Arc<dyn Clock>) -> Self {
        names::describe_store();
        let verification = |outcome| counter!(names::VERIFICATIONS, names::OUTCOME => outcome);
        Self {
            clock,
            verifications: verification_outcomes().map(|name| (name, verification(name))).collect(),
            tokens: gauge!(names::INDEX_TOKENS),
            ready: gauge!(names::READY),
        }
    }
}

impl Observer for Meter {
    #[inline]
    fn verified(&self, answer: &Result<VerifiedKey, VerifyError>) {
        let outcome = verification_outcome(answer);
        let mut counters = self.verifications.iter();
        if let Some((_, counter)) = counters.find(|(name, _)| *name == outcome) {
            counter.increment(1);
        }
    }

    fn around<T>(
        &self,
        call: &Call<'_>,
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

/// Recorders have no words.
impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meter").finish_non_exhaustive()
    }
}
