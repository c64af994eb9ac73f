//! Leases and counts while each operation on SQLite's files fails in turn.

use std::sync::Arc;

use keyhasp::backend::Backend;
use keyhasp::backend::sqlite::{Sqlite, SqliteOptions};
use keyhasp_faults::failing::{Failing, Plan};
use keyhasp_faults::uses::{Act, Uses};
use keyhasp_faults::vfs::watch;
use keyhasp_faults::world::{database, scratch};

use crate::{ground, ways};

fn sqlite(directory: &std::path::Path) -> Result<Arc<dyn Backend>, String> {
    let options = SqliteOptions::exclusive();
    match Sqlite::open_or_create(database(directory), options) {
        Ok((sqlite, _)) => Ok(Arc::new(sqlite)),
        Err(error) => Err(error.to_string()),
    }
}

/// Runs an act during which an operation fails; `None` if it makes fewer.
fn run(act: Act, plan: Plan) -> Result<Option<u64>, String> {
    let (directory, crashed) = (scratch(), scratch());
    let failing = Arc::new(Failing::new(directory.path()));
    let _watched = watch(directory.path(), Arc::<Failing>::clone(&failing) as _);
    let mut uses = Uses::begin(sqlite(directory.path())?)?;
    failing.arm(plan);
    let acted = uses.act(act, &|| failing.release());
    let struck = failing.struck();
    ground::copy(directory.path(), crashed.path());
    failing.heal();
    acted.map_err(|why| format!("{struck:?}: {why}"))?;
    uses.hold(&*sqlite(crashed.path())?).map_err(|why| format!("{struck:?}, crashed: {why}"))?;
    if act == Act::Close {
        uses.settle(Some(sqlite(directory.path())?))?;
    } else {
        uses.recover(true)?;
        uses.settle(None)?;
    }
    // Where every use was answered, no unit was forfeited.
    let forfeited = u64::from(uses.refused > 0) + u64::from(uses.is_cut_off && struck.is_some());
    let settled = uses.hold_settled(&*sqlite(directory.path())?, forfeited);
    settled.map_err(|why| format!("{struck:?}: {why}"))?;
    Ok(struck.map(|_| uses.refused))
}

#[test]
fn leases_and_counts() {
    let (mut cases, mut refused) = (0, 0);
    for act in Act::ALL {
        for (failure, lasting) in ways() {
            for nth in 1.. {
                let plan = Plan { failure, nth, lasting };
                match run(act, plan).unwrap_or_else(|why| panic!("{act:?}, {plan:?}: {why}")) {
                    Some(unanswered) => {
                        cases += 1;
                        refused += u64::from(unanswered > 0);
                    }
                    None => break,
                }
            }
        }
    }
    println!(
        "faults sqlite, leases and counts: {cases} operations failed in turn, {refused} of them \
         refused uses; 0 overspent, 0 counted twice"
    );
    assert!(refused > 0);
}
