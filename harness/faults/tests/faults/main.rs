//! Every operation on the files fails in turn, under every kind of mutation.
//!
//! What must hold each time: the caller gets the answer, an error that says that nothing happened,
//! or `OutcomeUnknown`; the keys concerned are `Unavailable` until the store has found out, which it
//! does by itself; then index and database agree, on the state before the call or the one after
//! it; a process that died right after the call would have found one of the two as well; and the
//! store goes on.
//!
//! `KEYHASP_FAULTS=all` fails them in every way, once and from then on; without it, once with EIO.

mod case;
mod ground;
mod life;
mod planted;
mod tally;
mod uses;

use case::Case;
use ground::{Ground, Template};
use keyhasp_faults::failing::{Failure, Plan};
use keyhasp_faults::mutations::MUTATIONS;
use tally::Tally;

/// The ways in which operations fail, each once or from then on.
fn ways() -> Vec<(Failure, bool)> {
    match std::env::var("KEYHASP_FAULTS").as_deref() {
        Ok("all") => Failure::ALL.iter().flat_map(|way| [(*way, false), (*way, true)]).collect(),
        Ok(other) => panic!("KEYHASP_FAULTS is {other}, and can only be all"),
        Err(_) => vec![(Failure::Io, false)],
    }
}

fn is_all() -> bool {
    ways().len() > 1
}

/// Fails the first operation, the second and so on, until the call is through before it fails.
fn each_in_turn(case: &Case<'_>, failure: Failure, lasting: bool, tally: &mut Tally) {
    let expected = case.expect().unwrap_or_else(|why| panic!("{case:?}: {why}"));
    for nth in 1.. {
        let plan = Plan { failure, nth, lasting };
        match case.run(&expected, plan) {
            Ok(Some(ran)) => tally.add(ran),
            Ok(None) => return,
            Err(why) => panic!("{case:?}, {plan:?}: {why}"),
        }
    }
}

fn mutations(ground: Ground, shared: bool, tally: &mut Tally) {
    let template = Template::new(ground);
    for (name, act) in MUTATIONS {
        let case = Case { name, act: *act, template: &template, shared, wrap: &|backend| backend };
        for (failure, lasting) in ways() {
            each_in_turn(&case, failure, lasting, tally);
        }
    }
}

/// A database that is in use: connections are open, and the log has begun.
#[test]
fn every_operation_of_every_mutation_fails_in_turn() {
    let mut tally = Tally::default();
    mutations(Ground::InUse, false, &mut tally);
    println!("faults sqlite: {} mutations, {tally}", MUTATIONS.len());
    tally.assert_met();
}

#[test]
fn the_same_when_others_may_share_the_database() {
    let mut tally = Tally::default();
    mutations(Ground::InUse, true, &mut tally);
    println!("faults sqlite shared: {} mutations, {tally}", MUTATIONS.len());
    tally.assert_met();
}

/// The log is long: the commit is followed by its being copied into the database. And it was copied
/// just before: the commit begins it anew, over what stands there.
#[test]
fn the_same_where_the_log_is_copied_or_begun_anew() {
    for ground in [Ground::LogIsLong, Ground::LogWasCopied, Ground::JustOpened] {
        let mut tally = Tally::default();
        let template = Template::new(ground);
        // They differ in the pages that they write. With a long log each run takes its time.
        let chosen = MUTATIONS.iter().filter(|(name, _)| {
            (is_all() && ground == Ground::JustOpened)
                || ["create key", "rotate by force", "update", "revoke all"].contains(name)
        });
        let chosen: Vec<_> = chosen.collect();
        for (name, act) in &chosen {
            let wrap = &|backend| backend;
            let case = Case { name, act: *act, template: &template, shared: false, wrap };
            for (failure, lasting) in ways() {
                each_in_turn(&case, failure, lasting, &mut tally);
            }
        }
        println!("faults sqlite {ground:?}: {} mutations, {tally}", chosen.len());
        tally.assert_met();
    }
}

/// The space ends in the last page of a commit that goes over old pages, where what is missing of it
/// already stands.
#[test]
fn a_page_that_is_whole_although_its_write_failed_is_no_commit() {
    let template = Template::new(Ground::LogWasCopied);
    let mut tally = Tally::default();
    for (name, act) in
        MUTATIONS.iter().filter(|(name, _)| ["extend_expiry", "update"].contains(name))
    {
        let wrap = &|backend| backend;
        let case = Case { name, act: *act, template: &template, shared: false, wrap };
        for failure in [Failure::Short, Failure::ShortIo] {
            each_in_turn(&case, failure, false, &mut tally);
        }
    }
    println!("faults sqlite, space ends over old pages: {tally}");
    tally.assert_met();
}

#[test]
fn opening_closing_and_recovering_fail_in_turn() {
    let mut failed = 0;
    for (failure, lasting) in ways() {
        for shared in [false, true] {
            failed += life::opening(failure, lasting, shared);
            failed += life::closing(failure, lasting, shared);
            failed += life::recovering(failure, lasting, shared);
        }
    }
    println!("faults sqlite open, close, recover: {failed} operations failed in turn, 0 lost");
    assert!(failed > 100, "{failed}");
}
