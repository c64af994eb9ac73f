//! Tests of the whole index, and what they share.

mod limits;
mod relocation;

use std::sync::Arc;

use super::Index;
use crate::clock::{ManualClock, Timestamp};
use crate::key::{Limit, PepperNumber, SetBy};
use crate::permission::Catalogue;

fn index() -> Index {
    let catalogue = Catalogue::builder().read("links:read").build().unwrap();
    let clock = ManualClock::new(Timestamp::clamped_millis(1_767_225_600_000));
    Index::new(catalogue, vec![PepperNumber::new(1)], Arc::new(clock))
}

fn by_admin<T>(value: T) -> Option<Limit<T>> {
    Some(Limit { value, by: SetBy::Administrator })
}

/// Returns the numbers of the keys' records, the owners' records and the lists that are in use;
/// then those of all entries.
fn count(index: &Index) -> ([usize; 3], [usize; 3]) {
    index.limits.count(&index.lock().limits)
}
