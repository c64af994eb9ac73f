//! Defects that must be found: the test of the test.

use std::sync::Arc;

use keyhasp::backend::{Applied, Backend, BackendError, BackendErrorKind, CommitOutcome};
use keyhasp_altered::{Alter, Intercepted};
use keyhasp_faults::failing::{Failure, Plan};
use keyhasp_faults::mutations::MUTATIONS;

use crate::case::Case;
use crate::ground::{Ground, Template};

#[derive(Clone, Copy, Debug)]
enum Defect {
    /// It acknowledges before it knows that the commit is durable.
    AcknowledgesTooEarly,
    /// It says that nothing happened where nobody knows.
    KnowsTooMuch,
}

impl Alter for Defect {
    fn failed(&self, _: BackendError) -> Result<CommitOutcome, BackendError> {
        match self {
            Self::AcknowledgesTooEarly => {
                let applied = Applied { first_event: 1, last_event: 1, numeric_ids: Vec::new() };
                Ok(vec![Ok(applied)])
            }
            Self::KnowsTooMuch => Err(BackendError::new(BackendErrorKind::Io, "altered", "commit")),
        }
    }
}

#[test]
fn planted_defects_are_found() {
    let template = Template::new(Ground::InUse);
    let (name, act) = MUTATIONS.iter().find(|(name, _)| *name == "revoke").unwrap();
    for defect in [Defect::AcknowledgesTooEarly, Defect::KnowsTooMuch] {
        let wrap =
            &|backend: Arc<dyn Backend>| Arc::new(Intercepted::new(backend, defect)) as Arc<_>;
        let case = Case { name, act: *act, template: &template, shared: false, wrap };
        let expected = case.expect().unwrap();
        let mut found = None;
        for nth in 1.. {
            match case.run(&expected, Plan { failure: Failure::Io, nth, lasting: false }) {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(why) => found = found.or(Some(why)),
            }
        }
        println!("{defect:?}: {}", found.unwrap_or_else(|| panic!("{defect:?} was not found")));
    }
}
