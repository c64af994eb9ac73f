//! Work of the store's threads, done at once.

use super::{Error, Store};

impl Store {
    /// Scans now for the alerts that [`StoreBuilder::alerts`](super::StoreBuilder::alerts) sets,
    /// without waiting for the next scan. Returns the number of events that it wrote.
    ///
    /// # Errors
    /// [`Error`] if the backend fails. An alert that wasn't written stays due.
    pub fn run_alerts(&self) -> Result<usize, Error> {
        self.alerts.run()
    }

    /// Reads now what other processes committed, without waiting for the next poll. The store polls
    /// by itself where the database is shared.
    ///
    /// # Errors
    /// [`Error`] if the backend fails, or if the store must be opened again.
    pub fn refresh(&self) -> Result<(), Error> {
        self.engine.records.refresh()
    }

    /// Looks now whether the files of the database are the ones that were opened, and whether another
    /// program has changed records, without waiting for the next look. A thread looks by itself each
    /// second.
    ///
    /// # Errors
    /// [`Error::Backend`] of the kind
    /// [`ForeignWriter`](crate::backend::BackendErrorKind::ForeignWriter) if they aren't, or it has.
    /// The store must be opened again then. Another error says that the backend couldn't tell.
    pub fn check_files(&self) -> Result<(), Error> {
        self.engine.records.look_at_files()
    }

    /// Fetches now the leases of quotas that are due, without waiting for the thread that fetches
    /// them. When this returns, each lease that a verification asked for before is there, or has
    /// failed, unless another process has the database.
    ///
    /// # Errors
    /// [`Error`] if the backend fails. Those whose leases failed have heard so.
    pub fn fetch_leases(&self) -> Result<(), Error> {
        self.engine.check_process()?;
        self.verifier.fetch_leases()
    }

    /// Writes the remaining pieces of all sweeps now, without waiting for the thread: what revocations
    /// of all keys of an owner, and purges of owners, say of the keys' records. Changes no answer.
    /// Returns the number of records that it wrote.
    ///
    /// # Errors
    /// [`Error`] if the backend fails. What was written before that stays.
    pub fn finish_sweeps(&self) -> Result<u64, Error> {
        self.engine.check_process()?;
        self.engine.finish_sweeps(None)
    }

    /// The same with at most so many pieces.
    #[doc(hidden)]
    pub fn work_sweeps_for_tests(&self, pieces: usize) -> Result<u64, Error> {
        self.engine.work_sweeps(None, pieces)
    }
}
