//! Injected bugs: each is a backend or a process with one bug, which the checks must catch.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use keyhasp::backend::{
    Applied, Backend, BackendError, BackendErrorKind, Change, CommitOutcome, Rejection,
    UsageChange, UsageOutcome,
};
use keyhasp::key::{Lease, LeaseRequest};
use keyhasp_altered::{Alter, Intercepted};

/// A bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Injected {
    /// The process acknowledges a change before it commits it.
    Early,
    /// The backend commits each record of a change by itself.
    Halves,
    /// The backend recovers from an unknown outcome by itself and reports that nothing happened.
    Sure,
    /// The backend grants a lease and leaves its units in the quota.
    Unleased,
    /// The backend leases all that a quota has left.
    Greedy,
    /// The backend drops what a closing store gives back of its leases.
    Hoards,
    /// The backend writes counts twice.
    Twice,
    /// The backend writes no counts.
    Uncounted,
}

/// The kind of finding that a bug must lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caught {
    /// An acknowledged change is gone.
    Lost,
    /// A change is there in part.
    Half,
    /// A quota or a count is wrong.
    Misused,
    /// A failing call leads to it, and kills don't.
    Failing,
}

/// Every bug, its name on the command line, and the finding that it must lead to.
pub const ALL: [(Injected, &str, Caught); 8] = [
    (Injected::Early, "early", Caught::Lost),
    (Injected::Halves, "halves", Caught::Half),
    (Injected::Sure, "sure", Caught::Failing),
    (Injected::Unleased, "unleased", Caught::Misused),
    (Injected::Greedy, "greedy", Caught::Misused),
    (Injected::Hoards, "hoards", Caught::Misused),
    (Injected::Twice, "twice", Caught::Misused),
    (Injected::Uncounted, "uncounted", Caught::Misused),
];

impl Injected {
    /// Puts the bug before a backend, unless it is one of the process.
    #[must_use]
    pub fn into_backend(self, backend: Arc<dyn Backend>) -> Arc<dyn Backend> {
        match self {
            Self::Early => backend,
            _ => Arc::new(Intercepted::new(backend, self)),
        }
    }
}

impl Alter for Injected {
    fn commit(&self, inner: &dyn Backend, batch: &[Change]) -> Result<CommitOutcome, BackendError> {
        if *self == Self::Halves {
            return batch.iter().map(|change| in_halves(inner, change)).collect();
        }
        inner.commit(batch).or_else(|error| {
            if *self != Self::Sure || error.kind() != BackendErrorKind::OutcomeUnknown {
                return Err(error);
            }
            inner.recover()?;
            Err(BackendError::new(BackendErrorKind::Io, inner.name(), error.operation()))
        })
    }

    fn record_usage(
        &self,
        inner: &dyn Backend,
        batch: &[UsageChange],
    ) -> Result<UsageOutcome, BackendError> {
        let mut batch = batch.to_vec();
        for change in &mut batch {
            match (self, change) {
                (Self::Hoards, UsageChange::GiveBack { lease, .. }) => lease.units = 0,
                (Self::Twice, UsageChange::Add(_, used)) => used.accepted *= 2,
                (Self::Uncounted, UsageChange::Add(_, used)) => used.accepted = 0,
                _ => {}
            }
        }
        let mut outcome = inner.record_usage(&batch)?;
        for (change, lease) in batch.iter().zip(&mut outcome) {
            let (UsageChange::Lease { of, at, .. }, Some(own)) = (change, &lease) else { continue };
            let (of, at, own) = (*of, *at, *own);
            match self {
                Self::Greedy => {
                    let request = LeaseRequest::one(own.left);
                    let rest = UsageChange::Lease { of, request, at };
                    let rest = inner.record_usage(&[rest])?.pop().flatten();
                    *lease = rest.map(|rest| Lease { units: own.units + rest.units, ..rest });
                }
                Self::Unleased => {
                    inner.record_usage(&[UsageChange::GiveBack { of, lease: own, at }])?;
                }
                _ => {}
            }
        }
        Ok(outcome)
    }
}

fn in_halves(
    inner: &dyn Backend,
    change: &Change,
) -> Result<Result<Applied, Rejection>, BackendError> {
    let (mut preconditions, mut once) = (change.preconditions.clone(), change.once.clone());
    let mut whole: Option<Applied> = None;
    for operation in &change.operations {
        let preconditions = std::mem::take(&mut preconditions);
        let part = Change {
            piece_of: change.piece_of,
            preconditions,
            operations: vec![operation.clone()],
            lapse_expired_by: change.lapse_expired_by,
            once: once.take(),
            ends_tokens: change.ends_tokens,
        };
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

impl fmt::Display for Injected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = ALL.iter().find(|(bug, ..)| bug == self).map_or("?", |(_, name, _)| name);
        f.write_str(name)
    }
}

impl FromStr for Injected {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = ALL.iter().find(|(_, name, _)| *name == text);
        found.map(|(bug, ..)| *bug).ok_or_else(|| format!("`{text}` names no injected bug"))
    }
}
