//! Threads that work for a store and end with it.

use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::Duration;

use super::state::Core;

/// By which background threads are told to end.
#[derive(Debug, Default)]
pub(in crate::store) struct Stop {
    is_set: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    pub(in crate::store) fn set(&self) {
        *self.is_set.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    /// Waits for as long as told, or until it is set; whether it is.
    fn wait(&self, pause: Duration) -> bool {
        let is_set = self.is_set.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(is_set, pause, |is_set| !*is_set);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// Has `work` done in a thread of its own, at once and again after each pause that it asks for,
/// until it asks for none or the store is gone.
pub(in crate::store) fn spawn(
    name: &str,
    core: &Arc<Core>,
    mut work: impl FnMut(&Arc<Core>) -> Option<Duration> + Send + 'static,
) -> io::Result<()> {
    let (core, stop): (Weak<Core>, Arc<Stop>) = (Arc::downgrade(core), Arc::clone(&core.stop));
    let run = move || {
        while let Some(pause) = core.upgrade().and_then(|core| work(&core)) {
            if stop.wait(pause) {
                return;
            }
        }
    };
    std::thread::Builder::new().name(name.into()).spawn(run).map(|_detached| ())
}
