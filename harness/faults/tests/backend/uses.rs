//! Leases and counts, while each operation of a backend fails in turn.

use std::sync::Arc;

use keyhasp::backend::{Backend, Memory};
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

/// Runs an act during which an operation may fail; returns how many operations it made, and how
/// many uses weren't answered.
fn run(act: Act, fails: Option<(How, u64)>, wrap: Wrap<'_>) -> Result<(u64, u64), String> {
    let memory: Arc<dyn Backend> = Arc::new(Memory::new());
    let failing = Arc::new(Failing::new(Intercepted::new(Arc::clone(&memory), StaysOpen)));
    let backend = wrap(Arc::<Failing<_>>::clone(&failing) as _);
    let mut uses = Uses::begin(Arc::clone(&backend))?;
    let before = failing.operations();
    if let Some((how, nth)) = fails {
        failing.inject(how.fault(nth));
    }
    uses.act(act, &|| {})?;
    let operations = failing.operations() - before;
    uses.hold(&*memory)?;
    failing.heal();
    let is_unknown = fails.is_some_and(|(how, _)| how.is_unknown());
    if act == Act::Close {
        // The next process begins so.
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

/// Tries every way in which an operation fails, until one does harm.
pub fn each(wrap: Wrap<'_>) -> Result<String, String> {
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
    let sums = each(&|backend| backend).unwrap();
    println!("backend, leases and counts: {sums}; 0 overspent, 0 counted twice");
}
