//! Defects to be caught, so that the check is known to find any.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use keyhasp::backend::{
    Applied, Backend, BackendError, BackendErrorKind, Change, CommitOutcome, Rejection,
};
use keyhasp_altered::{Alter, Altered};

/// A defect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// A change is acknowledged before it is committed.
    Early,
    /// A change of several records is committed in as many steps.
    Halves,
    /// A commit of unknown outcome is said to have left nothing.
    Sure,
}

impl Planted {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Early, Self::Halves, Self::Sure];

    /// The backend with the defect, if it is one of a backend.
    #[must_use]
    pub fn into_backend(self, backend: Arc<dyn Backend>) -> Arc<dyn Backend> {
        match self {
            Self::Early => backend,
            Self::Halves => Arc::new(Altered::new(backend, InHalves)),
            Self::Sure => Arc::new(Altered::new(backend, TooSure)),
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
                whole.external_ids.extend(applied.external_ids);
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
