//! Defects that must be found: the test of the test.

use std::sync::Arc;

use keyhasp::backend::{Applied, Backend, BackendError, BackendErrorKind, CommitOutcome};
use keyhasp_altered::{Alter, Intercepted};
use keyhasp_faults::mutations::MUTATIONS;

use crate::case::{Case, How};

#[derive(Clone, Copy, Debug)]
enum Defect {
    /// It acknowledges before it knows that the commit is durable.
    AcknowledgesTooEarly,
    /// It says that nobody knows where nothing happened, and does nothing to find out.
    KnowsTooLittle,
    /// It says that nothing happened where nobody knows.
    KnowsTooMuch,
}

impl Alter for Defect {
    fn failed(&self, _: BackendError) -> Result<CommitOutcome, BackendError> {
        let error = |kind| BackendError::new(kind, "altered", "commit");
        match self {
            Self::AcknowledgesTooEarly => {
                let applied = Applied { first_event: 1, last_event: 1, numeric_ids: Vec::new() };
                Ok(vec![Ok(applied)])
            }
            Self::KnowsTooLittle => Err(error(BackendErrorKind::OutcomeUnknown)),
            Self::KnowsTooMuch => Err(error(BackendErrorKind::Io)),
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
}

#[test]
fn planted_defects_are_found() {
    let (name, act) = MUTATIONS.iter().find(|(name, _)| *name == "revoke").unwrap();
    for defect in [Defect::AcknowledgesTooEarly, Defect::KnowsTooLittle, Defect::KnowsTooMuch] {
        let wrap =
            &|backend: Arc<dyn Backend>| Arc::new(Intercepted::new(backend, defect)) as Arc<_>;
        let case = Case { name, act: *act, shared: false, wrap };
        let known = case.expect().unwrap();
        let found = How::all(&[false]).find_map(|how| {
            let each = 1..=known.operations;
            each.into_iter().find_map(|nth| case.run(&known, how, nth, None).err())
        });
        println!("{defect:?}: {}", found.unwrap_or_else(|| panic!("{defect:?} was not found")));
    }
}
