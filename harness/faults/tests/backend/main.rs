//! Lets every operation of a backend fail in turn, under every kind of mutation: before it takes
//! effect or after, once or from then on, with a database that is exclusive or shared.
//!
//! Then in pairs: one operation fails during the call, another in the recovery, or when the call is
//! made again. `expected.rs` says what must hold each time.

mod case;
mod injected;
mod uses;

use case::{Case, How, Known};
use keyhasp_faults::mutations::MUTATIONS;
use keyhasp_faults::tally::Tally;

fn mutations(shared: bool) {
    let mut tally = Tally::default();
    for (name, act) in MUTATIONS {
        let case = Case { name, act: *act, shared, wrap: &|backend| backend };
        let expected = case.expect().unwrap_or_else(|why| panic!("{name}: {why}"));
        for how in How::all(&[false, true]) {
            for nth in 1..=how.most(expected.operations) {
                match case.run(&expected, how, nth, None) {
                    Ok(ran) => tally.add(ran),
                    Err(why) => panic!("{name}, shared {shared}, operation {nth}, {how:?}: {why}"),
                }
            }
        }
    }
    tally.assert_met();
    println!("backend, shared {shared}: {tally}");
}

#[test]
fn alone() {
    mutations(false);
}

#[test]
fn shared() {
    mutations(true);
}

/// Lets two operations fail.
fn pairs(shared: bool) {
    let mut tally = Tally::default();
    for (name, act) in MUTATIONS {
        let case = Case { name, act: *act, shared, wrap: &|backend| backend };
        let expected = case.expect().unwrap_or_else(|why| panic!("{name}: {why}"));
        for first in How::all(&[false]) {
            for nth in 1..=first.most(expected.operations) {
                pairs_with(&case, &expected, first, nth, &mut tally).unwrap_or_else(|why| {
                    panic!("{name}, shared {shared}, {first:?} {nth}, {why}")
                });
            }
        }
    }
    println!("backend, in pairs, shared {shared}: {tally}");
}

/// Lets each second operation fail after this first one.
fn pairs_with(
    case: &Case<'_>,
    known: &Known,
    first: How,
    nth: u64,
    tally: &mut Tally,
) -> Result<(), String> {
    let again = case.expect_again(known, first, nth)?;
    for second in How::all(&[false]) {
        // A recovery reads indeterminate records, which the call may not have read.
        for other in 1..=second.most(known.operations + 4) {
            let ran = case.run(known, first, nth, Some((&again, second, other)));
            tally.add(ran.map_err(|why| format!("then {second:?} {other}: {why}"))?);
        }
    }
    Ok(())
}

#[test]
fn pairs_alone() {
    pairs(false);
}

#[test]
fn pairs_shared() {
    pairs(true);
}
