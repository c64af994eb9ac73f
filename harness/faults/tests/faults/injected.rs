//! The injected bugs that failing operations on files must show.

use std::sync::Arc;

use keyhasp::backend::Backend;
use keyhasp_altered::Intercepted;
use keyhasp_faults::failing::{Failure, Plan};
use keyhasp_faults::injected::OF_FILES;
use keyhasp_faults::mutations::MUTATIONS;

use crate::case::Case;
use crate::ground::{Ground, Template};

#[test]
fn injected_bugs_are_caught() {
    let template = Template::new(Ground::InUse);
    let (name, act) = MUTATIONS.iter().find(|(name, _)| *name == "revoke").unwrap();
    for bug in OF_FILES {
        let wrap = &|backend: Arc<dyn Backend>| Arc::new(Intercepted::new(backend, bug)) as Arc<_>;
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
        println!("{bug:?}: {}", found.unwrap_or_else(|| panic!("{bug:?} was not caught")));
    }
}
