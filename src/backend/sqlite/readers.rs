//! The pool of connections that read.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;

use super::connect::Connector;
use super::error::Fault;

/// The greatest number of readers. Reads are short, so that more wait than need one.
const LIMIT: usize = 4;

/// Connections that read, made when first needed.
#[derive(Debug, Default)]
pub(super) struct Readers {
    pool: Mutex<Pool>,
    returned: Condvar,
}

#[derive(Debug, Default)]
struct Pool {
    idle: Vec<Connection>,
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
        let (mut place, idle) = self.enter()?;
        let connection = match idle {
            Some(connection) => connection,
            None => connector.reader()?,
        };
        let result = work(&connection);
        // A connection whose transaction couldn't be ended isn't lent again.
        place.connection = Some(connection).filter(Connection::is_autocommit);
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

    fn enter(&self) -> Result<(Place<'_>, Option<Connection>), Fault> {
        let mut pool = self.lock();
        loop {
            match pool.gate {
                Gate::Closed => return Err(Fault::closed()),
                Gate::Open if pool.lent < LIMIT => break,
                Gate::Open | Gate::Held => pool = self.wait(pool),
            }
        }
        pool.lent += 1;
        Ok((Place { readers: self, connection: None }, pool.idle.pop()))
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
    connection: Option<Connection>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut pool = self.readers.lock();
        pool.lent -= 1;
        pool.idle.extend(self.connection.take());
        drop(pool);
        self.readers.returned.notify_all();
    }
}
