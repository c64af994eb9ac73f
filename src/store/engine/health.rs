//! The health of a store, gathered from its parts, and the thread that tells of changes.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::records::Records;
use super::worker::{Next, Threads, Worked, Workers};
use crate::store::types::error::Error;
use crate::store::types::health::Health;
use crate::store::types::verify_error::Unavailable;

/// Pause between two looks for a change of health.
const PAUSE: Duration = Duration::from_secs(1);

/// The parts of a store that know of its health.
#[derive(Debug)]
pub(in crate::store) struct HealthWatch {
    records: Arc<Records>,
    threads: Arc<Threads>,
}

/// The service's own function that hears changes of health.
pub(in crate::store) struct HealthHook(Box<dyn Fn(&Health) + Send>);

impl HealthHook {
    pub(in crate::store) fn new(hook: impl Fn(&Health) + Send + 'static) -> Self {
        Self(Box::new(hook))
    }
}

impl fmt::Debug for HealthHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HealthHook")
    }
}

impl HealthWatch {
    pub(in crate::store) fn new(records: &Arc<Records>, threads: &Arc<Threads>) -> Self {
        Self { records: Arc::clone(records), threads: Arc::clone(threads) }
    }

    /// Gathers the health of now. Waits for no commit. In a forked child asks for nothing that is
    /// locked: a thread of the parent may have held a lock at the fork.
    pub(in crate::store) fn now(&self) -> Health {
        let records = &*self.records;
        let availability = &records.availability;
        if availability.is_forked() {
            return Health { unavailable: Some(Unavailable::Forked), ..Health::default() };
        }
        let unavailable = match availability.unavailable() {
            Some(unavailable) => Some(unavailable),
            None if availability.is_recovering() => Some(Unavailable::Recovering),
            None if availability.is_stale(&*records.clock) => Some(Unavailable::Stale),
            None => None,
        };
        Health {
            unavailable,
            staleness: availability.staleness(&*records.clock),
            clock_ahead: records.clock_watch.ahead(),
            clock_behind_log: records.clock_watch.behind_log(),
            tokens: records.index.tokens(),
            last_event: records.last_event(),
            writes: records.writes.health(),
            threads: self.threads.health(),
            storage: records.backend.storage(),
            damaged: records.damages.shown(),
        }
    }

    /// Starts the thread that calls the hook when the problems are others than before.
    pub(in crate::store) fn start_hook(
        self: &Arc<Self>,
        hook: HealthHook,
        workers: &mut Workers,
    ) -> Result<(), Error> {
        let (watch, mut told) = (Arc::clone(self), Vec::new());
        let work = move || {
            let health = watch.now();
            if health.unavailable == Some(Unavailable::Closed) {
                // The service has closed it, perhaps before the first look.
                return Worked::well(Next::Never);
            }
            let problems = health.problems();
            if problems != told {
                // Before the call: a hook that panics doesn't hear the same again at once.
                told = problems;
                (hook.0)(&health);
            }
            Worked::well(Next::After(PAUSE))
        };
        let name = self.records.backend.name();
        workers.spawn(name, "keyhasp-health", &Arc::default(), Next::After(Duration::ZERO), work)
    }
}
