//! The pool of connections that read.

use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;

use super::connect::{Connector, Reader};
use super::error::Fault;
use crate::backend::BackendErrorKind;

/// Connections that read, made when first needed.
#[derive(Debug, Default)]
pub(super) struct Readers {
    pool: Mutex<Pool>,
    returned: Condvar,
}

#[derive(Debug, Default)]
struct Pool {
    idle: Vec<Reader>,
    lent: usize,
    gate: Gate,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Gate {
    #[default]
    Open,
    /// No thread may read for a while.
    Held,
    Closed,
}

impl Readers {
    /// Lends a connection to `work`; waits for one if all are lent.
    pub(super) fn with<T>(
        &self,
        connector: &Connector,
        work: impl FnOnce(&Connection) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let (mut place, idle) = self.enter(connector)?;
        let reader = match idle {
            Some(reader) => reader,
            None => connector.reader()?,
        };
        let result = work(&reader.connection)
            .and_then(|answer| reader.confirm(&connector.files).map(|()| answer));
        // A connection whose transaction couldn't be ended isn't lent again. A process that only
        // looks keeps none: as long as it is open, the process that writes can't renew its log.
        let is_kept = reader.connection.is_autocommit() && !connector.is_read_only();
        place.reader = Some(reader).filter(|_| is_kept);
        result
    }

    /// Waits until no thread reads, closes all connections, and lets no reader in before the
    /// returned value is dropped.
    pub(super) fn hold(&self) -> Held<'_> {
        self.shut(Gate::Held);
        Held(self)
    }

    /// The same for ever.
    pub(super) fn close(&self) {
        self.shut(Gate::Closed);
    }

    /// Returns an error if another thread waits until no thread reads.
    pub(super) fn check_open(&self) -> Result<(), Fault> {
        match self.lock().gate {
            Gate::Open => Ok(()),
            Gate::Closed => Err(Fault::closed()),
            Gate::Held => {
                let why = "the store recovers from a failed write; try again";
                Err(Fault::refused(BackendErrorKind::TimedOut, why))
            }
        }
    }

    /// Lets go of all connections without closing them, in a child whose parent has them too.
    pub(super) fn forget(&mut self) {
        let pool = self.pool.get_mut().unwrap_or_else(PoisonError::into_inner);
        mem::forget(mem::take(&mut pool.idle));
    }

    fn enter(&self, connector: &Connector) -> Result<(Place<'_>, Option<Reader>), Fault> {
        let mut pool = self.lock();
        loop {
            match pool.gate {
                Gate::Closed => return Err(Fault::closed()),
                Gate::Open if pool.lent < connector.max_readers() => break,
                Gate::Open | Gate::Held => pool = self.wait(pool),
            }
        }
        pool.lent += 1;
        Ok((Place { readers: self, reader: None }, pool.idle.pop()))
    }

    fn shut(&self, gate: Gate) {
        let mut pool = self.lock();
        pool.gate = gate;
        self.returned.notify_all();
        while pool.lent > 0 {
            pool = self.wait(pool);
        }
        pool.idle.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, pool: MutexGuard<'a, Pool>) -> MutexGuard<'a, Pool> {
        self.returned.wait(pool).unwrap_or_else(PoisonError::into_inner)
    }
}

/// A hold on the readers: while it lives, no thread reads.
pub(super) struct Held<'a>(&'a Readers);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.lock().gate = Gate::Open;
        self.0.returned.notify_all();
    }
}

/// One of the places of the pool, with the connection that goes back to it.
struct Place<'a> {
    readers: &'a Readers,
    reader: Option<Reader>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut pool = self.readers.lock();
        pool.lent -= 1;
        pool.idle.extend(self.reader.take());
        drop(pool);
        self.readers.returned.notify_all();
    }
}
