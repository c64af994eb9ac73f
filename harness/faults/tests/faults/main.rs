//! Lets every operation on SQLite's files fail in turn, under every kind of mutation.
//!
//! Each time, the caller must get the answer, an error that says that nothing happened, or
//! `OutcomeUnknown`. The keys concerned are `Unavailable` until the store has recovered, which it does
//! by itself. Then index and database agree, on the state before the call or the one after it. A
//! process that is killed right after the call leaves one of the two as well. The store goes on.
//!
//! `KEYHASP_FAULTS=all` lets them fail in every way, once and from then on; the default is once with
//! EIO.

mod case;
mod ground;
mod injected;
mod life;
mod uses;

use case::Case;
use ground::{Ground, Template};
use keyhasp_faults::failing::{Failure, Plan};
use keyhasp_faults::mutations::MUTATIONS;
use keyhasp_faults::tally::Tally;

/// Lists the ways in which operations fail, each once or from then on.
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

/// Lets the first operation fail, the second and so on, until the call makes no more.
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

/// With a long log the commit is followed by a checkpoint. Right after a checkpoint the commit
/// writes over the old pages of the log.
#[test]
fn the_same_where_the_log_is_copied_or_begun_again() {
    for ground in [Ground::LogIsLong, Ground::LogWasCopied, Ground::JustOpened] {
        let mut tally = Tally::default();
        let template = Template::new(ground);
        // These differ in the pages that they write. Each run with a long log takes long.
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

/// The space ends in the last page of a commit that writes over old pages, where the missing rest
/// already stands.
#[test]
fn a_page_that_is_whole_although_its_write_failed_is_no_commit() {
    let template = Template::new(Ground::LogWasCopied);
    let mut tally = Tally::default();
    for (name, act) in
        MUTATIONS.iter().filter(|(name, _)| ["extend expiry", "update"].contains(name))
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
