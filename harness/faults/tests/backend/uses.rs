//! Leases and counts, while each operation of a backend fails in turn.

use std::sync::Arc;

use keyhasp::backend::{
    Backend, BackendError, BackendErrorKind, Memory, UsageChange, UsageOutcome,
};
use keyhasp::key::Lease;
use keyhasp::testing::Failing;
use keyhasp_altered::{Alter, Intercepted};
use keyhasp_faults::uses::{Act, Uses};

use crate::case::{How, Wrap};

#[derive(Debug)]
struct StaysOpen;

impl Alter for StaysOpen {
    fn stays_open(&self) -> bool {
        true
    }
}

/// One act during which an operation fails; how many operations it makes if none does.
fn run(act: Act, fails: Option<(How, u64)>, wrap: Wrap<'_>) -> Result<(u64, u64), String> {
    let memory: Arc<dyn Backend> = Arc::new(Memory::new());
    let failing = Arc::new(Failing::new(Intercepted::new(Arc::clone(&memory), StaysOpen)));
    let backend = wrap(Arc::<Failing<_>>::clone(&failing) as _);
    let mut uses = Uses::begin(Arc::clone(&backend))?;
    let before = failing.operations();
    if let Some((how, nth)) = fails {
        failing.inject(how.fault(nth));
    }
    uses.act(act)?;
    let operations = failing.operations() - before;
    uses.hold(&*memory)?;
    failing.heal();
    let is_unknown = fails.is_some_and(|(how, _)| how.is_unknown());
    if act == Act::Close {
        // What the next process does.
        failing.recover().map_err(|error| error.to_string())?;
        uses.settle(Some(backend))?;
    } else {
        uses.recover(fails.is_none_or(|(how, _)| how.leaves_it_alone()))?;
        uses.settle(None)?;
    }
    let forfeited = u64::from(is_unknown) + u64::from(fails.is_some() && uses.is_cut_off);
    uses.hold_settled(&*memory, forfeited)?;
    match failing.commits_refused() {
        0 => Ok((operations, uses.refused)),
        _ => Err("it wanted to write before it had recovered".to_owned()),
    }
}

/// Every way in which an operation fails, until one is found that does harm.
fn each(wrap: Wrap<'_>) -> Result<String, String> {
    let (mut cases, mut refused) = (0, 0);
    for act in Act::ALL {
        let (operations, _) = run(act, None, wrap)?;
        for how in How::all(&[false, true]) {
            for nth in 1..=operations {
                let ran = run(act, Some((how, nth)), wrap);
                let (_, unanswered) =
                    ran.map_err(|why| format!("{act:?}, operation {nth}, {how:?}: {why}"))?;
                cases += 1;
                refused += u64::from(unanswered > 0);
            }
        }
    }
    Ok(format!("{cases} operations failed in turn, {refused} of them refused uses"))
}

#[test]
fn leases_and_counts() {
    let told = each(&|backend| backend).unwrap();
    println!("backend, leases and counts: {told}; 0 overspent, 0 counted twice");
}

#[derive(Clone, Copy, Debug)]
enum Defect {
    /// It says that nothing happened where nobody knows: what was counted is counted again.
    KnowsTooMuch,
    /// It leases what it couldn't take out of the quota.
    LeasesTooEarly,
}

impl Alter for Defect {
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
                Err(BackendError::new(BackendErrorKind::Io, "altered", "take in usage"))
            }
            (Self::LeasesTooEarly, [UsageChange::Lease { of, .. }])
                if error.kind() != BackendErrorKind::OutcomeUnknown =>
            {
                let state = inner.usage(&[*of])?.pop().and_then(|usage| usage.quota);
                let lease = state.map(|state| Lease {
                    quota_version: state.quota_version,
                    period: state.period,
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

#[test]
fn planted_defects_of_usage_are_found() {
    for defect in [Defect::KnowsTooMuch, Defect::LeasesTooEarly] {
        let found = each(&|backend| Arc::new(Intercepted::new(backend, defect)));
        println!("{defect:?}: {}", found.expect_err("it was not found"));
    }
}
