//! Injected bugs: each is a backend with one bug, which the tests must catch.

use keyhasp::backend::{
    Applied, Backend, BackendError, BackendErrorKind, CommitOutcome, UsageChange, UsageOutcome,
};
use keyhasp::key::Lease;
use keyhasp_altered::Alter;

/// A bug of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Injected {
    /// It acknowledges a commit that failed.
    AcknowledgesEarly,
    /// It reports an unknown outcome where nothing happened, and can't recover.
    KnowsTooLittle,
    /// It reports that nothing happened where the outcome is unknown, of commits and of counts.
    KnowsTooMuch,
    /// It grants a lease that it couldn't take out of the quota.
    LeasesEarly,
}

/// The bugs that failing operations on files must show.
pub const OF_FILES: [Injected; 2] = [Injected::AcknowledgesEarly, Injected::KnowsTooMuch];
/// The bugs that failing operations of a backend must show.
pub const OF_BACKENDS: [Injected; 3] =
    [Injected::AcknowledgesEarly, Injected::KnowsTooLittle, Injected::KnowsTooMuch];
/// The bugs that uses and counts must show.
pub const OF_USES: [Injected; 2] = [Injected::KnowsTooMuch, Injected::LeasesEarly];

impl Alter for Injected {
    fn failed(&self, error: BackendError) -> Result<CommitOutcome, BackendError> {
        let instead = |kind| BackendError::new(kind, "altered", "commit");
        match self {
            Self::AcknowledgesEarly => {
                let applied = Applied { first_event: 1, last_event: 1, ..Applied::default() };
                Ok(vec![Ok(applied)])
            }
            Self::KnowsTooLittle => Err(instead(BackendErrorKind::OutcomeUnknown)),
            Self::KnowsTooMuch => Err(instead(BackendErrorKind::Io)),
            Self::LeasesEarly => Err(error),
        }
    }

    fn recover(&self) -> Result<(), BackendError> {
        match self {
            Self::KnowsTooLittle => {
                Err(BackendError::new(BackendErrorKind::Io, "altered", "recover"))
            }
            _ => Ok(()),
        }
    }

    fn record_usage(
        &self,
        inner: &dyn Backend,
        batch: &[UsageChange],
    ) -> Result<UsageOutcome, BackendError> {
        let error = match inner.record_usage(batch) {
            Ok(outcome) => return Ok(outcome),
            Err(error) => error,
        };
        let counts = batch.iter().any(|change| matches!(change, UsageChange::Add(..)));
        match (self, batch) {
            (Self::KnowsTooMuch, _) if counts => {
                inner.recover()?;
                Err(BackendError::new(BackendErrorKind::Io, "altered", "record usage"))
            }
            (Self::LeasesEarly, [UsageChange::Lease { of, .. }])
                if error.kind() != BackendErrorKind::OutcomeUnknown =>
            {
                let state = inner.usage(&[*of])?.pop().and_then(|usage| usage.quota);
                let lease = state.map(|state| Lease {
                    quota_version: state.quota_version,
                    turn: state.turn,
                    units: state.left / 16,
                    left: state.left,
                    void_from: None,
                });
                Ok(vec![lease])
            }
            _ => Err(error),
        }
    }
}
