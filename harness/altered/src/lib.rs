//! A backend that alters another one's answers, as a harness says. It brings a store into a state
//! to which an honest backend seldom leads.

use std::fmt::Debug;
use std::sync::Arc;

use keyhasp::OwnerId;
use keyhasp::backend::{
    Backend, BackendError, BackendLayer, Change, CommitOutcome, Scanned, Sharing, UsageChange,
    UsageOutcome,
};

/// Alterations by a harness. Each defaults to the inner backend's answer.
pub trait Alter: Debug + Send + Sync + 'static {
    /// Alters the answer about sharing.
    fn sharing(&self, inner: Sharing) -> Sharing {
        inner
    }

    /// Alters a record on its way into the index.
    fn scanned(&self, scanned: Scanned) -> Scanned {
        scanned
    }

    /// Shows more records, after all others.
    fn scanned_more(&self, visit: &mut dyn FnMut(Scanned)) {
        let _ = visit;
    }

    /// Commits a batch.
    ///
    /// # Errors
    /// Those of `inner`, unless altered.
    fn commit(&self, inner: &dyn Backend, batch: &[Change]) -> Result<CommitOutcome, BackendError> {
        match inner.commit(batch) {
            Ok(outcome) => self.committed(outcome),
            Err(error) => self.failed(error),
        }
    }

    /// Alters the answer of a commit that took effect.
    ///
    /// # Errors
    /// None, unless altered.
    fn committed(&self, outcome: CommitOutcome) -> Result<CommitOutcome, BackendError> {
        Ok(outcome)
    }

    /// Alters the error of a commit.
    ///
    /// # Errors
    /// The same, unless altered.
    fn failed(&self, error: BackendError) -> Result<CommitOutcome, BackendError> {
        Err(error)
    }

    /// Records a batch of usage.
    ///
    /// # Errors
    /// Those of `inner`, unless altered.
    fn record_usage(
        &self,
        inner: &dyn Backend,
        batch: &[UsageChange],
    ) -> Result<UsageOutcome, BackendError> {
        inner.record_usage(batch)
    }

    /// Runs before a recovery.
    ///
    /// # Errors
    /// An error that stands in for the recovery.
    fn recover(&self) -> Result<(), BackendError> {
        Ok(())
    }

    /// Returns whether closing leaves the inner backend open.
    fn stays_open(&self) -> bool {
        false
    }
}

/// A backend around another one, with its answers altered.
#[derive(Debug)]
pub struct Intercepted<A> {
    inner: Arc<dyn Backend>,
    by: A,
}

impl<A> Intercepted<A> {
    /// Wraps `inner`, with the alterations of `by`.
    pub fn new(inner: Arc<dyn Backend>, by: A) -> Self {
        Self { inner, by }
    }
}

impl<A: Alter> BackendLayer for Intercepted<A> {
    fn inner(&self) -> &dyn Backend {
        &*self.inner
    }

    fn sharing(&self) -> Sharing {
        self.by.sharing(self.inner.sharing())
    }

    fn scan(&self, visit: &mut dyn FnMut(Scanned)) -> Result<u64, BackendError> {
        let through = self.inner.scan(&mut |scanned| visit(self.by.scanned(scanned)))?;
        self.by.scanned_more(visit);
        Ok(through)
    }

    fn scan_owner(
        &self,
        owner: &OwnerId,
        visit: &mut dyn FnMut(Scanned),
    ) -> Result<(), BackendError> {
        self.inner.scan_owner(owner, &mut |scanned| visit(self.by.scanned(scanned)))
    }

    fn commit(&self, batch: &[Change]) -> Result<CommitOutcome, BackendError> {
        self.by.commit(&*self.inner, batch)
    }

    fn record_usage(&self, batch: &[UsageChange]) -> Result<UsageOutcome, BackendError> {
        self.by.record_usage(&*self.inner, batch)
    }

    fn recover(&self) -> Result<(), BackendError> {
        self.by.recover()?;
        self.inner.recover()
    }

    fn close(&self) -> Result<(), BackendError> {
        if self.by.stays_open() {
            return Ok(());
        }
        self.inner.close()
    }
}
