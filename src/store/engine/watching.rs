//! Watching the files of the database, and that this is still the process that opened it.

use std::sync::Arc;
use std::time::Duration;

use super::records::Records;
use super::worker::{Next, Worked, Workers};
use crate::backend::{BackendError, BackendErrorKind};
use crate::store::types::error::Error;
use crate::store::types::verify_error::Unavailable;

/// Pause between two looks.
const PAUSE: Duration = Duration::from_secs(1);

/// Starts the thread that looks each second. It goes on after each error: a look that fails says
/// nothing about the next.
pub(in crate::store) fn start_watch(
    records: &Arc<Records>,
    workers: &mut Workers,
) -> Result<(), Error> {
    let (name, records) = (records.backend.name(), Arc::clone(records));
    let work = move || Worked::with(records.look_at_files(), Next::After(PAUSE));
    workers.spawn(name, "keyhasp-watch", &Arc::default(), Next::After(PAUSE), work)
}

impl Records {
    /// Looks whether the database is as this process left it. If it isn't, no verification is
    /// answered from now on.
    pub(in crate::store) fn look_at_files(&self) -> Result<(), Error> {
        match self.availability.unavailable() {
            Some(closed @ (Unavailable::Closed | Unavailable::Forked)) => return Err(closed.into()),
            // Final: what was missing may be back, and another process was here meanwhile.
            Some(Unavailable::ForeignWriter) => return self.check_open(),
            _ => {}
        }
        // First: the backend's look may take long.
        self.availability.note_look(&*self.clock);
        let looked = self.backend.check_files();
        Ok(looked.inspect_err(|error| self.note_foreign_writer(error))?)
    }

    /// Notes an error of the backend that says that the database isn't as this process left it.
    pub(in crate::store) fn note_foreign_writer(&self, error: &BackendError) {
        if error.kind() == BackendErrorKind::ForeignWriter {
            // Before the flag: who finds the flag then also finds the error.
            self.foreign_writer.get_or_init(|| error.clone());
            self.availability.set_foreign_writer();
        }
    }
}
