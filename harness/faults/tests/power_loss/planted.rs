//! Disks that lie must be found out: the test of the test.

use keyhasp_faults::medium::Lie;

use crate::STATES;
use crate::sequence::{Counts, Length, Sequence};

#[test]
fn disks_that_lie_are_found_out() {
    for lie in [Lie::DatabaseSynced, Lie::LogSynced] {
        let mut counts = Counts::default();
        let mut seed = 0;
        let found = loop {
            if let Err(why) = Sequence::run(seed, Length::Whole, Some(lie), &mut counts) {
                break why;
            }
            seed += 1;
            assert!(counts.states < STATES, "{lie:?} was not found in {} states", counts.states);
        };
        println!("{lie:?}: after {} states, {found}", counts.states);
    }
}
