//! Defects to be caught, so that the check is known to find any.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use keyhasp::backend::{
    Applied, Backend, BackendError, BackendErrorKind, Change, CommitOutcome, Rejection,
    UsageChange, UsageOutcome,
};
use keyhasp::key::Lease;
use keyhasp_altered::{Alter, Intercepted};

/// A defect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// A change is acknowledged before it is committed.
    Early,
    /// A change of several records is committed in as many steps.
    Halves,
    /// A commit of unknown outcome is said to have left nothing.
    Sure,
    /// A lease is spent and not taken out of the quota.
    Unleased,
    /// A lease is all that is left.
    Greedy,
    /// What is left of leases is not given back on close.
    Hoards,
    /// Uses are written twice.
    Twice,
    /// Uses are said to be written.
    Uncounted,
}

impl Planted {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Early,
        Self::Halves,
        Self::Sure,
        Self::Unleased,
        Self::Greedy,
        Self::Hoards,
        Self::Twice,
        Self::Uncounted,
    ];
    /// Those that kills lead to.
    pub const OF_KILLS: [Self; 7] = [
        Self::Early,
        Self::Halves,
        Self::Unleased,
        Self::Greedy,
        Self::Hoards,
        Self::Twice,
        Self::Uncounted,
    ];

    /// The backend with the defect, if it is one of a backend.
    #[must_use]
    pub fn into_backend(self, backend: Arc<dyn Backend>) -> Arc<dyn Backend> {
        match self {
            Self::Early => backend,
            Self::Halves => Arc::new(Intercepted::new(backend, InHalves)),
            Self::Sure => Arc::new(Intercepted::new(backend, TooSure)),
            _ => Arc::new(Intercepted::new(backend, Misused(self))),
        }
    }
}

/// Commits each record of a change by itself.
#[derive(Debug)]
struct InHalves;

impl Alter for InHalves {
    fn commit(&self, inner: &dyn Backend, batch: &[Change]) -> Result<CommitOutcome, BackendError> {
        batch.iter().map(|change| in_halves(inner, change)).collect()
    }
}

/// Finds out by itself what became of a commit, and tells nobody.
#[derive(Debug)]
struct TooSure;

impl Alter for TooSure {
    fn commit(&self, inner: &dyn Backend, batch: &[Change]) -> Result<CommitOutcome, BackendError> {
        let unknown = BackendErrorKind::OutcomeUnknown;
        inner.commit(batch).or_else(|error| match error.kind() == unknown {
            true => {
                inner.recover()?;
                Err(BackendError::new(BackendErrorKind::Io, inner.name(), error.operation()))
            }
            false => Err(error),
        })
    }
}

/// Takes in usage otherwise than it is asked to.
#[derive(Debug)]
struct Misused(Planted);

impl Alter for Misused {
    fn record_usage(
        &self,
        inner: &dyn Backend,
        batch: &[UsageChange],
    ) -> Result<UsageOutcome, BackendError> {
        let mut batch = batch.to_vec();
        for change in &mut batch {
            match (self.0, change) {
                (Planted::Hoards, UsageChange::GiveBack { lease, .. }) => lease.units = 0,
                (Planted::Twice, UsageChange::Add(_, used)) => used.accepted *= 2,
                (Planted::Uncounted, UsageChange::Add(_, used)) => used.accepted = 0,
                _ => {}
            }
        }
        let mut outcome = inner.record_usage(&batch)?;
        if self.0 == Planted::Greedy {
            for (change, lease) in batch.iter().zip(&mut outcome) {
                let (UsageChange::Lease { of, at, .. }, Some(own)) = (change, &lease) else {
                    continue;
                };
                let (of, at, all) = (*of, *at, own.left);
                let rest = UsageChange::Lease { of, needed: all, least: all, at };
                let rest = inner.record_usage(&[rest])?.pop().flatten();
                *lease = rest.map(|rest| Lease { units: own.units + rest.units, ..rest });
            }
        }
        if self.0 == Planted::Unleased {
            let unleased = |(change, lease): (&_, &Option<Lease>)| match (change, lease) {
                (UsageChange::Lease { of, at, .. }, Some(lease)) => {
                    Some(UsageChange::GiveBack { of: *of, lease: *lease, at: *at })
                }
                _ => None,
            };
            let back: Vec<_> = batch.iter().zip(&outcome).filter_map(unleased).collect();
            inner.record_usage(&back)?;
        }
        Ok(outcome)
    }
}

fn in_halves(
    inner: &dyn Backend,
    change: &Change,
) -> Result<Result<Applied, Rejection>, BackendError> {
    let mut preconditions = change.preconditions.clone();
    let mut whole: Option<Applied> = None;
    for operation in &change.operations {
        let preconditions = std::mem::take(&mut preconditions);
        let part = Change { preconditions, operations: vec![operation.clone()] };
        match (inner.commit(&[part])?.pop(), &mut whole) {
            (Some(Ok(applied)), None) => whole = Some(applied),
            (Some(Ok(applied)), Some(whole)) => {
                whole.last_event = applied.last_event;
                whole.numeric_ids.extend(applied.numeric_ids);
            }
            (Some(Err(rejection)), _) => return Ok(Err(rejection)),
            (None, _) => {}
        }
    }
    Ok(whole.ok_or(Rejection::KeysChanged))
}

impl fmt::Display for Planted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Early => "early",
            Self::Halves => "halves",
            Self::Sure => "sure",
            Self::Unleased => "unleased",
            Self::Greedy => "greedy",
            Self::Hoards => "hoards",
            Self::Twice => "twice",
            Self::Uncounted => "uncounted",
        })
    }
}

impl FromStr for Planted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let planted = Self::ALL.into_iter().find(|planted| planted.to_string() == text);
        planted.ok_or_else(|| format!("`{text}` is no planted defect"))
    }
}
