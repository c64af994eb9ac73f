//! The injected bugs that failing operations of a backend must show.

use std::sync::Arc;

use keyhasp::backend::Backend;
use keyhasp_altered::Intercepted;
use keyhasp_faults::injected::{OF_BACKENDS, OF_USES};
use keyhasp_faults::mutations::MUTATIONS;

use crate::case::{Case, How};
use crate::uses;

#[test]
fn injected_bugs_are_caught() {
    let (name, act) = MUTATIONS.iter().find(|(name, _)| *name == "revoke").unwrap();
    for bug in OF_BACKENDS {
        let wrap = &|backend: Arc<dyn Backend>| Arc::new(Intercepted::new(backend, bug)) as Arc<_>;
        let case = Case { name, act: *act, shared: false, wrap };
        let known = case.expect().unwrap();
        let found = How::all(&[false]).find_map(|how| {
            let each = 1..=known.operations;
            each.into_iter().find_map(|nth| case.run(&known, how, nth, None).err())
        });
        println!("{bug:?}: {}", found.unwrap_or_else(|| panic!("{bug:?} was not caught")));
    }
}

#[test]
fn injected_bugs_of_usage_are_caught() {
    for bug in OF_USES {
        let found = uses::each(&|backend| Arc::new(Intercepted::new(backend, bug)));
        println!("{bug:?}: {}", found.expect_err("it was not caught"));
    }
}
