//! The requests of changes: each takes effect once.

use super::{BackendError, Change, Rejection, Transaction};
use crate::key::RequestRecord;

/// The greatest number of records of requests that a change removes. It adds one at most, so they
/// don't grow in number while requests come.
const REMOVED: usize = 16;

/// The records that a change finds of its request, and of requests that are over.
#[derive(Default)]
pub(super) struct Requests {
    /// The record of the change's own request that was there before.
    before: Option<RequestRecord>,
    /// Records that are over, to be removed.
    over: Vec<RequestRecord>,
}

impl Requests {
    /// Reads the request of a change. Refuses a request that took effect before, until its record
    /// is over.
    pub(super) fn read(
        tx: &mut dyn Transaction,
        change: &Change,
    ) -> Result<Result<Self, Rejection>, BackendError> {
        let Some(once) = &change.once else { return Ok(Ok(Self::default())) };
        let before = tx.request(&once.record.id)?;
        let is_over = |record: &RequestRecord| once.over_before.is_some_and(|at| record.at < at);
        let is_there = before.as_ref().is_some_and(|record| !is_over(record));
        if is_there != once.replaces {
            return Ok(Err(Rejection::AlreadyRequested));
        }
        let mut over = match once.over_before {
            Some(at) => tx.requests_before(at, REMOVED)?,
            None => Vec::new(),
        };
        over.retain(|record| record.id != once.record.id);
        Ok(Ok(Self { before, over }))
    }

    /// Writes the record of the change's request, and removes those that are over.
    pub(super) fn write(
        &self,
        tx: &mut dyn Transaction,
        change: &Change,
    ) -> Result<(), BackendError> {
        if let Some(once) = &change.once {
            tx.put_request(self.before.as_ref(), Some(&once.record))?;
        }
        self.over.iter().try_for_each(|record| tx.put_request(Some(record), None))
    }
}
